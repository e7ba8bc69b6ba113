/* Batch normalisation's passes over activations, f32: each reads and writes what it must once and is bound by memory
 * bandwidth. The per-channel steps between them are too small to matter: ref does those.
 *
 * Sums: four rows are added in f32 as a tree, the trees in double per band of rows, the bands in order. The number of
 * bands depends on the shape only. */
#include "kernels/cpu/isa.h"

static const char *refuse(const void *desc)
{
    const bn_desc *d = desc;
    return d->type == DTYPE_F32 ? CPU_REFUSE() : "f32 only";
}

enum { MAX_BANDS = 64 };

static int64_t band_count(const bn_desc *d)
{
    int64_t bands = d->rows * d->channels / 8192;
    return bands < 1 ? 1 : bands > MAX_BANDS ? MAX_BANDS : cpu_min(bands, d->rows);
}

static size_t stats_scratch_bytes(const void *desc, const void *state)
{
    (void)state;
    const bn_desc *d = desc;
    return (size_t)(band_count(d) * d->channels * 2) * sizeof(double);
}

static void combine(double *stats, const double *partial, const bn_desc *d)
{
    int64_t bands = band_count(d), width = 2 * d->channels;
    for (int64_t i = 0; i < width; i++) stats[i] = 0.0;
    for (int64_t b = 0; b < bands; b++)
        for (int64_t i = 0; i < width; i++) stats[i] += partial[b * width + i];
}

static void stats_band(double *sum, double *square, const float *x, int64_t rows, int64_t c)
{
    for (int64_t i = 0; i < c; i++) sum[i] = square[i] = 0.0;
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4, x += 4 * c) {
        const float *x1 = x + c, *x2 = x1 + c, *x3 = x2 + c;
#pragma omp simd
        for (int64_t i = 0; i < c; i++) {
            sum[i] += (double)((x[i] + x1[i]) + (x2[i] + x3[i]));
            square[i] += (double)((x[i] * x[i] + x1[i] * x1[i]) + (x2[i] * x2[i] + x3[i] * x3[i]));
        }
    }
    for (; r < rows; r++, x += c) {
#pragma omp simd
        for (int64_t i = 0; i < c; i++) {
            sum[i] += (double)x[i];
            square[i] += (double)x[i] * (double)x[i];
        }
    }
}

static status stats_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    const float *src = call->in[0];
    double *partial = call->scratch;
    int64_t c = d->channels, bands = band_count(d);
#pragma omp parallel for schedule(static) if (bands > 1)
    for (int64_t b = 0; b < bands; b++) {
        int64_t from = d->rows * b / bands, to = d->rows * (b + 1) / bands;
        stats_band(partial + 2 * b * c, partial + (2 * b + 1) * c, src + from * c, to - from, c);
    }
    combine(call->out[0], partial, d);
    return OK;
}

static void grad_stats_band(double *sum, double *product, const float *g, const float *x, const float *y, int64_t rows,
                            const bn_desc *d)
{
    int64_t c = d->channels;
    float alpha = d->alpha, beta = d->beta;
    for (int64_t i = 0; i < c; i++) sum[i] = product[i] = 0.0;
    if (d->act == ACT_NONE) y = x; /* never looked at */
    int64_t r = 0;
#define MASKED(kind, k) cpu_activate_gradient(g[(k) * c + i], y[(k) * c + i], kind, alpha, beta)
#define CASE(kind)                                                                                                     \
    case kind:                                                                                                         \
        for (; r + 4 <= rows; r += 4, x += 4 * c, g += 4 * c, y += 4 * c) {                                            \
            _Pragma("omp simd") for (int64_t i = 0; i < c; i++)                                                        \
            {                                                                                                          \
                float g0 = MASKED(kind, 0), g1 = MASKED(kind, 1), g2 = MASKED(kind, 2), g3 = MASKED(kind, 3);          \
                sum[i] += (double)((g0 + g1) + (g2 + g3));                                                             \
                product[i] += (double)((g0 * x[i] + g1 * x[c + i]) + (g2 * x[2 * c + i] + g3 * x[3 * c + i]));         \
            }                                                                                                          \
        }                                                                                                              \
        for (; r < rows; r++, x += c, g += c, y += c) {                                                                \
            _Pragma("omp simd") for (int64_t i = 0; i < c; i++)                                                        \
            {                                                                                                          \
                float g0 = MASKED(kind, 0);                                                                            \
                sum[i] += (double)g0;                                                                                  \
                product[i] += (double)g0 * (double)x[i];                                                               \
            }                                                                                                          \
        }                                                                                                              \
        break;
    switch (d->act) {
        CPU_ACT_CASES(CASE)
    default: break;
    }
#undef CASE
#undef MASKED
}

static const char *grad_refuse(const void *desc)
{
    const bn_desc *d = desc;
    if (!cpu_act_is_simple(d->act) || (d->act == ACT_LEAKY && d->alpha < 0.0f))
        return "the activation cannot be told from its output";
    if (d->recompute) return "no normalised activation made again";
    return refuse(desc);
}

static status grad_stats_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    const float *ddst = call->in[0], *src = call->in[1], *dst = call->in[2];
    double *partial = call->scratch;
    int64_t c = d->channels, bands = band_count(d);
