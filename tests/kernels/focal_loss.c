/* focal_loss.c: RetinaNet's loss: batches without positives, ignored priors, one class and many, every power. */
#include "tests/check/check.h"

#include <math.h>

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    focal_loss_desc *d = &desc->focal_loss;
    (void)op;
    do {
        d->n = check_size(r, 4);
        d->priors = check_size(r, 1025);
        d->classes = check_size(r, 129);
    } while (d->n * d->priors * d->classes > 20000);
    d->capacity = check_size(r, 9);
    d->type = check_float_type(r);
    d->alpha = check_chance(r, 4) ? 1 : 0.25f;
    d->gamma = check_chance(r, 2) ? 2 : check_chance(r, 2) ? 0 : 1.5f;
    d->beta = check_chance(r, 3) ? 0 : check_chance(r, 2) ? 1 : 0.125f;
    d->per_image = check_chance(r, 2);
    d->location_weight = check_chance(r, 2) ? 1 : 0.25f;
    for (int i = 0; i < 4; i++) d->variance[i] = i < 2 ? 0.1f : 0.2f;
    d->grad_scale = check_chance(r, 3) ? 128 : 1;
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const focal_loss_desc *d = &desc->focal_loss;
    int64_t rows = d->n * d->priors, terms = rows * d->classes + 8;
    (void)op;
    t->in[0] = (check_tensor){.type = d->type, .count = 4 * rows, .low = -3, .high = 3};
    t->in[1] = (check_tensor){.type = d->type, .count = d->classes * rows};
    t->in[2] = (check_tensor){.type = DTYPE_F32, .count = 4 * d->priors};
    t->in[3] = (check_tensor){.type = DTYPE_F32, .count = 4 * d->n * d->capacity};
    t->in[4] = (check_tensor){.type = DTYPE_I32, .count = d->n * d->capacity};
    t->in[5] = (check_tensor){.type = DTYPE_I32, .count = rows};
    if (d->classes % 3 == 0) t->in[6] = (check_tensor){.type = DTYPE_F32, .count = 1, .low = 0.25, .high = 4096};
    for (int i = 0; i < 4; i++) t->out[i] = (check_tensor){.type = DTYPE_F64, .count = 1, .terms = terms};
    if (d->classes % 4) t->out[4] = (check_tensor){.type = d->type, .count = 4 * rows};
    if (d->priors % 4) t->out[5] = (check_tensor){.type = d->type, .count = d->classes * rows};
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
    const focal_loss_desc *d = &c->desc.focal_loss;
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

/* The sums are of terms of one sign, each right to a few roundings of f32. A gradient by a score is a product of
 * functions of its exponential: the power of p multiplies the relative error of p, x itself is the exponent. */
static double magnitude(const check_case *c, int32_t out, int64_t i)
{
    const focal_loss_desc *d = &c->desc.focal_loss;
    double e = fabs(dtype_load(c->expected.out[out], c->expected_tensors.out[out].type, i));
    if (out == 3) return 0;
    if (out < 3) return 4 * e;
    if (out == 4) return 0x1p-20 * (isfinite(e) ? e : 1);
    double x = fabs(dtype_load(c->start.in[1], d->type, i));
    /* Below 2^-126 the exponential may vanish, and scale multiplies what is left. */
    double scale = fabs((double)d->grad_scale * (c->start.in[6] ? (double)*(const float *)c->start.in[6] : 1));
    double size = isfinite(x) ? fmin(x, 90) : 90;
    return scale * 0x1p-105 + (2 + (double)d->gamma * (1 + size / 8)) * (isfinite(e) ? e : 1);
}

/* Mutants: the power is left out; the weights of what is there and what is not are swapped. */
static status power_run(const kernel_call *call)
{
    focal_loss_desc d = *(const focal_loss_desc *)call->desc;
    kernel_call other = *call;
    d.gamma = 0;
    other.desc = &d;
    return check_reference(OP_FOCAL_LOSS)->run(&other);
}

static status swapped_run(const kernel_call *call)
{
    focal_loss_desc d = *(const focal_loss_desc *)call->desc;
    kernel_call other = *call;
    d.alpha = 1 - d.alpha;
    other.desc = &d;
    return check_reference(OP_FOCAL_LOSS)->run(&other);
}

const check_family focal_loss_family = {
    .name = "focal_loss",
    .op = {OP_FOCAL_LOSS},
    .op_count = 1,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .magnitude = magnitude,
    .mutant =
        {{.op = OP_FOCAL_LOSS, .name = "without the power", .run = power_run},
            {.op = OP_FOCAL_LOSS, .name = "weights swapped", .run = swapped_run}},
};
