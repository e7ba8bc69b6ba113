/* batch_norm.c: the seven steps of batch normalisation. */
#include "tests/check/check.h"

#include <math.h>

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    bn_desc *d = &desc->bn;
    bool small = op == OP_BN_FINALISE || op == OP_BN_COEF || op == OP_BN_GRAD_FINALISE;
    do {
        d->rows = check_size(r, check_chance(r, 8) ? 70001 : 300);
        d->channels = check_size(r, 1025);
    } while (d->rows * d->channels > (check_chance(r, 8) ? 150000 : 20000));
    d->count = (double)d->rows * (check_chance(r, 4) ? 3 : 1);
    d->type = check_float_type(r);
    d->epsilon = 1e-5f;
    d->momentum = check_chance(r, 4) ? 0.01f : 0.1f;
    if (!small) d->act = check_activation(r, true);
    d->alpha = d->act == ACT_CLIP ? -0.5f : 0.1f;
    d->beta = 3;
    d->has_add = (op == OP_BN_APPLY || op == OP_BN_GRAD_APPLY) && check_chance(r, 2);
    d->frozen = op == OP_BN_GRAD_FINALISE && check_chance(r, 3);
    d->recompute = (op == OP_BN_GRAD_STATS || op == OP_BN_GRAD_APPLY) && check_chance(r, 3);
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const bn_desc *d = &desc->bn;
    int64_t c = d->channels;
    dtype param = check_param(d->type);
    check_tensor tensor = {.type = d->type, .count = d->rows * c, .terms = 3},
                 sums = {.type = DTYPE_F64, .count = 2 * c, .terms = d->rows};
    check_tensor gamma = {.type = param, .count = c, .low = 0.5, .high = 2},
                 beta = {.type = param, .count = c, .terms = 4};
    check_tensor pair = {.type = param, .count = 2 * c, .terms = 4}, positive = gamma, updated = beta;
    updated.kept = true;
    switch (op) {
    case OP_BN_STATS:
        t->in[0] = tensor, t->out[0] = sums;
        break;
    case OP_BN_FINALISE:
        t->in[0] = sums, t->in[1] = gamma, t->in[2] = beta;
        t->out[0] = t->out[1] = pair, t->out[2] = t->out[3] = updated;
        break;
    case OP_BN_COEF:
        t->in[0] = gamma, t->in[1] = t->in[2] = beta, t->in[3] = positive, t->out[0] = t->out[1] = pair;
        break;
    case OP_BN_APPLY:
        t->in[0] = tensor, t->in[1] = pair, t->out[0] = tensor;
        if (d->has_add) t->in[2] = tensor;
        break;
    case OP_BN_GRAD_STATS:
    case OP_BN_GRAD_APPLY:
        t->in[0] = t->in[1] = tensor;
        if (!d->recompute && (d->act != ACT_NONE || d->channels % 2)) t->in[2] = tensor;
        t->out[0] = op == OP_BN_GRAD_STATS ? sums : tensor;
        if (d->recompute) t->in[op == OP_BN_GRAD_STATS ? 3 : 4] = pair;
        if (op == OP_BN_GRAD_STATS) break;
        t->in[3] = pair;
        t->in[3].count = 3 * c;
        if (d->has_add) t->out[1] = tensor;
        break;
    default: /* OP_BN_GRAD_FINALISE */
        t->in[0] = sums, t->in[1] = gamma, t->in[2] = pair, t->out[0] = pair, t->out[0].count = 3 * c;
        if (c % 5) t->out[1] = t->out[2] = updated;
    }
}

/* The slope jumps where the activation bends, and an output that is made again is rounded: within 1 % of a bend, bf16's
 * precision and more, there is no gradient to be wrong about. */
static void avoid_bends(check_case *c)
{
    const bn_desc *d = &c->desc.bn;
    const double bends[] = {0, 6, (double)d->alpha, (double)d->beta};
    const void *coef = c->start.in[c->op == OP_BN_GRAD_STATS ? 3 : 4];
    dtype p = check_param(d->type);
    for (int64_t i = 0; i < d->rows * d->channels; i++) {
        int64_t k = i % d->channels;
        double y =
            dtype_load(coef, p, k) * dtype_load(c->start.in[1], d->type, i) + dtype_load(coef, p, d->channels + k);
        for (int b = 0; b < 4; b++)
            if (!(fabs(y - bends[b]) > 0.01 * fmax(fabs(bends[b]), 0.01))) dtype_store(c->start.in[0], d->type, i, 0);
    }
}

