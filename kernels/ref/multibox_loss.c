/* multibox_loss.c: the loss of SSD, and its gradient. */
#include "kernels/boxes.h"
#include "kernels/ref/ref.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char *multibox_loss_refuse(const void *desc)
{
    const multibox_loss_desc *d = desc;
    int64_t dim[] = {d->n, d->priors, d->classes + 1, d->capacity};
    if (d->classes < 1 || d->classes >= INT32_MAX || !ref_dims_ok(dim, 4))
        return "images, priors, classes or boxes below 1 or too large";
    if (!ref_is_float(d->type)) return "the type is no float";
    if (!(d->neg_pos_ratio >= 0)) return "neg_pos_ratio below 0";
    for (int i = 0; i < 4; i++)
        if (!(d->variance[i] > 0)) return "a variance is not above 0";
    return NULL;
}

typedef struct multibox_call {
    const multibox_loss_desc *desc;
    const void *location, *confidence;
    const float *priors, *boxes;
    const int32_t *box_class, *match;
    void *dlocation, *dconfidence;
    double factor; /* of all gradients */
} multibox_call;

/* A background that may be chosen. */
typedef struct hard_negative {
    uint32_t rank; /* bits of its loss */
    int64_t row;
} hard_negative;

/* The channel that a row (image, prior) should have: 0 is background; -1: it is ignored. *box: the one that it is
 * matched to. */
static int64_t wanted_channel(const multibox_call *c, int64_t row, const float **box)
{
    const multibox_loss_desc *d = c->desc;
    int32_t match = c->match[row];
    if (match == MATCH_BACKGROUND) return 0;
    if (match < 0 || match >= d->capacity) return -1;
    int64_t k = row / d->priors * d->capacity + match;
    *box = c->boxes + 4 * k;
    return c->box_class[k] >= 0 && c->box_class[k] < d->classes ? c->box_class[k] + 1 : -1;
}

static double log_sum(const multibox_call *c, int64_t row, double *max)
{
    int64_t channels = c->desc->classes + 1;
    double sum = 0;
    *max = dtype_load(c->confidence, c->desc->type, row * channels);
    for (int64_t k = 1; k < channels; k++)
        *max = fmax(*max, dtype_load(c->confidence, c->desc->type, row * channels + k));
    for (int64_t k = 0; k < channels; k++)
        sum += exp(dtype_load(c->confidence, c->desc->type, row * channels + k) - *max);
    return log(sum);
}

static double entropy(const multibox_call *c, int64_t row, int64_t channel)
{
    double max, sum = log_sum(c, row, &max);
    return sum - (dtype_load(c->confidence, c->desc->type, row * (c->desc->classes + 1) + channel) - max);
}

static uint32_t rank_of(double loss)
{
    float value = (float)loss;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return isnan(value) ? 0x7fffffff : value > 0 ? bits : 0;
}

static int harder(const void *a, const void *b)
{
    const hard_negative *x = a, *y = b;
    if (x->rank != y->rank) return x->rank > y->rank ? -1 : 1;
    return x->row < y->row ? -1 : 1;
}

/* Of a row that counts: its cross-entropy; its gradient. */
static double class_loss(const multibox_call *c, int64_t row, int64_t channel)
{
    int64_t channels = c->desc->classes + 1, first = row * channels;
    double max, sum = log_sum(c, row, &max);
    for (int64_t k = 0; k < channels && c->dconfidence; k++) {
        double p = exp(dtype_load(c->confidence, c->desc->type, first + k) - max - sum);
        dtype_store(c->dconfidence, c->desc->type, first + k, c->factor * (p - (k == channel)));
    }
    return entropy(c, row, channel);
}

static double box_loss(const multibox_call *c, int64_t row, const float *box)
{
    const multibox_loss_desc *d = c->desc;
    double loss = 0;
    for (int i = 0; i < 4; i++) {
        double slope, target = box_offset(c->priors + 4 * (row % d->priors), box, d->variance, i);
        loss += smooth_l1(dtype_load(c->location, d->type, 4 * row + i) - target, 1, &slope);
        if (c->dlocation)
            dtype_store(c->dlocation, d->type, 4 * row + i, c->factor * (double)d->location_weight * slope);
    }
    return loss;
}

static size_t multibox_loss_scratch(const void *desc, const void *state)
{
    const multibox_loss_desc *d = desc;
    (void)state;
    return (size_t)(d->n * d->priors) * sizeof(hard_negative);
}

static void clear(const multibox_call *c)
{
    const multibox_loss_desc *d = c->desc;
    int64_t rows = d->n * d->priors;
    for (int64_t i = 0; i < rows * 4 && c->dlocation; i++) dtype_store(c->dlocation, d->type, i, 0);
    for (int64_t i = 0; i < rows * (d->classes + 1) && c->dconfidence; i++) dtype_store(c->dconfidence, d->type, i, 0);
}

static status multibox_loss_run(const kernel_call *call)
{
    const multibox_loss_desc *d = call->desc;
    const float *loss_scale = call->in[6], *box = NULL;
    multibox_call c = {
        d, call->in[0], call->in[1], call->in[2], call->in[3], call->in[4], call->in[5], call->out[4], call->out[5], 0};
    hard_negative *negative = call->scratch;
    int64_t positives = 0, negatives = 0;
    double total_box = 0, total_class = 0;
    for (int64_t row = 0; row < d->n * d->priors; row++) {
        int64_t channel = wanted_channel(&c, row, &box);
        positives += channel > 0;
        if (channel == 0) negative[negatives++] = (hard_negative){rank_of(entropy(&c, row, 0)), row};
    }
    double divisor = positives ? (double)positives : 1, most = floor((double)d->neg_pos_ratio * (double)positives);
    c.factor = (double)d->grad_scale * (loss_scale ? (double)loss_scale[0] : 1) / divisor;
    clear(&c);
    for (int64_t row = 0; row < d->n * d->priors; row++) {
        int64_t channel = wanted_channel(&c, row, &box);
        if (channel <= 0) continue;
        total_class += class_loss(&c, row, channel);
        total_box += box_loss(&c, row, box);
    }
    qsort(negative, (size_t)negatives, sizeof *negative, harder);
    for (int64_t k = 0; k < negatives && (double)k < most; k++) total_class += class_loss(&c, negative[k].row, 0);
    *(double *)call->out[0] = (total_class + (double)d->location_weight * total_box) / divisor;
    *(double *)call->out[1] = total_box / divisor;
    *(double *)call->out[2] = total_class / divisor;
    *(double *)call->out[3] = (double)positives;
    return OK;
}

const kernel multibox_loss__ref_direct = {
    .op = OP_MULTIBOX_LOSS,
    .backend = BACKEND_REF,
    .name = "multibox_loss__ref_direct",
    .refuse = multibox_loss_refuse,
    .scratch_bytes = multibox_loss_scratch,
    .run = multibox_loss_run,
};
