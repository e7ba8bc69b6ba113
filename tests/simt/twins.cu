/* twins.cu: the functions of ptx.cuh against closed forms: fragments placed by the index formulas of the PTX ISA manual
 * and products against a triple loop in double; conversions against core/base/dtype and arithmetic in double. Compiled
 * for a GPU it checks the manual's formulas, compiled for the CPU the twins. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "kernels/cuda/common.cuh"

static int tests, failures;

static void ok(bool good, const char *name, const char *detail)
{
    printf("%s %d - %s\n", good ? "ok" : "not ok", ++tests, name);
    if (!good) printf("# %s\n", detail), failures++;
}

static void need(status s, const char *name)
{
    if (s == OK) return;
    printf("Bail out! %s: %s\n", name, status_message());
    exit(1);
}

static status sent(void **device, const void *host, size_t bytes)
{
    CUDA_TRY(cudaMalloc(device, bytes));
    CUDA_TRY(cudaMemcpy(*device, host, bytes, cudaMemcpyHostToDevice));
    return OK;
}

static status fetched(void *host, void *device, size_t bytes)
{
    CUDA_TRY(cudaMemcpy(host, device, bytes, cudaMemcpyDeviceToHost));
    CUDA_TRY(cudaFree(device));
    return OK;
}

/* ------------------------------------------------------------------------------------------------ products */

typedef enum product { F16_K16, BF16_K16, TF32_K8, F16_K8, S8_K32, U8S8_K32, S8_K16, PRODUCTS } product;
static const char *const product_names[] = {
    "f16 m16n8k16", "bf16 m16n8k16", "tf32 m16n8k8", "f16 m16n8k8", "s8 m16n8k32", "u8 s8 m16n8k32", "s8 m8n8k16"};

/* An element as it stands in a register. */
template <product P> static __device__ uint32_t encode(float x)
{
    if (P == F16_K16 || P == F16_K8) return ptx_f32_to_f16(x).bits;
    if (P == BF16_K16) return ptx_f32_to_bf16(x).bits;
    if (P == TF32_K8) return ptx_f32_to_tf32(x);
    return (uint32_t)(int)x & 0xff;
}

/* Where element i of lane's fragment is: the manual's "Matrix fragments for mma.m16n8k16 with
 * floating point type", and so on. */
template <product P> static __device__ void place_a(int lane, int i, int *row, int *column)
{
    int group = lane >> 2, member = lane % 4;
    if (P == F16_K16 || P == BF16_K16) {
        *row = (i < 2) || (i >= 4 && i < 6) ? group : group + 8;
        *column = i < 4 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8;
    } else if (P == F16_K8) {
        *row = i < 2 ? group : group + 8;
        *column = member * 2 + (i & 1);
    } else if (P == TF32_K8) {
        *row = i == 0 || i == 2 ? group : group + 8;
        *column = i < 2 ? member : member + 4;
    } else if (P == S8_K16) {
        *row = group;
        *column = member * 4 + i;
    } else {
        *row = i < 4 || (i >= 8 && i < 12) ? group : group + 8;
        *column = i < 8 ? member * 4 + (i & 3) : member * 4 + (i & 3) + 16;
    }
}
template <product P> static __device__ void place_b(int lane, int i, int *row, int *column)
{
    int group = lane >> 2, member = lane % 4;
    *column = group;
    if (P == F16_K16 || P == BF16_K16) *row = i < 2 ? member * 2 + (i & 1) : member * 2 + (i & 1) + 8;
    else if (P == F16_K8) *row = member * 2 + (i & 1);
    else if (P == TF32_K8) *row = i == 0 ? member : member + 4;
    else if (P == S8_K16) *row = member * 4 + i;
    else *row = i < 4 ? member * 4 + (i & 3) : member * 4 + (i & 3) + 16;
}
template <product P> static __device__ void place_d(int lane, int i, int *row, int *column)
{
    *row = P == S8_K16 || i < 2 ? lane >> 2 : (lane >> 2) + 8;
    *column = lane % 4 * 2 + (i & 1);
}

