/* match_boxes.cu: which box of the labels each prior stands for. A block takes an image for the pairs: each box keeps
 * its best free prior, the best of all boxes is matched, and the boxes that have lost their prior look again. For
 * low-quality matches a block finds the greatest overlap of a box. Then a thread takes a prior. Bound by the divisions
 * of IoU; boxes stay in the cache.
 */
#include "kernels/cuda/boxes.cuh"

constexpr int THREADS = 256;

typedef struct match_args {
    int32_t *match;           /* [n, priors] */
    uint64_t *best;           /* [n, capacity]: rank_key of the IoU with its best free prior; 0: none, or matched */
    uint32_t *greatest;       /* [n, capacity]: bits of the greatest IoU of any prior */
    const float4 *priors;     /* [priors] */
    const float4 *boxes;      /* [n, capacity] */
    const int32_t *box_class; /* [n, capacity] */
    int64_t n, count, capacity;
    float positive, negative;
    bool bipartite, low_quality;
} match_args;

static __device__ uint64_t best_prior(const match_args &a, const int32_t *match, float4 box)
{
    uint64_t best = 0;
    for (int64_t p = threadIdx.x; p < a.count; p += THREADS) {
        float iou = match[p] == MATCH_BACKGROUND ? box_iou(a.priors[p], box) : 0.0f;
        uint64_t key = iou > 0.0f ? rank_key(__float_as_uint(iou), p) : 0;
        best = key > best ? key : best;
    }
    return block_greatest(best);
}

/* Thread 0 writes best[]; who reads it waits for the barrier behind. */
static __global__ void __launch_bounds__(THREADS) match_pairs(match_args a)
{
    int32_t *match = a.match + blockIdx.x * a.count;
    uint64_t *best = a.best + blockIdx.x * a.capacity;
    const float4 *boxes = a.boxes + blockIdx.x * a.capacity;
    const int32_t *box_class = a.box_class + blockIdx.x * a.capacity;
    int64_t boxes_here = 0;
    for (int64_t p = threadIdx.x; p < a.count; p += THREADS) match[p] = MATCH_BACKGROUND;
    while (boxes_here < a.capacity && box_class[boxes_here] != BOX_CLASS_NONE) boxes_here++;
    if (!a.bipartite) return; /* for all threads of the grid */
    __syncthreads();
    for (int64_t k = 0; k < boxes_here; k++) {
        uint64_t key = box_class[k] >= 0 ? best_prior(a, match, boxes[k]) : 0;
        if (threadIdx.x == 0) best[k] = key;
    }
    __syncthreads();
    for (;;) {
        uint64_t winner = 0;
        for (int64_t k = threadIdx.x; k < boxes_here; k += THREADS) {
            uint64_t key = best[k] ? rank_key((uint32_t)(best[k] >> 32), k) : 0;
            winner = key > winner ? key : winner;
        }
        winner = block_greatest(winner);
        if (winner == 0) return; /* for all threads of the block */
        int64_t box = rank_index(winner), prior = rank_index(best[box]);
        __syncthreads();
        if (threadIdx.x == 0) match[prior] = (int32_t)box, best[box] = 0;
        __syncthreads();
        for (int64_t k = 0; k < boxes_here; k++) {
            bool lost = best[k] && rank_index(best[k]) == prior;
            __syncthreads();
            uint64_t key = lost ? best_prior(a, match, boxes[k]) : 0;
            if (lost && threadIdx.x == 0) best[k] = key;
        }
        __syncthreads();
    }
}

/* Block (box, image). */
static __global__ void __launch_bounds__(THREADS) find_greatest(match_args a)
{
    for (int64_t i = blockIdx.y; i < a.n; i += gridDim.y) {
        int64_t row = i * a.capacity + blockIdx.x;
        float most = 0.0f;
        for (int64_t p = threadIdx.x; p < a.count && a.box_class[row] >= 0; p += THREADS)
            most = fmaxf(most, box_iou(a.priors[p], a.boxes[row]));
        uint64_t greatest = block_greatest(rank_key(__float_as_uint(most), 0));
        if (threadIdx.x == 0) a.greatest[row] = (uint32_t)(greatest >> 32);
    }
}

static __global__ void __launch_bounds__(THREADS) match_free(match_args a)
{
    int64_t p = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    for (int64_t i = blockIdx.y; i < a.n && p < a.count; i += gridDim.y) {
        int32_t *match = a.match + i * a.count + p;
        if (*match != MATCH_BACKGROUND) continue;
        float4 prior = a.priors[p];
        float best = 0.0f, half = 0.5f * box_area(prior);
        int32_t box = MATCH_BACKGROUND;
        bool covered = false, closest = false;
        for (int64_t k = 0; k < a.capacity; k++) {
            int32_t kind = a.box_class[i * a.capacity + k];
            if (kind == BOX_CLASS_NONE) break;
            float4 other = a.boxes[i * a.capacity + k];
            float iou = kind >= 0 ? box_iou(prior, other) : 0.0f,
                  common = kind == BOX_CLASS_IGNORE ? box_common(prior, other) : 0.0f;
            if (iou > best) best = iou, box = (int32_t)k;
            closest = closest ||
                      (a.low_quality && iou > 0.0f && __float_as_uint(iou) >= a.greatest[i * a.capacity + k]);
            covered = covered || (common > 0.0f && common >= half);
        }
        *match = best >= a.positive || closest ? box : best >= a.negative || covered ? MATCH_IGNORED : MATCH_BACKGROUND;
    }
}

static const char *refuse(const void *desc)
{
    const match_boxes_desc *d = (const match_boxes_desc *)desc;
    return d->priors > INT32_MAX - THREADS || d->capacity > INT32_MAX ? "more than 2^31 priors or boxes" : NULL;
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    const match_boxes_desc *d = (const match_boxes_desc *)desc;
    (void)state;
    return (size_t)(d->n * d->capacity) * (sizeof(uint64_t) + sizeof(uint32_t));
}

static status match_boxes_run(const kernel_call *call)
{
    const match_boxes_desc *d = (const match_boxes_desc *)call->desc;
    uint64_t *best = (uint64_t *)call->scratch;
    match_args a = {(int32_t *)call->out[0], best, (uint32_t *)(best + d->n * d->capacity), (const float4 *)call->in[0],
        (const float4 *)call->in[1], (const int32_t *)call->in[2], d->n, d->priors, d->capacity, d->positive,
        d->negative, d->bipartite, d->low_quality};
    TRY(launch(match_pairs, dim3((unsigned)d->n), dim3(THREADS), 0, call->stream, a));
    unsigned images = (unsigned)(d->n < GRID_MAX ? d->n : GRID_MAX);
    if (d->low_quality)
        TRY(launch(find_greatest, dim3((unsigned)d->capacity, images), dim3(THREADS), 0, call->stream, a));
    return launch(match_free, dim3(blocks_for(d->priors, THREADS), images), dim3(THREADS), 0, call->stream, a);
}

CUDA_KERNEL(
    match_boxes__cuda_blocks, OP_MATCH_BOXES, .refuse = refuse, .scratch_bytes = scratch_bytes, .run = match_boxes_run);
