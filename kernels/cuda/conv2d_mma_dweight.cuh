/* conv2d_mma_dweight.cuh: weight gradient on tensor cores: dweight[o, (ty, tx, c)] += sum over pixels of
 * ddst[pixel, o] * src[pixel and tap, c].
 *
 * The long index is k = pixels; it is cut into bands (conv2d_bands), one block per tile and band; a second kernel
 * adds the bands in order. Slices of pixels lie in shared memory as they do outside, channels innermost, in rows
 * padded so that neither copies nor fragment loads meet a bank conflict: 16-bit fragments are transposed by
 * ldmatrix.trans, tf32 ones are read word by word. A thread keeps its chunk of channels (its tap, for src) through
 * the whole loop; pixels are found by multiplication.
 *
 * Bound by mma issue for wide layers, by loading src and ddst for narrow ones. kernelcheck --bench
 * --only=conv2d_dweight__cuda_mma --shapes=bench/shapes/resnet50-bf16.txt.
 */
#ifndef GRAFT_CUDA_CONV2D_MMA_DWEIGHT_CUH
#define GRAFT_CUDA_CONV2D_MMA_DWEIGHT_CUH

#include "kernels/cuda/conv2d_mma.cuh"

/* One launch: partial [bands, groups, n, k] of conv2d_gemm_forward's g. */
typedef struct mma_dweight_call {
    conv2d_gemm g;
    conv2d_input in;
    const void *src, *ddst;
    float *partial;
    int32_t bands;
    mma_stage stage;
    void *stream;
} mma_dweight_call;

status conv2d_mma_dweight_f16(const mma_dweight_call *c);
status conv2d_mma_dweight_f16_of_f32(const mma_dweight_call *c);
status conv2d_mma_dweight_f16_sm75(const mma_dweight_call *c);
status conv2d_mma_dweight_bf16(const mma_dweight_call *c);
status conv2d_mma_dweight_bf16_of_f32(const mma_dweight_call *c);
status conv2d_mma_dweight_tf32(const mma_dweight_call *c);

/* BM output channels x BN (tap, channel) of factors E; a slice is 64 bytes' worth of pixels. */
template <typename E, int BM_, int BN_, int WM_, int WN_, int STAGES_> struct dweight_tile {
    static constexpr int BM = BM_, BN = BN_, WM = WM_, WN = WN_, STAGES = STAGES_, MI = WM / 16, NI = WN / 8;
    static constexpr int WARPS_N = BN / WN, THREADS = BM / WM * WARPS_N * (int)WARP;
    static constexpr int ELEMENTS = CHUNK / sizeof(E), DEPTH = SLICE / sizeof(E), PAD = sizeof(E) == 4 ? 32 : 16;
    static constexpr int PITCH_A = BM * (int)sizeof(E) + PAD, PITCH_B = BN * (int)sizeof(E) + PAD; /* bytes */
    static constexpr int CHUNKS_A = BM / ELEMENTS, CHUNKS_B = BN / ELEMENTS, RUN_A = THREADS / CHUNKS_A,
                         RUN_B = THREADS / CHUNKS_B;
    static constexpr int A = DEPTH / RUN_A, B = DEPTH / RUN_B, STAGE_BYTES = DEPTH * (PITCH_A + PITCH_B);
    static_assert(THREADS % CHUNKS_A == 0 && THREADS % CHUNKS_B == 0 && DEPTH % RUN_A == 0 && DEPTH % RUN_B == 0,
        "every thread loads as much");
};

/* ------------------------------------------------------------------------------------------------ loading */

/* Where column (tap, channel) n of a group reads, relative to tap 0 of a pixel. */
typedef struct tap_origin {
    uint32_t offset;
    int32_t dy, dx;
    bool some;
} tap_origin;

static inline __device__ tap_origin tap_origin_of(const conv2d_gemm *g, int32_t n, int32_t group)
{
    int32_t tap = divide(n, g->by_channels), c = n - tap * g->channels, ty = divide(tap, g->by_taps_w),
            tx = tap - ty * g->taps_w;
    int32_t dy = ty * g->gap_h, dx = tx * g->gap_w;
    return tap_origin{(uint32_t)((dy * g->in_w + dx) * g->in_pitch + group * g->channels + c), dy, dx, n < g->k};
}

