#include "core/task/classify/probe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/log.h"
#include "core/graph/plan.h"
#include "core/graph/transform.h"
#include "core/ops/op.h"
#include "core/task/classify/classify.h"

enum { HISTORY = 10, MAX_ITERATIONS = 300 };
/* Of the mean loss. Products are f32, whose rounding the gradient shows at about 1e-7. */
static const double TOLERANCE = 1e-5;

typedef struct fit {
    const probe_data *data;
    device *dev;
    double l2;
    graph graph;
    edge_id loss;
    param_store *store;
    plan *plan;
    arena memory;
    double *mean, *scale; /* [features_each] */
    float *weights;      /* [all parameters] of the store: on the way there, and gradients on the way back */
    int64_t weight_at, bias_at;
} fit;

static void find_means(fit *f)
{
    const probe_data *d = f->data;
    int64_t width = d->features_each;
    for (int64_t i = 0; i < d->rows; i++)
        for (int64_t k = 0; k < width; k++) f->mean[k] += d->features[i * width + k];
    for (int64_t k = 0; k < width; k++) f->mean[k] /= (double)d->rows;
    for (int64_t i = 0; i < d->rows; i++) {
        for (int64_t k = 0; k < width; k++) {
            double x = d->features[i * width + k] - f->mean[k];
            f->scale[k] += x * x;
        }
    }
    for (int64_t k = 0; k < width; k++) f->scale[k] = sqrt(f->scale[k] / (double)d->rows);
}

/* A feature that never changes is no feature: any scale does. */
static status choose_scales(fit *f, spec_probe_scale kind)
{
    int64_t width = f->data->features_each;
    double squares = 0;
    for (int64_t k = 0; k < width; k++) squares += f->scale[k] * f->scale[k];
    double common = sqrt(squares / (double)width);
    if (!(common > 0) || !isfinite(common))
        return FAIL(E_DIVERGED,
            "the pretrained network gives the same features, or NaN, for all images: there is nothing to learn from");
    for (int64_t k = 0; k < width; k++)
        if (kind == PROBE_SCALE_COMMON || f->scale[k] < 1e-6 * common) f->scale[k] = common;
    return OK;
}

static status standardise(fit *f, spec_probe_scale kind)
{
    const probe_data *d = f->data;
    int64_t width = d->features_each;
    f->mean = ARENA_ARRAY(&f->memory, double, width);
    f->scale = ARENA_ARRAY(&f->memory, double, width);
    if (!f->mean || !f->scale) return FAIL_MEMORY(2 * width * sizeof(double));
    find_means(f);
    TRY(choose_scales(f, kind));
    for (int64_t i = 0; i < d->rows; i++)
        for (int64_t k = 0; k < width; k++)
            d->features[i * width + k] = (float)((d->features[i * width + k] - f->mean[k]) / f->scale[k]);
    return OK;
}

static status build(fit *f, const spec *s)
{
    const probe_data *d = f->data;
    graph *g = &f->graph;
    edge_id in[3], logits;
    TRY(graph_init(g));
    in[0] = graph_input(g, "features", DTYPE_F32, shape_2(d->rows, d->features_each));
    in[1] = graph_edge(g, "weight", EDGE_PARAM, DTYPE_F32, shape_4(d->classes, 1, 1, d->features_each));
    in[2] = graph_edge(g, "bias", EDGE_PARAM, DTYPE_F32, shape_1(d->classes));
    if (in[0] == EDGE_NONE || in[1] == EDGE_NONE || in[2] == EDGE_NONE)
        return FAIL_MEMORY(d->rows * d->features_each * 4);
    TRY(graph_add(g, &op_linear, "probe", &(linear_attr){0}, in, 3, -1, &logits));
    TRY(graph_output(g, logits));
    const task_setting t = {.spec = s, .class_count = d->classes};
    loss_terms terms;
    TRY(classify_add_loss(g, &t, 1, EDGE_NONE, &terms));
    f->loss = terms.item[0].edge;
    TRY(graph_output(g, f->loss));
    return graph_backward(g, &f->loss, 1, NULL, 0, NULL);
}

