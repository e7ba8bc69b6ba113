/* conv2d_mma_dweight_16.cu: conv2d_mma_dweight.cuh for f16 and bf16 products. */
#include "kernels/cuda/conv2d_mma_dweight.cuh"

status conv2d_mma_dweight_f16(const mma_dweight_call *c)
{
    return c->stage == STAGE_COPY ? dweight_copied<product_f16>(c) : dweight_staged<product_f16, f16>(c);
}

status conv2d_mma_dweight_f16_of_f32(const mma_dweight_call *c)
{
    return dweight_staged<product_f16, float>(c);
}

status conv2d_mma_dweight_f16_sm75(const mma_dweight_call *c)
{
    return dweight_staged<product_f16_sm75, f16>(c);
}

status conv2d_mma_dweight_bf16(const mma_dweight_call *c)
{
    return c->stage == STAGE_COPY ? dweight_copied<product_bf16>(c) : dweight_staged<product_bf16, bf16>(c);
}

status conv2d_mma_dweight_bf16_of_f32(const mma_dweight_call *c)
{
    return dweight_staged<product_bf16, float>(c);
}
