#include "core/task/classify/fit.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/plan.h"
#include "core/graph/transform.h"
#include "core/task/classify/head.h"
#include "core/task/classify/probe.h"

/* The only output becomes what the last layer reads, averaged over the map if it is averaged
 * behind it; or what the layer makes. */
static status cut_at_head(graph *g, bool before_relu)
{
    head_info h;
    head_find(&h, g, 0);
    if (h.layer == NODE_NONE) return FAIL(E_MODEL, "the network does not end in a linear layer or a 1x1 convolution");
    edge_id e = before_relu ? g->nodes[h.layer].out[0] : h.features;
    shape s = g->edges[e].shape;
    if (!before_relu && h.pooled && s.dim[1] * s.dim[2] > 1) {
        const pool_attr mean = {.kind = POOL_AVERAGE, .global = true};
        TRY(graph_add(g, &op_pool, "features", &mean, &e, 1, -1, &e));
    }
    g->outputs[0] = e;
    g->output_count = 1;
    return OK;
}

static status build_features(graph *g, const graph *source, int64_t rows, bool before_relu)
{
    TRY(pass_inference(g, source));
    TRY(cut_at_head(g, before_relu));
    TRY(graph_apply(g, pass_remove_dead));
    TRY(graph_resize_batch(g, rows));
    TRY(graph_apply(g, pass_fuse_training));
    return graph_apply(g, pass_lower_inference);
}

status feature_graph_build(graph *g, const graph *source, int64_t rows, bool before_relu)
{
    *g = (graph){0};
    status result = build_features(g, source, rows, before_relu);
    if (result != OK) graph_free(g);
    return result;
}

/* What the front part of the network gives, batch after batch. */
typedef struct front {
    const head_images *in;
    label_source labels;
    graph graph;       /* output 0 is read */
    edge_id image;
    plan *plan;
    loader *loader;
    int64_t wanted;    /* images to go through */
    int64_t width;     /* floats of one image's output */
    float *out;        /* [batch, width]       */
    float *mirrored;   /* one batch of images  */
    bool mirror;
} front;

typedef void front_fn(void *context, const float *out, const batch *b, int64_t count);

/* Rows of pixels from right to left. */
static void mirror_images(float *dst, const float *src, shape s)
{
    int64_t width = s.dim[2], channels = s.dim[3], rows = s.dim[0] * s.dim[1];
    for (int64_t y = 0; y < rows; y++)
        for (int64_t x = 0; x < width; x++)
            memcpy(dst + (y * width + x) * channels, src + (y * width + width - 1 - x) * channels,
                (size_t)channels * sizeof *dst);
}

static int64_t image_count(const spec *s, const head_images *in)
{
    return in->data->count < s->transfer.probe_limit ? in->data->count : s->transfer.probe_limit;
}

static bool with_mirror(const spec *s) { return s->transfer.probe_mirror && s->augment.enable && s->augment.hflip > 0; }

/* The view number i of an image: as it is validated, whole, then the crops. False where
 * that is none, or has been seen. */
static bool choose_view(preprocess *view, const preprocess *validated, const spec *s, int64_t i)
{
    *view = *validated;
    if (i == 0) return true;
    view->resize = i == 1 ? RESIZE_STRETCH : RESIZE_CROP;
    if (i == 1) return s->transfer.probe_stretch && validated->resize != RESIZE_STRETCH;
    view->crop_fraction = (float)s->transfer.probe_crops.value[i - 2];
    return validated->resize != RESIZE_CROP || validated->crop_fraction != view->crop_fraction;
}

static int64_t view_count(const preprocess *validated, const spec *s)
{
    preprocess view;
    int64_t count = 0;
    for (int64_t i = 0; i < s->transfer.probe_crops.count + 2; i++) count += choose_view(&view, validated, s, i);
    return count * (with_mirror(s) ? 2 : 1);
}

