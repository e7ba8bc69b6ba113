/* batch_norm.c: Ioffe and Szegedy 2015 in the three steps of kernels.h. Channels outside, rows
 * inside: every sum is one double. */
#include "kernels/ref/ref.h"

#include <math.h>

static const char *tensor_refuse(const void *desc)
{
    const bn_desc *d = desc;
    int64_t dim[] = {d->rows, d->channels};
    if (!ref_dims_ok(dim, 2)) return "rows or channels below 1 or too large";
    if (!ref_is_float(d->type)) return "the type is no float";
    if (!ref_act_recoverable(d->act, d->alpha)) return "the activation cannot be told from its output";
    return NULL;
}

static const char *finalise_refuse(const void *desc)
{
    const bn_desc *d = desc;
    const char *why = tensor_refuse(desc);
    if (why) return why;
    if (!(d->count >= 1)) return "count below 1";
    if (!(d->epsilon >= 0)) return "epsilon below 0";
    if (!(d->momentum >= 0 && d->momentum <= 1)) return "momentum not in 0 .. 1";
    return NULL;
}

static double param(const bn_desc *d, const void *data, int64_t i)
{
    return dtype_load(data, ref_param_type(d->type), i);
}

static void set_param(const bn_desc *d, void *data, int64_t i, double value)
{
    dtype_store(data, ref_param_type(d->type), i, value);
}

static void set_coef(const kernel_call *call, int64_t c, double gamma, double beta, double mean, double var)
{
    const bn_desc *d = call->desc;
    double rstd = 1 / sqrt(var + (double)d->epsilon);
    set_param(d, call->out[0], c, gamma * rstd);
    set_param(d, call->out[0], d->channels + c, beta - mean * gamma * rstd);
    set_param(d, call->out[1], c, mean);
    set_param(d, call->out[1], d->channels + c, rstd);
}

static status stats_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    double *stats = call->out[0];
    for (int64_t c = 0; c < d->channels; c++) {
        double sum = 0, squares = 0;
        for (int64_t r = 0; r < d->rows; r++) {
            double x = dtype_load(call->in[0], d->type, r * d->channels + c);
            sum += x;
            squares += x * x;
        }
        stats[c] = sum;
        stats[d->channels + c] = squares;
    }
    return OK;
}

static status finalise_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    const double *stats = call->in[0];
    double m = (double)d->momentum;
    for (int64_t c = 0; c < d->channels; c++) {
        double mean = stats[c] / d->count, var = stats[d->channels + c] / d->count - mean * mean;
        if (var < 0) var = 0; /* of equal values, by rounding */
        double unbiased = d->count > 1 ? var * (d->count / (d->count - 1)) : var;
        set_coef(call, c, param(d, call->in[1], c), param(d, call->in[2], c), mean, var);
        set_param(d, call->out[2], c, (1 - m) * param(d, call->out[2], c) + m * mean);
        set_param(d, call->out[3], c, (1 - m) * param(d, call->out[3], c) + m * unbiased);
    }
    return OK;
}

static status coef_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    for (int64_t c = 0; c < d->channels; c++)
        set_coef(call, c, param(d, call->in[0], c), param(d, call->in[1], c), param(d, call->in[2], c),
            param(d, call->in[3], c));
    return OK;
}

static status apply_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    for (int64_t c = 0; c < d->channels; c++) {
        double a = param(d, call->in[1], c), shift = param(d, call->in[1], d->channels + c);
        for (int64_t r = 0; r < d->rows; r++) {
            int64_t i = r * d->channels + c;
            double y = a * dtype_load(call->in[0], d->type, i) + shift;
            if (d->has_add) y += dtype_load(call->in[2], d->type, i);
            dtype_store(call->out[0], d->type, i, ref_act(d->act, d->alpha, d->beta, y));
        }
    }
    return OK;
}

