/* cast.c: between element types, with and without a scale. */
#include "kernels/ref/ref.h"

static const char *cast_refuse(const void *desc)
{
    const cast_desc *d = desc;
    if (!ref_dims_ok(&d->count, 1)) return "count below 1 or too large";
    if ((unsigned)d->src_type >= DTYPE_COUNT || (unsigned)d->dst_type >= DTYPE_COUNT) return "unknown type";
    return NULL;
}

static const char *quantise_refuse(const void *desc)
{
    const cast_desc *d = desc;
    const char *why = cast_refuse(desc);
    if (why) return why;
    if (!ref_is_float(d->src_type) || d->src_type == DTYPE_F64) return "src is not f32, f16 or bf16";
    if (!ref_is_i8(d->dst_type)) return "dst is not i8 or u8";
    return NULL;
}

static const char *dequantise_refuse(const void *desc)
{
    const cast_desc *d = desc;
    const char *why = cast_refuse(desc);
    if (why) return why;
    if (!ref_is_i8(d->src_type) && d->src_type != DTYPE_I32) return "src is not i8, u8 or i32";
    if (!ref_is_float(d->dst_type) || d->dst_type == DTYPE_F64) return "dst is not f32, f16 or bf16";
    return NULL;
}

static status cast_run(const kernel_call *call)
{
    const cast_desc *d = call->desc;
    for (int64_t i = 0; i < d->count; i++)
        dtype_store(call->out[0], d->dst_type, i, dtype_load(call->in[0], d->src_type, i));
    return OK;
}

static status scale_run(const kernel_call *call)
{
    const cast_desc *d = call->desc;
    for (int64_t i = 0; i < d->count; i++) {
        float y = (float)dtype_load(call->in[0], d->src_type, i) * d->scale;
        ref_store_f32(call->out[0], d->dst_type, i, y);
    }
    return OK;
}

const kernel cast__ref_direct = {
    .op = OP_CAST,
    .backend = BACKEND_REF,
    .name = "cast__ref_direct",
    .refuse = cast_refuse,
    .run = cast_run,
};
const kernel quantise__ref_direct = {
    .op = OP_QUANTISE,
    .backend = BACKEND_REF,
    .name = "quantise__ref_direct",
    .refuse = quantise_refuse,
    .run = scale_run,
};
const kernel dequantise__ref_direct = {
    .op = OP_DEQUANTISE,
    .backend = BACKEND_REF,
    .name = "dequantise__ref_direct",
    .refuse = dequantise_refuse,
    .run = scale_run,
};
