#include "core/train/trainer_parts.h"

#include <inttypes.h>

enum { AUTO_BATCH_MAX = 256 };

static double grad_scale(const trainer *t)
{
    return 1 / (double)(t->spec.train.accumulate * t->comm.world);
}

typedef struct memory_need {
    plan_memory train, eval;
    int64_t optimiser_bytes, input_bytes, loader_bytes, total_bytes;
    fused_traffic saved; /* of a training step */
} memory_need;

status trainer_build_training(const trainer *t, trainable *g, int64_t rows, fused_traffic *saved)
{
    TRY(train_graph_build(g, &t->model.graph, &t->setting, rows, grad_scale(t)));
    bool shared = t->spec.train.sync_bn && t->comm.world > 1;
    status result = shared ? trainable_sync(g, rows, rows * t->comm.world) : OK;
    if (result == OK) result = trainable_fuse(g, t->dev->api->kernels, t->spec.train.normalise_on_read, saved);
    if (result != OK) trainable_free(g);
    return result;
}

status trainer_build_evaluation(const trainer *t, trainable *g, int64_t rows)
{
    fused_traffic saved;
    TRY(eval_graph_build(g, &t->model.graph, rows, t->spec.train.precision));
    status result = trainable_fuse(g, t->dev->api->kernels, NORMALISE_ON_READ_ALWAYS, &saved);
    if (result != OK) trainable_free(g);
    return result;
}

static int64_t loader_ring_bytes(const trainer *t, int64_t rows)
{
    const preprocess *p = &t->model.preprocess;
    int64_t rings = t->val_data.count > 0 ? 2 : 1;
    int64_t image_bytes = (int64_t)p->width * p->height * p->channels * (int64_t)sizeof(float);
    return rings * (t->spec.data.prefetch + 1) * rows * image_bytes;
}

static status measure_training(const trainer *t, int64_t rows, memory_need *need)
{
    trainable g;
    TRY(trainer_build_training(t, &g, rows, &need->saved));
    status result = plan_measure(&g.graph, t->dev, &(plan_options){0}, &need->train);
    need->input_bytes = step_io_bytes(t->dev, &g);
    trainable_free(&g);
    return result;
}

static status measure_evaluation(const trainer *t, int64_t rows, memory_need *need)
{
    trainable g;
    if (t->val_data.count == 0) return OK;
    TRY(trainer_build_evaluation(t, &g, rows));
    status result = plan_measure(&g.graph, t->dev, &(plan_options){0}, &need->eval);
    trainable_free(&g);
    return result;
}

static status measure(const trainer *t, int64_t rows, memory_need *need)
{
    *need = (memory_need){0};
    TRY(measure_training(t, rows, need));
    TRY(measure_evaluation(t, rows, need));
    /* Weights and running statistics are shared by both plans. */
    int64_t floats = need->train.param_bytes / 4, states = need->train.state_bytes / 4;
    need->optimiser_bytes = optimiser_bytes(&t->spec, floats, states);
    if (t->dev->api->kernels != BACKEND_CUDA) need->loader_bytes = loader_ring_bytes(t, rows);
    need->total_bytes = need->train.total_bytes + need->eval.activation_bytes + need->eval.scratch_bytes +
                        need->eval.packed_bytes + need->optimiser_bytes + need->input_bytes + need->loader_bytes;
    return OK;
}

static status memory_limit(const trainer *t, int64_t *bytes)
{
    int64_t free_bytes, total;
    if (t->spec.train.memory_limit > 0) {
        *bytes = (int64_t)(t->spec.train.memory_limit * 1073741824.0);
        return OK;
    }
    TRY(t->dev->api->memory(t->dev, &free_bytes, &total));
    *bytes = t->dev->api->kernels == BACKEND_CUDA ? free_bytes : free_bytes / t->comm.world;
    return OK;
}

/* Largest batch in 1 .. high that needs at most `limit` bytes; 0: not even one image fits. */
static status largest_batch(const trainer *t, int64_t high, int64_t limit, int64_t *rows, memory_need *need)
{
    int64_t low = 0;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        TRY(measure(t, middle, need));
        if (need->total_bytes <= limit) low = middle;
        else high = middle - 1;
    }
    *rows = low;
    return measure(t, low > 0 ? low : 1, need);
}