template <product P> struct shape {
    enum {
        K = P == S8_K32 || P == U8S8_K32 ? 32 : P == F16_K16 || P == BF16_K16 || P == S8_K16 ? 16 : 8,
        M = P == S8_K16 ? 8 : 16,
        PER_REGISTER = P == TF32_K8 ? 1 : P == S8_K32 || P == U8S8_K32 || P == S8_K16 ? 4 : 2,
        A = M * K / 32,
        B = 8 * K / 32,
        D = M * 8 / 32
    };
};

/* d [M][8] += a [M][K] * b [K][8], all as floats in memory. */
template <product P> static __global__ void multiply(float *d, const float *a, const float *b)
{
    typedef shape<P> s;
    uint32_t fragment_a[s::A / s::PER_REGISTER] = {0}, fragment_b[s::B / s::PER_REGISTER] = {0};
    int lane = threadIdx.x, row, column;
    for (int i = 0; i < s::A; i++) {
        place_a<P>(lane, i, &row, &column);
        fragment_a[i / s::PER_REGISTER] |= encode<P>(a[row * s::K + column])
                                           << 32 / s::PER_REGISTER * (i % s::PER_REGISTER);
    }
    for (int i = 0; i < s::B; i++) {
        place_b<P>(lane, i, &row, &column);
        fragment_b[i / s::PER_REGISTER] |= encode<P>(b[row * 8 + column])
                                           << 32 / s::PER_REGISTER * (i % s::PER_REGISTER);
    }
    float sum[4];
    int32_t count[4];
    for (int i = 0; i < s::D; i++) {
        place_d<P>(lane, i, &row, &column);
        sum[i] = d[row * 8 + column];
        count[i] = (int32_t)sum[i];
    }
    if (P == F16_K16) ptx_mma_f16_k16(sum, fragment_a, fragment_b);
    if (P == BF16_K16) ptx_mma_bf16_k16(sum, fragment_a, fragment_b);
    if (P == TF32_K8) ptx_mma_tf32_k8(sum, fragment_a, fragment_b);
    if (P == F16_K8) ptx_mma_f16_k8(sum, fragment_a, fragment_b);
    if (P == S8_K32) ptx_mma_s8_k32(count, fragment_a, fragment_b);
    if (P == U8S8_K32) ptx_mma_u8s8_k32(count, fragment_a, fragment_b);
    if (P == S8_K16) ptx_mma_s8_k16(count, fragment_a, fragment_b);
    for (int i = 0; i < s::D; i++) {
        place_d<P>(lane, i, &row, &column);
        d[row * 8 + column] = P >= S8_K32 ? (float)count[i] : sum[i];
    }
}

/* Small integers and eighths: every product and sum is exact, so the order of the sum does not matter. */
template <product P> static void test_product(rng *r)
{
    typedef shape<P> s;
    float a[16 * 32], b[32 * 8], d[16 * 8], result[16 * 8];
    bool bytes = P >= S8_K32;
    for (float &x : a)
        x = bytes ? (P == U8S8_K32 ? (float)rng_below(r, 256) : (float)rng_below(r, 256) - 128)
                  : ((float)rng_below(r, 65) - 32) / 8;
    for (float &x : b) x = bytes ? (float)rng_below(r, 256) - 128 : ((float)rng_below(r, 65) - 32) / 8;
    for (float &x : d) x = (float)rng_below(r, 1000) - 500;
    void *device_a, *device_b, *device_d;
    need(sent(&device_a, a, sizeof a), product_names[P]);
    need(sent(&device_b, b, sizeof b), product_names[P]);
    need(sent(&device_d, d, sizeof d), product_names[P]);
    need(launch(multiply<P>, dim3(1), dim3(32), 0, NULL, (float *)device_d, (const float *)device_a,
             (const float *)device_b),
        product_names[P]);
    need(fetched(result, device_d, sizeof result), product_names[P]);
    (void)cudaFree(device_a);
    (void)cudaFree(device_b);
    char detail[128] = "";
    bool good = true;
    for (int m = 0; m < s::M && good; m++) {
        for (int n = 0; n < 8 && good; n++) {
            double sum = d[m * 8 + n];
            for (int k = 0; k < s::K; k++) sum += (double)a[m * s::K + k] * b[k * 8 + n];
            good = result[m * 8 + n] == (float)sum;
            if (!good) snprintf(detail, sizeof detail, "d[%d][%d] = %g, expected %g", m, n, result[m * 8 + n], sum);
        }
    }
    char name[64];
    snprintf(name, sizeof name, "mma %s: d = d + a b", product_names[P]);
    ok(good, name, detail);
}

