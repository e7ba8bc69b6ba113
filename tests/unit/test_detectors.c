/* Every detector on every backbone: built, trained for a step that lowers its loss, pruned to half of its products,
 * exported as INT8, written, read and run. Small inputs and narrow networks: what is tested is that all parts fit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit_test.h"

#include "core/base/rng.h"
#include "core/graph/init.h"
#include "core/graph/model.h"
#include "core/graph/plan.h"
#include "core/train/train_graph.h"
#include "export/export.h"
#include "export/runner.h"
#include "models/models.h"
#include "prune/prune.h"

enum { SIDE = 96, IMAGES = 4, CLASSES = 3, BOXES = 4, CAPACITY = 20, PIXELS = SIDE * SIDE * 3 };

typedef struct fixture {
    device *dev;
    char engine_path[64];
    float image[IMAGES * PIXELS];
    float box[IMAGES * BOXES * 4];
    int32_t box_class[IMAGES * BOXES];
    label_box label[BOXES];
    sample sample[IMAGES];
    dataset data;
} fixture;

/* Noise with brighter boxes, three in each image; the fourth row is empty. */
static void draw(fixture *f)
{
    static const float place[BOXES][4] = {{4, 6, 40, 36}, {50, 10, 90, 50}, {20, 52, 52, 88}, {0, 0, 0, 0}};
    rng r = rng_make(5, RNG_TEST, 0);
    for (int i = 0; i < IMAGES * PIXELS; i++) f->image[i] = 0.3f * rng_normal(&r);
    for (int i = 0; i < IMAGES * BOXES; i++) {
        memcpy(f->box + 4 * i, place[i % BOXES], 4 * sizeof(float));
        f->box_class[i] = i % BOXES < 3 ? i % BOXES % CLASSES : BOX_NONE;
        for (int y = (int)place[i % BOXES][1]; y < (int)place[i % BOXES][3]; y++)
            for (int x = (int)place[i % BOXES][0]; x < (int)place[i % BOXES][2]; x++)
                f->image[((i / BOXES * SIDE + y) * SIDE + x) * 3 + i % 3] += 1.5f;
    }
}

static int set_up(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f || device_open(&f->dev, SPEC_DEVICE_CPU, 0, 1, NULL) != OK) return 1;
    snprintf(f->engine_path, sizeof f->engine_path, "/tmp/graft-detector-%ld.engine", (long)getpid());
    draw(f);
    for (int i = 0; i < IMAGES; i++) f->sample[i] = (sample){.box = f->label, .box_count = BOXES};
    f->data = (dataset){.has_boxes = true, .class_count = CLASSES, .samples = f->sample, .count = IMAGES};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    unlink(f->engine_path);
    device_close(f->dev);
    free(f);
    return 0;
}

static void make_spec(config *c, const char *head, const char *arch)
{
    GOOD(config_init(c));
    GOOD(config_set(c, "model", "head", head, "test"));
    GOOD(config_set(c, "model", "arch", arch, "test"));
    GOOD(config_override(c, "model.width=0.25"));
    GOOD(models_set_defaults(c));
    GOOD(config_finish(c));
    c->spec.model.input_width = c->spec.model.input_height = SIDE;
    c->spec.detect.max_detections = CAPACITY;
    c->spec.ssd.extra_channels = c->spec.retinanet.channels = c->spec.dssd.prediction_channels = 32;
}

/* A step of this length down the slope. */
static void step_down(param_store *store, const float *start, const float *gradient, double length)
{
    float *weight = param_store_weights(store);
    int64_t count = param_store_count(store);
    double square = 0;
    for (int64_t i = 0; i < count; i++) square += (double)gradient[i] * (double)gradient[i];
    assert_true(isfinite(square) && square > 0);
    for (int64_t i = 0; i < count; i++) weight[i] = start[i] - (float)(length / sqrt(square)) * gradient[i];
    param_store_changed(store);
}

static double loss_of(plan *p, const trainable *t, const char *name)
{
    double loss;
    GOOD(plan_run(p));
    GOOD(plan_get(p, t->terms.item[0].edge, &loss, sizeof loss));
    if (!isfinite(loss)) fail_msg("%s: the loss is %g", name, loss);
    return loss;
}

static float *copied(const float *from, int64_t count)
{
    float *copy = malloc((size_t)count * sizeof *copy);
    assert_non_null(copy);
    return memcpy(copy, from, (size_t)count * sizeof *copy);
}

/* One step down the slope, as long as the loss allows: that of a deep network with random weights bends soon. */
static void descend(param_store *store, plan *p, const trainable *t, const char *name)
{
    double before = loss_of(p, t, name), after = before;
    int64_t count = param_store_count(store);
    float *start = copied(param_store_weights(store), count), *slope = copied(param_store_gradients(store), count);
    for (double length = 0.05; length > 1e-6 && after >= before; length /= 8) {
        step_down(store, start, slope, length);
        after = loss_of(p, t, name);
    }
    if (after >= before) fail_msg("%s: no step down the slope takes the loss below %g", name, before);
    free(start);
    free(slope);
}

