#include "core/base/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yajl/yajl_parse.h>

#include "core/base/limits.h"
#include "core/base/text.h"
#include "core/base/utf8.h"

/* A safetensors header may have 100 MB; 262144 values are 26,000 tensors, and take some 40 MB here. */
enum { MAX_BYTES = 100000000, MAX_VALUES = 1 << 18, MAX_DEPTH = 64, YAJL_ROOM = 1 << 20 };

/* ---------------------------------------------------------------------------------------------------- reading */

/* An array or object whose end has not come yet. */
typedef struct open_container {
    json *value;
    void *items, *keys; /* heap arrays: json *, const char * */
    int64_t item_capacity, key_capacity;
} open_container;

typedef struct parser {
    arena *memory;
    json *root;
    open_container stack[MAX_DEPTH];
    int32_t depth;
    int64_t values;
    const char *key;   /* of the value that comes next */
    char problem[160]; /* why a callback stopped the parser; "" if it did not */
    bool out_of_memory;
} parser;

static int stop(parser *p, const char *problem)
{
    snprintf(p->problem, sizeof p->problem, "%s", problem);
    return 0;
}

static int stop_memory(parser *p)
{
    p->out_of_memory = true;
    return stop(p, "out of memory");
}

/* Hangs a value of this type into the innermost open container. NULL: stopped. */
static json *add(parser *p, json_type type)
{
    if (++p->values > MAX_VALUES) {
        stop(p, "more than 262144 values");
        return NULL;
    }
    json *value = ARENA_NEW(p->memory, json);
    if (!value) {
        stop_memory(p);
        return NULL;
    }
    value->type = type;
    if (p->depth == 0) {
        p->root = value;
        return value;
    }
    open_container *top = &p->stack[p->depth - 1];
    int64_t n = top->value->count;
    if (array_reserve(&top->items, &top->item_capacity, n + 1, sizeof(json *)) != OK ||
        (top->value->type == JSON_OBJECT &&
         array_reserve(&top->keys, &top->key_capacity, n + 1, sizeof(char *)) != OK)) {
        stop_memory(p);
        return NULL;
    }
    ((json **)top->items)[n] = value;
    if (top->value->type == JSON_OBJECT) ((const char **)top->keys)[n] = p->key;
    top->value->count++;
    return value;
}

static const char *text_of(parser *p, const unsigned char *bytes, size_t length)
{
    if (memchr(bytes, 0, length)) {
        stop(p, "a string contains \\u0000");
        return NULL;
    }
    const char *text = arena_strndup(p->memory, (const char *)bytes, length);
    if (!text) stop_memory(p);
    return text;
}

static int on_null(void *context)
{
    return add(context, JSON_NULL) != NULL;
}

static int on_bool(void *context, int boolean)
{
    json *value = add(context, JSON_BOOL);
    if (value) value->boolean = boolean != 0;
    return value != NULL;
}

static int on_number(void *context, const char *bytes, size_t length)
{
    parser *p = context;
    char text[64];
    if (length >= sizeof text) return stop(p, "a number has more than 63 characters");
    memcpy(text, bytes, length);
    text[length] = 0;
    json *value = add(p, JSON_NUMBER);
    if (!value) return 0;
    if (!text_to_number(text, &value->number)) return stop(p, "a number is too large");
    if (!strpbrk(text, ".eE") && text_to_int(text, &value->integer)) value->type = JSON_INT;
    return 1;
}

static int on_string(void *context, const unsigned char *bytes, size_t length)
{
    parser *p = context;
    json *value = add(p, JSON_STRING);
    if (value) value->string = text_of(p, bytes, length);
    return value && value->string;
}

static int on_key(void *context, const unsigned char *bytes, size_t length)
{
    parser *p = context;
    p->key = text_of(p, bytes, length);
    return p->key != NULL;
}

static int open_value(parser *p, json_type type)
{
    if (p->depth == MAX_DEPTH) return stop(p, "nested deeper than 64");
    json *value = add(p, type);
    if (value) p->stack[p->depth++] = (open_container){.value = value};
    return value != NULL;
}

static int on_start_map(void *context)
{
    return open_value(context, JSON_OBJECT);
}