/* ------------------------------------------------------------------------------------------------ ldmatrix */

enum { LOAD_ROWS = 32, LOAD_VALUES = LOAD_ROWS * 8 };

/* out [4 forms][32 lanes][4 registers]; in [32][8]: four matrices, one below the other. */
static __global__ void load_matrices(uint32_t *out, const uint16_t *in)
{
    SHARED(uint4, rows, [LOAD_ROWS]);
    uint16_t *values = (uint16_t *)rows;
    for (int i = threadIdx.x; i < LOAD_VALUES; i += 32) values[i] = in[i];
    __syncthreads();
    uint32_t r[4][4] = {};
    ptx_ldmatrix_x4(r[0], &rows[threadIdx.x]);
    ptx_ldmatrix_x4_trans(r[1], &rows[threadIdx.x]);
    ptx_ldmatrix_x2(r[2], &rows[threadIdx.x % 16]);
    ptx_ldmatrix_x2_trans(r[3], &rows[threadIdx.x % 16]);
    for (int form = 0; form < 4; form++)
        for (int i = 0; i < 4; i++) out[(form * 32 + threadIdx.x) * 4 + i] = r[form][i];
}

/* Manual: thread T holds elements 2 (T % 4) and the next of row T / 4; with .trans the matrix is transposed first. */
static void test_load(void)
{
    static const char *const names[] = {"ldmatrix.x4", "ldmatrix.x4.trans", "ldmatrix.x2", "ldmatrix.x2.trans"};
    uint16_t in[LOAD_VALUES];
    uint32_t out[4 * 32 * 4] = {0};
    for (int i = 0; i < LOAD_VALUES; i++) in[i] = (uint16_t)(i * 257 + 1);
    void *device_in, *device_out;
    need(sent(&device_in, in, sizeof in), "ldmatrix");
    need(sent(&device_out, out, sizeof out), "ldmatrix");
    need(launch(load_matrices, dim3(1), dim3(32), 0, NULL, (uint32_t *)device_out, (const uint16_t *)device_in),
        "ldmatrix");
    need(fetched(out, device_out, sizeof out), "ldmatrix");
    (void)cudaFree(device_in);
    for (int form = 0; form < 4; form++) {
        bool good = true;
        char detail[128] = "";
        for (int i = 0; i < 32 * 4 && good; i++) {
            int lane = i / 4, matrix = i % 4, row = lane / 4, column = lane % 4 * 2;
            const uint16_t *m = in + matrix * 64;
            uint32_t low = form % 2 ? m[column * 8 + row] : m[row * 8 + column],
                     high = form % 2 ? m[(column + 1) * 8 + row] : m[row * 8 + column + 1];
            uint32_t expected = form >= 2 && matrix >= 2 ? 0 : low | high << 16;
            good = out[form * 128 + i] == expected;
            if (!good)
                snprintf(detail, sizeof detail, "lane %d register %d: %08x, expected %08x", lane, matrix,
                    out[form * 128 + i], expected);
        }
        ok(good, names[form], detail);
    }
}

/* The usual product: a [16][16] and b [16][8] row by row in shared memory, by ldmatrix and ldmatrix.trans. */
static __global__ void load_and_multiply(float *d, const float *a, const float *b)
{
    SHARED(uint4, tile_a, [16 * 2]);
    SHARED(uint4, tile_b, [16]);
    f16 *half_a = (f16 *)tile_a, *half_b = (f16 *)tile_b;
    for (int i = threadIdx.x; i < 256; i += 32) half_a[i] = ptx_f32_to_f16(a[i]);
    for (int i = threadIdx.x; i < 128; i += 32) half_b[i] = ptx_f32_to_f16(b[i]);
    __syncthreads();
    uint32_t x[4], y[2];
    float sum[4] = {0, 0, 0, 0};
    ptx_ldmatrix_x4(x, &tile_a[threadIdx.x % 16 * 2 + threadIdx.x / 16]);
    ptx_ldmatrix_x2_trans(y, &tile_b[threadIdx.x % 16]);
    ptx_mma_f16_k16(sum, x, y);
    for (int i = 0; i < 4; i++) d[(threadIdx.x / 4 + i / 2 * 8) * 8 + threadIdx.x % 4 * 2 + i % 2] = sum[i];
}

