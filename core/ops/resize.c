#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"

static const op_field fields[] = {
    {"height", FIELD_INT32, offsetof(resize_attr, height), 1, 0, INT32_MAX, NULL},
    {"width", FIELD_INT32, offsetof(resize_attr, width), 1, 0, INT32_MAX, NULL},
    {"factor", FIELD_INT32, offsetof(resize_attr, factor), 1, 0, SIZE_LIMIT, NULL},
    {"bilinear", FIELD_BOOL, offsetof(resize_attr, bilinear), 1, 0, 1, NULL},
    {"align_corners", FIELD_BOOL, offsetof(resize_attr, align_corners), 1, 0, 1, NULL},
    FIELDS_END,
};

static void set_desc(resize_desc *d, const resize_attr *a, shape s, dtype type)
{
    *d = (resize_desc){.n = s.dim[0],
        .ih = s.dim[1],
        .iw = s.dim[2],
        .c = s.dim[3],
        .type = type,
        .bilinear = a->bilinear,
        .align_corners = a->align_corners};
    d->oh = a->height > 0 ? a->height : d->ih * a->factor;
    d->ow = a->width > 0 ? a->width : d->iw * a->factor;
}

enum { SIDE_LIMIT = 1 << 20 }; /* what kernels accept */

static status infer(graph *g, node *n)
{
    const resize_attr *a = n->attr;
    resize_desc d;
    TRY(infer_is_float(g, n, 0));
    TRY(infer_rank(g, n, 0, 4, 4));
    if (a->factor == 0 && (a->height == 0 || a->width == 0))
        return infer_fail(n, "neither an output size nor a factor is given");
    if (a->align_corners && !a->bilinear) return infer_fail(n, "align_corners needs bilinear");
    const edge *x = infer_in(g, n, 0);
    set_desc(&d, a, x->shape, x->type);
    if (d.ih > SIDE_LIMIT || d.iw > SIDE_LIMIT || d.oh > SIDE_LIMIT || d.ow > SIDE_LIMIT)
        return infer_fail(n, "a side is above 2^20");
    return infer_out(g, n, 0, x->type, shape_4(d.n, d.oh, d.ow, d.c));
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const edge *x = infer_in(g, n, 0);
    b->op = OP_RESIZE_FORWARD;
    set_desc(&b->desc.resize, n->attr, x->shape, x->type);
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    const resize_attr *attr = n->attr;
    if (!autodiff_wants(a, n->in[0])) return OK;
    resize_grad_attr grad = {.resize = *attr, .src = a->g->edges[n->in[0]].shape};
    edge_id out[] = {EDGE_NEW};
    TRY(autodiff_node(a, n, &op_resize_backward, "dsrc", &grad, dout, 1, out));
    return autodiff_add(a, n->in[0], out[0]);
}

static status infer_backward(graph *g, node *n)
{
    const resize_grad_attr *a = n->attr;
    resize_desc d;
    TRY(infer_is_float(g, n, 0));
    dtype type = infer_in(g, n, 0)->type;
    set_desc(&d, &a->resize, a->src, type);
    TRY(infer_is(g, n, 0, type, shape_4(d.n, d.oh, d.ow, d.c)));
    return infer_out(g, n, 0, type, a->src);
}

static status describe_backward(const graph *g, const node *n, kernel_binding *b)
{
    const resize_grad_attr *a = n->attr;
    b->op = OP_RESIZE_BACKWARD;
    set_desc(&b->desc.resize, &a->resize, a->src, g->edges[n->in[0]].type);
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
    return OK;
}

const op op_resize = {.name = "resize",
    .attr_bytes = sizeof(resize_attr),
    .fields = fields,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_SAME,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .narrow_in = 1,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &resize_onnx};
const op op_resize_backward = {.name = "resize_backward",
    .attr_bytes = sizeof(resize_grad_attr),
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_SAME,
    .inplace_in = -1,
    .infer = infer_backward,
    .describe = describe_backward};