static void train(fixture *f, graph *g, const spec *s, const char *name)
{
    const task_setting setting = {.task = &task_detection, .spec = s, .class_count = CLASSES, .data = &f->data};
    trainable t;
    plan *p;
    param_store *store;
    GOOD(train_graph_build(&t, g, &setting, IMAGES, 1));
    GOOD(param_store_create(&store, &t.graph, f->dev, true));
    GOOD(plan_create(&p, &t.graph, f->dev, &(plan_options){.store = store}));
    GOOD(plan_set_input(p, t.image, f->image, sizeof f->image));
    GOOD(plan_set_input(p, t.label[0], f->box, sizeof f->box));
    GOOD(plan_set_input(p, t.label[1], f->box_class, sizeof f->box_class));
    descend(store, p, &t, name);
    GOOD(param_store_download(store, g));
    plan_destroy(p);
    param_store_destroy(store);
    trainable_free(&t);
}

static void halve(graph *small, const graph *g, const char *name)
{
    prune_report report;
    const prune_options o = {.score = SCORE_L2, .normalizer = NORMALIZER_MAX, .equalization = EQUALIZE_UNION,
        .granularity = 1, .min_filters = 1, .target = TARGET_MACS, .target_fraction = 0.5};
    if (prune_graph(small, &report, g, &o) != OK) fail_msg("%s: %s", name, status_message());
    if (report.macs_after * 100 > report.macs_before * 52 || report.macs_after * 10 < report.macs_before * 4)
        fail_msg(
            "%s: %lld of %lld products are left", name, (long long)report.macs_after, (long long)report.macs_before);
    GOOD(graph_check(small));
    prune_report_free(&report);
}

typedef struct images {
    const float *all;
    bool done;
} images;

static status rewind_images(void *context)
{
    ((images *)context)->done = false;
    return OK;
}

static status next_images(void *context, const float **all, int64_t *count)
{
    images *i = context;
    *all = i->all;
    *count = i->done ? 0 : IMAGES;
    i->done = true;
    return OK;
}

/* Finite boxes in the image, best first, of classes that there are; none of them twice as large as the list. */
static void check_found(const float *found, int64_t capacity, const char *name)
{
    for (int64_t i = 0; i < capacity; i++, found += 6) {
        if (found[5] < 0) continue;
        bool inside = found[0] >= 0 && found[1] >= 0 && found[2] <= SIDE && found[3] <= SIDE && found[0] <= found[2] &&
                      found[1] <= found[3];
        if (!inside || !(found[4] >= 0 && found[4] <= 1) || found[5] >= CLASSES || (i > 0 && found[4] > found[-2]))
            fail_msg("%s: detection %d: %g %g %g %g, score %g, class %g", name, (int)i, (double)found[0],
                (double)found[1], (double)found[2], (double)found[3], (double)found[4], (double)found[5]);
    }
}

static void infer(fixture *f, graph *g, float *found, int64_t capacity)
{
    runner *r;
    GOOD(runner_create(&r, g, f->dev, IMAGES));
    assert_true(shape_equal(runner_output(r, 0), (shape){3, {1, capacity, 6}}));
    GOOD(runner_run(r, (float *const[]){found}, f->image, IMAGES));
    runner_destroy(r);
}

static void export(fixture *f, graph *g, const char *name)
{
    static const char *const names[CLASSES] = {"ant", "bee", "cat"};
    images source = {.all = f->image};
    calibration_data data = {.context = &source, .rewind = rewind_images, .next = next_images};
    export_options o = {
        .calibrator = CALIBRATOR_MINMAX, .source_name = "net.safetensors", .dev = f->dev, .data = &data};
    export_scales scales;
    engine made, read;
    float here[IMAGES * CAPACITY * 6], there[IMAGES * CAPACITY * 6];
    model m = {.graph = *g,
        .task = "detection",
        .spec_text = "",
        .info_json = "{}",
        .preprocess = {.width = SIDE, .height = SIDE, .channels = 3, .std = {1, 1, 1}, .crop_fraction = 1}};
    *g = (graph){0};
    GOOD(model_set_classes(&m, names, CLASSES));
    if (export_calibrate(&scales, &m, &o, 8601) != OK || export_int8(&made, &m, &scales, &o) != OK)
        fail_msg("%s: %s", name, status_message());
    if (engine_integer_part(&made) < 0.99)
        fail_msg("%s: %g of the products are INT8", name, engine_integer_part(&made));
    GOOD(engine_save(&made, f->engine_path));
    GOOD(engine_load(&read, f->engine_path));
    infer(f, &made.graph, here, CAPACITY);
    infer(f, &read.graph, there, CAPACITY);
    assert_memory_equal(here, there, sizeof here);
    for (int i = 0; i < IMAGES; i++) check_found(here + i * CAPACITY * 6, CAPACITY, name);
    engine_free(&made);
    engine_free(&read);
    export_scales_free(&scales);
    model_free(&m);
}

static void whole_way(fixture *f, const char *head, const char *arch)
{
    char name[64];
    config c;
    graph g, small;
    snprintf(name, sizeof name, "%s_%s", head, arch);
    make_spec(&c, head, arch);
    if (models_build(&g, &c.spec, CLASSES) != OK) fail_msg("%s: %s", name, status_message());
    init_params(&g, 3);
    train(f, &g, &c.spec, name);
    halve(&small, &g, name);
    export(f, &small, name);
    graph_free(&g);
    config_free(&c);
}

#define DETECTOR(head, ...)                                                                                            \
    static void head##_on_every_backbone(void **state)                                                                 \
    {                                                                                                                  \
        for (const model_entry *m = model_table; m->name; m++) whole_way(*state, #head, m->name);                      \
    }
#include "models/detectors/detectors.def"

int main(void)
{
    const struct CMUnitTest tests[] = {
#define DETECTOR(head, ...) cmocka_unit_test_setup_teardown(head##_on_every_backbone, set_up, tear_down),
#include "models/detectors/detectors.def"
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
