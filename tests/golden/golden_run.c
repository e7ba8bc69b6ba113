/* golden_run.c: what Graft computes for given weights and images, as a safetensors file that
 * backbones.py and detectors.py compare with PyTorch.
 *
 *     golden_run ARCH weights.safetensors batch.safetensors results.safetensors model.safetensors STEPS
 *         [section.key=value ...]
 *
 * batch holds "image" f32 [n, h, w, 3] and "targets" f32 [n, classes], or for a detector "boxes" f32 [n, most, 4],
 * "box_class" i32 [n, most] and "classes" (of which the length counts). results gets train.* and eval.* (logits, loss,
 * what else the task reports, grad.NAME, state.NAME) in torchvision's layouts, evaluator.logits (a detector's: its
 * detections) and "losses" f64 [STEPS] of SGD (rate 0.01, momentum 0.9). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config/config.h"
#include "core/graph/model.h"
#include "core/graph/model_layout.h"
#include "core/graph/plan.h"
#include "core/train/train_graph.h"
#include "models/models.h"

enum { MAX_STEPS = 10, MAX_RESULTS = 4096 };

typedef struct context {
    arena memory;
    config config;
    device *dev;
    safetensors batch;
    graph graph;
    sample *samples; /* [n] */
    dataset data;
    int64_t n;
    safetensor result[MAX_RESULTS];
    int64_t results;
} context;

static status add_result(context *c, const char *name, dtype type, shape s, const void *data)
{
    if (c->results == MAX_RESULTS) return FAIL(E_INTERNAL, "more than %d results", MAX_RESULTS);
    size_t bytes = (size_t)shape_count(s) * dtype_bytes(type);
    c->result[c->results++] = (safetensor){.name = arena_strdup(&c->memory, name), .type = type, .shape = s,
        .data = arena_memdup(&c->memory, data, bytes), .bytes = bytes};
    return OK;
}

static status add_edge(context *c, plan *p, const char *name, edge_id e)
{
    const edge *d = &plan_graph(p)->edges[e];
    size_t bytes = (size_t)shape_count(d->shape) * dtype_bytes(d->type);
    void *host = arena_alloc(&c->memory, bytes);
    if (!host) return FAIL_MEMORY(bytes);
    TRY(plan_get(p, e, host, bytes));
    return add_result(c, name, d->type, d->shape, host);
}

/* Gradients and running statistics, as a model file would hold them. */
static status add_parameters(context *c, plan *p, const char *mode)
{
    const graph *g = plan_graph(p);
    for (edge_id e = 0; e < g->edge_count; e++) {
        const edge *d = &g->edges[e];
        bool gradient = d->kind == EDGE_PARAM && d->grad >= 0;
        if (!gradient && d->kind != EDGE_STATE) continue;
        size_t bytes = (size_t)shape_count(d->shape) * dtype_bytes(d->type);
        void *host = arena_alloc(&c->memory, bytes), *turned = arena_alloc(&c->memory, bytes);
        char *name = arena_printf(&c->memory, "%s.%s.%s", mode, gradient ? "grad" : "state", d->name);
        if (!host || !turned || !name) return FAIL_MEMORY(bytes);
        TRY(plan_get(p, gradient ? d->grad : e, host, bytes));
        layout_to_file(d, turned, host);
        TRY(add_result(c, name, d->type, layout_file_shape(d), turned));
    }
    return OK;
}

static status set_inputs(context *c, plan *p, const trainable *t)
{
    const safetensor *pixels = safetensors_find(&c->batch, "image");
    TRY(plan_set_input(p, t->image, pixels->data, pixels->bytes));
    for (int k = 0; k < LABEL_MAX; k++) {
        const safetensor *label = t->label[k] == EDGE_NONE ? NULL : safetensors_find(&c->batch, t->label_name[k]);
        if (label) TRY(plan_set_input(p, t->label[k], label->data, label->bytes));
    }
    return OK;
}

static int64_t class_count(const context *c)
{
    const safetensor *targets = safetensors_find(&c->batch, "targets"),
                     *classes = safetensors_find(&c->batch, "classes");
    return targets ? targets->shape.dim[1] : classes ? classes->shape.dim[0] : 0;
}

static task_setting setting_of(const context *c)
{
    return (task_setting){.task = c->data.has_boxes ? &task_detection : &task_classification, .spec = &c->config.spec,
        .class_count = class_count(c), .data = &c->data};
}

