/* onnx_bytes.h: ONNX files made by tests, field by field as onnx.proto numbers them: no code of Graft's writes them.
 *
 *     onnx_bytes m = {.opset = 18};
 *     onnx_bytes_port(&m, true, "x", 4, (int64_t[]){1, 3, 8, 8});
 *     onnx_bytes_ints(&m, "axes", 2, (int64_t[]){2, 3});
 *     onnx_bytes_node(&m, "ReduceMean", "x axes", "y");       // "-": an input that is left out
 *     onnx_bytes_attr_int(&m, "keepdims", 0);                 // of the last node
 *     onnx_bytes_port(&m, false, "y", 2, (int64_t[]){1, 3});
 *     onnx_bytes_finish(&m);                                  // m.file.bytes, m.file.count
 */
#ifndef GRAFT_TESTS_ONNX_BYTES_H
#define GRAFT_TESTS_ONNX_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef struct onnx_part {
    uint8_t bytes[1 << 16];
    size_t count;
} onnx_part;

typedef struct onnx_bytes {
    int64_t opset;
    onnx_part graph, node, file;
    bool has_node;
} onnx_bytes;

static inline void part_varint(onnx_part *p, uint64_t value)
{
    for (; value > 127; value >>= 7) p->bytes[p->count++] = (uint8_t)(value | 128);
    p->bytes[p->count++] = (uint8_t)value;
}

static inline void part_int(onnx_part *p, int field, int64_t value)
{
    part_varint(p, (uint64_t)field << 3);
    part_varint(p, (uint64_t)value);
}

static inline void part_data(onnx_part *p, int field, const void *data, size_t count)
{
    if (p->count + count + 16 > sizeof p->bytes) abort();
    part_varint(p, (uint64_t)field << 3 | 2);
    part_varint(p, count);
    if (count) memcpy(p->bytes + p->count, data, count);
    p->count += count;
}

static inline void part_text(onnx_part *p, int field, const char *text) { part_data(p, field, text, strlen(text)); }

static inline void onnx_bytes_flush(onnx_bytes *m)
{
    if (m->has_node) part_data(&m->graph, 1, m->node.bytes, m->node.count);
    m->has_node = false;
    m->node.count = 0;
}

static inline void onnx_bytes_words(onnx_part *p, int field, const char *names)
{
    char copy[512], *rest = copy;
    strncpy(copy, names, sizeof copy - 1);
    copy[sizeof copy - 1] = 0;
    for (char *word; (word = strsep(&rest, " "));)
        if (*word) part_text(p, field, strcmp(word, "-") == 0 ? "" : word);
}

static inline void onnx_bytes_node(onnx_bytes *m, const char *type, const char *in, const char *out)
{
    onnx_bytes_flush(m);
    m->has_node = true;
    onnx_bytes_words(&m->node, 1, in);
    onnx_bytes_words(&m->node, 2, out);
    part_text(&m->node, 4, type);
}

static inline void onnx_bytes_attr_int(onnx_bytes *m, const char *name, int64_t value)
{
    onnx_part a = {.count = 0};
    part_text(&a, 1, name);
    part_int(&a, 3, value);
    part_int(&a, 20, 2);
    part_data(&m->node, 5, a.bytes, a.count);
}

static inline void onnx_bytes_attr_float(onnx_bytes *m, const char *name, float value)
{
    onnx_part a = {.count = 0};
    part_text(&a, 1, name);
    part_varint(&a, 2 << 3 | 5);
    memcpy(a.bytes + a.count, &value, 4);
    a.count += 4;
    part_int(&a, 20, 1);
    part_data(&m->node, 5, a.bytes, a.count);
}

static inline void onnx_bytes_attr_text(onnx_bytes *m, const char *name, const char *value)
{
    onnx_part a = {.count = 0};
    part_text(&a, 1, name);
    part_text(&a, 4, value);
    part_int(&a, 20, 3);
    part_data(&m->node, 5, a.bytes, a.count);
}

static inline void onnx_bytes_attr_ints(onnx_bytes *m, const char *name, int count, const int64_t *values)
{
    onnx_part a = {.count = 0};
    part_text(&a, 1, name);
    for (int i = 0; i < count; i++) part_int(&a, 8, values[i]);
    part_int(&a, 20, 7);
    part_data(&m->node, 5, a.bytes, a.count);
}

/* type: TensorProto.DataType; data: raw little-endian bytes. */
static inline void onnx_bytes_tensor(onnx_bytes *m, const char *name, int type, int rank, const int64_t *dim,
    const void *data, size_t bytes)
{
    onnx_part t = {.count = 0};
    for (int i = 0; i < rank; i++) part_int(&t, 1, dim[i]);
    part_int(&t, 2, type);
    part_text(&t, 8, name);
    part_data(&t, 9, data, bytes);
    part_data(&m->graph, 5, t.bytes, t.count);
}

static inline void onnx_bytes_floats(onnx_bytes *m, const char *name, int rank, const int64_t *dim, const float *values)
{
    size_t count = 1;
    for (int i = 0; i < rank; i++) count *= (size_t)dim[i];
    onnx_bytes_tensor(m, name, 1, rank, dim, values, count * 4);
}

static inline void onnx_bytes_ints(onnx_bytes *m, const char *name, int64_t count, const int64_t *values)
{
    onnx_bytes_tensor(m, name, 7, 1, &count, values, (size_t)count * 8);
}

/* Of f32, its values elsewhere: pairs of key and value end with NULL. */
static inline void onnx_bytes_external(onnx_bytes *m, const char *name, int rank, const int64_t *dim,
    const char *const *pairs)
{
    onnx_part t = {.count = 0};
    for (int i = 0; i < rank; i++) part_int(&t, 1, dim[i]);
    part_int(&t, 2, 1);
    part_text(&t, 8, name);
    for (; *pairs; pairs += 2) {
        onnx_part e = {.count = 0};
        part_text(&e, 1, pairs[0]);
        part_text(&e, 2, pairs[1]);
        part_data(&t, 13, e.bytes, e.count);
    }
    part_int(&t, 14, 1);
    part_data(&m->graph, 5, t.bytes, t.count);
}

static inline void onnx_bytes_port(onnx_bytes *m, bool input, const char *name, int rank, const int64_t *dim)
{
    onnx_part dims = {.count = 0}, tensor = {.count = 0}, type = {.count = 0}, port = {.count = 0};
    for (int i = 0; i < rank; i++) {
        onnx_part d = {.count = 0};
        part_int(&d, 1, dim[i]);
        part_data(&dims, 1, d.bytes, d.count);
    }
    part_int(&tensor, 1, 1);
    part_data(&tensor, 2, dims.bytes, dims.count);
    part_data(&type, 1, tensor.bytes, tensor.count);
    part_text(&port, 1, name);
    part_data(&port, 2, type.bytes, type.count);
    part_data(&m->graph, input ? 11 : 12, port.bytes, port.count);
}

static inline void onnx_bytes_finish(onnx_bytes *m)
{
    onnx_part opset = {.count = 0};
    onnx_bytes_flush(m);
    part_int(&m->file, 1, 10);
    part_data(&m->file, 7, m->graph.bytes, m->graph.count);
    part_text(&opset, 1, "");
    part_int(&opset, 2, m->opset);
    part_data(&m->file, 8, opset.bytes, opset.count);
}

#endif
