/* optimiser.cu: gradient check and update rules over the flat blocks of all parameters at once. Formulas: kernels.h.
 *
 * direct: grad_check is one block; optimiser a thread an element. chunks: a block takes 8192 elements, looks up the
 * segments it meets by bisection, and its threads walk groups of four elements: 16-byte accesses where a group lies
 * within one segment, single elements at its borders. What a block has summed (squares, penalty; double, since the
 * squares of f32 fit) it leaves in scratch, and one block adds these in order. The gradient is cleared by the thread
 * that has read it. The step's numbers are read from device memory: a captured step never changes its arguments. Bound
 * by memory: grad_check 4 bytes per parameter, adam 16 read and 16 written.
 */
#include "kernels/cuda/common.cuh"

constexpr int THREADS = 256, GROUP = 4, CHUNK = 8192;

/* ------------------------------------------------------------------------------------------------ segments */

/* First of segments [from, to) that ends behind element i. */
static __device__ int32_t segment_behind(const param_segment *segments, int32_t from, int32_t to, int64_t i)
{
    while (from < to) {
        int32_t middle = from + (to - from) / 2;
        if (segments[middle].offset + segments[middle].count > i) to = middle;
        else from = middle + 1;
    }
    return from;
}

static __device__ bool segment_holds(const param_segment *segments, int32_t s, int32_t count, int64_t i)
{
    return s < count && segments[s].offset <= i;
}

/* The block's elements [begin, end) and the segments [first, last) that reach into them. */
typedef struct chunk {
    int64_t begin, end;
    int32_t first, last;
} chunk;

static __device__ chunk chunk_of(const param_segment *segments, int32_t count, int64_t elements)
{
    chunk c;
    c.begin = (int64_t)blockIdx.x * CHUNK;
    c.end = c.begin + CHUNK < elements ? c.begin + CHUNK : elements;
    c.first = segment_behind(segments, 0, count, c.begin);
    c.last = segment_behind(segments, c.first, count, c.end - 1);
    if (c.last < count && segments[c.last].offset < c.end) c.last++;
    return c;
}

/* ------------------------------------------------------------------------------------------------ gradient check */

/* What the blocks of a check leave: partial sums, and the first bad segment or INT32_MAX. */
typedef struct check_scratch {
    double *squares;
    int32_t *bad;
} check_scratch;

static int64_t chunk_count(const void *desc)
{
    return (((const optimiser_desc *)desc)->count + CHUNK - 1) / CHUNK;
}

static size_t check_scratch_bytes(const void *desc, const void *state)
{
    (void)state;
    return (size_t)chunk_count(desc) * (sizeof(double) + sizeof(int32_t));
}

static __device__ bool is_finite(double x)
{
    return x - x == 0.0;
}

/* Smallest of a block's values; every thread gets it. */
static __device__ int32_t block_min(int32_t x)
{
    SHARED(int32_t, partial, [WARP]);
    for (int offset = WARP / 2; offset > 0; offset /= 2) {
        int32_t y = ptx_shuffle_xor(x, offset);
        x = y < x ? y : x;
    }
    if (threadIdx.x % WARP == 0) partial[threadIdx.x / WARP] = x;
    __syncthreads();
    for (int i = 0; i < THREADS / 32; i++) x = partial[i] < x ? partial[i] : x;
    return x;
}

/* By one thread. */
static __device__ void write_check(step_state *state, double squares, int32_t bad, double clip_norm)
{
    double norm = sqrt(squares) / (double)state->loss_scale;
    state->finite = bad == INT32_MAX;
    state->bad_segment = bad == INT32_MAX ? -1 : bad;
    state->grad_norm = (float)norm;
    state->clip_factor = state->finite && clip_norm > 0.0 && norm > clip_norm ? (float)(clip_norm / norm) : 1.0f;
}

