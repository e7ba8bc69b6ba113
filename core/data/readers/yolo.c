/* YOLO: a text file for each image, one object per line,
 *
 *   class x y width height        centre and size, as parts of the image's width and height
 *   class x0 y0 x1 y1 x2 y2 ...   the corners of a polygon, of which the box around them is taken
 *
 * with the class as a number from 0. The label of .../images/.../a.jpg is .../labels/.../a.txt, of an image in no
 * folder "images" the text file beside it. An image without label file, or with an empty one, shows no object. Which
 * images a part has is said by
 *
 *   - data.yaml (or another .yaml with train and val): a folder, a list of images or several of them, under `path`;
 *   - a darknet file of "train = ...", "valid = ..." and "names = ..." (.data), with lists of images;
 *   - folders images/train and labels/train (train2017 is train, too), or train/images and train/labels.
 *
 * Names of the classes: the yaml's, the .data file's, or one name a line in *.names or classes.txt. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#include "core/base/file.h"
#include "core/base/text.h"
#include "core/base/text_file.h"
#include "core/data/image.h"
#include "core/data/readers/box_labels.h"
#include "core/data/readers/readers.h"

enum { FIELD_MOST = 4096, SHOWN = 64, HEADER_BYTES = 1 << 16, CLASS_MOST = 1 << 20 };

static bool is_empty(const char *path)
{
    int64_t bytes, mtime;
    return file_info(path, &bytes, &mtime) == OK && bytes == 0;
}

/* A list of texts that grows in an arena. */
typedef struct texts {
    const char **item;
    int64_t count, capacity;
} texts;

/* What the files at a root say. */
typedef struct yolo_set {
    arena *memory;
    const char *root, *file; /* of the .yaml or .data; NULL: there is none */
    const char *base;        /* the yaml's `path`; NULL: there is none */
    texts names;             /* of the classes; none: they are numbered */
    texts part[3];           /* folders and lists of images, as written */
} yolo_set;

static status add_text(arena *a, texts *t, const char *text, size_t length)
{
    if (t->count == t->capacity) {
        int64_t capacity = t->capacity ? 2 * t->capacity : 16;
        const char **grown;
        TRY_ALLOC(grown, ARENA_ARRAY(a, const char *, capacity));
        if (t->count) memcpy(grown, t->item, (size_t)t->count * sizeof *grown);
        t->item = grown;
        t->capacity = capacity;
    }
    TRY_ALLOC(t->item[t->count], arena_strndup(a, text, length));
    t->count++;
    return OK;
}

/* -1: no part. YOLO's files call the validation part valid, too. */
static int part_of_key(const char *key, size_t length)
{
    static const char *const keys[] = {"train", "val", "test", "valid"};
    for (int i = 0; i < 4; i++)
        if (strlen(keys[i]) == length && memcmp(keys[i], key, length) == 0) return i == 3 ? PART_VAL : i;
    return -1;
}

/* ------------------------------------------------------------------------------------------------ data.yaml */

static status refuse_yaml(const char *file, const yaml_node_t *n, const char *wanted)
{
    return FAIL(E_DATA, "%s:%zu: expected %s", file, n ? n->start_mark.line + 1 : 1, wanted);
}

static status add_scalar(yolo_set *s, texts *t, const yaml_node_t *n, const char *wanted)
{
    if (!n || n->type != YAML_SCALAR_NODE || memchr(n->data.scalar.value, 0, n->data.scalar.length))
        return refuse_yaml(s->file, n, wanted);
    return add_text(s->memory, t, (const char *)n->data.scalar.value, n->data.scalar.length);
}

/* One text, or a list of them. */
static status take_texts(yolo_set *s, yaml_document_t *d, texts *t, const yaml_node_t *n, const char *wanted)
{
    if (n->type != YAML_SEQUENCE_NODE) return add_scalar(s, t, n, wanted);
    for (const yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top; i++)
        TRY(add_scalar(s, t, yaml_document_get_node(d, *i), wanted));
    return OK;
}

