/* json.h: JSON in (a checked tree, by libyajl) and out (an appending writer).
 *
 * Reading: depth and size are limited before anything is allocated; duplicate keys are errors. The tree lives in the
 * arena. Accessors accept NULL and wrong types and say so by their result, so that chains need one check at the end.
 *
 *     json *root;
 *     TRY(json_parse(&a, text, bytes, "model.safetensors header", &root));
 *     const char *arch = json_string(json_get(root, "arch"));   // NULL if absent or no string
 *
 * Writing: values are appended in order; the writer places commas. NaN and infinities become null.
 */
#ifndef GRAFT_BASE_JSON_H
#define GRAFT_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/status.h"

typedef enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } json_type;

typedef struct json {
    json_type type;
    bool boolean;
    int64_t integer;       /* JSON_INT */
    double number;         /* JSON_INT and JSON_NUMBER */
    const char *string;    /* UTF-8, 0-terminated; contains no embedded 0 */
    int64_t count;         /* of an array or object */
    struct json **items;   /* [count] */
    const char **keys;     /* [count], objects only, in file order */
} json;

/* `what` names the text in messages. Failures are E_MODEL. */
status json_parse(arena *a, const char *text, size_t bytes, const char *what, json **root);

const json *json_get(const json *object, const char *key); /* NULL if absent or not an object */
const json *json_at(const json *array, int64_t index);     /* NULL if out of range            */
const char *json_string(const json *value);                /* NULL if no string               */
bool json_int(const json *value, int64_t *result);
bool json_number(const json *value, double *result);
bool json_bool(const json *value, bool *result);

/* Growing text; release with json_writer_free. A failed allocation is remembered and reported by json_writer_finish. */
typedef struct json_writer {
    char *text;
    int64_t length, capacity;
    int32_t depth;
    bool need_comma, failed;
} json_writer;

void json_begin_object(json_writer *w);
void json_end_object(json_writer *w);
void json_begin_array(json_writer *w);
void json_end_array(json_writer *w);
void json_key(json_writer *w, const char *key);
void json_put_string(json_writer *w, const char *value); /* NULL writes null */
void json_put_int(json_writer *w, int64_t value);
void json_put_number(json_writer *w, double value);      /* shortest text that reads back equal */
void json_put_bool(json_writer *w, bool value);
void json_put_null(json_writer *w);
status json_writer_finish(json_writer *w, const char **text, size_t *bytes);
void json_writer_free(json_writer *w);

#endif