/* Of a detector's data set only how many boxes an image may have is asked. */
static status make_data(context *c)
{
    const safetensor *boxes = safetensors_find(&c->batch, "boxes");
    if (!boxes) return OK;
    c->samples = ARENA_ARRAY(&c->memory, sample, c->n);
    label_box *box = ARENA_ARRAY(&c->memory, label_box, boxes->shape.dim[1]);
    if (!c->samples || !box) return FAIL_MEMORY((size_t)c->n * sizeof *c->samples);
    for (int64_t i = 0; i < c->n; i++) c->samples[i] = (sample){.box = box, .box_count = boxes->shape.dim[1]};
    c->data = (dataset){.has_boxes = true, .class_count = class_count(c), .samples = c->samples, .count = c->n};
    return OK;
}

/* One forward and backward pass. "train": batch statistics; "eval": running ones. */
static status run_once(context *c, const char *mode, bool training)
{
    trainable t = {0};
    plan *p = NULL;
    status result = OK;
    const task_setting s = setting_of(c);
    TRY_OUT(training ? train_graph_build(&t, &c->graph, &s, c->n, 1) : eval_gradient_build(&t, &c->graph, &s, c->n));
    TRY_OUT(plan_create(&p, &t.graph, c->dev, NULL));
    TRY_OUT(set_inputs(c, p, &t));
    TRY_OUT(plan_run(p));
    if (!c->data.has_boxes)
        TRY_OUT(add_edge(c, p, arena_printf(&c->memory, "%s.logits", mode), t.graph.outputs[0]));
    TRY_OUT(add_edge(c, p, arena_printf(&c->memory, "%s.loss", mode), t.terms.item[0].edge));
    for (int32_t i = 1; i < t.terms.count; i++)
        if (t.terms.item[i].tag)
            TRY_OUT(add_edge(c, p, arena_printf(&c->memory, "%s.%s", mode, t.terms.item[i].tag), t.terms.item[i].edge));
    TRY_OUT(add_parameters(c, p, mode));
out:
    plan_destroy(p);
    trainable_free(&t);
    return result;
}

/* The graph that evaluation uses has no loss: its logits must be those of frozen training. */
static status run_evaluation(context *c)
{
    trainable t = {0};
    plan *p = NULL;
    status result = OK;
    TRY_OUT(eval_graph_build(&t, &c->graph, c->n, PRECISION_F32));
    TRY_OUT(plan_create(&p, &t.graph, c->dev, NULL));
    TRY_OUT(set_inputs(c, p, &t));
    TRY_OUT(plan_run(p));
    TRY_OUT(add_edge(c, p, "evaluator.logits", t.graph.outputs[0]));
out:
    plan_destroy(p);
    trainable_free(&t);
    return result;
}

typedef struct sgd {
    const kernel *kernel;
    optimiser_desc desc;
    kernel_call call;
    step_state state;
    param_segment *segments;
    float *momentum;
} sgd;

static status sgd_make(context *c, sgd *o, param_store *store)
{
    *o = (sgd){.desc = {.count = param_store_count(store), .segments = param_store_segments(store), .rule = UPDATE_SGD,
                   .momentum = 0.9f}};
    o->state = (step_state){.learning_rate = 0.01f, .loss_scale = 1, .clip_factor = 1, .finite = 1, .bad_segment = -1};
    o->segments = ARENA_ARRAY(&c->memory, param_segment, o->desc.segments);
    o->momentum = ARENA_ARRAY(&c->memory, float, o->desc.count);
    if (!o->segments || !o->momentum) return FAIL_MEMORY((size_t)o->desc.count * sizeof(float));
    for (int32_t i = 0; i < o->desc.segments; i++) {
        const param_info *info = param_store_info(store, i);
        o->segments[i] = (param_segment){info->offset, info->count, 1, 0};
    }
    TRY(kernel_select(&o->kernel, OP_OPTIMISER, BACKEND_CPU, &o->desc, NULL, NULL));
    o->call.desc = &o->desc;
    o->call.in[OPTIMISER_GRAD] = param_store_gradients(store);
    o->call.in[OPTIMISER_SEGMENTS] = o->segments;
    o->call.out[OPTIMISER_WEIGHT] = param_store_weights(store);
    o->call.out[OPTIMISER_MOMENT1] = o->momentum;
    o->call.out[OPTIMISER_STATE] = &o->state;
    o->call.out[OPTIMISER_GRAD_ZEROED] = param_store_gradients(store);
    size_t scratch = o->kernel->scratch_bytes ? o->kernel->scratch_bytes(&o->desc, NULL) : 0;
    o->call.scratch = arena_alloc(&c->memory, scratch);
    return OK;
}

