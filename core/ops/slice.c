#include "core/graph/transform.h"

#include <inttypes.h>

#include "core/ops/infer.h"
#include "core/ops/internal.h"

static const op_field fields[] = {
    {"begin", FIELD_INT64, offsetof(slice_attr, begin), SHAPE_MAX_RANK, 0, INT32_MAX, NULL},
    {"size", FIELD_INT64, offsetof(slice_attr, size), SHAPE_MAX_RANK, 0, INT32_MAX, NULL},
    {"step", FIELD_INT64, offsetof(slice_attr, step), SHAPE_MAX_RANK, 0, INT32_MAX, NULL},
    FIELDS_END,
};

static int64_t step_of(const slice_attr *a, int32_t i)
{
    return a->step[i] == 0 ? 1 : a->step[i];
}

/* Every value is within 32 bits: nothing here overflows. */
static status out_shape(const node *n, const slice_attr *a, shape *s)
{
    for (int32_t i = 0; i < SHAPE_MAX_RANK; i++) {
        if (i >= s->rank) {
            if (a->begin[i] != 0 || a->size[i] != 0 || a->step[i] > 1)
                return infer_fail(n, "slices dimension %d of %d", i, s->rank);
            continue;
        }
        int64_t step = step_of(a, i), size = a->size[i] ? a->size[i] : (s->dim[i] - a->begin[i] + step - 1) / step;
        if (size < 1 || a->begin[i] + (size - 1) * step >= s->dim[i])
            return infer_fail(n,
                "%" PRId64 " elements from %" PRId64 " with step %" PRId64 " exceed dimension %d, which is %" PRId64,
                size, a->begin[i], step, i, s->dim[i]);
        s->dim[i] = size;
    }
    return OK;
}

static status infer(graph *g, node *n)
{
    const edge *x = infer_in(g, n, 0);
    shape s = x->shape;
    float scale = x->scale;
    if (x->type == DTYPE_I64 || x->type == DTYPE_I32) return infer_fail(n, "input is %s", dtype_name(x->type));
    TRY(out_shape(n, n->attr, &s));
    TRY(infer_out(g, n, 0, x->type, s));
    return dtype_is_float(g->edges[n->in[0]].type) ? OK : infer_out_scale(g, n, 0, scale);
}

static void fill(const graph *g, const node *n, kernel_binding *b, const slice_attr *a)
{
    pad_desc *d = &b->desc.pad;
    const edge *x = infer_in(g, n, 0);
    b->op = OP_PAD;
    d->rank = x->shape.rank;
    d->type = x->type;
    for (int32_t i = 0; i < d->rank; i++) {
        d->src_dim[i] = x->shape.dim[i];
        d->dst_dim[i] = g->edges[n->out[0]].shape.dim[i];
        d->before[i] = -a->begin[i];
        d->step[i] = step_of(a, i);
    }
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    fill(g, n, b, n->attr);
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const slice_attr *attr = n->attr;
    if (!autodiff_wants(a, n->in[0])) return OK;
    slice_grad_attr grad = {.slice = *attr, .src = a->g->edges[n->in[0]].shape};
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_slice_backward, "dsrc", &grad, dout, 1, out));
    return autodiff_add(a, n->in[0], out[0]);
}

static status infer_backward(graph *g, node *n)
{
    const slice_grad_attr *a = n->attr;
    shape taken = a->src;
    TRY(infer_is_float(g, n, 0));
    dtype type = infer_in(g, n, 0)->type;
    TRY(out_shape(n, &a->slice, &taken));
    TRY(infer_is(g, n, 0, type, taken));
    return infer_out(g, n, 0, type, a->src);
}

static status describe_backward(const graph *g, const node *n, kernel_binding *b)
{
    const slice_grad_attr *a = n->attr;
    fill(g, n, b, &a->slice);
    b->desc.pad.scatter = true;
    return OK;
}

const op op_slice = {.name = "slice",
    .attr_bytes = sizeof(slice_attr),
    .fields = fields,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_FIXED,
    .quant = QUANT_PASS,
    .inplace_in = -1,
    .narrow_in = 1,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &slice_onnx};
const op op_slice_backward = {.name = "slice_backward",
    .attr_bytes = sizeof(slice_grad_attr),
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_FIXED,
    .inplace_in = -1,
    .infer = infer_backward,
    .describe = describe_backward};
