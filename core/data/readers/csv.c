/* A table of files and classes: "file,class" per line, with or without a header. Files are relative to the table's
 * folder, or to a folder images/ in it. Classes are numbered in byte-wise order of their names. Blanks around a field
 * that is not quoted are no part of it. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/file.h"
#include "core/base/text_file.h"
#include "core/base/utf8.h"
#include "core/data/readers/readers.h"

enum { MAX_TABLE_BYTES = 1 << 30 };

typedef struct csv_reader {
    arena *memory;
    const char *text, *end;
    const char *name;
    int32_t line;
    const char **field;
    int64_t field_count, field_capacity;
    csv_row *rows;
    int64_t row_count, row_capacity;
} csv_reader;

static void skip_blanks(csv_reader *r)
{
    while (r->text < r->end && (*r->text == ' ' || *r->text == '\t')) r->text++;
}

static status add_field(csv_reader *r, const char *text, size_t length)
{
    while (length && (text[length - 1] == ' ' || text[length - 1] == '\t')) length--;
    TRY(array_reserve((void **)&r->field, &r->field_capacity, r->field_count + 1, sizeof *r->field));
    char *copy = arena_strndup(r->memory, text, length);
    if (!copy) return FAIL_MEMORY(length);
    r->field[r->field_count++] = copy;
    return OK;
}

static status read_quoted(csv_reader *r)
{
    int32_t start = r->line;
    const char *close = r->text + 1;
    /* The closing quote is the first one that is not doubled. */
    for (; close < r->end; close++) {
        if (*close == '\n') r->line++;
        if (*close != '"') continue;
        if (close + 1 < r->end && close[1] == '"') close++;
        else break;
    }
    if (close >= r->end) return FAIL(E_DATA, "%s:%d: a quote is not closed", r->name, start);
    char *copy = arena_alloc(r->memory, (size_t)(close - r->text)), *to = copy;
    if (!copy) return FAIL_MEMORY(close - r->text);
    for (const char *from = r->text + 1; from < close; from++) {
        *to++ = *from;
        if (*from == '"') from++;
    }
    TRY(array_reserve((void **)&r->field, &r->field_capacity, r->field_count + 1, sizeof *r->field));
    r->field[r->field_count++] = copy;
    r->text = close + 1;
    skip_blanks(r);
    if (r->text < r->end && *r->text != ',' && *r->text != '\n' && *r->text != '\r')
        return FAIL(
            E_DATA, "%s:%d: text behind a closing quote; expected a comma or the end of the line", r->name, r->line);
    return OK;
}

static status read_row(csv_reader *r)
{
    int32_t line = r->line;
    r->field_count = 0;
    for (;;) {
        skip_blanks(r);
        if (r->text < r->end && *r->text == '"') {
            TRY(read_quoted(r));
        } else {
            const char *start = r->text;
            while (r->text < r->end && *r->text != ',' && *r->text != '\n' && *r->text != '\r') r->text++;
            TRY(add_field(r, start, (size_t)(r->text - start)));
        }
        if (r->text < r->end && *r->text == ',') r->text++;
        else break;
    }
    if (r->text < r->end && *r->text == '\r') r->text++;
    if (r->text < r->end && *r->text == '\n') r->text++;
    r->line++;
    if (r->field_count == 1 && r->field[0][0] == 0) return OK; /* an empty line */
    TRY(array_reserve((void **)&r->rows, &r->row_capacity, r->row_count + 1, sizeof *r->rows));
    csv_row row = {line, (int32_t)r->field_count,
        arena_memdup(r->memory, r->field, (size_t)r->field_count * sizeof *r->field)};
    if (!row.field) return FAIL_MEMORY((size_t)r->field_count * sizeof *r->field);
    r->rows[r->row_count++] = row;
    return OK;
}

status csv_parse(arena *a, const char *text, size_t bytes, const char *name, csv_row **rows, int64_t *count)
{
    status result = OK;
    *rows = NULL;
    *count = 0;
    csv_reader r = {.memory = a, .text = text, .end = text + bytes, .name = name, .line = 1};
    if (bytes && memchr(text, 0, bytes)) TRY_OUT(FAIL(E_DATA, "%s: a 0 byte: this is no text", name));
    while (r.text < r.end) TRY_OUT(read_row(&r));
    *rows = arena_memdup(a, r.rows, (size_t)r.row_count * sizeof *r.rows);
    if (!*rows) TRY_OUT(FAIL_MEMORY((size_t)r.row_count * sizeof *r.rows));
    *count = r.row_count;
out:
    free(r.rows);
    free(r.field);
    return result;
}

static bool is_one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strcasecmp(text, *words) == 0) return true;
    return false;
}

