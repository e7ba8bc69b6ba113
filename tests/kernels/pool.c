/* pool.c: window, global and adaptive pooling. */
#include "tests/check/check.h"

#include <math.h>
#include <stdlib.h>

static void draw_axis(
    rng *r, int64_t *in, int64_t *out, int32_t *window, int32_t *stride, int32_t *first, int32_t *last)
{
    *in = check_size(r, check_chance(r, 6) ? 65 : 17);
    *window = 1 + (int32_t)rng_below(r, 5);
    *stride = 1 + (int32_t)rng_below(r, 3);
    if (check_chance(r, 6)) *window = (int32_t)*in, *stride = 1; /* global */
    *first = (int32_t)rng_below(r, (uint32_t)(*window + 1) / 2 + 1);
    if (*first >= *window) *first = *window - 1;
    *last = check_chance(r, 4) ? (int32_t)rng_below(r, (uint32_t)*window) : *first;
    int64_t room = *in + *first + *last - *window;
    if (room < 0) *in -= room, room = 0;
    *out = room / *stride + 1;
    /* Rounded up, as long as the last window starts inside. */
    if (check_chance(r, 3) && *out * *stride < *in + *first) ++*out;
    while ((*out - 1) * *stride >= *in + *first) --*out;
}

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    pool_desc *d = &desc->pool;
    do {
        d->n = 1 + rng_below(r, 3);
        d->c = check_size(r, 129);
        draw_axis(r, &d->ih, &d->oh, &d->kh, &d->sh, &d->pt, &d->pb);
        draw_axis(r, &d->iw, &d->ow, &d->kw, &d->sw, &d->pl, &d->pr);
    } while (d->n * d->c * d->ih * d->iw > 50000);
    d->kind = check_chance(r, 2) ? POOL_MAX : POOL_AVERAGE;
    d->count_include_pad = check_chance(r, 2);
    d->type =
        op == OP_POOL_FORWARD && check_chance(r, 4) ? (check_chance(r, 2) ? DTYPE_I8 : DTYPE_U8) : check_float_type(r);
    if (check_chance(r, 8)) { /* over the whole image, as most networks end */
        d->kh = (int32_t)d->ih + (int32_t)rng_below(r, 2), d->kw = (int32_t)d->iw;
        d->pt = d->pl = d->pr = 0, d->pb = (int32_t)rng_below(r, 2);
        d->oh = d->ow = 1;
        return;
    }
    if (!check_chance(r, 5)) return;
    d->adaptive = true;
    if (check_chance(r, 4)) {
        d->oh = d->ow = 1;
        return;
    }
    d->oh = 1 + rng_below(r, (uint32_t)d->ih + 2);
    d->ow = 1 + rng_below(r, (uint32_t)d->iw + 2);
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const pool_desc *d = &desc->pool;
    check_tensor src = {.type = d->type, .count = d->n * d->ih * d->iw * d->c};
    check_tensor dst = {.type = d->type, .count = d->n * d->oh * d->ow * d->c, .exact = d->kind == POOL_MAX};
    check_tensor index = {.type = DTYPE_I32, .count = dst.count};
    dst.terms = d->adaptive ? d->ih * d->iw : d->kh * d->kw;
    src.terms = d->adaptive ? d->oh * d->ow : d->kh * d->kw;
    if (op == OP_POOL_FORWARD) {
        t->in[0] = src, t->out[0] = dst;
        if (d->kind == POOL_MAX && d->c % 4 != 3) t->out[1] = index;
    } else {
        t->in[0] = dst, t->out[0] = src;
        if (d->kind == POOL_MAX) t->in[1] = index;
    }
}

/* Positions as a forward pass gives them; beside infinities, some NaN. */
static void prepare(check_case *c, rng *r)
{
    const pool_desc *d = &c->desc.pool;
    for (int64_t i = 0; c->pattern == PATTERN_INFINITE && i < c->tensors.in[0].count; i++)
        if (check_chance(r, 16)) dtype_store(c->start.in[0], d->type, i, NAN);
    if (c->op != OP_POOL_BACKWARD || d->kind != POOL_MAX) return;
    int64_t count = d->n * d->ih * d->iw * d->c;
    void *src = arena_alloc_array(&c->memory, count, dtype_bytes(d->type));
    void *dst = arena_alloc_array(&c->memory, d->n * d->oh * d->ow * d->c, dtype_bytes(d->type));
    for (int64_t i = 0; i < count; i++) dtype_store(src, d->type, i, rng_below(r, 20));
    check_reference(OP_POOL_FORWARD)->run(&(kernel_call){.desc = d, .in = {src}, .out = {dst, c->start.in[1]}});
}

static bool typed(kernel_op op, const check_desc *desc)
{
    (void)op;
    return desc->pool.type == DTYPE_I8 || desc->pool.type == DTYPE_U8;
}

static bool allows(kernel_op op, const check_desc *desc, check_pattern pattern)
{
    return pattern != PATTERN_INFINITE || (op == OP_POOL_FORWARD && desc->pool.kind == POOL_MAX);
}

static status divisor_run(const kernel_call *call)
{
    pool_desc d = *(const pool_desc *)call->desc;
    kernel_call other = *call;
    d.count_include_pad = !d.count_include_pad;
    other.desc = &d;
    return check_reference(OP_POOL_FORWARD)->run(&other);
}

static size_t backward_scratch(const void *desc, const void *state)
{
    return check_reference(OP_POOL_BACKWARD)->scratch_bytes(desc, state);
}

static status lost_run(const kernel_call *call)
{
    pool_desc d = *(const pool_desc *)call->desc;
    kernel_call other = *call;
    if (d.n == 1 && d.oh > 1) d.oh--; /* the last row of windows gives nothing back */
    other.desc = &d;
    return check_reference(OP_POOL_BACKWARD)->run(&other);
}

const check_family pool_family = {
    .name = "pool",
    .op = {OP_POOL_FORWARD, OP_POOL_BACKWARD},
    .op_count = 2,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .typed = typed,
    .allows = allows,
    .mutant = {{.op = OP_POOL_FORWARD, .name = "padding counted the other way", .run = divisor_run},
        {.op = OP_POOL_BACKWARD,
            .name = "last row of windows lost",
            .scratch_bytes = backward_scratch,
            .run = lost_run}},
};
