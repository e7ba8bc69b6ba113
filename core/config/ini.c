/* Spec files through inih. inih as Debian builds it gives no line numbers, cuts lines at 200 characters and names at
 * 49, takes an indented line for a continuation, and passes over text behind `]` and all errors but the first. So the
 * reader given to it works on whole lines: it counts them, checks them, takes off comments and quotes, and hands over
 * "[name]" or "name=value" in pieces that fit. Further pieces are indented, so that inih reports them under the same
 * name, and the handler joins them. Bytes of the value that mean something to inih travel in disguise. */
#include <ctype.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/config/internal.h"

enum { MAX_FILE_BYTES = 1 << 20, MAX_NAME = 49, PIECE = 180 };

/* Position in the first string becomes the byte 1, 2, ...: no control character but tab comes in from a file. */
static const char MEANINGFUL[] = " \t;#\n";

typedef struct ini_source {
    config *c;
    const char *name;      /* of the file, for messages */
    const char *text;
    size_t bytes, at;
    int32_t line;          /* of the line in `logical` */

    char *logical;         /* what is handed over of the current line */
    size_t length, given;
    char *value;           /* what the handler has joined */
    size_t value_length;

    bool heading_seen, section_known;
    int32_t *seen;         /* [option_count] line of each key in this file, 0: none */
    status failure;
} ini_source;

static config_place here(const ini_source *s)
{
    return (config_place){.file = s->name, .line = s->line};
}

static void complain(ini_source *s, const config_error *facts, const char *problem)
{
    config_error none = {0};
    if (s->failure == OK) s->failure = config_add_error(s->c, here(s), facts ? facts : &none, problem);
}

/* Of a line that is no assignment, its beginning. */
static void complain_of(ini_source *s, const char *start, const char *end, const char *problem)
{
    char word[80];
    snprintf(word, sizeof word, "%.*s", (int)(end - start < 60 ? end - start : 60), start);
    complain(s, &(config_error){.key = word}, problem);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

static void trim(const char **start, const char **end)
{
    while (*start < *end && blank(**start)) ++*start;
    while (*end > *start && blank((*end)[-1])) --*end;
}

/* First ; or # behind a blank, or `end`. */
static const char *comment_start(const char *start, const char *end)
{
    for (const char *p = start + 1; p < end; p++)
        if ((*p == ';' || *p == '#') && blank(p[-1])) return p;
    return end;
}

static void put(ini_source *s, char c)
{
    const char *found = c ? strchr(MEANINGFUL, c) : NULL;
    s->logical[s->length++] = found ? (char)(found - MEANINGFUL + 1) : c;
}

static void put_plain(ini_source *s, const char *start, const char *end)
{
    memcpy(s->logical + s->length, start, (size_t)(end - start));
    s->length += (size_t)(end - start);
}

/* "..." with escapes; behind it only a comment. */
static bool put_quoted(ini_source *s, const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++) {
        if (*p != '\\') {
            put(s, *p);
            continue;
        }
        p++;
        if (p == end) break;
        if (*p == 'x' && end - p > 2 && strchr("89abcdefABCDEF", p[1]) && isxdigit((unsigned char)p[2])) {
            put(s, (char)strtol((char[]){p[1], p[2], 0}, NULL, 16));
            p += 2;
            continue;
        }
        if (!strchr("\\\"nt", *p)) {
            complain(s, NULL, "unknown escape in quotes: expected \\\\, \\\", \\n, \\t or \\x80 to \\xff");
            return false;
        }
        put(s, *p == 'n' ? '\n' : *p == 't' ? '\t' : *p);
    }
    if (p >= end) {
        complain(s, NULL, "the closing quote is missing");
        return false;
    }
    p++;
    const char *rest = p, *rest_end = comment_start(p - 1, end);
    trim(&rest, &rest_end);
    if (rest == rest_end) return true;
    complain(s, NULL, "text behind the closing quote");
    return false;
}

static bool put_section(ini_source *s, const char *start, const char *end)
{
    const char *close = memchr(start, ']', (size_t)(end - start));
    s->heading_seen = true;
    s->section_known = false; /* keys under a bad heading are not reported one by one */
    if (!close) {
        complain(s, NULL, "expected [section]: the ] is missing");
        return false;
    }
    const char *rest = close + 1, *rest_end = comment_start(close, end);
    trim(&rest, &rest_end);
    if (rest != rest_end) {
        complain(s, NULL, "expected nothing but a comment behind [section]");
        return false;
    }
    start++;
    trim(&start, &close);
    char name[MAX_NAME + 1] = "";
    config_error facts = {.section = name};
    size_t length = (size_t)(close - start);
    memcpy(name, start, length < MAX_NAME ? length : MAX_NAME);
    if (length > MAX_NAME) {
        complain(s, &facts, "a section's name has at most 49 characters");
        return false;
    }
    const char *nearest = facts.nearest = option_nearest_section(name);
    s->section_known = nearest && strcmp(nearest, name) == 0;
    if (!s->section_known) {
        char problem[160] = "unknown section";
        if (nearest) snprintf(problem, sizeof problem, "unknown section; did you mean [%s]?", nearest);
        complain(s, &facts, problem);
        return false;
    }
    s->logical[s->length++] = '[';
    put_plain(s, start, close);
    s->logical[s->length++] = ']';
    return true;
}

