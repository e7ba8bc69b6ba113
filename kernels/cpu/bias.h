/* bias.h: the gradient of a convolution's bias. Private to kernels/cpu. */
#ifndef GRAFT_CPU_BIAS_H
#define GRAFT_CPU_BIAS_H

#include "kernels/kernels.h"

enum { BIAS_BANDS = 32 }; /* fixed, so that dbias does not depend on the number of threads */

/* Bytes of `partial`, a multiple of 64. */
static inline size_t bias_scratch_bytes(const conv2d_desc *d)
{
    return ((size_t)d->oc * BIAS_BANDS * sizeof(double) + 63) / 64 * 64;
}

/* dbias[o] += sum over pixels of ddst [rows, oc]: in double per band of rows, the bands in order. */
static inline void bias_accumulate(const conv2d_desc *d, float *dbias, const float *ddst, double *partial)
{
    int64_t rows = d->n * d->oh * d->ow, oc = d->oc;
#pragma omp parallel for schedule(static) if (rows * oc > 32768)
    for (int64_t band = 0; band < BIAS_BANDS; band++) {
        double *sum = partial + band * oc;
        for (int64_t o = 0; o < oc; o++) sum[o] = 0.0;
        for (int64_t r = rows * band / BIAS_BANDS; r < rows * (band + 1) / BIAS_BANDS; r++)
            for (int64_t o = 0; o < oc; o++) sum[o] += (double)ddst[r * oc + o];
    }
    for (int64_t o = 0; o < oc; o++) {
        double sum = 0.0;
        for (int64_t band = 0; band < BIAS_BANDS; band++) sum += partial[band * oc + o];
        dbias[o] += (float)sum;
    }
}

#endif
