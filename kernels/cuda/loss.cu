/* loss.cu: softmax cross-entropy and binary cross-entropy, loss and gradient in one pass over
 * the logits. Formulas: kernels.h.
 *
 * direct: one block does it all, a thread a row. rows: first the divisor from targets and class weights (cross-entropy
 * only), up to 64 blocks that leave a partial sum each; then a group of threads a row (softmax.cuh), whose second look
 * at the row hits the L1 cache; each block leaves its loss; one block adds these in order. Terms are f32, sums double.
 * The cut depends on the descriptor alone: the same bits on every GPU. Bound by memory: src and targets read, dsrc
 * written (targets twice); small batches by three launches.
 */
#include "kernels/cuda/softmax.cuh"

constexpr int THREADS = ROW_THREADS, WEIGH_BLOCKS = 64, LOSS_BLOCKS = 512;

static const char *refuse(const void *desc)
{
    return cuda_refuse_type(((const loss_desc *)desc)->type);
}

/* The tensors of a loss and its constants; class_weight, row_loss, dsrc, valid and loss_scale may be NULL. */
template <typename T> struct loss_args {
    double *loss;
    float *row_loss;           /* [rows] */
    T *dsrc;                   /* [rows, classes] */
    const T *src;              /* [rows, classes] */
    const float *targets;      /* [rows, classes] */
    const float *class_weight; /* [classes] */
    const int64_t *valid;      /* [1] */
    const float *loss_scale;   /* [1] */
    int64_t rows, classes;
    float keep, even;          /* a target t becomes keep t + even */
    float grad_scale;
};

template <typename T> static loss_args<T> loss_args_of(const kernel_call *call, bool softmax)
{
    const loss_desc *d = (const loss_desc *)call->desc;
    double smoothing = (double)d->smoothing, share = softmax ? 1.0 / (double)d->classes : 0.5;
    loss_args<T> a = {(double *)call->out[0], (float *)call->out[1], (T *)call->out[2], (const T *)call->in[0],
        (const float *)call->in[1], (const float *)call->in[2], (const int64_t *)call->in[3],
        (const float *)call->in[4], d->rows, d->classes, (float)(1.0 - smoothing), (float)(smoothing * share),
        d->grad_scale};
    return a;
}

template <typename T> static __device__ int64_t valid_rows(const loss_args<T> &a)
{
    if (!a.valid || *a.valid > a.rows) return a.rows;
    return *a.valid < 0 ? 0 : *a.valid;
}

/* What the gradient is multiplied with. */
template <typename T> static __device__ float factor_of(const loss_args<T> &a, double inverse)
{
    return (float)((double)a.grad_scale * (a.loss_scale ? (double)*a.loss_scale : 1.0) * inverse);
}

template <typename T> static __device__ float weight_of(const loss_args<T> &a, int64_t c)
{
    return a.class_weight ? a.class_weight[c] : 1.0f;
}

/* Weighted targets of one thread's share of elements first, first + step, ... below end. */
template <typename T> static __device__ double weigh(const loss_args<T> &a, int64_t first, int64_t end, int64_t step)
{
    double sum = 0.0;
    for (int64_t i = first; i < end; i += step) sum += (double)(weight_of(a, i % a.classes) * a.targets[i]);
    return sum;
}

template <typename T> static __device__ void clear_row(const loss_args<T> &a, int64_t row, int lane, int group)
{
    if (a.row_loss && lane == 0) a.row_loss[row] = 0.0f;
    for (int64_t c = lane; a.dsrc && c < a.classes; c += group) a.dsrc[row * a.classes + c] = from_float<T>(0.0f);
}

/* ------------------------------------------------------------------------------------------ a row, by GROUP threads */

/* Whatever the group's size, the sum is every thread's; GROUP 1 is a thread alone. */
template <int GROUP> static __device__ double row_sum(double x)
{
    if constexpr (GROUP == 1) return x;
    else return group_sum<GROUP>(x);
}

template <int GROUP> static __device__ exp_sum row_join(exp_sum s)
{
    if constexpr (GROUP == 1) return s;
    else return group_join<GROUP>(s);
}

