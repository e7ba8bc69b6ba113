/* softmax.c: softmax over rows, and the two classification losses with their gradients. */
#include "kernels/ref/ref.h"

#include <math.h>

static double row_max(const void *src, dtype type, int64_t first, int64_t count)
{
    double max = dtype_load(src, type, first);
    for (int64_t c = 1; c < count; c++) max = fmax(max, dtype_load(src, type, first + c));
    return max;
}

/* sum exp(x - max) */
static double row_sum(const void *src, dtype type, int64_t first, int64_t count, double max)
{
    double sum = 0;
    for (int64_t c = 0; c < count; c++) sum += exp(dtype_load(src, type, first + c) - max);
    return sum;
}

/* ------------------------------------------------------------------------------------------------ softmax */

static const char *softmax_refuse(const void *desc)
{
    const softmax_desc *d = desc;
    int64_t dim[] = {d->rows, d->classes};
    if (!ref_dims_ok(dim, 2)) return "rows or classes below 1 or too large";
    return ref_is_float(d->type) ? NULL : "the type is no float";
}

static status softmax_forward_run(const kernel_call *call)
{
    const softmax_desc *d = call->desc;
    for (int64_t first = 0; first < d->rows * d->classes; first += d->classes) {
        double max = row_max(call->in[0], d->type, first, d->classes);
        double sum = row_sum(call->in[0], d->type, first, d->classes, max);
        for (int64_t i = first; i < first + d->classes; i++)
            dtype_store(call->out[0], d->type, i, exp(dtype_load(call->in[0], d->type, i) - max) / sum);
    }
    return OK;
}

