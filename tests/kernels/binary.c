/* binary.c: sums and products of two tensors. */
#include "tests/check/check.h"

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    binary_desc *d = &desc->binary;
    do {
        d->n = 1 + rng_below(r, 4);
        d->pixels = check_size(r, 1025);
        d->channels = check_size(r, 1025);
    } while (d->n * d->pixels * d->channels > (check_chance(r, 8) ? 120000 : 20000));
    d->type = op == OP_ADD && check_chance(r, 3) ? (check_chance(r, 2) ? DTYPE_I8 : DTYPE_U8) : check_float_type(r);
    d->a_scale = d->b_scale = 1;
    if (op == OP_ADD && check_chance(r, 2)) {
        d->a_scale = rng_uniform_in(r, 0.1f, 1.5f);
        d->b_scale = rng_uniform_in(r, -1.5f, 1.5f);
    }
    if (op == OP_ADD) d->act = check_activation(r, d->type == DTYPE_I8 || d->type == DTYPE_U8);
    d->alpha = d->act == ACT_CLIP ? -0.5f : 0.1f;
    d->beta = 3;
    d->b_broadcast = op == OP_MUL_REDUCE || check_chance(r, 3);
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const binary_desc *d = &desc->binary;
    check_tensor all = {.type = d->type, .count = d->n * d->pixels * d->channels, .terms = 3}, row = all;
    row.count = d->n * d->channels;
    row.terms = d->pixels;
    t->in[0] = all;
    t->in[1] = op != OP_MUL_REDUCE && d->b_broadcast ? row : all;
    t->out[0] = op == OP_MUL_REDUCE ? row : all;
}

static bool typed(kernel_op op, const check_desc *desc)
{
    (void)op;
    return desc->binary.type == DTYPE_I8 || desc->binary.type == DTYPE_U8;
}

static bool allows(kernel_op op, const check_desc *desc, check_pattern pattern)
{
    return pattern != PATTERN_INFINITE || (op == OP_ADD && desc->binary.act == ACT_NONE) || op == OP_MUL;
}

static int32_t alias(kernel_op op, const check_desc *desc)
{
    (void)desc;
    return op == OP_ADD ? 0 : -1;
}

/* Mutants: a scale slightly off; the last pixel not summed. */
static status order_run(const kernel_call *call)
{
    binary_desc d = *(const binary_desc *)call->desc;
    kernel_call other = *call;
    d.b_scale = d.b_scale * 1.01f;
    other.desc = &d;
    return check_reference(OP_ADD)->run(&other);
}

static status pixel_run(const kernel_call *call)
{
    binary_desc d = *(const binary_desc *)call->desc;
    kernel_call other = *call;
    if (d.n == 1) d.pixels--;
    other.desc = &d;
    return check_reference(OP_MUL_REDUCE)->run(&other);
}

const check_family binary_family = {
    .name = "binary",
    .op = {OP_ADD, OP_MUL, OP_MUL_REDUCE},
    .op_count = 3,
    .generate = generate,
    .tensors = tensors,
    .typed = typed,
    .allows = allows,
    .alias = alias,
    .mutant = {{.op = OP_ADD, .name = "b one percent too large", .run = order_run},
        {.op = OP_MUL_REDUCE, .name = "last pixel missing", .run = pixel_run}},
};
