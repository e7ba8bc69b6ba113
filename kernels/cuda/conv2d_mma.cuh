/* conv2d_mma.cuh: implicit GEMM on tensor cores: the product of conv2d.cuh by mma.sync. Forward and data gradient.
 *
 * A block forms BM x BN results, a warp WM x WN of them. k is walked in slices of 64 bytes per row (32 values of
 * 16 bits, 16 tf32, 64 i8), taps outermost, channels within; a slice of both factors lies in shared memory row by
 * row, its four 16-byte chunks XORed with bits of the row number so that neither the copies nor ldmatrix meet a
 * bank conflict. The fragments of all mma shapes used here are the same bytes, so one loop serves every type. Per
 * row of the tile a thread keeps the address of tap 0 and one word of mask: bit ty, and bit 16 + tx, say whether
 * that tap lies inside the image.
 *
 *   STAGE_COPY    sm_80: cp.async, TILE::STAGES slices in flight, padding filled with zeros by the copy; channels in
 *                 whole chunks
 *   STAGE_VECTOR  through registers, two buffers: sm_75, the input transform, f32 rounded to 16 bits; channels in whole
 *                 chunks
 *   STAGE_GATHER  the same, element by element: any number of channels: stems and odd groups
 *
 * 1x1 convolutions with stride 1 are plain products of matrices: the large tiles of STAGE_COPY have a form
 * without taps and masks (POINT).
 *
 * The epilogue passes each 16 rows of a warp through shared memory, so that a thread finishes 8 neighbouring channels
 * and stores 16 bytes of a 16-bit type at once; sums of channels for batch-norm go lanes, warps, one row per block, and
 * are added over blocks in order.
 *
 * Bound by mma issue where k is long, by memory for 1x1 with few channels. kernelcheck --bench
 * --only=conv2d_forward__cuda_mma --shapes=bench/shapes/resnet50-bf16.txt.
 */
#ifndef GRAFT_CUDA_CONV2D_MMA_CUH
#define GRAFT_CUDA_CONV2D_MMA_CUH

#include "kernels/cuda/conv2d.cuh"
#include "kernels/cuda/conv2d_tile.h"

constexpr int CHUNK = 16, SLICE = 64, MAX_WINDOW = 16;
typedef enum mma_stage { STAGE_COPY, STAGE_VECTOR, STAGE_GATHER } mma_stage;

/* One launch. */
typedef struct mma_call {
    conv2d_gemm g;
    conv2d_input in;
    conv2d_output out;
    const void *src, *weight; /* weight: rows of k_pitch, packed or as they are */
    double *stats;            /* partial [tiles along m, 2, channels] or NULL   */
    conv2d_tile tile;
    mma_stage stage;
    void *stream;
} mma_call;

/* conv2d_mma_PRODUCT.cu: f16 and bf16 take tensors of their type or f32; sm_75: those of the older shapes. */
status conv2d_mma_f16(const mma_call *c);
status conv2d_mma_f16_of_f32(const mma_call *c);
status conv2d_mma_bf16(const mma_call *c);
status conv2d_mma_bf16_of_f32(const mma_call *c);
status conv2d_mma_tf32(const mma_call *c);
status conv2d_mma_s8(const mma_call *c);
status conv2d_mma_u8(const mma_call *c);
status conv2d_mma_f16_sm75(const mma_call *c);
status conv2d_mma_s8_sm75(const mma_call *c);

/* ------------------------------------------------------------------------------------------------ products */

