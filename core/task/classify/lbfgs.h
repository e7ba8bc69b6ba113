/* lbfgs.h: the minimum of a smooth function of many numbers, by L-BFGS (Nocedal, Updating quasi-Newton matrices with
 * limited storage, 1980; two-loop recursion) with a backtracking line search (Armijo's condition). Deterministic: the
 * same function gives the same bits.
 *
 *     status f(void *context, const double *x, double *value, double *gradient);
 *     lbfgs_result r;
 *     const lbfgs_options o = {.n = n, .history = 10, .max_iterations = 200, .tolerance = 1e-5};
 *     TRY(lbfgs_minimise(x, &o, f, context, &r));
 */
#ifndef GRAFT_TASK_CLASSIFY_LBFGS_H
#define GRAFT_TASK_CLASSIFY_LBFGS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/status.h"

typedef status lbfgs_fn(void *context, const double *x, double *value, double *gradient);

typedef struct lbfgs_options {
    int64_t n;
    int32_t history;        /* pairs kept, 2 * n doubles each                       */
    int32_t max_iterations;
    double tolerance;       /* done when no component of the gradient is larger     */
} lbfgs_options;

typedef struct lbfgs_result {
    double value, largest_gradient;
    int32_t iterations, evaluations;
    bool converged; /* false: max_iterations, or no step lowers the value any more (its rounding is reached) */
} lbfgs_result;

/* x [n]: start and result. E_MEMORY, or what the function fails with. */
status lbfgs_minimise(double *x, const lbfgs_options *o, lbfgs_fn *function, void *context, lbfgs_result *r);

#endif
