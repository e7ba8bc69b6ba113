/* Pascal VOC: JPEGImages/x.jpg, Annotations/x.xml, and ImageSets/Main/PART.txt, a list of names without ending. Pixels
 * count from 1, and the last one belongs to the box. A difficult object is a region to ignore. An image without xml
 * file shows no object. */
#include <expat.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/file.h"
#include "core/base/text.h"
#include "core/base/text_file.h"
#include "core/data/readers/box_labels.h"
#include "core/data/readers/readers.h"

enum { MAX_DEPTH = 64, TEXT_BYTES = 1024, EDGES = 4, SHOWN = 64 };

/* ------------------------------------------------------------------------------------------------ label files */

typedef struct xml_reader {
    XML_Parser parser;
    box_list *list;
    const char *name;
    status result; /* the first error; nothing is read after it */
    int32_t depth;
    bool in_object, in_box; /* annotation/object, annotation/object/bndbox */
    char text[TEXT_BYTES];  /* of the element that is open */
    size_t length;
    bool too_long;
    /* The object that is open. */
    char class_name[TEXT_BYTES];
    label_box box;
    uint32_t edges; /* bits: those that were given */
} xml_reader;

static const char *const edge_names[EDGES] = {"xmin", "ymin", "xmax", "ymax"};

static int32_t line_of(const xml_reader *r) { return (int32_t)XML_GetCurrentLineNumber(r->parser); }

static void stop(xml_reader *r, status code)
{
    if (r->result != OK) return;
    r->result = code;
    XML_StopParser(r->parser, XML_FALSE);
}

static void on_start(void *context, const XML_Char *element, const XML_Char **attributes)
{
    xml_reader *r = context;
    (void)attributes;
    r->depth++;
    r->length = 0;
    r->too_long = false;
    if (r->depth > MAX_DEPTH)
        stop(r, FAIL(E_DATA, "%s:%d: elements are nested more than %d deep", r->name, (int)line_of(r), MAX_DEPTH));
    if (r->depth == 1 && strcmp(element, "annotation") != 0)
        stop(r, FAIL(E_DATA, "%s:%d: <%.*s>: expected <annotation>, VOC's outermost element", r->name, (int)line_of(r),
                    SHOWN, element));
    if (r->depth == 2 && strcmp(element, "object") == 0) {
        r->in_object = true;
        r->class_name[0] = 0;
        r->edges = 0;
        r->box = (label_box){.class_index = -1, .line = line_of(r)};
    }
    if (r->depth == 3 && r->in_object && strcmp(element, "bndbox") == 0) {
        r->in_box = true;
        r->box.line = line_of(r);
    }
}

static void on_text(void *context, const XML_Char *text, int length)
{
    xml_reader *r = context;
    size_t room = sizeof r->text - 1 - r->length, count = (size_t)length < room ? (size_t)length : room;
    memcpy(r->text + r->length, text, count);
    r->length += count;
    r->too_long |= count < (size_t)length;
}

/* The text of the element that ends, without blanks around it. */
static char *trimmed(xml_reader *r)
{
    while (r->length && strchr(" \t\r\n", r->text[r->length - 1])) r->length--;
    r->text[r->length] = 0;
    return r->text + strspn(r->text, " \t\r\n");
}

static status read_edge(xml_reader *r, int k)
{
    char *text = trimmed(r);
    float *edge[EDGES] = {&r->box.x0, &r->box.y0, &r->box.x1, &r->box.y1};
    text_make_printable(text);
    if (r->too_long || !box_number(text, edge[k]))
        return FAIL(E_DATA, "%s:%d: %s is \"%.*s\": expected a number of pixels", r->name, (int)line_of(r),
            edge_names[k], SHOWN, text);
    if (k < 2) *edge[k] -= 1;
    r->edges |= 1u << k;
    return OK;
}

static status read_difficult(xml_reader *r)
{
    char *text = trimmed(r);
    double number = 0;
    text_make_printable(text);
    if (r->too_long || (*text && strcasecmp(text, "Unspecified") != 0 && !text_to_number(text, &number)))
        return FAIL(E_DATA, "%s:%d: difficult is \"%.*s\": expected 0 or 1", r->name, (int)line_of(r), SHOWN, text);
    r->box.ignore = number != 0;
    return OK;
}

static status read_name(xml_reader *r)
{
    if (r->too_long)
        return FAIL(E_DATA, "%s:%d: a class name of more than %d bytes", r->name, (int)line_of(r), TEXT_BYTES - 1);
    snprintf(r->class_name, sizeof r->class_name, "%s", trimmed(r));
    return OK;
}