static status front_open(front *f, const model *m, const preprocess *view, const task_setting *t, const head_images *in,
    device *dev, bool before_relu)
{
    const spec *s = t->spec;
    /* Augmentation off, but in the order of training: whoever takes only the first images takes a fair draw. */
    static const spec_augment none = {.enable = false};
    *f = (front){.in = in};
    TRY(feature_graph_build(&f->graph, &m->graph, in->batch_size, before_relu));
    TRY(plan_create(&f->plan, &f->graph, dev, &(plan_options){0}));
    loader_options o = loader_options_from_spec(s, in->data, view, in->batch_size, in->log);
    o.augment = &none;
    o.labels = &f->labels;
    o.bad = in->bad;
    TRY(classify_labels(&f->labels, t));
    TRY(loader_create(&f->loader, &o));
    f->wanted = image_count(s, in);
    f->mirror = !before_relu && with_mirror(s);
    f->image = graph_find_edge(&f->graph, "image");
    const edge *out = &f->graph.edges[f->graph.outputs[0]], *pixels = &f->graph.edges[f->image];
    f->width = shape_count(out->shape) / in->batch_size;
    f->out = malloc((size_t)shape_count(out->shape) * sizeof *f->out);
    f->mirrored = malloc((size_t)shape_count(pixels->shape) * sizeof *f->mirrored);
    return f->out && f->mirrored ? OK
                                 : FAIL_MEMORY((shape_count(out->shape) + shape_count(pixels->shape)) * sizeof(float));
}

static void front_close(front *f)
{
    loader_destroy(f->loader);
    plan_destroy(f->plan);
    graph_free(&f->graph);
    free(f->out);
    free(f->mirrored);
}

static status give(front *f, const float *images, const batch *b, int64_t count, front_fn *take, void *context)
{
    const graph *g = &f->graph;
    TRY(plan_set_input(f->plan, f->image, images, (size_t)shape_count(g->edges[f->image].shape) * sizeof(float)));
    TRY(plan_run(f->plan));
    TRY(plan_get(f->plan, g->outputs[0], f->out, (size_t)(f->width * b->n) * sizeof(float)));
    take(context, f->out, b, count);
    return OK;
}