static inline __device__ bool tap_inside(const conv2d_gemm *g, pixel_origin p, tap_origin t)
{
    return t.some && (uint32_t)(p.y + t.dy) < (uint32_t)g->in_h && (uint32_t)(p.x + t.dx) < (uint32_t)g->in_w;
}

template <typename TILE, typename E>
static inline __device__ void copy_pixels(unsigned char *to, const conv2d_gemm *g, const E *src, const E *ddst,
    tap_origin tap, int32_t group, int32_t m0, int32_t p0, int32_t end)
{
    int m = threadIdx.x % TILE::CHUNKS_A * TILE::ELEMENTS, chunk_b = threadIdx.x % TILE::CHUNKS_B;
#pragma unroll
    for (int i = 0; i < TILE::A; i++) {
        int row = threadIdx.x / TILE::CHUNKS_A + i * TILE::RUN_A;
        bool inside = p0 + row < end && m0 + m < g->n;
        ptx_cp_async<CHUNK>(to + row * TILE::PITCH_A + m * sizeof(E),
            ddst + (inside ? (int64_t)(p0 + row) * g->out_pitch + group * g->n + m0 + m : 0), inside);
    }
#pragma unroll
    for (int i = 0; i < TILE::B; i++) {
        int row = threadIdx.x / TILE::CHUNKS_B + i * TILE::RUN_B;
        pixel_origin p = pixel_origin_of(g, p0 + row, end);
        bool inside = tap_inside(g, p, tap);
        ptx_cp_async<CHUNK>(to + TILE::DEPTH * TILE::PITCH_A + row * TILE::PITCH_B + chunk_b * CHUNK,
            src + (inside ? p.base + tap.offset : 0), inside);
    }
}

/* A slice in registers. Bit i * ELEMENTS + e of inside: b[i][e] is a pixel's. */
template <typename TILE, typename T> struct staged_pixels {
    T a[TILE::A][TILE::ELEMENTS], b[TILE::B][TILE::ELEMENTS];
    uint32_t inside;
    static_assert(TILE::B * TILE::ELEMENTS <= 32, "a bit each");
};

/* A thread's chunk of (tap, channel) from n on, transformed where its bit of inside is set. The coefficients come from
 * the first-level cache: registers are short. */
template <int ELEMENTS, typename E, typename T>
static inline __device__ void transform_chunk(
    E *to, const T *from, uint32_t inside, const conv2d_gemm *g, const conv2d_input *in, int32_t n, int32_t group)
{
    float x[ELEMENTS];
#pragma unroll
    for (int e = 0; e < ELEMENTS; e++) {
        int32_t c = group * g->channels + n + e - divide(n + e, g->by_channels) * g->channels;
        x[e] = inside >> e & 1 ? fmaf(in->a[c], to_float(from[e]), in->d[c]) : 0.0f;
    }
    activate_each<ELEMENTS>(x, in->act, in->alpha, in->beta);
#pragma unroll
    for (int e = 0; e < ELEMENTS; e++)
        if (inside >> e & 1) to[e] = as_factor<E, float>(x[e]);
}

/* ELEMENTS neighbours as 16-byte loads. */
template <int ELEMENTS, typename T> static inline __device__ void load_chunk(T *to, const T *from, bool inside)
{
    constexpr int PART = CHUNK / sizeof(T);
#pragma unroll
    for (int e = 0; e < ELEMENTS; e += PART) {
        pack<T, PART> v = {};
        if (inside) v = *(const pack<T, PART> *)(from + e);
#pragma unroll
        for (int p = 0; p < PART; p++) to[e + p] = v.at[p];
    }
}

