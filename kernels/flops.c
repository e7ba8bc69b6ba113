/* flops.c: work and least traffic of a call, as the rows of descriptors.def say; here is what several rows share. */
#include "kernels/kernels.h"

static double size(dtype type)
{
    return (double)dtype_bytes(type);
}

static double product(const int64_t *dim, int32_t rank)
{
    double count = 1;
    for (int32_t i = 0; i < rank && i < MOVE_MAX_RANK; i++) count *= (double)dim[i];
    return count;
}

static double conv2d_products(const conv2d_desc *d)
{
    return 1.0 * d->n * d->oh * d->ow * d->oc * d->kh * d->kw * ((double)d->ic / d->groups);
}

static double conv2d_src(const conv2d_desc *d)
{
    return 1.0 * d->n * d->ih * d->iw * d->ic * size(d->src_type);
}

static double conv2d_weight(const conv2d_desc *d)
{
    return 1.0 * d->oc * d->kh * d->kw * ((double)d->ic / d->groups) * size(d->weight_type);
}

static double conv2d_dst(const conv2d_desc *d)
{
    return 1.0 * d->n * d->oh * d->ow * d->oc * size(d->dst_type);
}

static double conv2d_forward_bytes(const conv2d_desc *d)
{
    const conv2d_epilogue *e = &d->epilogue;
    double dst = 1.0 * d->n * d->oh * d->ow * d->oc;
    return conv2d_src(d) + conv2d_weight(d) + dst * (size(d->dst_type) + (e->has_add ? size(e->add_type) : 0)) +
        1.0 * d->oc * (4.0 * e->has_bias + 4.0 * e->has_scale + 16.0 * e->stats) + 8.0 * d->ic * d->transform.enabled;
}

static double bn_tensor(const bn_desc *d)
{
    return 1.0 * d->rows * d->channels * size(d->type);
}

/* Where the activation's slope is found: nowhere, in dst, or in the coefficients. */
static double bn_mask(const bn_desc *d)
{
    return d->act == ACT_NONE ? 0 : d->recompute ? 8.0 * d->channels : bn_tensor(d);
}

static double pool_window(const pool_desc *d)
{
    if (d->adaptive) return (double)d->ih * (double)d->iw / ((double)d->oh * (double)d->ow);
    return (double)d->kh * d->kw;
}

static double pool_src(const pool_desc *d)
{
    return 1.0 * d->n * d->ih * d->iw * d->c;
}

static double pool_dst(const pool_desc *d)
{
    return 1.0 * d->n * d->oh * d->ow * d->c;
}

static double binary_count(const binary_desc *d)
{
    return 1.0 * d->n * d->pixels * d->channels;
}

static double binary_bytes(const binary_desc *d)
{
    double all = binary_count(d);
    return (2 * all + (d->b_broadcast ? 1.0 * d->n * d->channels : all)) * size(d->type);
}

/* A crop reads what it keeps; a scatter reads all. */
static double pad_moved(const pad_desc *d)
{
    double src = product(d->src_dim, d->rank), dst = product(d->dst_dim, d->rank);
    return (src < dst || d->scatter ? src : dst) + dst;
}

static double concat_channels(const concat_desc *d)
{
    double channels = 0;
    for (int32_t i = 0; i < d->inputs && i < CONCAT_MAX; i++) channels += (double)d->channels[i];
    return channels;
}

static double resize_src(const resize_desc *d)
{
    return 1.0 * d->n * d->ih * d->iw * d->c;
}

static double resize_dst(const resize_desc *d)
{
    return 1.0 * d->n * d->oh * d->ow * d->c;
}

static double optimiser_moments(const optimiser_desc *d)
{
    if (d->rule == UPDATE_ADAM || d->rule == UPDATE_ADAMW) return 2;
    return (d->momentum != 0) + (d->rule == UPDATE_RMSPROP);
}

double kernel_flops(kernel_op op, const void *desc)
{
    switch (op) {
#define KERNEL_OP(upper, lower, descriptor, flops, bytes)                                                              \
    case OP_##upper: {                                                                                                 \
        const descriptor##_desc *d = desc;                                                                             \
        (void)d;                                                                                                       \
        return flops;                                                                                                  \
    }
#include "kernels/descriptors.def"
    case KERNEL_OP_COUNT: break;
    }
    BUG("op %d of %d", (int)op, (int)KERNEL_OP_COUNT);
}

double kernel_bytes(kernel_op op, const void *desc)
{
    switch (op) {
#define KERNEL_OP(upper, lower, descriptor, flops, bytes)                                                              \
    case OP_##upper: {                                                                                                 \
        const descriptor##_desc *d = desc;                                                                             \
        return bytes;                                                                                                  \
    }
#include "kernels/descriptors.def"
    case KERNEL_OP_COUNT: break;
    }
    BUG("op %d of %d", (int)op, (int)KERNEL_OP_COUNT);
}
