/* COCO: a JSON file for each part, with the lists images (id, file_name), annotations (image_id, category_id, bbox as
 * x, y, width and height in pixels from 0, area, iscrowd) and categories (id, name). Classes stand in the order of the
 * categories' ids. A crowd is a region to ignore. The file is annotations/instances_train2017.json (or
 * annotations/train.json), train/_annotations.coco.json, or the path itself. Its images are in the first of these
 * folders that has them: that of the part (train2017, or the same in images/), images/, the root, the file's own. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/file.h"
#include "core/base/json_stream.h"
#include "core/base/text.h"
#include "core/data/readers/box_labels.h"
#include "core/data/readers/readers.h"

enum { SHOWN = 64, FRONT_BYTES = 1 << 16, EDGES = 4, IMAGES_TRIED = 10 };

typedef struct coco_image {
    int64_t id;
    const char *name;
    int64_t place; /* in the file */
} coco_image;

typedef struct coco_category {
    int64_t id;
    const char *name;
} coco_category;

typedef struct coco_annotation {
    int64_t image, category; /* ids */
    double edge[EDGES];      /* x, y, width, height */
    float area;
    int32_t line;
    bool crowd;
} coco_annotation;

typedef enum coco_list { LIST_NONE, LIST_IMAGES, LIST_ANNOTATIONS, LIST_CATEGORIES } coco_list;

typedef struct coco_file {
    arena *memory;
    const char *path;
    int64_t line;
    coco_image *image;
    coco_annotation *annotation;
    coco_category *category;
    int64_t images, annotations, categories, image_capacity, annotation_capacity, category_capacity;
    /* where the reading is */
    int32_t depth;
    coco_list list;
    char key[16];       /* of the member at depth 3, or of the list at depth 1; "" for longer ones */
    bool in_box;
    int32_t edges;      /* of the bbox being read */
    uint32_t seen;      /* members of the object */
    int64_t id, image_id, category_id;
    const char *name;
    coco_annotation now;
} coco_file;

enum { SEEN_ID = 1, SEEN_NAME = 2, SEEN_IMAGE = 4, SEEN_CATEGORY = 8, SEEN_BOX = 16 };

/* ------------------------------------------------------------------------------------------------ the file's values */

static status refuse(const coco_file *f, const char *what)
{
    return FAIL(E_DATA, "%s:%" PRId64 ": %s", f->path, f->line, what);
}

static status on_key(void *context, const char *text, size_t length)
{
    coco_file *f = context;
    bool known = length < sizeof f->key;
    if (f->depth != 1 && f->depth != 3) return OK;
    memcpy(f->key, known ? text : "", known ? length : 0);
    f->key[known ? length : 0] = 0;
    if (f->depth > 1) return OK;
    f->list = strcmp(f->key, "images") == 0        ? LIST_IMAGES
              : strcmp(f->key, "annotations") == 0 ? LIST_ANNOTATIONS
              : strcmp(f->key, "categories") == 0  ? LIST_CATEGORIES
                                                   : LIST_NONE;
    return OK;
}

static status number_of(const coco_file *f, json_type type, const char *text, size_t length, double *value)
{
    char copy[64];
    *value = NAN;
    if (type == JSON_NULL) return OK; /* what some writers make of NaN: lint reports it */
    if (type == JSON_BOOL) return *value = length == 4, OK;
    if (type != JSON_NUMBER || length >= sizeof copy)
        return FAIL(E_DATA, "%s:%" PRId64 ": %s is no number", f->path, f->line, f->key);
    memcpy(copy, text, length);
    copy[length] = 0;
    return text_to_number(copy, value)
               ? OK
               : FAIL(E_DATA, "%s:%" PRId64 ": %s = %s is too large", f->path, f->line, f->key, copy);
}

/* Ids are integers, which some writers put in quotes. */
static status id_of(const coco_file *f, json_type type, const char *text, size_t length, int64_t *id)
{
    char copy[32];
    bool fine = (type == JSON_NUMBER || type == JSON_STRING) && length < sizeof copy;
    if (fine) memcpy(copy, text, length), copy[length] = 0;
    if (fine && text_to_int(copy, id)) return OK;
    return FAIL(E_DATA, "%s:%" PRId64 ": %s \"%.*s\": expected an integer", f->path, f->line, f->key,
        (int)(length < SHOWN ? length : SHOWN), text);
}