/* A list of names, or a map from 0, 1, 2, ... to them, in any order. */
static status take_names(yolo_set *s, yaml_document_t *d, const yaml_node_t *n)
{
    static const char wanted[] = "names: a list of names, or a map of the numbers from 0 to them";
    if (n->type != YAML_MAPPING_NODE) return take_texts(s, d, &s->names, n, wanted);
    int64_t count = n->data.mapping.pairs.top - n->data.mapping.pairs.start;
    for (int64_t k = 0; k < count; k++) TRY(add_text(s->memory, &s->names, "", 0));
    for (const yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(d, p->key), *value = yaml_document_get_node(d, p->value);
        texts number = {0}, name = {0};
        int64_t at;
        TRY(add_scalar(s, &number, key, wanted));
        TRY(add_scalar(s, &name, value, wanted));
        if (!text_to_int(number.item[0], &at) || at < 0 || at >= count || *s->names.item[at])
            return refuse_yaml(s->file, key, wanted);
        s->names.item[at] = name.item[0];
    }
    return OK;
}

static status take_member(yolo_set *s, yaml_document_t *d, const yaml_node_t *key, const yaml_node_t *value)
{
    const char *name = key && key->type == YAML_SCALAR_NODE ? (const char *)key->data.scalar.value : "";
    size_t length = key && key->type == YAML_SCALAR_NODE ? key->data.scalar.length : 0;
    int part = part_of_key(name, length);
    if (!value) return refuse_yaml(s->file, key, "a value");
    if (value->type == YAML_SCALAR_NODE && value->data.scalar.length == 0) return OK; /* "test:" alone */
    if (part >= 0)
        return take_texts(s, d, &s->part[part], value, "a folder of images, a list (.txt) or several of them");
    if (length == 5 && memcmp(name, "names", 5) == 0) return take_names(s, d, value);
    if (length != 4 || memcmp(name, "path", 4) != 0) return OK;
    texts base = {0};
    TRY(add_scalar(s, &base, value, "path: a folder"));
    s->base = base.item[0];
    return OK;
}

static status read_yaml(yolo_set *s)
{
    yaml_parser_t parser;
    yaml_document_t d;
    char *text;
    size_t bytes;
    status result = OK;
    TRY(text_file_read(s->memory, s->file, MAX_LABEL_FILE_BYTES, E_DATA, &text, &bytes));
    if (!yaml_parser_initialize(&parser)) return FAIL_MEMORY(bytes);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, bytes);
    if (!yaml_parser_load(&parser, &d)) {
        result = FAIL(E_DATA, "%s:%zu: not YAML: %s", s->file, parser.problem_mark.line + 1,
            parser.problem ? parser.problem : "out of memory");
        yaml_parser_delete(&parser);
        return result;
    }
    const yaml_node_t *root = yaml_document_get_root_node(&d);
    if (root && root->type == YAML_MAPPING_NODE)
        for (const yaml_node_pair_t *p = root->data.mapping.pairs.start;
             p < root->data.mapping.pairs.top && result == OK; p++)
            result = take_member(s, &d, yaml_document_get_node(&d, p->key), yaml_document_get_node(&d, p->value));
    yaml_document_delete(&d);
    yaml_parser_delete(&parser);
    return result;
}

/* ------------------------------------------------------------------------------------------------ darknet's .data */

static char *trimmed(char *text)
{
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length && strchr(" \t", text[length - 1])) text[--length] = 0;
    return text;
}

/* One name a line. */
static status read_names(yolo_set *s, const char *file)
{
    char *text;
    size_t bytes;
    TRY(text_file_read(s->memory, file, MAX_LABEL_FILE_BYTES, E_DATA, &text, &bytes));
    for (char *row; (row = strsep(&text, "\n"));) {
        row = trimmed(row);
        if (*row) TRY(add_text(s->memory, &s->names, row, strlen(row)));
    }
    return OK;
}

