/* detect_boxes.cu: predictions of a single-stage detector as boxes, the best of those that overlap. Three launches: a
 * thread a prior decodes its box and its scores; a block a class of an image selects the top_k best and walks them,
 * each thread dropping candidates of its own; a block an image merges the classes' lists. Bound by the walk where many
 * candidates are left, else by reading the confidences.
 */
#include "kernels/cuda/boxes.cuh"

constexpr int THREADS = 256;

template <typename T> struct detect_args {
    float *detections; /* [n, capacity, 6] */
    uint64_t *kept;    /* [n, classes, capacity]: rank_key of score and prior, best first; 0: none */
    float4 *box;       /* [n, priors], decoded */
    float *score;      /* [n, classes, priors]; 0: no candidate */
    int32_t *head;     /* [n, classes]: how many of kept the merge has taken */
    const T *location, *confidence;
    const float4 *priors; /* [priors] */
    int64_t n, count, classes, capacity, top_k;
    double variance[4];
    float threshold, iou, width, height;
    bool sigmoid;
};

static __device__ float clipped(double x, float end) { return x < 0.0 ? 0.0f : x > (double)end ? end : (float)x; }

template <typename T> static __device__ float4 decoded(const detect_args<T> &a, int64_t row, float4 p)
{
    double width = (double)p.z - (double)p.x, height = (double)p.w - (double)p.y;
    const T *l = a.location + 4 * row;
    double x = ((double)p.x + (double)p.z) / 2.0 + (double)to_float(l[0]) * a.variance[0] * width;
    double y = ((double)p.y + (double)p.w) / 2.0 + (double)to_float(l[1]) * a.variance[1] * height;
    double across = width * exp((double)to_float(l[2]) * a.variance[2]) / 2.0,
           down = height * exp((double)to_float(l[3]) * a.variance[3]) / 2.0;
    return make_float4(clipped(x - across, a.width), clipped(y - down, a.height), clipped(x + across, a.width),
        clipped(y + down, a.height));
}

template <typename T> static __global__ void __launch_bounds__(THREADS) score_rows(detect_args<T> a)
{
    int64_t p = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    for (int64_t i = blockIdx.y; i < a.n && p < a.count; i += gridDim.y) {
        int64_t row = i * a.count + p, channels = a.classes + (a.sigmoid ? 0 : 1);
        const T *x = a.confidence + row * channels;
        double max = (double)to_float(x[0]), sum = 0.0;
        for (int64_t c = 1; c < channels && !a.sigmoid; c++) max = fmax(max, (double)to_float(x[c]));
        for (int64_t c = 0; c < channels && !a.sigmoid; c++) sum += exp((double)to_float(x[c]) - max);
        for (int64_t c = 0; c < a.classes; c++) {
            double y =
                a.sigmoid ? 1.0 / (1.0 + exp(-(double)to_float(x[c]))) : exp((double)to_float(x[c + 1]) - max) / sum;
            float score = (float)y;
            a.score[(i * a.classes + c) * a.count + p] = score > a.threshold ? score : 0.0f;
        }
        a.box[row] = decoded(a, row, a.priors[p]);
    }
}

/* Block (class, image). A thread reads and drops only its own candidates: every THREADS-th. */
template <typename T> static __global__ void __launch_bounds__(THREADS) suppress_classes(detect_args<T> a)
{
    for (int64_t i = blockIdx.y; i < a.n; i += gridDim.y) {
        int64_t list = i * a.classes + blockIdx.x, count = a.count;
        float *score = a.score + list * count;
        const float4 *box = a.box + i * count;
        uint64_t *kept = a.kept + list * a.capacity;
        auto key = [=](int64_t p) { return score[p] > 0.0f ? rank_key(__float_as_uint(score[p]), p) : (uint64_t)0; };
        uint64_t limit = a.top_k < count ? block_select<THREADS>(key, count, a.top_k) : 1;
        int64_t k = 0;
        for (; k < a.capacity; k++) {
            uint64_t best = 0;
            for (int64_t p = threadIdx.x; p < count; p += THREADS) {
                uint64_t x = key(p);
                if (x >= limit && x > best) best = x;
            }
            best = block_greatest(best);
            if (best == 0) break; /* for all threads */
            float4 chosen = box[rank_index(best)];
            for (int64_t p = threadIdx.x; p < count; p += THREADS)
                if (p == rank_index(best) || (score[p] > 0.0f && box_iou(chosen, box[p]) > a.iou)) score[p] = 0.0f;
            if (threadIdx.x == 0) kept[k] = best;
        }
        for (k += threadIdx.x; k < a.capacity; k += THREADS) kept[k] = 0;
        __syncthreads();
    }
}

