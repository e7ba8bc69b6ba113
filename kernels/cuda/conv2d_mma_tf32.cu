/* conv2d_mma_tf32.cu: conv2d_mma.cuh for tf32 products of f32 tensors; weights are packed, already rounded. */
#include "kernels/cuda/conv2d_mma.cuh"

status conv2d_mma_tf32(const mma_call *c)
{
    if (c->stage == STAGE_COPY) return mma_copied<product_tf32>(c);
    return c->stage == STAGE_VECTOR ? mma_vector<product_tf32, float>(c) : mma_gathered<product_tf32, float>(c);
}