static status softmax_backward_run(const kernel_call *call)
{
    const softmax_desc *d = call->desc;
    for (int64_t first = 0; first < d->rows * d->classes; first += d->classes) {
        double dot = 0;
        for (int64_t i = first; i < first + d->classes; i++)
            dot += dtype_load(call->in[0], d->type, i) * dtype_load(call->in[1], d->type, i);
        for (int64_t i = first; i < first + d->classes; i++)
            dtype_store(call->out[0], d->type, i,
                dtype_load(call->in[1], d->type, i) * (dtype_load(call->in[0], d->type, i) - dot));
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ losses */

/* The tensors of a loss, named. */
typedef struct loss_call {
    const loss_desc *desc;
    const void *src;
    const float *targets, *class_weight;
    float *row_loss;
    void *dsrc;
    int64_t valid;
    double grad_scale;
} loss_call;

static const char *loss_refuse(const void *desc)
{
    const loss_desc *d = desc;
    int64_t dim[] = {d->rows, d->classes};
    if (!ref_dims_ok(dim, 2)) return "rows or classes below 1 or too large";
    if (!ref_is_float(d->type)) return "the type is no float";
    return d->smoothing >= 0 && d->smoothing <= 1 ? NULL : "smoothing not in 0 .. 1";
}

static loss_call loss_call_of(const kernel_call *call)
{
    const loss_desc *d = call->desc;
    loss_call l = {d, call->in[0], call->in[1], call->in[2], call->out[1], call->out[2], d->rows};
    const int64_t *valid = call->in[3];
    const float *loss_scale = call->in[4];
    if (valid && valid[0] < l.valid) l.valid = valid[0] < 0 ? 0 : valid[0];
    l.grad_scale = (double)d->grad_scale * (loss_scale ? (double)loss_scale[0] : 1);
    return l;
}

static double class_weight(const loss_call *l, int64_t c)
{
    return l->class_weight ? (double)l->class_weight[c] : 1;
}

static void set_dsrc(const loss_call *l, int64_t i, double value)
{
    if (l->dsrc) dtype_store(l->dsrc, l->desc->type, i, value);
}

/* What rows beyond the valid ones get. */
static void clear_rows(const loss_call *l)
{
    for (int64_t r = l->valid; r < l->desc->rows; r++) {
        if (l->row_loss) l->row_loss[r] = 0;
        for (int64_t c = 0; c < l->desc->classes; c++) set_dsrc(l, r * l->desc->classes + c, 0);
    }
}

static double smoothed(const loss_call *l, int64_t i, double even_share)
{
    double e = (double)l->desc->smoothing;
    return (1 - e) * (double)l->targets[i] + e * even_share;
}

/* One row: its loss; its gradient times `factor` into dsrc. A class of weight or target 0
 * adds nothing, whatever its logit. */
static double softmax_ce_row(const loss_call *l, int64_t row, double factor)
{
    const loss_desc *d = l->desc;
    int64_t first = row * d->classes;
    double max = row_max(l->src, d->type, first, d->classes);
    double sum = row_sum(l->src, d->type, first, d->classes, max), loss = 0, mass = 0;
    for (int64_t c = 0; c < d->classes; c++) {
        double share = class_weight(l, c) * smoothed(l, first + c, 1 / (double)d->classes);
        if (share != 0) loss -= share * (dtype_load(l->src, d->type, first + c) - max - log(sum));
        mass += share;
    }
    for (int64_t c = 0; c < d->classes; c++) {
        double share = class_weight(l, c) * smoothed(l, first + c, 1 / (double)d->classes);
        double p = exp(dtype_load(l->src, d->type, first + c) - max) / sum;
        set_dsrc(l, first + c, factor * (mass * p - share));
    }
    return loss;
}

static status softmax_ce_run(const kernel_call *call)
{
    loss_call l = loss_call_of(call);
    const loss_desc *d = l.desc;
    double divisor = 0, loss = 0;
    for (int64_t i = 0; i < l.valid * d->classes; i++)
        divisor += class_weight(&l, i % d->classes) * (double)l.targets[i];
    double inverse = divisor > 0 ? 1 / divisor : 0;
    for (int64_t r = 0; r < l.valid; r++) {
        double row = softmax_ce_row(&l, r, l.grad_scale * inverse);
        if (l.row_loss) l.row_loss[r] = (float)row;
        loss += row;
    }
    clear_rows(&l);
    *(double *)call->out[0] = loss * inverse;
    return OK;
}

static status sigmoid_bce_run(const kernel_call *call)
{
    loss_call l = loss_call_of(call);
    const loss_desc *d = l.desc;
    double inverse = l.valid ? 1 / (double)(l.valid * d->classes) : 0, loss = 0;
    for (int64_t r = 0; r < l.valid; r++) {
        double row = 0;
        for (int64_t i = r * d->classes; i < (r + 1) * d->classes; i++) {
            double x = dtype_load(l.src, d->type, i), t = smoothed(&l, i, 0.5), w = class_weight(&l, i % d->classes);
            row += w * (fmax(x, 0) + log1p(exp(-fabs(x))) - t * x);
            set_dsrc(&l, i, l.grad_scale * inverse * w * (1 / (1 + exp(-x)) - t));
        }
        if (l.row_loss) l.row_loss[r] = (float)row;
        loss += row;
    }
    clear_rows(&l);
    *(double *)call->out[0] = loss * inverse;
    return OK;
}

const kernel softmax_forward__ref_direct = {
    .op = OP_SOFTMAX_FORWARD,
    .backend = BACKEND_REF,
    .name = "softmax_forward__ref_direct",
    .refuse = softmax_refuse,
    .run = softmax_forward_run,
};
const kernel softmax_backward__ref_direct = {
    .op = OP_SOFTMAX_BACKWARD,
    .backend = BACKEND_REF,
    .name = "softmax_backward__ref_direct",
    .refuse = softmax_refuse,
    .run = softmax_backward_run,
};
const kernel softmax_ce__ref_direct = {
    .op = OP_SOFTMAX_CE,
    .backend = BACKEND_REF,
    .name = "softmax_ce__ref_direct",
    .refuse = loss_refuse,
    .run = softmax_ce_run,
};
const kernel sigmoid_bce__ref_direct = {
    .op = OP_SIGMOID_BCE,
    .backend = BACKEND_REF,
    .name = "sigmoid_bce__ref_direct",
    .refuse = loss_refuse,
    .run = sigmoid_bce_run,
};
