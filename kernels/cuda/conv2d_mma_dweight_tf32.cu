/* conv2d_mma_dweight_tf32.cu: conv2d_mma_dweight.cuh for tf32 products. */
#include "kernels/cuda/conv2d_mma_dweight.cuh"

status conv2d_mma_dweight_tf32(const mma_dweight_call *c)
{
    return c->stage == STAGE_COPY ? dweight_copied<product_tf32>(c) : dweight_staged<product_tf32, float>(c);
}