static status run_steps(context *c, int steps)
{
    trainable t = {0};
    plan *p = NULL;
    param_store *store = NULL;
    double losses[MAX_STEPS];
    sgd o;
    status result = OK;
    const task_setting s = setting_of(c);
    TRY_OUT(train_graph_build(&t, &c->graph, &s, c->n, 1));
    TRY_OUT(param_store_create(&store, &t.graph, c->dev, true));
    TRY_OUT(plan_create(&p, &t.graph, c->dev, &(plan_options){.store = store}));
    TRY_OUT(sgd_make(c, &o, store));
    TRY_OUT(set_inputs(c, p, &t));
    for (int i = 0; i < steps; i++) {
        TRY_OUT(plan_run(p));
        TRY_OUT(plan_get(p, t.terms.item[0].edge, &losses[i], sizeof losses[i]));
        o.state.step = i + 1;
        TRY_OUT(o.kernel->run(&o.call));
        param_store_changed(store);
    }
    TRY_OUT(add_result(c, "losses", DTYPE_F64, shape_1(steps), losses));
out:
    plan_destroy(p);
    param_store_destroy(store);
    trainable_free(&t);
    return result;
}

/* argument: ARCH WEIGHTS BATCH ..., overrides from the seventh on. */
static status build(context *c, char **argument, int count)
{
    const char *arch = argument[1], *weights = argument[2], *path = argument[3];
    TRY(config_init(&c->config));
    TRY(safetensors_open(&c->batch, path));
    const safetensor *pixels = safetensors_find(&c->batch, "image");
    if (!pixels || class_count(c) < 1) return FAIL(E_DATA, "%s: no image, or neither targets nor classes", path);
    c->n = pixels->shape.dim[0];
    TRY(make_data(c));
    TRY(config_override(&c->config, arena_printf(&c->memory, "model.arch=%s", arch)));
    TRY(config_override(
        &c->config, arena_printf(&c->memory, "model.input_height=%lld", (long long)pixels->shape.dim[1])));
    TRY(config_override(
        &c->config, arena_printf(&c->memory, "model.input_width=%lld", (long long)pixels->shape.dim[2])));
    TRY(config_override(&c->config, "model.dropout=0"));
    for (int i = 7; i < count; i++) TRY(config_override(&c->config, argument[i]));
    TRY(models_set_defaults(&c->config));
    TRY(config_finish(&c->config));
    TRY(models_build(&c->graph, &c->config.spec, class_count(c)));
    transfer_report r;
    TRY(model_transfer(&c->graph, weights, &r));
    bool all = r.missing_count + r.unexpected_count + r.reshaped_count == 0;
    const char *first = r.missing_count      ? r.missing[0]
                        : r.unexpected_count ? r.unexpected[0]
                        : r.reshaped_count   ? r.reshaped[0]
                                             : "";
    status result = all ? OK : FAIL(E_MODEL, "%s: not exactly the parameters of %s: %s", weights, arch, first);
    transfer_report_free(&r);
    return result;
}

static status save(context *c, const char *path)
{
    model m = {.graph = c->graph, .task = c->data.has_boxes ? "detection" : NULL};
    TRY(preprocess_from_spec(&m.preprocess, &c->config.spec.model, &c->config.spec.data));
    return model_save(&m, path);
}

static status run(context *c, char **arg, int count)
{
    int steps = atoi(arg[6]);
    if (steps < 1 || steps > MAX_STEPS) return FAIL(E_USAGE, "%d steps, expected 1 to %d", steps, MAX_STEPS);
    TRY(build(c, arg, count));
    TRY(device_open(&c->dev, SPEC_DEVICE_CPU, 0, 0, NULL));
    TRY(run_once(c, "train", true));
    TRY(run_once(c, "eval", false));
    TRY(run_evaluation(c));
    TRY(run_steps(c, steps));
    TRY(safetensors_write(arg[4], c->result, c->results, NULL, 0, NULL));
    return save(c, arg[5]);
}

int main(int argc, char **argv)
{
    if (argc < 7)
        return fprintf(stderr, "usage: golden_run ARCH WEIGHTS BATCH RESULTS MODEL STEPS [section.key=value ...]\n"),
               E_USAGE;
    context *c = calloc(1, sizeof *c);
    if (!c) return E_MEMORY;
    status result = run(c, argv, argc);
    if (result != OK) fprintf(stderr, "golden_run: %s (%s)\n", status_message(), status_origin());
    device_close(c->dev);
    graph_free(&c->graph);
    safetensors_close(&c->batch);
    config_free(&c->config);
    arena_free(&c->memory);
    free(c);
    return (int)result;
}