static status prepare(fit *f)
{
    const probe_data *d = f->data;
    TRY(param_store_create(&f->store, &f->graph, f->dev, true));
    TRY(plan_create(&f->plan, &f->graph, f->dev, &(plan_options){.store = f->store}));
    size_t cell = sizeof(float);
    TRY(plan_set_input(
        f->plan, graph_find_edge(&f->graph, "features"), d->features, (size_t)(d->rows * d->features_each) * cell));
    TRY(plan_set_input(
        f->plan, graph_find_edge(&f->graph, "targets"), d->targets, (size_t)(d->rows * d->classes) * cell));
    f->weights = ARENA_ARRAY(&f->memory, float, param_store_count(f->store));
    if (!f->weights) return FAIL_MEMORY(param_store_count(f->store) * sizeof(float));
    for (int32_t i = 0; i < param_store_segments(f->store); i++) {
        const param_info *info = param_store_info(f->store, i);
        if (strcmp(info->name, "weight") == 0) f->weight_at = info->offset;
        else f->bias_at = info->offset;
    }
    return OK;
}

/* x: W row by row, then b. */
static status value_at(void *context, const double *x, double *value, double *gradient)
{
    fit *f = context;
    int64_t cells = f->data->classes * f->data->features_each, classes = f->data->classes;
    size_t bytes = (size_t)param_store_count(f->store) * sizeof(float);
    for (int64_t i = 0; i < cells; i++) f->weights[f->weight_at + i] = (float)x[i];
    for (int64_t i = 0; i < classes; i++) f->weights[f->bias_at + i] = (float)x[cells + i];
    TRY(device_upload(f->dev, param_store_weights(f->store), f->weights, bytes));
    param_store_changed(f->store);
    TRY(f->dev->api->zero(f->dev, param_store_gradients(f->store), bytes, f->dev->stream));
    TRY(plan_run(f->plan));
    TRY(plan_get(f->plan, f->loss, value, sizeof *value));
    TRY(device_download(f->dev, f->weights, param_store_gradients(f->store), bytes));
    for (int64_t i = 0; i < cells; i++) {
        *value += f->l2 * x[i] * x[i];
        gradient[i] = f->weights[f->weight_at + i] + 2 * f->l2 * x[i];
    }
    for (int64_t i = 0; i < classes; i++) gradient[cells + i] = f->weights[f->bias_at + i];
    return OK;
}

static void fold_back(const fit *f, const double *x, float *weight, float *bias)
{
    int64_t width = f->data->features_each, classes = f->data->classes;
    for (int64_t c = 0; c < classes; c++) {
        double shift = 0;
        for (int64_t k = 0; k < width; k++) {
            weight[c * width + k] = (float)(x[c * width + k] / f->scale[k]);
            shift += (double)weight[c * width + k] * f->mean[k];
        }
        bias[c] = (float)(x[classes * width + c] - shift);
    }
}

static status run(fit *f, float *weight, float *bias, const spec *s, probe_result *r)
{
    int64_t n = f->data->classes * (f->data->features_each + 1);
    TRY(standardise(f, s->transfer.probe_scale));
    TRY(build(f, s));
    TRY(prepare(f));
    double *x = ARENA_ARRAY(&f->memory, double, n);
    if (!x) return FAIL_MEMORY(n * sizeof(double));
    const lbfgs_options o = {.n = n, .history = HISTORY, .max_iterations = MAX_ITERATIONS, .tolerance = TOLERANCE};
    TRY(lbfgs_minimise(x, &o, value_at, f, &r->search));
    fold_back(f, x, weight, bias);
    return OK;
}

status probe_fit(float *weight, float *bias, const probe_data *d, const spec *s, device *dev, probe_result *r)
{
    double start = clock_seconds();
    fit f = {.data = d, .dev = dev, .l2 = s->transfer.probe_l2};
    *r = (probe_result){0};
    status result = run(&f, weight, bias, s, r);
    plan_destroy(f.plan);
    param_store_destroy(f.store);
    graph_free(&f.graph);
    arena_free(&f.memory);
    r->seconds = clock_seconds() - start;
    return result;
}