static __global__ void __launch_bounds__(THREADS) check_direct(step_state *state, const float *__restrict__ grad,
    const param_segment *__restrict__ segments, int32_t count, double clip_norm)
{
    double squares = 0.0;
    int32_t bad = INT32_MAX;
    for (int32_t s = 0; s < count; s++) {
        for (int64_t i = segments[s].offset + threadIdx.x; i < segments[s].offset + segments[s].count; i += THREADS)
            squares += (double)grad[i] * (double)grad[i];
        if (bad == INT32_MAX && !is_finite(squares)) bad = s;
    }
    squares = block_sum(squares);
    bad = block_min(bad);
    if (threadIdx.x == 0) write_check(state, squares, bad, clip_norm);
}

/* A group of elements from i on, of which segment s is the first that ends behind i; `whole`: by 16 bytes
 * where one segment holds all four. */
static __device__ void check_group(double *squares, int32_t *bad, const float *grad, const param_segment *segments,
    const chunk &c, int64_t i, bool whole)
{
    int32_t s = segment_behind(segments, c.first, c.last, i);
    if (whole && segment_holds(segments, s, c.last, i) && i + GROUP <= segments[s].offset + segments[s].count &&
        i + GROUP <= c.end) {
        pack<float, GROUP> g = load_pack<GROUP>(grad + i);
#pragma unroll
        for (int k = 0; k < GROUP; k++) *squares += (double)g.at[k] * (double)g.at[k];
        if (!is_finite(*squares) && s < *bad) *bad = s;
        return;
    }
    for (int64_t end = i + GROUP < c.end ? i + GROUP : c.end; i < end; i++) {
        while (s < c.last && segments[s].offset + segments[s].count <= i) s++;
        if (!segment_holds(segments, s, c.last, i)) continue;
        *squares += (double)grad[i] * (double)grad[i];
        if (!is_finite(*squares) && s < *bad) *bad = s;
    }
}

static __global__ void __launch_bounds__(THREADS) check_chunks(check_scratch scratch, const float *__restrict__ grad,
    const param_segment *__restrict__ segments, int32_t count, int64_t elements, bool whole)
{
    chunk c = chunk_of(segments, count, elements);
    double squares = 0.0;
    int32_t bad = INT32_MAX;
    for (int64_t i = c.begin + threadIdx.x * GROUP; i < c.end; i += THREADS * GROUP)
        check_group(&squares, &bad, grad, segments, c, i, whole);
    squares = block_sum(squares);
    bad = block_min(bad);
    if (threadIdx.x != 0) return;
    scratch.squares[blockIdx.x] = squares;
    scratch.bad[blockIdx.x] = bad;
}

static __global__ void __launch_bounds__(THREADS)
    check_finish(step_state *state, check_scratch scratch, int64_t chunks, double clip_norm)
{
    double squares = 0.0;
    int32_t bad = INT32_MAX;
    for (int64_t i = threadIdx.x; i < chunks; i += THREADS) {
        squares += scratch.squares[i];
        bad = scratch.bad[i] < bad ? scratch.bad[i] : bad;
    }
    squares = block_sum(squares);
    bad = block_min(bad);
    if (threadIdx.x == 0) write_check(state, squares, bad, clip_norm);
}

static status check_direct_run(const kernel_call *call)
{
    const optimiser_desc *d = (const optimiser_desc *)call->desc;
    return launch(check_direct, dim3(1), dim3(THREADS), 0, call->stream, call->out[0], call->in[OPTIMISER_GRAD],
        call->in[OPTIMISER_SEGMENTS], d->segments, d->clip_norm);
}

static status check_chunks_run(const kernel_call *call)
{
    const optimiser_desc *d = (const optimiser_desc *)call->desc;
    int64_t chunks = chunk_count(d);
    check_scratch scratch = {(double *)call->scratch, (int32_t *)((double *)call->scratch + chunks)};
    TRY(launch(check_chunks, dim3((unsigned)chunks), dim3(THREADS), 0, call->stream, scratch, call->in[OPTIMISER_GRAD],
        call->in[OPTIMISER_SEGMENTS], d->segments, d->count, aligned_to(call->in[OPTIMISER_GRAD], 16)));
    return launch(check_finish, dim3(1), dim3(THREADS), 0, call->stream, call->out[0], scratch, chunks, d->clip_norm);
}

/* ------------------------------------------------------------------------------------------------ update rules */

