/* softmax.c: softmax over rows and its gradient. */
#include "tests/check/check.h"

#include <math.h>

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    softmax_desc *d = &desc->softmax;
    (void)op;
    do {
        d->rows = check_size(r, 1025);
        d->classes = check_size(r, 1025);
    } while (d->rows * d->classes > 60000);
    d->type = check_float_type(r);
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const softmax_desc *d = &desc->softmax;
    check_tensor all = {.type = d->type, .count = d->rows * d->classes, .terms = d->classes + 4};
    t->in[0] = t->out[0] = all;
    if (op == OP_SOFTMAX_BACKWARD) t->in[1] = all, t->in[1].low = 0, t->in[1].high = 1;
}

/* Forward: exp(x - max) has the relative error of its argument, u |x - max|. Backward: what is subtracted counts. */
static double magnitude(const check_case *c, int32_t out, int64_t i)
{
    const softmax_desc *d = &c->desc.softmax;
    int64_t first = i / d->classes * d->classes;
    double x = dtype_load(c->start.in[0], d->type, i), max = -INFINITY, dot = 0;
    for (int64_t k = first; k < first + d->classes; k++) {
        max = fmax(max, dtype_load(c->start.in[0], d->type, k));
        if (c->op == OP_SOFTMAX_BACKWARD)
            dot += fabs(dtype_load(c->start.in[0], d->type, k)) * dtype_load(c->start.in[1], d->type, k);
    }
    if (c->op == OP_SOFTMAX_FORWARD)
        return dtype_load(c->expected.out[out], c->expected_tensors.out[out].type, i) * (1 + fmin(max - x, 200));
    return dtype_load(c->start.in[1], d->type, i) * (fabs(x) + dot);
}

static status unshifted_run(const kernel_call *call) /* overflows */
{
    const softmax_desc *d = call->desc;
    for (int64_t first = 0; first < d->rows * d->classes; first += d->classes) {
        float sum = 0;
        for (int64_t i = first; i < first + d->classes; i++) sum += expf((float)dtype_load(call->in[0], d->type, i));
        for (int64_t i = first; i < first + d->classes; i++)
            dtype_store(call->out[0], d->type, i, (double)(expf((float)dtype_load(call->in[0], d->type, i)) / sum));
    }
    return OK;
}

static status row_run(const kernel_call *call) /* the last row is taken for one class shorter */
{
    const softmax_desc *d = call->desc;
    status s = check_reference(OP_SOFTMAX_BACKWARD)->run(call);
    dtype_store(call->out[0], d->type, d->rows * d->classes - 1, 0);
    return s;
}

const check_family softmax_family = {
    .name = "softmax",
    .op = {OP_SOFTMAX_FORWARD, OP_SOFTMAX_BACKWARD},
    .op_count = 2,
    .generate = generate,
    .tensors = tensors,
    .magnitude = magnitude,
    .mutant = {{.op = OP_SOFTMAX_FORWARD, .name = "maximum not subtracted", .run = unshifted_run},
        {.op = OP_SOFTMAX_BACKWARD, .name = "last class missing", .run = row_run}},
};