/* d[16x8] += a[16 rows of 32 bytes] * b[8 columns of 32 bytes]. */
struct product_f16 {
    typedef f16 element;
    typedef float sum;
    static constexpr bool INTEGER = false, TF32 = false;
    static inline __device__ void multiply(float d[4], const uint32_t a[4], const uint32_t b[2])
    {
        ptx_mma_f16_k16(d, a, b);
    }
};
struct product_bf16 {
    typedef bf16 element;
    typedef float sum;
    static constexpr bool INTEGER = false, TF32 = false;
    static inline __device__ void multiply(float d[4], const uint32_t a[4], const uint32_t b[2])
    {
        ptx_mma_bf16_k16(d, a, b);
    }
};
struct product_tf32 {
    typedef float element;
    typedef float sum;
    static constexpr bool INTEGER = false, TF32 = true;
    static inline __device__ void multiply(float d[4], const uint32_t a[4], const uint32_t b[2])
    {
        ptx_mma_tf32_k8(d, a, b);
    }
};
struct product_s8 {
    typedef int8_t element;
    typedef int32_t sum;
    static constexpr bool INTEGER = true, TF32 = false;
    static inline __device__ void multiply(int32_t d[4], const uint32_t a[4], const uint32_t b[2])
    {
        ptx_mma_s8_k32(d, a, b);
    }
};
struct product_u8 {
    typedef uint8_t element; /* of the input; weights are s8 */
    typedef int32_t sum;
    static constexpr bool INTEGER = true, TF32 = false;
    static inline __device__ void multiply(int32_t d[4], const uint32_t a[4], const uint32_t b[2])
    {
        ptx_mma_u8s8_k32(d, a, b);
    }
};
struct product_f16_sm75 {
    typedef f16 element;
    typedef float sum;
    static constexpr bool INTEGER = false, TF32 = false;
    static inline __device__ void multiply(float d[4], const uint32_t a[4], const uint32_t b[2])
    {
        ptx_mma_f16_k8(d, a, b);
        ptx_mma_f16_k8(d, a + 2, b + 1);
    }
};
struct product_s8_sm75 {
    typedef int8_t element;
    typedef int32_t sum;
    static constexpr bool INTEGER = true, TF32 = false;
    static inline __device__ void multiply(int32_t d[4], const uint32_t a[4], const uint32_t b[2])
    {
        ptx_mma_s8_k16(d, a, b);
        ptx_mma_s8_k16(d, a + 2, b + 1);
        ptx_mma_s8_k16(d + 2, a + 1, b);
        ptx_mma_s8_k16(d + 2, a + 3, b + 1);
    }
};

/* ------------------------------------------------------------------------------------------------ tiles */

template <int BM_, int BN_, int WM_, int WN_, int STAGES_> struct mma_tile {
    static constexpr int BM = BM_, BN = BN_, WM = WM_, WN = WN_,
                         STAGES = STAGES_; /* STAGES: of STAGE_COPY; the others have two */
    static constexpr int WARPS_M = BM / WM, WARPS_N = BN / WN, THREADS = WARPS_M * WARPS_N * (int)WARP, MI = WM / 16,
                         NI = WN / 8;
    static constexpr int LOADERS =
        THREADS / (SLICE / CHUNK); /* rows that the block loads at a time: a thread keeps its chunk */
    static constexpr int A = BM / LOADERS, B = BN / LOADERS, STAGE_BYTES = (BM + BN) * SLICE;
    static constexpr int EPILOGUE_PITCH = WN + 8, EPILOGUE_BYTES = WARPS_M * WARPS_N * 16 * EPILOGUE_PITCH * 4;
    static_assert(BM % LOADERS == 0 && (BN % LOADERS == 0), "every thread loads as much");
    static_assert(WN % 16 == 0 && WM % 16 == 0, "ldmatrix loads 16 rows");
};

static inline __device__ int swizzled(int row, int chunk)
{
    return row * SLICE + ((chunk ^ (row >> 1 & 3)) * CHUNK);
}

/* Tile `index` of down x across ones, n fastest within bands of 8, so that neighbours share rows of the input in L2. */
static inline __device__ void tile_at(int32_t index, int32_t down, int32_t across, int32_t *row, int32_t *column)
{
    int32_t band = index / (down * 8), rest = index - band * down * 8,
            width = across - band * 8 < 8 ? across - band * 8 : 8;
    *row = rest / width;
    *column = band * 8 + rest % width;
}

/* ------------------------------------------------------------------------------------------------ loading */

/* What a thread knows of the rows and the chunk that it loads. */
template <typename TILE> struct loader {
    uint32_t base[TILE::A], mask[TILE::A]; /* element of tap 0, modulo 2^32; taps inside */
    int32_t k, c, ty, tx;                  /* of the chunk's first element              */
};

