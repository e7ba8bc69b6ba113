#include "core/ops/infer.h"

#include <stdarg.h>
#include <stdio.h>

const char *const activation_names[] = {"none", "relu", "relu6", "leaky", "sigmoid", "swish", "clip", NULL};
const char *const dtype_names[] = {"f32", "f16", "bf16", "f64", "i8", "u8", "i32", "i64", NULL};
_Static_assert(sizeof activation_names / sizeof *activation_names == ACT_CLIP + 2, "a name per activation");
_Static_assert(sizeof dtype_names / sizeof *dtype_names == DTYPE_COUNT + 1, "a name per type");

const edge *infer_in(const graph *g, const node *n, int32_t i)
{
    return i < n->in_count && n->in[i] != EDGE_NONE ? &g->edges[n->in[i]] : NULL;
}

status infer_fail(const node *n, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return FAIL(E_MODEL, "node '%s' (%s): %s", n->name, n->op->name, text);
}

status infer_out(graph *g, const node *n, int32_t slot, dtype type, shape s)
{
    if (n->out[slot] == EDGE_NONE) return OK;
    edge *e = &g->edges[n->out[slot]];
    for (int32_t i = s.rank; i < SHAPE_MAX_RANK; i++) s.dim[i] = 0;
    if (e->kind == EDGE_ACTIVATION) {
        e->type = type;
        e->shape = s;
        e->scale = 0.0f;
        return OK;
    }
    if (e->type == type && shape_equal(e->shape, s)) return OK;
    char have[128], want[128];
    shape_text(e->shape, have);
    shape_text(s, want);
    return infer_fail(
        n, "updates '%s', which is %s %s, expected %s %s", e->name, dtype_name(e->type), have, dtype_name(type), want);
}

status infer_out_scale(graph *g, const node *n, int32_t slot, float scale)
{
    if (!(scale > 0.0f)) return infer_fail(n, "an integer output needs a scale above 0, not %g", (double)scale);
    if (n->out[slot] != EDGE_NONE) g->edges[n->out[slot]].scale = scale;
    return OK;
}

bool dtype_is_float(dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16 || type == DTYPE_F64;
}

dtype param_type(dtype activation_type)
{
    return activation_type == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

status infer_is_float(const graph *g, const node *n, int32_t i)
{
    const edge *e = infer_in(g, n, i);
    if (!e || dtype_is_float(e->type)) return OK;
    return infer_fail(n, "input %d is %s, expected a float type", i, dtype_name(e->type));
}

status infer_is(const graph *g, const node *n, int32_t i, dtype type, shape s)
{
    const edge *e = infer_in(g, n, i);
    if (!e || (e->type == type && shape_equal(e->shape, s))) return OK;
    char have[128], want[128];
    shape_text(e->shape, have);
    shape_text(s, want);
    return infer_fail(
        n, "input %d, '%s', is %s %s, expected %s %s", i, e->name, dtype_name(e->type), have, dtype_name(type), want);
}

status infer_is_vector(const graph *g, const node *n, int32_t i, dtype type, int64_t count)
{
    return infer_is(g, n, i, type, shape_1(count));
}

status infer_rank(const graph *g, const node *n, int32_t i, int32_t low, int32_t high)
{
    const edge *e = infer_in(g, n, i);
    if (!e || (e->shape.rank >= low && e->shape.rank <= high)) return OK;
    char text[128];
    shape_text(e->shape, text);
    return infer_fail(n, "input %d is %s, expected %d to %d dimensions", i, text, low, high);
}

int64_t macs_product(const int64_t *factors, int32_t count)
{
    int64_t product = 1;
    for (int32_t i = 0; i < count; i++)
        if (__builtin_mul_overflow(product, factors[i], &product)) return INT64_MAX;
    return product;
}

void shape_split(shape s, int64_t *n, int64_t *pixels, int64_t *channels)
{
    *n = s.rank > 1 ? s.dim[0] : 1;
    *channels = s.rank > 0 ? s.dim[s.rank - 1] : 1;
    *pixels = 1;
    for (int32_t i = 1; i + 1 < s.rank; i++) *pixels *= s.dim[i];
}

bool activation_recoverable(activation act, float alpha)
{
    return act == ACT_NONE || act == ACT_RELU || act == ACT_RELU6 || (act == ACT_LEAKY && alpha >= 0.0f) ||
           act == ACT_CLIP;
}
