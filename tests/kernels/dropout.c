/* dropout.c: the mask is defined to the bit. */
#include "tests/check/check.h"

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    static const float probabilities[] = {0, 0.1f, 0.25f, 0.5f, 0.9f};
    (void)op;
    desc->dropout = (dropout_desc){.n = 1 + rng_below(r, 5),
        .per_sample = check_size(r, 4097),
        .type = check_float_type(r),
        .probability = probabilities[rng_below(r, 5)],
        .key = rng_u64(r),
        .salt = rng_u64(r)};
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const dropout_desc *d = &desc->dropout;
    (void)op;
    t->in[0] = t->out[0] = (check_tensor){.type = d->type, .count = d->n * d->per_sample};
    t->in[1] = (check_tensor){.type = DTYPE_I64, .count = d->n};
}

static status salt_run(const kernel_call *call)
{
    dropout_desc d = *(const dropout_desc *)call->desc;
    kernel_call other = *call;
    d.salt = 0;
    other.desc = &d;
    return check_reference(OP_DROPOUT)->run(&other);
}

static status scale_run(const kernel_call *call)
{
    const dropout_desc *d = call->desc;
    status s = check_reference(OP_DROPOUT)->run(call);
    for (int64_t i = 0; i < d->n * d->per_sample; i++)
        dtype_store(call->out[0], d->type, i, dtype_load(call->out[0], d->type, i) * (1 - (double)d->probability));
    return s;
}

const check_family dropout_family = {
    .name = "dropout",
    .op = {OP_DROPOUT},
    .op_count = 1,
    .generate = generate,
    .tensors = tensors,
    .mutant = {{.op = OP_DROPOUT, .name = "salt forgotten", .run = salt_run},
        {.op = OP_DROPOUT, .name = "kept values not scaled up", .run = scale_run}},
};