/* POINT: one tap that reads pixel m itself: a plain product of matrices. */
template <typename TILE, int ELEMENTS, bool POINT>
static inline __device__ void loader_open(loader<TILE> *l, const conv2d_gemm *g, int32_t group, int32_t m0)
{
    int run = threadIdx.x / (SLICE / CHUNK);
#pragma unroll
    for (int i = 0; i < TILE::A; i++) {
        int32_t m = m0 + run + i * TILE::LOADERS;
        l->base[i] = l->mask[i] = 0;
        if (m >= g->m) continue;
        if constexpr (POINT) {
            l->base[i] = (uint32_t)m * g->in_pitch + group * g->channels;
            l->mask[i] = 1;
            continue;
        }
        pixel_origin p = pixel_origin_of(g, m, g->m);
        l->base[i] = p.base + group * g->channels;
        for (int t = 0; t < g->taps_h; t++)
            l->mask[i] |= (uint32_t)((uint32_t)(p.y + t * g->gap_h) < (uint32_t)g->in_h) << t;
        for (int t = 0; t < g->taps_w; t++)
            l->mask[i] |= (uint32_t)((uint32_t)(p.x + t * g->gap_w) < (uint32_t)g->in_w) << (16 + t);
    }
    l->k = threadIdx.x % (SLICE / CHUNK) * ELEMENTS;
    if constexpr (POINT) return;
    int32_t tap = divide(l->k, g->by_channels);
    l->c = l->k - tap * g->channels;
    l->ty = divide(tap, g->by_taps_w);
    l->tx = tap - l->ty * g->taps_w;
}

/* On to the next slice. */
template <typename TILE, bool POINT>
static inline __device__ void loader_next(loader<TILE> *l, const conv2d_gemm *g, int32_t elements)
{
    l->k += elements;
    if constexpr (POINT) return;
    l->c += elements;
    while (l->c >= g->channels) {
        l->c -= g->channels;
        if (++l->tx == g->taps_w) l->tx = 0, l->ty++;
    }
}

static inline __device__ uint32_t tap_offset(const conv2d_gemm *g, int32_t ty, int32_t tx, int32_t c)
{
    return (uint32_t)((ty * g->gap_h * g->in_w + tx * g->gap_w) * g->in_pitch + c);
}

static inline __device__ uint32_t tap_bits(int32_t ty, int32_t tx)
{
    return 1u << ty | 1u << (16 + tx);
}

/* Slices of both factors straight to shared memory. */
template <typename TILE, typename E, bool POINT>
static inline __device__ void copy_slice(
    unsigned char *to, const loader<TILE> *l, const conv2d_gemm *g, const E *src, const E *weight, int32_t n0)
{
    int chunk = threadIdx.x % (SLICE / CHUNK), run = threadIdx.x / (SLICE / CHUNK);
    bool some = POINT ? l->k < g->channels : l->ty < g->taps_h;
    uint32_t offset = POINT ? l->k : tap_offset(g, l->ty, l->tx, l->c), bits = POINT  ? 1
                                                                               : some ? tap_bits(l->ty, l->tx)
                                                                                      : 0;
#pragma unroll
    for (int i = 0; i < TILE::A; i++) {
        bool inside = some && (l->mask[i] & bits) == bits;
        ptx_cp_async<CHUNK>(
            to + swizzled(run + i * TILE::LOADERS, chunk), src + (inside ? l->base[i] + offset : 0), inside);
    }
#pragma unroll
    for (int i = 0; i < TILE::B; i++) {
        int32_t n = n0 + run + i * TILE::LOADERS;
        bool inside = n < g->n && l->k < g->k_pitch;
        ptx_cp_async<CHUNK>(to + TILE::BM * SLICE + swizzled(run + i * TILE::LOADERS, chunk),
            weight + (inside ? (int64_t)n * g->k_pitch + l->k : 0), inside);
    }
}

