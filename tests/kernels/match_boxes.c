/* match_boxes.c: matching priors to boxes: overlaps of every degree, equal boxes, ignored ones, lists that end early.
 */
#include "tests/check/check.h"

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    match_boxes_desc *d = &desc->match_boxes;
    (void)op;
    do {
        d->n = check_size(r, 4);
        d->priors = check_size(r, 1025);
        d->capacity = check_size(r, 47);
    } while (d->n * d->priors * d->capacity > 60000);
    d->positive = check_chance(r, 2) ? 0.5f : 0.7f;
    d->negative = check_chance(r, 2) ? d->positive : 0.25f;
    d->bipartite = !check_chance(r, 3);
    d->low_quality = check_chance(r, 3);
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const match_boxes_desc *d = &desc->match_boxes;
    (void)op;
    t->in[0] = (check_tensor){.type = DTYPE_F32, .count = 4 * d->priors};
    t->in[1] = (check_tensor){.type = DTYPE_F32, .count = 4 * d->n * d->capacity};
    t->in[2] = (check_tensor){.type = DTYPE_I32, .count = d->n * d->capacity};
    t->out[0] = (check_tensor){.type = DTYPE_I32, .count = d->n * d->priors};
}

static bool typed(kernel_op op, const check_desc *desc)
{
    (void)op;
    (void)desc;
    return true;
}

/* On a grid of 4 pixels half of the time, so that overlaps are equal; some are empty. */
static void draw_box(rng *r, float *box)
{
    bool whole = check_chance(r, 2);
    for (int i = 0; i < 2; i++) {
        double low = rng_uniform_in(r, -8, 64), size = check_chance(r, 20) ? 0 : rng_uniform_in(r, 4, 40);
        if (whole) low = 4 * (int)(low / 4), size = 4 * (int)(size / 4);
        box[i] = (float)low;
        box[2 + i] = (float)(low + size);
    }
}

static void prepare(check_case *c, rng *r)
{
    const match_boxes_desc *d = &c->desc.match_boxes;
    float *priors = c->start.in[0], *boxes = c->start.in[1];
    int32_t *box_class = c->start.in[2];
    for (int64_t p = 0; p < d->priors; p++) draw_box(r, priors + 4 * p);
    for (int64_t k = 0; k < d->n * d->capacity; k++) {
        bool end = k % d->capacity != 0 && box_class[k - 1] == BOX_CLASS_NONE;
        box_class[k] = end || check_chance(r, 9) ? BOX_CLASS_NONE
                       : check_chance(r, 6)      ? BOX_CLASS_IGNORE
                                                 : (int32_t)rng_below(r, 5);
        draw_box(r, boxes + 4 * k);
        const float *like = check_chance(r, 2) ? priors + 4 * rng_below(r, (uint32_t)d->priors)
                            : k > 0            ? boxes + 4 * (k - 1)
                                               : NULL;
        if (check_chance(r, 3) && like)
            for (int i = 0; i < 4; i++) boxes[4 * k + i] = like[i];
    }
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    return check_reference(OP_MATCH_BOXES)->scratch_bytes(desc, state);
}

/* Mutants: no pairs first; an overlap must exceed the threshold. */
static status pairs_run(const kernel_call *call)
{
    match_boxes_desc d = *(const match_boxes_desc *)call->desc;
    kernel_call other = *call;
    d.bipartite = false;
    other.desc = &d;
    return check_reference(OP_MATCH_BOXES)->run(&other);
}

static status above_run(const kernel_call *call)
{
    match_boxes_desc d = *(const match_boxes_desc *)call->desc;
    kernel_call other = *call;
    d.positive = d.positive * (1 + 0x1p-20f);
    other.desc = &d;
    return check_reference(OP_MATCH_BOXES)->run(&other);
}

const check_family match_boxes_family = {
    .name = "match_boxes",
    .op = {OP_MATCH_BOXES},
    .op_count = 1,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .typed = typed,
    .mutant = {{.op = OP_MATCH_BOXES, .name = "no pairs first", .scratch_bytes = scratch_bytes, .run = pairs_run},
        {.op = OP_MATCH_BOXES,
            .name = "an overlap of exactly the threshold is no match",
            .scratch_bytes = scratch_bytes,
            .run = above_run}},
};
