#include "core/ops/infer.h"
#include "core/ops/internal.h"

/* The sum of a tensor over the ranks of a training. No kernel: the plan asks whoever knows the others (plan.h). */

static status infer(graph *g, node *n)
{
    const edge *x = infer_in(g, n, 0);
    dtype type = x->type;
    shape s = x->shape;
    if (type != DTYPE_F32 && type != DTYPE_F64)
        return infer_fail(n, "ranks add f32 and f64 only, not %s", dtype_name(type));
    return infer_out(g, n, 0, type, s);
}

const op op_rank_sum = {.name = "rank_sum",
    .internal = true,
    .over_ranks = true,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_SAME,
    .inplace_in = 0,
    .infer = infer};
