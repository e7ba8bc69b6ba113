#include "core/train/tensorboard.h"

#include <inttypes.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/arena.h"
#include "core/base/file.h"
#include "core/base/hash.h"

/* Bytes that grow to `capacity` and then only remember that they did not fit. */
typedef struct span {
    uint8_t *data;
    size_t length, capacity;
    int overflow;
} span;

static void put_bytes(span *s, const void *data, size_t bytes)
{
    if (s->overflow || bytes > s->capacity - s->length) {
        s->overflow = 1;
        return;
    }
    memcpy(s->data + s->length, data, bytes);
    s->length += bytes;
}

static void put_byte(span *s, uint8_t value)
{
    put_bytes(s, &value, 1);
}

static void put_little(span *s, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) put_byte(s, (uint8_t)(value >> (8 * i)));
}

static void put_varint(span *s, uint64_t value)
{
    for (; value >= 0x80; value >>= 7) put_byte(s, (uint8_t)(value | 0x80));
    put_byte(s, (uint8_t)value);
}

static void put_text(span *s, uint8_t key, const char *text)
{
    put_byte(s, key);
    put_varint(s, strlen(text));
    put_bytes(s, text, strlen(text));
}

static void put_double(span *s, uint8_t key, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_byte(s, key);
    put_little(s, bits, 8);
}

static size_t varint_bytes(uint64_t value)
{
    size_t n = 1;
    for (; value >= 0x80; value >>= 7) n++;
    return n;
}

/* Summary.Value { tag, simple_value }: without its own key and length. */
static size_t value_bytes(const char *tag)
{
    size_t length = strlen(tag);
    return 1 + varint_bytes(length) + length + 1 + 4;
}

static void put_value(span *s, const char *tag, double value)
{
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    put_byte(s, 0x0a);
    put_varint(s, value_bytes(tag));
    put_text(s, 0x0a, tag);
    put_byte(s, 0x15);
    put_little(s, bits, 4);
}

static uint32_t masked(const void *data, size_t bytes)
{
    uint32_t c = crc32c(data, bytes);
    return ((c >> 15) | (c << 17)) + 0xa282ead8u;
}

/* Room for the length and its sum is left in front; `body` starts behind it. */
static span record_begin(uint8_t *bytes, size_t capacity)
{
    if (capacity < 16) return (span){.overflow = 1};
    return (span){.data = bytes + 12, .capacity = capacity - 16};
}

static size_t record_end(const span *body, uint8_t *bytes)
{
    if (body->overflow) return 0;
    span head = {.data = bytes, .capacity = 12};
    put_little(&head, body->length, 8);
    put_little(&head, masked(bytes, 8), 4);
    span tail = {.data = body->data + body->length, .capacity = 4};
    put_little(&tail, masked(body->data, body->length), 4);
    return body->length + 16;
}

size_t tensorboard_version_record(uint8_t *bytes, size_t capacity, double wall_time)
{
    span body = record_begin(bytes, capacity);
    put_double(&body, 0x09, wall_time);
    put_text(&body, 0x1a, "brain.Event:2");
    return record_end(&body, bytes);
}

size_t tensorboard_scalar_record(uint8_t *bytes, size_t capacity, double wall_time, int64_t step,
    const char *const *tags, const double *values, int32_t count)
{
    span body = record_begin(bytes, capacity);
    put_double(&body, 0x09, wall_time);
    put_byte(&body, 0x10);
    put_varint(&body, (uint64_t)step);
    size_t summary = 0;
    for (int32_t i = 0; i < count; i++) {
        if (isnan(values[i])) continue;
        size_t length = value_bytes(tags[i]);
        summary += 1 + varint_bytes(length) + length;
    }
    put_byte(&body, 0x2a);
    put_varint(&body, summary);
    for (int32_t i = 0; i < count; i++)
        if (!isnan(values[i])) put_value(&body, tags[i], values[i]);
    return record_end(&body, bytes);
}

static status write_record(tensorboard *tb, const uint8_t *bytes, size_t length)
{
    if (fwrite(bytes, 1, length, tb->stream) != length || fflush(tb->stream) != 0)
        return FAIL(E_IO, "%s: %s", tb->path, strerror(errno));
    return OK;
}

status tensorboard_open(tensorboard *tb, const char *folder, double wall_time)
{
    *tb = (tensorboard){0};
    TRY(dir_make(folder));
    char host[128] = "localhost";
    if (gethostname(host, sizeof host - 1) != 0 || !host[0]) strcpy(host, "localhost");
    for (char *c = host; *c; c++)
        if (*c == '/') *c = '-';
    status result = OK;
    /* A process may start twice within a second: then the next number is free. */
    for (int number = 0; !tb->stream; number++) {
        free(tb->path);
        if (asprintf(&tb->path, "%s/events.out.tfevents.%010" PRId64 ".%s.%d.%d", folder, (int64_t)wall_time, host,
                (int)getpid(), number) < 0)
            tb->path = NULL;
        if (!tb->path) return FAIL_MEMORY(256);
        result = file_open_stream(tb->path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, "ab", &tb->stream);
        if (result != OK && (errno != EEXIST || number == 1000)) {
            tensorboard_close(tb);
            return result;
        }
    }
    uint8_t bytes[64];
    return write_record(tb, bytes, tensorboard_version_record(bytes, sizeof bytes, wall_time));
}

void tensorboard_close(tensorboard *tb)
{
    if (tb->stream) fclose(tb->stream);
    free(tb->path);
    *tb = (tensorboard){0};
}

status tensorboard_scalars(
    tensorboard *tb, double wall_time, int64_t step, const char *const *tags, const double *values, int32_t count)
{
    if (!tb->stream) return OK;
    uint8_t bytes[4096];
    size_t length = tensorboard_scalar_record(bytes, sizeof bytes, wall_time, step, tags, values, count);
    if (length == 0) return FAIL(E_INTERNAL, "a TensorBoard record of %d values is too long", (int)count);
    return write_record(tb, bytes, length);
}