/* A path of the files: as it is where it is absolute, else in the first folder that has it: `path`, the root, the root
 * without leading "../" (as Roboflow writes them), the working directory. NULL: it is nowhere. */
static char *find_path(const yolo_set *s, const char *path)
{
    const char *bare = path;
    while (strncmp(bare, "../", 3) == 0 || strncmp(bare, "./", 2) == 0) bare += bare[1] == '/' ? 2 : 3;
    char *base = !s->base            ? NULL
                 : s->base[0] == '/' ? arena_strdup(s->memory, s->base)
                                     : path_join(s->memory, s->root, s->base);
    char *tries[] = {*path == '/' ? arena_strdup(s->memory, path) : NULL,
        base ? path_join(s->memory, base, path) : NULL, path_join(s->memory, s->root, path),
        path_join(s->memory, s->root, bare), arena_strdup(s->memory, path)};
    for (size_t i = 0; i < sizeof tries / sizeof *tries; i++)
        if (tries[i] && file_exists(tries[i])) return tries[i];
    return NULL;
}

static status read_data_file(yolo_set *s)
{
    char *text;
    size_t bytes;
    int line = 0;
    TRY(text_file_read(s->memory, s->file, MAX_LABEL_FILE_BYTES, E_DATA, &text, &bytes));
    for (char *row; (row = strsep(&text, "\n"));) {
        char *value = row, *key = trimmed(strsep(&value, "="));
        line++;
        if (!value || *key == '#') continue;
        value = trimmed(value);
        int part = part_of_key(key, strlen(key));
        if (part >= 0) TRY(add_text(s->memory, &s->part[part], value, strlen(value)));
        if (strcmp(key, "names") != 0) continue;
        char *names = find_path(s, value);
        if (!names) return FAIL(E_DATA, "%s:%d: names = %.*s: no such file", s->file, line, SHOWN, value);
        TRY(read_names(s, names));
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ what a root holds */

static char *file_of_kind(arena *a, const char *root, const char *first, const char *const kinds[2])
{
    char **names, *preferred = path_join(a, root, first);
    int64_t count;
    if (preferred && file_exists(preferred)) return preferred;
    if (!file_is_dir(root) || dir_list(a, root, &names, &count) != OK) return NULL;
    for (int64_t i = 0; i < count; i++)
        for (int k = 0; k < 2; k++)
            if (names[i][0] != '.' && kinds[k] && strcasecmp(path_extension(names[i]), kinds[k]) == 0)
                return path_join(a, root, names[i]);
    return NULL;
}

/* `path`: a folder, or the .yaml or .data file itself. */
static status read_set(yolo_set *s, arena *a, const char *path)
{
    const char *kind = path_extension(path);
    bool yaml = strcasecmp(kind, "yaml") == 0 || strcasecmp(kind, "yml") == 0, data = strcasecmp(kind, "data") == 0;
    *s = (yolo_set){.memory = a, .root = path};
    if ((yaml || data) && !file_is_dir(path)) {
        const char *base = path_base(path);
        s->file = path;
        TRY_ALLOC(s->root, base == path ? arena_strdup(a, ".") : arena_strndup(a, path, (size_t)(base - path - 1)));
    } else if ((s->file = file_of_kind(a, path, "data.yaml", (const char *const[]){"yaml", "yml"}))) {
        yaml = true;
    } else {
        s->file = file_of_kind(a, path, "obj.data", (const char *const[]){"data", NULL});
    }
    if (s->file) TRY(yaml ? read_yaml(s) : read_data_file(s));
    if (s->names.count) return OK;
    char *names = file_of_kind(a, s->root, "classes.txt", (const char *const[]){"names", NULL});
    return names ? read_names(s, names) : OK;
}

/* The first label file that says something has numbers only, in a number of columns that YOLO has. */
static bool is_yolo_text(const char *path)
{
    arena memory = {0};
    char *text;
    size_t bytes;
    bool found = false;
    if (text_file_read(&memory, path, MAX_LABEL_FILE_BYTES, E_DATA, &text, &bytes) == OK)
        for (char *row; (row = strsep(&text, "\n"));) {
            int64_t count = 0, numbers = 0;
            double number;
            for (char *word; (word = strsep(&row, " \t"));)
                if (*word) count++, numbers += text_to_number(word, &number);
            if (count == 0) continue;
            found = numbers == count && count >= 5 && count != 15 && count != 16;
            break;
        }
    arena_free(&memory);
    return found;
}

static bool has_yolo_labels(arena *a, const char *folder)
{
    char **names;
    int64_t count;
    if (!file_is_dir(folder) || dir_list(a, folder, &names, &count) != OK) return false;
    for (int64_t i = 0; i < count; i++) {
        char *file = strcasecmp(path_extension(names[i]), "txt") == 0 ? path_join(a, folder, names[i]) : NULL;
        if (!file || names[i][0] == '.' || file_is_dir(file) || file_is_stream(file) || is_empty(file)) continue;
        return is_yolo_text(file);
    }
    return false;
}

/* images/NAME and labels/NAME, or NAME/images and NAME/labels; the images. NULL: there are none. */
static char *find_folder(arena *a, const char *root, dataset_part part)
{
    for (int nested = 0; nested < 2; nested++) {
        char **names, *outer = nested ? arena_strdup(a, root) : path_join(a, root, "images");
        int64_t count;
        if (!outer || !file_is_dir(outer) || dir_list(a, outer, &names, &count) != OK) continue;
        for (int64_t i = 0; i < count; i++) {
            if (!is_part_folder(names[i], part)) continue;
            char *images = arena_printf(a, nested ? "%s/%s/images" : "%s/images/%s", root, names[i]);
            char *labels = arena_printf(a, nested ? "%s/%s/labels" : "%s/labels/%s", root, names[i]);
            if (images && labels && folder_has_images(images) && has_yolo_labels(a, labels)) return images;
        }
    }
    return NULL;
}

static char *whole_folder(arena *a, const char *root)
{
    char *images = path_join(a, root, "images"), *labels = path_join(a, root, "labels");
    return images && labels && folder_has_images(images) && has_yolo_labels(a, labels) ? images : NULL;
}

/* A file that says it and is wrong is YOLO's, too: opening says what is wrong with it. */
static bool says_part(arena *a, const char *path, dataset_part part)
{
    yolo_set s;
    if (read_set(&s, a, path) == OK) return s.part[part].count > 0 && s.names.count > 0;
    return s.file && (strcmp(path_base(s.file), "data.yaml") == 0 || strcmp(path_base(s.file), "obj.data") == 0);
}

static bool probe(const char *path, dataset_part part)
{
    arena memory = {0};
    bool found = part == PART_WHOLE ? whole_folder(&memory, path) != NULL
                                    : find_folder(&memory, path, part) || says_part(&memory, path, part);
    arena_free(&memory);
    return found;
}

/* ------------------------------------------------------------------------------------------------ labels */

/* The size in pixels as the network will see it, turned by EXIF; false: no image. */
static bool image_size(const char *path, const decode_options *options, int32_t *width, int32_t *height)
{
    arena memory = {0};
    file_input f = {0};
    void *bytes = arena_alloc(&memory, HEADER_BYTES);
    size_t count;
    bool found = false;
    if (bytes && file_input_open(&f, path) == OK) {
        count = f.bytes < HEADER_BYTES ? (size_t)f.bytes : HEADER_BYTES;
        found = file_input_read(&f, 0, bytes, count) == OK &&
                image_probe(bytes, count, options, width, height, NULL) == OK;
        file_input_close(&f);
    }
    if (!found)
        found = file_read_regular(&memory, path, MAX_IMAGE_FILE_BYTES, &bytes, &count) == OK &&
                image_probe(bytes, count, options, width, height, NULL) == OK;
    arena_free(&memory);
    return found;
}

typedef struct yolo_labels {
    box_list *list;
    const yolo_set *set;
    const char *file;
    float width, height; /* of the image */
    int32_t line;
} yolo_labels;

static status parse_class(const yolo_labels *y, const char *text, const char **name)
{
    int64_t number;
    int64_t most = y->set->names.count ? y->set->names.count : CLASS_MOST;
    if (!text_to_int(text, &number) || number < 0 || number >= most)
        return FAIL(E_DATA, "%s:%d: class \"%.*s\": expected a number from 0 to %" PRId64 "%s", y->file, (int)y->line,
            SHOWN, text_printable(y->list->memory, text), most - 1,
            y->set->names.count ? ", of the names that the data set gives" : "");
    if (y->set->names.count) *name = y->set->names.item[number];
    else TRY_ALLOC(*name, arena_printf(y->list->memory, "%" PRId64, number));
    return OK;
}

static label_box box_around(const yolo_labels *y, const float *value, int32_t count)
{
    label_box b = {.x0 = INFINITY, .y0 = INFINITY, .x1 = -INFINITY, .y1 = -INFINITY};
    for (int32_t i = 0; i + 1 < count; i += 2) {
        b.x0 = fminf(b.x0, value[i] * y->width), b.x1 = fmaxf(b.x1, value[i] * y->width);
        b.y0 = fminf(b.y0, value[i + 1] * y->height), b.y1 = fmaxf(b.y1, value[i + 1] * y->height);
    }
    return b;
}

static status parse_line(yolo_labels *y, char *text)
{
    float value[FIELD_MOST];
    const char *name = NULL;
    int32_t count = 0;
    for (char *word; (word = strsep(&text, " \t"));) {
        if (!*word) continue;
        if (count == 0) {
            TRY(parse_class(y, word, &name));
        } else if (count > FIELD_MOST) {
            return FAIL(E_DATA, "%s:%d: more than %d numbers", y->file, (int)y->line, FIELD_MOST);
        } else if (!box_number(word, &value[count - 1])) {
            return FAIL(E_DATA, "%s:%d: column %d is \"%.*s\": expected a number, a part of the image's %s", y->file,
                (int)y->line, count + 1, SHOWN, text_printable(y->list->memory, word), count % 2 ? "width" : "height");
        }
        count++;
    }
    if (count == 0) return OK;
    bool polygon = count >= 7 && count % 2 == 1;
    if (count != 5 && count != 6 && !polygon)
        return FAIL(E_DATA,
            "%s:%d: %d columns: a YOLO label has class, x, y, width and height (and perhaps a score), or class and "
            "three or more points",
            y->file, (int)y->line, count);
    label_box b = {.x0 = (value[0] - value[2] / 2) * y->width, .y0 = (value[1] - value[3] / 2) * y->height,
        .x1 = (value[0] + value[2] / 2) * y->width, .y1 = (value[1] + value[3] / 2) * y->height};
    if (polygon) b = box_around(y, value, count - 1);
    b.class_index = -1;
    b.line = y->line;
    return box_list_add(y->list, &b, name);
}

static status read_labels(box_list *l, const yolo_set *s, const char *file, int32_t width, int32_t height)
{
    arena memory = {0};
    char *text;
    size_t bytes;
    yolo_labels y = {.list = l, .set = s, .file = file, .width = (float)width, .height = (float)height};
    status result = text_file_read(&memory, file, MAX_LABEL_FILE_BYTES, E_DATA, &text, &bytes);
    for (char *row; result == OK && (row = strsep(&text, "\n"));) {
        y.line++;
        result = parse_line(&y, row);
    }
    arena_free(&memory);
    return result;
}

/* .../images/.../a.jpg: .../labels/.../a.txt, the last such folder; else a.txt beside it. */
static char *label_path(arena *a, const char *picture)
{
    const char *folder = NULL, *ending = path_extension(picture);
    size_t length = strlen(picture), stem = *ending ? length - strlen(ending) - 1 : length;
    for (const char *at = picture; (at = strstr(at, "/images/")); at++) folder = at;
    if (!folder) return arena_printf(a, "%.*s.txt", (int)stem, picture);
    size_t before = (size_t)(folder - picture), after = before + strlen("/images/");
    return arena_printf(a, "%.*s/labels/%.*s.txt", (int)before, picture, (int)(stem - after), picture + after);
}

static status add_image(box_list *l, const yolo_set *s, const char *picture, const decode_options *options)
{
    char *file;
    int32_t width = 0, height = 0;
    TRY_ALLOC(file, label_path(l->memory, picture));
    bool labelled = file_exists(file) && !file_is_dir(file);
    TRY(box_list_begin(l, picture, labelled ? file : NULL));
    /* An image that cannot be read is a bad sample whatever its boxes are. */
    if (!labelled || is_empty(file) || !image_size(picture, options, &width, &height)) return OK;
    return read_labels(l, s, file, width, height);
}

static status add_folder(box_list *l, const yolo_set *s, const char *folder, const decode_options *options)
{
    stem_file *files;
    int64_t count;
    TRY(list_images_by_stem(l->memory, folder, &files, &count));
    for (int64_t i = 0; i < count; i++) TRY(add_image(l, s, files[i].path, options));
    return OK;
}

/* Paths of images, from the list's folder or as find_path has it. */
static status add_list(box_list *l, const yolo_set *s, const char *list, const decode_options *options)
{
    char *text, *folder;
    size_t bytes, length = (size_t)(path_base(list) - list);
    TRY(text_file_read(l->memory, list, MAX_LABEL_FILE_BYTES, E_DATA, &text, &bytes));
    TRY_ALLOC(folder, arena_strndup(l->memory, length ? list : "./", length ? length : 2));
    for (char *row; (row = strsep(&text, "\n"));) {
        row = trimmed(row);
        if (!*row) continue;
        char *beside = *row == '/' ? NULL : path_join(l->memory, folder, row), *path = beside;
        if (!beside || !file_exists(beside)) path = find_path(s, row);
        if (!path) TRY_ALLOC(path, beside ? beside : arena_strdup(l->memory, row)); /* a bad sample */
        TRY(add_image(l, s, path, options));
    }
    return OK;
}

static status add_part(box_list *l, const yolo_set *s, dataset_part part, const decode_options *options)
{
    const texts *t = &s->part[part];
    for (int64_t i = 0; i < t->count; i++) {
        char *path = find_path(s, t->item[i]);
        if (!path)
            return FAIL(E_DATA, "%s: %s: %.*s: no such file or folder", s->file, part_name(part), SHOWN, t->item[i]);
        TRY(file_is_dir(path) ? add_folder(l, s, path, options) : add_list(l, s, path, options));
    }
    return OK;
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    arena memory = {0};
    box_list list = {.memory = &memory};
    yolo_set s;
    status result = OK;
    decode_options decode = dataset_decode_options(options, 3);
    TRY_OUT(read_set(&s, &memory, path));
    char *folder = part == PART_WHOLE ? whole_folder(&memory, path) : find_folder(&memory, path, part);
    bool listed = part != PART_WHOLE && s.part[part].count > 0;
    if (!listed && !folder)
        TRY_OUT(FAIL(E_DATA, "%s: no %s part: expected data.yaml, a .data file, or folders images/%s and labels/%s",
            path, part_name(part), part_name(part), part_name(part)));
    TRY_OUT(listed ? add_part(&list, &s, part, &decode) : add_folder(&list, &s, folder, &decode));
    list.known = s.names.item;
    list.known_count = s.names.count;
    TRY_OUT(box_list_give(&list, ds, options));
out:
    box_list_free(&list);
    arena_free(&memory);
    return result;
}

const dataset_reader reader_yolo = {"yolo", probe, open_part, read_sample_file, NULL, NULL};