static void test_load_and_multiply(rng *r)
{
    float a[256], b[128], d[128] = {0};
    for (float &x : a) x = ((float)rng_below(r, 65) - 32) / 8;
    for (float &x : b) x = ((float)rng_below(r, 65) - 32) / 8;
    void *device_a, *device_b, *device_d;
    need(sent(&device_a, a, sizeof a), "ldmatrix and mma");
    need(sent(&device_b, b, sizeof b), "ldmatrix and mma");
    need(sent(&device_d, d, sizeof d), "ldmatrix and mma");
    need(launch(load_and_multiply, dim3(1), dim3(32), 0, NULL, (float *)device_d, (const float *)device_a,
             (const float *)device_b),
        "ldmatrix and mma");
    need(fetched(d, device_d, sizeof d), "ldmatrix and mma");
    (void)cudaFree(device_a);
    (void)cudaFree(device_b);
    bool good = true;
    for (int i = 0; i < 128; i++) {
        double sum = 0;
        for (int k = 0; k < 16; k++) sum += (double)a[i / 8 * 16 + k] * b[k * 8 + i % 8];
        good = good && d[i] == (float)sum;
    }
    ok(good, "ldmatrix, ldmatrix.trans and mma make a product of row-major tiles", "it is another");
}

/* ------------------------------------------------------------------------------------------------ conversions */

typedef struct converted {
    uint32_t f16, bf16, tf32;
    int32_t s8, u8;
} converted;

static __global__ void convert(converted *out, const float *in, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    out[i] = converted{ptx_f32_to_f16(in[i]).bits, ptx_f32_to_bf16(in[i]).bits, ptx_f32_to_tf32(in[i]),
        ptx_f32_to_s8(in[i]), ptx_f32_to_u8(in[i])};
}

static __global__ void widen(float *out, int count)
{
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= count) return;
    out[2 * i] = ptx_f16_to_f32(f16{(uint16_t)i});
    out[2 * i + 1] = ptx_bf16_to_f32(bf16{(uint16_t)i});
}

static uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

/* Ten explicit bits, ties away from zero, by arithmetic: round() of the quotient by the unit in the last place. */
static uint32_t tf32_expected(float x)
{
    if (isinf(x) || x == 0) return bits_of(x);
    int exponent;
    frexp((double)x, &exponent);
    double unit = ldexp(1, (exponent < -125 ? -125 : exponent) - 11), y = round((double)x / unit) * unit;
    return bits_of((float)y);
}

/* Every exponent with significands at and beside all ties of the narrower types, and random bits. */
static int conversion_inputs(float *in, int capacity, rng *r)
{
    static const uint32_t tails[] = {0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2000, 0x2fff, 0x3000, 0x3001, 0x7fff,
        0x8000, 0x8001, 0x18000, 0x7fffff, 0x7ff000, 0x7fe000, 0x7fefff, 0x400000, 0x3fffff};
    int count = 0;
    for (uint32_t exponent = 0; exponent < 512; exponent++)
        for (uint32_t tail : tails) {
            uint32_t bits = exponent << 23 | tail;
            memcpy(&in[count++], &bits, 4);
        }
    for (int i = -1200; i <= 1200; i++) in[count++] = (float)i / 4;
    while (count < capacity) {
        uint32_t bits = rng_u32(r);
        memcpy(&in[count++], &bits, 4);
    }
    return count;
}

