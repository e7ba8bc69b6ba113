/* conv2d_mma_bf16.cu: conv2d_mma.cuh for bf16 products. */
#include "kernels/cuda/conv2d_mma.cuh"

status conv2d_mma_bf16(const mma_call *c)
{
    if (c->stage == STAGE_COPY) return mma_copied<product_bf16>(c);
    return c->stage == STAGE_VECTOR ? mma_vector<product_bf16, bf16>(c) : mma_gathered<product_bf16, bf16>(c);
}

status conv2d_mma_bf16_of_f32(const mma_call *c)
{
    return c->stage == STAGE_VECTOR ? mma_vector<product_bf16, float>(c) : mma_gathered<product_bf16, float>(c);
}
