/* dropout.cu: dst = keep ? src / (1 - p) : 0, keep drawn by Philox4x32-10, the twin of philox4x32 in core/base/rng.c.
 *
 * One Philox block decides four elements of a sample. direct: a thread a block of four. vector: a thread one 16-byte
 * access (one or two blocks), where samples are whole accesses. Bound by memory from about 20 integer operations per
 * element downwards: 60 for a block.
 */
#include "kernels/cuda/common.cuh"

constexpr int THREADS = 256, QUAD = 4;

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const dropout_desc *)desc)->type);
}

/* Salmon and others 2011, table 2. */
static __device__ void philox(uint32_t out[4], uint64_t key, uint64_t counter_low, uint64_t counter_high)
{
    uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
    uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t product_0 = (uint64_t)0xD2511F53u * c0, product_1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(product_1 >> 32) ^ c1 ^ k0;
        c2 = (uint32_t)(product_0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)product_1;
        c3 = (uint32_t)product_0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

/* What all elements share. */
typedef struct rule {
    int64_t n, per_sample;
    uint64_t key, salt;
    float probability, scale;
} rule;

static rule rule_of(const dropout_desc *d)
{
    rule r = {d->n, d->per_sample, d->key, d->salt, d->probability, (float)(1.0 / (1.0 - (double)d->probability))};
    return r;
}

static __device__ float dropped(float x, uint32_t word, const rule &r)
{
    return (float)(word >> 8) * 0x1p-24f >= r.probability ? x * r.scale : 0.0f;
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) dropout_direct(T *__restrict__ dst, const T *__restrict__ src,
    const int64_t *__restrict__ sample_keys, rule r)
{
    int64_t block = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    for (int64_t sample = blockIdx.y; sample < r.n; sample += gridDim.y) {
        uint32_t word[4];
        philox(word, r.key, (uint64_t)block, (uint64_t)sample_keys[sample] ^ r.salt);
#pragma unroll
        for (int k = 0; k < QUAD; k++) {
            int64_t i = block * QUAD + k, at = sample * r.per_sample + i;
            if (i < r.per_sample) dst[at] = from_float<T>(dropped(to_float(src[at]), word[k], r));
        }
    }
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) dropout_vector(T *__restrict__ dst, const T *__restrict__ src,
    const int64_t *__restrict__ sample_keys, rule r)
{
    constexpr int N = LANES<T>;
    int64_t i = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (i >= r.per_sample) return;
    for (int64_t sample = blockIdx.y; sample < r.n; sample += gridDim.y) {
        pack<T, N> x = load_pack<N>(src + sample * r.per_sample + i);
#pragma unroll
        for (int q = 0; q < N / QUAD; q++) {
            uint32_t word[4];
            philox(word, r.key, (uint64_t)(i / QUAD + q), (uint64_t)sample_keys[sample] ^ r.salt);
#pragma unroll
            for (int k = 0; k < QUAD; k++)
                x.at[q * QUAD + k] = from_float<T>(dropped(to_float(x.at[q * QUAD + k]), word[k], r));
        }
        store_pack(dst + sample * r.per_sample + i, x);
    }
}

static dim3 grid_of(const dropout_desc *d, int64_t each)
{
    return dim3(blocks_for(d->per_sample, THREADS * each), (unsigned)(d->n < GRID_MAX ? d->n : GRID_MAX));
}

template <typename T> static status launch_direct(const kernel_call *call)
{
    const dropout_desc *d = (const dropout_desc *)call->desc;
    return launch(dropout_direct<T>, grid_of(d, QUAD), dim3(THREADS), 0, call->stream, call->out[0], call->in[0],
        call->in[1], rule_of(d));
}

template <typename T> static status launch_vector(const kernel_call *call)
{
    const dropout_desc *d = (const dropout_desc *)call->desc;
    if (d->per_sample % LANES<T> != 0 || !aligned_to(call->out[0], 16) || !aligned_to(call->in[0], 16))
        return launch_direct<T>(call);
    return launch(dropout_vector<T>, grid_of(d, LANES<T>), dim3(THREADS), 0, call->stream, call->out[0], call->in[0],
        call->in[1], rule_of(d));
}

static status direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const dropout_desc *)call->desc)->type, launch_direct, call);
}

static status vector_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const dropout_desc *)call->desc)->type, launch_vector, call);
}

CUDA_KERNEL(dropout__cuda_vector, OP_DROPOUT, .refuse = refuse, .run = vector_run);
CUDA_KERNEL(dropout__cuda_direct, OP_DROPOUT, .refuse = refuse, .run = direct_run);