static void test_conversions(rng *r)
{
    enum { COUNT = 65536 };
    float *in = (float *)malloc(COUNT * sizeof *in);
    converted *out = (converted *)calloc(COUNT, sizeof *out);
    int count = conversion_inputs(in, COUNT, r);
    void *device_in, *device_out;
    need(sent(&device_in, in, COUNT * sizeof *in), "conversions");
    need(sent(&device_out, out, COUNT * sizeof *out), "conversions");
    need(launch(convert, dim3(blocks_for(count, 256)), dim3(256), 0, NULL, (converted *)device_out,
             (const float *)device_in, count),
        "conversions");
    need(fetched(out, device_out, COUNT * sizeof *out), "conversions");
    (void)cudaFree(device_in);
    int wrong[5] = {0};
    float first[5] = {0};
    for (int i = 0; i < count; i++) {
        float x = in[i];
        int8_t s8;
        uint8_t u8;
        dtype_store(&s8, DTYPE_I8, 0, (double)x);
        dtype_store(&u8, DTYPE_U8, 0, (double)x);
        bool good[5] = {isnan(x) ? (out[i].f16 & 0x7fff) > 0x7c00 : out[i].f16 == f32_to_f16(x),
            isnan(x) ? (out[i].bf16 & 0x7fff) > 0x7f80 : out[i].bf16 == f32_to_bf16(x),
            isnan(x) ? (out[i].tf32 & 0x7fffffff) > 0x7f800000 : (out[i].tf32 & 0xffffe000) == tf32_expected(x),
            out[i].s8 == s8, out[i].u8 == u8};
        for (int k = 0; k < 5; k++)
            if (!good[k] && wrong[k]++ == 0) first[k] = x;
    }
    static const char *const names[] = {"f32 to f16", "f32 to bf16", "f32 to tf32", "f32 to s8", "f32 to u8"};
    for (int k = 0; k < 5; k++) {
        char detail[96];
        snprintf(detail, sizeof detail, "%d of %d are wrong, the first for %a", wrong[k], count, first[k]);
        ok(!wrong[k], names[k], detail);
    }
    free(in);
    free(out);
}

static void test_widening(void)
{
    enum { COUNT = 65536 };
    float *out = (float *)calloc(2 * COUNT, sizeof *out);
    void *device;
    need(sent(&device, out, 2 * COUNT * sizeof *out), "widening");
    need(launch(widen, dim3(COUNT / 256), dim3(256), 0, NULL, (float *)device, COUNT), "widening");
    need(fetched(out, device, 2 * COUNT * sizeof *out), "widening");
    int wrong[2] = {0};
    for (int i = 0; i < COUNT; i++) {
        float expected[2] = {f16_to_f32((uint16_t)i), bf16_to_f32((uint16_t)i)};
        for (int k = 0; k < 2; k++)
            wrong[k] += isnan(expected[k]) ? !isnan(out[2 * i + k]) : bits_of(out[2 * i + k]) != bits_of(expected[k]);
    }
    ok(!wrong[0], "f16 to f32, all of them", "some differ from f16_to_f32");
    ok(!wrong[1], "bf16 to f32, all of them", "some differ from bf16_to_f32");
    free(out);
}

/* ------------------------------------------------------------------------------------------------ warps and blocks */

enum { EXCHANGE_THREADS = 96, EXCHANGES = 8 };

static __global__ void exchange(int32_t *out)
{
    int i = threadIdx.x;
    double wide = ptx_shuffle((double)i + 0.25, 3);
    int32_t value[EXCHANGES] = {ptx_shuffle_xor(i, 5), ptx_shuffle_down(i, 7), ptx_shuffle(i, i + 1),
        (int32_t)(4 * wide), (int32_t)ptx_ballot(i % 3 == 0), warp_sum(i), (int32_t)block_sum((double)i),
        (int32_t)block_sum((float)(i % 2))};
    for (int k = 0; k < EXCHANGES; k++) out[i * EXCHANGES + k] = value[k];
}

