#include "prune/least_squares.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

enum { BLOCK = 8 };

status least_squares_init(least_squares *l, int64_t inputs, int64_t outputs)
{
    *l = (least_squares){.inputs = inputs, .outputs = outputs};
    l->gram = ARENA_ARRAY(&l->memory, double, inputs * inputs);
    l->cross = ARENA_ARRAY(&l->memory, double, inputs * outputs);
    l->in_sum = ARENA_ARRAY(&l->memory, double, inputs);
    l->out_sum = ARENA_ARRAY(&l->memory, double, outputs);
    l->out_square = ARENA_ARRAY(&l->memory, double, outputs);
    if (!l->gram || !l->cross || !l->in_sum || !l->out_sum || !l->out_square)
        return FAIL_MEMORY(inputs * (inputs + outputs) * 8);
    return OK;
}

void least_squares_free(least_squares *l)
{
    arena_free(&l->memory);
    *l = (least_squares){0};
}

/* sum[j] += a[0] * y[0][j] + ...: eight rows in one pass over the sums, which are what memory is read for. */
static void add_products(double *restrict sum, const double *a, const float *y, int64_t stride, int64_t count)
{
    int64_t j = 0;
    for (; j + BLOCK <= count; j += BLOCK) {
        double s[BLOCK];
        for (int64_t q = 0; q < BLOCK; q++) s[q] = sum[j + q];
        for (int64_t r = 0; r < BLOCK; r++)
            for (int64_t q = 0; q < BLOCK; q++) s[q] += a[r] * y[r * stride + j + q];
        for (int64_t q = 0; q < BLOCK; q++) sum[j + q] = s[q];
    }
    for (; j < count; j++)
        for (int64_t r = 0; r < BLOCK; r++) sum[j] += a[r] * y[r * stride + j];
}

static void add_block(least_squares *l, const float *x, const float *y)
{
    double a[BLOCK];
    for (int64_t i = 0; i < l->inputs; i++) {
        for (int64_t r = 0; r < BLOCK; r++) {
            a[r] = x[r * l->inputs + i];
            l->in_sum[i] += a[r];
        }
        add_products(l->gram + i * l->inputs, a, x, l->inputs, i + 1);
        add_products(l->cross + i * l->outputs, a, y, l->outputs, l->outputs);
    }
}

static void add_row(least_squares *l, const float *x, const float *y)
{
    for (int64_t i = 0; i < l->inputs; i++) {
        double a = x[i];
        l->in_sum[i] += a;
        for (int64_t j = 0; j <= i; j++) l->gram[i * l->inputs + j] += a * x[j];
        for (int64_t j = 0; j < l->outputs; j++) l->cross[i * l->outputs + j] += a * y[j];
    }
}

void least_squares_add(least_squares *l, const float *x, const float *y, int64_t rows)
{
    int64_t r = 0;
    for (; r + BLOCK <= rows; r += BLOCK) add_block(l, x + r * l->inputs, y + r * l->outputs);
    for (; r < rows; r++) add_row(l, x + r * l->inputs, y + r * l->outputs);
    for (r = 0; r < rows; r++)
        for (int64_t j = 0; j < l->outputs; j++) {
            double v = y[r * l->outputs + j];
            l->out_sum[j] += v, l->out_square[j] += v * v;
        }
    l->rows += rows;
}

/* Lower triangle in place; false when a pivot vanishes. */
static bool cholesky(double *a, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double *ri = a + i * n;
        for (int64_t j = 0; j <= i; j++) {
            const double *rj = a + j * n;
            double s = ri[j];
            for (int64_t k = 0; k < j; k++) s -= ri[k] * rj[k];
            if (j < i) ri[j] = s / rj[j];
            else if (s > 0 && isfinite(s)) ri[i] = sqrt(s);
            else return false;
        }
    }
    return true;
}

/* x [n, m]: L L' x = b in place. */
static void substitute(const double *lower, double *x, int64_t n, int64_t m)
{
    for (int64_t i = 0; i < n; i++) {
        for (int64_t k = 0; k < i; k++)
            for (int64_t c = 0; c < m; c++) x[i * m + c] -= lower[i * n + k] * x[k * m + c];
        for (int64_t c = 0; c < m; c++) x[i * m + c] /= lower[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t k = i + 1; k < n; k++)
            for (int64_t c = 0; c < m; c++) x[i * m + c] -= lower[k * n + i] * x[k * m + c];
        for (int64_t c = 0; c < m; c++) x[i * m + c] /= lower[i * n + i];
    }
}

/* Sums about the means when a shift is fitted; both triangles of gram. */
static void centre(least_squares *l, bool about_means)
{
    int64_t in = l->inputs, out = l->outputs;
    double part = about_means ? 1 / (double)l->rows : 0;
    for (int64_t i = 0; i < in; i++) {
        for (int64_t j = 0; j <= i; j++) {
            l->gram[i * in + j] -= l->in_sum[i] * l->in_sum[j] * part;
            l->gram[j * in + i] = l->gram[i * in + j];
        }
        for (int64_t j = 0; j < out; j++) l->cross[i * out + j] -= l->in_sum[i] * l->out_sum[j] * part;
    }
}