/* A slice in registers: input elements as they are, which of them lie inside, weights. */
template <typename TILE, typename T, typename E> struct staged {
    static constexpr int ELEMENTS = CHUNK / sizeof(E);
    T a[TILE::A][ELEMENTS];
    uint32_t inside[TILE::A];
    pack<E, ELEMENTS> b[TILE::B];
};

template <typename T> static inline __device__ T zero(void) { return from_float<T>(0.0f); }

template <typename TILE, typename T, typename E, mma_stage STAGE>
static inline __device__ void load_staged(
    staged<TILE, T, E> *s, const loader<TILE> *l, const conv2d_gemm *g, const T *src, const E *weight, int32_t n0)
{
    constexpr int ELEMENTS = staged<TILE, T, E>::ELEMENTS;
    if constexpr (STAGE == STAGE_VECTOR) {
        constexpr int PART = CHUNK / sizeof(T);
        bool some = l->ty < g->taps_h;
        uint32_t offset = tap_offset(g, l->ty, l->tx, l->c), bits = some ? tap_bits(l->ty, l->tx) : 0;
#pragma unroll
        for (int i = 0; i < TILE::A; i++) {
            bool inside = some && (l->mask[i] & bits) == bits;
            s->inside[i] = inside ? ~0u : 0;
#pragma unroll
            for (int e = 0; e < ELEMENTS; e += PART) {
                pack<T, PART> v = {};
                if (inside) v = *(const pack<T, PART> *)(src + (l->base[i] + offset + e));
#pragma unroll
                for (int p = 0; p < PART; p++) s->a[i][e + p] = v.at[p];
            }
        }
    } else {
#pragma unroll
        for (int i = 0; i < TILE::A; i++) s->inside[i] = 0;
#pragma unroll
        for (int e = 0; e < ELEMENTS; e++) {
            int32_t tap = divide(l->k + e, g->by_channels), c = l->k + e - tap * g->channels,
                    ty = divide(tap, g->by_taps_w), tx = tap - ty * g->taps_w;
            bool some = ty < g->taps_h;
            uint32_t offset = tap_offset(g, ty, tx, c), bits = some ? tap_bits(ty, tx) : 0;
#pragma unroll
            for (int i = 0; i < TILE::A; i++) {
                bool inside = some && (l->mask[i] & bits) == bits;
                s->inside[i] |= (uint32_t)inside << e;
                s->a[i][e] = inside ? src[l->base[i] + offset] : zero<T>();
            }
        }
    }
    int run = threadIdx.x / (SLICE / CHUNK);
#pragma unroll
    for (int i = 0; i < TILE::B; i++) {
        int32_t n = n0 + run + i * TILE::LOADERS;
        s->b[i] = {};
        if (n < g->n && l->k < g->k_pitch)
            s->b[i] = *(const pack<E, ELEMENTS> *)(weight + (int64_t)n * g->k_pitch + l->k);
    }
}

/* Input element to factor. */
template <typename E, typename T> static inline __device__ E as_factor(T x) { return from_float<E>(to_float(x)); }
template <> inline __device__ float as_factor<float, float>(float x) { return round_tf32(x); }

template <typename TILE, typename T, typename P, mma_stage STAGE>
static inline __device__ void store_staged(unsigned char *to, const staged<TILE, T, typename P::element> *s,
    const loader<TILE> *l, const conv2d_gemm *g, const conv2d_input *in, int32_t group)
{
    typedef typename P::element E;
    constexpr int ELEMENTS = staged<TILE, T, E>::ELEMENTS;
    int chunk = threadIdx.x % (SLICE / CHUNK), run = threadIdx.x / (SLICE / CHUNK);
#pragma unroll
    for (int i = 0; i < TILE::A; i++) {
        pack<E, ELEMENTS> v;
#pragma unroll
        for (int e = 0; e < ELEMENTS; e++) v.at[e] = as_factor<E, T>(s->a[i][e]);
        if (!P::INTEGER && in->a) {
#pragma unroll
            for (int e = 0; e < ELEMENTS; e++) {
                int32_t k = l->k + e,
                        c = STAGE == STAGE_VECTOR ? l->c + e : k - divide(k, g->by_channels) * g->channels;
                if (s->inside[i] >> e & 1)
                    v.at[e] = as_factor<E, float>(transformed(in, to_float(s->a[i][e]), group * g->channels + c));
            }
        }
        *(pack<E, ELEMENTS> *)(to + swizzled(run + i * TILE::LOADERS, chunk)) = v;
    }
#pragma unroll
    for (int i = 0; i < TILE::B; i++)
        *(pack<E, ELEMENTS> *)(to + TILE::BM * SLICE + swizzled(run + i * TILE::LOADERS, chunk)) = s->b[i];
}