#pragma omp parallel for schedule(static) if (bands > 1)
    for (int64_t b = 0; b < bands; b++) {
        int64_t from = d->rows * b / bands, to = d->rows * (b + 1) / bands;
        grad_stats_band(partial + 2 * b * c, partial + (2 * b + 1) * c, ddst + from * c, src + from * c,
                        d->act == ACT_NONE ? NULL : dst + from * c, to - from, d);
    }
    combine(call->out[0], partial, d);
    return OK;
}

/* Rows per piece of the elementwise passes. */
static int64_t piece_rows(const bn_desc *d)
{
    int64_t rows = CPU_CHUNK / d->channels;
    return rows < 1 ? 1 : rows;
}

static void apply_rows(
    float *dst, const float *src, const float *add, const float *coef, int64_t rows, const bn_desc *d)
{
    int64_t c = d->channels;
    const float *a = coef, *b = coef + c;
    float alpha = d->alpha, beta = d->beta;
#define ROWS(kind, value)                                                                                              \
    for (int64_t r = 0; r < rows; r++, dst += c, src += c) {                                                           \
        _Pragma("omp simd") for (int64_t i = 0; i < c; i++) dst[i] = cpu_activate((value), kind, alpha, beta);         \
    }
#define ROWS_ADD(kind)                                                                                                 \
    for (int64_t r = 0; r < rows; r++, dst += c, src += c, add += c) {                                                 \
        _Pragma("omp simd") for (int64_t i = 0; i < c; i++) dst[i] =                                                   \
            cpu_activate(a[i] * src[i] + b[i] + add[i], kind, alpha, beta);                                            \
    }
#define CASE(kind)                                                                                                     \
    case kind:                                                                                                         \
        if (add)                                                                                                       \
            ROWS_ADD(kind)                                                                                             \
        else                                                                                                           \
            ROWS(kind, a[i] * src[i] + b[i])                                                                           \
        break;
    switch (d->act) {
        CPU_ACT_CASES(CASE)
    default: break;
    }
#undef CASE
#undef ROWS_ADD
#undef ROWS
}

static status apply_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    float *dst = call->out[0];
    const float *src = call->in[0], *coef = call->in[1], *add = d->has_add ? call->in[2] : NULL;
    int64_t c = d->channels, step = piece_rows(d);
#pragma omp parallel for schedule(static) if (d->rows * c > CPU_SERIAL)
    for (int64_t from = 0; from < d->rows; from += step)
        apply_rows(dst + from * c, src + from * c, add ? add + from * c : NULL, coef, cpu_min(step, d->rows - from), d);
    return OK;
}

/* dsrc = p g + q x + r; where frozen q = r = 0 and src is not read. */
static void grad_apply_rows(float *dsrc, float *dadd, const float *ddst, const float *src, const float *dst,
                            const float *coef, int64_t rows, const bn_desc *d)
{
    int64_t c = d->channels;
    const float *p = coef, *q = coef + c, *s = coef + 2 * c;
    float alpha = d->alpha, beta = d->beta;
    bool plain = d->frozen;
#define ROWS(kind, ...)                                                                                                \
    for (int64_t r = 0; r < rows; r++) {                                                                               \
        _Pragma("omp simd") for (int64_t i = 0; i < c; i++)                                                            \
        {                                                                                                              \
            float g = cpu_activate_gradient(ddst[r * c + i], (kind) == ACT_NONE ? 0.0f : dst[r * c + i], kind, alpha,  \
                                            beta);                                                                     \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    }
#define CASE(kind)                                                                                                     \
    case kind:                                                                                                         \
        if (plain && dadd)                                                                                             \
            ROWS(kind, dsrc[r * c + i] = p[i] * g; dadd[r * c + i] = g;)                                               \
        else if (plain)                                                                                                \
            ROWS(kind, dsrc[r * c + i] = p[i] * g;)                                                                    \
        else if (dadd)                                                                                                 \
            ROWS(kind, dsrc[r * c + i] = p[i] * g + q[i] * src[r * c + i] + s[i]; dadd[r * c + i] = g;)                \
        else                                                                                                           \
            ROWS(kind, dsrc[r * c + i] = p[i] * g + q[i] * src[r * c + i] + s[i];)                                     \
        break;
    switch (d->act) {
        CPU_ACT_CASES(CASE)
    default: break;
    }
#undef CASE
#undef ROWS
}

static status grad_apply_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    float *dsrc = call->out[0], *dadd = call->out[1];
    const float *ddst = call->in[0], *src = call->in[1], *dst = call->in[2], *coef = call->in[3];
    int64_t c = d->channels, step = piece_rows(d);
#pragma omp parallel for schedule(static) if (d->rows * c > CPU_SERIAL)
    for (int64_t from = 0; from < d->rows; from += step) {
        int64_t at = from * c;
        grad_apply_rows(dsrc + at, dadd ? dadd + at : NULL, ddst + at, src + at, dst ? dst + at : NULL, coef,
                        cpu_min(step, d->rows - from), d);
    }
    return OK;
}

CPU_KERNEL(bn_stats, OP_BN_STATS, .refuse = refuse, .scratch_bytes = stats_scratch_bytes, .run = stats_run);
CPU_KERNEL(bn_apply, OP_BN_APPLY, .refuse = grad_refuse, .run = apply_run);
CPU_KERNEL(bn_grad_stats, OP_BN_GRAD_STATS, .refuse = grad_refuse, .scratch_bytes = stats_scratch_bytes,
    .run = grad_stats_run);
CPU_KERNEL(bn_grad_apply, OP_BN_GRAD_APPLY, .refuse = grad_refuse, .run = grad_apply_run);
