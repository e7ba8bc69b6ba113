/* move.c: elements change their place, not their value (but for rescaled integers in concat). */
#include "kernels/ref/ref.h"

#include <string.h>

/* Row-major index vector of flat element i. */
static void unravel(int64_t index[MOVE_MAX_RANK], const int64_t *dim, int32_t rank, int64_t i)
{
    for (int32_t k = rank - 1; k >= 0; k--) {
        index[k] = i % dim[k];
        i /= dim[k];
    }
}

static int64_t count_of(const int64_t *dim, int32_t rank)
{
    int64_t count = 1;
    for (int32_t k = 0; k < rank; k++) count *= dim[k];
    return count;
}

static void copy_element(void *dst, int64_t to, const void *src, int64_t from, dtype type)
{
    size_t bytes = dtype_bytes(type);
    memcpy((char *)dst + (size_t)to * bytes, (const char *)src + (size_t)from * bytes, bytes);
}

/* ------------------------------------------------------------------------------------------------ pad */

static const char *pad_refuse(const void *desc)
{
    const pad_desc *d = desc;
    if (d->rank < 1 || d->rank > MOVE_MAX_RANK) return "rank not in 1 .. 6";
    if (!ref_dims_ok(d->src_dim, d->rank) || !ref_dims_ok(d->dst_dim, d->rank))
        return "a dimension below 1 or a tensor too large";
    if ((unsigned)d->type >= DTYPE_COUNT) return "unknown type";
    for (int32_t k = 0; k < d->rank; k++) {
        if (d->step[k] < 1 || d->step[k] > INT32_MAX) return "a step below 1";
        if (d->before[k] > INT32_MAX || d->before[k] < -INT32_MAX) return "an offset beyond 31 bits";
    }
    return NULL;
}

/* The strided side's element at `dense`: dense * step - before. False outside. */
static bool pad_partner(const pad_desc *d, const int64_t dense[], const int64_t *strided_dim, int64_t *flat)
{
    *flat = 0;
    for (int32_t k = 0; k < d->rank; k++) {
        int64_t at = dense[k] * d->step[k] - d->before[k];
        if (at < 0 || at >= strided_dim[k]) return false;
        *flat = *flat * strided_dim[k] + at;
    }
    return true;
}

static status pad_run(const kernel_call *call)
{
    const pad_desc *d = call->desc;
    int64_t index[MOVE_MAX_RANK], flat, dst_count = count_of(d->dst_dim, d->rank);
    for (int64_t i = 0; i < dst_count; i++) {
        unravel(index, d->dst_dim, d->rank, i);
        if (!d->scatter && pad_partner(d, index, d->src_dim, &flat))
            copy_element(call->out[0], i, call->in[0], flat, d->type);
        else dtype_store(call->out[0], d->type, i, d->scatter ? 0 : (double)d->value);
    }
    for (int64_t i = 0; d->scatter && i < count_of(d->src_dim, d->rank); i++) {
        unravel(index, d->src_dim, d->rank, i);
        if (pad_partner(d, index, d->dst_dim, &flat)) copy_element(call->out[0], flat, call->in[0], i, d->type);
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ transpose */

static const char *transpose_refuse(const void *desc)
{
    const transpose_desc *d = desc;
    uint32_t seen = 0;
    if (d->rank < 1 || d->rank > MOVE_MAX_RANK) return "rank not in 1 .. 6";
    if (!ref_dims_ok(d->src_dim, d->rank)) return "a dimension below 1 or a tensor too large";
    if ((unsigned)d->type >= DTYPE_COUNT) return "unknown type";
    for (int32_t k = 0; k < d->rank; k++)
        if (d->perm[k] >= 0 && d->perm[k] < d->rank) seen |= 1u << d->perm[k];
    return seen == (1u << d->rank) - 1 ? NULL : "perm is no permutation";
}

static status transpose_run(const kernel_call *call)
{
    const transpose_desc *d = call->desc;
    int64_t stride[MOVE_MAX_RANK], dst_dim[MOVE_MAX_RANK], index[MOVE_MAX_RANK], count = count_of(d->src_dim, d->rank);
    for (int32_t k = 0; k < d->rank; k++) {
        dst_dim[k] = d->src_dim[d->perm[k]];
        stride[k] = count_of(d->src_dim + d->perm[k] + 1, d->rank - d->perm[k] - 1);
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t from = 0;
        unravel(index, dst_dim, d->rank, i);
        for (int32_t k = 0; k < d->rank; k++) from += index[k] * stride[k];
        copy_element(call->out[0], i, call->in[0], from, d->type);
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ concat */

static const char *concat_refuse(const void *desc)
{
    const concat_desc *d = desc;
    int64_t sum = 0;
    if (d->inputs < 1 || d->inputs > CONCAT_MAX) return "inputs not in 1 .. 8";
    if ((unsigned)d->type >= DTYPE_COUNT) return "unknown type";
    for (int32_t i = 0; i < d->inputs; i++) {
        if (d->channels[i] < 1 || d->channels[i] > INT32_MAX) return "channels below 1 or too many";
        if (ref_is_i8(d->type) && !(d->scale[i] > 0)) return "the scale of an integer input is not above 0";
        sum += d->channels[i];
    }
    int64_t dim[] = {d->rows, sum};
    return ref_dims_ok(dim, 2) ? NULL : "rows below 1 or a tensor too large";
}

static status concat_run(const kernel_call *call)
{
    const concat_desc *d = call->desc;
    int64_t sum = 0, before = 0;
    for (int32_t k = 0; k < d->inputs; k++) sum += d->channels[k];
    for (int32_t k = 0; k < d->inputs; before += d->channels[k], k++) {
        bool rescale = ref_is_i8(d->type) && d->scale[k] != 1;
        for (int64_t i = 0; i < d->rows * d->channels[k]; i++) {
            int64_t to = i / d->channels[k] * sum + before + i % d->channels[k];
            if (rescale)
                ref_store_f32(call->out[0], d->type, to, (float)dtype_load(call->in[k], d->type, i) * d->scale[k]);
            else copy_element(call->out[0], to, call->in[k], i, d->type);
        }
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ fill */

static const char *fill_refuse(const void *desc)
{
    const fill_desc *d = desc;
    if (!ref_dims_ok(&d->count, 1)) return "count below 1 or too large";
    return (unsigned)d->type < DTYPE_COUNT ? NULL : "unknown type";
}

static status fill_run(const kernel_call *call)
{
    const fill_desc *d = call->desc;
    for (int64_t i = 0; i < d->count; i++) dtype_store(call->out[0], d->type, i, (double)d->value);
    return OK;
}

const kernel pad__ref_direct = {
    .op = OP_PAD,
    .backend = BACKEND_REF,
    .name = "pad__ref_direct",
    .refuse = pad_refuse,
    .run = pad_run,
};
const kernel transpose__ref_direct = {
    .op = OP_TRANSPOSE,
    .backend = BACKEND_REF,
    .name = "transpose__ref_direct",
    .refuse = transpose_refuse,
    .run = transpose_run,
};
const kernel concat__ref_direct = {
    .op = OP_CONCAT,
    .backend = BACKEND_REF,
    .name = "concat__ref_direct",
    .refuse = concat_refuse,
    .run = concat_run,
};
const kernel fill__ref_direct = {
    .op = OP_FILL,
    .backend = BACKEND_REF,
    .name = "fill__ref_direct",
    .refuse = fill_refuse,
    .run = fill_run,
};
