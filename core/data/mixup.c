#include "core/data/mixup.h"

#include <math.h>

/* Gamma(shape, 1): Marsaglia and Tsang, "A simple method for generating gamma variables", 2000; for shape < 1 by
 * Gamma(shape) = Gamma(shape + 1) * U^(1 / shape), kept as a logarithm because it underflows for small shapes. */
static double log_gamma_draw(rng *r, double shape)
{
    double boost = 0;
    if (shape < 1) {
        boost = log(1 - rng_uniform_double(r)) / shape;
        shape += 1;
    }
    double d = shape - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = rng_normal(r), v = 1 + c * x, u = 1 - rng_uniform_double(r);
        if (v <= 0) continue;
        v = v * v * v;
        if (log(u) < 0.5 * x * x + d - d * v + d * log(v)) return log(d * v) + boost;
    }
}

double mixup_draw(rng *r, double alpha)
{
    double a = log_gamma_draw(r, alpha), b = log_gamma_draw(r, alpha);
    /* max(A, B) / (A + B) */
    return 1 / (1 + exp(-fabs(a - b)));
}

void mixup_rows(float *rows, int64_t n, int64_t width, double lambda)
{
    float own = (float)lambda, other = (float)(1 - lambda);
    for (int64_t i = 0; i < n / 2; i++) {
        float *a = rows + i * width, *b = rows + (n - 1 - i) * width;
        for (int64_t k = 0; k < width; k++) {
            float x = a[k], y = b[k];
            a[k] = own * x + other * y;
            b[k] = own * y + other * x;
        }
    }
}
