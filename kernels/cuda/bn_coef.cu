/* bn_coef.cu: what batch normalisation works out per channel: coefficients, running statistics, gradients of gamma and
 * beta. The formulas are in kernels.h. A thread a channel, in double as the sums are: mean^2 is subtracted from the
 * mean square. A few kilobytes: bound by the launch.
 */
#include "kernels/cuda/common.cuh"

enum { THREADS = 128 };

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const bn_desc *)desc)->type);
}

/* coef [2, c], saved [2, c] */
static __device__ void set_coef(float *coef, float *saved, int64_t c, int64_t channels, double gamma, double beta,
    double mean, double var, double epsilon)
{
    double rstd = 1.0 / sqrt(var + epsilon), a = gamma * rstd;
    coef[c] = (float)a;
    coef[channels + c] = (float)(beta - mean * a);
    saved[c] = (float)mean;
    saved[channels + c] = (float)rstd;
}

static __global__ void __launch_bounds__(THREADS)
    finalise_channels(float *coef, float *saved, float *running_mean, float *running_var, const double *stats,
        const float *gamma, const float *beta, int64_t channels, double count, double epsilon, double momentum)
{
    int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    double mean = stats[c] / count, var = stats[channels + c] / count - mean * mean;
    if (var < 0.0) var = 0.0; /* of equal values, by rounding */
    double unbiased = count > 1.0 ? var * (count / (count - 1.0)) : var;
    set_coef(coef, saved, c, channels, (double)gamma[c], (double)beta[c], mean, var, epsilon);
    running_mean[c] = (float)((1.0 - momentum) * (double)running_mean[c] + momentum * mean);
    running_var[c] = (float)((1.0 - momentum) * (double)running_var[c] + momentum * unbiased);
}

static __global__ void __launch_bounds__(THREADS) coef_channels(float *coef, float *saved, const float *gamma,
    const float *beta, const float *running_mean, const float *running_var, int64_t channels, double epsilon)
{
    int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (c < channels)
        set_coef(coef, saved, c, channels, (double)gamma[c], (double)beta[c], (double)running_mean[c],
            (double)running_var[c], epsilon);
}

/* With x^ = (x - mean) rstd:  dsrc = gamma rstd (g - sum(g)/count - x^ sum(g x^)/count), sorted by g, x and 1. */
static __global__ void __launch_bounds__(THREADS) grad_finalise_channels(float *grad_coef, float *dgamma, float *dbeta,
    const double *stats, const float *gamma, const float *saved, int64_t channels, double count, bool frozen)
{
    int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= channels) return;
    double mean = (double)saved[c], rstd = (double)saved[channels + c], sum_g = stats ? stats[c] : 0.0;
    double sum_gx = stats ? rstd * (stats[channels + c] - mean * sum_g) : 0.0;
    double p = (double)gamma[c] * rstd, q = frozen ? 0.0 : -p * rstd * sum_gx / count;
    grad_coef[c] = (float)p;
    grad_coef[channels + c] = (float)q;
    grad_coef[2 * channels + c] = frozen ? 0.0f : (float)(-p * sum_g / count - q * mean);
    if (dgamma) dgamma[c] = (float)((double)dgamma[c] + sum_gx);
    if (dbeta) dbeta[c] = (float)((double)dbeta[c] + sum_g);
}

static status finalise_run(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    return launch(finalise_channels, dim3(blocks_for(d->channels, THREADS)), dim3(THREADS), 0, call->stream,
        call->out[0], call->out[1], call->out[2], call->out[3], call->in[0], call->in[1], call->in[2], d->channels,
        d->count, d->epsilon, d->momentum);
}

static status coef_run(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    return launch(coef_channels, dim3(blocks_for(d->channels, THREADS)), dim3(THREADS), 0, call->stream, call->out[0],
        call->out[1], call->in[0], call->in[1], call->in[2], call->in[3], d->channels, d->epsilon);
}

static status grad_finalise_run(const kernel_call *call)
{
    const bn_desc *d = (const bn_desc *)call->desc;
    return launch(grad_finalise_channels, dim3(blocks_for(d->channels, THREADS)), dim3(THREADS), 0, call->stream,
        call->out[0], call->out[1], call->out[2], call->in[0], call->in[1], call->in[2], d->channels, d->count,
        d->frozen);
}

CUDA_KERNEL(bn_finalise__cuda_direct, OP_BN_FINALISE, .refuse = refuse, .run = finalise_run);
CUDA_KERNEL(bn_coef__cuda_direct, OP_BN_COEF, .refuse = refuse, .run = coef_run);
CUDA_KERNEL(bn_grad_finalise__cuda_direct, OP_BN_GRAD_FINALISE, .refuse = refuse, .run = grad_finalise_run);