static int on_start_array(void *context)
{
    return open_value(context, JSON_ARRAY);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorted, because comparing every pair of a hostile object would take hours. */
static int refuse_duplicates(parser *p, const char **keys, int64_t count)
{
    const char **sorted = count ? HEAP_ARRAY(const char *, count) : NULL;
    if (count && !sorted) return stop_memory(p);
    if (count) {
        memcpy(sorted, keys, (size_t)count * sizeof *sorted);
        qsort(sorted, (size_t)count, sizeof *sorted, by_text);
    }
    const char *twice = NULL;
    for (int64_t i = 1; i < count && !twice; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0) twice = sorted[i];
    free(sorted);
    if (twice) snprintf(p->problem, sizeof p->problem, "key \"%.100s\" appears twice in one object", twice);
    return twice == NULL;
}

static int on_end(void *context)
{
    parser *p = context;
    open_container *top = &p->stack[--p->depth];
    int64_t count = top->value->count;
    int fine = top->value->type != JSON_OBJECT || refuse_duplicates(p, top->keys, count);
    if (fine) {
        top->value->items = arena_memdup(p->memory, top->items, (size_t)count * sizeof(json *));
        if (top->value->type == JSON_OBJECT)
            top->value->keys = arena_memdup(p->memory, top->keys, (size_t)count * sizeof(char *));
        if (!top->value->items || (top->value->type == JSON_OBJECT && !top->value->keys)) fine = stop_memory(p);
    }
    free(top->items);
    free(top->keys);
    return fine;
}

static status explain(yajl_handle handle, parser *p, const char *text, size_t bytes, const char *what)
{
    if (p->out_of_memory) return FAIL(E_MEMORY, "%s: out of memory while reading JSON of %zu bytes", what, bytes);
    size_t at = yajl_get_bytes_consumed(handle);
    if (at > bytes) at = bytes;
    int64_t line = 1;
    for (size_t i = 0; i < at; i++) line += text[i] == '\n';
    if (p->problem[0])
        return FAIL(E_MODEL, "%s: line %" PRId64 ", byte %zu: bad JSON: %s", what, line, at, p->problem);
    unsigned char *reason = yajl_get_error(handle, 0, (const unsigned char *)text, bytes);
    status code = FAIL(E_MODEL, "%s: line %" PRId64 ", byte %zu: bad JSON: %.*s", what, line, at,
                       reason ? (int)strcspn((char *)reason, "\n") : 0, reason ? (char *)reason : "");
    if (reason) yajl_free_error(handle, reason);
    return code;
}

status json_parse(arena *a, const char *text, size_t bytes, const char *what, json **root)
{
    static const yajl_callbacks callbacks = {
        .yajl_null = on_null, .yajl_boolean = on_bool, .yajl_number = on_number, .yajl_string = on_string,
        .yajl_start_map = on_start_map, .yajl_map_key = on_key, .yajl_end_map = on_end,
        .yajl_start_array = on_start_array, .yajl_end_array = on_end,
    };
    *root = NULL;
    if (bytes > MAX_BYTES)
        return FAIL(E_MODEL, "%s: JSON of %zu bytes is longer than the limit of %d", what, bytes, MAX_BYTES);
    TRY(limits_check_memory(bytes + YAJL_ROOM, "reading JSON")); /* yajl does not look whether it got memory */
    parser *p;
    TRY_ALLOC(p, HEAP_NEW(parser));
    yajl_handle handle = yajl_alloc(&callbacks, NULL, p);
    status result = OK;
    if (!handle) TRY_OUT(FAIL(E_MEMORY, "%s: out of memory while reading JSON of %zu bytes", what, bytes));
    p->memory = a;
    yajl_status state = yajl_parse(handle, (const unsigned char *)text, bytes);
    if (state == yajl_status_ok) state = yajl_complete_parse(handle);
    if (state != yajl_status_ok) TRY_OUT(explain(handle, p, text, bytes, what));
    *root = p->root;
out:
    if (handle) yajl_free(handle);
    for (int32_t i = 0; i < p->depth; i++) {
        free(p->stack[i].items);
        free(p->stack[i].keys);
    }
    free(p);
    return result;
}

const json *json_get(const json *object, const char *key)
{
    if (!object || object->type != JSON_OBJECT) return NULL;
    for (int64_t i = 0; i < object->count; i++)
        if (strcmp(object->keys[i], key) == 0) return object->items[i];
    return NULL;
}

const json *json_at(const json *array, int64_t index)
{
    if (!array || array->type != JSON_ARRAY || index < 0 || index >= array->count) return NULL;
    return array->items[index];
}

const char *json_string(const json *value)
{
    return value && value->type == JSON_STRING ? value->string : NULL;
}

bool json_int(const json *value, int64_t *result)
{
    if (!value || value->type != JSON_INT) return false;
    *result = value->integer;
    return true;
}

bool json_number(const json *value, double *result)
{
    if (!value || (value->type != JSON_INT && value->type != JSON_NUMBER)) return false;
    *result = value->number;
    return true;
}

bool json_bool(const json *value, bool *result)
{
    if (!value || value->type != JSON_BOOL) return false;
    *result = value->boolean;
    return true;
}

/* ---------------------------------------------------------------------------------------------------- writing */

static void append(json_writer *w, const char *text, size_t bytes)
{
    if (w->failed) return;
    void *memory = w->text;
    if (array_reserve(&memory, &w->capacity, w->length + (int64_t)bytes + 1, 1) != OK) {
        w->failed = true;
        return;
    }
    w->text = memory;
    memcpy(w->text + w->length, text, bytes);
    w->length += (int64_t)bytes;
    w->text[w->length] = 0;
}

static void append_value(json_writer *w, const char *text)
{
    if (w->need_comma) append(w, ",", 1);
    append(w, text, strlen(text));
    w->need_comma = true;
}

static void open_bracket(json_writer *w, const char *bracket)
{
    append_value(w, bracket);
    w->need_comma = false;
    w->depth++;
}

static void close_bracket(json_writer *w, const char *bracket)
{
    append(w, bracket, 1);
    w->need_comma = true;
    w->depth--;
}

void json_begin_object(json_writer *w)
{
    open_bracket(w, "{");
}

void json_end_object(json_writer *w)
{
    close_bracket(w, "}");
}

void json_begin_array(json_writer *w)
{
    open_bracket(w, "[");
}

void json_end_array(json_writer *w)
{
    close_bracket(w, "]");
}

static void append_string(json_writer *w, const char *text)
{
    append(w, "\"", 1);
    for (const char *s = text; *s;) {
        uint32_t character = 0;
        size_t length = utf8_character(s, &character);
        char escape[16];
        if (length == 0) append(w, "\xef\xbf\xbd", 3); /* file names may be any bytes: U+FFFD */
        else if (*s == '"' || *s == '\\') append(w, (char[]){'\\', *s}, 2);
        else if (*s == '\n') append(w, "\\n", 2);
        else if (*s == '\t') append(w, "\\t", 2);
        else if (utf8_is_control(character))
            append(w, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)character));
        else append(w, s, length);
        s += length ? length : 1;
    }
    append(w, "\"", 1);
}

