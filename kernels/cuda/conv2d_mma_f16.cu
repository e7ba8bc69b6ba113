/* conv2d_mma_f16.cu: conv2d_mma.cuh for f16 products, and those of sm_75. */
#include "kernels/cuda/conv2d_mma.cuh"

status conv2d_mma_f16(const mma_call *c)
{
    if (c->stage == STAGE_COPY) return mma_copied<product_f16>(c);
    return c->stage == STAGE_VECTOR ? mma_vector<product_f16, f16>(c) : mma_gathered<product_f16, f16>(c);
}

status conv2d_mma_f16_of_f32(const mma_call *c)
{
    return c->stage == STAGE_VECTOR ? mma_vector<product_f16, float>(c) : mma_gathered<product_f16, float>(c);
}

status conv2d_mma_f16_sm75(const mma_call *c)
{
    return c->stage == STAGE_VECTOR ? mma_vector<product_f16_sm75, f16>(c) : mma_gathered<product_f16_sm75, f16>(c);
}