/* Block (image): the best of the lists' heads, again and again; a thread reads and moves only its own heads. */
template <typename T> static __global__ void __launch_bounds__(THREADS) merge_classes(detect_args<T> a)
{
    int32_t *head = a.head + blockIdx.x * a.classes;
    const uint64_t *kept = a.kept + blockIdx.x * a.classes * a.capacity;
    for (int64_t c = threadIdx.x; c < a.classes; c += THREADS) head[c] = 0;
    for (int64_t k = 0; k < a.capacity; k++) {
        uint64_t best = 0;
        int64_t prior = 0;
        for (int64_t c = threadIdx.x; c < a.classes; c += THREADS) {
            uint64_t x = head[c] < a.capacity ? kept[c * a.capacity + head[c]] : 0,
                     key = x ? rank_key((uint32_t)(x >> 32), c) : 0;
            if (key > best) best = key, prior = rank_index(x);
        }
        uint64_t winner = block_greatest(best);
        float *out = a.detections + (blockIdx.x * a.capacity + k) * 6;
        if (winner == 0 && threadIdx.x < 6) out[threadIdx.x] = threadIdx.x == 5 ? -1.0f : 0.0f;
        if (winner == 0 || best != winner) continue;
        int64_t c = rank_index(winner);
        float4 box = a.box[blockIdx.x * a.count + prior];
        head[c]++;
        out[0] = box.x, out[1] = box.y, out[2] = box.z, out[3] = box.w;
        out[4] = __uint_as_float((uint32_t)(winner >> 32));
        out[5] = (float)c;
    }
}

static const char *refuse(const void *desc)
{
    const detect_boxes_desc *d = (const detect_boxes_desc *)desc;
    if (d->priors > INT32_MAX - THREADS || d->capacity > INT32_MAX || d->n > INT32_MAX)
        return "more than 2^31 priors or detections";
    return cuda_refuse_type(d->type);
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    const detect_boxes_desc *d = (const detect_boxes_desc *)desc;
    (void)state;
    return (size_t)d->n * (size_t)(16 * d->priors + d->classes * (8 * d->capacity + 4 * d->priors + 4));
}

template <typename T> static status launch_detect_boxes(const kernel_call *call)
{
    const detect_boxes_desc *d = (const detect_boxes_desc *)call->desc;
    float4 *box = (float4 *)call->scratch; /* first what needs the greatest alignment */
    uint64_t *kept = (uint64_t *)(box + d->n * d->priors);
    float *score = (float *)(kept + d->n * d->classes * d->capacity);
    int32_t *head = (int32_t *)(score + d->n * d->classes * d->priors);
    detect_args<T> a = {(float *)call->out[0], kept, box, score, head, (const T *)call->in[0], (const T *)call->in[1],
        (const float4 *)call->in[2], d->n, d->priors, d->classes, d->capacity, d->top_k, {}, d->threshold, d->iou,
        d->width, d->height, d->sigmoid};
    for (int i = 0; i < 4; i++) a.variance[i] = (double)d->variance[i];
    unsigned images = (unsigned)(d->n < GRID_MAX ? d->n : GRID_MAX);
    TRY(launch(score_rows<T>, dim3(blocks_for(d->priors, THREADS), images), dim3(THREADS), 0, call->stream, a));
    TRY(launch(suppress_classes<T>, dim3((unsigned)d->classes, images), dim3(THREADS), 0, call->stream, a));
    return launch(merge_classes<T>, dim3((unsigned)d->n), dim3(THREADS), 0, call->stream, a);
}

static status detect_boxes_run(const kernel_call *call)
{
    return FOR_FLOAT_TYPE(((const detect_boxes_desc *)call->desc)->type, launch_detect_boxes, call);
}

CUDA_KERNEL(detect_boxes__cuda_classes, OP_DETECT_BOXES, .refuse = refuse, .scratch_bytes = scratch_bytes,
    .run = detect_boxes_run);
