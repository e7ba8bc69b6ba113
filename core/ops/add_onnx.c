#include <string.h>

#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

static status add_two(onnx_call *c, onnx_value *a, onnx_value *b, const char *suffix)
{
    edge_id in[2], y;
    TRY(onnx_same_order(c, a, b, &in[0], &in[1]));
    TRY(onnx_node(c, &op_add, suffix, &(binary_attr){0}, in, 2, &y));
    return onnx_put_same(c, y, a);
}

/* With a constant: one value, or one per channel, whichever axis they are. */
static status read_add(onnx_call *c)
{
    onnx_value *a, *b;
    TRY(onnx_need(c, 0, &a));
    TRY(onnx_need(c, 1, &b));
    if (a->constant || b->constant) {
        float *values, *ones;
        onnx_channels k;
        if (c->opset < 7) (void)onnx_find(c, "broadcast"); /* its axis is refused */
        onnx_value *x = a->constant ? b : a;
        TRY(onnx_per_channel(c, x, a->constant ? 0 : 1, &k, &values));
        TRY(onnx_repeat(c, 1, k.count, &ones));
        return onnx_affine(c, x, k, ones, values, false);
    }
    if (!shape_equal(a->shape, b->shape)) return onnx_fail(c, "broadcasting of computed values is not supported");
    return add_two(c, a, b, NULL);
}

static status read_sub(onnx_call *c)
{
    onnx_value *a, *b;
    onnx_channels k;
    float *values, *factors;
    TRY(onnx_need(c, 0, &a));
    TRY(onnx_need(c, 1, &b));
    if (!a->constant && !b->constant) return onnx_fail(c, "the difference of computed values is not supported");
    onnx_value *x = a->constant ? b : a;
    TRY(onnx_per_channel(c, x, a->constant ? 0 : 1, &k, &values));
    TRY(onnx_repeat(c, a->constant ? -1 : 1, k.count, &factors));
    for (int64_t i = 0; b->constant && i < k.count; i++) values[i] = -values[i];
    return onnx_affine(c, x, k, factors, values, false);
}

/* Of any number of computed values. */
static status read_sum(onnx_call *c)
{
    onnx_value *a, *b;
    TRY(onnx_need(c, 0, &a));
    if (c->in_count == 1) return onnx_put_value(c, a);
    for (int32_t i = 1; i < c->in_count; i++) {
        TRY(onnx_need(c, i, &b));
        if (!shape_equal(a->shape, b->shape)) return onnx_fail(c, "broadcasting of computed values is not supported");
        TRY(add_two(c, a, b, i == c->in_count - 1 ? NULL : "part"));
        a = c->out[0];
    }
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- writing */


static status write(onnx_sink *s, const node *n)
{
    const binary_attr *a = n->attr;
    const char *in[2], *sum;
    onnx_out_node *o;
    bool same = memcmp(&s->flat[n->in[0]], &s->flat[n->in[1]], sizeof *s->flat) == 0;
    for (int32_t i = 0; i < 2; i++)
        TRY(same ? onnx_read_name(s, n->in[i], &in[i]) : onnx_ordered_name(s, n->in[i], &in[i]));
    s->flat[n->out[0]] = s->flat[n->in[0]];
    TRY(onnx_before_act(s, n, a->act, &sum));
    TRY(onnx_node_out(s, "Add", in, 2, sum, &o));
    float unit = s->g->edges[n->out[0]].type == DTYPE_F32 ? 1.0f : a->out_scale;
    return onnx_act_out(s, n, sum, a->act, a->alpha, a->beta, unit);
}

const op_onnx add_onnx = {
    .read = {{"Add", read_add}, {"Sub", read_sub}, {"Sum", read_sum}, {NULL, NULL}}, .write = write};
