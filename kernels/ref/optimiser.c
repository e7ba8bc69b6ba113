/* optimiser.c: gradient check and the update rules, in double per element, stored as f32. */
#include "kernels/ref/ref.h"

#include <math.h>

static const char *check_refuse(const void *desc)
{
    const optimiser_desc *d = desc;
    if (!ref_dims_ok(&d->count, 1)) return "count below 1 or too large";
    if (d->segments < 1) return "no segments";
    return NULL;
}

static const char *optimiser_refuse(const void *desc)
{
    const optimiser_desc *d = desc;
    if ((unsigned)d->rule > UPDATE_RMSPROP) return "unknown rule";
    if (d->nesterov && d->rule != UPDATE_SGD) return "nesterov belongs to sgd";
    return check_refuse(desc);
}

static status check_run(const kernel_call *call)
{
    const optimiser_desc *d = call->desc;
    const float *grad = call->in[OPTIMISER_GRAD];
    const param_segment *segments = call->in[OPTIMISER_SEGMENTS];
    step_state *state = call->out[0];
    double squares = 0;
    state->finite = 1;
    state->bad_segment = -1;
    for (int32_t s = 0; s < d->segments; s++)
        for (int64_t i = segments[s].offset; i < segments[s].offset + segments[s].count; i++) {
            double g = (double)grad[i] / (double)state->loss_scale;
            squares += g * g;
            if (!isfinite(grad[i]) && state->finite) {
                state->finite = 0;
                state->bad_segment = s;
            }
        }
    double norm = sqrt(squares);
    state->grad_norm = (float)norm;
    state->clip_factor =
        state->finite && d->clip_norm > 0 && norm > (double)d->clip_norm ? (float)((double)d->clip_norm / norm) : 1;
    return OK;
}

/* The blocks of one call; moments and ema may be NULL. */
typedef struct blocks {
    float *weight, *m, *v, *ema;
} blocks;

/* The rule's step for element i and gradient g at rate lr: the new weight. decay: weight decay of this element. */
static double updated(const optimiser_desc *d, const blocks *b, int64_t i, double g, double lr, double decay, int64_t t)
{
    double w = b->weight[i], m = b->m ? b->m[i] : 0, v = b->v ? b->v[i] : 0;
    switch (d->rule) {
    case UPDATE_SGD:
        m = (double)d->momentum * m + g;
        w -= lr * (d->nesterov ? g + (double)d->momentum * m : m);
        break;
    case UPDATE_ADAMW: w *= 1 - lr * decay; /* fall through */
    case UPDATE_ADAM: {
        double beta1 = (double)d->beta1, beta2 = (double)d->beta2;
        m = beta1 * m + (1 - beta1) * g;
        v = beta2 * v + (1 - beta2) * g * g;
        w -= lr * (m / (1 - pow(beta1, (double)t))) / (sqrt(v / (1 - pow(beta2, (double)t))) + (double)d->epsilon);
        break;
    }
    case UPDATE_RMSPROP:
        v = (double)d->rho * v + (1 - (double)d->rho) * g * g;
        m = (double)d->momentum * m + g / (sqrt(v) + (double)d->epsilon);
        w -= lr * m;
        break;
    }
    if (b->m) b->m[i] = (float)m;
    if (b->v) b->v[i] = (float)v;
    return w;
}

static void update_segment(const kernel_call *call, const blocks *b, const param_segment *s, step_state *state)
{
    const optimiser_desc *d = call->desc;
    const float *grad = call->in[OPTIMISER_GRAD];
    double lr = (double)state->learning_rate * (double)s->rate_factor, decay_on = (double)s->decay_factor;
    double l1 = decay_on * (double)d->l1_weight, l2 = decay_on * (double)d->l2_weight;
    double decay = decay_on * (double)d->weight_decay;
    for (int64_t i = s->offset; i < s->offset + s->count; i++) {
        double w = b->weight[i];
        state->penalty += l2 * w * w + l1 * fabs(w);
        if (!state->finite) continue;
        double g = (double)grad[i] / (double)state->loss_scale * (double)state->clip_factor;
        g += 2 * l2 * w + l1 * ((w > 0) - (w < 0));
        if (d->rule != UPDATE_ADAMW) g += decay * w;
        b->weight[i] = (float)updated(d, b, i, g, lr, decay, state->step);
        if (b->ema) b->ema[i] = (float)((double)d->ema_decay * b->ema[i] + (1 - (double)d->ema_decay) * b->weight[i]);
    }
}

static status optimiser_run(const kernel_call *call)
{
    const optimiser_desc *d = call->desc;
    const param_segment *segments = call->in[OPTIMISER_SEGMENTS];
    step_state *state = call->out[OPTIMISER_STATE];
    float *zeroed = call->out[OPTIMISER_GRAD_ZEROED];
    blocks b = {call->out[OPTIMISER_WEIGHT], call->out[OPTIMISER_MOMENT1], call->out[OPTIMISER_MOMENT2],
        call->out[OPTIMISER_EMA]};
    state->penalty = 0;
    for (int32_t s = 0; s < d->segments; s++)
        if (segments[s].rate_factor != 0) update_segment(call, &b, &segments[s], state);
    for (int64_t i = 0; i < d->count && zeroed; i++) zeroed[i] = 0;
    return OK;
}

const kernel grad_check__ref_direct = {
    .op = OP_GRAD_CHECK,
    .backend = BACKEND_REF,
    .name = "grad_check__ref_direct",
    .refuse = check_refuse,
    .run = check_run,
};
const kernel optimiser__ref_direct = {
    .op = OP_OPTIMISER,
    .backend = BACKEND_REF,
    .name = "optimiser__ref_direct",
    .refuse = optimiser_refuse,
    .run = optimiser_run,
};
