/* cast.c: between element types: every result is one rounding, so all are compared for equality. */
#include "tests/check/check.h"

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    cast_desc *d = &desc->cast;
    static const dtype types[] = {
        DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I8, DTYPE_U8, DTYPE_I32, DTYPE_I64, DTYPE_F64};
    static const dtype whole[] = {DTYPE_I8, DTYPE_U8, DTYPE_I32};
    d->count = check_size(r, 70001);
    d->scale = rng_uniform_in(r, 0.01f, 40.0f);
    if (op == OP_CAST) {
        d->src_type = types[rng_below(r, 7)]; /* from f64 the way to 16 bits is open */
        d->dst_type = types[rng_below(r, 8)];
    } else {
        d->src_type = op == OP_QUANTISE ? types[rng_below(r, 3)] : whole[rng_below(r, 3)];
        d->dst_type = op == OP_QUANTISE ? whole[rng_below(r, 2)] : types[rng_below(r, 3)];
    }
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const cast_desc *d = &desc->cast;
    (void)op;
    t->in[0] = (check_tensor){.type = d->src_type, .count = d->count};
    t->out[0] = (check_tensor){.type = d->dst_type, .count = d->count, .exact = true};
}

/* Halves, where the rounding shows. */
static void prepare(check_case *c, rng *r)
{
    const cast_desc *d = &c->desc.cast;
    if (c->op != OP_CAST || c->pattern != PATTERN_RANDOM) return;
    for (int64_t i = 0; i < d->count; i += 3)
        dtype_store(c->start.in[0], d->src_type, i, (double)rng_below(r, 600) / 2 - 150);
}

static bool typed(kernel_op op, const check_desc *desc)
{
    (void)op;
    (void)desc;
    return true;
}

static bool allows(kernel_op op, const check_desc *desc, check_pattern pattern)
{
    (void)op;
    (void)desc;
    (void)pattern;
    return true;
}

/* Mutant: halves away from zero. */
static status away_run(const kernel_call *call)
{
    const cast_desc *d = call->desc;
    status s = check_reference(OP_CAST)->run(call);
    for (int64_t i = 0; i < d->count && d->dst_type == DTYPE_I8; i++) {
        double x = dtype_load(call->in[0], d->src_type, i);
        dtype_store(call->out[0], d->dst_type, i,
            (double)(int64_t)(x < -128  ? -128
                              : x > 127 ? 127
                              : x < 0   ? x - 0.5
                                        : x + 0.5));
    }
    return s;
}

static status range_run(const kernel_call *call)
{
    const cast_desc *d = call->desc;
    status s = check_reference(OP_QUANTISE)->run(call);
    for (int64_t i = 0; i < d->count && d->dst_type == DTYPE_I8; i++)
        if (((int8_t *)call->out[0])[i] == -128) ((int8_t *)call->out[0])[i] = -127;
    return s;
}

const check_family cast_family = {
    .name = "cast",
    .op = {OP_CAST, OP_QUANTISE, OP_DEQUANTISE},
    .op_count = 3,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .typed = typed,
    .allows = allows,
    .mutant = {{.op = OP_CAST, .name = "halves away from zero", .run = away_run},
        {.op = OP_QUANTISE, .name = "symmetric range", .run = range_run}},
};
