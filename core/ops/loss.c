#include "core/ops/loss.h"

#include "core/graph/transform.h"
#include "core/ops/infer.h"

enum { LOGITS, TARGETS, CLASS_WEIGHT, VALID, LOSS_SCALE };
enum { LOSS, ROW_LOSS, DSRC };

const op_field loss_fields[] = {
    {"smoothing", FIELD_FLOAT, offsetof(loss_attr, smoothing), 1, 0, 1, NULL},
    {"grad_scale", FIELD_FLOAT, offsetof(loss_attr, grad_scale), 1, -FLOAT_LIMIT, FLOAT_LIMIT, NULL},
    FIELDS_END,
};

status loss_infer(graph *g, node *n)
{
    TRY(infer_is_float(g, n, LOGITS));
    TRY(infer_rank(g, n, LOGITS, 2, 2));
    const edge *x = infer_in(g, n, LOGITS);
    shape s = x->shape;
    dtype type = x->type;
    TRY(infer_is(g, n, TARGETS, DTYPE_F32, s));
    TRY(infer_is_vector(g, n, CLASS_WEIGHT, DTYPE_F32, s.dim[1]));
    TRY(infer_is_vector(g, n, VALID, DTYPE_I64, 1));
    TRY(infer_is_vector(g, n, LOSS_SCALE, DTYPE_F32, 1));
    TRY(infer_out(g, n, LOSS, DTYPE_F64, shape_1(1)));
    TRY(infer_out(g, n, ROW_LOSS, DTYPE_F32, shape_1(s.dim[0])));
    return infer_out(g, n, DSRC, type, s);
}

status loss_describe(const graph *g, const node *n, kernel_op o, kernel_binding *b)
{
    const loss_attr *a = n->attr;
    const edge *x = infer_in(g, n, LOGITS);
    b->op = o;
    b->desc.loss = (loss_desc){.rows = x->shape.dim[0],
        .classes = x->shape.dim[1],
        .type = x->type,
        .smoothing = a->smoothing,
        .grad_scale = a->grad_scale};
    for (int32_t i = 0; i < n->in_count; i++) b->in[i] = n->in[i];
    for (int32_t i = 0; i < n->out_count; i++) b->out[i] = n->out[i];
    return OK;
}

status loss_gradient(autodiff *a, const node *n, const edge_id *dout)
{
    if (dout[LOSS] != a->seed || dout[ROW_LOSS] != EDGE_NONE)
        return FAIL(E_INTERNAL,
            "node '%s' (%s): its gradient is computed with the loss: nothing but sums may follow it", n->name,
            n->op->name);
    for (int32_t i = TARGETS; i < n->in_count; i++)
        if (autodiff_wants(a, n->in[i]))
            return FAIL(E_INTERNAL, "node '%s' (%s): no gradient by input %d", n->name, n->op->name, i);
    if (!autodiff_wants(a, n->in[LOGITS])) return OK;
    edge_id dsrc;
    TRY(graph_want_output(a->g, a->g->edges[n->out[LOSS]].producer, DSRC, &dsrc));
    return autodiff_add(a, n->in[LOGITS], dsrc);
}
