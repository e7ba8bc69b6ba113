/* KITTI: PART/images/x.jpg and PART/labels/x.txt (or image_2, label_2), one object per line:
 *
 *   class truncated occluded alpha LEFT TOP RIGHT BOTTOM height width length x y z rotation [score]
 *
 * in pixels from 0. DontCare is a region to ignore. An image without label file shows no object. */
#include <string.h>
#include <strings.h>

#include "core/base/file.h"
#include "core/base/text.h"
#include "core/base/text_file.h"
#include "core/data/readers/box_labels.h"
#include "core/data/readers/readers.h"

enum { COLUMNS = 15, FIRST_EDGE = 4, FIELD_MAX = 17, SHOWN = 64 };

/* ------------------------------------------------------------------------------------------------ label files */

/* Fields of a line, which is changed; those above FIELD_MAX are counted as one. */
static int32_t split_line(char *line, char *field[FIELD_MAX])
{
    int32_t count = 0;
    for (char *word; (word = strsep(&line, " \t"));)
        if (*word && count < FIELD_MAX) field[count++] = word;
    return count;
}

static status refuse_columns(const char *name, int32_t line, char *const field[], int32_t count)
{
    double number;
    bool yolo = count == 5 && text_to_number(field[0], &number);
    return FAIL(E_DATA, "%s:%d: %s%d columns (\"%.*s ...\"), a KITTI label has 15, or 16 with a score%s", name, line,
        count == FIELD_MAX ? "at least " : "", count, SHOWN, field[0],
        yolo ? ": five numbers are YOLO's format"
             : ": class, truncated, occluded, alpha, left, top, right, bottom and 7 of 3-D");
}

static status parse_line(box_list *l, char *text, const char *name, int32_t line)
{
    char *field[FIELD_MAX];
    label_box b = {.line = line, .class_index = -1};
    float *edge[4] = {&b.x0, &b.y0, &b.x1, &b.y1};
    int32_t count = split_line(text, field);
    if (count == 0) return OK;
    for (int32_t i = 0; i < count; i++) text_make_printable(field[i]);
    if (count != COLUMNS && count != COLUMNS + 1) return refuse_columns(name, line, field, count);
    for (int k = 0; k < 4; k++)
        if (!box_number(field[FIRST_EDGE + k], edge[k]))
            return FAIL(E_DATA, "%s:%d: column %d is \"%.*s\": expected a number, the box's %s edge in pixels", name,
                line, FIRST_EDGE + k + 1, SHOWN, field[FIRST_EDGE + k],
                (const char *const[]){"left", "top", "right", "bottom"}[k]);
    return box_list_add(l, &b, strcasecmp(field[0], "DontCare") == 0 ? NULL : field[0]);
}

status kitti_parse(box_list *l, char *text, const char *name)
{
    int32_t line = 0;
    for (char *row; (row = strsep(&text, "\n"));) TRY(parse_line(l, row, name, ++line));
    return OK;
}

/* ------------------------------------------------------------------------------------------------ folders */

/* The folder's images and labels, or false. */
static bool find_folders(arena *a, const char *path, char **images, char **labels)
{
    static const char *const names[][2] = {
        {"images", "labels"}, {"image_2", "label_2"}, {"images", "label_2"}, {"image_2", "labels"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        *images = path_join(a, path, names[i][0]);
        *labels = path_join(a, path, names[i][1]);
        if (*images && *labels && file_is_dir(*images) && file_is_dir(*labels)) return true;
    }
    return false;
}

/* Is the first line that says something KITTI's, right or nearly so? Lines of numbers alone are YOLO's. */
static bool is_kitti_text(arena *a, const char *path)
{
    char *text, *field[FIELD_MAX];
    size_t bytes;
    double number;
    if (text_file_read(a, path, MAX_LABEL_FILE_BYTES, E_DATA, &text, &bytes) != OK) return true; /* opening says why */
    for (char *row; (row = strsep(&text, "\n"));) {
        int32_t count = split_line(row, field);
        if (count) return count == COLUMNS || count == COLUMNS + 1 || !text_to_number(field[0], &number);
    }
    return true;
}

static bool is_part(const char *path)
{
    arena memory = {0};
    char *images, *labels, **names;
    int64_t count;
    bool found = false;
    if (file_is_dir(path) && find_folders(&memory, path, &images, &labels) && folder_has_images(images) &&
        dir_list(&memory, labels, &names, &count) == OK)
        for (int64_t i = 0; i < count && !found; i++) {
            char *file = strcasecmp(path_extension(names[i]), "txt") == 0 ? path_join(&memory, labels, names[i]) : NULL;
            if (!file || names[i][0] == '.' || file_is_dir(file) || file_is_stream(file)) continue;
            if (!(found = is_kitti_text(&memory, file))) break;
        }
    arena_free(&memory);
    return found;
}

static bool probe(const char *path, dataset_part part)
{
    arena memory = {0};
    bool found = part == PART_WHOLE ? is_part(path) : part_path(&memory, path, part, "", is_part) != NULL;
    arena_free(&memory);
    return found;
}

static status read_labels(box_list *l, const char *file)
{
    arena memory = {0};
    char *text;
    size_t bytes;
    status result = text_file_read(&memory, file, MAX_LABEL_FILE_BYTES, E_DATA, &text, &bytes);
    if (result == OK) result = kitti_parse(l, text, file);
    arena_free(&memory);
    return result;
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    arena memory = {0};
    box_list list = {.memory = &memory};
    status result = OK;
    char *images, *labels;
    stem_file *files;
    int64_t count;
    const char *folder = part == PART_WHOLE ? path : part_path(&memory, path, part, "", is_part);
    if (!folder || !find_folders(&memory, folder, &images, &labels))
        TRY_OUT(FAIL(E_DATA, "%s: no folder %s with images/ and labels/ (or image_2/ and label_2/) in it", path,
            part_name(part)));
    TRY_OUT(list_images_by_stem(&memory, images, &files, &count));
    for (int64_t i = 0; i < count; i++) {
        char *file;
        TRY_ALLOC_OUT(file, arena_printf(&memory, "%s/%s.txt", labels, files[i].stem));
        bool labelled = file_exists(file);
        TRY_OUT(box_list_begin(&list, files[i].path, labelled ? file : NULL));
        if (labelled) TRY_OUT(read_labels(&list, file));
    }
    TRY_OUT(box_list_give(&list, ds, options));
out:
    box_list_free(&list);
    arena_free(&memory);
    return result;
}

const dataset_reader reader_kitti = {"kitti", probe, open_part, read_sample_file, NULL, NULL};
