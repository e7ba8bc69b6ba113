/* optimiser.c: gradient check and update rules over several segments. */
#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    optimiser_desc *d = &desc->optimiser;
    d->segments = 1 + (int32_t)rng_below(r, 6);
    d->count = check_size(r, 70001);
    if (d->count < d->segments) d->count = d->segments;
    d->clip_norm = check_chance(r, 2) ? 0 : rng_uniform_in(r, 0.5f, 50);
    if (op == OP_GRAD_CHECK) return;
    d->rule = (update_rule)rng_below(r, 4);
    d->momentum = check_chance(r, 4) || d->rule == UPDATE_ADAM || d->rule == UPDATE_ADAMW ? 0 : 0.9f;
    d->beta1 = 0.9f, d->beta2 = 0.999f, d->rho = 0.99f, d->epsilon = 1e-8f;
    d->weight_decay = check_chance(r, 2) ? 0 : 1e-2f;
    d->l1_weight = check_chance(r, 3) ? 1e-3f : 0;
    d->l2_weight = check_chance(r, 3) ? 1e-3f : 0;
    d->ema_decay = check_chance(r, 3) ? 0.99f : 0;
    d->nesterov = d->rule == UPDATE_SGD && check_chance(r, 2);
}

static bool has_m(const optimiser_desc *d)
{
    return d->rule == UPDATE_ADAM || d->rule == UPDATE_ADAMW || d->momentum != 0;
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const optimiser_desc *d = &desc->optimiser;
    check_tensor block = {
        .type = DTYPE_F32, .count = d->count, .kept = true, .terms = 16}; /* a dozen roundings at most */
    t->in[OPTIMISER_GRAD] = block;
    t->in[OPTIMISER_SEGMENTS] = (check_tensor){.type = DTYPE_U8, .count = d->segments * (int64_t)sizeof(param_segment)};
    check_tensor state = {.type = DTYPE_U8, .count = sizeof(step_state), .kept = true};
    if (op == OP_GRAD_CHECK) {
        t->out[0] = state;
        return;
    }
    t->out[OPTIMISER_STATE] = state;
    t->out[OPTIMISER_WEIGHT] = block;
    if (has_m(d)) t->out[OPTIMISER_MOMENT1] = block;
    if (d->rule != UPDATE_SGD) t->out[OPTIMISER_MOMENT2] = block;
    if (d->ema_decay > 0) t->out[OPTIMISER_EMA] = block;
    t->out[OPTIMISER_GRAD_ZEROED] = (check_tensor){.type = DTYPE_F32, .count = d->count, .exact = true};
}

static void prepare(check_case *c, rng *r)
{
    const optimiser_desc *d = &c->desc.optimiser;
    param_segment *segments = c->start.in[OPTIMISER_SEGMENTS];
    step_state *state = c->start.out[c->op == OP_GRAD_CHECK ? 0 : OPTIMISER_STATE];
    float *v = c->start.out[OPTIMISER_MOMENT2];
    for (int32_t s = 0; s < d->segments; s++) {
        int64_t from = d->count * s / d->segments, to = d->count * (s + 1) / d->segments;
        if (to - from > 4 && check_chance(r, 3)) to -= 2; /* gaps between segments */
        segments[s] = (param_segment){
            from, to - from, check_chance(r, 4) ? 0 : 0.5f + (float)rng_below(r, 3), (float)rng_below(r, 2)};
    }
    *state = (step_state){.learning_rate = 0.01f,
        .loss_scale = check_chance(r, 2) ? 1 : 1024,
        .grad_norm = 1,
        .clip_factor = check_chance(r, 2) ? 1 : 0.3f,
        .step = 1 + rng_below(r, 50),
        .finite = !check_chance(r, 6),
        .bad_segment = -1};
    for (int64_t i = 0; i < d->count && c->op == OP_OPTIMISER && v; i++) v[i] = fabsf(v[i]);
}

static bool typed(kernel_op op, const check_desc *desc)
{
    (void)op;
    (void)desc;
    return true;
}

static bool allows(kernel_op op, const check_desc *desc, check_pattern pattern)
{
    (void)desc;
    return pattern != PATTERN_INFINITE || op == OP_GRAD_CHECK;
}

