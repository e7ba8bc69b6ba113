#include "export/cache.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/text_file.h"

enum { CACHE_MAX_BYTES = 16 << 20 };

/* One line without its end; NULL at the end of the text. */
typedef struct line_reader {
    const char *next, *end;
    int64_t number;
} line_reader;

static const char *read_line(line_reader *r, size_t *length)
{
    if (r->next == r->end) return NULL;
    const char *line = r->next, *stop = memchr(line, '\n', (size_t)(r->end - line));
    r->next = stop ? stop + 1 : r->end;
    if (!stop) stop = r->end;
    if (stop > line && stop[-1] == '\r') stop--;
    *length = (size_t)(stop - line);
    r->number++;
    return line;
}

/* "TRT-8601-EntropyCalibration2" */
static status parse_header(calibration_cache *c, const char *line, size_t length, const char *what)
{
    const char *text = arena_strndup(&c->memory, line, length);
    if (!text) return FAIL_MEMORY(length);
    char *rest = NULL;
    if (memchr(line, 0, length) || strncmp(text, "TRT-", 4) != 0 || !isdigit((unsigned char)text[4]))
        return FAIL(E_MODEL, "%s:1: no calibration cache: expected TRT-<version>-<algorithm>", what);
    c->version = strtoll(text + 4, &rest, 10);
    if (c->version < 1 || c->version > 9999999 || *rest != '-' || !rest[1])
        return FAIL(E_MODEL, "%s:1: expected TRT-<version>-<algorithm>, such as TRT-8601-EntropyCalibration2", what);
    c->algorithm = rest + 1;
    return OK;
}

/* 1 to 8 hex digits to the float with these bits. */
static bool parse_scale(const char *digits, size_t length, float *scale)
{
    uint32_t bits = 0;
    if (length < 1 || length > 8) return false;
    for (size_t i = 0; i < length; i++) {
        int d = tolower((unsigned char)digits[i]);
        if (!isxdigit(d)) return false;
        bits = bits << 4 | (uint32_t)(isdigit(d) ? d - '0' : d - 'a' + 10);
    }
    memcpy(scale, &bits, sizeof bits);
    return isfinite(*scale) && *scale > 0;
}

static status parse_entry(calibration_cache *c, const char *line, size_t length, const char *what, int64_t number)
{
    size_t colon = length;
    while (colon > 0 && line[colon - 1] != ':') colon--;
    if (colon < 2 || memchr(line, 0, length)) return FAIL(E_MODEL, "%s:%" PRId64 ": expected NAME: HEX", what, number);
    size_t name_length = colon - 1;
    while (colon < length && line[colon] == ' ') colon++;
    while (length > colon && line[length - 1] == ' ') length--;
    cache_entry *e = &c->entries[c->count];
    if (!parse_scale(line + colon, length - colon, &e->scale))
        return FAIL(E_MODEL, "%s:%" PRId64 ": expected a positive float32 scale as 1 to 8 hex digits", what, number);
    e->name = arena_strndup(&c->memory, line, name_length);
    if (!e->name) return FAIL_MEMORY(name_length);
    c->count++;
    return OK;
}

static int by_name(const void *a, const void *b)
{
    const cache_entry *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

static status check_unique(calibration_cache *c, const char *what)
{
    const cache_entry **sorted = ARENA_ARRAY(&c->memory, const cache_entry *, c->count);
    if (!sorted) return FAIL_MEMORY(sizeof *sorted * (size_t)c->count);
    for (int64_t i = 0; i < c->count; i++) sorted[i] = &c->entries[i];
    qsort(sorted, (size_t)c->count, sizeof *sorted, by_name);
    for (int64_t i = 1; i < c->count; i++) {
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            return FAIL(E_MODEL, "%s: tensor %s stands there twice", what, sorted[i]->name);
    }
    return OK;
}

static status parse_lines(calibration_cache *c, const char *text, size_t bytes, const char *what)
{
    line_reader r = {text, text + bytes, 0};
    size_t length = 0, lines = 1;
    for (size_t i = 0; i < bytes; i++) lines += text[i] == '\n';
    const char *line = read_line(&r, &length);
    if (!line) return FAIL(E_MODEL, "%s: empty: expected TRT-<version>-<algorithm>", what);
    TRY(parse_header(c, line, length, what));
    c->entries = ARENA_ARRAY(&c->memory, cache_entry, lines);
    if (!c->entries) return FAIL_MEMORY(lines * sizeof *c->entries);
    while ((line = read_line(&r, &length))) {
        if (length) TRY(parse_entry(c, line, length, what, r.number));
    }
    return check_unique(c, what);
}

status cache_parse(calibration_cache *c, const char *text, size_t bytes, const char *what)
{
    *c = (calibration_cache){0};
    status result = parse_lines(c, text, bytes, what);
    if (result != OK) cache_free(c);
    return result;
}

status cache_read(calibration_cache *c, const char *path)
{
    arena a = {0};
    char *text = NULL;
    size_t bytes = 0;
    *c = (calibration_cache){0};
    status result = text_file_read(&a, path, CACHE_MAX_BYTES, E_MODEL, &text, &bytes);
    if (result == OK) result = cache_parse(c, text, bytes, path);
    arena_free(&a);
    return result;
}

void cache_free(calibration_cache *c)
{
    arena_free(&c->memory);
    *c = (calibration_cache){0};
}

status cache_write(const char *path, int64_t version, const char *algorithm, const cache_entry *entries, int64_t count)
{
    file_writer w = {0};
    status result = OK;
    for (int64_t i = 0; i < count; i++) {
        if (strpbrk(entries[i].name, "\r\n")) return FAIL(E_USAGE, "%s: a tensor's name holds a line break", path);
    }
    TRY(file_writer_open(&w, path));
    TRY_OUT(file_writer_printf(&w, "TRT-%" PRId64 "-%s\n", version, algorithm));
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &entries[i].scale, sizeof bits);
        TRY_OUT(file_writer_printf(&w, "%s: %08" PRIx32 "\n", entries[i].name, bits));
    }
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}

const cache_entry *cache_find(const calibration_cache *c, const char *name)
{
    for (int64_t i = 0; i < c->count; i++) {
        if (strcmp(c->entries[i].name, name) == 0) return &c->entries[i];
    }
    return NULL;
}
