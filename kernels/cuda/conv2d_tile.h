/* conv2d_tile.h: which tile a product on tensor cores gets: a pure function of its shape and the GPU. Plain C, so
 * that it is tested without one. */
#ifndef GRAFT_CUDA_CONV2D_TILE_H
#define GRAFT_CUDA_CONV2D_TILE_H

#include <stdint.h>

/* Rows x columns of a block's results, best use of the tensor cores first. */
typedef enum conv2d_tile { TILE_256_128, TILE_128_128, TILE_128_64, TILE_64_64, TILE_64_32, TILE_COUNT } conv2d_tile;

/* The tile of least time = rounds * work of a tile / efficiency, among those whose bit is set in `allowed`; ties go to
 * the larger. rounds: tiles that the busiest processor computes. The efficiencies are estimates of how well a warp's
 * tile hides its loads: a warp reads (WM + WN) / (WM * WN) values of shared memory per product. */
static inline conv2d_tile conv2d_choose_tile(int64_t m, int64_t n, int64_t groups, int32_t processors, uint32_t allowed)
{
    static const struct { int32_t bm, bn; double efficiency; } tiles[TILE_COUNT] = {
        {256, 128, 1.0}, {128, 128, 0.97}, {128, 64, 0.85}, {64, 64, 0.7}, {64, 32, 0.5}};
    int best = -1;
    double best_time = 0;
    for (int t = 0; t < TILE_COUNT; t++) {
        if (!(allowed >> t & 1)) continue;
        int64_t count = (m + tiles[t].bm - 1) / tiles[t].bm * ((n + tiles[t].bn - 1) / tiles[t].bn) * groups;
        double time = (double)((count + processors - 1) / processors) * tiles[t].bm * tiles[t].bn / tiles[t].efficiency;
        if (best < 0 || time < best_time) best = t, best_time = time;
    }
    return (conv2d_tile)best;
}

#endif
