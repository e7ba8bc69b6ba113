/* flops.c: work and least traffic of a call: every input read once, every output written once (twice touched where it accumulates). */
#include "kernels/kernels.h"

static double size(dtype type)
{
    return (double)dtype_bytes(type);
}

static double conv_products(const conv2d_desc *d)
{
    return (double)d->n * (double)d->oh * (double)d->ow * (double)d->oc * d->kh * d->kw * ((double)d->ic / d->groups);
}

static double conv_bytes(kernel_op op, const conv2d_desc *d)
{
    const conv2d_epilogue *e = &d->epilogue;
    double src = (double)d->n * (double)d->ih * (double)d->iw * (double)d->ic * size(d->src_type);
    double weight = (double)d->oc * d->kh * d->kw * ((double)d->ic / d->groups) * size(d->weight_type);
    double dst = (double)d->n * (double)d->oh * (double)d->ow * (double)d->oc;
    if (op == OP_CONV2D_DWEIGHT) weight *= 2;
    if (op != OP_CONV2D_FORWARD) return src + weight + dst * size(d->dst_type);
    return src + weight + dst * (size(d->dst_type) + (e->has_add ? size(e->add_type) : 0)) +
        (double)d->oc * (4.0 * e->has_bias + 4.0 * e->has_scale + 16.0 * e->stats) + 8.0 * (double)d->ic * d->transform.enabled;
}

static double bn_bytes(kernel_op op, const bn_desc *d)
{
    double tensor = (double)d->rows * (double)d->channels * size(d->type), channel = (double)d->channels;
    double mask = d->act == ACT_NONE ? 0 : d->recompute ? 8 * channel : tensor;
    switch (op) {
    case OP_BN_STATS: return tensor + 16 * channel;
    case OP_BN_APPLY: return tensor * (d->has_add ? 3 : 2) + 8 * channel;
    case OP_BN_GRAD_STATS: return 2 * tensor + mask + 16 * channel;
    case OP_BN_GRAD_APPLY: return tensor * (d->has_add ? 4 : 3) + mask + 12 * channel;
    case OP_BN_FINALISE: return 56 * channel;
    case OP_BN_COEF: return 32 * channel;
    default: return 56 * channel;
    }
}

static double pool_window(const pool_desc *d)
{
    if (d->adaptive) return (double)d->ih * (double)d->iw / ((double)d->oh * (double)d->ow);
    return (double)d->kh * d->kw;
}

static double pool_bytes(kernel_op op, const pool_desc *d)
{
    double src = (double)d->n * (double)d->ih * (double)d->iw * (double)d->c;
    double dst = (double)d->n * (double)d->oh * (double)d->ow * (double)d->c;
    bool index = d->kind == POOL_MAX && op == OP_POOL_BACKWARD; /* forward may leave it out */
    return (src + dst) * size(d->type) + (index ? 4 * dst : 0);
}

static double move_count(const int64_t *dim, int32_t rank)
{
    double count = 1;
    for (int32_t i = 0; i < rank && i < MOVE_MAX_RANK; i++) count *= (double)dim[i];
    return count;
}

static double concat_count(const concat_desc *d)
{
    double channels = 0;
    for (int32_t i = 0; i < d->inputs && i < CONCAT_MAX; i++) channels += (double)d->channels[i];
    return (double)d->rows * channels;
}

static double binary_count(const binary_desc *d)
{
    return (double)d->n * (double)d->pixels * (double)d->channels;
}

static double binary_bytes(kernel_op op, const binary_desc *d)
{
    double all = binary_count(d), row = (double)d->n * (double)d->channels;
    if (op == OP_MUL_REDUCE) return (2 * all + row) * size(d->type);
    return (2 * all + (d->b_broadcast ? row : all)) * size(d->type);
}

static double fake_quant_count(const fake_quant_desc *d)
{
    return (double)d->rows * (double)d->count;
}

static double optimiser_moments(const optimiser_desc *d)
{
    if (d->rule == UPDATE_ADAM || d->rule == UPDATE_ADAMW) return 2;
    return (d->momentum != 0) + (d->rule == UPDATE_RMSPROP);
}

static double resize_elements(kernel_op op, const resize_desc *d)
{
    double src = (double)d->n * (double)d->ih * (double)d->iw * (double)d->c;
    double dst = (double)d->n * (double)d->oh * (double)d->ow * (double)d->c;
    return op == KERNEL_OP_COUNT ? dst : src + dst;
}

static double image_warp_pixels(const image_warp_desc *d)
{
    return (double)d->n * (double)d->height * (double)d->width;
}