static status refuse(const trainer *t, int64_t rows, int64_t needed, int64_t limit, int64_t fits)
{
    char want[32], have[32];
    format_bytes((double)needed, want);
    format_bytes((double)limit, have);
    const char *source = t->spec.train.memory_limit > 0 ? "train.memory_limit allows" : "there are";
    if (fits == 0)
        return FAIL(
            E_MEMORY, "a batch of one image needs %s, %s %s: choose a smaller model or input", want, source, have);
    return FAIL(E_MEMORY,
        "train.batch_size = %" PRId64 " needs %s, %s %s: the largest that fits is train.batch_size = %" PRId64 " "
        "(train.accumulate keeps the effective size)",
        rows, want, source, have, fits);
}

static void print_memory(const trainer *t, const memory_need *n)
{
    const struct { const char *name; int64_t bytes;
    } rows[] = {
        {"weights and statistics", n->train.param_bytes + n->train.state_bytes},
        {"gradients", n->train.grad_bytes},
        {"optimiser", n->optimiser_bytes},
        {"packed weights", n->train.packed_bytes + n->eval.packed_bytes},
        {"activations", n->train.activation_bytes},
        {"scratch", n->train.scratch_bytes},
        {"evaluation", n->eval.activation_bytes + n->eval.scratch_bytes},
        {"batches read ahead", n->loader_bytes + n->input_bytes},
    };
    char text[32], sum[32];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        format_bytes((double)rows[i].bytes, text);
        log_verbose(t->log, "    %-24s %12s", rows[i].name, text);
    }
    if (n->saved.bytes > 0) {
        format_bytes((double)n->saved.bytes, text);
        log_info(t->log, "normalisation: %d statistics and %d transforms inside convolutions, %s less to move per step",
            n->saved.statistics, n->saved.transforms, text);
    }
    format_bytes((double)n->total_bytes, text);
    format_bytes((double)n->train.activation_sum_bytes, sum);
    log_info(t->log, "memory: %s planned for batches of %" PRId64 " (activations without reuse: %s)", text,
        t->spec.train.batch_size, sum);
}

/* Ranks may have found different sizes to fit. */
static status agree_on_least(trainer *t, int64_t *rows)
{
    double *found = ARENA_ARRAY(&t->memory, double, t->comm.world);
    if (!found) return FAIL_MEMORY(t->comm.world * sizeof *found);
    found[t->comm.rank] = (double)*rows;
    TRY(comm_all_reduce_host(&t->comm, found, t->comm.world));
    for (int32_t i = 0; i < t->comm.world; i++)
        if ((int64_t)found[i] < *rows) *rows = (int64_t)found[i];
    return OK;
}

status trainer_resolve_batch(trainer *t)
{
    int64_t limit, rows = t->spec.train.batch_size;
    memory_need need;
    TRY(memory_limit(t, &limit));
    if (t->resuming) rows = t->progress.batch_size;
    if (rows > 0) {
        TRY(measure(t, rows, &need));
        if (need.total_bytes > limit) {
            int64_t fits, needed = need.total_bytes;
            TRY(largest_batch(t, rows - 1, limit, &fits, &need));
            return refuse(t, rows, needed, limit, fits);
        }
    } else {
        int64_t high = t->train_data.count < AUTO_BATCH_MAX ? t->train_data.count : AUTO_BATCH_MAX;
        TRY(largest_batch(t, high, limit, &rows, &need));
        TRY(agree_on_least(t, &rows));
        TRY(measure(t, rows > 0 ? rows : 1, &need));
        if (rows == 0) return refuse(t, 1, need.total_bytes, limit, 0);
        log_info(t->log, "train.batch_size = 0 (auto): %" PRId64, rows);
    }
    t->spec.train.batch_size = rows;
    t->summary->peak_bytes = need.total_bytes;
    print_memory(t, &need);
    return OK;
}
