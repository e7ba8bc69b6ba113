/* conv2d_mma_store.cuh: the epilogue of a tile and its sums of channels, from a warp's fragments through shared memory
 * to global memory in 16-byte accesses. conv2d_mma.cuh describes the whole. */
#ifndef GRAFT_CUDA_CONV2D_MMA_STORE_CUH
#define GRAFT_CUDA_CONV2D_MMA_STORE_CUH

#include "kernels/cuda/conv2d_mma_product.cuh"

/* Eight neighbours of a tensor, 16 bytes (i8: 8) at a time; `whole`: aligned and all of them inside, else the first
 * `count`. */
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

/* Adds a warp's sums of its WN channels over lanes, then over the block's warps, and writes the block's row of
 * `stats`. */
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

#endif