static void test_exchange(void)
{
    static const char *const names[EXCHANGES] = {"shfl.bfly", "shfl.down", "shfl.idx", "shfl of a double",
        "vote.ballot", "warp_sum", "block_sum of doubles", "block_sum again"};
    int32_t out[EXCHANGE_THREADS * EXCHANGES] = {0};
    void *device;
    need(sent(&device, out, sizeof out), "exchange");
    need(launch(exchange, dim3(1), dim3(EXCHANGE_THREADS), 0, NULL, (int32_t *)device), "exchange");
    need(fetched(out, device, sizeof out), "exchange");
    for (int k = 0; k < EXCHANGES; k++) {
        bool good = true;
        char detail[96] = "";
        for (int i = 0; i < EXCHANGE_THREADS && good; i++) {
            int lane = i % 32, base = i - lane;
            uint32_t ballot = 0;
            for (int j = 0; j < 32; j++) ballot |= (uint32_t)((base + j) % 3 == 0) << j;
            int32_t expected[EXCHANGES] = {base + (lane ^ 5), lane + 7 < 32 ? i + 7 : i, base + (i + 1) % 32,
                4 * (base + 3) + 1, (int32_t)ballot, 32 * base + 31 * 16, EXCHANGE_THREADS * (EXCHANGE_THREADS - 1) / 2,
                EXCHANGE_THREADS / 2};
            good = out[i * EXCHANGES + k] == expected[k];
            if (!good)
                snprintf(detail, sizeof detail, "thread %d: %d, expected %d", i, out[i * EXCHANGES + k], expected[k]);
        }
        ok(good, names[k], detail);
    }
}

/* Three sizes; every third copy is not valid and gives zeros. */
static __global__ void copy_async(uint32_t *out, const uint32_t *in)
{
    SHARED(uint4, tile, [3 * 32]);
    int i = threadIdx.x;
    tile[i] = tile[32 + i] = tile[64 + i] = make_uint4(7, 7, 7, 7);
    bool valid = i % 3 != 0;
    ptx_cp_async<4>(&tile[i], in + 4 * i, valid);
    ptx_cp_async_commit();
    ptx_cp_async<8>(&tile[32 + i], in + 4 * i, valid);
    ptx_cp_async<16>(&tile[64 + i], in + 4 * i, valid);
    ptx_cp_async_commit();
    ptx_cp_async_wait<0>();
    __syncthreads();
    for (int k = 0; k < 3; k++) {
        uint4 x = tile[32 * k + i];
        uint32_t *row = out + (32 * k + i) * 4;
        row[0] = x.x, row[1] = x.y, row[2] = x.z, row[3] = x.w;
    }
}

static void test_copy_async(void)
{
    uint32_t in[128], out[3 * 128] = {0};
    for (uint32_t i = 0; i < 128; i++) in[i] = 1000 + i;
    void *device_in, *device_out;
    need(sent(&device_in, in, sizeof in), "cp.async");
    need(sent(&device_out, out, sizeof out), "cp.async");
    need(launch(copy_async, dim3(1), dim3(32), 0, NULL, (uint32_t *)device_out, (const uint32_t *)device_in),
        "cp.async");
    need(fetched(out, device_out, sizeof out), "cp.async");
    (void)cudaFree(device_in);
    static const char *const names[] = {"cp.async of 4 bytes", "cp.async of 8 bytes", "cp.async of 16 bytes"};
    for (int k = 0; k < 3; k++) {
        bool good = true;
        for (uint32_t i = 0; i < 128; i++)
            good = good && out[k * 128 + i] == (i % 4 >= (k == 2 ? 4u : k + 1u) ? 7 : i / 4 % 3 == 0 ? 0 : 1000 + i);
        ok(good, names[k], "wrong bytes");
    }
}

int main(void)
{
    rng r = rng_make(1, RNG_TEST, 0);
    test_product<F16_K16>(&r);
    test_product<BF16_K16>(&r);
    test_product<TF32_K8>(&r);
    test_product<F16_K8>(&r);
    test_product<S8_K32>(&r);
    test_product<U8S8_K32>(&r);
    test_product<S8_K16>(&r);
    test_load();
    test_load_and_multiply(&r);
    test_conversions(&r);
    test_widening();
    test_exchange();
    test_copy_async();
    printf("1..%d\n", tests);
    return failures != 0;
}
