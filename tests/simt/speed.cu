/* speed.cu: what kernels/simt costs: prints nanoseconds of processor time per thread, lane or warp, and the rate of a
 * tiled product. No test. Run it with GRAFT_SIMT_THREADS=1: processor time is that of all OS threads. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "kernels/cuda/common.cuh"

static constexpr int THREADS = 256, ROUNDS = 20000, TILE = 64, DEPTH = 16, SIZE = 512;

static __global__ void barriers(float *dst)
{
    for (int i = 0; i < ROUNDS; i++) __syncthreads();
    dst[threadIdx.x] = 1;
}

static __global__ void shuffles(float *dst)
{
    float x = 1;
    for (int i = 0; i < ROUNDS; i++) x = ptx_shuffle_xor(x, 1);
    dst[threadIdx.x] = x;
}

static __global__ void products(float *dst)
{
    uint32_t a[4] = {threadIdx.x, 0, 0, 0}, b[2] = {1, 1};
    float d[4] = {0, 0, 0, 0};
    for (int i = 0; i < ROUNDS; i++) ptx_mma_f16_k16(d, a, b);
    dst[threadIdx.x] = d[0];
}

static __global__ void integer_products(float *dst)
{
    uint32_t a[4] = {threadIdx.x, 0, 0, 0}, b[2] = {1, 1};
    int32_t d[4] = {0, 0, 0, 0};
    for (int i = 0; i < ROUNDS; i++) ptx_mma_s8_k32(d, a, b);
    dst[threadIdx.x] = (float)d[0];
}

static __global__ void no_waiting(float *dst)
{
    dst[(int64_t)blockIdx.x * blockDim.x + threadIdx.x] = 1;
}

/* c = a b, all [SIZE][SIZE]: 64x64 tiles in shared memory, 4x4 results a thread. */
static __global__ void tiled(float *c, const float *a, const float *b)
{
    SHARED(float, rows, [DEPTH][TILE]);
    SHARED(float, columns, [DEPTH][TILE]);
    int x = threadIdx.x % 16 * 4, y = threadIdx.x / 16 * 4;
    float sum[4][4] = {};
    for (int k0 = 0; k0 < SIZE; k0 += DEPTH) {
        for (int i = threadIdx.x; i < TILE * DEPTH; i += THREADS) {
            rows[i % DEPTH][i / DEPTH] = a[(blockIdx.y * TILE + i / DEPTH) * SIZE + k0 + i % DEPTH];
            columns[i / TILE][i % TILE] = b[(k0 + i / TILE) * SIZE + blockIdx.x * TILE + i % TILE];
        }
        __syncthreads();
        for (int k = 0; k < DEPTH; k++)
            for (int i = 0; i < 4; i++)
                for (int j = 0; j < 4; j++) sum[i][j] = fmaf(rows[k][y + i], columns[k][x + j], sum[i][j]);
        __syncthreads();
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) c[(blockIdx.y * TILE + y + i) * SIZE + blockIdx.x * TILE + x + j] = sum[i][j];
}

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void row(const char *what, void (*kernel)(float *), unsigned blocks, double count, float *dst)
{
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        double start = processor_seconds();
        if (launch(kernel, dim3(blocks), dim3(THREADS), 0, NULL, dst) != OK) printf("%s\n", status_message());
        double seconds = processor_seconds() - start;
        if (seconds < best) best = seconds;
    }
    printf("%-40s %7.1f ns\n", what, 1e9 * best / count);
}

int main(void)
{
    constexpr int MANY = 1 << 14;
    void *a, *b, *c;
    if (cudaMalloc(&a, SIZE * SIZE * 4) || cudaMalloc(&b, SIZE * SIZE * 4) || cudaMalloc(&c, MANY * THREADS * 4))
        return 1;
    cudaMemset(a, 0, SIZE * SIZE * 4);
    cudaMemset(b, 0, SIZE * SIZE * 4);
    row("a barrier, per thread", barriers, 1, (double)ROUNDS * THREADS, (float *)c);
    row("a shuffle, per lane", shuffles, 1, (double)ROUNDS * THREADS, (float *)c);
    row("mma.m16n8k16 f16, per warp", products, 1, ROUNDS * THREADS / 32.0, (float *)c);
    row("mma.m16n8k32 s8, per warp", integer_products, 1, ROUNDS * THREADS / 32.0, (float *)c);
    row("a thread that does not wait", no_waiting, MANY, (double)MANY * THREADS, (float *)c);
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        double start = processor_seconds();
        if (launch(tiled, dim3(SIZE / TILE, SIZE / TILE), dim3(THREADS), 0, NULL, (float *)c, (const float *)a,
                (const float *)b) != OK)
            return 1;
        double seconds = processor_seconds() - start;
        if (seconds < best) best = seconds;
    }
    printf("%-40s %7.2f GFLOP/s\n", "f32 product in 64x64 tiles", 2e-9 * SIZE * SIZE * SIZE / best);
    return 0;
}
