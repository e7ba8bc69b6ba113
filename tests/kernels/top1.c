/* top1.c: counting rows that are right: ties, NaN, rows without a target. */
#include "tests/check/check.h"

#include <math.h>

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    softmax_desc *d = &desc->softmax;
    (void)op;
    do {
        d->rows = check_size(r, 2049);
        d->classes = check_size(r, 1025);
    } while (d->rows * d->classes > 40000);
    d->type = check_float_type(r);
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const softmax_desc *d = &desc->softmax;
    (void)op;
    t->in[0] = (check_tensor){.type = d->type, .count = d->rows * d->classes};
    t->in[1] = (check_tensor){.type = DTYPE_F32, .count = d->rows * d->classes, .low = 0, .high = 1};
    t->out[0] = (check_tensor){.type = DTYPE_F64, .count = 1};
}

/* The count depends on the scores as they are rounded: the reference takes the same. */
static bool typed(kernel_op op, const check_desc *desc)
{
    (void)op;
    (void)desc;
    return true;
}

/* Most rows are right; some have no target, a tie, or NaN in front or behind. */
static void prepare(check_case *c, rng *r)
{
    const softmax_desc *d = &c->desc.softmax;
    float *targets = c->start.in[1];
    for (int64_t row = 0; row < d->rows; row++) {
        int64_t first = row * d->classes, own = (int64_t)rng_below(r, (uint32_t)d->classes);
        for (int64_t k = 0; k < d->classes; k++) targets[first + k] = k == own && !check_chance(r, 9) ? 1 : 0;
        if (check_chance(r, 4))
            targets[first + d->classes - 1 - own] += 0.5f; /* mixed, or larger where the two are one */
        if (check_chance(r, 3)) continue;
        dtype_store(c->start.in[0], d->type, first + own, 1e4);
        if (check_chance(r, 5)) dtype_store(c->start.in[0], d->type, first + d->classes / 2, 1e4);
        if (check_chance(r, 7))
            dtype_store(c->start.in[0], d->type, first + (int64_t)rng_below(r, (uint32_t)d->classes), (double)NAN);
    }
}

static double magnitude(const check_case *c, int32_t out, int64_t i)
{
    (void)c;
    (void)out;
    (void)i;
    return 0; /* counts are exact */
}

/* Mutants: a row without a target is right; of equal scores the last one counts. */
static status target_run(const kernel_call *call)
{
    const softmax_desc *d = call->desc;
    const float *targets = call->in[1];
    double extra = 0;
    TRY(check_reference(OP_TOP1)->run(call));
    for (int64_t row = 0; row < d->rows; row++) {
        bool any = false;
        for (int64_t k = 0; k < d->classes; k++) any = any || targets[row * d->classes + k] > 0;
        extra += !any;
    }
    *(double *)call->out[0] += extra;
    return OK;
}

static status last_run(const kernel_call *call)
{
    const softmax_desc *d = call->desc;
    const float *targets = call->in[1];
    double correct = 0;
    for (int64_t row = 0; row < d->rows; row++) {
        int64_t first = row * d->classes, wanted = 0, found = 0;
        for (int64_t k = 1; k < d->classes; k++) {
            if (targets[first + k] > targets[first + wanted]) wanted = k;
            if (dtype_load(call->in[0], d->type, first + k) >= dtype_load(call->in[0], d->type, first + found))
                found = k;
        }
        correct += targets[first + wanted] > 0 && found == wanted;
    }
    *(double *)call->out[0] = correct;
    return OK;
}

const check_family top1_family = {
    .name = "top1",
    .op = {OP_TOP1},
    .op_count = 1,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .typed = typed,
    .magnitude = magnitude,
    .mutant = {{.op = OP_TOP1, .name = "rows without a target counted", .run = target_run},
        {.op = OP_TOP1, .name = "the last of equal scores", .run = last_run}},
};
