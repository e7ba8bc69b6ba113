#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/infer.h"
#include "core/ops/onnx.h"

status onnx_write_fail(const node *n, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return FAIL(E_MODEL, "node '%s' (%s) cannot be written as ONNX: %s", n->name, n->op->name, text);
}

/* ---------------------------------------------------------------------------------------------------- shapes */

int32_t onnx_out_axis(int32_t rank, int32_t dimension)
{
    if (rank != 4 || dimension == 0) return dimension;
    return dimension == 3 ? 1 : dimension + 1;
}

shape onnx_out_shape(shape s)
{
    return s.rank == 4 ? shape_4(s.dim[0], s.dim[3], s.dim[1], s.dim[2]) : s;
}

/* ---------------------------------------------------------------------------------------------------- parts */

status onnx_name(onnx_sink *s, const char *base, const char *part, const char **name)
{
    *name = arena_printf(&s->memory, *part == '.' ? "%s%s" : "%s/%s", base, part);
    return *name ? OK : E_MEMORY;
}

status onnx_const_out(
    onnx_sink *s, const char *base, const char *part, dtype type, shape sh, const void *data, const char **name)
{
    TRY(onnx_name(s, base, part, name));
    TRY(array_reserve((void **)&s->tensors, &s->tensor_capacity, s->tensor_count + 1, sizeof *s->tensors));
    size_t bytes = (size_t)shape_count(sh) * dtype_bytes(type);
    onnx_tensor *t = &s->tensors[s->tensor_count];
    *t = (onnx_tensor){.name = *name, .type = type, .shape = sh, .data = arena_memdup(&s->memory, data, bytes)};
    if (!t->data) return E_MEMORY;
    s->tensor_count++;
    return OK;
}

status onnx_ints_out(
    onnx_sink *s, const char *base, const char *part, const int64_t *values, int64_t count, const char **name)
{
    return onnx_const_out(s, base, part, DTYPE_I64, shape_1(count), values, name);
}

status onnx_node_out(
    onnx_sink *s, const char *type, const char *const *in, int32_t in_count, const char *out, onnx_out_node **n)
{
    TRY(array_reserve((void **)&s->nodes, &s->node_capacity, s->node_count + 1, sizeof *s->nodes));
    *n = &s->nodes[s->node_count++];
    **n = (onnx_out_node){.type = type, .name = out, .in_count = in_count, .out = out};
    for (int32_t i = 0; i < in_count; i++) (*n)->in[i] = in[i];
    return OK;
}

static onnx_attribute *next_attribute(onnx_out_node *n, const char *name, onnx_attribute_kind kind)
{
    if (n->attribute_count == ONNX_OUT_ATTRIBUTES) BUG("more than %d attributes", ONNX_OUT_ATTRIBUTES);
    onnx_attribute *a = &n->attribute[n->attribute_count++];
    *a = (onnx_attribute){.name = name, .kind = kind};
    return a;
}

void onnx_attr_int(onnx_out_node *n, const char *name, int64_t value) { next_attribute(n, name, ONNX_INT)->i = value; }

void onnx_attr_float(onnx_out_node *n, const char *name, float value)
{
    next_attribute(n, name, ONNX_FLOAT)->f = value;
}

void onnx_attr_text(onnx_out_node *n, const char *name, const char *value)
{
    next_attribute(n, name, ONNX_TEXT)->text = value;
}

/* count 0 after a failed allocation: what is written then fails its check. */
void onnx_attr_ints(onnx_sink *s, onnx_out_node *n, const char *name, const int64_t *values, int64_t count)
{
    onnx_attribute *a = next_attribute(n, name, ONNX_INTS);
    a->ints = arena_memdup(&s->memory, values, (size_t)count * sizeof *values);
    a->count = a->ints ? count : 0;
}

/* ---------------------------------------------------------------------------------------------------- edges */

void onnx_made(onnx_sink *s, const node *n) { s->name[n->out[0]] = s->g->edges[n->out[0]].name; }

static status constant_name(onnx_sink *s, edge_id e)
{
    const edge *d = &s->g->edges[e];
    const char *name;
    if (!d->data || d->type != DTYPE_F32) return FAIL(E_MODEL, "'%s' is read before it is made", d->name);
    if (d->shape.rank == 4) return FAIL(E_MODEL, "constant '%s' is an image: it cannot be written as ONNX", d->name);
    TRY(onnx_const_out(s, d->name, "constant", d->type, d->shape, d->data, &name));
    s->name[e] = name;
    return OK;
}

status onnx_raw_name(onnx_sink *s, edge_id e, const char **name)
{
    if (!s->name[e]) TRY(constant_name(s, e));
    *name = s->name[e];
    return OK;
}

