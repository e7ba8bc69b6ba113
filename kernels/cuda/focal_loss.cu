/* focal_loss.cu: the loss of RetinaNet, and its gradient. Three launches: a block an image counts its positives; a
 * thread a score computes losses and gradients, the first of a row its box's too; one block adds the blocks' sums in
 * order. Bound by reading the scores and writing their gradients.
 */
#include "kernels/cuda/boxes.cuh"

constexpr int THREADS = 256, BLOCKS = 256;

/* What the launches leave for each other; behind it positives[n]. */
typedef struct focal_scratch {
    double box[BLOCKS], entropy[BLOCKS];
} focal_scratch;

template <typename T> struct focal_args {
    focal_scratch *scratch;
    int64_t *positives; /* [n] */
    double *loss[4];    /* total, box, class, positives */
    T *dlocation;       /* [rows, 4], or NULL */
    T *dconfidence;     /* [rows, classes], or NULL */
    const T *location, *confidence;
    const float4 *priors;     /* [priors] */
    const float4 *boxes;      /* [n, capacity] */
    const int32_t *box_class; /* [n, capacity] */
    const int32_t *match;     /* [rows] */
    const float *loss_scale;  /* [1], or NULL */
    int64_t n, count, classes, capacity;
    double location_weight, grad_scale, beta, variance[4];
    float alpha, gamma;
    bool per_image;
};

constexpr int64_t NEGATIVE = -1, IGNORED = -2;

/* The class that a row (image, prior) should have. *box: the one that it is matched to. */
template <typename T> static __device__ int64_t wanted_class(const focal_args<T> &a, int64_t row, float4 *box)
{
    int32_t match = a.match[row];
    if (match == MATCH_BACKGROUND) return NEGATIVE;
    if (match < 0 || match >= a.capacity) return IGNORED;
    int64_t k = row / a.count * a.capacity + match;
    *box = a.boxes[k];
    return a.box_class[k] >= 0 && a.box_class[k] < a.classes ? a.box_class[k] : IGNORED;
}

template <typename T> static __global__ void __launch_bounds__(THREADS) count_positives(focal_args<T> a)
{
    int64_t positives = 0;
    float4 box;
    for (int64_t p = threadIdx.x; p < a.count; p += THREADS)
        positives += wanted_class(a, blockIdx.x * a.count + p, &box) >= 0;
    positives = block_sum(positives);
    if (threadIdx.x == 0) a.positives[blockIdx.x] = positives;
}

template <typename T> static __device__ int64_t all_positives(const focal_args<T> &a)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < a.n; i++) sum += a.positives[i];
    return sum;
}

/* With s = x where the class is there, else -x, and q = 1 - sigmoid(s): weight q^gamma ln(1 + exp(-s)). */
template <typename T>
static __device__ float element_loss(const focal_args<T> &a, float x, bool there, float *slope)
{
    float s = there ? x : -x, weight = there ? a.alpha : 1.0f - a.alpha;
    float e = expf(-fabsf(s)), r = 1.0f / (1.0f + e), q = s >= 0.0f ? e * r : r, p = s >= 0.0f ? r : e * r;
    float entropy = fmaxf(-s, 0.0f) + log1pf(e);
    float focus = weight * (a.gamma == 2.0f ? q * q : a.gamma > 0.0f ? powf(q, a.gamma) : 1.0f);
    *slope = focus * (a.gamma * p * entropy + q) * (there ? -1.0f : 1.0f);
    return focus * entropy;
}

/* Smooth L1 of one of the four, its gradient times the factor. */
template <typename T>
static __device__ double off_loss(const focal_args<T> &a, int64_t i, double target, double factor)
{
    double off = (double)to_float(a.location[i]) - target;
    bool near = fabs(off) < a.beta;
    double slope = near ? off / a.beta : off > 0.0 ? 1.0 : off < 0.0 ? -1.0 : off;
    if (a.dlocation) a.dlocation[i] = from_float<T>((float)(factor * a.location_weight * slope));
    return near ? 0.5 * off * off / a.beta : fabs(off) - 0.5 * a.beta;
}

template <typename T>
static __device__ double box_loss(const focal_args<T> &a, int64_t row, float4 box, double factor)
{
    double target[4], loss = 0.0;
    box_offsets(target, a.priors[row % a.count], box, a.variance);
    for (int k = 0; k < 4; k++) loss += off_loss(a, 4 * row + k, target[k], factor);
    return loss;
}