template <typename TILE, typename T, mma_stage STAGE>
static inline __device__ void load_pixels(staged_pixels<TILE, T> *s, const conv2d_gemm *g, const T *src, const T *ddst,
    int32_t group, int32_t m0, int32_t n0, int32_t p0, int32_t end)
{
    int32_t m = m0 + threadIdx.x % TILE::CHUNKS_A * TILE::ELEMENTS,
            n = n0 + threadIdx.x % TILE::CHUNKS_B * TILE::ELEMENTS;
    s->inside = 0;
    if constexpr (STAGE == STAGE_VECTOR) {
        tap_origin tap = tap_origin_of(g, n, group);
#pragma unroll
        for (int i = 0; i < TILE::A; i++) {
            int32_t p = p0 + threadIdx.x / TILE::CHUNKS_A + i * TILE::RUN_A;
            bool inside = p < end && m < g->n;
            load_chunk<TILE::ELEMENTS>(
                s->a[i], ddst + (inside ? (int64_t)p * g->out_pitch + group * g->n + m : 0), inside);
        }
#pragma unroll
        for (int i = 0; i < TILE::B; i++) {
            pixel_origin p = pixel_origin_of(g, p0 + threadIdx.x / TILE::CHUNKS_B + i * TILE::RUN_B, end);
            bool inside = tap_inside(g, p, tap);
            load_chunk<TILE::ELEMENTS>(s->b[i], src + (inside ? p.base + tap.offset : 0), inside);
            if (inside) s->inside |= ((1u << TILE::ELEMENTS) - 1) << i * TILE::ELEMENTS;
        }
    } else {
#pragma unroll
        for (int i = 0; i < TILE::A; i++) {
            int32_t p = p0 + threadIdx.x / TILE::CHUNKS_A + i * TILE::RUN_A;
#pragma unroll
            for (int e = 0; e < TILE::ELEMENTS; e++)
                s->a[i][e] =
                    p < end && m + e < g->n ? ddst[(int64_t)p * g->out_pitch + group * g->n + m + e] : zero<T>();
        }
        pixel_origin pixels[TILE::B];
#pragma unroll
        for (int i = 0; i < TILE::B; i++)
            pixels[i] = pixel_origin_of(g, p0 + threadIdx.x / TILE::CHUNKS_B + i * TILE::RUN_B, end);
#pragma unroll
        for (int e = 0; e < TILE::ELEMENTS; e++) {
            tap_origin tap = tap_origin_of(g, n + e, group);
#pragma unroll
            for (int i = 0; i < TILE::B; i++) {
                bool inside = tap_inside(g, pixels[i], tap);
                s->b[i][e] = inside ? src[pixels[i].base + tap.offset] : zero<T>();
                s->inside |= (uint32_t)inside << (i * TILE::ELEMENTS + e);
            }
        }
    }
}

/* The transform is done here, a slice after the load, so that nobody waits for memory. */
template <typename TILE, typename T, typename E>
static inline __device__ void store_pixels(unsigned char *to, const staged_pixels<TILE, T> *s, const conv2d_gemm *g,
    const conv2d_input *in, int32_t n0, int32_t group)
{
    int32_t n = n0 + threadIdx.x % TILE::CHUNKS_B * TILE::ELEMENTS;
#pragma unroll
    for (int i = 0; i < TILE::A; i++) {
        pack<E, TILE::ELEMENTS> v;
#pragma unroll
        for (int e = 0; e < TILE::ELEMENTS; e++) v.at[e] = as_factor<E, T>(s->a[i][e]);
        *(pack<E, TILE::ELEMENTS> *)(to + (threadIdx.x / TILE::CHUNKS_A + i * TILE::RUN_A) * TILE::PITCH_A +
                                     threadIdx.x % TILE::CHUNKS_A * CHUNK) = v;
    }
    to += TILE::DEPTH * TILE::PITCH_A;
#pragma unroll
    for (int i = 0; i < TILE::B; i++) {
        pack<E, TILE::ELEMENTS> v;
#pragma unroll
        for (int e = 0; e < TILE::ELEMENTS; e++) v.at[e] = as_factor<E, T>(s->b[i][e]);
        if (in->a)
            transform_chunk<TILE::ELEMENTS, E, T>(v.at, s->b[i], s->inside >> i * TILE::ELEMENTS, g, in, n, group);
        *(pack<E, TILE::ELEMENTS> *)(to + (threadIdx.x / TILE::CHUNKS_B + i * TILE::RUN_B) * TILE::PITCH_B +
                                     threadIdx.x % TILE::CHUNKS_B * CHUNK) = v;
    }
}

/* ------------------------------------------------------------------------------------------------ arithmetic */

/* One word of a row of f32, as tf32 if it is not yet. */
template <bool ROUND> static inline __device__ uint32_t tf32_word(const unsigned char *at)
{
    float x = *(const float *)at;
    union { float f; uint32_t u; } v = {x};
    return ROUND ? ptx_f32_to_tf32(x) : v.u;
}