/* Zero point 0, as int8: the type of the quantised tensor follows from it. */
static status convert(onnx_sink *s, edge_id e)
{
    const edge *d = &s->g->edges[e];
    const char *scale, *zero, *quantised, *result, *raw = s->name[e];
    onnx_out_node *n;
    if (d->type != DTYPE_I8)
        return FAIL(E_MODEL, "'%s' is %s: only symmetric int8 can be written as ONNX", d->name, dtype_name(d->type));
    TRY(onnx_const_out(s, raw, "scale", DTYPE_F32, (shape){0}, &d->scale, &scale));
    TRY(onnx_const_out(s, raw, "zero_point", DTYPE_I8, (shape){0}, &(int8_t){0}, &zero));
    TRY(onnx_name(s, raw, "quantised", &quantised));
    TRY(onnx_name(s, raw, "dequantised", &result));
    TRY(onnx_node_out(s, "QuantizeLinear", (const char *[]){raw, scale, zero}, 3, quantised, &n));
    TRY(onnx_node_out(s, "DequantizeLinear", (const char *[]){quantised, scale, zero}, 3, result, &n));
    s->dequantised[e] = result;
    return OK;
}

status onnx_read_name(onnx_sink *s, edge_id e, const char **name)
{
    TRY(onnx_raw_name(s, e, name));
    if (dtype_is_float(s->g->edges[e].type)) return OK;
    if (!s->dequantised[e]) TRY(convert(s, e));
    *name = s->dequantised[e];
    return OK;
}

status onnx_ordered_name(onnx_sink *s, edge_id e, const char **name)
{
    const char *base = s->g->edges[e].name, *from, *dims, *image, *turned;
    shape f = s->flat[e];
    onnx_out_node *n;
    TRY(onnx_read_name(s, e, &from));
    *name = from;
    if (f.rank != 4) return OK;
    TRY(onnx_ints_out(s, base, "image_shape", (int64_t[]){0, f.dim[3], f.dim[1], f.dim[2]}, 4, &dims));
    TRY(onnx_name(s, base, "image", &image));
    TRY(onnx_node_out(s, "Reshape", (const char *[]){from, dims}, 2, image, &n));
    TRY(onnx_name(s, base, "turned", &turned));
    TRY(onnx_node_out(s, "Transpose", (const char *[]){image}, 1, turned, &n));
    onnx_attr_ints(s, n, "perm", (int64_t[]){0, 2, 3, 1}, 4);
    TRY(onnx_name(s, base, "ordered", name));
    TRY(onnx_node_out(s, "Flatten", (const char *[]){turned}, 1, *name, &n));
    s->name[e] = *name;
    s->dequantised[e] = NULL; /* of the other order */
    s->flat[e] = (shape){0};
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- activations */

static bool is_nothing(activation act) { return act == ACT_NONE; }

status onnx_before_act(onnx_sink *s, const node *n, activation act, const char **name)
{
    *name = s->g->edges[n->out[0]].name;
    return is_nothing(act) ? OK : onnx_name(s, *name, "linear", name);
}

static status clip_out(onnx_sink *s, const node *n, const char *from, float low, float high)
{
    const char *min, *max, *out = s->g->edges[n->out[0]].name;
    onnx_out_node *o;
    TRY(onnx_const_out(s, out, "min", DTYPE_F32, (shape){0}, &low, &min));
    TRY(onnx_const_out(s, out, "max", DTYPE_F32, (shape){0}, &high, &max));
    return onnx_node_out(s, "Clip", (const char *[]){from, min, max}, 3, out, &o);
}

status onnx_act_out(onnx_sink *s, const node *n, const char *from, activation act, float alpha, float beta, float unit)
{
    const char *out = s->g->edges[n->out[0]].name, *gate;
    onnx_out_node *o;
    switch (act) {
    case ACT_NONE: break;
    case ACT_RELU: TRY(onnx_node_out(s, "Relu", &from, 1, out, &o)); break;
    case ACT_RELU6: TRY(clip_out(s, n, from, 0, 6)); break;
    case ACT_CLIP: TRY(clip_out(s, n, from, alpha * unit, beta * unit)); break;
    case ACT_SIGMOID: TRY(onnx_node_out(s, "Sigmoid", &from, 1, out, &o)); break;
    case ACT_LEAKY:
        TRY(onnx_node_out(s, "LeakyRelu", &from, 1, out, &o));
        onnx_attr_float(o, "alpha", alpha);
        break;
    case ACT_SWISH:
        TRY(onnx_name(s, out, "sigmoid", &gate));
        TRY(onnx_node_out(s, "Sigmoid", &from, 1, gate, &o));
        TRY(onnx_node_out(s, "Mul", (const char *[]){from, gate}, 2, out, &o));
        break;
    }
    onnx_made(s, n);
    return OK;
}

status onnx_simple_out(onnx_sink *s, const node *n, const char *type, onnx_out_node **o)
{
    const char *from;
    TRY(onnx_raw_name(s, n->in[0], &from));
    TRY(onnx_node_out(s, type, &from, 1, s->g->edges[n->out[0]].name, o));
    onnx_made(s, n);
    return OK;
}
