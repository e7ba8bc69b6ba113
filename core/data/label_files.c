#include "core/data/label_files.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/json.h"

const char *const label_files_names[LABEL_FILES_FORMATS + 1] = {"kitti", "voc", "coco", "yolo", NULL};

static const char *const part_names[3] = {"train", "val", "test"};

typedef struct label_writer {
    const char *folder;
    label_files_format format;
    bool link;
    label_files_report *report;
    char **stem;         /* [ds->count] of the part: unique names without ending */
    json_writer images, annotations; /* COCO's lists of the part */
    int64_t image_id, annotation_id;
    FILE *list;          /* VOC's list of the part */
} label_writer;

/* An image as it goes out. */
typedef struct written_image {
    const sample *sample;
    const dataset *ds;
    const char *stem, *file; /* the file's name: stem and ending */
    int32_t width, height;
} written_image;

/* ------------------------------------------------------------------------------------------------ texts */

/* The shortest number that reads back equal. */
static const char *float_text(float value, char text[32])
{
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, 32, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value) break;
    }
    return text;
}

static void put_xml(FILE *f, const char *text)
{
    for (; *text; text++) {
        const char *entity = *text == '&' ? "&amp;" : *text == '<' ? "&lt;" : *text == '>' ? "&gt;" : NULL;
        if (entity) fputs(entity, f);
        else fputc(*text, f);
    }
}

static status finish_file(FILE *f, const char *path)
{
    bool bad = ferror(f) != 0;
    if (fclose(f) != 0 || bad) return FAIL(E_IO, "%s: cannot write: %s", path, strerror(errno));
    return OK;
}

