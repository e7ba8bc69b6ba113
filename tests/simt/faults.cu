/* faults.cu: kernels with one planted fault each, which kernels/simt must name, and the same kernels without it, which
 * must pass. The reports name lines of this file.
 *
 *   simt_faults              in a build with SIMT=1
 *   simt_faults --watched    in one with SIMT_CHECK=1, too
 *   simt_faults NAME         prints the report of one fault */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/common.cuh"

enum { THREADS = 64, BLOCKS = 3, COUNT = THREADS * BLOCKS };

typedef struct fault {
    const char *name;
    const char *watched, *plain; /* part of the report when accesses are watched, and when not; NULL: not found then */
    status (*run)(bool faulty, float *dst, const float *src); /* both [COUNT], device memory */
    bool shows; /* unwatched, and in some order of the threads, the results are wrong */
} fault;

#define RUN(kernel, ...)                                                                                               \
    [](bool faulty, float *dst, const float *src) {                                                                    \
        return faulty ? launch(kernel<true>, dim3(BLOCKS), dim3(THREADS), 1024, NULL, dst, src)                        \
                      : launch(kernel<false>, dim3(BLOCKS), dim3(THREADS), 1024, NULL, dst, src);                      \
    }

static __device__ int64_t here(void)
{
    return (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
}

/* ------------------------------------------------------------------------------------------------ bounds */

template <bool FAULTY> static __global__ void store_past_shared(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    tile[threadIdx.x + FAULTY] = src[here()];
    __syncthreads();
    dst[here()] = FAULTY ? 0 : tile[THREADS - 1 - threadIdx.x];
}

template <bool FAULTY> static __global__ void store_before_shared(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    float *at = tile;
    at[(int)threadIdx.x - FAULTY] = src[here()];
    __syncthreads();
    dst[here()] = FAULTY ? 0 : tile[THREADS - 1 - threadIdx.x];
}

template <bool FAULTY> static __global__ void store_past_dynamic(float *dst, const float *src)
{
    SHARED_DYNAMIC(bytes);
    float *row = (float *)bytes; /* 256 floats: launched with 1024 bytes */
    row[(THREADS - 1 - threadIdx.x) * 4 + 3 + FAULTY] = src[here()];
    __syncthreads();
    dst[here()] = src[here()];
}

template <bool FAULTY> static __global__ void load_past_shared(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    SHARED(float, other, [THREADS]);
    tile[threadIdx.x] = other[threadIdx.x] = src[here()];
    __syncthreads();
    const float *at = tile;
    dst[here()] = at[THREADS - 1 - threadIdx.x + FAULTY] + other[threadIdx.x];
}

template <bool FAULTY> static __global__ void store_past_global(float *dst, const float *src)
{
    dst[here() + FAULTY] = src[here()];
}

template <bool FAULTY> static __global__ void load_past_global(float *dst, const float *src)
{
    dst[here()] = src[here() + (FAULTY ? 1 : 0)];
}

template <bool FAULTY> static __global__ void misaligned(float *dst, const float *src)
{
    if (here() % 4 || here() + 8 > COUNT) return;
    *(pack<float, 4> *)(dst + here() + FAULTY) = *(const pack<float, 4> *)(src + here());
}

/* ------------------------------------------------------------------------------------------------ barriers */

template <bool FAULTY> static __global__ void ended_before_barrier(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    if (FAULTY && threadIdx.x == 5) return;
    tile[threadIdx.x] = src[here()];
    __syncthreads();
    dst[here()] = tile[threadIdx.x];
}

template <bool FAULTY> static __global__ void two_barriers(float *dst, const float *src)
{
    if (FAULTY && threadIdx.x < 32) __syncthreads();
    else __syncthreads();
    dst[here()] = src[here()];
}

template <bool FAULTY> static __global__ void lane_missing(float *dst, const float *src)
{
    float x = src[here()];
    if (FAULTY ? threadIdx.x % 32 != 7 : true) x = warp_sum(x);
    dst[here()] = x;
}

template <bool FAULTY> static __global__ void other_shuffle(float *dst, const float *src)
{
    float x = src[here()];
    if (FAULTY && threadIdx.x % 32 == 7) x = ptx_ballot(true);
    else x = ptx_shuffle_xor(x, 1);
    dst[here()] = x;
}

/* --------------------------------------------------------------------------------------------- races within a block */

template <bool FAULTY> static __global__ void missing_barrier(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    tile[threadIdx.x] = src[here()];
    if (!FAULTY) __syncthreads();
    dst[here()] = tile[threadIdx.x ? threadIdx.x - 1 : 0];
}

/* The classical one: the next tile is written while others still read this one. */
template <bool FAULTY> static __global__ void missing_second_barrier(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    float sum = 0;
    for (int k = 0; k < BLOCKS; k++) {
        tile[threadIdx.x] = src[k * THREADS + threadIdx.x];
        __syncthreads();
        sum += tile[THREADS - 1 - threadIdx.x];
        if (!FAULTY) __syncthreads();
    }
    dst[here()] = sum;
}

template <bool FAULTY> static __global__ void same_cell(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    tile[FAULTY ? threadIdx.x / 2 : threadIdx.x] = src[here()];
    __syncthreads();
    dst[here()] = tile[threadIdx.x / 2];
}

/* A warp's own barrier orders its lanes; not those of other warps. */
template <bool FAULTY> static __global__ void warp_barrier_for_block(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    tile[threadIdx.x] = src[here()];
    ptx_warp_barrier();
    dst[here()] = tile[FAULTY && threadIdx.x >= 32 ? threadIdx.x - 32 : threadIdx.x / 2 * 2];
}

/* Each warp stages rows in its own part of what the block has used together. */
template <bool FAULTY> static __global__ void warp_staging(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    tile[threadIdx.x] = src[here()];
    __syncthreads();
    float sum = tile[THREADS - 1 - threadIdx.x];
    __syncthreads();
    for (int k = 0; k < 3; k++) {
        tile[threadIdx.x] = sum;
        ptx_warp_barrier();
        sum += tile[threadIdx.x ^ 5] + tile[threadIdx.x ^ 9];
        if (!FAULTY) ptx_warp_barrier();
    }
    dst[here()] = sum;
}

template <bool FAULTY> static __global__ void global_within_block(float *dst, const float *src)
{
    dst[here()] = src[here()];
    if (!FAULTY) __syncthreads();
    float x = dst[here() ^ 1];
    __syncthreads();
    dst[here()] = x;
}

template <bool FAULTY> static __global__ void unwritten(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    if (!FAULTY || threadIdx.x < THREADS - 1) tile[threadIdx.x] = src[here()];
    __syncthreads();
    dst[here()] = tile[THREADS - 1 - threadIdx.x];
}

/* ------------------------------------------------------------------------------------------------ cp.async */

template <bool FAULTY> static __global__ void copy_without_wait(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    ptx_cp_async<4>(&tile[threadIdx.x], &src[here()], true);
    ptx_cp_async_commit();
    if (!FAULTY) ptx_cp_async_wait<0>();
    __syncthreads();
    dst[here()] = tile[THREADS - 1 - threadIdx.x];
}

template <bool FAULTY> static __global__ void copy_with_one_pending(float *dst, const float *src)
{
    SHARED(float, tile, [2][THREADS]);
    for (int k = 0; k < 2; k++) {
        ptx_cp_async<4>(&tile[k][threadIdx.x], &src[here()], true);
        ptx_cp_async_commit();
    }
    ptx_cp_async_wait<1>();
    __syncthreads();
    dst[here()] = tile[FAULTY ? 1 : 0][THREADS - 1 - threadIdx.x];
    ptx_cp_async_wait<0>();
}

template <bool FAULTY> static __global__ void copy_without_barrier(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    ptx_cp_async<4>(&tile[threadIdx.x], &src[here()], true);
    ptx_cp_async_commit();
    ptx_cp_async_wait<0>();
    if (!FAULTY) __syncthreads();
    dst[here()] = tile[threadIdx.x ? threadIdx.x - 1 : 0];
}

/* A stage is refilled while others may still read it. */
template <bool FAULTY> static __global__ void copy_over_readers(float *dst, const float *src)
{
    SHARED(float, tile, [THREADS]);
    tile[threadIdx.x] = src[here()];
    __syncthreads();
    float x = tile[THREADS - 1 - threadIdx.x];
    if (!FAULTY) __syncthreads();
    ptx_cp_async<4>(&tile[threadIdx.x], &src[here()], true);
    ptx_cp_async_commit();
    ptx_cp_async_wait<0>();
    __syncthreads();
    dst[here()] = x + tile[THREADS - 1 - threadIdx.x];
}

template <bool FAULTY> static __global__ void copy_misaligned(float *dst, const float *src)
{
    SHARED(float4, tile, [THREADS]);
    int64_t i = here() < COUNT - 4 ? here() / 4 * 4 : 0;
    ptx_cp_async<16>(&tile[threadIdx.x], src + i + FAULTY, true);
    ptx_cp_async_commit();
    ptx_cp_async_wait<0>();
    dst[here()] = tile[threadIdx.x].x;
}

/* --------------------------------------------------------------------------------------------- races between blocks */

template <bool FAULTY> static __global__ void blocks_write_same(float *dst, const float *src)
{
    dst[here()] = src[here()];
    if (FAULTY && threadIdx.x == THREADS - 1 && here() + 1 < COUNT) dst[here() + 1] = 1;
}

template <bool FAULTY> static __global__ void block_reads_other(float *dst, const float *src)
{
    float x = FAULTY && here() >= THREADS ? dst[here() - THREADS] : 0;
    dst[here()] = x + src[here()];
}

template <bool FAULTY> static __global__ void block_overwrites_read(float *dst, const float *src)
{
    float x = dst[FAULTY ? COUNT - 1 - here() : here()];
    __syncthreads();
    dst[here()] = x + src[here()];
}

/* ------------------------------------------------------------------------------------------------ the wrong memory */

static __global__ void write_first(float *dst)
{
    if (threadIdx.x == 0) dst[0] = 1;
}

static status run_host_memory(bool faulty, float *dst, const float *src)
{
    (void)src;
    float *host = (float *)malloc(64);
    status result = launch(write_first, dim3(1), dim3(32), 0, NULL, faulty ? host : dst);
    free(host);
    return result;
}

static status run_freed(bool faulty, float *dst, const float *src)
{
    (void)src;
    void *block;
    CUDA_TRY(cudaMalloc(&block, 256));
    CUDA_TRY(cudaFree(block));
    return launch(write_first, dim3(1), dim3(32), 0, NULL, faulty ? (float *)block : dst);
}

static status run_older_gpu(bool faulty, float *dst, const float *src)
{
    setenv("GRAFT_SIMT_SM", faulty ? "75" : "80", 1);
    status result = launch(copy_without_wait<false>, dim3(BLOCKS), dim3(THREADS), 0, NULL, dst, src);
    setenv("GRAFT_SIMT_SM", "80", 1);
    return result;
}

static status run_too_much_shared(bool faulty, float *dst, const float *src)
{
    return launch(global_within_block<false>, dim3(BLOCKS), dim3(THREADS), (163 << 10) + faulty, NULL, dst, src);
}

static status run_shared_sum(bool faulty, float *dst, const float *src)
{
    /* 256 bytes are declared beside them. */
    return launch(missing_barrier<false>, dim3(BLOCKS), dim3(THREADS), (163 << 10) - 256 + faulty, NULL, dst, src);
}

static status run_no_opt_in(bool faulty, float *dst, const float *src)
{
    return launch(missing_barrier<false>, dim3(BLOCKS), dim3(THREADS), (48 << 10) - 256 + faulty, NULL, dst, src);
}

static status run_too_many_threads(bool faulty, float *dst, const float *src)
{
    (void)src;
    return launch(write_first, dim3(1), dim3(1024 + faulty), 0, NULL, dst);
}

static const fault faults[] = {
    {"store_past_shared", "byte 256 of shared array 'tile' of 256 bytes: outside of every array",
        "wrote past the shared array 'tile' of 256 bytes", RUN(store_past_shared)},
    {"store_before_shared", "byte -4 of shared array 'tile' of 256 bytes: outside of every array",
        "a thread wrote past the shared array", RUN(store_before_shared)},
    {"store_past_dynamic", "byte 1024 of shared array 'dynamic shared memory' of 1024 bytes",
        "wrote past the shared array 'dynamic shared memory'", RUN(store_past_dynamic)},
    {"load_past_shared", "byte 256 of shared array 'tile' of 256 bytes: outside of every array", NULL,
        RUN(load_past_shared)},
    {"store_past_global",
        "thread (63, 0, 0): faults.cu:#: write of 4 bytes, byte 768 of a block of 768 bytes of device memory: outside "
        "of the block",
        "wrote beside a block of 768 bytes", RUN(store_past_global)},
    {"load_past_global", "read of 4 bytes, byte 768 of a block of 768 bytes of device memory: outside of the block",
        NULL, RUN(load_past_global)},
    {"misaligned", "write of 16 bytes, byte 4 of a block of 768 bytes of device memory: not aligned", NULL,
        RUN(misaligned)},
    {"ended_before_barrier",
        "63 threads wait at the barrier of faults.cu:# (first: (0, 0, 0)), 1 threads ended (first: (5, 0, 0))",
        "63 threads wait at the barrier of faults.cu:# (first: (0, 0, 0)), 1 threads ended (first: (5, 0, 0))",
        RUN(ended_before_barrier)},
    {"two_barriers", "faults.cu:#: barrier divergence: other threads wait at another barrier, faults.cu:#",
        "barrier divergence: other threads wait at another barrier", RUN(two_barriers)},
    {"lane_missing", "wait for their warp in shfl.bfly at common.cuh", "wait for their warp in shfl.bfly at common.cuh",
        RUN(lane_missing)},
    {"other_shuffle", "calls vote.ballot while other lanes wait in shfl.bfly", "warp divergence: calls",
        RUN(other_shuffle)},
    {"missing_barrier",
        "thread (1, 0, 0): faults.cu:#: read of 4 bytes, byte 0 of shared array 'tile' of 256 bytes: race: "
        "thread (0, 0, 0) wrote it at faults.cu:#, and no barrier is between",
        NULL, RUN(missing_barrier), true},
    {"missing_second_barrier", "read of 4 bytes", NULL, RUN(missing_second_barrier), true},
    {"same_cell", "thread (1, 0, 0): faults.cu:#: write of 4 bytes", NULL, RUN(same_cell), true},
    {"warp_barrier_for_block", "race: thread (", NULL, RUN(warp_barrier_for_block), true},
    {"warp_staging", "no barrier is between", NULL, RUN(warp_staging), true},
    {"global_within_block", "no barrier is between", NULL, RUN(global_within_block), true},
    {"unwritten", "byte 252 of shared array 'tile' of 256 bytes: nothing has written there in this block", NULL,
        RUN(unwritten)},
    {"copy_without_wait", "cp.async writes there and has not been waited for", NULL, RUN(copy_without_wait), true},
    {"copy_with_one_pending", "of shared array 'tile' of 512 bytes: cp.async writes there and has not been waited for",
        NULL, RUN(copy_with_one_pending), true},
    {"copy_without_barrier",
        "thread (1, 0, 0): faults.cu:#: read of 4 bytes, byte 0 of shared array 'tile' of 256 bytes: race: "
        "thread (0, 0, 0) wrote it at faults.cu:#",
        NULL, RUN(copy_without_barrier), true},
    {"copy_over_readers", "no barrier is between", NULL, RUN(copy_over_readers)},
    {"copy_misaligned", "faults.cu:#: cp.async of 16 bytes from", "not aligned", RUN(copy_misaligned)},
    {"blocks_write_same",
        "block (1, 0, 0): thread (0, 0, 0): faults.cu:#: write of 4 bytes, byte 256 of a block of 768 bytes of device "
        "memory: "
        "race: thread (63, 0, 0) of block (0, 0, 0) wrote it at faults.cu:#, and blocks have no order",
        NULL, RUN(blocks_write_same)},
    {"block_reads_other", "of block (0, 0, 0) wrote it", NULL, RUN(block_reads_other)},
    {"block_overwrites_read", "blocks have no order", NULL, RUN(block_overwrites_read)},
    {"host_memory", "no device memory: the host's, or freed", NULL, run_host_memory},
    {"freed", "no device memory: the host's, or freed", NULL, run_freed},
    {"older_gpu", "cp.async needs sm_80, this GPU is sm_75", "cp.async needs sm_80, this GPU is sm_75", run_older_gpu},
    {"too_much_shared", "166913 bytes of shared memory", "166913 bytes of shared memory", run_too_much_shared},
    {"shared_sum", "256 bytes declared and 166657 asked for, this GPU has 166912 a block",
        "256 bytes declared and 166657 asked for", run_shared_sum},
    {"no_opt_in", "256 bytes declared and 48897 asked for are above 49152 together",
        "256 bytes declared and 48897 asked for are above", run_no_opt_in},
    {"too_many_threads", "block of (1025, 1, 1)", "block of (1025, 1, 1)", run_too_many_threads},
};

/* Whether `text` contains `pattern`, in which # is any number. */
static bool says(const char *text, const char *pattern)
{
    for (; *text; text++) {
        const char *t = text, *p = pattern;
        while (*p && (*p == '#' ? *t >= '0' && *t <= '9' : *p == *t)) {
            if (*p++ == '#') t += strspn(t, "0123456789");
            else t++;
        }
        if (!*p) return true;
    }
    return false;
}

/* Device memory of the case's own: a fault damages guard bands. */
static status run_case(const fault *f, bool faulty, float result[COUNT])
{
    float host[COUNT];
    void *dst, *src;
    for (int i = 0; i < COUNT; i++) host[i] = (float)(i + 1);
    CUDA_TRY(cudaMalloc(&dst, sizeof host));
    CUDA_TRY(cudaMalloc(&src, sizeof host));
    CUDA_TRY(cudaMemset(dst, 0, sizeof host));
    CUDA_TRY(cudaMemcpy(src, host, sizeof host, cudaMemcpyHostToDevice));
    status s = f->run(faulty, (float *)dst, (const float *)src);
    (void)cudaMemcpy(result, dst, sizeof host, cudaMemcpyDeviceToHost);
    (void)cudaFree(dst);
    (void)cudaFree(src);
    return s;
}

static int tests, failures;

static void line(bool good, const char *name, const char *what, const char *detail)
{
    printf("%s %d - %s: %s\n", good ? "ok" : "not ok", ++tests, name, what);
    if (detail) printf("# %s\n", detail);
    failures += !good;
}

static void check_report(const fault *f, bool watched)
{
    float result[COUNT];
    bool passes = run_case(f, false, result) == OK;
    line(passes, f->name, "passes without its fault", passes ? NULL : status_message());
    const char *pattern = watched ? f->watched : f->plain;
    if (!pattern) return;
    status s = run_case(f, true, result);
    line(
        s == E_DEVICE && says(status_message(), pattern), f->name, "caught", s == OK ? "not caught" : status_message());
}

/* Unwatched, a race is seen by its results only. */
static void check_orders(const fault *f)
{
    enum { ORDERS = 8 };
    float first[2][COUNT], result[COUNT];
    bool same[2] = {true, true};
    for (int order = 0; order < ORDERS; order++) {
        char seed[16];
        snprintf(seed, sizeof seed, "%d", order);
        setenv("GRAFT_SIMT_ORDER", seed, 1);
        for (int faulty = 0; faulty < (f->shows ? 2 : 1); faulty++) {
            if (run_case(f, faulty, order ? result : first[faulty]) != OK)
                line(false, f->name, "runs in any order", status_message());
            else if (order && memcmp(result, first[faulty], sizeof result) != 0) same[faulty] = false;
        }
    }
    unsetenv("GRAFT_SIMT_ORDER");
    line(same[0], f->name, "the same bits in any order without its fault", NULL);
    if (f->shows) line(!same[1], f->name, "its results depend on the order", NULL);
}

int main(int argc, char **argv)
{
    bool watched = argc > 1 && strcmp(argv[1], "--watched") == 0;
    float result[COUNT];
    for (const fault &f : faults) {
        if (argc > 1 && !watched) {
            if (strcmp(argv[1], f.name) == 0) printf("%d: %s\n", run_case(&f, true, result), status_message());
            continue;
        }
        check_report(&f, watched);
        if (!watched) check_orders(&f);
    }
    if (tests) printf("1..%d\n", tests);
    return failures != 0;
}