static status end_object(xml_reader *r)
{
    r->in_object = false;
    if (!r->class_name[0]) return FAIL(E_DATA, "%s:%d: an object without <name>, its class", r->name, (int)r->box.line);
    for (int k = 0; k < EDGES; k++)
        if (!(r->edges & 1u << k))
            return FAIL(E_DATA, "%s:%d: object \"%.*s\" without <bndbox><%s>", r->name, (int)r->box.line, SHOWN,
                text_printable(r->list->memory, r->class_name), edge_names[k]);
    return box_list_add(r->list, &r->box, r->class_name);
}

static status end_element(xml_reader *r, const char *element)
{
    if (!r->in_object) return OK;
    if (r->depth == 2) return end_object(r);
    if (r->depth == 3 && strcmp(element, "name") == 0) return read_name(r);
    if (r->depth == 3 && strcmp(element, "difficult") == 0) return read_difficult(r);
    if (r->depth == 3 && strcmp(element, "bndbox") == 0) r->in_box = false;
    for (int k = 0; k < EDGES && r->depth == 4 && r->in_box; k++)
        if (strcmp(element, edge_names[k]) == 0) return read_edge(r, k);
    return OK;
}

static void on_end(void *context, const XML_Char *element)
{
    xml_reader *r = context;
    status code = r->result == OK ? end_element(r, element) : OK;
    if (code != OK) stop(r, code);
    r->depth--;
    r->length = 0;
    r->too_long = false;
}

/* Entities can make a small file a huge one, or name other files; label files need none. */
static void on_entity(void *context, const XML_Char *entity, int is_parameter, const XML_Char *value, int value_length,
    const XML_Char *base, const XML_Char *system_id, const XML_Char *public_id, const XML_Char *notation)
{
    xml_reader *r = context;
    (void)is_parameter, (void)value, (void)value_length, (void)base, (void)system_id, (void)public_id, (void)notation;
    stop(r, FAIL(E_DATA, "%s:%d: declares the entity \"%.*s\": remove it, label files need none", r->name,
                (int)line_of(r), SHOWN, entity));
}

status voc_parse(box_list *l, const char *text, size_t bytes, const char *name)
{
    if (bytes > MAX_LABEL_FILE_BYTES) return FAIL(E_DATA, "%s: larger than %d MiB", name, MAX_LABEL_FILE_BYTES >> 20);
    xml_reader *r = HEAP_NEW(xml_reader);
    status result = OK;
    if (!r) return E_MEMORY;
    *r = (xml_reader){.parser = XML_ParserCreate(NULL), .list = l, .name = name};
    if (!r->parser) TRY_OUT(FAIL_MEMORY(bytes));
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, on_start, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    XML_SetEntityDeclHandler(r->parser, on_entity);
    bool fine = XML_Parse(r->parser, text, (int)bytes, 1) == XML_STATUS_OK;
    if (r->result != OK) TRY_OUT(r->result);
    enum XML_Error error = XML_GetErrorCode(r->parser);
    if (!fine && error == XML_ERROR_NO_MEMORY) TRY_OUT(FAIL_MEMORY(bytes));
    if (!fine) TRY_OUT(FAIL(E_DATA, "%s:%d: not well-formed XML: %s", name, (int)line_of(r), XML_ErrorString(error)));
out:
    if (r->parser) XML_ParserFree(r->parser);
    free(r);
    return result;
}

/* ------------------------------------------------------------------------------------------------ lists and folders */

static char *list_path(arena *a, const char *root, const char *name)
{
    char *path = arena_printf(a, "%s/ImageSets/Main/%s.txt", root, name);
    return path && file_exists(path) && !file_is_dir(path) ? path : NULL;
}

static bool has_folders(arena *a, const char *root)
{
    char *images = path_join(a, root, "JPEGImages"), *labels = path_join(a, root, "Annotations");
    return images && labels && file_is_dir(images) && file_is_dir(labels);
}

static bool is_list(const char *path) { return file_exists(path) && !file_is_dir(path); }

/* The list of a part. trainval is the training part where there is no list train. NULL: there is none. */
static char *part_list(arena *a, const char *root, dataset_part part)
{
    char *folder = path_join(a, root, "ImageSets/Main");
    char *path = folder && file_is_dir(folder) ? part_path(a, folder, part, ".txt", is_list) : NULL;
    return path || part != PART_TRAIN ? path : list_path(a, root, "trainval");
}

static bool probe(const char *path, dataset_part part)
{
    arena memory = {0};
    bool found = has_folders(&memory, path);
    if (part != PART_WHOLE) found = found && part_list(&memory, path, part);
    arena_free(&memory);
    return found;
}