template <typename T> static __global__ void __launch_bounds__(THREADS) lose_scores(focal_args<T> a)
{
    double scale = a.grad_scale * (a.loss_scale ? (double)*a.loss_scale : 1.0), boxes = 0.0, entropy = 0.0;
    int64_t all = a.per_image ? 0 : all_positives(a), image_before = -1;
    double share = 0.0;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < a.n * a.count * a.classes;
         i += (int64_t)gridDim.x * THREADS) {
        int64_t row = i / a.classes, image = row / a.count;
        if (image != image_before) {
            int64_t own = a.per_image ? a.positives[image] : all;
            share = 1.0 / ((own > 0 ? (double)own : 1.0) * (a.per_image ? (double)a.n : 1.0));
            image_before = image;
        }
        float4 box;
        float slope = 0.0f;
        int64_t wanted = wanted_class(a, row, &box);
        if (wanted != IGNORED)
            entropy +=
                share * (double)element_loss(a, to_float(a.confidence[i]), wanted == i - row * a.classes, &slope);
        if (a.dconfidence) a.dconfidence[i] = from_float<T>((float)(scale * share * (double)slope));
        if (i != row * a.classes) continue;
        if (wanted >= 0) boxes += share * box_loss(a, row, box, scale * share);
        for (int k = 0; k < 4 && a.dlocation && wanted < 0; k++) a.dlocation[4 * row + k] = from_float<T>(0.0f);
    }
    boxes = block_sum(boxes);
    entropy = block_sum(entropy);
    if (threadIdx.x == 0) a.scratch->box[blockIdx.x] = boxes, a.scratch->entropy[blockIdx.x] = entropy;
}

template <typename T> static __global__ void __launch_bounds__(BLOCKS) sum_blocks(focal_args<T> a, int blocks)
{
    bool one = (int)threadIdx.x < blocks;
    double boxes = block_sum(one ? a.scratch->box[threadIdx.x] : 0.0),
           entropy = block_sum(one ? a.scratch->entropy[threadIdx.x] : 0.0);
    if (threadIdx.x != 0) return;
    *a.loss[0] = entropy + a.location_weight * boxes;
    *a.loss[1] = boxes;
    *a.loss[2] = entropy;
    *a.loss[3] = (double)all_positives(a);
}

static const char *refuse(const void *desc)
{
    const focal_loss_desc *d = (const focal_loss_desc *)desc;
    if (d->n * d->priors >= INT32_MAX) return "more than 2^31 priors in a batch";
    return cuda_refuse_type(d->type);
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    (void)state;
    return sizeof(focal_scratch) + (size_t)((const focal_loss_desc *)desc)->n * sizeof(int64_t);
}

template <typename T> static status launch_focal_loss(const kernel_call *call)
{
    const focal_loss_desc *d = (const focal_loss_desc *)call->desc;
    focal_scratch *scratch = (focal_scratch *)call->scratch;
    focal_args<T> a = {scratch, (int64_t *)(scratch + 1), {}, (T *)call->out[4], (T *)call->out[5],
        (const T *)call->in[0], (const T *)call->in[1], (const float4 *)call->in[2], (const float4 *)call->in[3],
        (const int32_t *)call->in[4], (const int32_t *)call->in[5], (const float *)call->in[6], d->n, d->priors,
        d->classes, d->capacity, (double)d->location_weight, (double)d->grad_scale, (double)d->beta, {}, d->alpha,
        d->gamma, d->per_image};
    for (int i = 0; i < 4; i++) a.loss[i] = (double *)call->out[i], a.variance[i] = (double)d->variance[i];
    int64_t needed = (d->n * d->priors * d->classes + THREADS - 1) / THREADS;
    int blocks = needed < BLOCKS ? (int)needed : BLOCKS;
    TRY(launch(count_positives<T>, dim3((unsigned)d->n), dim3(THREADS), 0, call->stream, a));
    TRY(launch(lose_scores<T>, dim3((unsigned)blocks), dim3(THREADS), 0, call->stream, a));
    return launch(sum_blocks<T>, dim3(1), dim3(BLOCKS), 0, call->stream, a, blocks);
}

static status focal_loss_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const focal_loss_desc *)call->desc)->type, launch_focal_loss, call);
}

CUDA_KERNEL(focal_loss__cuda_rows, OP_FOCAL_LOSS, .refuse = refuse, .scratch_bytes = scratch_bytes,
    .run = focal_loss_run);
