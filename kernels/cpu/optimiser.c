/* grad_check and optimiser: one pass each over the flat blocks, in chunks cut by the parameter segments. Norm and
 * penalty are summed in double per chunk and the chunks in order, whatever the number of threads. */
#include <math.h>
#include <string.h>

#include "kernels/cpu/isa.h"

enum { CHUNK = 65536 };

static int64_t chunk_count(const optimiser_desc *d)
{
    return (d->count + CHUNK - 1) / CHUNK;
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    (void)state;
    return (size_t)chunk_count(desc) * sizeof(double);
}

static const char *refuse(const void *desc)
{
    (void)desc;
    return CPU_REFUSE();
}

/* The part [*from, *to) of segment `s` that lies in chunk k. */
static bool part(const param_segment *s, int64_t k, int64_t *from, int64_t *to)
{
    *from = s->offset > k * CHUNK ? s->offset : k * CHUNK;
    *to = cpu_min(s->offset + s->count, (k + 1) * CHUNK);
    return *from < *to;
}

static double sum_of_squares(const float *x, int64_t count)
{
    double sum[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= count; i += 16) {
#pragma omp simd
        for (int64_t j = 0; j < 16; j++) sum[j] += (double)x[i + j] * (double)x[i + j];
    }
    for (; i < count; i++) sum[0] += (double)x[i] * (double)x[i];
    double total = 0.0;
    for (int64_t j = 0; j < 16; j++) total += sum[j];
    return total;
}

/* The first segment that holds a NaN or an infinity, or -1: looked for only when the sum is not finite. */
static int32_t bad_segment(const float *grad, const param_segment *segments, int32_t count)
{
    for (int32_t s = 0; s < count; s++)
        for (int64_t i = segments[s].offset; i < segments[s].offset + segments[s].count; i++)
            if (!isfinite(grad[i])) return s;
    return -1;
}

static status grad_check_run(const kernel_call *call)
{
    const optimiser_desc *d = call->desc;
    const float *grad = call->in[OPTIMISER_GRAD];
    const param_segment *segments = call->in[OPTIMISER_SEGMENTS];
    step_state *state = call->out[0];
    double *partial = call->scratch, sum = 0.0;
    int64_t chunks = chunk_count(d);
#pragma omp parallel for schedule(static) if (chunks > 1)
    for (int64_t k = 0; k < chunks; k++) {
        double chunk = 0.0;
        int64_t from, to;
        for (int32_t s = 0; s < d->segments; s++)
            if (part(&segments[s], k, &from, &to)) chunk += sum_of_squares(grad + from, to - from);
        partial[k] = chunk;
    }
    for (int64_t k = 0; k < chunks; k++) sum += partial[k];
    double norm = sqrt(sum) / (double)state->loss_scale;
    state->finite = isfinite(sum) != 0;
    state->bad_segment = state->finite ? -1 : bad_segment(grad, segments, d->segments);
    state->grad_norm = (float)norm;
    state->clip_factor =
        state->finite && d->clip_norm > 0 && norm > (double)d->clip_norm ? (float)((double)d->clip_norm / norm) : 1.0f;
    return OK;
}

/* What one segment's update needs, worked out once. */
typedef struct update {
    float rate, scale, decay, l1, l2; /* scale turns the stored gradient into the clipped one */
    float correction1, correction2;   /* Adam's 1 / (1 - beta^t)                             */
} update;

static update update_of(const optimiser_desc *d, const param_segment *s, const step_state *state)
{
    double t = (double)state->step;
    return (update){
        .rate = state->learning_rate * s->rate_factor,
        .scale = state->clip_factor / state->loss_scale,
        .decay = d->weight_decay * s->decay_factor,
        .l1 = d->l1_weight * s->decay_factor,
        .l2 = 2.0f * d->l2_weight * s->decay_factor,
        .correction1 = (float)(1.0 / (1.0 - pow((double)d->beta1, t))),
        .correction2 = (float)(1.0 / (1.0 - pow((double)d->beta2, t))),
    };
}

static inline float sign(float x)
{
    return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f;
}

/* The gradient with clipping, penalties and coupled decay. */
#define GRADIENT(decay) (g[i] * u.scale + ((decay) + u.l2) * w[i] + u.l1 * sign(w[i]))

static void update_sgd(float *w, float *m, const float *g, int64_t count, const optimiser_desc *d, update u)
{
    float momentum = d->momentum, direct = d->nesterov ? 1.0f : 0.0f, through = d->nesterov ? momentum : 1.0f;
    if (!m) {
#pragma omp simd
        for (int64_t i = 0; i < count; i++) w[i] -= u.rate * GRADIENT(u.decay);
        return;
    }
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float x = GRADIENT(u.decay);
        m[i] = momentum * m[i] + x;
        w[i] -= u.rate * (direct * x + through * m[i]);
    }
}

