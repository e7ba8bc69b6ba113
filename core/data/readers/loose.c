/* Images without classes: a folder of them, or one. */
#include <string.h>

#include "core/base/file.h"
#include "core/data/readers/readers.h"

static status open_loose(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    (void)part;
    (void)options;
    sample s = {.name = path, .class_index = -1};
    if (!file_is_dir(path)) {
        TRY(file_info(path, &s.bytes, &s.mtime_ns));
        return dataset_add_sample(ds, &s);
    }
    char **names;
    int64_t count;
    TRY(dir_list(&ds->memory, path, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        char *file = path_join(&ds->memory, path, names[i]);
        if (!file) return FAIL_MEMORY(strlen(path));
        if (!is_image_name(names[i]) || file_is_dir(file) || file_is_stream(file)) continue;
        s.name = file;
        s.bytes = s.mtime_ns = 0;
        if (file_exists(file)) TRY(file_info(file, &s.bytes, &s.mtime_ns)); /* a broken link is a bad image */
        TRY(dataset_add_sample(ds, &s));
    }
    return ds->count ? OK : FAIL(E_DATA, "%s: no images in it", path);
}

const dataset_reader reader_loose = {"images", NULL, open_loose, read_sample_file, NULL, NULL};

bool folder_has_images(const char *path)
{
    arena memory = {0};
    char **names;
    int64_t count;
    bool found = false;
    if (file_is_dir(path) && dir_list(&memory, path, &names, &count) == OK)
        for (int64_t i = 0; i < count && !found; i++) found = is_image_name(names[i]);
    arena_free(&memory);
    return found;
}
