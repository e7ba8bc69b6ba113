/* conv2d_mma_dweight.cu: the variants of the weight gradient on tensor cores; the kernel: conv2d_mma_dweight.cuh. */
#include "kernels/cuda/conv2d_mma_dweight.cuh"

typedef status (*dweight_launcher)(const mma_dweight_call *c);

static dtype product_type(const conv2d_desc *d)
{
    return d->compute == COMPUTE_F16    ? DTYPE_F16
           : d->compute == COMPUTE_BF16 ? DTYPE_BF16
                                        : d->src_type; /* f32: tf32 */
}

static dweight_launcher launcher_of(const conv2d_desc *d)
{
    bool narrowed = d->src_type == DTYPE_F32;
    switch (product_type(d)) {
    case DTYPE_F16: return narrowed ? conv2d_mma_dweight_f16_of_f32 : conv2d_mma_dweight_f16;
    case DTYPE_BF16: return narrowed ? conv2d_mma_dweight_bf16_of_f32 : conv2d_mma_dweight_bf16;
    default: return conv2d_mma_dweight_tf32;
    }
}

/* Channels of both tensors in whole chunks, or one by one. */
static mma_stage stage_of(const conv2d_desc *d, bool sm75)
{
    int64_t elements = CHUNK / (int64_t)dtype_bytes(product_type(d));
    if (d->ic / d->groups % elements || d->oc / d->groups % elements) return STAGE_GATHER;
    bool staged = sm75 || d->transform.enabled || dtype_bytes(product_type(d)) != dtype_bytes(d->src_type);
    return staged ? STAGE_VECTOR : STAGE_COPY;
}

/* Scratch: sums of dbias, then the partial results. */
static size_t scratch_bytes(const void *desc, const void *)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    conv2d_gemm g = conv2d_gemm_forward(d);
    return conv2d_columns_scratch(d) + (size_t)conv2d_bands(&g) * g.groups * g.n * g.k * sizeof(float);
}

static status run_as(const kernel_call *call, dweight_launcher launch, bool sm75)
{
    const conv2d_desc *d = (const conv2d_desc *)call->desc;
    mma_dweight_call c = {};
    c.g = conv2d_gemm_forward(d);
    c.in = conv2d_input_of(call);
    c.src = call->in[0], c.ddst = call->in[1];
    c.partial = (float *)((char *)call->scratch + conv2d_columns_scratch(d));
    c.bands = conv2d_bands(&c.g), c.stage = stage_of(d, sm75), c.stream = call->stream;
    TRY(launch(&c));
    TRY(conv2d_add_parts(
        call->out[0], d->weight_type, c.partial, c.bands, (int64_t)c.g.groups * c.g.n * c.g.k, call->stream));
    return call->out[1] ? conv2d_dbias(call, (float *)call->out[1], call->scratch) : OK;
}

static status run(const kernel_call *call)
{
    return run_as(call, launcher_of((const conv2d_desc *)call->desc), false);
}

static status sm75_run(const kernel_call *call)
{
    return run_as(call, conv2d_mma_dweight_f16_sm75, true);
}

static const char *shape_refuse(const conv2d_desc *d)
{
    const char *why = conv2d_refuse_gemm(d);
    if (why) return why;
    if (d->groups > 1 && d->oc / d->groups * (d->ic / d->groups) < 64)
        return "groups of so few channels waste the tensor cores";
    return NULL;
}

static const char *refuse(const void *desc)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    cuda_properties gpu;
    if (d->src_type == DTYPE_F64) return "f32, f16 and bf16 only";
    if (d->src_type == DTYPE_F32 && d->compute == COMPUTE_F32) return "tensor cores do not form products of f32";
    const char *why = shape_refuse(d);
    if (why) return why;
    return cuda_properties_get(&gpu) != OK || gpu.sm < 80 ? "this GPU: needs sm_80" : NULL;
}

static const char *sm75_refuse(const void *desc)
{
    const conv2d_desc *d = (const conv2d_desc *)desc;
    return d->src_type != DTYPE_F16 ? "f16 only" : shape_refuse(d);
}

extern const kernel conv2d_dweight__cuda_mma = {
    .op = OP_CONV2D_DWEIGHT,
    .backend = BACKEND_CUDA,
    .name = "conv2d_dweight__cuda_mma",
    .refuse = refuse,
    .scratch_bytes = scratch_bytes,
    .run = run,
};
extern const kernel conv2d_dweight__cuda_mma_sm75 = {
    .op = OP_CONV2D_DWEIGHT,
    .backend = BACKEND_CUDA,
    .name = "conv2d_dweight__cuda_mma_sm75",
    .refuse = sm75_refuse,
    .scratch_bytes = scratch_bytes,
    .run = sm75_run,
};
