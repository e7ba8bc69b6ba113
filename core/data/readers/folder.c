/* ImageFolder: ROOT/PART/CLASS/.../image. Classes are the sub-folders in byte-wise order. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/data/image_codecs.h"
#include "core/data/readers/readers.h"

enum { MAX_DEPTH = 16 };

bool is_image_file(const char *path, const char *name)
{
    uint8_t head[IMAGE_HEAD_BYTES];
    if (name[0] == '.' || file_is_dir(path)) return false;
    if (image_name_is_known(name)) return true;
    if (!file_exists(path) || file_is_stream(path)) return false;
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    size_t count = fread(head, 1, sizeof head, file);
    fclose(file);
    return count > 0 && image_format_of(head, count);
}

static bool has_subfolder(const char *path)
{
    arena memory = {0};
    char **names;
    int64_t count;
    bool found = false;
    if (file_is_dir(path) && dir_list(&memory, path, &names, &count) == OK)
        for (int64_t i = 0; i < count && !found; i++) {
            if (names[i][0] == '.') continue;
            char *inner = path_join(&memory, path, names[i]);
            found = inner && file_is_dir(inner);
        }
    arena_free(&memory);
    return found;
}

char *folder_of_part(arena *a, const char *root, dataset_part part)
{
    return part_path(a, root, part, "", has_subfolder);
}

static bool probe(const char *path, dataset_part part)
{
    if (part == PART_WHOLE) return has_subfolder(path);
    arena memory = {0};
    bool found = folder_of_part(&memory, path, part) != NULL;
    arena_free(&memory);
    return found;
}

static status add_images(dataset *ds, const char *folder, int32_t class_index, int32_t depth)
{
    arena memory = {0};
    status result = OK;
    char **names;
    int64_t count;
    if (depth > MAX_DEPTH)
        return FAIL(E_DATA, "%s: folders are nested more than %d deep (a link to itself?)", folder, MAX_DEPTH);
    TRY_OUT(dir_list(&memory, folder, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        if (names[i][0] == '.') continue;
        char *path = path_join(&memory, folder, names[i]);
        if (!path) TRY_OUT(FAIL_MEMORY(strlen(folder)));
        sample s = {.name = path, .class_index = class_index};
        if (is_image_file(path, names[i])) {
            if (file_exists(path)) TRY_OUT(file_info(path, &s.bytes, &s.mtime_ns)); /* a broken link is a bad image */
            TRY_OUT(dataset_add_sample(ds, &s));
        } else if (file_is_dir(path)) {
            TRY_OUT(add_images(ds, path, class_index, depth + 1));
        }
    }
out:
    arena_free(&memory);
    return result;
}

/* Folders of images and of label files beside them are no classes. */
static status refuse_label_folders(const dataset *ds, const char *folder)
{
    int64_t pictures = dataset_find_class(ds, "images"), labels = dataset_find_class(ds, "labels");
    if (pictures < 0 || labels < 0) return OK;
    for (int64_t i = 0; i < ds->count; i++)
        if (ds->samples[i].class_index == labels) return OK; /* two classes, after all */
    return FAIL(E_DATA,
        "%s: its folders images and labels are no classes but pictures and label files, as YOLO has them: of boxes "
        "graft reads KITTI (train/images and train/labels) and Pascal VOC (docs/DATA.md)", folder);
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    (void)options;
    arena memory = {0};
    status result = OK;
    char **names;
    const char **classes;
    int64_t count, class_count = 0;
    const char *folder = part == PART_WHOLE ? path : folder_of_part(&memory, path, part);
    if (!folder) TRY_OUT(FAIL(E_DATA, "%s: no folder %s with class folders in it", path, part_name(part)));
    TRY_OUT(dir_list(&memory, folder, &names, &count));
    classes = ARENA_ARRAY(&memory, const char *, count);
    if (!classes) TRY_OUT(FAIL_MEMORY(count * (int64_t)sizeof *classes));
    for (int64_t i = 0; i < count; i++) {
        char *inner = path_join(&memory, folder, names[i]);
        if (!inner) TRY_OUT(FAIL_MEMORY(strlen(folder)));
        if (is_image_file(inner, names[i]) && ds->stray_count++ == 0 && !(ds->stray = arena_strdup(&ds->memory, inner)))
            TRY_OUT(FAIL_MEMORY(strlen(inner)));
        if (names[i][0] == '.' || !file_is_dir(inner)) continue;
        TRY_OUT(add_images(ds, inner, (int32_t)class_count, 0));
        classes[class_count++] = names[i];
    }
    if (class_count == 0) TRY_OUT(FAIL(E_DATA, "%s: expected one sub-folder per class, found none", folder));
    TRY_OUT(dataset_set_classes(ds, classes, class_count));
    TRY_OUT(refuse_label_folders(ds, folder));
    if (ds->count == 0) TRY_OUT(FAIL(E_DATA, "%s: no images in its %" PRId64 " class folders", folder, class_count));
out:
    arena_free(&memory);
    return result;
}

status read_sample_file(const dataset *ds, int64_t index, arena *a, const uint8_t **bytes, size_t *count)
{
    void *data;
    TRY(file_read_regular(a, ds->samples[index].name, MAX_IMAGE_FILE_BYTES, &data, count));
    *bytes = data;
    return OK;
}

const dataset_reader reader_folder = {"folder", probe, open_part, read_sample_file, NULL, NULL};