/* A file below the folder, whose folders are made. */
static status open_file(arena *a, const label_writer *w, FILE **f, char **path, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
static status open_file(arena *a, const label_writer *w, FILE **f, char **path, const char *fmt, ...)
{
    char name[1024];
    va_list args;
    va_start(args, fmt);
    int length = vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    if (length < 0 || length >= (int)sizeof name) return FAIL(E_DATA, "%.64s...: the name is too long", name);
    TRY_ALLOC(*path, path_join(a, w->folder, name));
    char *above = arena_strndup(a, *path, (size_t)(path_base(*path) - *path));
    if (!above) return FAIL_MEMORY(length);
    TRY(dir_make(above));
    if (!f) return OK;
    *f = fopen(*path, "wb");
    return *f ? OK : FAIL(E_IO, "%s: cannot write: %s", *path, strerror(errno));
}

/* ------------------------------------------------------------------------------------------------ names */

typedef struct named {
    char *stem;
    int64_t index;
} named;

static int by_stem(const void *a, const void *b)
{
    const named *x = a, *y = b;
    int order = strcmp(x->stem, y->stem);
    return order ? order : x->index < y->index ? -1 : x->index > y->index;
}

/* The files' names without ending; of equal ones all but the first get their number behind it. VOC's parts share a
 * folder: there they begin with the part. */
static status name_images(label_writer *w, arena *a, const dataset *ds, const char *part)
{
    named *n;
    TRY_ALLOC(n, ARENA_ARRAY(a, named, ds->count));
    TRY_ALLOC(w->stem, ARENA_ARRAY(a, char *, ds->count));
    for (int64_t i = 0; i < ds->count; i++) {
        const char *base = path_base(ds->samples[i].name), *ending = path_extension(base);
        size_t length = strlen(base) - (*ending ? strlen(ending) + 1 : 0);
        TRY_ALLOC(n[i].stem, arena_strndup(a, base, length));
        for (char *c = n[i].stem; *c; c++) /* "file.gz#17" of records */
            if (strchr("#/ \t\n\r", *c)) *c = '_';
        n[i].index = i;
    }
    qsort(n, (size_t)ds->count, sizeof *n, by_stem);
    for (int64_t k = 0; k < ds->count; k++) {
        bool again = k > 0 && strcmp(n[k].stem, n[k - 1].stem) == 0;
        w->stem[n[k].index] = n[k].stem;
        if (again) TRY_ALLOC(w->stem[n[k].index], arena_printf(a, "%s-%" PRId64, n[k].stem, n[k].index));
        if (w->format == LABEL_FILES_VOC)
            TRY_ALLOC(w->stem[n[k].index], arena_printf(a, "%s_%s", part, w->stem[n[k].index]));
    }
    return OK;
}

static const char *ending_of(const char *name, const char *format)
{
    const char *ending = path_extension(path_base(name));
    if (*ending && !strchr(ending, '#') && strlen(ending) <= 5) return ending;
    return strcmp(format, "jpeg") == 0 ? "jpg" : format;
}

/* ------------------------------------------------------------------------------------------------ labels */

/* NULL: nothing of the box can be said in the format. */
static const char *class_of(const label_writer *w, const written_image *im, const label_box *b)
{
    const char *name = b->class_index >= 0 ? im->ds->class_name[b->class_index] : NULL;
    switch (w->format) {
    case LABEL_FILES_KITTI: return b->ignore || b->crowd || !name ? "DontCare" : name;
    case LABEL_FILES_YOLO: return b->ignore || b->crowd ? NULL : name;
    default: return name;
    }
}

static void put_kitti(FILE *f, const label_box *b, const char *name)
{
    char text[4][32];
    for (; *name; name++) fputc(strchr(" \t\n\r", *name) ? '_' : *name, f); /* columns end at blanks */
    fprintf(f, " 0 0 0 %s %s %s %s 0 0 0 0 0 0 0\n", float_text(b->x0, text[0]), float_text(b->y0, text[1]),
        float_text(b->x1, text[2]), float_text(b->y1, text[3]));
}

static void put_yolo(FILE *f, const label_box *b, const written_image *im)
{
    double width = im->width, height = im->height;
    fprintf(f, "%d %.9g %.9g %.9g %.9g\n", (int)b->class_index, ((double)b->x0 + (double)b->x1) / 2 / width,
        ((double)b->y0 + (double)b->y1) / 2 / height, ((double)b->x1 - (double)b->x0) / width,
        ((double)b->y1 - (double)b->y0) / height);
}

static void put_voc(FILE *f, const label_box *b, const char *name)
{
    char text[4][32];
    fputs("<object>\n<name>", f);
    put_xml(f, name);
    fprintf(f, "</name>\n<difficult>%d</difficult>\n<bndbox><xmin>%s</xmin><ymin>%s</ymin>", b->ignore || b->crowd,
        float_text(b->x0 + 1, text[0]), float_text(b->y0 + 1, text[1]));
    fprintf(f, "<xmax>%s</xmax><ymax>%s</ymax></bndbox>\n</object>\n", float_text(b->x1, text[2]),
        float_text(b->y1, text[3]));
}

static void put_member(json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_number(w, value);
}

static void put_coco(label_writer *w, const label_box *b)
{
    json_writer *j = &w->annotations;
    double width = (double)b->x1 - (double)b->x0, height = (double)b->y1 - (double)b->y0;
    json_begin_object(j);
    json_key(j, "id"), json_put_int(j, ++w->annotation_id);
    json_key(j, "image_id"), json_put_int(j, w->image_id);
    json_key(j, "category_id"), json_put_int(j, b->class_index + 1);
    json_key(j, "bbox");
    json_begin_array(j);
    json_put_number(j, (double)b->x0), json_put_number(j, (double)b->y0);
    json_put_number(j, width), json_put_number(j, height);
    json_end_array(j);
    put_member(j, "area", b->area > 0 ? (double)b->area : width * height);
    json_key(j, "iscrowd"), json_put_int(j, b->ignore || b->crowd);
    json_end_object(j);
}

static void put_boxes(label_writer *w, FILE *f, const written_image *im)
{
    for (int64_t k = 0; k < im->sample->box_count; k++) {
        const label_box *b = &im->sample->box[k];
        const char *name = class_of(w, im, b);
        w->report->left_out += name == NULL;
        w->report->boxes += name != NULL;
        if (!name) continue;
        switch (w->format) {
        case LABEL_FILES_KITTI: put_kitti(f, b, name); break;
        case LABEL_FILES_VOC: put_voc(f, b, name); break;
        case LABEL_FILES_YOLO: put_yolo(f, b, im); break;
        default: put_coco(w, b); break;
        }
    }
}

static status put_labels(label_writer *w, arena *a, const written_image *im, const char *part)
{
    FILE *f;
    char *path;
    if (w->format == LABEL_FILES_COCO) {
        json_writer *j = &w->images;
        json_begin_object(j);
        json_key(j, "id"), json_put_int(j, ++w->image_id);
        json_key(j, "file_name"), json_put_string(j, im->file);
        json_key(j, "width"), json_put_int(j, im->width);
        json_key(j, "height"), json_put_int(j, im->height);
        json_end_object(j);
        put_boxes(w, NULL, im);
        return OK;
    }
    if (!im->sample->label_file && im->sample->box_count == 0) return OK; /* it had none, and has none */
    switch (w->format) {
    case LABEL_FILES_KITTI: TRY(open_file(a, w, &f, &path, "%s/labels/%s.txt", part, im->stem)); break;
    case LABEL_FILES_YOLO: TRY(open_file(a, w, &f, &path, "labels/%s/%s.txt", part, im->stem)); break;
    default: TRY(open_file(a, w, &f, &path, "Annotations/%s.xml", im->stem)); break;
    }
    if (w->format == LABEL_FILES_VOC) {
        fputs("<annotation>\n<filename>", f);
        put_xml(f, im->file);
        fprintf(f, "</filename>\n<size><width>%d</width><height>%d</height><depth>3</depth></size>\n", (int)im->width,
            (int)im->height);
    }
    put_boxes(w, f, im);
    if (w->format == LABEL_FILES_VOC) fputs("</annotation>\n", f);
    return finish_file(f, path);
}

/* ------------------------------------------------------------------------------------------------ images */

static status put_image(label_writer *w, arena *a, const written_image *im, const char *part, const uint8_t *bytes,
    size_t count)
{
    FILE *f = NULL;
    char *path, *target;
    bool is_file = file_exists(im->sample->name) && !file_is_dir(im->sample->name);
    FILE **opened = w->link && is_file ? NULL : &f;
    switch (w->format) {
    case LABEL_FILES_KITTI: TRY(open_file(a, w, opened, &path, "%s/images/%s", part, im->file)); break;
    case LABEL_FILES_VOC: TRY(open_file(a, w, opened, &path, "JPEGImages/%s", im->file)); break;
    default: TRY(open_file(a, w, opened, &path, "images/%s/%s", part, im->file)); break;
    }
    if (f) {
        fwrite(bytes, 1, count, f);
        return finish_file(f, path);
    }
    target = realpath(im->sample->name, NULL);
    bool linked = target && symlink(target, path) == 0;
    free(target);
    return linked ? OK : FAIL(E_IO, "%s: cannot link to %s: %s", path, im->sample->name, strerror(errno));
}

static status put_sample(label_writer *w, const dataset *ds, int64_t i, const char *part)
{
    arena memory = {0};
    written_image im = {.sample = &ds->samples[i], .ds = ds, .stem = w->stem[i]};
    decode_options options = dataset_decode_options(NULL, 3);
    const uint8_t *bytes;
    const char *format;
    size_t count;
    status result = OK;
    TRY_OUT(dataset_encoded(ds, i, &memory, &bytes, &count));
    if (!bytes) TRY_OUT(FAIL(E_INTERNAL, "%s: boxes of raw pixels", im.sample->name));
    if (image_probe(bytes, count, &options, &im.width, &im.height, &format) != OK)
        TRY_OUT(FAIL(E_DATA, "%s: %s", im.sample->name, status_message()));
    TRY_ALLOC_OUT(im.file, arena_printf(&memory, "%s.%s", im.stem, ending_of(im.sample->name, format)));
    TRY_OUT(put_image(w, &memory, &im, part, bytes, count));
    TRY_OUT(put_labels(w, &memory, &im, part));
    if (w->list) fprintf(w->list, "%s\n", im.stem);
    w->report->images++;
out:
    arena_free(&memory);
    return result;
}

/* ------------------------------------------------------------------------------------------------ parts */

static void put_categories(json_writer *j, const dataset *ds)
{
    json_key(j, "categories");
    json_begin_array(j);
    for (int64_t k = 0; k < ds->class_count; k++) {
        json_begin_object(j);
        json_key(j, "id"), json_put_int(j, k + 1);
        json_key(j, "name"), json_put_string(j, ds->class_name[k]);
        json_end_object(j);
    }
    json_end_array(j);
}

/* COCO's file: {"categories": ..., "images": [...], "annotations": [...]}. */
static status put_coco_file(label_writer *w, arena *a, const dataset *ds, const char *part)
{
    json_writer head = {0};
    const char *texts[3];
    size_t bytes[3];
    FILE *f;
    char *path;
    json_end_array(&w->images);
    json_end_array(&w->annotations);
    json_begin_object(&head);
    put_categories(&head, ds);
    json_end_object(&head);
    status result = json_writer_finish(&head, &texts[0], &bytes[0]);
    if (result == OK) result = json_writer_finish(&w->images, &texts[1], &bytes[1]);
    if (result == OK) result = json_writer_finish(&w->annotations, &texts[2], &bytes[2]);
    if (result == OK) result = open_file(a, w, &f, &path, "annotations/instances_%s.json", part);
    if (result == OK) {
        fprintf(f, "%.*s,\n\"images\": ", (int)bytes[0] - 1, texts[0]); /* without the closing brace */
        fwrite(texts[1], 1, bytes[1], f);
        fputs(",\n\"annotations\": ", f);
        fwrite(texts[2], 1, bytes[2], f);
        fputs("}\n", f);
        result = finish_file(f, path);
    }
    json_writer_free(&head);
    return result;
}

static status put_part(label_writer *w, const dataset *ds, const char *part, logger *l)
{
    arena memory = {0};
    char *path = NULL;
    status result = OK;
    w->image_id = w->annotation_id = 0;
    TRY_OUT(name_images(w, &memory, ds, part));
    if (w->format == LABEL_FILES_VOC) TRY_OUT(open_file(&memory, w, &w->list, &path, "ImageSets/Main/%s.txt", part));
    json_begin_array(&w->images);
    json_begin_array(&w->annotations);
    for (int64_t i = 0; i < ds->count; i++) {
        TRY_OUT(put_sample(w, ds, i, part));
        log_progress(l, i + 1 == ds->count, "writing %s: %" PRId64 " of %" PRId64, part, i + 1, ds->count);
    }
    if (w->format == LABEL_FILES_COCO) TRY_OUT(put_coco_file(w, &memory, ds, part));
out:
    if (w->list) {
        status closed = finish_file(w->list, path);
        if (result == OK) result = closed;
    }
    w->list = NULL;
    json_writer_free(&w->images);
    json_writer_free(&w->annotations);
    w->images = w->annotations = (json_writer){0};
    arena_free(&memory);
    return result;
}

/* YOLO's data.yaml; a JSON text is a YAML text. */
static status put_yaml(label_writer *w, arena *a, const dataset parts[3], const dataset *classes)
{
    json_writer j = {0};
    const char *text;
    size_t bytes;
    FILE *f;
    char *path;
    json_begin_array(&j);
    for (int64_t k = 0; k < classes->class_count; k++) json_put_string(&j, classes->class_name[k]);
    json_end_array(&j);
    status result = json_writer_finish(&j, &text, &bytes);
    if (result == OK) result = open_file(a, w, &f, &path, "data.yaml");
    if (result == OK) {
        for (int i = 0; i < 3; i++)
            if (parts[i].count) fprintf(f, "%s: images/%s\n", part_names[i], part_names[i]);
        fprintf(f, "nc: %" PRId64 "\nnames: %.*s\n", classes->class_count, (int)bytes, text);
        result = finish_file(f, path);
    }
    json_writer_free(&j);
    return result;
}

static status check(const char *folder, const dataset parts[3], const dataset **classes)
{
    if (file_exists(folder)) return FAIL(E_USAGE, "%s: is there already: name a new folder", folder);
    for (int i = 2; i >= 0; i--) {
        if (parts[i].count == 0) continue;
        if (!parts[i].has_boxes)
            return FAIL(E_USAGE, "%s (%s): its images have a class each and no boxes, which label files would hold",
                parts[i].path, parts[i].reader->name);
        *classes = &parts[i];
    }
    return OK;
}

status label_files_write(const char *folder, label_files_format format, const dataset parts[3], bool link, logger *l,
    label_files_report *report)
{
    arena memory = {0};
    const dataset *classes = NULL;
    label_writer w = {.folder = folder, .format = format, .link = link, .report = report};
    status result = OK;
    *report = (label_files_report){0};
    TRY(check(folder, parts, &classes));
    for (int i = 0; i < 3; i++)
        if (parts[i].count) TRY_OUT(put_part(&w, &parts[i], part_names[i], l));
    if (format == LABEL_FILES_YOLO && classes) TRY_OUT(put_yaml(&w, &memory, parts, classes));
out:
    arena_free(&memory);
    return result;
}
