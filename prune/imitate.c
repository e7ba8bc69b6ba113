/* The pruned network as a whole learns to compute what the unpruned one does: the outputs, the features in front of the
 * last layer, and what passes some layers between, where one tensor is all that the layers behind it know. No labels: a
 * few hundred of them say little, while every image shows hundreds of features (Romero and others, FitNets, ICLR 2015;
 * Li and others, Few sample knowledge distillation, CVPR 2020). Every step sees other views of the training images and
 * asks the unpruned network about them: a function is matched, not a list of values (Beyer and others, Knowledge
 * distillation: a good teacher is patient and consistent, CVPR 2022). Adam (Kingma and Ba, ICLR 2015), whose steps do
 * not depend on a network's scales; statistics of batch normalisation stay. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops/op.h"
#include "prune/channels.h"

enum {
    MATCHES_MAX = GRAPH_MAX_INPUTS - 1,
    ATTEMPTS = 3,
    MEASURED_MAX = 8
}; /* the student has an input for each, and the images */
static const double RATE = 1e-3, WARMUP = 0.1, FIRST_DECAY = 0.9, SECOND_DECAY = 0.999, EPSILON = 1e-8, TINY = 1e-12;

/* An edge of both networks that should agree. */
typedef struct match {
    edge_id small;         /* of the pruned network for inference               */
    edge_id target;        /* input of the student: minus what it should be     */
    int64_t count, channels, dense_count, dense_channels; /* elements of one batch, and their last axis */
    int64_t *kept;         /* [channels]: channel of the dense network          */
    float *dense, *negative; /* [dense_count], [count]: of the batch at hand    */
    double spread;         /* sum of squares about the channels' means of one batch */
} match;

typedef struct job {
    const prune_options *options;
    const prune_images *images;
    graph teacher;         /* unpruned, its outputs the matched edges                             */
    plan *teacher_plan;
    graph inference, student;
    match match[MATCHES_MAX];
    int32_t match_count;
    edge_id error;         /* scalar: sum over matches of the square error as part of the spread */
    param_store *store;
    plan *plan;
    float *fresh;          /* one batch of images                                                */
    float *held;           /* [measured_batches] of them, which no step sees                     */
    float *weight, *gradient, *first, *second; /* [store] */
    int64_t step;
    arena memory;
} job;

static status add_match(job *j, channel_map *m, const bool *keep, graph *dense, edge_id of_dense, edge_id of_small)
{
    for (int32_t k = 0; k < j->match_count; k++)
        if (j->match[k].small == of_small) return OK;
    if (j->match_count == MATCHES_MAX) return OK;
    match *t = &j->match[j->match_count];
    shape s = j->inference.edges[of_small].shape, d = dense->edges[of_dense].shape;
    *t = (match){.small = of_small, .count = shape_count(s), .channels = s.dim[s.rank - 1],
                 .dense_count = shape_count(d), .dense_channels = d.dim[d.rank - 1]};
    t->kept = ARENA_ARRAY(&j->memory, int64_t, t->channels);
    t->dense = ARENA_ARRAY(&j->memory, float, t->dense_count), t->negative = ARENA_ARRAY(&j->memory, float, t->count);
    if (!t->kept || !t->dense || !t->negative) return FAIL_MEMORY((t->dense_count + t->count) * 4);
    dense->outputs[j->match_count++] = of_dense;
    return kept_channels(t->kept, t->channels, m, keep, dense->nodes[dense->edges[of_dense].producer].name);
}

/* What the unpruned network says of a batch. */
static status ask_teacher(job *j, const float *images)
{
    TRY(plan_set_input(j->teacher_plan, j->teacher.inputs[0], images, (size_t)j->images->each * sizeof(float)));
    TRY(plan_run(j->teacher_plan));
    for (int32_t k = 0; k < j->match_count; k++) {
        match *t = &j->match[k];
        TRY(plan_get(j->teacher_plan, j->teacher.outputs[k], t->dense, (size_t)t->dense_count * sizeof(float)));
        for (int64_t i = 0; i < t->count; i++)
            t->negative[i] = -t->dense[i / t->channels * t->dense_channels + t->kept[i % t->channels]];
    }
    return OK;
}

static int64_t measured_batches(const job *j)
{
    return j->images->batches < MEASURED_MAX ? j->images->batches : MEASURED_MAX;
}

