/* conv2d_mma_f16.cu: conv2d_mma.cuh for f16 products, and those of sm_75. */
#include "kernels/cuda/conv2d_mma.cuh"

status conv2d_mma_f16(const mma_call *c)
{
    if (c->stage == STAGE_COPY) return mma_copied<product_f16>(c);
    return c->stage == STAGE_VECTOR ? mma_staged<product_f16, f16, STAGE_VECTOR>(c) : mma_staged<product_f16, f16, STAGE_GATHER>(c);
}

status conv2d_mma_f16_of_f32(const mma_call *c)
{
    return c->stage == STAGE_VECTOR ? mma_staged<product_f16, float, STAGE_VECTOR>(c) : mma_staged<product_f16, float, STAGE_GATHER>(c);
}

status conv2d_mma_f16_sm75(const mma_call *c)
{
    return c->stage == STAGE_VECTOR ? mma_staged<product_f16_sm75, f16, STAGE_VECTOR>(c) : mma_staged<product_f16_sm75, f16, STAGE_GATHER>(c);
}
