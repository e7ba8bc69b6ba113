#include "core/graph/transform.h"

#include <inttypes.h>

#include "core/ops/infer.h"
#include "core/ops/internal.h"

static const char *const kind_names[] = {"max", "average", NULL};
_Static_assert(sizeof kind_names / sizeof *kind_names == POOL_AVERAGE + 2, "a name per kind");

static const op_field fields[] = {
    {"kind", FIELD_ENUM, offsetof(pool_attr, kind), 1, 0, 0, kind_names},
    {"kernel", FIELD_INT32, offsetof(pool_attr, kernel), 2, 0, SIZE_LIMIT, NULL},
    {"stride", FIELD_INT32, offsetof(pool_attr, stride), 2, 0, SIZE_LIMIT, NULL},
    {"pad", FIELD_INT32, offsetof(pool_attr, pad), 4, 0, SIZE_LIMIT, NULL},
    {"global", FIELD_BOOL, offsetof(pool_attr, global), 1, 0, 1, NULL},
    {"adaptive", FIELD_INT32, offsetof(pool_attr, adaptive), 2, 0, SIZE_LIMIT, NULL},
    {"ceil_mode", FIELD_BOOL, offsetof(pool_attr, ceil_mode), 1, 0, 1, NULL},
    {"count_include_pad", FIELD_BOOL, offsetof(pool_attr, count_include_pad), 1, 0, 1, NULL},
    FIELDS_END,
};

/* PyTorch's rule: with ceil_mode the last window may hang over, but it starts inside the input or its leading pad. */
static int64_t out_size(int64_t size, int64_t before, int64_t after, int64_t window, int64_t stride, bool ceil_mode)
{
    int64_t room = size + before + after - window;
    if (room < 0) return 0;
    int64_t count = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
    if (ceil_mode && (count - 1) * stride >= size + before) count--;
    return count;
}

static void set_desc(pool_desc *d, const pool_attr *a, shape s, dtype type)
{
    *d = (pool_desc){.n = s.dim[0], .ih = s.dim[1], .iw = s.dim[2], .c = s.dim[3], .kind = a->kind, .type = type};
    if (a->adaptive[0] > 0) {
        d->adaptive = true;
        d->oh = a->adaptive[0], d->ow = a->adaptive[1];
        return;
    }
    d->oh = d->ow = 1;
    d->kh = (int32_t)d->ih, d->kw = (int32_t)d->iw, d->sh = d->sw = 1;
    if (a->global) return;
    d->kh = a->kernel[0], d->kw = a->kernel[1], d->sh = a->stride[0], d->sw = a->stride[1];
    d->pt = a->pad[0], d->pl = a->pad[1], d->pb = a->pad[2], d->pr = a->pad[3];
    d->count_include_pad = a->count_include_pad;
    d->oh = out_size(d->ih, d->pt, d->pb, d->kh, d->sh, a->ceil_mode);
    d->ow = out_size(d->iw, d->pl, d->pr, d->kw, d->sw, a->ceil_mode);
}

/* A pad as long as the window would make windows of nothing but padding. */
static status check_window(const node *n, const pool_attr *a)
{
    for (int32_t i = 0; i < 2; i++) {
        if (a->kernel[i] < 1 || a->stride[i] < 1)
            return infer_fail(n, "kernel %dx%d, stride %dx%d: expected 1 or more", a->kernel[0], a->kernel[1],
                a->stride[0], a->stride[1]);
        if (a->pad[i] >= a->kernel[i] || a->pad[2 + i] >= a->kernel[i])
            return infer_fail(n, "pads %d %d %d %d, expected less than the kernel, %dx%d", a->pad[0], a->pad[1],
                a->pad[2], a->pad[3], a->kernel[0], a->kernel[1]);
    }
    return OK;
}

