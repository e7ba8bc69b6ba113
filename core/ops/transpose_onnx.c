#include "core/ops/onnx.h"

#include <inttypes.h>

/* ---------------------------------------------------------------------------------------------------- reading */

/* Nothing moves: the value's dimensions get other numbers. */
static status read_transpose(onnx_call *c)
{
    onnx_value *v;
    const int64_t *perm;
    int64_t count;
    int32_t axis[SHAPE_MAX_RANK], to[SHAPE_MAX_RANK], rank;
    edge_id x;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_ints(c, "perm", &perm, &count));
    rank = v->shape.rank;
    if (count && count != rank) return onnx_fail(c, "perm has %" PRId64 " entries for %d dimensions", count, rank);
    for (int32_t i = 0; i < rank; i++) to[i] = -1;
    for (int32_t i = 0; i < rank; i++) {
        int64_t from = count ? perm[i] : rank - 1 - i;
        if (from < 0 || from >= rank || to[from] >= 0) return onnx_fail(c, "perm is no permutation");
        to[from] = i;
    }
    TRY(onnx_ordered(c, v, &x));
    for (int32_t i = 0; i < rank; i++) axis[i] = to[v->axis[i]];
    return onnx_put(c, x, axis);
}

/* ---------------------------------------------------------------------------------------------------- writing */


static status write(onnx_sink *s, const node *n)
{
    const transpose_attr *a = n->attr;
    int32_t rank = s->g->edges[n->in[0]].shape.rank;
    int64_t perm[SHAPE_MAX_RANK];
    const char *from;
    onnx_out_node *o;
    for (int32_t i = 0; i < rank; i++) perm[onnx_out_axis(rank, i)] = onnx_out_axis(rank, a->perm[i]);
    TRY(onnx_ordered_name(s, n->in[0], &from));
    TRY(onnx_node_out(s, "Transpose", &from, 1, s->g->edges[n->out[0]].name, &o));
    onnx_attr_ints(s, o, "perm", perm, rank);
    onnx_made(s, n);
    return OK;
}

const op_onnx transpose_onnx = {.read = {{"Transpose", read_transpose}, {NULL, NULL}}, .write = write};