static status find_spreads(job *j)
{
    double *sum[MATCHES_MAX], square[MATCHES_MAX] = {0};
    int64_t batches = measured_batches(j);
    for (int32_t k = 0; k < j->match_count; k++) {
        sum[k] = ARENA_ARRAY(&j->memory, double, j->match[k].channels);
        if (!sum[k]) return FAIL_MEMORY(j->match[k].channels * 8);
    }
    for (int64_t b = 0; b < batches; b++) {
        TRY(ask_teacher(j, prune_images_batch(j->images, b)));
        for (int32_t k = 0; k < j->match_count; k++)
            for (int64_t i = 0; i < j->match[k].count; i++) {
                double v = j->match[k].negative[i];
                sum[k][i % j->match[k].channels] += v, square[k] += v * v;
            }
    }
    for (int32_t k = 0; k < j->match_count; k++) {
        match *t = &j->match[k];
        double each = (double)(t->count / t->channels * batches);
        for (int64_t c = 0; c < t->channels; c++) square[k] -= sum[k][c] * sum[k][c] / each;
        if (!isfinite(square[k])) return FAIL(E_DIVERGED, "the network's features are not finite");
        t->spread = square[k] / (double)batches;
    }
    return OK;
}

/* As many of them as there is room for, at equal distances. */
static status match_between(job *j, channel_map *m, const bool *keep, graph *dense)
{
    int32_t count, room = MATCHES_MAX - j->match_count;
    edge_id *passes = ARENA_ARRAY(&j->memory, edge_id, dense->edge_count);
    if (!passes) return FAIL_MEMORY(dense->edge_count * 4);
    TRY(find_passes(dense, passes, &count));
    for (int32_t k = 0; k < room && k < count; k++) {
        edge_id e = passes[count <= room ? k : (int32_t)((int64_t)(k + 1) * count / (room + 1))];
        const node *twin = &j->inference.nodes[dense->edges[e].producer]; /* a cut takes no node away */
        TRY(add_match(j, m, keep, dense, e, twin->out[0]));
    }
    return OK;
}

/* As fast as it goes: it learns nothing. */
static status build_teacher(job *j, const graph *dense)
{
    TRY(pass_fold_batchnorm(&j->teacher, dense));
    TRY(graph_apply(&j->teacher, pass_fuse_epilogues));
    TRY(graph_apply(&j->teacher, pass_lower_inference));
    return plan_create(&j->teacher_plan, &j->teacher, j->options->data->dev, &(plan_options){0});
}

static status find_matches(job *j, channel_map *m, const bool *keep)
{
    graph dense = {0};
    status result = OK;
    TRY_OUT(pass_inference(&dense, m->g));
    TRY_OUT(graph_resize_batch(&dense, j->options->data->batch));
    edge_id heads[GRAPH_MAX_OUTPUTS], small_heads[GRAPH_MAX_OUTPUTS];
    int32_t count = graph_heads(&dense, heads);
    graph_heads(&j->inference, small_heads);
    for (int32_t k = 0; k < count; k++) {
        TRY_OUT(add_match(
            j, m, keep, &dense, features_behind(&dense, heads[k]), features_behind(&j->inference, small_heads[k])));
        TRY_OUT(add_match(j, m, keep, &dense, heads[k], small_heads[k]));
    }
    TRY_OUT(match_between(j, m, keep, &dense));
    dense.output_count = j->match_count;
    TRY_OUT(build_teacher(j, &dense));
    TRY_OUT(find_spreads(j));
out:
    graph_free(&dense);
    return result;
}

/* sum (x - y)^2 / spread, y an input. */
static status add_error(job *j, match *t, edge_id x, edge_id *sum)
{
    graph *g = &j->student;
    char name[64];
    edge_id scale;
    snprintf(name, sizeof name, "target.%d", (int)(t - j->match));
    t->target = graph_input(g, name, DTYPE_F32, g->edges[x].shape);
    if (t->target == EDGE_NONE) return FAIL_MEMORY(t->count * 4);
    TRY(graph_add(g, &op_add, arena_printf(&g->memory, "%s/difference", name), &(binary_attr){0},
        (edge_id[]){x, t->target}, 2, -1, &x));
    TRY(graph_add(
        g, &op_mul, arena_printf(&g->memory, "%s/square", name), &(binary_attr){0}, (edge_id[]){x, x}, 2, -1, &x));
    const reshape_attr flat = {.rank = 2, .dim = {1, t->count}};
    TRY(graph_add(g, &op_reshape, arena_printf(&g->memory, "%s/flat", name), &flat, &x, 1, -1, &x));
    scale =
        graph_edge(g, arena_printf(&g->memory, "%s/scale", name), EDGE_CONST, DTYPE_F32, shape_4(1, 1, 1, t->count));
    if (scale == EDGE_NONE) return FAIL_MEMORY(t->count * 4);
    for (int64_t i = 0; i < t->count; i++) ((float *)g->edges[scale].data)[i] = (float)(1 / fmax(t->spread, TINY));
    TRY(graph_add(g, &op_linear, arena_printf(&g->memory, "%s/sum", name), &(linear_attr){0},
        (edge_id[]){x, scale, EDGE_NONE}, 3, -1, &x));
    if (*sum == EDGE_NONE) *sum = x;
    else
        TRY(graph_add(g, &op_add, arena_printf(&g->memory, "%s/total", name), &(binary_attr){0}, (edge_id[]){*sum, x},
            2, -1, sum));
    return OK;
}