static bool put_assignment(ini_source *s, const char *start, const char *end)
{
    const char *equals = start;
    while (equals < end && *equals != '=' && *equals != ':') equals++;
    const char *name_end = comment_start(start, equals);
    if (equals == end || name_end != equals) {
        trim(&start, &name_end);
        complain_of(s, start, name_end, "expected [section] or key = value: there is no =");
        return false;
    }
    trim(&start, &name_end);
    if (start == name_end) {
        complain(s, NULL, "expected key = value: there is no key in front of the =");
        return false;
    }
    if (name_end - start > MAX_NAME) {
        complain_of(s, start, name_end, "a key has at most 49 characters");
        return false;
    }
    put_plain(s, start, name_end);
    s->logical[s->length++] = '=';
    const char *value = equals + 1, *value_end = end;
    trim(&value, &value_end);
    if (value < value_end && *value == '"') return put_quoted(s, value, value_end);
    value = equals + 1;
    value_end = comment_start(equals, end);
    trim(&value, &value_end);
    for (; value < value_end; value++) put(s, *value);
    return true;
}

/* Brings the next line that says something into `logical`. False at the end, and when nobody listens any more. */
static bool next_line(ini_source *s)
{
    while (s->at < s->bytes && s->failure == OK && s->c->error_count <= CONFIG_MOST_ERRORS) {
        const char *start = s->text + s->at, *limit = s->text + s->bytes;
        const char *newline = memchr(start, '\n', (size_t)(limit - start)), *end = newline ? newline : limit;
        s->at = (size_t)(end - s->text) + (newline != NULL);
        s->line++;
        s->length = s->given = s->value_length = 0;
        if (end > start && end[-1] == '\r') end--;
        bool fine = true;
        for (const char *p = start; p < end && fine; p++) {
            unsigned char byte = (unsigned char)*p;
            if ((byte >= 0x20 && byte != 0x7f) || byte == '\t') continue;
            char problem[64];
            snprintf(problem, sizeof problem, "control character 0x%02x: a spec is plain text", byte);
            complain(s, NULL, problem);
            fine = false;
        }
        trim(&start, &end);
        if (!fine || start == end || *start == ';' || *start == '#') continue;
        if (*start == '[' ? put_section(s, start, end) : put_assignment(s, start, end)) return true;
    }
    return false;
}

/* inih's fgets. */
static char *read_piece(char *buffer, int size, void *context)
{
    ini_source *s = context;
    size_t used = 0, room = size > PIECE + 3 ? PIECE : (size_t)size - 3;
    if (s->given == s->length) {
        if (!next_line(s)) return NULL;
    } else {
        buffer[used++] = ' ';
    }
    size_t piece = s->length - s->given < room ? s->length - s->given : room;
    memcpy(buffer + used, s->logical + s->given, piece);
    s->given += piece;
    used += piece;
    buffer[used++] = '\n';
    buffer[used] = 0;
    return buffer;
}

static void check_twice(ini_source *s, const char *section, const char *key)
{
    const option *o = option_find(section, key);
    if (!o) return;
    int32_t *seen = &s->seen[o - option_table];
    if (*seen) {
        char problem[80];
        snprintf(problem, sizeof problem, "given twice: it is in line %d already", (int)*seen);
        config_error facts = {.section = section, .key = key, .value = s->value};
        complain(s, &facts, problem);
    } else {
        *seen = s->line;
    }
}

static int handle_piece(void *context, const char *section, const char *key, const char *piece)
{
    ini_source *s = context;
    for (; *piece; piece++) {
        bool disguised = (unsigned char)*piece < sizeof MEANINGFUL;
        s->value[s->value_length++] = disguised ? MEANINGFUL[*piece - 1] : *piece;
    }
    s->value[s->value_length] = 0;
    if (s->given < s->length || s->failure != OK) return 1;
    if (s->heading_seen && !s->section_known) return 1;
    if (!s->heading_seen) {
        config_error facts = {.key = key, .value = s->value};
        complain(s, &facts, "a key in front of the first [section]");
        return 1;
    }
    check_twice(s, section, key);
    if (s->failure == OK) s->failure = config_assign(s->c, here(s), section, key, s->value);
    return 1;
}

status config_read_text(config *c, const char *text, size_t bytes, const char *name)
{
    ini_source s = {.c = c, .text = text, .bytes = bytes};
    status result = OK;
    s.name = arena_strdup(&c->memory, name);
    s.seen = heap_alloc_array(option_count, sizeof *s.seen);
    /* A line never grows. */
    s.logical = heap_alloc(bytes + 4);
    s.value = heap_alloc(bytes + 4);
    if (!s.name || !s.seen || !s.logical || !s.value) TRY_OUT(E_MEMORY);
    if (bytes > MAX_FILE_BYTES) {
        complain(&s, NULL, "longer than 1 MiB: this is no spec file");
    } else if (bytes >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0)) {
        complain(&s, NULL, "the file is UTF-16: save it as UTF-8");
    } else {
        if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) s.at = 3;
        int code = ini_parse_stream(read_piece, &s, handle_piece, &s);
        if (s.failure == OK && code != 0) /* every line was checked before inih saw it */
            s.failure = FAIL(E_INTERNAL, "%s: inih refused line %d", name, (int)s.line);
    }
    result = s.failure;
out:
    free(s.seen);
    free(s.logical);
    free(s.value);
    return result;
}

status config_read_file(config *c, const char *path)
{
    arena memory = {0};
    void *text;
    size_t bytes;
    status result = file_read_all(&memory, path, MAX_FILE_BYTES, &text, &bytes);
    if (result == OK) {
        result = config_read_text(c, text, bytes, path);
    } else if (result == E_DATA) {
        config_error none = {0};
        char *name;
        TRY_ALLOC_OUT(name, arena_strdup(&c->memory, path));
        result = config_add_error(c, (config_place){.file = name}, &none, "longer than 1 MiB: this is no spec file");
    }
out:
    arena_free(&memory);
    return result;
}
