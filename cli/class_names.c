#include "cli/class_names.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/base/file.h"
#include "core/base/text_file.h"
#include "core/base/utf8.h"
#include "core/data/classes.h"
#include "core/data/readers/readers.h"

enum { MAX_BYTES = 16 << 20 };

/* -1: the row names no such column. */
static int32_t find_column(const csv_row *header, const char *column)
{
    static const char *const usual[] = {"name", "class", "class_name", "label", "wnid", NULL};
    for (int i = 0; usual[i]; i++) {
        const char *wanted = column ? column : usual[i];
        for (int32_t k = 0; k < header->count; k++)
            if (strcasecmp(header->field[k], wanted) == 0) return k;
        if (column) break;
    }
    return -1;
}

static status read_column(arena *a, const csv_row *rows, int64_t row_count, int32_t column, const char *path,
    const char ***names, int64_t *count)
{
    *names = ARENA_ARRAY(a, const char *, row_count);
    if (!*names) return FAIL_MEMORY((size_t)row_count * sizeof **names);
    for (int64_t i = 1; i < row_count; i++) {
        if (rows[i].count <= column || !rows[i].field[column][0])
            return FAIL(E_DATA, "%s:%d: no value in column %s", path, rows[i].line, rows[0].field[column]);
        const char *name = utf8_escaped(a, rows[i].field[column]);
        if (!name) return FAIL_MEMORY(64);
        (*names)[(*count)++] = name;
    }
    return OK;
}

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static status check_names(arena *a, const char *const *names, int64_t count, const char *path)
{
    if (count == 0) return FAIL(E_DATA, "%s: no class names in it", path);
    const char **sorted = arena_memdup(a, names, (size_t)count * sizeof *names);
    if (!sorted) return FAIL_MEMORY((size_t)count * sizeof *names);
    qsort(sorted, (size_t)count, sizeof *sorted, by_text);
    for (int64_t i = 0; i < count; i++) {
        if (!sorted[i][0]) return FAIL(E_DATA, "%s: an empty class name", path);
        if (i && strcmp(sorted[i - 1], sorted[i]) == 0)
            return FAIL(
                E_DATA, "%s: two classes are called \"%s\": choose another column with FILE:COLUMN", path, sorted[i]);
    }
    return OK;
}

status class_names_read(arena *a, const char *file_and_column, const char ***names, int64_t *count)
{
    const char *colon = strrchr(file_and_column, ':'), *column = NULL, *path = file_and_column;
    char *text;
    size_t bytes;
    *count = 0;
    if (colon && !file_exists(path)) {
        column = colon + 1;
        path = arena_strndup(a, file_and_column, (size_t)(colon - file_and_column));
        if (!path) return FAIL_MEMORY(strlen(file_and_column));
    }
    csv_row *rows = NULL;
    int64_t row_count = 0;
    bool table = column || strcasecmp(path_extension(path), "csv") == 0;
    if (!table) TRY(class_names_read_list(a, path, names, count));
    else {
        TRY(text_file_read(a, path, MAX_BYTES, E_DATA, &text, &bytes));
        TRY(csv_parse(a, text, bytes, path, &rows, &row_count));
        int32_t at = row_count ? find_column(&rows[0], column) : -1;
        if (at < 0)
            return FAIL(
                E_DATA, "%s: no column called %s", path, column ? column : "name, class, class_name, label or wnid");
        TRY(read_column(a, rows, row_count, at, path, names, count));
    }
    return check_names(a, *names, *count, path);
}

status class_names_number(arena *a, int64_t count, const char ***names)
{
    *names = ARENA_ARRAY(a, const char *, count);
    if (!*names) return FAIL_MEMORY((size_t)count * sizeof **names);
    for (int64_t i = 0; i < count; i++)
        if (!((*names)[i] = arena_printf(a, "class %" PRId64, i))) return FAIL_MEMORY(32);
    return OK;
}
