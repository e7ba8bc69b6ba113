/* least_squares.h: linear layers from what goes in and what should come out. Private to prune/.
 *
 *     W, b = argmin  sum_rows |y - W x - b|^2 + ridge * mean_k(var x_k) * rows * |W - W0|^2
 *
 * Sums are in double; rows may come in any number of pieces, but always in the same order. Since W0 is admitted, the
 * first term never ends above its value at W0 (with the best b for it).
 *
 *     least_squares l;
 *     TRY_OUT(least_squares_init(&l, inputs, outputs));
 *     for (...) least_squares_add(&l, x, y, rows);
 *     TRY_OUT(least_squares_solve(&l, weight, shift, 1e-3, &fit));
 * out:
 *     least_squares_free(&l);
 */
#ifndef GRAFT_PRUNE_LEAST_SQUARES_H
#define GRAFT_PRUNE_LEAST_SQUARES_H

#include "core/base/arena.h"
#include "core/base/status.h"

typedef struct least_squares {
    arena memory;
    int64_t inputs, outputs, rows;
    double *gram;                             /* [inputs, inputs], lower part: sum x x'            */
    double *cross;                            /* [inputs, outputs]: sum x y'                       */
    double *in_sum, *out_sum, *out_square;    /* [inputs], [outputs], [outputs]                    */
} least_squares;

typedef struct least_squares_fit {
    /* mean square of y - W x - b over that of y about its mean: at W0 with b = 0, at the solution */
    double before, after;
} least_squares_fit;

status least_squares_init(least_squares *l, int64_t inputs, int64_t outputs);
void least_squares_free(least_squares *l); /* accepts a zeroed one */
/* x [rows, inputs], y [rows, outputs] */
void least_squares_add(least_squares *l, const float *x, const float *y, int64_t rows);
/* weight [outputs, inputs]: W0 on entry, W on return; shift [outputs]: b, or NULL: b = 0. ridge > 0; raised tenfold as
 * often as it takes when the sums are singular to double's precision. E_DIVERGED: sums are not finite. */
status least_squares_solve(least_squares *l, float *weight, double *shift, double ridge, least_squares_fit *fit);

/* covariance [inputs, inputs] of the rows. */
void least_squares_covariance(least_squares *l, double *covariance);
/* a [n, n], symmetric, not negative: its inverse with ridge times the mean of its diagonal added
 * to that. E_DIVERGED: not finite. */
status symmetric_inverse(double *a, int64_t n, double ridge);

#endif
