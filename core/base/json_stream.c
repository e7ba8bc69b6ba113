#include "core/base/json_stream.h"

#include <inttypes.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "core/base/file.h"
#include "core/base/text.h"

enum { PIECE_BYTES = 1 << 20, MAX_DEPTH = 64 };

typedef struct stream {
    const json_visitor *visitor;
    void *context;
    const char *path;
    yajl_handle parser;
    const unsigned char *piece;
    size_t counted; /* bytes of the piece whose lines are in *line */
    int64_t *line;
    int32_t depth;
    status result;
} stream;

static void count_lines(stream *s, size_t end)
{
    for (const unsigned char *at; s->counted < end; s->counted = (size_t)(at - s->piece) + 1) {
        at = memchr(s->piece + s->counted, '\n', end - s->counted);
        if (!at) break;
        ++*s->line;
    }
    if (s->counted < end) s->counted = end;
}

/* For yajl: 0 stops. */
static int go_on(stream *s, status result)
{
    s->result = result;
    return result == OK;
}

static stream *arrived(void *context)
{
    stream *s = context;
    count_lines(s, yajl_get_bytes_consumed(s->parser));
    return s;
}

static int on_null(void *context)
{
    stream *s = arrived(context);
    return go_on(s, s->visitor->value(s->context, JSON_NULL, "null", 4));
}

static int on_bool(void *context, int boolean)
{
    stream *s = arrived(context);
    return go_on(s, s->visitor->value(s->context, JSON_BOOL, boolean ? "true" : "false", boolean ? 4 : 5));
}

static int on_number(void *context, const char *bytes, size_t length)
{
    stream *s = arrived(context);
    return go_on(s, s->visitor->value(s->context, JSON_NUMBER, bytes, length));
}

static int on_string(void *context, const unsigned char *bytes, size_t length)
{
    stream *s = arrived(context);
    return go_on(s, s->visitor->value(s->context, JSON_STRING, (const char *)bytes, length));
}

static int on_key(void *context, const unsigned char *bytes, size_t length)
{
    stream *s = arrived(context);
    return go_on(s, s->visitor->key(s->context, (const char *)bytes, length));
}

static int begin(void *context, json_type type)
{
    stream *s = arrived(context);
    if (++s->depth > MAX_DEPTH)
        return go_on(s, FAIL(E_DATA, "%s:%" PRId64 ": nested deeper than %d", s->path, *s->line, MAX_DEPTH));
    return go_on(s, s->visitor->begin(s->context, type));
}

static int end(void *context, json_type type)
{
    stream *s = arrived(context);
    s->depth--;
    return go_on(s, s->visitor->end(s->context, type));
}

static int on_start_map(void *context) { return begin(context, JSON_OBJECT); }
static int on_end_map(void *context) { return end(context, JSON_OBJECT); }
static int on_start_array(void *context) { return begin(context, JSON_ARRAY); }
static int on_end_array(void *context) { return end(context, JSON_ARRAY); }

static const yajl_callbacks callbacks = {.yajl_null = on_null,
    .yajl_boolean = on_bool,
    .yajl_number = on_number,
    .yajl_string = on_string,
    .yajl_map_key = on_key,
    .yajl_start_map = on_start_map,
    .yajl_end_map = on_end_map,
    .yajl_start_array = on_start_array,
    .yajl_end_array = on_end_array};

/* What yajl says of its own, without the piece of text and the arrow that it draws. */
static status refuse(stream *s, const unsigned char *bytes, size_t count)
{
    if (s->result != OK) return s->result;
    count_lines(s, yajl_get_bytes_consumed(s->parser));
    unsigned char *text = yajl_get_error(s->parser, 0, bytes, count);
    status result = FAIL(E_DATA, "%s:%" PRId64 ": not JSON: %.*s", s->path, *s->line,
        text ? (int)strcspn((const char *)text, "\n") : 0, text ? (const char *)text : "");
    if (text) yajl_free_error(s->parser, text);
    return result;
}

static status feed(stream *s, const file_input *f, unsigned char *piece)
{
    s->piece = piece;
    for (int64_t at = 0; at < f->bytes; at += PIECE_BYTES) {
        size_t count = f->bytes - at < PIECE_BYTES ? (size_t)(f->bytes - at) : PIECE_BYTES;
        TRY(file_input_read(f, at, piece, count));
        s->counted = 0;
        if (yajl_parse(s->parser, piece, count) != yajl_status_ok) return refuse(s, piece, count);
        count_lines(s, count);
    }
    s->counted = 0;
    return yajl_complete_parse(s->parser) == yajl_status_ok ? OK : refuse(s, NULL, 0);
}

status json_stream_file(const char *path, const json_visitor *v, void *context, int64_t *line)
{
    stream s = {.visitor = v, .context = context, .path = path, .line = line};
    file_input f = {0};
    arena memory = {0};
    unsigned char *piece;
    status result = OK;
    *line = 1;
    TRY(file_input_open(&f, path));
    TRY_ALLOC_OUT(piece, arena_alloc(&memory, PIECE_BYTES));
    TRY_ALLOC_OUT(s.parser, yajl_alloc(&callbacks, NULL, &s));
    TRY_OUT(feed(&s, &f, piece));
out:
    if (s.parser) yajl_free(s.parser);
    arena_free(&memory);
    file_input_close(&f);
    return result;
}
