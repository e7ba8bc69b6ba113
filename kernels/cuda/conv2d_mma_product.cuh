/* conv2d_mma_product.cuh: the product of one slice on tensor cores: the mma of each pair of types, the tile of a block,
 * where its rows lie in shared memory, and the loop over a slice's fragments. conv2d_mma.cuh describes the whole. */
#ifndef GRAFT_CUDA_CONV2D_MMA_PRODUCT_CUH
#define GRAFT_CUDA_CONV2D_MMA_PRODUCT_CUH

#include "kernels/cuda/conv2d.cuh"

constexpr int CHUNK = 16, SLICE = 64;

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
    /* STAGES are those of STAGE_COPY; the others have two. */
    static constexpr int BM = BM_, BN = BN_, WM = WM_, WN = WN_, STAGES = STAGES_;
    static constexpr int WARPS_M = BM / WM, WARPS_N = BN / WN, THREADS = WARPS_M * WARPS_N * (int)WARP, MI = WM / 16,
                         NI = WN / 8;
    /* Rows that the block loads at a time: a thread keeps its chunk. */
    static constexpr int LOADERS = THREADS / (SLICE / CHUNK);
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

#endif