static void update_adam(float *w, float *m, float *v, const float *g, int64_t count, const optimiser_desc *d, update u)
{
    bool decoupled = d->rule == UPDATE_ADAMW;
    float b1 = d->beta1, b2 = d->beta2, epsilon = d->epsilon;
    float shrink = decoupled ? 1.0f - u.rate * u.decay : 1.0f, decay = decoupled ? 0.0f : u.decay;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float x = GRADIENT(decay);
        m[i] = b1 * m[i] + (1.0f - b1) * x;
        v[i] = b2 * v[i] + (1.0f - b2) * x * x;
        w[i] = w[i] * shrink - u.rate * (m[i] * u.correction1) / (sqrtf(v[i] * u.correction2) + epsilon);
    }
}

static void update_rmsprop(
    float *w, float *m, float *v, const float *g, int64_t count, const optimiser_desc *d, update u)
{
    float rho = d->rho, momentum = d->momentum, epsilon = d->epsilon;
#pragma omp simd
    for (int64_t i = 0; i < count; i++) {
        float x = GRADIENT(u.decay);
        v[i] = rho * v[i] + (1.0f - rho) * x * x;
        float direction = x / (sqrtf(v[i]) + epsilon);
        if (m) direction = m[i] = momentum * m[i] + direction;
        w[i] -= u.rate * direction;
    }
}

static double penalty_of(const float *w, int64_t count, const optimiser_desc *d)
{
    double l1 = 0.0;
    if (d->l1_weight != 0.0f)
        for (int64_t i = 0; i < count; i++) l1 += fabs((double)w[i]);
    double l2 = d->l2_weight != 0.0f ? sum_of_squares(w, count) : 0.0;
    return (double)d->l1_weight * l1 + (double)d->l2_weight * l2;
}

/* Elements [from, to) of a segment: update, average, and clear the gradient. Gives their penalty. */
static double update_part(const kernel_call *call, const param_segment *s, int64_t from, int64_t to)
{
    const optimiser_desc *d = call->desc;
    const step_state *state = call->out[OPTIMISER_STATE];
    float *w = (float *)call->out[OPTIMISER_WEIGHT] + from, *ema = call->out[OPTIMISER_EMA];
    float *m = call->out[OPTIMISER_MOMENT1], *v = call->out[OPTIMISER_MOMENT2];
    const float *g = (const float *)call->in[OPTIMISER_GRAD] + from;
    int64_t count = to - from;
    if (s->rate_factor == 0.0f) return 0.0; /* frozen */
    double penalty = s->decay_factor != 0.0f ? (double)s->decay_factor * penalty_of(w, count, d) : 0.0;
    if (!state->finite) return penalty;
    update u = update_of(d, s, state);
    m = m ? m + from : NULL;
    v = v ? v + from : NULL;
    if (d->rule == UPDATE_SGD) {
        update_sgd(w, m, g, count, d, u);
    } else if (d->rule == UPDATE_RMSPROP) {
        update_rmsprop(w, m, v, g, count, d, u);
    } else {
        update_adam(w, m, v, g, count, d, u);
    }
    if (ema) {
        float keep = d->ema_decay, take = 1.0f - d->ema_decay;
        ema += from;
#pragma omp simd
        for (int64_t i = 0; i < count; i++) ema[i] = keep * ema[i] + take * w[i];
    }
    return penalty;
}

static status optimiser_run(const kernel_call *call)
{
    const optimiser_desc *d = call->desc;
    const param_segment *segments = call->in[OPTIMISER_SEGMENTS];
    float *zeroed = call->out[OPTIMISER_GRAD_ZEROED];
    double *partial = call->scratch, penalty = 0.0;
    int64_t chunks = chunk_count(d);
#pragma omp parallel for schedule(static) if (chunks > 1)
    for (int64_t k = 0; k < chunks; k++) {
        double chunk = 0.0;
        int64_t from, to;
        for (int32_t s = 0; s < d->segments; s++)
            if (part(&segments[s], k, &from, &to)) chunk += update_part(call, &segments[s], from, to);
        partial[k] = chunk;
        if (zeroed) memset(zeroed + k * CHUNK, 0, (size_t)cpu_min(CHUNK, d->count - k * CHUNK) * sizeof *zeroed);
    }
    for (int64_t k = 0; k < chunks; k++) penalty += partial[k];
    ((step_state *)call->out[OPTIMISER_STATE])->penalty = penalty;
    return OK;
}

CPU_KERNEL(grad_check, OP_GRAD_CHECK, .refuse = refuse, .scratch_bytes = scratch_bytes, .run = grad_check_run);
CPU_KERNEL(optimiser, OP_OPTIMISER, .refuse = refuse, .scratch_bytes = scratch_bytes, .run = optimiser_run);