/* ------------------------------------------------------------------------------------------------ arithmetic */

/* One slice. ROUND: the input's f32 still have to become tf32. */
template <typename P, typename TILE, bool ROUND>
static inline __device__ void multiply_slice(typename P::sum sum[TILE::MI][TILE::NI][4], const unsigned char *slice)
{
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const unsigned char *a_rows = slice, *b_rows = slice + TILE::BM * SLICE;
    int m = warp / TILE::WARPS_N * TILE::WM + lane % 16, n = warp % TILE::WARPS_N * TILE::WN + lane % 8 + lane / 16 * 8;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t a[TILE::MI][4], b[TILE::NI][2];
#pragma unroll
        for (int i = 0; i < TILE::MI; i++) {
            ptx_ldmatrix_x4(a[i], a_rows + swizzled(m + i * 16, half * 2 + lane / 16));
#pragma unroll
            for (int r = 0; r < 4 && ROUND; r++) {
                union { uint32_t u; float f; } x = {a[i][r]};
                a[i][r] = ptx_f32_to_tf32(x.f);
            }
        }
#pragma unroll
        for (int j = 0; j < TILE::NI; j += 2) {
            uint32_t two[4];
            ptx_ldmatrix_x4(two, b_rows + swizzled(n + j * 8, half * 2 + lane / 8 % 2));
            b[j][0] = two[0], b[j][1] = two[1], b[j + 1][0] = two[2], b[j + 1][1] = two[3];
        }
#pragma unroll
        for (int i = 0; i < TILE::MI; i++)
#pragma unroll
            for (int j = 0; j < TILE::NI; j++) P::multiply(sum[i][j], a[i], b[j]);
    }
}

/* ------------------------------------------------------------------------------------------------ epilogue */

/* Eight neighbours of a tensor, 16 bytes (i8: 8) at a time; `whole`: aligned and all of them
 * inside, else the first `count`. */
template <typename T>
static inline __device__ void load_eight(float y[8], const void *from, int64_t at, bool whole, int count)
{
    constexpr int PART = sizeof(T) == 4 ? 4 : 8;
    const T *p = (const T *)from + at;
#pragma unroll
    for (int e = 0; e < 8; e += PART) {
        pack<T, PART> v = {};
        if (whole) v = *(const pack<T, PART> *)(p + e);
#pragma unroll
        for (int i = 0; i < PART; i++) y[e + i] = whole ? to_float(v.at[i]) : e + i < count ? to_float(p[e + i]) : 0.0f;
    }
}

/* Stores, and leaves in y what was stored. */
template <typename T> static inline __device__ void store_eight(float y[8], void *to, int64_t at, bool whole, int count)
{
    constexpr int PART = sizeof(T) == 4 ? 4 : 8;
    T *p = (T *)to + at;
#pragma unroll
    for (int e = 0; e < 8; e += PART) {
        pack<T, PART> v;
#pragma unroll
        for (int i = 0; i < PART; i++) {
            v.at[i] = from_float<T>(y[e + i]);
            y[e + i] = to_float(v.at[i]);
            if (!whole && e + i < count) p[e + i] = v.at[i];
        }
        if (whole) *(pack<T, PART> *)(p + e) = v;
    }
}

static inline __device__ void load_eight_integers(
    float y[8], const void *from, dtype type, int64_t at, bool whole, int count)
{
    if (type == DTYPE_I8) load_eight<int8_t>(y, from, at, whole, count);
    else if (type == DTYPE_U8) load_eight<uint8_t>(y, from, at, whole, count);
    else load_eight<float>(y, from, at, whole, count);
}

