/* top1.c: how many rows' largest score stands where the largest target stands. */
#include "kernels/ref/ref.h"

static const char *top1_refuse(const void *desc)
{
    const softmax_desc *d = desc;
    int64_t dim[] = {d->rows, d->classes};
    if (!ref_dims_ok(dim, 2)) return "rows or classes below 1 or too large";
    return ref_is_float(d->type) ? NULL : "the type is no float";
}

/* The first of the largest; NaN is larger than nothing, and nothing is larger than NaN. */
static int64_t first_largest(const void *data, dtype type, int64_t first, int64_t count)
{
    int64_t best = 0;
    for (int64_t c = 1; c < count; c++)
        if (dtype_load(data, type, first + c) > dtype_load(data, type, first + best)) best = c;
    return best;
}

static status top1_run(const kernel_call *call)
{
    const softmax_desc *d = call->desc;
    const float *targets = call->in[1];
    int64_t correct = 0;
    for (int64_t row = 0; row < d->rows; row++) {
        int64_t first = row * d->classes, wanted = first_largest(targets, DTYPE_F32, first, d->classes);
        if (targets[first + wanted] > 0) correct += first_largest(call->in[0], d->type, first, d->classes) == wanted;
    }
    *(double *)call->out[0] = (double)correct;
    return OK;
}

const kernel top1__ref_direct = {
    .op = OP_TOP1,
    .backend = BACKEND_REF,
    .name = "top1__ref_direct",
    .refuse = top1_refuse,
    .run = top1_run,
};