static status take_name(coco_file *f, json_type type, const char *text, size_t length)
{
    if (type != JSON_STRING || length == 0 || memchr(text, 0, length))
        return FAIL(E_DATA, "%s:%" PRId64 ": %s: expected a text", f->path, f->line, f->key);
    TRY_ALLOC(f->name, arena_strndup(f->memory, text, length));
    f->seen |= SEEN_NAME;
    return OK;
}

static status take_edge(coco_file *f, json_type type, const char *text, size_t length)
{
    double value;
    TRY(number_of(f, type, text, length, &value));
    if (f->edges == EDGES) return refuse(f, "bbox has more than four numbers: x, y, width and height");
    f->now.edge[f->edges++] = fabs(value) < 1e30 ? value : NAN;
    return OK;
}

static status on_value(void *context, json_type type, const char *text, size_t length)
{
    coco_file *f = context;
    double value;
    if (f->list == LIST_NONE || f->depth < 3) return OK;
    if (f->depth == 4 && f->in_box) return take_edge(f, type, text, length);
    if (f->depth != 3) return OK;
    if (strcmp(f->key, "id") == 0 && f->list != LIST_ANNOTATIONS) {
        f->seen |= SEEN_ID;
        return id_of(f, type, text, length, &f->id);
    }
    if (f->list == LIST_IMAGES) return strcmp(f->key, "file_name") == 0 ? take_name(f, type, text, length) : OK;
    if (f->list == LIST_CATEGORIES) return strcmp(f->key, "name") == 0 ? take_name(f, type, text, length) : OK;
    if (strcmp(f->key, "image_id") == 0) {
        f->seen |= SEEN_IMAGE;
        return id_of(f, type, text, length, &f->now.image);
    }
    if (strcmp(f->key, "category_id") == 0) {
        f->seen |= SEEN_CATEGORY;
        return id_of(f, type, text, length, &f->now.category);
    }
    if (strcmp(f->key, "area") == 0) {
        TRY(number_of(f, type, text, length, &value));
        f->now.area = value > 0 && value < 1e30 ? (float)value : 0;
    }
    if (strcmp(f->key, "iscrowd") == 0) {
        TRY(number_of(f, type, text, length, &value));
        f->now.crowd = value > 0;
    }
    return OK;
}

static status on_begin(void *context, json_type type)
{
    coco_file *f = context;
    f->depth++;
    if (f->depth == 3 && type == JSON_OBJECT) {
        f->seen = 0;
        f->now = (coco_annotation){0};
    }
    f->in_box = f->depth == 4 && type == JSON_ARRAY && f->list == LIST_ANNOTATIONS && strcmp(f->key, "bbox") == 0;
    if (f->in_box) f->edges = 0;
    return OK;
}

static status end_image(coco_file *f)
{
    if (!(f->seen & SEEN_ID) || !(f->seen & SEEN_NAME)) return refuse(f, "an image without id or file_name");
    TRY(array_reserve((void **)&f->image, &f->image_capacity, f->images + 1, sizeof *f->image));
    f->image[f->images] = (coco_image){f->id, f->name, f->images};
    f->images++;
    return OK;
}

static status end_category(coco_file *f)
{
    if (!(f->seen & SEEN_ID) || !(f->seen & SEEN_NAME)) return refuse(f, "a category without id or name");
    TRY(array_reserve((void **)&f->category, &f->category_capacity, f->categories + 1, sizeof *f->category));
    f->category[f->categories++] = (coco_category){f->id, f->name};
    return OK;
}