/* Sums that belong to some values; positive rstd. */
static void prepare(check_case *c, rng *r)
{
    const bn_desc *d = &c->desc.bn;
    if (d->recompute) {
        avoid_bends(c);
        return;
    }
    double *stats = c->start.in[0];
    for (int64_t i = 0; i < d->channels; i++) {
        if (c->op == OP_BN_FINALISE) {
            double mean = 6 * rng_uniform_double(r) - 3,
                   var = check_chance(r, 10) ? 0 : 0.01 + 4 * rng_uniform_double(r);
            stats[i] = mean * d->count;
            stats[d->channels + i] = (mean * mean + var) * d->count;
        }
        if (c->op == OP_BN_GRAD_FINALISE)
            dtype_store(c->start.in[2], check_param(d->type), d->channels + i, 0.2 + 3 * rng_uniform_double(r));
    }
}

static double value(const void *data, dtype type, int64_t i)
{
    return fabs(dtype_load(data, type, i));
}

/* The small steps subtract; what was subtracted counts. Each uses the expected result where it is a factor. */
static double magnitude(const check_case *c, int32_t out, int64_t i)
{
    const bn_desc *d = &c->desc.bn;
    int64_t channels = d->channels, k = i % channels;
    dtype p = check_param(d->type), e = c->expected_tensors.out[out].type;
    double y = value(c->expected.out[out], e, i);
    if (c->op == OP_BN_FINALISE || c->op == OP_BN_COEF) {
        if (out == 0 && i >= channels)
            return value(c->start.in[c->op == OP_BN_COEF ? 1 : 2], p, k) +
                   value(c->expected.out[0], e, k) * value(c->expected.out[1], e, k);
        return out >= 2 ? y + value(c->start.out[out], p, i) : y;
    }
    if (c->op != OP_BN_GRAD_FINALISE) return -1;
    const double *stats = c->start.in[0];
    double mean = value(c->start.in[2], p, k), rstd = value(c->start.in[2], p, channels + k);
    double dgamma = rstd * (fabs(stats[channels + k]) + mean * fabs(stats[k])), dbeta = fabs(stats[k]);
    double scale = value(c->start.in[1], p, k) * rstd, q = scale * rstd * dgamma / d->count;
    if (out == 0) return i < channels ? scale : i < 2 * channels ? q : scale * dbeta / d->count + q * mean;
    return value(c->start.out[out], p, k) + (out == 1 ? dgamma : dbeta);
}

static bool allows(kernel_op op, const check_desc *desc, check_pattern pattern)
{
    const bn_desc *d = &desc->bn;
    if (pattern == PATTERN_INFINITE) return op == OP_BN_APPLY && d->act == ACT_NONE && !d->has_add;
    return !(pattern == PATTERN_LARGE && (op == OP_BN_COEF || op == OP_BN_GRAD_FINALISE || op == OP_BN_FINALISE));
}

/* Mutants: the last row is not summed; one channel in the tail is taken for its neighbour. */
static status short_run(const kernel_call *call)
{
    bn_desc d = *(const bn_desc *)call->desc;
    kernel_call less = *call;
    d.rows--;
    less.desc = &d;
    return check_reference(OP_BN_STATS)->run(&less);
}

static status tail_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    status s = check_reference(OP_BN_APPLY)->run(call);
    if (d->channels % 8 == 1 && d->channels > 1)
        dtype_store(call->out[0], d->type, d->channels - 1, dtype_load(call->out[0], d->type, d->channels - 2));
    return s;
}

const check_family batch_norm_family = {
    .name = "batch_norm",
    .op = {OP_BN_STATS, OP_BN_FINALISE, OP_BN_COEF, OP_BN_APPLY, OP_BN_GRAD_STATS, OP_BN_GRAD_FINALISE,
        OP_BN_GRAD_APPLY},
    .op_count = 7,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .allows = allows,
    .magnitude = magnitude,
    .mutant = {{.op = OP_BN_STATS, .name = "last row missing", .run = short_run},
        {.op = OP_BN_APPLY, .name = "wrong channel in the tail", .run = tail_run}},
};
