#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/base/thread.h"
#include "core/config/recipe.h"
#include "core/graph/transform.h"
#include "core/train/checkpoint.h"
#include "core/train/schedule.h"
#include "core/train/rates.h"
#include "core/train/trainer_parts.h"

enum { WORST_SHOWN = 24, ROWS_PER_EPOCH = 20, FEATURE_BATCH = 32 };

static status check_precision(const trainer *t)
{
    if (t->spec.train.precision == PRECISION_F32 || t->options->any_precision) return OK;
    return FAIL(E_USAGE, "train.precision: the CPU backend trains in f32 only");
}

static status check_spec(const trainer *t)
{
    const spec_train *o = &t->spec.train;
    TRY(schedule_check(&t->spec.schedule));
    return o->device == SPEC_DEVICE_CPU ? check_precision(t) : OK;
}

static status lint(trainer *t, const dataset *data, lint_report *report)
{
    const spec_data *o = &t->spec.data;
    if (!o->lint || data->count == 0) return OK;
    TRY(dataset_lint(data, o, o->cache[0] ? o->cache : t->folder, t->log, report));
    return lint_report_judge(report, data, o, t->log);
}

static status open_data(trainer *t)
{
    TRY(dataset_open_parts(&t->spec.data, (uint64_t)t->spec.train.seed, t->log, &t->train_data, &t->val_data, NULL));
    t->setting = (task_setting){.task = t->options->task ? t->options->task : task_find(NULL),
        .spec = &t->spec,
        .class_name = t->train_data.class_name,
        .class_count = t->train_data.class_count,
        .preprocess = &t->model.preprocess,
        .data = &t->train_data};
    TRY(t->setting.task->check_data(&t->setting, t->log));
    TRY(t->setting.task->labels(&t->labels, &t->setting));
    TRY(lint(t, &t->train_data, &t->train_lint));
    TRY(lint(t, &t->val_data, &t->val_lint));
    log_info(t->log, "data: %" PRId64 " training and %" PRId64 " validation images of %" PRId64 " classes",
        t->train_data.count, t->val_data.count, t->train_data.class_count);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ plans */

static status make_plan(trainer *t, const char *list_name, const trainable *g, plan **p)
{
    const state_list *variants = t->resuming ? state_find_list(&t->resumed, list_name) : NULL;
    plan_options o = {.store = t->store, .sums = &t->sums};
    if (variants) o.variants = variants->item, o.variant_count = variants->count;
    return plan_create(p, &g->graph, t->dev, &o);
}

static status make_plans(trainer *t)
{
    fused_traffic saved;
    int64_t rows = t->spec.train.batch_size;
    TRY(trainer_build_training(t, &t->graph, rows, &saved));
    TRY(param_store_create(&t->store, &t->graph.graph, t->dev, true));
    TRY(make_plan(t, "train", &t->graph, &t->plan));
    if (t->val_data.count > 0) {
        TRY(trainer_build_evaluation(t, &t->eval_graph, rows));
        TRY(make_plan(t, "eval", &t->eval_graph, &t->eval_plan));
    }
    return OK;
}

static status pinned_alloc(void *dev, size_t bytes, void **data)
{
    return ((device *)dev)->api->host_alloc(dev, bytes, data);
}

static void pinned_release(void *dev, void *data)
{
    ((device *)dev)->api->host_release(dev, data);
}

static status make_loaders(trainer *t)
{
    loader_options o =
        loader_options_from_spec(&t->spec, &t->train_data, &t->model.preprocess, t->spec.train.batch_size, t->log);
    o.augment = &t->spec.augment;
    o.labels = &t->labels;
    o.bad = t->train_lint.reason;
    o.rank = t->comm.rank;
    o.world = t->comm.world;
    o.mixup = t->spec.train.mixup;
    o.raw = t->spec.data.gpu_augment;
    o.allocate = pinned_alloc;
    o.release = pinned_release;
    o.memory_context = t->dev;
    TRY(loader_create(&t->loader, &o));
    TRY(step_io_init(&t->io, t->dev, t->plan, &t->graph, t->loader, o.raw ? &o.preprocess : NULL));
    if (t->val_data.count == 0) return OK;
    o.data = &t->val_data;
    o.augment = NULL;
    o.labels = NULL;
    o.bad = t->val_lint.reason;
    o.mixup = 0;
    o.raw = false;
    return loader_create(&t->eval_loader, &o);
}

static status make_optimiser(trainer *t)
{
    const state_list *variants = t->resuming ? state_find_list(&t->resumed, "optimiser") : NULL;
    float *rates = NULL;
    if (transfer_is_on(&t->spec)) {
        rates = ARENA_ARRAY(&t->memory, float, param_store_segments(t->store));
        if (!rates) return FAIL_MEMORY(param_store_segments(t->store) * sizeof *rates);
        transfer_rates(rates, t->store, &t->model.graph, &t->setting, t->progress.fitted);
    }
    TRY(optimiser_init(&t->optimiser, t->dev, t->store, &t->spec, variants, rates));
    t->block_count = optimiser_blocks(&t->optimiser, t->blocks);
    for (int32_t i = 0; i < t->block_count; i++) {
        t->blocks[i].data = arena_alloc(&t->memory, t->blocks[i].bytes);
        if (!t->blocks[i].data) return FAIL_MEMORY(t->blocks[i].bytes);
    }
    return OK;
}

/* Only at the very start: what a run is resumed from has been fitted. */
static status fit_head(trainer *t)
{
    const spec_transfer *o = &t->spec.transfer;
    if (t->resuming || !transfer_is_on(&t->spec) || !o->probe || !t->setting.task->fit_head) return OK;
    if (!t->fresh_head && o->enable != TRANSFER_TRUE) {
        log_info(
            t->log, "transfer: the last layer is the pretrained one and stays (transfer.enable = true fits it again)");
        return OK;
    }
    int64_t rows = t->spec.train.batch_size > 0 ? t->spec.train.batch_size : FEATURE_BATCH;
    const head_images in = {.data = &t->train_data, .bad = t->train_lint.reason, .batch_size = rows,
        .stop = trainer_asked_to_stop, .stop_context = t, .log = t->log};
    TRY(t->setting.task->fit_head(&t->model, &t->setting, &in, t->dev, &t->progress.fitted));
    t->progress.closed = !t->progress.fitted; /* step 0 is worth an evaluation and a checkpoint */
    return OK;
}

static void count_steps(trainer *t)
{
    const spec_train *o = &t->spec.train;
    t->batches_per_epoch = loader_steps_per_epoch(t->loader);
    t->total_steps = (o->epochs * t->batches_per_epoch + o->accumulate - 1) / o->accumulate;
    int64_t per_epoch = (t->batches_per_epoch + o->accumulate - 1) / o->accumulate;
    t->row_period = per_epoch / ROWS_PER_EPOCH > 1 ? per_epoch / ROWS_PER_EPOCH : 1;
}

/* The model's graph as qat.enable wants it, whatever it was loaded from. */
static status fit_fake_quantisation(trainer *t)
{
    graph *g = &t->model.graph, changed = {0};
    bool wanted = t->spec.qat.enable, there = graph_has_fake_quant(g);
    for (node_id n = 0; wanted && n < g->node_count; n++)
        if (g->nodes[n].op == &op_fake_quant)
            ((fake_quant_attr *)g->nodes[n].attr)->momentum = (float)t->spec.qat.range_momentum;
    if (wanted == there) return OK;
    if (wanted && !t->options->fake_quantise) return FAIL(E_INTERNAL, "qat.enable without fake_quantise");
    if (!wanted) {
        log_info(t->log, "qat.enable = false: fake quantisation is taken out of %s", t->spec.model.pretrained);
        return graph_remove_fake_quant(g);
    }
    return graph_replace(g, &changed, t->options->fake_quantise(&changed, g, (float)t->spec.qat.range_momentum));
}

static status open_model(trainer *t)
{
    bool there = checkpoint_exists(t->folder);
    if (t->options->resume && there) return trainer_open_checkpoint(t);
    if (t->options->resume) log_info(t->log, "%s: no checkpoint there, starting from the beginning", t->folder);
    if (there && !t->options->overwrite)
        return FAIL(E_USAGE,
            "%s already holds a checkpoint: go on from it with --resume, replace it with --overwrite, or choose "
            "another folder with train.output=...",
            t->folder);
    t->progress = (train_progress){.best_step = -1,
        .best_watched = INFINITY,
        .best_criterion = -1,
        .stop_watched = INFINITY,
        .closed = true,
        .seed = t->spec.train.seed};
    return prepare_model(&t->model, &t->setting, t->options->build, t->options->transfer, t->log, &t->fresh_head);
}

static status sum_over_ranks(void *ranks, void *data, int64_t count, dtype type, void *stream)
{
    return comm_all_reduce_sum(ranks, data, count, type, stream);
}

static status open_device(trainer *t)
{
    char text[256];
    int32_t threads = (int32_t)(t->resuming ? t->progress.threads : t->spec.train.threads);
    if (threads == 0 && t->comm.world > 1) threads = cpu_count() > t->comm.world ? cpu_count() / t->comm.world : 1;
    int32_t index =
        t->spec.train.device == SPEC_DEVICE_CPU ? 0 : t->comm.local_rank; /* a GPU each; the CPU is everybody's */
    TRY(device_open(&t->dev, t->spec.train.device, index, threads, t->log));
    comm_use_device(&t->comm, t->dev);
    t->sums = (plan_sums){sum_over_ranks, &t->comm, t->comm.api->captures};
    t->dev->api->describe(t->dev, text, sizeof text);
    log_info(t->log, "device: %s", text);
    return t->dev->api->narrow_floats ? OK : check_precision(t);
}

static void fill_summary(trainer *t)
{
    trainer_summary *s = t->summary;
    s->total_steps = t->total_steps;
    s->epochs = t->spec.train.epochs;
    s->train_images = t->train_data.count;
    s->val_images = t->val_data.count;
    s->classes = t->train_data.class_count;
    s->batch_size = t->spec.train.batch_size;
    s->parameters = graph_param_count(&t->model.graph);
    s->terms = t->graph.terms;
    s->figure_count = t->evaluation.figure_count;
    memcpy(s->figure, t->evaluation.figure, sizeof s->figure);
    memcpy(s->order, t->evaluation.order, sizeof s->order);
    snprintf(s->last_path, sizeof s->last_path, "%s/last.safetensors", t->folder);
    snprintf(s->best_path, sizeof s->best_path, "%s/best.safetensors", t->folder);
    snprintf(s->report_path, sizeof s->report_path, "%s/report.html", t->folder);
}

/* Ranks that start from other weights would never come together, and nothing would say so. */
static status check_ranks(trainer *t)
{
    if (t->comm.world < 2) return OK;
    size_t bytes = (size_t)param_store_count(t->store) * sizeof(float);
    float *weights = arena_alloc(&t->memory, bytes);
    double *hash = ARENA_ARRAY(&t->memory, double, t->comm.world);
    if (!weights || !hash) return FAIL_MEMORY(bytes);
    TRY(device_download(t->dev, weights, param_store_weights(t->store), bytes));
    hash[t->comm.rank] = (double)(hash64(weights, bytes) >> 12); /* exact in a double */
    TRY(comm_all_reduce_host(&t->comm, hash, t->comm.world));
    for (int32_t i = 1; i < t->comm.world; i++)
        if (hash[i] != hash[0]) return FAIL(E_INTERNAL, "rank %d starts from other weights than rank 0", (int)i);
    log_info(t->log, "%d ranks, batches of %" PRId64 " each%s", (int)t->comm.world, t->spec.train.batch_size,
        t->spec.train.sync_bn ? ", batch normalisation over all" : "");
    return OK;
}

/* After `steps` updates the first weights count transfer.start_weight in the average. */
static void average_with_start(trainer *t, int64_t steps)
{
    double part = t->spec.transfer.start_weight;
    if (transfer_is_on(&t->spec) && part > 0) t->spec.train.ema_decay = steps > 0 ? pow(part, 1 / (double)steps) : part;
}

static status open_records(trainer *t)
{
    task_setting judged = t->setting;
    record_columns columns;
    judged.data = &t->val_data;
    TRY(evaluation_init(&t->evaluation, &judged, t->eval_plan ? &t->eval_graph.graph : &t->model.graph, WORST_SHOWN));
    record_columns_init(&columns, &t->graph.terms, &t->evaluation);
    return t->comm.rank == 0 ? records_open(&t->records, t->folder, &columns, t->resuming ? t->progress.step : -1) : OK;
}

/* Nobody else writes to the folder from here on. The other ranks wait, so that a run that is
 * refused leaves no trace in it. */
static status lock_folder(trainer *t)
{
    TRY(dir_make(t->folder));
    if (t->comm.rank == 0)
        TRY(folder_lock_take(&t->lock, t->folder, "choose another folder with train.output=...", t->log));
    TRY(comm_barrier(&t->comm));
    dir_sweep(t->folder);
    return OK;
}

/* Data first: a scan of a million files must not happen while other ranks wait in a collective. */
status trainer_setup(trainer *t)
{
    TRY(check_spec(t));
    TRY(comm_init(&t->comm));
    TRY(lock_folder(t));
    TRY(open_data(t));
    TRY(open_model(t));
    TRY(open_device(t));
    TRY(fit_head(t));
    if (!t->resuming) TRY(fit_fake_quantisation(t));
    average_with_start(t, 1); /* memory is the same whatever the decay */
    TRY(trainer_resolve_batch(t));
    TRY(make_plans(t));
    TRY(make_loaders(t));
    count_steps(t);
    average_with_start(t, t->total_steps);
    TRY(make_optimiser(t));
    if (t->resuming) TRY(trainer_restore(t));
    loss_scale_start(&t->progress, &t->spec.train);
    TRY(trainer_set_loss_scale(t, t->plan));
    TRY(check_ranks(t));
    t->progress.batch_size = t->spec.train.batch_size;
    t->progress.threads = t->dev->threads;
    t->progress.world = t->comm.world;

    TRY(open_records(t));
    int64_t size = 4 * param_store_count(t->store) + 4096;
    for (int32_t i = 0; i < t->block_count; i++) size += (int64_t)t->blocks[i].bytes;
    TRY(checkpoint_preflight(t->folder, size, t->resuming ? 2.2 : 4.2));
    fill_summary(t);
    return OK;
}

void trainer_teardown(trainer *t)
{
    records_close(&t->records);
    evaluation_free(&t->evaluation);
    step_io_free(&t->io);
    loader_destroy(t->loader);
    loader_destroy(t->eval_loader);
    if (t->optimiser.dev) optimiser_free(&t->optimiser);
    plan_destroy(t->plan);
    plan_destroy(t->eval_plan);
    param_store_destroy(t->store);
    trainable_free(&t->graph);
    trainable_free(&t->eval_graph);
    model_free(&t->model);
    state_free(&t->resumed);
    device_close(t->dev);
    if (t->comm.api) comm_free(&t->comm);
    lint_report_free(&t->train_lint);
    lint_report_free(&t->val_lint);
    dataset_close(&t->train_data);
    dataset_close(&t->val_data);
    folder_lock_release(&t->lock);
    arena_free(&t->memory);
}