static status end_annotation(coco_file *f)
{
    if (!(f->seen & SEEN_IMAGE)) return refuse(f, "an annotation without image_id");
    if (!(f->seen & SEEN_CATEGORY)) return refuse(f, "an annotation without category_id: is this a file of captions?");
    if (!(f->seen & SEEN_BOX)) return refuse(f, "an annotation without bbox, its box");
    TRY(array_reserve((void **)&f->annotation, &f->annotation_capacity, f->annotations + 1, sizeof *f->annotation));
    f->now.line = f->line < INT32_MAX ? (int32_t)f->line : INT32_MAX;
    f->annotation[f->annotations++] = f->now;
    return OK;
}

static status on_end(void *context, json_type type)
{
    coco_file *f = context;
    int32_t depth = f->depth--;
    if (depth == 4 && f->in_box) {
        f->in_box = false;
        f->seen |= SEEN_BOX;
        if (f->edges < EDGES) return refuse(f, "bbox has fewer than four numbers: x, y, width and height");
    }
    if (depth != 3 || type != JSON_OBJECT) return OK;
    switch (f->list) {
    case LIST_IMAGES: return end_image(f);
    case LIST_ANNOTATIONS: return end_annotation(f);
    case LIST_CATEGORIES: return end_category(f);
    case LIST_NONE: break;
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ what they say */

static int by_image_id(const void *a, const void *b)
{
    int64_t x = ((const coco_image *)a)->id, y = ((const coco_image *)b)->id;
    return x < y ? -1 : x > y;
}

static int by_place(const void *a, const void *b)
{
    int64_t x = ((const coco_image *)a)->place, y = ((const coco_image *)b)->place;
    return x < y ? -1 : x > y;
}

static int by_category_id(const void *a, const void *b)
{
    int64_t x = ((const coco_category *)a)->id, y = ((const coco_category *)b)->id;
    return x < y ? -1 : x > y;
}

static status read_file(coco_file *f)
{
    static const json_visitor visitor = {on_value, on_key, on_begin, on_end};
    TRY(json_stream_file(f->path, &visitor, f, &f->line));
    if (f->images == 0 || f->categories == 0)
        return FAIL(E_DATA, "%s: no images or no categories: expected COCO's lists images, annotations and categories",
            f->path);
    qsort(f->category, (size_t)f->categories, sizeof *f->category, by_category_id);
    for (int64_t k = 1; k < f->categories; k++)
        if (f->category[k].id == f->category[k - 1].id)
            return FAIL(E_DATA, "%s: two categories have the id %" PRId64, f->path, f->category[k].id);
    qsort(f->image, (size_t)f->images, sizeof *f->image, by_image_id);
    for (int64_t k = 1; k < f->images; k++)
        if (f->image[k].id == f->image[k - 1].id)
            return FAIL(E_DATA, "%s: two images have the id %" PRId64, f->path, f->image[k].id);
    return OK;
}

static void free_file(coco_file *f)
{
    free(f->image);
    free(f->annotation);
    free(f->category);
}

/* An image may not lie outside the data set. */
static bool stays_inside(const char *name)
{
    if (*name == '/') return false;
    for (const char *at = name; at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL)
        if (strcmp(at, "..") == 0 || strncmp(at, "../", 3) == 0) return false;
    return true;
}

/* The first of `folders` that has one of the first images; else the first of them. */
static const char *find_images(const coco_file *f, const char *const *folders, int count)
{
    for (int64_t i = 0; i < f->images && i < IMAGES_TRIED; i++)
        for (int k = 0; k < count; k++) {
            char *path = folders[k] && stays_inside(f->image[i].name)
                             ? path_join(f->memory, folders[k], f->image[i].name)
                             : NULL;
            if (path && file_exists(path)) return folders[k];
        }
    return folders[0];
}

/* Boxes of the images one behind the other, in the file's order: first[i] of image i (by id) and next[k] chain them. */
static status chain_annotations(const coco_file *f, int64_t *first, int64_t *next)
{
    for (int64_t i = 0; i < f->images; i++) first[i] = -1;
    for (int64_t k = f->annotations; k-- > 0;) {
        const coco_annotation *n = &f->annotation[k];
        const coco_image *im =
            bsearch(&(coco_image){.id = n->image}, f->image, (size_t)f->images, sizeof *f->image, by_image_id);
        if (!im) return FAIL(E_DATA, "%s:%d: image_id %" PRId64 " is no image's id", f->path, (int)n->line, n->image);
        next[k] = first[im - f->image];
        first[im - f->image] = k;
    }
    return OK;
}

static status add_annotation(box_list *l, const coco_file *f, const coco_annotation *n)
{
    const coco_category *c = bsearch(
        &(coco_category){.id = n->category}, f->category, (size_t)f->categories, sizeof *f->category, by_category_id);
    if (!c)
        return FAIL(E_DATA, "%s:%d: category_id %" PRId64 " is no category's id", f->path, (int)n->line, n->category);
    label_box b = {.x0 = (float)n->edge[0], .y0 = (float)n->edge[1], .x1 = (float)(n->edge[0] + n->edge[2]),
        .y1 = (float)(n->edge[1] + n->edge[3]), .class_index = -1, .ignore = n->crowd, .line = n->line,
        .crowd = n->crowd, .area = n->area};
    return box_list_add(l, &b, c->name);
}

static status fill_list(box_list *l, coco_file *f, const char *folder)
{
    int64_t *first, *next, *order;
    TRY_ALLOC(first, ARENA_ARRAY(f->memory, int64_t, f->images));
    TRY_ALLOC(order, ARENA_ARRAY(f->memory, int64_t, f->images));
    TRY_ALLOC(next, ARENA_ARRAY(f->memory, int64_t, f->annotations + 1));
    TRY(chain_annotations(f, first, next));
    for (int64_t i = 0; i < f->images; i++) order[f->image[i].place] = first[i];
    qsort(f->image, (size_t)f->images, sizeof *f->image, by_place);
    for (int64_t i = 0; i < f->images; i++) {
        char *path;
        if (!stays_inside(f->image[i].name))
            return FAIL(E_DATA, "%s: file_name \"%.*s\" leads out of the data set", f->path, SHOWN,
                text_printable(f->memory, f->image[i].name));
        TRY_ALLOC(path, path_join(f->memory, folder, f->image[i].name));
        TRY(box_list_begin(l, path, f->path));
        for (int64_t k = order[i]; k >= 0; k = next[k]) TRY(add_annotation(l, f, &f->annotation[k]));
    }
    const char **names;
    TRY_ALLOC(names, ARENA_ARRAY(f->memory, const char *, f->categories));
    for (int64_t k = 0; k < f->categories; k++) names[k] = f->category[k].name;
    l->known = names;
    l->known_count = f->categories;
    return OK;
}

/* ------------------------------------------------------------------------------------------------ where it is */

/* Begins as COCO's files do: an object with one of its lists or what stands before them. */
static bool is_coco_file(const char *path)
{
    static const char *const keys[] = {"\"images\"", "\"annotations\"", "\"categories\"", "\"info\"", "\"licenses\""};
    file_map m;
    bool found = false;
    if (file_is_dir(path) || file_is_stream(path) || file_map_front(&m, path, FRONT_BYTES) != OK) return false;
    size_t at = 0;
    while (at < m.bytes && strchr(" \t\r\n\xef\xbb\xbf", m.data[at]) && m.data[at]) at++;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && at < m.bytes && m.data[at] == '{'; i++)
        found = found || memmem(m.data, m.bytes, keys[i], strlen(keys[i]));
    file_map_close(&m);
    return found;
}

/* instances_train2017.json, annotations_val.json or test.json; not captions_* and person_keypoints_*. The part's own
 * name in `stem`. */
static bool is_file_of(arena *a, const char *name, dataset_part part, char **stem)
{
    static const char *const others[] = {"captions_", "person_keypoints_", "stuff_", "panoptic_"};
    size_t length = strlen(name);
    if (length < 6 || strcasecmp(name + length - 5, ".json") != 0) return false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strncmp(name, others[i], strlen(others[i])) == 0) return false;
    *stem = arena_strndup(a, name, length - 5);
    if (!*stem) return false;
    char *last = strrchr(*stem, '_');
    if (last) *stem = last + 1;
    return is_part_folder(*stem, part);
}

