/* conv2d_mma_load.cuh: the loads of a slice of both factors from global to shared memory, by cp.async or through
 * registers: the three stages of conv2d_mma.cuh. */
#ifndef GRAFT_CUDA_CONV2D_MMA_LOAD_CUH
#define GRAFT_CUDA_CONV2D_MMA_LOAD_CUH

#include "kernels/cuda/conv2d_mma_product.cuh"

constexpr int MAX_WINDOW = 16; /* taps along an axis: a mask has 16 bits for each */
typedef enum mma_stage { STAGE_COPY, STAGE_VECTOR, STAGE_GATHER } mma_stage;

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
    uint32_t offset = POINT ? l->k : tap_offset(g, l->ty, l->tx, l->c),
             bits = POINT ? 1 : some ? tap_bits(l->ty, l->tx) : 0;
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

#endif
