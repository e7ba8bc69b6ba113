/* move.c: pad, slice, transpose, concat, fill: nothing is computed, so all is compared for equality. */
#include "tests/check/check.h"

static dtype any_type(rng *r)
{
    static const dtype types[] = {
        DTYPE_F32, DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_I8, DTYPE_U8, DTYPE_I32, DTYPE_I64};
    return types[rng_below(r, 8)];
}

static void generate_pad(rng *r, pad_desc *d)
{
    int64_t limit = check_chance(r, 6) ? 60000 : 5000, src = limit + 1, dst = 0;
    d->rank = 1 + (int32_t)rng_below(r, MOVE_MAX_RANK);
    d->scatter = check_chance(r, 4);
    d->value = check_chance(r, 2) ? 0 : 3;
    bool strided = d->scatter || check_chance(r, 4);
    while (src > limit || dst > limit) {
        src = dst = 1;
        for (int32_t k = 0; k < d->rank; k++) {
            d->src_dim[k] = check_size(r, d->rank > 3 ? 9 : 65);
            d->step[k] = strided ? 1 + rng_below(r, 3) : 1;
            d->before[k] = check_chance(r, 2) ? 0 : (int64_t)rng_below(r, 7) - 3;
            d->dst_dim[k] = check_chance(r, 3) ? check_size(r, 33) : d->src_dim[k] + (int64_t)rng_below(r, 5) - 1;
            if (d->dst_dim[k] < 1) d->dst_dim[k] = 1;
            src *= d->src_dim[k];
            dst *= d->dst_dim[k];
        }
    }
}

static void generate_transpose(rng *r, transpose_desc *d)
{
    int64_t order[MOVE_MAX_RANK] = {0, 1, 2, 3, 4, 5}, count = 0, limit = check_chance(r, 6) ? 120000 : 8000;
    d->rank = 1 + (int32_t)rng_below(r, MOVE_MAX_RANK);
    rng_shuffle(r, order, d->rank);
    while (count < 1 || count > limit) {
        count = 1;
        for (int32_t k = 0; k < d->rank; k++) count *= d->src_dim[k] = check_size(r, d->rank > 3 ? 17 : 257);
    }
    for (int32_t k = 0; k < d->rank; k++) d->perm[k] = (int32_t)order[k];
}

static void generate_concat(rng *r, concat_desc *d)
{
    d->inputs = 1 + (int32_t)rng_below(r, CONCAT_MAX);
    d->rows = check_size(r, check_chance(r, 5) ? 1025 : 65);
    for (int32_t i = 0; i < d->inputs; i++) {
        d->channels[i] = check_size(r, 65);
        d->scale[i] = check_chance(r, 2) ? 1 : rng_uniform_in(r, 0.1f, 3.0f);
    }
}

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    dtype type = any_type(r);
    if (op == OP_PAD) generate_pad(r, &desc->pad), desc->pad.type = type;
    if (op == OP_TRANSPOSE) generate_transpose(r, &desc->transpose), desc->transpose.type = type;
    if (op == OP_CONCAT) generate_concat(r, &desc->concat), desc->concat.type = type;
    if (op == OP_FILL)
        desc->fill = (fill_desc){check_size(r, 70001), type, check_chance(r, 3) ? 0 : rng_uniform_in(r, -300, 300)};
}

static int64_t product(const int64_t *dim, int32_t rank)
{
    int64_t count = 1;
    for (int32_t k = 0; k < rank; k++) count *= dim[k];
    return count;
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    int64_t out = 0, in = 0;
    dtype type = DTYPE_F32;
    if (op == OP_PAD) {
        type = desc->pad.type;
        in = product(desc->pad.src_dim, desc->pad.rank), out = product(desc->pad.dst_dim, desc->pad.rank);
    } else if (op == OP_TRANSPOSE) {
        type = desc->transpose.type;
        in = out = product(desc->transpose.src_dim, desc->transpose.rank);
    } else if (op == OP_CONCAT) {
        type = desc->concat.type;
        for (int32_t i = 0; i < desc->concat.inputs; i++) {
            t->in[i] = (check_tensor){.type = type, .count = desc->concat.rows * desc->concat.channels[i]};
            out += t->in[i].count;
        }
    } else {
        type = desc->fill.type;
        out = desc->fill.count;
    }
    if (in) t->in[0] = (check_tensor){.type = type, .count = in};
    t->out[0] = (check_tensor){.type = type, .count = out, .exact = true};
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

static status pad_run(const kernel_call *call)
{
    pad_desc d = *(const pad_desc *)call->desc;
    kernel_call other = *call;
    if (d.before[d.rank - 1] > 0) d.before[d.rank - 1]--;
    other.desc = &d;
    return check_reference(OP_PAD)->run(&other);
}

static status concat_run(const kernel_call *call)
{
    const concat_desc *d = call->desc;
    status s = check_reference(OP_CONCAT)->run(call);
    int64_t sum = 0;
    for (int32_t i = 0; i < d->inputs; i++) sum += d->channels[i];
    dtype_store(call->out[0], d->type, d->rows * sum - 1, 5); /* the last channel of the last row */
    return s;
}

const check_family move_family = {
    .name = "move",
    .op = {OP_PAD, OP_TRANSPOSE, OP_CONCAT, OP_FILL},
    .op_count = 4,
    .generate = generate,
    .tensors = tensors,
    .typed = typed,
    .allows = allows,
    .mutant = {{.op = OP_PAD, .name = "offset off by one", .run = pad_run},
        {.op = OP_CONCAT, .name = "last channel wrong", .run = concat_run}},
};
