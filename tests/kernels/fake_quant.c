/* fake_quant.c: through the integers of an engine and back: every step is stated to the rounding, so
 * all are compared for equality. */
#include "tests/check/check.h"

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    fake_quant_desc *d = &desc->fake_quant;
    static const float momenta[] = {0.0f, 0.01f, 0.25f, 1.0f};
    d->rows = check_chance(r, 2) ? 1 : check_size(r, 65);
    d->count = check_size(r, d->rows == 1 ? 70001 : 1025);
    d->type = check_float_type(r);
    d->narrow = check_chance(r, 2);
    if (op == OP_FAKE_QUANT_RANGE) d->momentum = momenta[rng_below(r, 4)];
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const fake_quant_desc *d = &desc->fake_quant;
    const check_tensor values = {.type = d->type, .count = d->rows * d->count, .exact = true};
    const check_tensor range = {.type = DTYPE_F32, .count = d->rows, .low = 0.01, .high = 6};
    t->in[0] = values;
    if (op == OP_FAKE_QUANT_RANGE) {
        t->out[0] = range;
        t->out[0].kept = t->out[0].exact = true;
        return;
    }
    if (op == OP_FAKE_QUANT_BACKWARD) t->in[1] = values;
    t->in[op == OP_FAKE_QUANT ? 1 : 2] = range;
    t->out[0] = values;
}

/* Rows that were never measured; values on the ties, at both ends of the integers and beyond. */
static void prepare(check_case *c, rng *r)
{
    const fake_quant_desc *d = &c->desc.fake_quant;
    bool measures = c->op == OP_FAKE_QUANT_RANGE;
    float *range = measures ? c->start.out[0] : c->start.in[c->op == OP_FAKE_QUANT ? 1 : 2];
    for (int64_t k = 0; k < d->rows; k++)
        if (check_chance(r, 4)) range[k] = 0;
    if (measures || c->pattern != PATTERN_RANDOM) return;
    void *src = c->start.in[c->op == OP_FAKE_QUANT_BACKWARD];
    for (int64_t i = 0; i < d->rows * d->count; i += 3)
        dtype_store(src, d->type, i, ((double)rng_below(r, 540) / 2 - 135) * (double)(range[i / d->count] / 127.0f));
}

static bool typed(kernel_op op, const check_desc *desc)
{
    (void)op;
    (void)desc;
    return true;
}

/* Mutant: saturated values keep their gradient. */
static status through_run(const kernel_call *call)
{
    const fake_quant_desc *d = call->desc;
    for (int64_t i = 0; i < d->rows * d->count; i++)
        dtype_store(call->out[0], d->type, i, dtype_load(call->in[0], d->type, i));
    return OK;
}

/* Mutant: the average forgets the first measurement. */
static status forgets_run(const kernel_call *call)
{
    fake_quant_desc d = *(const fake_quant_desc *)call->desc;
    kernel_call plain = *call;
    d.momentum = 1;
    plain.desc = &d;
    return check_reference(OP_FAKE_QUANT_RANGE)->run(&plain);
}

const check_family fake_quant_family = {
    .name = "fake_quant",
    .op = {OP_FAKE_QUANT_RANGE, OP_FAKE_QUANT, OP_FAKE_QUANT_BACKWARD},
    .op_count = 3,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .typed = typed,
    .mutant = {{.op = OP_FAKE_QUANT_BACKWARD, .name = "gradient through saturation", .run = through_run},
        {.op = OP_FAKE_QUANT_RANGE, .name = "no average", .run = forgets_run}},
};
