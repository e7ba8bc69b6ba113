#include "core/data/layout.h"

#include <string.h>
#include <strings.h>

#include "core/base/file.h"
#include "core/data/readers/readers.h"

enum { SEARCH_DEPTH = 4 };

const dataset_reader *const dataset_readers[] = {
    &reader_packed, &reader_idx, &reader_cifar, &reader_csv, &reader_kitti, &reader_voc, &reader_coco,
    &reader_yolo, &reader_folder, NULL};

/* In the order of spec_data_format, which starts with auto. */
static const dataset_reader *const by_format[] = {
    NULL, &reader_folder, &reader_idx, &reader_cifar, &reader_csv, &reader_packed, &reader_kitti, &reader_voc,
    &reader_coco, &reader_yolo};

/* ------------------------------------------------------------------------------------------------ names of parts */

static const char *const part_names[3][4] = {{"train", NULL}, {"val", "valid", "validation", NULL}, {"test", NULL}};

const char *part_name(dataset_part part) { return part == PART_WHOLE ? "" : part_names[part][0]; }

/* -1: the first `length` letters are no part's name. */
static int part_called(const char *name, size_t length)
{
    for (int part = 0; part < 3; part++)
        for (const char *const *known = part_names[part]; *known; known++)
            if (strlen(*known) == length && strncasecmp(*known, name, length) == 0) return part;
    return -1;
}

bool is_part_folder(const char *name, dataset_part part)
{
    if (part == PART_WHOLE) return false;
    size_t length = strlen(name);
    while (length && strchr("0123456789", name[length - 1])) length--;
    return part_called(name, length) == (int)part;
}

static bool is_called(const char *entry, const char *name, const char *tail, bool any_case)
{
    size_t length = strlen(name);
    if ((any_case ? strncasecmp(entry, name, length) : strncmp(entry, name, length)) != 0) return false;
    return (any_case ? strcasecmp(entry + length, tail) : strcmp(entry + length, tail)) == 0;
}

char *part_path(arena *a, const char *folder, dataset_part part, const char *tail, bool (*fits)(const char *path))
{
    char **entries;
    int64_t count;
    if (part == PART_WHOLE || !file_is_dir(folder) || dir_list(a, folder, &entries, &count) != OK) return NULL;
    for (int any_case = 0; any_case < 2; any_case++)
        for (const char *const *name = part_names[part]; *name; name++)
            for (int64_t i = 0; i < count; i++) {
                if (!is_called(entries[i], *name, tail, any_case)) continue;
                char *path = path_join(a, folder, entries[i]);
                if (path && fits(path)) return path;
            }
    return NULL;
}

/* Splits "PATH#test". A file may have a # in its name, so only the names of parts count, and what is there by the whole
 * name is that. */
static bool names_part(arena *a, const char *path, const char **plain, dataset_part *part)
{
    const char *hash = strrchr(path, '#');
    int found = hash ? part_called(hash + 1, strlen(hash + 1)) : -1;
    if (found < 0 || file_exists(path)) return false;
    *part = (dataset_part)found;
    *plain = arena_strndup(a, path, (size_t)(hash - path));
    return *plain != NULL;
}

/* ------------------------------------------------------------------------------------------------ places */

static part_place find_part(const char *path, dataset_part part, spec_data_format format)
{
    for (int i = 0; path[0] && dataset_readers[i]; i++) {
        if (format != FORMAT_AUTO && dataset_readers[i] != by_format[format]) continue;
        if (dataset_readers[i]->probe(path, part)) return (part_place){dataset_readers[i], path, part};
    }
    return (part_place){0};
}

static status find_named(part_place *place, const char *plain, dataset_part part, spec_data_format format)
{
    if (!file_exists(plain)) return FAIL(E_DATA, "%s: no such file or folder", plain);
    *place = find_part(plain, part, format);
    if (place->reader) return OK;
    return FAIL(E_DATA, "%s: no data set with a %s part", plain, part_name(part));
}