static status infer(graph *g, node *n)
{
    const pool_attr *a = n->attr;
    TRY(infer_rank(g, n, 0, 4, 4));
    const edge *x = infer_in(g, n, 0);
    dtype type = x->type;
    float scale = x->scale;
    bool integer = type == DTYPE_I8 || type == DTYPE_U8;
    if (!integer) TRY(infer_is_float(g, n, 0));
    if ((a->adaptive[0] > 0) != (a->adaptive[1] > 0))
        return infer_fail(n, "adaptive %dx%d", a->adaptive[0], a->adaptive[1]);
    if (a->adaptive[0] > 0 && a->global) return infer_fail(n, "both global and adaptive");
    if (a->adaptive[0] == 0 && !a->global) TRY(check_window(n, a));
    pool_desc d;
    set_desc(&d, a, x->shape, type);
    if (d.oh < 1 || d.ow < 1)
        return infer_fail(n, "the %dx%d window is larger than the padded %" PRId64 "x%" PRId64 " input", d.kh, d.kw,
            d.ih, d.iw);
    if (d.ih > INT32_MAX / d.iw)
        return infer_fail(n, "input of %" PRId64 "x%" PRId64 " pixels: positions exceed 32 bits", d.ih, d.iw);
    shape out = shape_4(d.n, d.oh, d.ow, d.c);
    TRY(infer_out(g, n, 0, type, out));
    if (integer) TRY(infer_out_scale(g, n, 0, scale));
    return infer_out(g, n, 1, DTYPE_I32, out);
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const edge *x = infer_in(g, n, 0);
    b->op = OP_POOL_FORWARD;
    set_desc(&b->desc.pool, n->attr, x->shape, x->type);
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
    b->out[1] = n->out[1];
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const pool_attr *attr = n->attr;
    if (!autodiff_wants(a, n->in[0])) return OK;
    edge_id index = EDGE_NONE, out[] = {EDGE_NEW};
    if (attr->kind == POOL_MAX) TRY(graph_want_output(a->g, a->g->edges[n->out[0]].producer, 1, &index));
    pool_grad_attr grad = {.pool = *attr, .src = a->g->edges[n->in[0]].shape};
    TRY(autodiff_node(a, n, &op_pool_backward, "dsrc", &grad, (edge_id[]){dout[0], index}, 2, out));
    return autodiff_add(a, n->in[0], out[0]);
}

static status infer_backward(graph *g, node *n)
{
    const pool_grad_attr *a = n->attr;
    pool_desc d;
    TRY(infer_is_float(g, n, 0));
    dtype type = infer_in(g, n, 0)->type;
    set_desc(&d, &a->pool, a->src, type);
    TRY(infer_is(g, n, 0, type, shape_4(d.n, d.oh, d.ow, d.c)));
    TRY(infer_is(g, n, 1, DTYPE_I32, shape_4(d.n, d.oh, d.ow, d.c)));
    return infer_out(g, n, 0, type, a->src);
}

static status describe_backward(const graph *g, const node *n, kernel_binding *b)
{
    const pool_grad_attr *a = n->attr;
    b->op = OP_POOL_BACKWARD;
    set_desc(&b->desc.pool, &a->pool, a->src, g->edges[n->in[0]].type);
    b->in[0] = n->in[0];
    b->in[1] = n->in[1];
    b->out[0] = n->out[0];
    return OK;
}

/* Averages keep the scale of what they average: integers pass through both kinds. */
const op op_pool = {.name = "pool",
    .attr_bytes = sizeof(pool_attr),
    .fields = fields,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 2,
    .coupling = COUPLE_SAME,
    .quant = QUANT_PASS,
    .inplace_in = -1,
    .narrow_in = 1,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &pool_onnx};
const op op_pool_backward = {.name = "pool_backward",
    .attr_bytes = sizeof(pool_grad_attr),
    .in_min = 1,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_SAME,
    .inplace_in = -1,
    .infer = infer_backward,
    .describe = describe_backward};
