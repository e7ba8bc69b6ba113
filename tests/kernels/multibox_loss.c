/* multibox_loss.c: SSD's loss: batches without positives, with more hardest backgrounds than there are, ignored priors,
 * equal losses. */
#include "tests/check/check.h"

#include <math.h>

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    multibox_loss_desc *d = &desc->multibox_loss;
    (void)op;
    do {
        d->n = check_size(r, 4);
        d->priors = check_size(r, 1025);
        d->classes = check_size(r, 129);
    } while (d->n * d->priors * d->classes > 20000);
    d->capacity = check_size(r, 9);
    d->type = check_float_type(r);
    d->neg_pos_ratio = check_chance(r, 4) ? 0 : check_chance(r, 2) ? 3 : 0.75f;
    d->location_weight = check_chance(r, 2) ? 1 : 0.25f;
    for (int i = 0; i < 4; i++) d->variance[i] = i < 2 ? 0.1f : 0.2f;
    d->grad_scale = check_chance(r, 3) ? 128 : 1;
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const multibox_loss_desc *d = &desc->multibox_loss;
    int64_t rows = d->n * d->priors, terms = rows + d->classes + 8;
    (void)op;
    t->in[0] = (check_tensor){.type = d->type, .count = 4 * rows, .low = -3, .high = 3};
    t->in[1] = (check_tensor){.type = d->type, .count = (d->classes + 1) * rows};
    t->in[2] = (check_tensor){.type = DTYPE_F32, .count = 4 * d->priors};
    t->in[3] = (check_tensor){.type = DTYPE_F32, .count = 4 * d->n * d->capacity};
    t->in[4] = (check_tensor){.type = DTYPE_I32, .count = d->n * d->capacity};
    t->in[5] = (check_tensor){.type = DTYPE_I32, .count = rows};
    if (d->classes % 3 == 0) t->in[6] = (check_tensor){.type = DTYPE_F32, .count = 1, .low = 0.25, .high = 4096};
    for (int i = 0; i < 4; i++) t->out[i] = (check_tensor){.type = DTYPE_F64, .count = 1, .terms = terms};
    if (d->classes % 4) t->out[4] = (check_tensor){.type = d->type, .count = 4 * rows};
    if (d->priors % 4) t->out[5] = (check_tensor){.type = d->type, .count = (d->classes + 1) * rows};
}

static void draw_box(rng *r, float *box)
{
    for (int i = 0; i < 2; i++) {
        box[i] = (float)rng_uniform_in(r, -8, 64);
        box[2 + i] = box[i] + (float)rng_uniform_in(r, 4, 40);
    }
}

static void prepare(check_case *c, rng *r)
{
    const multibox_loss_desc *d = &c->desc.multibox_loss;
    int32_t *box_class = c->start.in[4], *match = c->start.in[5];
    uint32_t one_in = check_chance(r, 5) ? 1000 : check_chance(r, 2) ? 2 : 9;
    for (int64_t p = 0; p < d->priors; p++) draw_box(r, (float *)c->start.in[2] + 4 * p);
    for (int64_t k = 0; k < d->n * d->capacity; k++) {
        draw_box(r, (float *)c->start.in[3] + 4 * k);
        box_class[k] = check_chance(r, 12) ? BOX_CLASS_IGNORE : (int32_t)rng_below(r, (uint32_t)d->classes);
    }
    for (int64_t i = 0; i < d->n * d->priors; i++)
        match[i] = check_chance(r, one_in) ? (int32_t)rng_below(r, (uint32_t)d->capacity)
                   : check_chance(r, 6)    ? MATCH_IGNORED
                                           : MATCH_BACKGROUND;
}

/* Every variant computes in double and rounds once: what is left is the last bit of a double, of values as large as the
 * logits. */
static double magnitude(const check_case *c, int32_t out, int64_t i)
{
    double e = fabs(dtype_load(c->expected.out[out], c->expected_tensors.out[out].type, i));
    return out == 3 ? 0 : 0x1p-20 * (isfinite(e) ? e : 1);
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    return check_reference(OP_MULTIBOX_LOSS)->scratch_bytes(desc, state);
}

/* Mutants: backgrounds all count; the encoding is not divided by the variances. */
static status all_run(const kernel_call *call)
{
    multibox_loss_desc d = *(const multibox_loss_desc *)call->desc;
    kernel_call other = *call;
    d.neg_pos_ratio = 1e6f;
    other.desc = &d;
    return check_reference(OP_MULTIBOX_LOSS)->run(&other);
}

static status encoding_run(const kernel_call *call)
{
    multibox_loss_desc d = *(const multibox_loss_desc *)call->desc;
    kernel_call other = *call;
    for (int i = 0; i < 4; i++) d.variance[i] = 1;
    other.desc = &d;
    return check_reference(OP_MULTIBOX_LOSS)->run(&other);
}

const check_family multibox_loss_family = {
    .name = "multibox_loss",
    .op = {OP_MULTIBOX_LOSS},
    .op_count = 1,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .magnitude = magnitude,
    .mutant =
        {{.op = OP_MULTIBOX_LOSS, .name = "all backgrounds count", .scratch_bytes = scratch_bytes, .run = all_run},
            {.op = OP_MULTIBOX_LOSS,
                .name = "an encoding without variances",
                .scratch_bytes = scratch_bytes,
                .run = encoding_run}},
};