/* Columns by the names in the first row, or the first two. */
static bool find_columns(const csv_row *first, int32_t *file, int32_t *class_column)
{
    static const char *const file_words[] = {
        "file", "filename", "file_name", "path", "filepath", "image", "image_path", "img", NULL};
    static const char *const class_words[] = {"class", "label", "category", "class_name", "target", NULL};
    bool header = false, named = false;
    *file = 0;
    *class_column = 1;
    for (int32_t i = 0; i < first->count && !header; i++)
        if (is_one_of(first->field[i], file_words)) *file = i, header = true;
    for (int32_t i = 0; header && i < first->count && !named; i++)
        if (i != *file && is_one_of(first->field[i], class_words)) *class_column = i, named = true;
    if (header && !named && *file == 1) *class_column = 0;
    return header;
}

static bool is_table(const char *path)
{
    return strcasecmp(path_extension(path), "csv") == 0 && file_exists(path) && !file_is_dir(path);
}

static bool probe(const char *path, dataset_part part)
{
    arena memory = {0};
    bool found = part == PART_WHOLE ? is_table(path) : part_path(&memory, path, part, ".csv", is_table) != NULL;
    arena_free(&memory);
    return found;
}

static int compare_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static status number_classes(dataset *ds, arena *memory, const csv_row *rows, int64_t count, int32_t column)
{
    const char **names = ARENA_ARRAY(memory, const char *, count);
    if (!names) return FAIL_MEMORY((size_t)count * sizeof *names);
    for (int64_t i = 0; i < count; i++) names[i] = rows[i].field[column];
    qsort(names, (size_t)count, sizeof *names, compare_text);
    int64_t unique = 0;
    for (int64_t i = 0; i < count; i++)
        if (unique == 0 || strcmp(names[i], names[unique - 1]) != 0) names[unique++] = names[i];
    return dataset_set_classes(ds, names, unique);
}

static status add_rows(dataset *ds, arena *memory, const char *table, const csv_row *rows, int64_t count, int32_t file,
    int32_t class_column)
{
    char *folder = arena_strndup(memory, table, (size_t)(path_base(table) - table));
    if (!folder) return FAIL_MEMORY(strlen(table));
    for (int64_t i = 0; i < count; i++) {
        const char *name = rows[i].field[file];
        char *path = name[0] == '/' ? arena_strdup(memory, name) : arena_printf(memory, "%s%s", folder, name);
        if (path && name[0] != '/' && !file_exists(path)) {
            char *inner = arena_printf(memory, "%simages/%s", folder, name);
            if (inner && file_exists(inner)) path = inner;
        }
        if (!path) return FAIL_MEMORY(strlen(folder) + strlen(name));
        sample s = {.name = path, .class_index = (int32_t)dataset_find_class(ds, rows[i].field[class_column])};
        /* A file that is not there is a bad sample, reported with the others. */
        if (file_exists(path)) TRY(file_info(path, &s.bytes, &s.mtime_ns));
        TRY(dataset_add_sample(ds, &s));
    }
    return OK;
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    (void)options;
    arena memory = {0};
    status result = OK;
    csv_row *rows;
    int64_t count;
    size_t bytes;
    char *text;
    int32_t file = 0, class_column = 1;
    const char *table = part == PART_WHOLE ? path : part_path(&memory, path, part, ".csv", is_table);
    if (!table) TRY_OUT(FAIL(E_DATA, "%s: no table %s.csv", path, part_name(part)));
    TRY_OUT(text_file_read(&memory, table, MAX_TABLE_BYTES, E_DATA, &text, &bytes));
    TRY_OUT(csv_parse(&memory, text, bytes, table, &rows, &count));
    if (count > 0 && find_columns(&rows[0], &file, &class_column)) rows++, count--;
    if (count <= 0) TRY_OUT(FAIL(E_DATA, "%s: no rows", table));
    for (int64_t i = 0; i < count; i++) {
        bool whole = rows[i].count > file && rows[i].count > class_column;
        if (!whole || !rows[i].field[file][0] || !rows[i].field[class_column][0])
            TRY_OUT(FAIL(E_DATA, "%s:%d: expected a file and a class, separated by a comma", table, rows[i].line));
        const char *name = utf8_escaped(&memory, rows[i].field[class_column]);
        if (!name) TRY_OUT(FAIL_MEMORY(64));
        rows[i].field[class_column] = name;
    }
    TRY_OUT(number_classes(ds, &memory, rows, count, class_column));
    TRY_OUT(add_rows(ds, &memory, table, rows, count, file, class_column));
out:
    arena_free(&memory);
    return result;
}

const dataset_reader reader_csv = {"csv", probe, open_part, read_sample_file, NULL, NULL};