/* An option's path may hold the part under its name (a packed set, IDX files) or be it. */
static status find_given(part_place *place, arena *a, const char *path, dataset_part part, spec_data_format format)
{
    const char *plain;
    dataset_part named;
    if (names_part(a, path, &plain, &named)) return find_named(place, plain, named, format);
    *place = find_part(path, part, format);
    if (!place->reader) *place = find_part(path, PART_WHOLE, format);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ beside the parts */

static bool holds_images(const char *folder, int32_t depth)
{
    arena memory = {0};
    char **names;
    int64_t count;
    bool found = folder_has_images(folder);
    if (!found && depth <= SEARCH_DEPTH && dir_list(&memory, folder, &names, &count) == OK) {
        for (int64_t i = 0; i < count && !found; i++) {
            char *inner = names[i][0] == '.' ? NULL : path_join(&memory, folder, names[i]);
            found = inner && file_is_dir(inner) && holds_images(inner, depth + 1);
        }
    }
    arena_free(&memory);
    return found;
}

/* A folder in a root that has parts, and is none of those that were found. */
static status judge_sibling(const data_layout *l, const char *folder, const char *used[3])
{
    const char *name = path_base(folder);
    const char *a_part = used[0] ? used[0] : used[1] ? used[1] : used[2];
    int part = part_called(name, strlen(name));
    if (part == PART_TEST && !used[part]) return OK; /* test images without classes are common, and in nobody's way */
    if (!holds_images(folder, 0)) return OK;
    if (part < 0)
        return FAIL(E_DATA,
            "%s: a folder of images beside %s, and neither train, val (valid, validation) nor test: move it away, or "
            "name the parts one by one with data.train, data.val and data.test",
            folder, path_base(a_part));
    if (used[part])
        return FAIL(E_DATA,
            "%s: a second %s part beside %s: move one of them away, or name the one that counts with data.%s", folder,
            part_name((dataset_part)part), path_base(used[part]), part_name((dataset_part)part));
    if (l->part[part].reader) return OK; /* an option names that part */
    return FAIL(E_DATA, "%s: images without class folders; the %s part needs one folder per class", folder,
        part_name((dataset_part)part));
}

static status check_siblings(const data_layout *l, arena *a, const char *root)
{
    const char *used[3] = {NULL};
    char **names;
    int64_t count;
    bool any = false;
    for (int i = 0; i < 3; i++) {
        const part_place *p = &l->part[i];
        if (p->reader != &reader_folder || p->path != root) continue;
        used[i] = folder_of_part(a, root, (dataset_part)i);
        any = true;
    }
    if (!any) return OK;
    TRY(dir_list(a, root, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        const char *folder = path_join(a, root, names[i]);
        if (!folder) return FAIL_MEMORY(strlen(root));
        if (names[i][0] == '.' || !file_is_dir(folder)) continue;
        bool is_part = false;
        for (int k = 0; k < 3; k++) is_part = is_part || (used[k] && strcmp(used[k], folder) == 0);
        if (!is_part) TRY(judge_sibling(l, folder, used));
    }
    return OK;
}

/* Folders train and val of loose images are no classes; a class may be called train beside others. */
static status check_whole(const part_place *whole, arena *a)
{
    char **names;
    int64_t count, parts = 0;
    const char *first = NULL;
    if (whole->reader != &reader_folder || whole->part != PART_WHOLE) return OK;
    TRY(dir_list(a, whole->path, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        const char *folder = path_join(a, whole->path, names[i]);
        if (!folder) return FAIL_MEMORY(strlen(whole->path));
        if (names[i][0] == '.' || !file_is_dir(folder) || !holds_images(folder, 0)) continue;
        if (part_called(names[i], strlen(names[i])) < 0) return OK;
        if (parts++ == 0) first = folder;
    }
    if (parts == 0) return OK;
    return FAIL(E_DATA,
        "%s: images without class folders: a part needs one folder per class (or a table: train.csv, val.csv, "
        "test.csv)",
        first);
}

/* ------------------------------------------------------------------------------------------------ a data set */

int32_t layout_part_count(const data_layout *l)
{
    return (l->part[PART_TRAIN].reader != NULL) + (l->part[PART_VAL].reader != NULL) +
           (l->part[PART_TEST].reader != NULL);
}

static bool is_given(const char *path) { return path && path[0]; }

/* Test images without labels beside parts with boxes are in nobody's way; other parts without labels are a mistake. */
static status check_boxes(data_layout *l, arena *a, const char *root)
{
    const part_place *train = &l->part[PART_TRAIN];
    if (train->reader != &reader_kitti || train->path != root) return OK;
    for (int i = PART_VAL; i <= PART_TEST; i++) {
        part_place *p = &l->part[i];
        if (p->reader != &reader_folder || p->path != root) continue;
        if (i == PART_VAL)
            return FAIL(E_DATA,
                "%s: images without labels/*.txt, which the train part beside it has: add them, or move it away",
                folder_of_part(a, root, PART_VAL));
        *p = (part_place){0};
    }
    return OK;
}

static status find_places(data_layout *l, arena *a, const spec_data *o)
{
    const char *given[3] = {o->train, o->val, o->test}, *root = o->root ? o->root : "", *plain;
    dataset_part named;
    bool in_root = false;
    *l = (data_layout){0};
    if (names_part(a, root, &plain, &named)) {
        TRY(find_named(&l->whole, plain, named, o->format));
        l->named = plain;
        root = "";
    }
    for (int i = 0; i < 3; i++) {
        dataset_part part = (dataset_part)i;
        if (!is_given(given[i])) {
            l->part[i] = find_part(root, part, o->format);
            in_root = in_root || l->part[i].reader;
            continue;
        }
        TRY(find_given(&l->part[i], a, given[i], part, o->format));
        if (!l->part[i].reader) return layout_missing(l, o, part);
    }
    /* One folder of classes, one table: no part has a name. */
    if (!in_root && !is_given(o->train) && root[0]) l->whole = find_part(root, PART_WHOLE, o->format);
    TRY(check_boxes(l, a, root));
    return check_siblings(l, a, root);
}

status layout_find(data_layout *l, arena *a, const spec_data *o)
{
    TRY(find_places(l, a, o));
    return check_whole(&l->whole, a);
}

status layout_missing(const data_layout *l, const spec_data *o, dataset_part part)
{
    const char *given[] = {o->train, o->val, o->test}, *name = part_name(part);
    const char *path = is_given(given[part]) ? given[part] : o->root ? o->root : "";
    if (!path[0] && layout_part_count(l) == 0)
        return FAIL(E_USAGE,
            "data.root is not set: which data set? Give it with --data PATH, or in a spec as data.root or data.%s",
            name);
    if (path[0] && !file_exists(path)) return FAIL(E_DATA, "%s: no such file or folder", path);
    for (int i = 0; i < 3 && !is_given(given[part]); i++)
        if (l->part[i].reader)
            return FAIL(E_DATA, "%s: has a %s part, but no %s part found; name it with data.%s=PATH", l->part[i].path,
                part_name((dataset_part)i), name, name);
    return FAIL(E_DATA,
        "%s: no %s part found; expected a folder of class folders (with or without train/, val/), IDX files, CIFAR "
        "records, a CSV table, KITTI or VOC boxes, or a packed data set",
        path, name);
}

status layout_of_path(part_place *place, data_layout *l, arena *a, const char *path)
{
    TRY(find_places(l, a, &(spec_data){.root = path}));
    *place = l->whole;
    if (l->named) return OK;
    if (!file_exists(path)) return FAIL(E_DATA, "%s: no such file or folder", path);
    for (int i = 0; i < 3; i++)
        if (l->part[i].reader) *place = l->part[i];
    /* Images beside sub-folders: the images are meant. */
    bool loose = place->reader == &reader_folder && place->part == PART_WHOLE && folder_has_images(path);
    if (!place->reader || loose) *place = (part_place){&reader_loose, path, PART_WHOLE};
    return OK;
}