static inline __device__ void store_eight_integers(float y[8], void *to, dtype type, int64_t at, bool whole, int count)
{
    if (type == DTYPE_I8) store_eight<int8_t>(y, to, at, whole, count);
    else if (type == DTYPE_U8) store_eight<uint8_t>(y, to, at, whole, count);
    else store_eight<float>(y, to, at, whole, count);
}

/* Adds a warp's sums of its WN channels over lanes, then over the block's warps, and
 * writes the block's row of `stats`. */
template <typename TILE>
static inline __device__ void store_stats(double *stats, float *shared, float sum[8], float square[8],
    const conv2d_gemm *g, int32_t group, int32_t tile_m, int32_t n0)
{
    constexpr int LANES = TILE::WN / 8;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, row = warp / TILE::WARPS_N,
        first = warp % TILE::WARPS_N * TILE::WN;
#pragma unroll
    for (int e = 0; e < 8; e++) {
        for (int offset = LANES; offset < WARP; offset *= 2) {
            sum[e] += ptx_shuffle_xor(sum[e], offset);
            square[e] += ptx_shuffle_xor(square[e], offset);
        }
    }
    __syncthreads(); /* other warps may still be reading their rows */
#pragma unroll
    for (int e = 0; e < 8; e++) {
        if (lane >= LANES) continue;
        shared[row * 2 * TILE::BN + first + lane * 8 + e] = sum[e];
        shared[(row * 2 + 1) * TILE::BN + first + lane * 8 + e] = square[e];
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * TILE::BN; i += TILE::THREADS) {
        int32_t n = n0 + i % TILE::BN;
        double total = 0;
        for (int r = 0; r < TILE::WARPS_M; r++) total += (double)shared[r * 2 * TILE::BN + i];
        if (n < g->n) stats[((int64_t)tile_m * 2 + i / TILE::BN) * g->out_pitch + group * g->n + n] = total;
    }
}

template <typename P, typename T, typename TILE>
static inline __device__ void store_tile(typename P::sum sum[TILE::MI][TILE::NI][4], unsigned char *bytes,
    const conv2d_gemm *g, const conv2d_output *out, double *stats, int32_t group, int32_t tile_m, int32_t n0)
{
    constexpr int PITCH = TILE::EPILOGUE_PITCH, LANES = TILE::WN / 8, ROWS = (int)WARP / LANES;
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, column = lane % LANES * 8;
    float *rows = (float *)bytes + warp * 16 * PITCH, column_sum[8] = {}, column_square[8] = {}, bias[8], scale[8];
    int32_t m0 = tile_m * TILE::BM + warp / TILE::WARPS_N * TILE::WM, n = n0 + warp % TILE::WARPS_N * TILE::WN + column;
    int count = g->n - n < 8 ? g->n - n : 8;
    bool whole = count == 8 && g->n % 8 == 0 && g->out_pitch % 8 == 0;
#pragma unroll
    for (int e = 0; e < 8; e++) {
        bias[e] = out->bias && e < count ? out->bias[group * g->n + n + e] : 0.0f;
        scale[e] = out->scale && e < count ? out->scale[group * g->n + n + e] : 1.0f;
    }
    __syncthreads(); /* the slices have been read */
#pragma unroll
    for (int i = 0; i < TILE::MI; i++) {
#pragma unroll
        for (int j = 0; j < TILE::NI; j++) {
            float *to = rows + lane / 4 * PITCH + j * 8 + lane % 4 * 2;
            *(pack<float, 2> *)to = pack<float, 2>{{(float)sum[i][j][0], (float)sum[i][j][1]}};
            *(pack<float, 2> *)(to + 8 * PITCH) = pack<float, 2>{{(float)sum[i][j][2], (float)sum[i][j][3]}};
        }
        ptx_warp_barrier();
        for (int r = lane / LANES; r < 16; r += ROWS) {
            int32_t m = m0 + i * 16 + r;
            /* Half of the lanes read their second quad first: 8 lanes 8 floats apart would meet twice in every bank. */
            const pack<float, 4> *quads = (const pack<float, 4> *)(rows + r * PITCH + column);
            bool second = lane & 4;
            pack<float, 4> one = quads[second], other = quads[!second];
            float y[8], add[8];
#pragma unroll
            for (int e = 0; e < 4; e++)
                y[e] = second ? other.at[e] : one.at[e], y[e + 4] = second ? one.at[e] : other.at[e];
            if (m >= g->m || count <= 0) continue;
            int64_t at = out_element(g, m) + group * g->n + n;
            if (out->add && P::INTEGER) load_eight_integers(add, out->add, out->add_type, at, whole, count);
            else if (out->add) load_eight<T>(add, out->add, at, whole, count);
#pragma unroll
            for (int e = 0; e < 8; e++) {
                if (out->bias) y[e] += bias[e];
                if (out->scale) y[e] *= scale[e];
                if (out->add) y[e] = fmaf(add[e], out->add_scale, y[e]);
            }
            activate_each<8>(y, out->act, out->alpha, out->beta);
            if (P::INTEGER) store_eight_integers(y, out->dst, out->dst_type, at, whole, count);
            else store_eight<T>(y, out->dst, at, whole, count);
            if constexpr (!P::INTEGER) {
#pragma unroll
                for (int e = 0; e < 8 && stats; e++) {
                    float v = e < count ? y[e] : 0.0f;
                    column_sum[e] += v;
                    column_square[e] = fmaf(v, v, column_square[e]);
                }
            }
        }
        ptx_warp_barrier();
    }
    if constexpr (!P::INTEGER)
        if (stats) store_stats<TILE>(stats, (float *)bytes, column_sum, column_square, g, group, tile_m, n0);
}

