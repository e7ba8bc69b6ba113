/* multibox_loss.cu: the loss of SSD, and its gradient. Four launches: a thread a row (image, prior) ranks the
 * backgrounds and counts the positives; one block selects the hardest backgrounds; a thread a row computes losses and
 * gradients; one block adds the blocks' sums in order. Terms are double, so that every backend ranks backgrounds alike.
 * Bound by exp in double, on GPUs that are slow in it.
 */
#include "kernels/cuda/boxes.cuh"

constexpr int THREADS = 256, BLOCKS = 256, SELECT_THREADS = 256;

/* What the launches leave for each other; behind it rank[rows]. */
typedef struct multibox_scratch {
    double box[BLOCKS], entropy[BLOCKS];
    int64_t positives[BLOCKS];
    int64_t all_positives;
    uint64_t limit; /* the least key of a background that counts */
} multibox_scratch;

template <typename T> struct multibox_args {
    multibox_scratch *scratch;
    uint32_t *rank;  /* [rows]: 0: no background; else 1 + the bits of its loss */
    double *loss[4]; /* total, box, class, positives */
    T *dlocation;    /* [rows, 4], or NULL */
    T *dconfidence;  /* [rows, channels], or NULL */
    const T *location, *confidence;
    const float4 *priors;     /* [priors] */
    const float4 *boxes;      /* [n, capacity] */
    const int32_t *box_class; /* [n, capacity] */
    const int32_t *match;     /* [rows] */
    const float *loss_scale;  /* [1], or NULL */
    int64_t rows, count, channels, capacity;
    double ratio, location_weight, grad_scale, variance[4];
};

/* The channel that a row should have: 0 is background; -1: it is ignored. *box: the one that it is matched to. */
template <typename T> static __device__ int64_t wanted_channel(const multibox_args<T> &a, int64_t row, float4 *box)
{
    int32_t match = a.match[row];
    if (match == MATCH_BACKGROUND) return 0;
    if (match < 0 || match >= a.capacity) return -1;
    int64_t k = row / a.count * a.capacity + match;
    *box = a.boxes[k];
    return a.box_class[k] >= 0 && a.box_class[k] < a.channels - 1 ? a.box_class[k] + 1 : -1;
}

template <typename T> static __device__ double log_sum(const T *x, int64_t channels, double *max)
{
    double sum = 0.0;
    *max = (double)to_float(x[0]);
    for (int64_t k = 1; k < channels; k++) *max = fmax(*max, (double)to_float(x[k]));
    for (int64_t k = 0; k < channels; k++) sum += exp((double)to_float(x[k]) - *max);
    return log(sum);
}

template <typename T> static __global__ void __launch_bounds__(THREADS) rank_rows(multibox_args<T> a)
{
    int64_t positives = 0;
    float4 box;
    for (int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x; row < a.rows; row += (int64_t)gridDim.x * THREADS) {
        int64_t channel = wanted_channel(a, row, &box);
        uint32_t rank = 0;
        if (channel > 0) positives++;
        if (channel == 0) {
            double max, sum = log_sum(a.confidence + row * a.channels, a.channels, &max);
            float loss = (float)(sum - ((double)to_float(a.confidence[row * a.channels]) - max));
            rank = 1 + (loss != loss ? 0x7fffffffu : loss > 0.0f ? __float_as_uint(loss) : 0u);
        }
        a.rank[row] = rank;
    }
    positives = block_sum(positives);
    if (threadIdx.x == 0) a.scratch->positives[blockIdx.x] = positives;
}

template <typename T>
static __global__ void __launch_bounds__(SELECT_THREADS) select_rows(multibox_args<T> a, int blocks)
{
    int64_t positives = 0;
    for (int i = 0; i < blocks; i++) positives += a.scratch->positives[i];
    double most = floor(a.ratio * (double)positives);
    int64_t chosen = most < (double)a.rows ? (int64_t)most : a.rows;
    uint64_t limit = UINT64_MAX;
    const uint32_t *rank = a.rank;
    if (chosen > 0)
        limit = block_select<SELECT_THREADS>(
            [=](int64_t i) { return rank[i] ? rank_key(rank[i], i) : (uint64_t)0; }, a.rows, chosen);
    if (threadIdx.x == 0) a.scratch->all_positives = positives, a.scratch->limit = limit;
}

/* Cross-entropy of a row, and its gradient. */
template <typename T>
static __device__ double class_loss(const multibox_args<T> &a, int64_t row, int64_t channel, double factor)
{
    const T *x = a.confidence + row * a.channels;
    double max, sum = log_sum(x, a.channels, &max);
    for (int64_t k = 0; k < a.channels && a.dconfidence; k++) {
        double p = exp((double)to_float(x[k]) - max - sum);
        a.dconfidence[row * a.channels + k] = from_float<T>((float)(factor * (p - (k == channel ? 1.0 : 0.0))));
    }
    return sum - ((double)to_float(x[channel]) - max);
}