/* Its outputs are the matched edges first, then only the error. */
static status build_student(job *j)
{
    graph *g = &j->student;
    graph matched = j->inference; /* borrows */
    edge_id x[MATCHES_MAX];
    matched.output_count = j->match_count;
    for (int32_t k = 0; k < j->match_count; k++) matched.outputs[k] = j->match[k].small;
    TRY(pass_fuse_training(g, &matched));
    TRY(graph_apply(g, pass_lower_inference));
    memcpy(x, g->outputs, sizeof *x * (size_t)j->match_count);
    j->error = EDGE_NONE;
    for (int32_t k = 0; k < j->match_count; k++) TRY(add_error(j, &j->match[k], x[k], &j->error));
    g->outputs[0] = j->error, g->output_count = 1;
    TRY(graph_backward(g, &j->error, 1, NULL, 0, NULL));
    TRY(param_store_create(&j->store, g, j->options->data->dev, true));
    TRY(plan_create(&j->plan, g, j->options->data->dev, &(plan_options){.store = j->store}));
    int64_t count = param_store_count(j->store);
    j->weight = malloc((size_t)count * 4), j->gradient = malloc((size_t)count * 4);
    j->first = calloc((size_t)count, 4), j->second = calloc((size_t)count, 4);
    if (!j->weight || !j->gradient || !j->first || !j->second) return FAIL_MEMORY(count * 16);
    device *dev = j->options->data->dev;
    return device_download(dev, j->weight, param_store_weights(j->store), (size_t)count * 4);
}

static status run_batch(job *j, const float *images, double *error)
{
    float value;
    TRY(ask_teacher(j, images));
    for (int32_t k = 0; k < j->match_count; k++) {
        const match *t = &j->match[k];
        TRY(plan_set_input(j->plan, t->target, t->negative, (size_t)t->count * sizeof(float)));
    }
    TRY(plan_set_input(j->plan, j->student.inputs[0], images, (size_t)j->images->each * sizeof(float)));
    TRY(plan_run(j->plan));
    TRY(plan_get(j->plan, j->error, &value, sizeof value));
    *error += value;
    return OK;
}

/* Kingma and Ba, algorithm 1. */
static status update(job *j, double rate)
{
    device *dev = j->options->data->dev;
    int64_t count = param_store_count(j->store);
    size_t bytes = (size_t)count * sizeof(float);
    TRY(device_download(dev, j->gradient, param_store_gradients(j->store), bytes));
    j->step++;
    double first_part = 1 - pow(FIRST_DECAY, (double)j->step), second_part = 1 - pow(SECOND_DECAY, (double)j->step);
    for (int64_t i = 0; i < count; i++) {
        double d = j->gradient[i];
        j->first[i] = (float)(FIRST_DECAY * j->first[i] + (1 - FIRST_DECAY) * d);
        j->second[i] = (float)(SECOND_DECAY * j->second[i] + (1 - SECOND_DECAY) * d * d);
        j->weight[i] -= (float)(rate * (j->first[i] / first_part) / (sqrt(j->second[i] / second_part) + EPSILON));
    }
    TRY(device_upload(dev, param_store_weights(j->store), j->weight, bytes));
    param_store_changed(j->store);
    return dev->api->zero(dev, param_store_gradients(j->store), bytes, dev->stream);
}

/* Up along a line, down along half a cosine. */
static double rate_at(double rate, double progress)
{
    if (progress < WARMUP) return rate * (progress + 1e-3) / WARMUP;
    return rate * 0.5 * (1 + cos(3.14159265358979 * (progress - WARMUP) / (1 - WARMUP)));
}