static int compare_stem(const void *key, const void *file) { return strcmp(key, ((const stem_file *)file)->stem); }

static status add_image(box_list *l, const char *path, const char *root, const char *stem)
{
    arena memory = {0};
    char *text, *file;
    size_t bytes;
    void *data;
    status result = OK;
    TRY_ALLOC_OUT(file, arena_printf(l->memory, "%s/Annotations/%s.xml", root, stem));
    bool labelled = file_exists(file);
    TRY_OUT(box_list_begin(l, path, labelled ? file : NULL));
    if (!labelled) goto out;
    TRY_OUT(file_read_regular(&memory, file, MAX_LABEL_FILE_BYTES, &data, &bytes));
    text = data;
    TRY_OUT(voc_parse(l, text, bytes, file));
out:
    arena_free(&memory);
    return result;
}

/* "NAME", or "NAME 1" as the lists of a single class have it. */
static char *listed_name(char *line)
{
    size_t length = strlen(line);
    while (length && strchr(" \t", line[length - 1])) line[--length] = 0;
    line += strspn(line, " \t");
    char *blank = strrchr(line, ' ');
    if (blank && (strcmp(blank, " 1") == 0 || strcmp(blank, " -1") == 0 || strcmp(blank, " 0") == 0))
        while (blank >= line && *blank == ' ') *blank-- = 0;
    return line;
}

static status add_listed(box_list *l, const char *list, const char *root, const stem_file *files, int64_t count)
{
    char *text;
    size_t bytes;
    int32_t line = 0;
    TRY(text_file_read(l->memory, list, MAX_LABEL_FILE_BYTES, E_DATA, &text, &bytes));
    for (char *row; (row = strsep(&text, "\n"));) {
        char *stem = listed_name(row), *lacking = NULL;
        line++;
        if (!*stem) continue;
        if (strchr(stem, '/'))
            return FAIL(E_DATA,
                "%s:%d: \"%.*s\": expected the name of an image in JPEGImages, without folder and ending", list,
                (int)line, SHOWN, text_printable(l->memory, stem));
        const stem_file *f = count ? bsearch(stem, files, (size_t)count, sizeof *files, compare_stem) : NULL;
        /* A listed image that is not there is a bad sample. */
        if (!f) TRY_ALLOC(lacking, arena_printf(l->memory, "%s/JPEGImages/%s.jpg", root, stem));
        TRY(add_image(l, f ? f->path : lacking, root, stem));
    }
    return OK;
}

/* Two images that one list entry or label file stands for. */
static status check_stems(const stem_file *files, int64_t count)
{
    for (int64_t i = 1; i < count; i++)
        if (strcmp(files[i - 1].stem, files[i].stem) == 0)
            return FAIL(E_DATA, "%s and %s share one name in the lists: rename or remove one", files[i - 1].path,
                path_base(files[i].path));
    return OK;
}

/* trainval stands for train and val together: beside a val list it would train on what is to be judged. */
static status check_trainval(arena *a, const char *root, dataset_part part, const char *list)
{
    bool both = part == PART_TRAIN && strcasecmp(path_base(list), "trainval.txt") == 0 && part_list(a, root, PART_VAL);
    if (!both) return OK;
    return FAIL(E_DATA,
        "%s: holds the images of the val list beside it, and there is no train.txt: write that list, or remove val.txt",
        list);
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    arena memory = {0};
    box_list list = {.memory = &memory};
    status result = OK;
    char *images, *names = part == PART_WHOLE ? NULL : part_list(&memory, path, part);
    stem_file *files;
    int64_t count;
    if (part != PART_WHOLE && !names) TRY_OUT(FAIL(E_DATA, "%s: no list ImageSets/Main/%s.txt", path, part_name(part)));
    if (names) TRY_OUT(check_trainval(&memory, path, part, names));
    TRY_ALLOC_OUT(images, path_join(&memory, path, "JPEGImages"));
    TRY_OUT(list_images_by_stem(&memory, images, &files, &count));
    TRY_OUT(check_stems(files, count));
    if (names) TRY_OUT(add_listed(&list, names, path, files, count));
    for (int64_t i = 0; i < count && !names; i++) TRY_OUT(add_image(&list, files[i].path, path, files[i].stem));
    TRY_OUT(box_list_give(&list, ds, options));
out:
    box_list_free(&list);
    arena_free(&memory);
    return result;
}

const dataset_reader reader_voc = {"voc", probe, open_part, read_sample_file, NULL, NULL};