/* The tensors of an update and its constants. moment1, moment2, ema and zeroed may be NULL; zeroed may be grad. */
typedef struct update_args {
    float *weight, *moment1, *moment2, *ema, *zeroed;
    const float *grad;
    const param_segment *segments;
    step_state *state; /* read; where nothing is penalised the penalty is written */
    double *penalty; /* [blocks], NULL where nothing is penalised */
    int64_t count;
    int32_t segment_count;
    float momentum, beta1, beta2, rho, epsilon, weight_decay, l1_weight, l2_weight, ema_decay;
    bool nesterov;
} update_args;

static update_args update_args_of(const kernel_call *call)
{
    const optimiser_desc *d = (const optimiser_desc *)call->desc;
    bool penalised = d->l1_weight != 0.0f || d->l2_weight != 0.0f;
    update_args a = {(float *)call->out[OPTIMISER_WEIGHT], (float *)call->out[OPTIMISER_MOMENT1],
        (float *)call->out[OPTIMISER_MOMENT2], (float *)call->out[OPTIMISER_EMA],
        (float *)call->out[OPTIMISER_GRAD_ZEROED], (const float *)call->in[OPTIMISER_GRAD],
        (const param_segment *)call->in[OPTIMISER_SEGMENTS], (step_state *)call->out[OPTIMISER_STATE],
        penalised ? (double *)call->scratch : NULL, d->count, d->segments, d->momentum, d->beta1, d->beta2, d->rho,
        d->epsilon, d->weight_decay, d->l1_weight, d->l2_weight, d->ema_decay, d->nesterov};
    return a;
}

/* What the step gives: scale turns the stored gradient into the clipped one, the
 * corrections are Adam's 1 / (1 - beta^t). */
typedef struct step_numbers {
    float rate, scale, correction1, correction2;
    bool finite;
} step_numbers;

/* 1 - beta^t without the loss of a difference: beta - 1 is exact for beta in [1/2, 1]. */
static __device__ float adam_correction(float beta, int64_t t)
{
    return -1.0f / expm1f((float)t * log1pf(beta - 1.0f));
}

template <update_rule RULE> static __device__ step_numbers step_numbers_of(const update_args &a)
{
    const step_state *s = a.state;
    step_numbers n = {s->learning_rate, s->clip_factor / s->loss_scale, 1.0f, 1.0f, s->finite != 0};
    if (RULE == UPDATE_ADAM || RULE == UPDATE_ADAMW) {
        n.correction1 = adam_correction(a.beta1, s->step);
        n.correction2 = adam_correction(a.beta2, s->step);
    }
    return n;
}

static __device__ float sign(float x)
{
    return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : 0.0f;
}

/* One element of a segment: w, m, v and ema are updated. has_m: the rule keeps a first moment. */
template <update_rule RULE>
static __device__ void update_element(float *w, float *m, float *v, float *ema, float g, const update_args &a,
    const step_numbers &n, const param_segment &s, bool has_m)
{
    float rate = n.rate * s.rate_factor, decay = a.weight_decay * s.decay_factor,
          coupled = RULE == UPDATE_ADAMW ? 0.0f : decay;
    float x =
        g * n.scale + (coupled + 2.0f * a.l2_weight * s.decay_factor) * *w + a.l1_weight * s.decay_factor * sign(*w);
    if (RULE == UPDATE_SGD) {
        *m = has_m ? a.momentum * *m + x : x;
        *w -= rate * (a.nesterov ? x + a.momentum * *m : *m);
    } else if (RULE == UPDATE_RMSPROP) {
        *v = a.rho * *v + (1.0f - a.rho) * x * x;
        float direction = x / (sqrtf(*v) + a.epsilon);
        *m = has_m ? a.momentum * *m + direction : direction;
        *w -= rate * *m;
    } else {
        float shrink = RULE == UPDATE_ADAMW ? 1.0f - rate * decay : 1.0f;
        *m = a.beta1 * *m + (1.0f - a.beta1) * x;
        *v = a.beta2 * *v + (1.0f - a.beta2) * x * x;
        *w = *w * shrink - rate * (*m * n.correction1) / (sqrtf(*v * n.correction2) + a.epsilon);
    }
    *ema = a.ema_decay * *ema + (1.0f - a.ema_decay) * *w;
}