/* ------------------------------------------------------------------------------------------------ kernel */

template <typename P, typename T, typename TILE, mma_stage STAGE, bool POINT>
static __global__ void __launch_bounds__(TILE::THREADS) mma_kernel(conv2d_gemm g, conv2d_input in, conv2d_output out,
    double *__restrict__ stats, const T *__restrict__ src, const typename P::element *__restrict__ weight)
{
    typedef typename P::element E;
    constexpr int ELEMENTS = CHUNK / sizeof(E), DEPTH = SLICE / sizeof(E);
    SHARED_DYNAMIC(shared);
    int32_t down = (g.m + TILE::BM - 1) / TILE::BM, across = (g.n + TILE::BN - 1) / TILE::BN, tile_m, tile_n;
    int32_t group = blockIdx.x / (down * across), slices = (g.k + DEPTH - 1) / DEPTH;
    tile_at(blockIdx.x - group * down * across, down, across, &tile_m, &tile_n);
    const E *rows = weight + (int64_t)group * g.n * g.k_pitch;
    int32_t n0 = tile_n * TILE::BN;
    typename P::sum sum[TILE::MI][TILE::NI][4] = {};
    loader<TILE> l;
    loader_open<TILE, ELEMENTS, POINT>(&l, &g, group, tile_m * TILE::BM);
    if constexpr (STAGE == STAGE_COPY) {
#pragma unroll
        for (int s = 0; s < TILE::STAGES - 1; s++) {
            if (s < slices) copy_slice<TILE, E, POINT>(shared + s * TILE::STAGE_BYTES, &l, &g, src, rows, n0);
            ptx_cp_async_commit();
            loader_next<TILE, POINT>(&l, &g, DEPTH);
        }
        for (int32_t s = 0, read = 0, write = TILE::STAGES - 1; s < slices; s++) {
            ptx_cp_async_wait<TILE::STAGES - 2>();
            __syncthreads();
            if (s + TILE::STAGES - 1 < slices)
                copy_slice<TILE, E, POINT>(shared + write * TILE::STAGE_BYTES, &l, &g, src, rows, n0);
            ptx_cp_async_commit();
            loader_next<TILE, POINT>(&l, &g, DEPTH);
            multiply_slice<P, TILE, P::TF32>(sum, shared + read * TILE::STAGE_BYTES);
            read = read + 1 == TILE::STAGES ? 0 : read + 1;
            write = write + 1 == TILE::STAGES ? 0 : write + 1;
        }
        ptx_cp_async_wait<0>();
    } else {
        staged<TILE, T, E> s;
        if (slices) load_staged<TILE, T, E, STAGE>(&s, &l, &g, src, rows, n0);
        for (int32_t i = 0; i < slices; i++) {
            store_staged<TILE, T, P, STAGE>(shared + i % 2 * TILE::STAGE_BYTES, &s, &l, &g, &in, group);
            __syncthreads();
            loader_next<TILE, POINT>(&l, &g, DEPTH);
            if (i + 1 < slices) load_staged<TILE, T, E, STAGE>(&s, &l, &g, src, rows, n0);
            multiply_slice<P, TILE, false>(sum, shared + i % 2 * TILE::STAGE_BYTES);
        }
    }
    store_tile<P, T, TILE>(sum, shared, &g, &out, stats, group, tile_m, n0);
}