/* Element i of dst, or what is defined to have been there: in f32, so that slopes at kinks agree. */
static double output(const kernel_call *call, const void *coef, int64_t i)
{
    const bn_desc *d = call->desc;
    int64_t c = i % d->channels;
    double stored;
    if (!d->recompute) return dtype_load(call->in[2], d->type, i);
    double a = param(d, coef, c), x = dtype_load(call->in[1], d->type, i), shift = param(d, coef, d->channels + c);
    if (d->type == DTYPE_F64) dtype_store(&stored, d->type, 0, ref_act(d->act, d->alpha, d->beta, a * x + shift));
    else
        dtype_store(
            &stored, d->type, 0, ref_act_f32(d->act, d->alpha, d->beta, fmaf((float)a, (float)x, (float)shift)));
    return dtype_load(&stored, d->type, 0);
}

/* ddst through the activation. */
static double gradient_inside(const kernel_call *call, const void *coef, int64_t i)
{
    const bn_desc *d = call->desc;
    double g = dtype_load(call->in[0], d->type, i);
    if (d->act == ACT_NONE) return g;
    return g * ref_act_grad_dst(d->act, d->alpha, d->beta, output(call, coef, i));
}

static status grad_stats_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    double *stats = call->out[0];
    for (int64_t c = 0; c < d->channels; c++) {
        double sum = 0, products = 0;
        for (int64_t r = 0; r < d->rows; r++) {
            int64_t i = r * d->channels + c;
            double g = gradient_inside(call, call->in[3], i);
            sum += g;
            products += g * dtype_load(call->in[1], d->type, i);
        }
        stats[c] = sum;
        stats[d->channels + c] = products;
    }
    return OK;
}

/* With x^ = (x - mean) rstd:  dsrc = gamma rstd (g - sum(g)/count - x^ sum(g x^)/count), sorted by g, x and 1. */
static status grad_finalise_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    const double *stats = call->in[0];
    int64_t channels = d->channels;
    for (int64_t c = 0; c < channels; c++) {
        double mean = param(d, call->in[2], c), rstd = param(d, call->in[2], channels + c);
        double dbeta = stats ? stats[c] : 0, dgamma = stats ? rstd * (stats[channels + c] - mean * dbeta) : 0;
        double p = param(d, call->in[1], c) * rstd;
        double q = d->frozen ? 0 : -p * rstd * dgamma / d->count;
        double r = d->frozen ? 0 : -p * dbeta / d->count - q * mean;
        set_param(d, call->out[0], c, p);
        set_param(d, call->out[0], channels + c, q);
        set_param(d, call->out[0], 2 * channels + c, r);
        if (call->out[1]) set_param(d, call->out[1], c, param(d, call->out[1], c) + dgamma);
        if (call->out[2]) set_param(d, call->out[2], c, param(d, call->out[2], c) + dbeta);
    }
    return OK;
}

static status grad_apply_run(const kernel_call *call)
{
    const bn_desc *d = call->desc;
    for (int64_t c = 0; c < d->channels; c++) {
        double p = param(d, call->in[3], c), q = param(d, call->in[3], d->channels + c);
        double shift = param(d, call->in[3], 2 * d->channels + c);
        for (int64_t r = 0; r < d->rows; r++) {
            int64_t i = r * d->channels + c;
            double g = gradient_inside(call, call->in[4], i), x = dtype_load(call->in[1], d->type, i);
            dtype_store(call->out[0], d->type, i, p * g + q * x + shift);
            if (call->out[1]) dtype_store(call->out[1], d->type, i, g);
        }
    }
    return OK;
}

#define BN_KERNEL(upper, lower, refusal)                                                                               \
    const kernel bn_##lower##__ref_direct = {.op = OP_BN_##upper,                                                      \
        .backend = BACKEND_REF,                                                                                        \
        .name = "bn_" #lower "__ref_direct",                                                                           \
        .refuse = refusal,                                                                                             \
        .run = lower##_run}
BN_KERNEL(STATS, stats, tensor_refuse);
BN_KERNEL(FINALISE, finalise, finalise_refuse);
BN_KERNEL(COEF, coef, finalise_refuse);
BN_KERNEL(APPLY, apply, tensor_refuse);
BN_KERNEL(GRAD_STATS, grad_stats, tensor_refuse);
BN_KERNEL(GRAD_FINALISE, grad_finalise, finalise_refuse);
BN_KERNEL(GRAD_APPLY, grad_apply, tensor_refuse);