static status front_run(front *f, const char *what, front_fn *take, void *context)
{
    const head_images *in = f->in;
    double start = clock_seconds();
    shape s = f->graph.edges[f->image].shape;
    for (int64_t done = 0; done < f->wanted;) {
        const batch *b;
        int signal_number = in->stop ? in->stop(in->stop_context) : 0;
        if (signal_number)
            return FAIL(signal_number == SIGTERM ? E_TERMINATED : E_INTERRUPTED,
                "stopped before the first update: there is nothing to save");
        TRY(loader_next(f->loader, &b));
        int64_t count = f->wanted - done < b->n ? f->wanted - done : b->n;
        TRY(give(f, b->images, b, count, take, context));
        if (f->mirror) {
            mirror_images(f->mirrored, b->images, s);
            TRY(give(f, f->mirrored, b, count, take, context));
        }
        done += count;
        log_progress(in->log, false, "%s %" PRId64 "/%" PRId64 "  %.0f images/s", what, done, f->wanted,
            (double)done / (clock_seconds() - start + 1e-9));
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ features */

typedef struct collected {
    float *features, *targets;
    int64_t rows, width, classes;
} collected;

/* An image without a class has targets of zero: the loss passes it over. */
static void collect(void *context, const float *out, const batch *b, int64_t count)
{
    collected *c = context;
    memcpy(c->features + c->rows * c->width, out, (size_t)(count * c->width) * sizeof *out);
    memcpy(c->targets + c->rows * c->classes, b->label[0], (size_t)(count * c->classes) * sizeof *out);
    c->rows += count;
}

static status collected_init(collected *c, const head_info *h, const model *m, const spec *s, int64_t images)
{
    int64_t rows = images * view_count(&m->preprocess, s);
    *c = (collected){.width = h->feature_count, .classes = m->class_count};
    c->features = malloc((size_t)(rows * c->width) * sizeof *c->features);
    c->targets = malloc((size_t)(rows * c->classes) * sizeof *c->targets);
    return c->features && c->targets ? OK : FAIL_MEMORY(rows * (c->width + c->classes) * 4);
}

static status collect_view(
    collected *c, const model *m, const preprocess *view, const task_setting *t, const head_images *in, device *dev)
{
    front f;
    status result = OK;
    TRY_OUT(front_open(&f, m, view, t, in, dev, false));
    TRY_OUT(front_run(&f, "features", collect, c));
out:
    front_close(&f);
    return result;
}

static status fit(model *m, const head_info *h, const task_setting *t, const head_images *in, device *dev)
{
    const spec *s = t->spec;
    collected c;
    probe_result r;
    double start = clock_seconds();
    int64_t images = image_count(s, in);
    preprocess view;
    status result = OK;
    TRY_OUT(collected_init(&c, h, m, s, images));
    for (int64_t i = 0; i < s->transfer.probe_crops.count + 2; i++)
        if (choose_view(&view, &m->preprocess, s, i)) TRY_OUT(collect_view(&c, m, &view, t, in, dev));
    double seconds = clock_seconds() - start;
    const probe_data data = {
        .features = c.features, .targets = c.targets, .rows = c.rows, .features_each = c.width, .classes = c.classes};
    graph *g = &m->graph;
    TRY_OUT(probe_fit(g->edges[h->weight].data, g->edges[h->bias].data, &data, s, dev, &r));
    log_info(in->log,
        "transfer: last layer fitted to %" PRId64 " features of %" PRId64 " images (%" PRId64
        " views of each): features %.1f s, fit %.1f s (%d iterations, "
        "loss with penalty %.4f%s)",
        c.width, images, (c.rows / images), seconds, r.seconds, (int)r.search.iterations, r.search.value,
        r.search.converged ? "" : ", not quite converged");
out:
    free(c.features);
    free(c.targets);
    return result;
}

/* ---------------------------------------------------------------------------------------- the ReLU behind the layer */

typedef struct lowest {
    int64_t width;
    float value;
} lowest;

static void find_lowest(void *context, const float *out, const batch *b, int64_t count)
{
    lowest *l = context;
    (void)b;
    for (int64_t i = 0; i < count * l->width; i++)
        if (out[i] < l->value) l->value = out[i];
}

static status lift_above_relu(model *m, const head_info *h, const task_setting *t, const head_images *in, device *dev)
{
    front f;
    lowest l = {0};
    status result = OK;
    TRY_OUT(front_open(&f, m, &m->preprocess, t, in, dev, true));
    l.width = f.width;
    TRY_OUT(front_run(&f, "range", find_lowest, &l));
    float *bias = m->graph.edges[h->bias].data;
    float lift = -1.1f * l.value;
    for (int64_t c = 0; c < m->class_count; c++) bias[c] += lift;
    log_info(in->log, "transfer: biases of the last layer raised by %.2f, above the ReLU behind it", lift);
out:
    front_close(&f);
    return result;
}

static const char *why_not(const head_info *h, const model *m, const spec *s)
{
    if (h->layer == NODE_NONE || !h->linear)
        return "the network ends in another way than a linear layer or an averaged 1x1 convolution";
    if (h->bias == EDGE_NONE) return "it has no bias";
    if (h->relu && s->train.loss == LOSS_SIGMOID)
        return "a ReLU behind it would clip scores that train.loss = sigmoid needs";
    if (m->graph.edges[h->weight].shape.dim[0] != m->class_count)
        return "it has another number of outputs than there are classes";
    return NULL;
}

status classify_fit_head(model *m, const task_setting *t, const head_images *in, device *dev, bool *fitted)
{
    head_info h;
    head_find(&h, &m->graph, 0);
    const char *reason = why_not(&h, m, t->spec);
    *fitted = reason == NULL;
    if (reason) {
        log_warn(in->log, "transfer: the last layer starts at random: %s", reason);
        return OK;
    }
    TRY(fit(m, &h, t, in, dev));
    return h.relu ? lift_above_relu(m, &h, t, in, dev) : OK;
}