template <typename P, typename T, typename TILE, mma_stage STAGE, bool POINT = false>
static status mma_launch(const mma_call *c)
{
    size_t bytes = TILE::STAGE_BYTES * (STAGE == STAGE_COPY ? TILE::STAGES : 2);
    if (bytes < TILE::EPILOGUE_BYTES) bytes = TILE::EPILOGUE_BYTES;
    unsigned blocks = blocks_for(c->g.m, TILE::BM) * blocks_for(c->g.n, TILE::BN) * c->g.groups;
    if (blocks == 0) return OK;
    return launch(mma_kernel<P, T, TILE, STAGE, POINT>, dim3(blocks), dim3(TILE::THREADS), bytes, c->stream, c->g,
        c->in, c->out, c->stats, (const T *)c->src, (const typename P::element *)c->weight);
}

/* A 1x1 convolution with stride 1 and no padding, and its data gradient. */
static inline bool is_point(const conv2d_gemm *g)
{
    return g->taps_h == 1 && g->taps_w == 1 && g->step_h == 1 && g->step_w == 1 && g->first_h == 0 && g->first_w == 0 &&
           g->rows_h == g->in_h && g->rows_w == g->in_w;
}

template <typename P, typename TILE> static status mma_large(const mma_call *c)
{
    typedef typename P::element E;
    return is_point(&c->g) ? mma_launch<P, E, TILE, STAGE_COPY, true>(c) : mma_launch<P, E, TILE, STAGE_COPY>(c);
}

/* Tiles of STAGE_COPY. */
template <typename P> static status mma_copied(const mma_call *c)
{
    typedef typename P::element E;
    switch (c->tile) {
    case TILE_256_128: return mma_large<P, mma_tile<256, 128, 64, 64, 3>>(c);
    case TILE_128_128: return mma_large<P, mma_tile<128, 128, 64, 64, 3>>(c);
    case TILE_128_64: return mma_large<P, mma_tile<128, 64, 64, 32, 4>>(c);
    case TILE_64_64: return mma_launch<P, E, mma_tile<64, 64, 32, 32, 4>, STAGE_COPY>(c);
    default: return mma_launch<P, E, mma_tile<64, 32, 32, 16, 4>, STAGE_COPY>(c);
    }
}

constexpr uint32_t COPIED_TILES = (1 << TILE_COUNT) - 1, VECTOR_TILES = 1 << TILE_128_128 | 1 << TILE_64_64,
                   GATHER_TILES = 1 << TILE_64_64;

/* Registers hold a slice besides: more warps for the large tile. */
template <typename P, typename T> static status mma_vector(const mma_call *c)
{
    return c->tile == TILE_128_128 ? mma_launch<P, T, mma_tile<128, 128, 64, 32, 2>, STAGE_VECTOR>(c)
                                   : mma_launch<P, T, mma_tile<64, 64, 32, 32, 2>, STAGE_VECTOR>(c);
}

template <typename P, typename T> static status mma_gathered(const mma_call *c)
{
    return mma_launch<P, T, mma_tile<64, 64, 32, 32, 2>, STAGE_GATHER>(c);
}

#endif