/* Fragments of 32 bytes' worth of pixels: of 16 output channels from m on, and of 16 (tap, channel) from n on. */
template <typename TILE, bool TF32, bool ROUND>
static inline __device__ void fragment_a(uint32_t a[4], const unsigned char *rows, int m, int half)
{
    int lane = threadIdx.x % WARP;
    if constexpr (!TF32) {
        ptx_ldmatrix_x4_trans(
            a, rows + (half * 16 + lane % 8 + lane / 16 * 8) * TILE::PITCH_A + (m + lane / 8 % 2 * 8) * 2);
        return;
    }
    const unsigned char *at = rows + (half * 8 + lane % 4) * TILE::PITCH_A + (m + lane / 4) * 4;
    a[0] = tf32_word<ROUND>(at), a[1] = tf32_word<ROUND>(at + 32);
    a[2] = tf32_word<ROUND>(at + 4 * TILE::PITCH_A), a[3] = tf32_word<ROUND>(at + 4 * TILE::PITCH_A + 32);
}

template <typename TILE, bool TF32, bool ROUND>
static inline __device__ void fragment_b(uint32_t b[4], const unsigned char *rows, int n, int half)
{
    int lane = threadIdx.x % WARP;
    if constexpr (!TF32) {
        ptx_ldmatrix_x4_trans(
            b, rows + (half * 16 + lane % 8 + lane / 8 % 2 * 8) * TILE::PITCH_B + (n + lane / 16 * 8) * 2);
        return;
    }
    const unsigned char *at = rows + (half * 8 + lane % 4) * TILE::PITCH_B + (n + lane / 4) * 4;
    b[0] = tf32_word<ROUND>(at), b[1] = tf32_word<ROUND>(at + 4 * TILE::PITCH_B);
    b[2] = tf32_word<ROUND>(at + 32), b[3] = tf32_word<ROUND>(at + 4 * TILE::PITCH_B + 32);
}

template <typename P, typename TILE, bool ROUND>
static inline __device__ void multiply_pixels(float sum[TILE::MI][TILE::NI][4], const unsigned char *slice)
{
    int warp = threadIdx.x / WARP, m = warp / TILE::WARPS_N * TILE::WM, n = warp % TILE::WARPS_N * TILE::WN;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t a[TILE::MI][4], b[TILE::NI][2];
#pragma unroll
        for (int i = 0; i < TILE::MI; i++) fragment_a<TILE, P::TF32, ROUND>(a[i], slice, m + i * 16, half);
#pragma unroll
        for (int j = 0; j < TILE::NI; j += 2) {
            uint32_t two[4];
            fragment_b<TILE, P::TF32, ROUND>(two, slice + TILE::DEPTH * TILE::PITCH_A, n + j * 8, half);
            b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
        }
#pragma unroll
        for (int i = 0; i < TILE::MI; i++)
#pragma unroll
            for (int j = 0; j < TILE::NI; j++) P::multiply(sum[i][j], a[i], b[j]);
    }
}

/* ------------------------------------------------------------------------------------------------ kernel */