/* Back to the weights at hand, and nothing remembered. */
static status restart(job *j, const float *weight)
{
    device *dev = j->options->data->dev;
    size_t bytes = (size_t)param_store_count(j->store) * sizeof(float);
    memcpy(j->weight, weight, bytes);
    memset(j->first, 0, bytes), memset(j->second, 0, bytes);
    j->step = 0;
    TRY(device_upload(dev, param_store_weights(j->store), j->weight, bytes));
    param_store_changed(j->store);
    return dev->api->zero(dev, param_store_gradients(j->store), bytes, dev->stream);
}

static status measure(job *j, double *error)
{
    int64_t batches = measured_batches(j);
    double sum = 0;
    for (int64_t b = 0; b < batches; b++) TRY(run_batch(j, j->held + b * j->images->each, &sum));
    *error = sum / (double)(batches * j->match_count);
    return OK;
}

/* New views of the images; where the source has no more, those that are held. */
static status next_views(job *j, int64_t index)
{
    const prune_data *data = j->options->data;
    bool done = false;
    TRY(data->next_batch(data->context, j->fresh, &done));
    if (done)
        memcpy(j->fresh, prune_images_batch(j->images, index % j->images->batches),
            (size_t)j->images->each * sizeof(float));
    return OK;
}

static status hold_views(job *j)
{
    int64_t batches = measured_batches(j);
    size_t bytes = (size_t)j->images->each * sizeof(float);
    j->fresh = malloc(bytes), j->held = malloc(bytes * (size_t)batches);
    if (!j->fresh || !j->held) return FAIL_MEMORY((batches + 1) * j->images->each * 4);
    for (int64_t b = 0; b < batches; b++) {
        TRY(next_views(j, b));
        memcpy(j->held + b * j->images->each, j->fresh, bytes);
    }
    return OK;
}

static status learn(job *j, double rate)
{
    int64_t batches = j->images->batches, epochs = j->options->imitate_epochs;
    for (int64_t e = 0; e < epochs; e++) {
        double sum = 0;
        for (int64_t b = 0; b < batches; b++) {
            TRY(next_views(j, e * batches + b));
            TRY(run_batch(j, j->fresh, &sum));
            TRY(update(j, rate_at(rate, (double)(e * batches + b) / (double)(epochs * batches))));
        }
        log_progress(j->options->data->log, false,
            "prune: imitation %" PRId64 "/%" PRId64 ", error %.4f of the variance", e + 1, epochs,
            sum / (double)(batches * j->match_count));
    }
    return OK;
}

/* The rate suits most networks and is too high for some: when the error has not fallen, learning starts again at a
 * third of the rate. Weights whose error is greater than at the start are never kept. */
static status learn_safely(job *j, double *error)
{
    size_t bytes = (size_t)param_store_count(j->store) * sizeof(float);
    float *start = malloc(bytes);
    status result = start ? OK : FAIL_MEMORY(bytes);
    if (result != OK) goto out;
    memcpy(start, j->weight, bytes);
    TRY_OUT(measure(j, &error[0]));
    for (int32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        TRY_OUT(restart(j, start));
        TRY_OUT(learn(j, RATE * pow(3, -attempt)));
        TRY_OUT(measure(j, &error[1]));
        if (error[1] < error[0]) goto out;
        log_verbose(j->options->data->log, "    imitation made it worse: %.4f -> %.4f", error[0], error[1]);
    }
    error[1] = error[0];
    result = restart(j, start);
out:
    free(start);
    return result;
}

status imitate(
    graph *g, channel_map *m, const bool *keep, const prune_options *o, const prune_images *images, double *error)
{
    job j = {.options = o, .images = images};
    status result = OK;
    TRY_OUT(hold_views(&j));
    TRY_OUT(pass_inference(&j.inference, g));
    TRY_OUT(graph_resize_batch(&j.inference, o->data->batch));
    TRY_OUT(find_matches(&j, m, keep));
    TRY_OUT(build_student(&j));
    TRY_OUT(learn_safely(&j, error));
    TRY_OUT(param_store_download(j.store, &j.student));
    copy_values(g, &j.student);
out:
    plan_destroy(j.plan), plan_destroy(j.teacher_plan);
    param_store_destroy(j.store);
    graph_free(&j.inference), graph_free(&j.student), graph_free(&j.teacher);
    arena_free(&j.memory);
    free(j.fresh), free(j.held), free(j.weight), free(j.gradient), free(j.first), free(j.second);
    return result;
}
