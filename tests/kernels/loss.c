/* loss.c: softmax cross-entropy and binary cross-entropy: hard and soft targets,
 * weights, smoothing, partial batches. */
#include "tests/check/check.h"

#include <math.h>

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    loss_desc *d = &desc->loss;
    (void)op;
    do {
        d->rows = check_size(r, 257);
        d->classes = check_size(r, 1025);
    } while (d->rows * d->classes > 40000);
    d->type = check_float_type(r);
    d->smoothing = check_chance(r, 2) ? 0.1f : 0;
    d->grad_scale = check_chance(r, 3) ? 128 : 1;
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const loss_desc *d = &desc->loss;
    int64_t all = d->rows * d->classes;
    (void)op;
    t->in[0] = (check_tensor){.type = d->type, .count = all};
    t->in[1] = (check_tensor){.type = DTYPE_F32, .count = all, .low = 0, .high = 1};
    if (d->classes % 2) t->in[2] = (check_tensor){.type = DTYPE_F32, .count = d->classes, .low = 0.2, .high = 2};
    if (d->rows % 2) t->in[3] = (check_tensor){.type = DTYPE_I64, .count = 1};
    if (d->classes % 3 == 0) t->in[4] = (check_tensor){.type = DTYPE_F32, .count = 1, .low = 0.25, .high = 4096};
    t->out[0] = (check_tensor){.type = DTYPE_F64, .count = 1, .terms = all + 8};
    if (d->rows % 4) t->out[1] = (check_tensor){.type = DTYPE_F32, .count = d->rows, .terms = d->classes + 8};
    if (d->classes % 4) t->out[2] = (check_tensor){.type = d->type, .count = all, .terms = d->classes + 8};
}

/* Targets that are distributions, one in two a single class; how many rows count. */
static void prepare(check_case *c, rng *r)
{
    const loss_desc *d = &c->desc.loss;
    float *targets = c->start.in[1];
    for (int64_t row = 0; row < d->rows; row++) {
        float *t = targets + row * d->classes, sum = 0;
        int64_t hard = check_chance(r, 2) ? (int64_t)rng_below(r, (uint32_t)d->classes) : -1;
        for (int64_t k = 0; k < d->classes; k++) sum += t[k];
        for (int64_t k = 0; k < d->classes; k++) t[k] = hard >= 0 ? (float)(k == hard) : t[k] / sum;
    }
    if (c->start.in[3]) *(int64_t *)c->start.in[3] = (int64_t)rng_below(r, (uint32_t)d->rows + 2);
}

static double weight_of(const check_case *c, int64_t k)
{
    return c->start.in[2] ? (double)((const float *)c->start.in[2])[k] : 1;
}

/* Sum over a row of what is added up for its loss, absolute; `element`: of that gradient element instead. */
static double row_magnitude(const check_case *c, int64_t row, int64_t element)
{
    const loss_desc *d = &c->desc.loss;
    const float *t = (const float *)c->start.in[1] + row * d->classes;
    double max = -INFINITY, sum = 0, mass = 0, total = 0, e = (double)d->smoothing;
    for (int64_t k = 0; k < d->classes; k++) max = fmax(max, dtype_load(c->start.in[0], d->type, row * d->classes + k));
    for (int64_t k = 0; k < d->classes; k++) {
        double x = dtype_load(c->start.in[0], d->type, row * d->classes + k);
        bool softmax = c->op == OP_SOFTMAX_CE;
        double share = weight_of(c, k) * ((1 - e) * (double)t[k] + e * (softmax ? 1 / (double)d->classes : 0.5));
        sum += exp(x - max);
        mass += share;
        total += softmax ? share * (fabs(x - max) + log((double)d->classes) + 1)
                         : weight_of(c, k) * (fabs(x) + 1) + share * fabs(x);
        if (k == element && !softmax) return weight_of(c, k) + share;
    }
    if (element < 0) return total;
    double x = dtype_load(c->start.in[0], d->type, row * d->classes + element);
    return mass * exp(x - max) / sum * (1 + fmin(max - x, 200)) + weight_of(c, element) * ((double)t[element] + e);
}

static double magnitude(const check_case *c, int32_t out, int64_t i)
{
    const loss_desc *d = &c->desc.loss;
    int64_t valid = c->start.in[3] && *(int64_t *)c->start.in[3] < d->rows ? *(int64_t *)c->start.in[3] : d->rows;
    double divisor = 0, total = 0;
    if (out == 1) return row_magnitude(c, i, -1);
    for (int64_t k = 0; k < valid * d->classes; k++)
        divisor +=
            c->op == OP_SOFTMAX_CE ? weight_of(c, k % d->classes) * (double)((const float *)c->start.in[1])[k] : 1;
    double scale = (double)d->grad_scale * (c->start.in[4] ? (double)*(const float *)c->start.in[4] : 1);
    if (out == 2) return divisor > 0 ? row_magnitude(c, i / d->classes, i % d->classes) * scale / divisor : 0;
    for (int64_t row = 0; row < valid; row++) total += row_magnitude(c, row, -1);
    return divisor > 0 ? total / divisor : 0;
}

/* Mutants: the divisor counts rows, not weights; all rows count. */
static status mean_run(const kernel_call *call)
{
    const loss_desc *d = call->desc;
    status s = check_reference(OP_SOFTMAX_CE)->run(call);
    double weights = 0;
    for (int64_t i = 0; i < d->rows * d->classes && call->in[2]; i++)
        weights += (double)(((const float *)call->in[1])[i] * ((const float *)call->in[2])[i % d->classes]);
    if (call->in[2]) *(double *)call->out[0] *= weights / (double)d->rows;
    return s;
}

static status rows_run(const kernel_call *call)
{
    kernel_call other = *call;
    other.in[3] = NULL;
    return check_reference(OP_SIGMOID_BCE)->run(&other);
}

const check_family loss_family = {
    .name = "loss",
    .op = {OP_SOFTMAX_CE, OP_SIGMOID_BCE},
    .op_count = 2,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .magnitude = magnitude,
    .mutant = {{.op = OP_SOFTMAX_CE, .name = "plain mean instead of weighted", .run = mean_run},
        {.op = OP_SIGMOID_BCE, .name = "rows beyond the valid ones counted", .run = rows_run}},
};