double kernel_flops(kernel_op op, const void *desc)
{
    switch (op) {
    case OP_CONV2D_FORWARD:
    case OP_CONV2D_DSRC:
    case OP_CONV2D_DWEIGHT: return 2 * conv_products(desc);
    case OP_BN_STATS:
    case OP_BN_APPLY:
    case OP_BN_GRAD_STATS:
    case OP_BN_GRAD_APPLY: {
        const bn_desc *d = desc;
        return (op == OP_BN_APPLY ? 2.0 : op == OP_BN_STATS ? 3.0 : 4.0) * (double)d->rows * (double)d->channels;
    }
    case OP_BN_FINALISE:
    case OP_BN_COEF:
    case OP_BN_GRAD_FINALISE: return 10 * (double)((const bn_desc *)desc)->channels;
    case OP_ACT_FORWARD:
    case OP_ACT_BACKWARD: return (double)((const act_desc *)desc)->count;
    case OP_POOL_FORWARD:
    case OP_POOL_BACKWARD: {
        const pool_desc *d = desc;
        return (double)d->n * (double)d->oh * (double)d->ow * (double)d->c * pool_window(d);
    }
    case OP_ADD: return 3 * binary_count(desc);
    case OP_MUL: return binary_count(desc);
    case OP_MUL_REDUCE: return 2 * binary_count(desc);
    case OP_QUANTISE:
    case OP_DEQUANTISE: return (double)((const cast_desc *)desc)->count;
    case OP_FAKE_QUANT_RANGE:
    case OP_FAKE_QUANT:
    case OP_FAKE_QUANT_BACKWARD: return 2 * fake_quant_count(desc);
    case OP_RESIZE_FORWARD:
    case OP_RESIZE_BACKWARD: return (((const resize_desc *)desc)->bilinear ? 8 : 0) * resize_elements(KERNEL_OP_COUNT, desc);
    case OP_DROPOUT: return (double)((const dropout_desc *)desc)->n * (double)((const dropout_desc *)desc)->per_sample;
    case OP_IMAGE_WARP: return 40 * image_warp_pixels(desc); /* position, four taps, three colours */
    case OP_SOFTMAX_FORWARD:
    case OP_SOFTMAX_BACKWARD: return 4 * (double)((const softmax_desc *)desc)->rows * (double)((const softmax_desc *)desc)->classes;
    case OP_SOFTMAX_CE:
    case OP_SIGMOID_BCE: return 8 * (double)((const loss_desc *)desc)->rows * (double)((const loss_desc *)desc)->classes;
    case OP_TOP1: return 2 * (double)((const softmax_desc *)desc)->rows * (double)((const softmax_desc *)desc)->classes;
    case OP_GRAD_CHECK: return 2 * (double)((const optimiser_desc *)desc)->count;
    case OP_OPTIMISER: return 8 * (double)((const optimiser_desc *)desc)->count;
    default: return 0; /* pure movement */
    }
}

double kernel_bytes(kernel_op op, const void *desc)
{
    switch (op) {
    case OP_CONV2D_FORWARD:
    case OP_CONV2D_DSRC:
    case OP_CONV2D_DWEIGHT: return conv_bytes(op, desc);
    case OP_BN_STATS:
    case OP_BN_FINALISE:
    case OP_BN_COEF:
    case OP_BN_APPLY:
    case OP_BN_GRAD_STATS:
    case OP_BN_GRAD_FINALISE:
    case OP_BN_GRAD_APPLY: return bn_bytes(op, desc);
    case OP_ACT_FORWARD: return 2 * (double)((const act_desc *)desc)->count * size(((const act_desc *)desc)->type);
    case OP_ACT_BACKWARD: return 3 * (double)((const act_desc *)desc)->count * size(((const act_desc *)desc)->type);
    case OP_POOL_FORWARD:
    case OP_POOL_BACKWARD: return pool_bytes(op, desc);
    case OP_ADD:
    case OP_MUL:
    case OP_MUL_REDUCE: return binary_bytes(op, desc);
    case OP_CAST:
    case OP_QUANTISE:
    case OP_DEQUANTISE: {
        const cast_desc *d = desc;
        return (double)d->count * (size(d->src_type) + size(d->dst_type));
    }
    case OP_FAKE_QUANT_RANGE:
    case OP_FAKE_QUANT:
    case OP_FAKE_QUANT_BACKWARD:
        return (op == OP_FAKE_QUANT_RANGE ? 1 : op == OP_FAKE_QUANT ? 2 : 3) * fake_quant_count(desc) *
               size(((const fake_quant_desc *)desc)->type);
    case OP_PAD: {
        const pad_desc *d = desc;
        double src = move_count(d->src_dim, d->rank), dst = move_count(d->dst_dim, d->rank);
        return ((src < dst || d->scatter ? src : dst) + dst) * size(d->type);
    }
    case OP_TRANSPOSE: {
        const transpose_desc *d = desc;
        return 2 * move_count(d->src_dim, d->rank) * size(d->type);
    }
    case OP_CONCAT: return 2 * concat_count(desc) * size(((const concat_desc *)desc)->type);
    case OP_RESIZE_FORWARD:
    case OP_RESIZE_BACKWARD: return resize_elements(op, desc) * size(((const resize_desc *)desc)->type);
    case OP_DROPOUT: {
        const dropout_desc *d = desc;
        return 2 * (double)d->n * (double)d->per_sample * size(d->type);
    }
    case OP_IMAGE_WARP: {
        const image_warp_desc *d = desc;
        return (double)d->bytes + image_warp_pixels(d) * d->dst_channels * size(d->type);
    }
    case OP_SOFTMAX_FORWARD:
    case OP_SOFTMAX_BACKWARD: {
        const softmax_desc *d = desc;
        return (op == OP_SOFTMAX_FORWARD ? 2 : 3) * (double)d->rows * (double)d->classes * size(d->type);
    }
    case OP_SOFTMAX_CE:
    case OP_SIGMOID_BCE: {
        const loss_desc *d = desc;
        return (double)d->rows * (double)d->classes * (2 * size(d->type) + 4);
    }
    case OP_TOP1: {
        const softmax_desc *d = desc;
        return (double)d->rows * (double)d->classes * (size(d->type) + 4);
    }
    case OP_GRAD_CHECK: return 4 * (double)((const optimiser_desc *)desc)->count;
    case OP_OPTIMISER: {
        const optimiser_desc *d = desc;
        return 4 * (double)d->count * (4 + 2 * optimiser_moments(d) + (d->ema_decay > 0 ? 2 : 0));
    }
    case OP_FILL: return (double)((const fill_desc *)desc)->count * size(((const fill_desc *)desc)->type);
    case KERNEL_OP_COUNT: break;
    }
    BUG("op %d", (int)op);
}