/* Loss of a row; its gradient times factor into dsrc. */
template <typename T, int GROUP>
static __device__ double softmax_ce_row(const loss_args<T> &a, int64_t row, int lane, float factor)
{
    const T *x = a.src + row * a.classes;
    const float *t = a.targets + row * a.classes;
    exp_sum s = {-INFINITY, 0.0f};
    double mass = 0.0, loss = 0.0; /* a thread alone may add up a thousand equal terms */
    for (int64_t c = lane; c < a.classes; c += GROUP) {
        exp_sum_add(&s, to_float(x[c]));
        mass += (double)(weight_of(a, c) * fmaf(a.keep, t[c], a.even));
    }
    s = row_join<GROUP>(s);
    float log_sum = logf(s.sum), whole = (float)row_sum<GROUP>(mass);
    for (int64_t c = lane; c < a.classes; c += GROUP) {
        float share = weight_of(a, c) * fmaf(a.keep, t[c], a.even), shifted = to_float(x[c]) - s.max;
        if (share != 0.0f)
            loss -= (double)(share * (shifted - log_sum)); /* a class that nothing asks for adds 0 whatever its logit */
        if (a.dsrc) a.dsrc[row * a.classes + c] = from_float<T>(factor * (whole * (expf(shifted) / s.sum) - share));
    }
    return row_sum<GROUP>(loss);
}

template <typename T, int GROUP>
static __device__ double sigmoid_bce_row(const loss_args<T> &a, int64_t row, int lane, float factor)
{
    double loss = 0.0;
    for (int64_t c = lane; c < a.classes; c += GROUP) {
        int64_t i = row * a.classes + c;
        float x = to_float(a.src[i]), t = fmaf(a.keep, a.targets[i], a.even), w = weight_of(a, c), e = expf(-fabsf(x));
        loss += (double)(w * (fmaxf(x, 0.0f) + log1pf(e) - t * x));
        if (a.dsrc) a.dsrc[i] = from_float<T>(factor * w * ((x >= 0.0f ? 1.0f : e) / (1.0f + e) - t));
    }
    return row_sum<GROUP>(loss);
}

template <typename T, int GROUP, bool SOFTMAX>
static __device__ double loss_row(const loss_args<T> &a, int64_t row, int lane, float factor)
{
    double loss =
        SOFTMAX ? softmax_ce_row<T, GROUP>(a, row, lane, factor) : sigmoid_bce_row<T, GROUP>(a, row, lane, factor);
    if (a.row_loss && lane == 0) a.row_loss[row] = (float)loss;
    return loss;
}

/* ------------------------------------------------------------------------------------------------ direct */

template <typename T, bool SOFTMAX> static __global__ void __launch_bounds__(THREADS, 2) loss_direct(loss_args<T> a)
{
    int64_t valid = valid_rows(a);
    double divisor =
        SOFTMAX ? block_sum(weigh(a, threadIdx.x, valid * a.classes, THREADS)) : (double)(valid * a.classes);
    double inverse = divisor > 0.0 ? 1.0 / divisor : 0.0, loss = 0.0;
    float factor = factor_of(a, inverse);
    for (int64_t row = threadIdx.x; row < a.rows; row += THREADS) {
        if (row < valid) loss += loss_row<T, 1, SOFTMAX>(a, row, 0, factor);
        else clear_row(a, row, 0, 1);
    }
    loss = block_sum(loss);
    if (threadIdx.x == 0) *a.loss = loss * inverse;
}

template <typename T> static status launch_direct(const kernel_call *call, bool softmax)
{
    return launch(softmax ? loss_direct<T, true> : loss_direct<T, false>, dim3(1), dim3(THREADS), 0, call->stream,
        loss_args_of<T>(call, softmax));
}

static status softmax_ce_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const loss_desc *)call->desc)->type, launch_direct, call, true);
}

static status sigmoid_bce_direct_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const loss_desc *)call->desc)->type, launch_direct, call, false);
}

/* ------------------------------------------------------------------------------------------------ rows */

/* What the blocks leave for each other. */
typedef struct loss_scratch {
    double weight[WEIGH_BLOCKS], loss[LOSS_BLOCKS];
} loss_scratch;

static size_t scratch_bytes(const void *desc, const void *state)
{
    (void)desc;
    (void)state;
    return sizeof(loss_scratch);
}

template <typename T>
static __global__ void __launch_bounds__(THREADS) weigh_blocks(loss_scratch *scratch, loss_args<T> a)
{
    double sum =
        weigh(a, (int64_t)blockIdx.x * THREADS + threadIdx.x, valid_rows(a) * a.classes, (int64_t)gridDim.x * THREADS);
    sum = block_sum(sum);
    if (threadIdx.x == 0) scratch->weight[blockIdx.x] = sum;
}

