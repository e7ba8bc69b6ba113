/* fill.cu: dst[i] = value. One thread writes 16 bytes; the last thread of the grid the bytes left
 * over. Bound by memory: one write. */
#include "kernels/cuda/common.cuh"

enum { THREADS = 256, EACH = 16 };

static __global__ void __launch_bounds__(THREADS)
    fill_kernel(unsigned char *__restrict__ dst, pack<uint64_t, 2> value, int64_t bytes)
{
    int64_t at = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * EACH;
    if (at + EACH <= bytes) {
        *(pack<uint64_t, 2> *)(dst + at) = value;
        return;
    }
    for (int64_t i = at; i < bytes; i++) dst[i] = (unsigned char)(value.at[0] >> 8 * (i % 8));
}

static status fill_run(const kernel_call *call)
{
    const fill_desc *d = (const fill_desc *)call->desc;
    int64_t size = (int64_t)dtype_bytes(d->type), bytes = d->count * size;
    pack<uint64_t, 2> value;
    for (int64_t i = 0; i < EACH / size; i++) dtype_store(&value, d->type, i, (double)d->value);
    return launch(fill_kernel, dim3(blocks_for(bytes, THREADS * EACH)), dim3(THREADS), 0, call->stream,
        (unsigned char *)call->out[0], value, bytes);
}

extern "C" const kernel fill__cuda_grid = {
    .op = OP_FILL, .backend = BACKEND_CUDA, .name = "fill__cuda_grid", .run = fill_run};
