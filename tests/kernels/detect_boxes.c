/* detect_boxes.c: decoding and suppression: nothing above the threshold, more than fit, equal scores, equal boxes. */
#include "tests/check/check.h"

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    detect_boxes_desc *d = &desc->detect_boxes;
    (void)op;
    do {
        d->n = check_size(r, 4);
        d->priors = check_chance(r, 6) ? 2000 + check_size(r, 3000) : check_size(r, 1025);
        d->classes = check_size(r, 65);
    } while (d->n * d->priors * d->classes > 16000 || d->n * d->priors * d->classes * d->classes > 300000);
    d->capacity = check_size(r, 33);
    d->type = check_float_type(r);
    d->sigmoid = check_chance(r, 2);
    d->threshold = check_chance(r, 3) ? 0 : check_chance(r, 2) ? 0.01f : 0.6f;
    d->iou = check_chance(r, 4) ? 0 : 0.45f;
    d->top_k = check_size(r, 257);
    for (int i = 0; i < 4; i++) d->variance[i] = i < 2 ? 0.1f : 0.2f;
    d->width = 64;
    d->height = 48;
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const detect_boxes_desc *d = &desc->detect_boxes;
    int64_t rows = d->n * d->priors;
    (void)op;
    t->in[0] = (check_tensor){.type = d->type, .count = 4 * rows, .low = -3, .high = 3};
    t->in[1] = (check_tensor){.type = d->type, .count = (d->classes + !d->sigmoid) * rows};
    t->in[2] = (check_tensor){.type = DTYPE_F32, .count = 4 * d->priors};
    t->out[0] = (check_tensor){.type = DTYPE_F32, .count = 6 * d->n * d->capacity, .exact = true};
}

/* Order and suppression depend on scores as they are rounded: the reference takes the same. */
static bool typed(kernel_op op, const check_desc *desc)
{
    (void)op;
    (void)desc;
    return true;
}

static void prepare(check_case *c, rng *r)
{
    const detect_boxes_desc *d = &c->desc.detect_boxes;
    float *priors = c->start.in[2];
    for (int64_t p = 0; p < d->priors; p++) {
        bool same = p > 0 && check_chance(r, 6);
        for (int i = 0; i < 2; i++) {
            priors[4 * p + i] = same ? priors[4 * p - 4 + i] : (float)rng_uniform_in(r, -8, 56);
            priors[4 * p + 2 + i] = same ? priors[4 * p - 2 + i] : priors[4 * p + i] + (float)rng_uniform_in(r, 4, 30);
        }
    }
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    return check_reference(OP_DETECT_BOXES)->scratch_bytes(desc, state);
}

/* Mutants: top_k is ignored; boxes are not clipped. */
static status top_run(const kernel_call *call)
{
    detect_boxes_desc d = *(const detect_boxes_desc *)call->desc;
    kernel_call other = *call;
    d.top_k = d.priors;
    other.desc = &d;
    return check_reference(OP_DETECT_BOXES)->run(&other);
}

static status clip_run(const kernel_call *call)
{
    detect_boxes_desc d = *(const detect_boxes_desc *)call->desc;
    kernel_call other = *call;
    d.width = d.height = 1024;
    other.desc = &d;
    return check_reference(OP_DETECT_BOXES)->run(&other);
}

const check_family detect_boxes_family = {
    .name = "detect_boxes",
    .op = {OP_DETECT_BOXES},
    .op_count = 1,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .typed = typed,
    .mutant = {{.op = OP_DETECT_BOXES,
                   .name = "all candidates reach the suppression",
                   .scratch_bytes = scratch_bytes,
                   .run = top_run},
        {.op = OP_DETECT_BOXES, .name = "boxes are not clipped", .scratch_bytes = scratch_bytes, .run = clip_run}},
};