/* Sums of absolute values: gradient with penalties, moments, step. v carries the error of g^2 into the step. */
static double magnitude(const check_case *c, int32_t out, int64_t i)
{
    const optimiser_desc *d = &c->desc.optimiser;
    const step_state *state = c->start.out[OPTIMISER_STATE];
    const float *m0 = c->start.out[OPTIMISER_MOMENT1], *v0 = c->start.out[OPTIMISER_MOMENT2],
                *ema0 = c->start.out[OPTIMISER_EMA];
    const float *v1 = c->expected.out[OPTIMISER_MOMENT2];
    double w = fabs((double)((const float *)c->start.out[OPTIMISER_WEIGHT])[i]);
    double g =
        fabs((double)((const float *)c->start.in[0])[i]) / (double)state->loss_scale * (double)state->clip_factor;
    g += 2 * (double)d->l2_weight * w + (double)d->l1_weight + (double)d->weight_decay * w;
    double m = m0 ? fabs((double)m0[i]) : 0, v = v0 ? (double)v0[i] : 0, lr = 2.5 * (double)state->learning_rate, step;
    if (d->rule == UPDATE_SGD) {
        m = (double)d->momentum * m + g;
        step = lr * (g + m);
    } else if (d->rule == UPDATE_RMSPROP) {
        v = (double)d->rho * v + (1 - (double)d->rho) * g * g;
        double root = sqrt((double)v1[i]) + (double)d->epsilon;
        m = (double)d->momentum * m + g / root * (1 + fmin(v / fmax((double)v1[i], 1e-300), 1e6));
        step = lr * m;
    } else {
        double b1 = 1 - pow((double)d->beta1, (double)state->step), b2 = 1 - pow((double)d->beta2, (double)state->step);
        m = (double)d->beta1 * m + (1 - (double)d->beta1) * g;
        v = (double)d->beta2 * v + (1 - (double)d->beta2) * g * g;
        step = lr * m / b1 / (sqrt((double)v1[i] / b2) + (double)d->epsilon) *
               (1 + fmin(v / fmax((double)v1[i], 1e-300), 1e6));
        /* 1 - beta^t in f32 loses what cancels. */
        step *= 1 + 1 / b2;
    }
    if (out == OPTIMISER_MOMENT1) return m;
    if (out == OPTIMISER_MOMENT2) return v;
    return w + step + (out == OPTIMISER_EMA ? fabs((double)ema0[i]) : 0);
}

static bool close(double a, double b, double relative)
{
    return a == b || (isnan(a) && isnan(b)) || fabs(a - b) <= relative * fabs(b);
}

static bool compare(const check_case *c, int32_t out, const void *actual, char *why)
{
    const step_state *e = c->expected.out[out], *y = actual;
    if (c->op == OP_GRAD_CHECK) {
        /* The norm is summed in double: its own rounding and the one to f32 remain. With
         * something infinite there is none. */
        if (y->finite == e->finite && y->bad_segment == e->bad_segment &&
            close((double)y->clip_factor, (double)e->clip_factor, 0x1p-22) &&
            (!e->finite || close((double)y->grad_norm, (double)e->grad_norm, 0x1p-22)))
            return true;
    } else if (close(y->penalty, e->penalty, 1e-6) && memcmp(y, e, offsetof(step_state, penalty)) == 0) {
        return true;
    }
    snprintf(why, 256, "state: finite %d bad %d norm %.9g clip %.9g penalty %.9g, expected %d %d %.9g %.9g %.9g",
        y->finite, y->bad_segment, (double)y->grad_norm, (double)y->clip_factor, y->penalty, e->finite, e->bad_segment,
        (double)e->grad_norm, (double)e->clip_factor, e->penalty);
    return false;
}

/* As in training: the gradient that is read is the one that is zeroed. */
static int32_t alias(kernel_op op, const check_desc *desc)
{
    (void)desc;
    return op == OP_OPTIMISER ? OPTIMISER_GRAD + 16 * OPTIMISER_GRAD_ZEROED : -1;
}

static status frozen_run(const kernel_call *call)
{
    param_segment segments[8];
    const optimiser_desc *d = call->desc;
    kernel_call other = *call;
    memcpy(segments, call->in[OPTIMISER_SEGMENTS], (size_t)d->segments * sizeof(param_segment));
    for (int32_t s = 0; s < d->segments; s++)
        if (segments[s].rate_factor == 0) segments[s].rate_factor = 1;
    other.in[OPTIMISER_SEGMENTS] = segments;
    return check_reference(OP_OPTIMISER)->run(&other);
}

static status first_run(const kernel_call *call)
{
    status s = check_reference(OP_GRAD_CHECK)->run(call);
    step_state *state = call->out[0];
    if (!state->finite) state->bad_segment = 0;
    return s;
}

const check_family optimiser_family = {
    .name = "optimiser",
    .op = {OP_GRAD_CHECK, OP_OPTIMISER},
    .op_count = 2,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .typed = typed,
    .allows = allows,
    .magnitude = magnitude,
    .compare = compare,
    .alias = alias,
    .mutant = {{.op = OP_OPTIMISER, .name = "frozen segments updated", .run = frozen_run},
        {.op = OP_GRAD_CHECK, .name = "always blames segment 0", .run = first_run}},
};
