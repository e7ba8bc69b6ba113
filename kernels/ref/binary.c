/* binary.c: sum and product of two tensors. */
#include "kernels/ref/ref.h"

static const char *dims_refuse(const binary_desc *d)
{
    int64_t dim[] = {d->n, d->pixels, d->channels};
    return ref_dims_ok(dim, 3) ? NULL : "a dimension below 1 or a tensor too large";
}

static const char *add_refuse(const void *desc)
{
    const binary_desc *d = desc;
    if (!ref_is_float(d->type) && !ref_is_i8(d->type)) return "the type is neither float nor i8, u8";
    if (!ref_act_known(d->act)) return "unknown activation";
    return dims_refuse(d);
}

static const char *mul_refuse(const void *desc)
{
    const binary_desc *d = desc;
    if (!ref_is_float(d->type)) return "the type is no float";
    return dims_refuse(d);
}

/* Element of b beside element i of a. */
static int64_t partner(const binary_desc *d, int64_t i)
{
    return d->b_broadcast ? i / (d->pixels * d->channels) * d->channels + i % d->channels : i;
}

static status add_run(const kernel_call *call)
{
    const binary_desc *d = call->desc;
    for (int64_t i = 0; i < d->n * d->pixels * d->channels; i++) {
        double a = dtype_load(call->in[0], d->type, i), b = dtype_load(call->in[1], d->type, partner(d, i));
        if (ref_is_float(d->type)) {
            double y = a * (double)d->a_scale + b * (double)d->b_scale;
            dtype_store(call->out[0], d->type, i, ref_act(d->act, d->alpha, d->beta, y));
            continue;
        }
        float scaled_a = (float)a * d->a_scale, scaled_b = (float)b * d->b_scale; /* each rounded, see kernels.h */
        float y = scaled_a + scaled_b;
        ref_store_f32(call->out[0], d->type, i, ref_act_f32(d->act, d->alpha, d->beta, y));
    }
    return OK;
}

static status mul_run(const kernel_call *call)
{
    const binary_desc *d = call->desc;
    for (int64_t i = 0; i < d->n * d->pixels * d->channels; i++)
        dtype_store(call->out[0], d->type, i,
            dtype_load(call->in[0], d->type, i) * dtype_load(call->in[1], d->type, partner(d, i)));
    return OK;
}

static status mul_reduce_run(const kernel_call *call)
{
    const binary_desc *d = call->desc;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t c = 0; c < d->channels; c++) {
            double sum = 0;
            for (int64_t p = 0; p < d->pixels; p++) {
                int64_t i = (n * d->pixels + p) * d->channels + c;
                sum += dtype_load(call->in[0], d->type, i) * dtype_load(call->in[1], d->type, i);
            }
            dtype_store(call->out[0], d->type, n * d->channels + c, sum);
        }
    return OK;
}

const kernel add__ref_direct = {
    .op = OP_ADD,
    .backend = BACKEND_REF,
    .name = "add__ref_direct",
    .refuse = add_refuse,
    .run = add_run,
};
const kernel mul__ref_direct = {
    .op = OP_MUL,
    .backend = BACKEND_REF,
    .name = "mul__ref_direct",
    .refuse = mul_refuse,
    .run = mul_run,
};
const kernel mul_reduce__ref_direct = {
    .op = OP_MUL_REDUCE,
    .backend = BACKEND_REF,
    .name = "mul_reduce__ref_direct",
    .refuse = mul_refuse,
    .run = mul_reduce_run,
};