static __device__ double penalty_of(float w, const update_args &a, const param_segment &s)
{
    double x = (double)w;
    return (double)s.decay_factor * ((double)a.l2_weight * x * x + (double)a.l1_weight * fabs(x));
}

/* Element i, which segment s may hold, by itself. Gives its penalty. */
template <update_rule RULE>
static __device__ double update_single(const update_args &a, const step_numbers &n, int64_t i, int32_t s, int32_t last)
{
    double penalty = 0.0;
    float g = a.grad[i];
    if (segment_holds(a.segments, s, last, i) && a.segments[s].rate_factor != 0.0f) {
        float w = a.weight[i], m = a.moment1 ? a.moment1[i] : 0.0f, v = a.moment2 ? a.moment2[i] : 0.0f,
              ema = a.ema ? a.ema[i] : 0.0f;
        if (a.penalty) penalty = penalty_of(w, a, a.segments[s]);
        if (n.finite) {
            update_element<RULE>(&w, &m, &v, &ema, g, a, n, a.segments[s], a.moment1 != NULL);
            a.weight[i] = w;
            if (a.moment1) a.moment1[i] = m;
            if (a.moment2) a.moment2[i] = v;
            if (a.ema) a.ema[i] = ema;
        }
    }
    if (a.zeroed) a.zeroed[i] = 0.0f;
    return penalty;
}

/* All threads of the block call it. */
static __device__ void leave_penalty(const update_args &a, double penalty)
{
    if (a.penalty) {
        penalty = block_sum(penalty);
        if (threadIdx.x == 0) a.penalty[blockIdx.x] = penalty;
    } else if (blockIdx.x == 0 && threadIdx.x == 0) {
        a.state->penalty = 0.0;
    }
}

/* ------------------------------------------------------------------------------------------------ direct */

template <update_rule RULE> static __global__ void __launch_bounds__(THREADS, 2) update_direct(update_args a)
{
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    double penalty = 0.0;
    if (i < a.count)
        penalty = update_single<RULE>(
            a, step_numbers_of<RULE>(a), i, segment_behind(a.segments, 0, a.segment_count, i), a.segment_count);
    leave_penalty(a, penalty);
}

static __global__ void __launch_bounds__(THREADS)
    penalty_finish(step_state *state, const double *__restrict__ parts, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < count; i += THREADS) sum += parts[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) state->penalty = sum;
}

static status launch_penalty_finish(const kernel_call *call, const update_args &a, int64_t parts)
{
    if (!a.penalty) return OK;
    return launch(
        penalty_finish, dim3(1), dim3(THREADS), 0, call->stream, call->out[OPTIMISER_STATE], a.penalty, parts);
}

static size_t direct_scratch_bytes(const void *desc, const void *state)
{
    (void)state;
    return (size_t)blocks_for(((const optimiser_desc *)desc)->count, THREADS) * sizeof(double);
}

static status update_direct_run(const kernel_call *call)
{
    const optimiser_desc *d = (const optimiser_desc *)call->desc;
    update_args a = update_args_of(call);
    unsigned blocks = blocks_for(d->count, THREADS);
    void (*kernel)(update_args) = d->rule == UPDATE_SGD    ? update_direct<UPDATE_SGD>
                                  : d->rule == UPDATE_ADAM ? update_direct<UPDATE_ADAM>
                                  : d->rule == UPDATE_ADAMW ? update_direct<UPDATE_ADAMW>
                                                            : update_direct<UPDATE_RMSPROP>;
    TRY(launch(kernel, dim3(blocks), dim3(THREADS), 0, call->stream, a));
    return launch_penalty_finish(call, a, blocks);
}

/* ------------------------------------------------------------------------------------------------ chunks */

