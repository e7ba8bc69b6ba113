/* json_stream.h: a JSON file of any size, told value by value (by libyajl); json.h makes trees of small ones.
 *
 *     const json_visitor v = {.key = on_key, .value = on_value, .begin = on_begin, .end = on_end};
 *     int64_t line;
 *     TRY(json_stream_file("instances.json", &v, &reader, &line));
 *
 * Memory: a piece of the file and its longest text.
 */
#ifndef GRAFT_BASE_JSON_STREAM_H
#define GRAFT_BASE_JSON_STREAM_H

#include "core/base/json.h"

/* Each returns OK or what ends the reading. Texts are UTF-8, not ended by a 0, and gone after the call. */
typedef struct json_visitor {
    /* null, a boolean ("true", "false"), a number as the file has it, or a string without its escapes */
    status (*value)(void *context, json_type type, const char *text, size_t length);
    status (*key)(void *context, const char *text, size_t length); /* of an object's next member */
    status (*begin)(void *context, json_type type); /* JSON_ARRAY or JSON_OBJECT */
    status (*end)(void *context, json_type type);
} json_visitor;

/* *line: before each call the line of the file where its value ends, from 1. E_DATA: no JSON, with the line; nested
 * deeper than 64; a pipe or device. E_IO. */
status json_stream_file(const char *path, const json_visitor *v, void *context, int64_t *line);

#endif
