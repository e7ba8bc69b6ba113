/* conv2d_gemm.h: blocked matrix products for convolutions without oneDNN. Private to kernels/cpu.
 *
 * Rows of A are pixels, gathered (im2col) a block of GEMM_DEPTH terms at a time; B are packed weights. Products of
 * i8 and u8 are formed in f32, too, which is exact: a block has at most 512 terms of at most 255 * 128, below 2^24;
 * the blocks are added as int32.
 */
#ifndef GRAFT_CPU_CONV2D_GEMM_H
#define GRAFT_CPU_CONV2D_GEMM_H

#include <math.h>
#include <string.h>

#include "kernels/cpu/epilogue.h"

/* The register tile: TILE_ROWS x TILE_COLS accumulators and one row of B fit the vector registers. */
#if defined CPU_ISA_avx512
enum { TILE_ROWS = 12, TILE_COLS = 32 };
#elif defined CPU_ISA_avx2
enum { TILE_ROWS = 6, TILE_COLS = 16 };
#else
enum { TILE_ROWS = 4, TILE_COLS = 8 };
#endif
enum { GEMM_DEPTH = 512, GEMM_ROWS = 48 };

/* Fused only where the hardware fuses: fmaf() is a slow call elsewhere. */
#ifdef __FMA__
#define GEMM_MADD(a, b, c) fmaf((a), (b), (c))
#else
#define GEMM_MADD(a, b, c) ((a) * (b) + (c))
#endif

/* out [TILE_ROWS, TILE_COLS] = a [TILE_ROWS, depth] (row stride lda) times b [depth, TILE_COLS]. */
static inline void gemm_tile(float *out, const float *a, int64_t lda, const float *b, int64_t depth)
{
    float sum[TILE_ROWS][TILE_COLS];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < TILE_COLS; c++) sum[r][c] = 0.0f;
    for (int64_t k = 0; k < depth; k++) {
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; r++) {
#pragma omp simd
            for (int c = 0; c < TILE_COLS; c++) sum[r][c] = GEMM_MADD(a[r * lda + k], b[k * TILE_COLS + c], sum[r][c]);
        }
    }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < TILE_COLS; c++) out[r * TILE_COLS + c] = sum[r][c];
}

/* sum [TILE_ROWS, TILE_COLS] (row stride ldc) += transpose of a [depth, TILE_ROWS] (row stride lda)
 * times b [depth, TILE_COLS] (ldb). */
static inline void gemm_tile_transposed(
    float *out, int64_t ldc, const float *a, int64_t lda, const float *b, int64_t ldb, int64_t depth)
{
    float sum[TILE_ROWS][TILE_COLS];
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < TILE_COLS; c++) sum[r][c] = 0.0f;
    for (int64_t k = 0; k < depth; k++) {
#pragma GCC unroll 16
        for (int r = 0; r < TILE_ROWS; r++) {
#pragma omp simd
            for (int c = 0; c < TILE_COLS; c++) sum[r][c] = GEMM_MADD(a[k * lda + r], b[k * ldb + c], sum[r][c]);
        }
    }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int c = 0; c < TILE_COLS; c++) out[r * ldc + c] += sum[r][c];
}
/* Terms [k, k + count) of output pixel `row` of group `g`, in the order of the weights: taps, then channels. Taps of a
 * window row are neighbours in memory where nothing lies between them. */
static inline void gemm_gather(
    float *a, const conv2d_desc *d, const void *src, int64_t g, int64_t row, int64_t k, int64_t count)
{
    int64_t icg = d->ic / d->groups, ox = row % d->ow, oy = row / d->ow % d->oh, n = row / (d->ow * d->oh);
    bool joined = d->groups == 1 && d->dil_w == 1;
    int64_t unit = joined ? d->kw * icg : icg;
    while (count > 0) {
        int64_t u = k / unit, from = k % unit, to = cpu_min(unit, from + count);
        int64_t i = joined ? u : u / d->kw, j = joined ? 0 : u % d->kw;
        int64_t iy = oy * d->sh - d->pt + i * d->dil_h, ix = ox * d->sw - d->pl + j * d->dil_w;
        int64_t low = ix < 0 ? -ix * icg : 0, high = (d->iw - ix) * icg; /* elements inside the image */
        if (iy < 0 || iy >= d->ih) high = 0;
        low = low < from ? from : cpu_min(low, to);
        high = high < low ? low : cpu_min(high, to);
        memset(a, 0, (size_t)(low - from) * sizeof *a);
        if (high > low)
            epilogue_load(a + (low - from), src, d->src_type, ((n * d->ih + iy) * d->iw + ix) * d->ic + g * icg + low,
                high - low);
        memset(a + (high - from), 0, (size_t)(to - high) * sizeof *a);
        a += to - from, k += to - from, count -= to - from;
    }
}

#endif