/* Four elements of one segment. */
template <update_rule RULE>
static __device__ double update_group(const update_args &a, const step_numbers &n, int64_t i, const param_segment &s)
{
    pack<float, GROUP> g = load_pack<GROUP>(a.grad + i), zero = {}, m = zero, v = zero, ema = zero;
    double penalty = 0.0;
    if (s.rate_factor != 0.0f) {
        pack<float, GROUP> w = load_pack<GROUP>(a.weight + i);
        if (a.moment1) m = load_pack<GROUP>(a.moment1 + i);
        if (a.moment2) v = load_pack<GROUP>(a.moment2 + i);
        if (a.ema) ema = load_pack<GROUP>(a.ema + i);
#pragma unroll
        for (int k = 0; k < GROUP && a.penalty; k++) penalty += penalty_of(w.at[k], a, s);
#pragma unroll
        for (int k = 0; k < GROUP; k++)
            update_element<RULE>(&w.at[k], &m.at[k], &v.at[k], &ema.at[k], g.at[k], a, n, s, a.moment1 != NULL);
        if (n.finite) {
            store_pack(a.weight + i, w);
            if (a.moment1) store_pack(a.moment1 + i, m);
            if (a.moment2) store_pack(a.moment2 + i, v);
            if (a.ema) store_pack(a.ema + i, ema);
        }
    }
    if (a.zeroed) store_pack(a.zeroed + i, zero);
    return penalty;
}

template <update_rule RULE>
static __global__ void __launch_bounds__(THREADS, 2) update_chunks(update_args a, bool whole)
{
    chunk c = chunk_of(a.segments, a.segment_count, a.count);
    step_numbers n = step_numbers_of<RULE>(a);
    double penalty = 0.0;
    for (int64_t i = c.begin + threadIdx.x * GROUP; i < c.end; i += THREADS * GROUP) {
        int32_t s = segment_behind(a.segments, c.first, c.last, i);
        int64_t end = i + GROUP < c.end ? i + GROUP : c.end;
        if (whole && end - i == GROUP && segment_holds(a.segments, s, c.last, i) &&
            end <= a.segments[s].offset + a.segments[s].count) {
            penalty += update_group<RULE>(a, n, i, a.segments[s]);
            continue;
        }
        for (int64_t k = i; k < end; k++) {
            while (s < c.last && a.segments[s].offset + a.segments[s].count <= k) s++;
            penalty += update_single<RULE>(a, n, k, s, c.last);
        }
    }
    leave_penalty(a, penalty);
}

static size_t chunks_scratch_bytes(const void *desc, const void *state)
{
    (void)state;
    return (size_t)chunk_count(desc) * sizeof(double);
}

static status update_chunks_run(const kernel_call *call)
{
    const optimiser_desc *d = (const optimiser_desc *)call->desc;
    update_args a = update_args_of(call);
    bool whole = aligned_to(a.grad, 16) && aligned_to(a.weight, 16) && aligned_to(a.moment1, 16) &&
                 aligned_to(a.moment2, 16) && aligned_to(a.ema, 16) && aligned_to(a.zeroed, 16);
    int64_t chunks = chunk_count(d);
    void (*kernel)(update_args, bool) = d->rule == UPDATE_SGD    ? update_chunks<UPDATE_SGD>
                                        : d->rule == UPDATE_ADAM ? update_chunks<UPDATE_ADAM>
                                        : d->rule == UPDATE_ADAMW ? update_chunks<UPDATE_ADAMW>
                                                                  : update_chunks<UPDATE_RMSPROP>;
    TRY(launch(kernel, dim3((unsigned)chunks), dim3(THREADS), 0, call->stream, a, whole));
    return launch_penalty_finish(call, a, chunks);
}

CUDA_KERNEL(grad_check__cuda_chunks, OP_GRAD_CHECK, .scratch_bytes = check_scratch_bytes, .run = check_chunks_run);
CUDA_KERNEL(grad_check__cuda_direct, OP_GRAD_CHECK, .run = check_direct_run);
CUDA_KERNEL(optimiser__cuda_chunks, OP_OPTIMISER, .scratch_bytes = chunks_scratch_bytes, .run = update_chunks_run);
CUDA_KERNEL(optimiser__cuda_direct, OP_OPTIMISER, .scratch_bytes = direct_scratch_bytes, .run = update_direct_run);