typedef struct coco_place {
    char *file;
    const char *folder[6]; /* where the images may be, best first */
} coco_place;

static bool find_in_annotations(coco_place *p, arena *a, const char *root, dataset_part part)
{
    for (int k = 0; k < 2; k++) {
        char **names, *folder = k == 0 ? path_join(a, root, "annotations") : arena_strdup(a, root), *stem;
        int64_t count;
        if (!folder || !file_is_dir(folder) || dir_list(a, folder, &names, &count) != OK) continue;
        for (int64_t i = 0; i < count; i++) {
            char *file = is_file_of(a, names[i], part, &stem) ? path_join(a, folder, names[i]) : NULL;
            if (!file || !is_coco_file(file)) continue;
            *p = (coco_place){
                file, {path_join(a, root, stem), arena_printf(a, "%s/images/%s", root, stem),
                          path_join(a, root, part_name(part)), path_join(a, root, "images"), root, folder}};
            return true;
        }
    }
    return false;
}

/* Roboflow's: the file among the images. */
static bool find_beside(coco_place *p, arena *a, const char *folder)
{
    static const char *const names[] = {"_annotations.coco.json", "annotations.json", "instances.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char *file = path_join(a, folder, names[i]);
        if (!file || !file_exists(file) || !is_coco_file(file)) continue;
        *p = (coco_place){file, {arena_strdup(a, folder), path_join(a, folder, "images")}};
        return true;
    }
    return false;
}