/* 1 / divisor, the same in every thread. Whole warps call it. */
template <typename T, bool SOFTMAX>
static __device__ double inverse_of(const loss_scratch *scratch, const loss_args<T> &a, int64_t valid, int weigh_blocks)
{
    double sum = (double)(valid * a.classes);
    if (SOFTMAX) {
        sum = 0.0;
        for (int i = threadIdx.x % WARP; i < weigh_blocks; i += WARP) sum += scratch->weight[i];
        sum = warp_sum(sum);
    }
    return sum > 0.0 ? 1.0 / sum : 0.0;
}

template <typename T, int GROUP, bool SOFTMAX>
static __global__ void __launch_bounds__(THREADS, 4) loss_rows(loss_scratch *scratch, loss_args<T> a, int weigh_blocks)
{
    int64_t valid = valid_rows(a);
    int lane = group_lane<GROUP>();
    float factor = factor_of(a, inverse_of<T, SOFTMAX>(scratch, a, valid, weigh_blocks));
    double loss = 0.0;
    for (int64_t row = group_index<GROUP>(); row < a.rows; row += (int64_t)gridDim.x * GROUPS<GROUP>) {
        if (row < valid) loss += loss_row<T, GROUP, SOFTMAX>(a, row, lane, factor);
        else clear_row(a, row, lane, GROUP);
    }
    loss = block_sum(lane == 0 ? loss : 0.0);
    if (threadIdx.x == 0) scratch->loss[blockIdx.x] = loss;
}

template <typename T, bool SOFTMAX>
static __global__ void __launch_bounds__(THREADS)
    sum_losses(loss_scratch *scratch, loss_args<T> a, int weigh_blocks, int loss_blocks)
{
    double loss = 0.0, inverse = inverse_of<T, SOFTMAX>(scratch, a, valid_rows(a), weigh_blocks);
    for (int i = threadIdx.x; i < loss_blocks; i += THREADS) loss += scratch->loss[i];
    loss = block_sum(loss);
    if (threadIdx.x == 0) *a.loss = loss * inverse;
}

static int blocks_below(int64_t count, int64_t each, int most)
{
    int64_t needed = (count + each - 1) / each;
    return needed < most ? (int)needed : most;
}

template <typename T, int GROUP, bool SOFTMAX> static status launch_group(const kernel_call *call)
{
    loss_args<T> a = loss_args_of<T>(call, SOFTMAX);
    int weighing = blocks_below(a.rows * a.classes, THREADS * 8, WEIGH_BLOCKS),
        losing = blocks_below(a.rows, GROUPS<GROUP>, LOSS_BLOCKS);
    if (SOFTMAX)
        TRY(launch(weigh_blocks<T>, dim3((unsigned)weighing), dim3(THREADS), 0, call->stream, call->scratch, a));
    TRY(launch(loss_rows<T, GROUP, SOFTMAX>, dim3((unsigned)losing), dim3(THREADS), 0, call->stream, call->scratch, a,
        weighing));
    return launch(sum_losses<T, SOFTMAX>, dim3(1), dim3(THREADS), 0, call->stream, call->scratch, a, weighing, losing);
}

template <typename T> static status launch_softmax_ce(const kernel_call *call)
{
    bool narrow = ((const loss_desc *)call->desc)->classes <= WARP_CLASSES;
    return narrow ? launch_group<T, WARP, true>(call) : launch_group<T, THREADS, true>(call);
}

template <typename T> static status launch_sigmoid_bce(const kernel_call *call)
{
    bool narrow = ((const loss_desc *)call->desc)->classes <= WARP_CLASSES;
    return narrow ? launch_group<T, WARP, false>(call) : launch_group<T, THREADS, false>(call);
}

static status softmax_ce_rows_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const loss_desc *)call->desc)->type, launch_softmax_ce, call);
}

static status sigmoid_bce_rows_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const loss_desc *)call->desc)->type, launch_sigmoid_bce, call);
}

CUDA_KERNEL(
    softmax_ce__cuda_rows, OP_SOFTMAX_CE, .refuse = refuse, .scratch_bytes = scratch_bytes, .run = softmax_ce_rows_run);
CUDA_KERNEL(softmax_ce__cuda_direct, OP_SOFTMAX_CE, .refuse = refuse, .run = softmax_ce_direct_run);
CUDA_KERNEL(sigmoid_bce__cuda_rows, OP_SIGMOID_BCE, .refuse = refuse, .scratch_bytes = scratch_bytes,
    .run = sigmoid_bce_rows_run);
CUDA_KERNEL(sigmoid_bce__cuda_direct, OP_SIGMOID_BCE, .refuse = refuse, .run = sigmoid_bce_direct_run);