/* residual [inputs, outputs] = X'Y - X'X W'; returns sum over outputs of W X'X W' - 2 W X'Y,
 * W's part of the squared error. */
static double find_residual(const least_squares *l, const float *weight, double *residual)
{
    int64_t in = l->inputs, out = l->outputs;
    double square = 0;
    memcpy(residual, l->cross, (size_t)(in * out) * sizeof *residual);
    for (int64_t i = 0; i < in; i++)
        for (int64_t o = 0; o < out; o++) {
            const double *g = l->gram + i * in;
            const float *w = weight + o * in;
            double s = 0;
            for (int64_t k = 0; k < in; k++) s += g[k] * w[k];
            residual[i * out + o] -= s;
            square -= w[i] * (residual[i * out + o] + l->cross[i * out + o]);
        }
    return square;
}

/* What b = 0 costs: rows * |mean of y - W x|^2. */
static double offset_square(const least_squares *l, const float *weight)
{
    double square = 0;
    for (int64_t o = 0; o < l->outputs; o++) {
        double s = l->out_sum[o];
        for (int64_t k = 0; k < l->inputs; k++) s -= weight[o * l->inputs + k] * l->in_sum[k];
        square += s * s / (double)l->rows;
    }
    return square;
}

/* a x = b in place, x [n, m], a with ridge times its diagonal's mean on it. */
static status solve(const double *a, double *x, int64_t n, int64_t m, double ridge, arena *memory)
{
    double mean = 0;
    double *lower = ARENA_ARRAY(memory, double, n * n);
    if (!lower) return FAIL_MEMORY(n * n * 8);
    for (int64_t i = 0; i < n; i++) mean += a[i * n + i] / (double)n;
    if (!isfinite(mean)) return FAIL(E_DIVERGED, "a layer's inputs are not finite: the network cannot be fitted");
    if (mean <= 0) { /* inputs that never change: nothing to learn from */
        memset(x, 0, (size_t)(n * m) * sizeof *x);
        return OK;
    }
    for (bool done = false; !done; ridge *= 10) {
        if (!isfinite(ridge)) return FAIL(E_DIVERGED, "a layer's least squares have no solution");
        memcpy(lower, a, (size_t)(n * n) * sizeof *lower);
        for (int64_t i = 0; i < n; i++) lower[i * n + i] += ridge * mean;
        done = cholesky(lower, n);
    }
    substitute(lower, x, n, m);
    return OK;
}

void least_squares_covariance(least_squares *l, double *covariance)
{
    centre(l, true);
    for (int64_t i = 0; i < l->inputs * l->inputs; i++) covariance[i] = l->gram[i] / (double)l->rows;
}

status symmetric_inverse(double *a, int64_t n, double ridge)
{
    arena memory = {0};
    double *inverse = ARENA_ARRAY(&memory, double, n * n);
    status result = inverse ? OK : FAIL_MEMORY(n * n * 8);
    for (int64_t i = 0; inverse && i < n; i++) inverse[i * n + i] = 1;
    if (result == OK) result = solve(a, inverse, n, n, ridge, &memory);
    if (result == OK) memcpy(a, inverse, (size_t)(n * n) * sizeof *a);
    arena_free(&memory);
    return result;
}

static void move_weights(const least_squares *l, float *weight, const double *delta, double *shift)
{
    int64_t in = l->inputs, out = l->outputs;
    for (int64_t o = 0; o < out; o++) {
        for (int64_t k = 0; k < in; k++) weight[o * in + k] = (float)(weight[o * in + k] + delta[k * out + o]);
        if (!shift) continue;
        shift[o] = l->out_sum[o] / (double)l->rows;
        for (int64_t k = 0; k < in; k++) shift[o] -= weight[o * in + k] * l->in_sum[k] / (double)l->rows;
    }
}

status least_squares_solve(least_squares *l, float *weight, double *shift, double ridge, least_squares_fit *fit)
{
    double *delta = ARENA_ARRAY(&l->memory, double, l->inputs * l->outputs), total = 0, spread = 0;
    if (!delta) return FAIL_MEMORY(l->inputs * l->outputs * 8);
    if (l->rows == 0) return FAIL(E_INTERNAL, "least squares without rows");
    double offset = shift ? offset_square(l, weight) : 0;
    centre(l, shift != NULL);
    for (int64_t o = 0; o < l->outputs; o++) {
        double about = l->out_square[o] - l->out_sum[o] * l->out_sum[o] / (double)l->rows;
        total += shift ? about : l->out_square[o];
        spread += about;
    }
    fit->before = total + offset + find_residual(l, weight, delta);
    TRY(solve(l->gram, delta, l->inputs, l->outputs, ridge, &l->memory));
    move_weights(l, weight, delta, shift);
    fit->after = total + find_residual(l, weight, delta);
    spread = spread > 0 ? spread : 1;
    fit->before /= spread, fit->after /= spread;
    return OK;
}