void json_key(json_writer *w, const char *key)
{
    if (w->need_comma) append(w, ",", 1);
    append_string(w, key);
    append(w, ":", 1);
    w->need_comma = false;
}

void json_put_string(json_writer *w, const char *value)
{
    if (!value) {
        json_put_null(w);
        return;
    }
    if (w->need_comma) append(w, ",", 1);
    append_string(w, value);
    w->need_comma = true;
}

void json_put_int(json_writer *w, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    append_value(w, text);
}

void json_put_number(json_writer *w, double value)
{
    char text[32] = "null";
    if (isfinite(value)) number_text(value, text);
    append_value(w, text);
}

void json_put_bool(json_writer *w, bool value)
{
    append_value(w, value ? "true" : "false");
}

void json_put_null(json_writer *w)
{
    append_value(w, "null");
}

static status no_memory(const json_writer *w)
{
    return FAIL(E_MEMORY, "out of memory while writing JSON of %" PRId64 " bytes", w->length);
}

status json_writer_finish(json_writer *w, const char **text, size_t *bytes)
{
    *text = NULL;
    *bytes = 0;
    if (w->failed) return no_memory(w);
    if (w->depth != 0) return FAIL(E_INTERNAL, "JSON ends with %d open brackets", (int)w->depth);
    if (!w->text) append(w, "", 0);
    if (w->failed) return no_memory(w);
    *text = w->text;
    *bytes = (size_t)w->length;
    return OK;
}

void json_writer_free(json_writer *w)
{
    free(w->text);
    *w = (json_writer){0};
}