/* Grid: x tiles (n fastest) of all groups, y bands. */
template <typename P, typename T, typename TILE, mma_stage STAGE>
static __global__ void __launch_bounds__(TILE::THREADS) dweight_kernel(conv2d_gemm g, conv2d_input in,
    float *__restrict__ partial, const T *__restrict__ src, const T *__restrict__ ddst, int32_t bands)
{
    typedef typename P::element E;
    SHARED_DYNAMIC(shared);
    int32_t down = (g.n + TILE::BM - 1) / TILE::BM, across = (g.k + TILE::BN - 1) / TILE::BN,
            group = blockIdx.x / (down * across);
    int32_t index = blockIdx.x - group * down * across, m0 = index / across * TILE::BM, n0 = index % across * TILE::BN,
            band = blockIdx.y;
    int32_t from = (int32_t)((int64_t)g.m * band / bands), end = (int32_t)((int64_t)g.m * (band + 1) / bands);
    int32_t slices = (end - from + TILE::DEPTH - 1) / TILE::DEPTH;
    float sum[TILE::MI][TILE::NI][4] = {};
    if constexpr (STAGE == STAGE_COPY) {
        tap_origin tap = tap_origin_of(&g, n0 + threadIdx.x % TILE::CHUNKS_B * TILE::ELEMENTS, group);
#pragma unroll
        for (int s = 0; s < TILE::STAGES - 1; s++) {
            if (s < slices)
                copy_pixels<TILE, E>(
                    shared + s * TILE::STAGE_BYTES, &g, src, ddst, tap, group, m0, from + s * TILE::DEPTH, end);
            ptx_cp_async_commit();
        }
        for (int32_t s = 0, read = 0, write = TILE::STAGES - 1; s < slices; s++) {
            ptx_cp_async_wait<TILE::STAGES - 2>();
            __syncthreads();
            if (s + TILE::STAGES - 1 < slices)
                copy_pixels<TILE, E>(shared + write * TILE::STAGE_BYTES, &g, src, ddst, tap, group, m0,
                    from + (s + TILE::STAGES - 1) * TILE::DEPTH, end);
            ptx_cp_async_commit();
            multiply_pixels<P, TILE, P::TF32>(sum, shared + read * TILE::STAGE_BYTES);
            read = read + 1 == TILE::STAGES ? 0 : read + 1;
            write = write + 1 == TILE::STAGES ? 0 : write + 1;
        }
        ptx_cp_async_wait<0>();
    } else {
        staged_pixels<TILE, T> s;
        load_pixels<TILE, T, STAGE>(&s, &g, src, ddst, group, m0, n0, from, end);
        for (int32_t i = 0; i < slices; i++) {
            store_pixels<TILE, T, E>(shared + i % 2 * TILE::STAGE_BYTES, &s, &g, &in, n0, group);
            __syncthreads();
            if (i + 1 < slices)
                load_pixels<TILE, T, STAGE>(&s, &g, src, ddst, group, m0, n0, from + (i + 1) * TILE::DEPTH, end);
            multiply_pixels<P, TILE, false>(sum, shared + i % 2 * TILE::STAGE_BYTES);
        }
    }
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int32_t m = m0 + warp / TILE::WARPS_N * TILE::WM + lane / 4,
            n = n0 + warp % TILE::WARPS_N * TILE::WN + lane % 4 * 2;
    partial += ((int64_t)band * g.groups + group) * g.n * g.k;
#pragma unroll
    for (int i = 0; i < TILE::MI; i++)
#pragma unroll
        for (int j = 0; j < TILE::NI; j++)
#pragma unroll
            for (int r = 0; r < 4; r++) {
                int32_t row = m + i * 16 + r / 2 * 8, column = n + j * 8 + r % 2;
                if (row < g.n && column < g.k) partial[(int64_t)row * g.k + column] = sum[i][j][r];
            }
}

template <typename P, typename T, typename TILE, mma_stage STAGE>
static status dweight_launch(const mma_dweight_call *c)
{
    dim3 grid(blocks_for(c->g.n, TILE::BM) * blocks_for(c->g.k, TILE::BN) * c->g.groups, c->bands);
    size_t bytes = TILE::STAGE_BYTES * (STAGE == STAGE_COPY ? TILE::STAGES : 2);
    return launch(dweight_kernel<P, T, TILE, STAGE>, grid, dim3(TILE::THREADS), bytes, c->stream, c->g, c->in,
        c->partial, (const T *)c->src, (const T *)c->ddst, c->bands);
}

template <typename P> static status dweight_copied(const mma_dweight_call *c)
{
    typedef typename P::element E;
    if (c->g.n > 64 && c->g.k > 64) return dweight_launch<P, E, dweight_tile<E, 128, 128, 64, 32, 3>, STAGE_COPY>(c);
    return dweight_launch<P, E, dweight_tile<E, 64, 64, 32, 32, 4>, STAGE_COPY>(c);
}

template <typename P, typename T> static status dweight_staged(const mma_dweight_call *c)
{
    typedef dweight_tile<typename P::element, 64, 64, 32, 32, 2> tile;
    return c->stage == STAGE_VECTOR ? dweight_launch<P, T, tile, STAGE_VECTOR>(c)
                                    : dweight_launch<P, T, tile, STAGE_GATHER>(c);
}

#endif