static bool find_part(coco_place *p, arena *a, const char *path, dataset_part part)
{
    char **names;
    int64_t count;
    if (!file_is_dir(path)) {
        if (part != PART_WHOLE || strcasecmp(path_extension(path), "json") != 0 || !is_coco_file(path)) return false;
        const char *base = path_base(path);
        char *folder = base == path ? arena_strdup(a, ".") : arena_strndup(a, path, (size_t)(base - path)),
             *stem = NULL;
        for (int k = 0; k < 3 && !stem; k++) is_file_of(a, base, (dataset_part)k, &stem);
        char *above = folder ? path_join(a, folder, "..") : NULL;
        *p = (coco_place){arena_strdup(a, path),
            {folder, folder ? path_join(a, folder, "images") : NULL, above && stem ? path_join(a, above, stem) : NULL,
                above && stem ? arena_printf(a, "%s/images/%s", above, stem) : NULL,
                above ? path_join(a, above, "images") : NULL, above}};
        return p->file != NULL;
    }
    if (part == PART_WHOLE) return find_beside(p, a, path);
    if (find_in_annotations(p, a, path, part)) return true;
    if (dir_list(a, path, &names, &count) != OK) return false;
    for (int64_t i = 0; i < count; i++) {
        char *folder = is_part_folder(names[i], part) ? path_join(a, path, names[i]) : NULL;
        if (folder && file_is_dir(folder) && find_beside(p, a, folder)) return true;
    }
    return false;
}

static bool probe(const char *path, dataset_part part)
{
    arena memory = {0};
    coco_place p;
    bool found = find_part(&p, &memory, path, part);
    arena_free(&memory);
    return found;
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    arena memory = {0};
    box_list list = {.memory = &memory};
    coco_file f = {.memory = &memory};
    coco_place p;
    status result = OK;
    if (!find_part(&p, &memory, path, part))
        TRY_OUT(FAIL(E_DATA, "%s: no %s part: expected annotations/instances_%s.json or %s/_annotations.coco.json",
            path, part_name(part), part_name(part), part_name(part)));
    f.path = p.file;
    TRY_OUT(read_file(&f));
    const char *folder = find_images(&f, p.folder, (int)(sizeof p.folder / sizeof *p.folder));
    if (!folder) TRY_OUT(FAIL_MEMORY(strlen(path)));
    TRY_OUT(fill_list(&list, &f, folder));
    TRY_OUT(box_list_give(&list, ds, options));
out:
    free_file(&f);
    box_list_free(&list);
    arena_free(&memory);
    return result;
}

const dataset_reader reader_coco = {"coco", probe, open_part, read_sample_file, NULL, NULL};
