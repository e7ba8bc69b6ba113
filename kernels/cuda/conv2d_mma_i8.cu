/* conv2d_mma_i8.cu: conv2d_mma.cuh for integers: s8 and u8 activations, s8 weights, int32 sums, the epilogue in
 * f32 in the order of kernels.h. */
#include "kernels/cuda/conv2d_mma.cuh"

status conv2d_mma_s8(const mma_call *c)
{
    return c->stage == STAGE_COPY ? mma_copied<product_s8>(c) : mma_gathered<product_s8, int8_t>(c);
}

status conv2d_mma_u8(const mma_call *c)
{
    return c->stage == STAGE_COPY ? mma_copied<product_u8>(c) : mma_gathered<product_u8, uint8_t>(c);
}

status conv2d_mma_s8_sm75(const mma_call *c)
{
    return c->stage == STAGE_VECTOR ? mma_vector<product_s8_sm75, int8_t>(c) : mma_gathered<product_s8_sm75, int8_t>(c);
}