/* Smooth L1 of one of the four, its gradient times the factor. */
template <typename T>
static __device__ double off_loss(const multibox_args<T> &a, int64_t i, double target, double factor)
{
    double off = (double)to_float(a.location[i]) - target;
    bool near = fabs(off) < 1.0;
    double slope = near ? off : off > 0.0 ? 1.0 : off < 0.0 ? -1.0 : off;
    if (a.dlocation) a.dlocation[i] = from_float<T>((float)(factor * a.location_weight * slope));
    return near ? 0.5 * off * off : fabs(off) - 0.5;
}

template <typename T>
static __device__ double box_loss(const multibox_args<T> &a, int64_t row, float4 box, double factor)
{
    double target[4], loss = 0.0;
    box_offsets(target, a.priors[row % a.count], box, a.variance);
    for (int k = 0; k < 4; k++) loss += off_loss(a, 4 * row + k, target[k], factor);
    return loss;
}

template <typename T> static __global__ void __launch_bounds__(THREADS) lose_rows(multibox_args<T> a)
{
    double positives = (double)a.scratch->all_positives, boxes = 0.0, entropy = 0.0;
    double factor = a.grad_scale * (a.loss_scale ? (double)*a.loss_scale : 1.0) / (positives > 0.0 ? positives : 1.0);
    uint64_t limit = a.scratch->limit;
    float4 box;
    for (int64_t row = (int64_t)blockIdx.x * THREADS + threadIdx.x; row < a.rows; row += (int64_t)gridDim.x * THREADS) {
        int64_t channel = wanted_channel(a, row, &box);
        bool counts = channel > 0 || (channel == 0 && rank_key(a.rank[row], row) >= limit);
        if (counts) entropy += class_loss(a, row, channel, factor);
        for (int64_t k = 0; k < a.channels && a.dconfidence && !counts; k++)
            a.dconfidence[row * a.channels + k] = from_float<T>(0.0f);
        if (channel > 0) boxes += box_loss(a, row, box, factor);
        for (int k = 0; k < 4 && a.dlocation && channel <= 0; k++) a.dlocation[4 * row + k] = from_float<T>(0.0f);
    }
    boxes = block_sum(boxes);
    entropy = block_sum(entropy);
    if (threadIdx.x == 0) a.scratch->box[blockIdx.x] = boxes, a.scratch->entropy[blockIdx.x] = entropy;
}

template <typename T> static __global__ void __launch_bounds__(BLOCKS) sum_blocks(multibox_args<T> a, int blocks)
{
    bool one = (int)threadIdx.x < blocks;
    double boxes = block_sum(one ? a.scratch->box[threadIdx.x] : 0.0),
           entropy = block_sum(one ? a.scratch->entropy[threadIdx.x] : 0.0);
    double positives = (double)a.scratch->all_positives, divisor = positives > 0.0 ? positives : 1.0;
    if (threadIdx.x != 0) return;
    *a.loss[0] = (entropy + a.location_weight * boxes) / divisor;
    *a.loss[1] = boxes / divisor;
    *a.loss[2] = entropy / divisor;
    *a.loss[3] = positives;
}

static const char *refuse(const void *desc)
{
    const multibox_loss_desc *d = (const multibox_loss_desc *)desc;
    if (d->n * d->priors >= INT32_MAX) return "more than 2^31 priors in a batch";
    return cuda_refuse_type(d->type);
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    const multibox_loss_desc *d = (const multibox_loss_desc *)desc;
    (void)state;
    return sizeof(multibox_scratch) + (size_t)(d->n * d->priors) * sizeof(uint32_t);
}

template <typename T> static status launch_multibox_loss(const kernel_call *call)
{
    const multibox_loss_desc *d = (const multibox_loss_desc *)call->desc;
    multibox_scratch *scratch = (multibox_scratch *)call->scratch;
    multibox_args<T> a = {scratch, (uint32_t *)(scratch + 1), {}, (T *)call->out[4], (T *)call->out[5],
        (const T *)call->in[0], (const T *)call->in[1], (const float4 *)call->in[2], (const float4 *)call->in[3],
        (const int32_t *)call->in[4], (const int32_t *)call->in[5], (const float *)call->in[6], d->n * d->priors,
        d->priors, d->classes + 1, d->capacity, (double)d->neg_pos_ratio, (double)d->location_weight,
        (double)d->grad_scale, {}};
    for (int i = 0; i < 4; i++) a.loss[i] = (double *)call->out[i], a.variance[i] = (double)d->variance[i];
    int64_t needed = (a.rows + THREADS - 1) / THREADS;
    int blocks = needed < BLOCKS ? (int)needed : BLOCKS;
    TRY(launch(rank_rows<T>, dim3((unsigned)blocks), dim3(THREADS), 0, call->stream, a));
    TRY(launch(select_rows<T>, dim3(1), dim3(SELECT_THREADS), 0, call->stream, a, blocks));
    TRY(launch(lose_rows<T>, dim3((unsigned)blocks), dim3(THREADS), 0, call->stream, a));
    return launch(sum_blocks<T>, dim3(1), dim3(BLOCKS), 0, call->stream, a, blocks);
}

static status multibox_loss_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const multibox_loss_desc *)call->desc)->type, launch_multibox_loss, call);
}

CUDA_KERNEL(multibox_loss__cuda_rows, OP_MULTIBOX_LOSS, .refuse = refuse, .scratch_bytes = scratch_bytes,
    .run = multibox_loss_run);
