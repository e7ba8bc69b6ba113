/* Detection: average precision by its definition, what counts as found, labels, anchors,
 * and heads whose classes change. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/rng.h"
#include "core/config/config.h"
#include "core/graph/init.h"
#include "core/graph/model.h"
#include "core/ops/op.h"
#include "core/task/detect/detect.h"
#include "models/models.h"

static void near(double got, double expected)
{
    if (!(fabs(got - expected) <= 1e-9)) fail_msg("got %.17g, expected %.17g", got, expected);
}

/* ------------------------------------------------------------------------------------------------ average precision */

/* The greatest precision of the first detections whose recall is at least r. */
static double envelope(const ranked_detection *d, int64_t count, int64_t objects, double r)
{
    double best = 0;
    int64_t hits = 0;
    for (int64_t i = 0; i < count; i++) {
        hits += d[i].hit;
        if ((double)hits / (double)objects >= r - 1e-12) best = fmax(best, (double)hits / (double)(i + 1));
    }
    return best;
}

static double by_definition(const ranked_detection *d, int64_t count, int64_t objects, bool at_recalls)
{
    double sum = 0;
    int64_t hits = 0;
    for (int k = 0; at_recalls && k <= 10; k++) sum += envelope(d, count, objects, k / 10.0) / 11;
    if (at_recalls) return sum;
    for (int64_t i = 0; i < count; i++)
        if (d[i].hit) sum += envelope(d, count, objects, (double)++hits / (double)objects) / (double)objects;
    return sum;
}

static void agrees_with_the_definition(void **state)
{
    (void)state;
    enum { MOST = 40 };
    rng r = rng_make(3, RNG_TEST, 0);
    for (int run = 0; run < 500; run++) {
        ranked_detection d[MOST];
        int64_t count = (int64_t)(rng_uniform_double(&r) * MOST), hits = 0;
        for (int64_t i = 0; i < count; i++) {
            d[i] = (ranked_detection){.score = 1, .sample = i, .hit = rng_uniform_double(&r) < 0.5};
            hits += d[i].hit;
        }
        int64_t objects = hits + 1 + (int64_t)(rng_uniform_double(&r) * 5);
        for (int mode = 0; mode < 2; mode++)
            near(average_precision(d, count, objects, mode), by_definition(d, count, objects, mode));
    }
}

/* Hits at places 1, 3 and 5 for three objects: precisions 1, 2/3, 3/5 at recalls 1/3, 2/3, 1. */
static void known_curve(void **state)
{
    (void)state;
    const ranked_detection d[5] = {{.hit = true}, {.hit = false}, {.hit = true}, {.hit = false}, {.hit = true}};
    near(average_precision(d, 5, 3, false), (1 + 2.0 / 3 + 0.6) / 3);
    near(average_precision(d, 5, 3, true), (4 * 1 + 3 * 2.0 / 3 + 4 * 0.6) / 11);
    near(average_precision(d, 0, 3, false), 0);
    assert_true(isnan(average_precision(d, 0, 0, false)));
}

/* ------------------------------------------------------------------------------------------------ judging */

enum { CLASSES = 2, CAPACITY = 6 };

typedef struct judge_fixture {
    config c;
    dataset data;
    sample samples[2];
    label_box box[4];
    float rows[2][CAPACITY][DETECTION_SIZE], to_input[2][9];
    int32_t size[2][2];
    int64_t index[2];
    batch b;
    task_setting t;
    task_score *score;
} judge_fixture;

/* Two images of 100 x 50 pixels; the network's input is 200 x 200, so x doubles and y takes four times. */
static void judge_init(judge_fixture *f)
{
    static const char *const names[] = {"cat", "dog"};
    *f = (judge_fixture){.index = {0, 1}, .size = {{100, 50}, {100, 50}}};
    GOOD(config_init(&f->c));
    for (int i = 0; i < 2; i++) {
        const float m[9] = {2, 0, 0, 0, 4, 0, 0, 0, 1};
        memcpy(f->to_input[i], m, sizeof m);
        for (int k = 0; k < CAPACITY; k++) f->rows[i][k][DETECTION_CLASS] = -1;
        f->samples[i] = (sample){.name = "image", .box = &f->box[2 * i], .box_count = 2, .class_index = -1};
    }
    f->data = (dataset){.samples = f->samples, .count = 2, .has_boxes = true, .class_count = CLASSES, .path = "set"};
    f->b = (batch){.to_input = f->to_input[0], .size = f->size, .sample_index = f->index, .n = 2, .count = 2};
    f->t = (task_setting){
        .task = &task_detection, .spec = &f->c.spec, .class_name = names, .class_count = CLASSES, .data = &f->data};
    GOOD(task_detection.score_create(&f->score, &f->t, 2));
}

static void put_row(judge_fixture *f, int i, int k, const float box[4], float score, int32_t c)
{
    float *row = f->rows[i][k];
    for (int n = 0; n < 4; n++) row[n] = box[n] * (n % 2 ? 4 : 2);
    row[DETECTION_SCORE] = score;
    row[DETECTION_CLASS] = (float)c;
}

static const class_average *judged(judge_fixture *f)
{
    const task_output output = {f->rows[0][0], CAPACITY * DETECTION_SIZE};
    GOOD(task_detection.score_add(f->score, &f->b, &output));
    return detect_averages(detect_score_of(f->score));
}

static void judge_free(judge_fixture *f)
{
    task_detection.score_destroy(f->score);
    config_free(&f->c);
}

/* Image 0: a cat found twice (the second is false), and one that is to be ignored, found once. Image 1: a dog found as
 * a cat, a dog found beside it by less than half, and a box outside the image. */
static void counts_as_the_kits_do(void **state)
{
    (void)state;
    judge_fixture f;
    double value[FIGURE_MAX];
    judge_init(&f);
    f.box[0] = (label_box){10, 10, 30, 30, .class_index = 0};
    f.box[1] = (label_box){60, 10, 80, 30, .class_index = 0, .ignore = true};
    f.box[2] = (label_box){10, 10, 30, 30, .class_index = 1};
    f.box[3] = (label_box){200, 10, 230, 30, .class_index = 1};
    put_row(&f, 0, 0, (float[]){11, 10, 31, 30}, 0.9f, 0);
    put_row(&f, 0, 1, (float[]){10, 10, 30, 30}, 0.8f, 0); /* nearer, but worse */
    put_row(&f, 0, 2, (float[]){60, 10, 80, 30}, 0.7f, 0);
    put_row(&f, 1, 0, (float[]){10, 10, 30, 30}, 0.95f, 0);
    put_row(&f, 1, 1, (float[]){22, 10, 42, 30}, 0.2f, 1); /* IoU 8 / 32 */
    const class_average *a = judged(&f);
    assert_int_equal(a[0].objects, 1);
    assert_int_equal(a[0].detections, 3);
    assert_int_equal(a[1].objects, 1);
    assert_int_equal(a[1].detections, 1);
    near(a[0].average_precision, 0.5); /* false, hit, false */
    near(a[0].precision, 1.0 / 3);
    near(a[0].recall, 1);
    near(a[1].average_precision, 0);
    assert_true(isnan(a[1].precision)); /* none of infer.threshold */
    near(a[1].recall, 0);
    task_detection.score_values(f.score, value);
    near(value[0], 0.25);
    const detect_score *s = detect_score_of(f.score);
    assert_int_equal(s->poor_count, 2);
    assert_true(s->poor[0].sample_index == 1 && s->poor[0].mistakes == 2); /* a false cat, a lost dog */
    assert_true(s->poor[1].sample_index == 0 && s->poor[1].mistakes == 1);
    judge_free(&f);
}

/* A class without objects says nothing about the mean, however often it is found. */
static void absent_classes_are_left_out(void **state)
{
    (void)state;
    judge_fixture f;
    double value[FIGURE_MAX];
    judge_init(&f);
    for (int i = 0; i < 4; i++) f.box[i] = (label_box){10, 10, 30, 30, .class_index = 0, .ignore = i % 2 == 1};
    for (int i = 0; i < 2; i++) put_row(&f, i, 0, (float[]){10, 10, 30, 30}, 0.9f, 0);
    put_row(&f, 1, 1, (float[]){40, 10, 60, 30}, 0.5f, 1);
    const class_average *a = judged(&f);
    near(a[0].average_precision, 1);
    assert_true(isnan(a[1].average_precision));
    task_detection.score_values(f.score, value);
    near(value[0], 1);
    task_detection.score_reset(f.score);
    task_detection.score_values(f.score, value);
    assert_true(isnan(value[0]));
    judge_free(&f);
}

/* ------------------------------------------------------------------------------------------------ labels */

static void labels_fill_rows(void **state)
{
    (void)state;
    judge_fixture f;
    label_source l;
    const preprocess input = {.width = 200, .height = 200};
    judge_init(&f);
    f.box[0] = (label_box){10, 10, 30, 30, .class_index = 0, .ignore = true};
    f.box[1] = (label_box){60, 10, 80, 30, .class_index = 1};
    f.samples[1].box_count = 0;
    GOOD(task_detection.labels(&l, &f.t));
    assert_int_equal(l.capacity, 2);
    float box[2][4];
    int32_t box_class[2];
    void *const row[LABEL_MAX] = {box, box_class};
    const label_view v = {&f.samples[0], 100, 50, f.to_input[0], &input},
                     none = {&f.samples[1], 100, 50, f.to_input[1], &input};
    l.write(&l, &v, row);
    assert_true(box_class[0] == 1 && box_class[1] == BOX_IGNORE);
    const float moved[4] = {120, 40, 160, 120};
    assert_memory_equal(box[0], moved, sizeof moved);
    l.write(&l, &none, row);
    assert_true(box_class[0] == BOX_NONE && box_class[1] == BOX_NONE);
    f.c.spec.data.max_boxes = 1;
    GOOD(task_detection.labels(&l, &f.t));
    assert_int_equal(l.capacity, 1);
    f.data.has_boxes = false;
    assert_int_equal(task_detection.labels(&l, &f.t), E_DATA);
    judge_free(&f);
}

/* ------------------------------------------------------------------------------------------------ SSD */

static void build(graph *g, config *c, const char *arch, int64_t classes)
{
    GOOD(config_init(c));
    GOOD(config_set(c, "model", "arch", arch, "test"));
    GOOD(config_set(c, "model", "width", "0.25", "test"));
    GOOD(config_set(c, "model", "input_width", "128", "test"));
    GOOD(config_set(c, "model", "input_height", "96", "test"));
    GOOD(models_split_arch(c));
    GOOD(models_set_defaults(c));
    GOOD(config_finish(c));
    GOOD(models_build(g, &c->spec, classes));
    init_params(g, 1);
}

/* Six shapes per cell, of the maps 16 x 12, 8 x 6, 4 x 3, 2 x 2, 1 x 1 and 1 x 1 (ResNet-10 and MobileNet v2), or 15 x
 * 11 and so on where a network's own pools round otherwise. */
static void anchors_stand_in_cells(void **state)
{
    (void)state;
    graph g;
    config c;
    build(&g, &c, "ssd_resnet10", 3);
    edge_id e = graph_find_edge(&g, "ssd.anchors");
    assert_int_not_equal(e, EDGE_NONE);
    assert_int_equal(g.edges[e].shape.dim[0], 6 * (16 * 12 + 8 * 6 + 4 * 3 + 2 * 2 + 1 + 1));
    const float(*a)[4] = g.edges[e].data;
    /* Cell (2, 1) of the first map: centre (20, 12), scales 0.1 and 0.24166667 of 96 pixels. */
    const double side = 9.6, next = sqrt(0.1 * 0.24166667) * 96, cell = 16 + 2;
    const double expected[6][2] = {{side, side}, {next, next}, {side * sqrt(2), side / sqrt(2)},
        {side / sqrt(2), side * sqrt(2)}, {side * sqrt(3), side / sqrt(3)}, {side / sqrt(3), side * sqrt(3)}};
    for (int i = 0; i < 6; i++) {
        const float *box = a[6 * (int)cell + i];
        assert_true(
            fabs((double)box[0] + (double)box[2] - 40) < 1e-4 && fabs((double)box[1] + (double)box[3] - 24) < 1e-4);
        assert_true(fabs((double)box[2] - (double)box[0] - expected[i][0]) < 1e-4);
        assert_true(fabs((double)box[3] - (double)box[1] - expected[i][1]) < 1e-4);
    }
    const float *last =
        a[g.edges[e].shape.dim[0] - 5]; /* the greatest square: between scales 0.80833333 and 0.95, in the middle */
    assert_true(fabs((double)last[2] - (double)last[0] - sqrt(0.80833333 * 0.95) * 96) < 1e-3);
    assert_true(fabs((double)last[0] + (double)last[2] - 128) < 1e-3);
    graph_free(&g);
    config_free(&c);
}

/* Every ratio of 1 has two squares, however often it is asked for. */
static void many_ratios_fit(void **state)
{
    (void)state;
    static const char *const ratios[] = {"1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"};
    graph g;
    config c;
    build(&g, &c, "ssd_resnet10", 3);
    graph_free(&g);
    GOOD(config_set(&c, "ssd", "aspect_ratios", ratios[0], "test"));
    GOOD(models_build(&g, &c.spec, 3));
    assert_int_equal(g.edges[graph_find_edge(&g, "ssd.anchors")].shape.dim[0], 32 * 258);
    graph_free(&g);
    GOOD(config_set(&c, "ssd", "aspect_ratios", ratios[1], "test"));
    assert_int_equal(models_build(&g, &c.spec, 3), E_USAGE);
    config_free(&c);
}

static void heads_stand_on_backbones(void **state)
{
    (void)state;
    static const char *const archs[] = {"ssd_resnet10", "ssd_mobilenet_v2", "ssd_squeezenet1_1", "ssd_squeezenet1_0"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        graph g;
        config c;
        build(&g, &c, archs[i], 3);
        GOOD(graph_check(&g));
        GOOD(task_detection.check(&g, 3, archs[i]));
        assert_int_equal(task_detection.check(&g, 4, archs[i]), E_MODEL);
        assert_true(task_detection.is_head(&g, 0, "ssd.confidence.5.bias"));
        assert_false(task_detection.is_head(&g, 0, "ssd.location.5.bias"));
        graph_free(&g);
        config_free(&c);
    }
}

static const float *values(const graph *g, const char *name, int64_t *rows)
{
    edge_id e = graph_find_edge(g, name);
    assert_int_not_equal(e, EDGE_NONE);
    *rows = g->edges[e].shape.dim[0];
    return g->edges[e].data;
}

/* Rows are anchors x (background, classes). */
static void classes_change_places(void **state)
{
    (void)state;
    graph g, before;
    config c;
    int64_t rows, each = 4;
    build(&g, &c, "ssd_resnet10", 3);
    GOOD(graph_copy(&before, &g));
    GOOD(task_detection.order_head(&g, (const int64_t[]){2, 0, 1}));
    for (int k = 0; k < 6; k++) {
        char name[64];
        snprintf(name, sizeof name, "ssd.confidence.%d.weight", k);
        const float *now = values(&g, name, &rows), *was = values(&before, name, &rows);
        int64_t size = shape_count(g.edges[graph_find_edge(&g, name)].shape) / rows;
        static const int64_t place[] = {0, 3, 1, 2};
        assert_int_equal(rows, 6 * each);
        for (int64_t r = 0; r < rows; r++)
            assert_memory_equal(
                now + r * size, was + (r / each * each + place[r % each]) * size, (size_t)size * sizeof *now);
    }
    graph_free(&before);
    graph_free(&g);
    config_free(&c);
}

static void a_fresh_head_has_other_classes(void **state)
{
    (void)state;
    graph g, direct;
    config c, other;
    int64_t rows, expected;
    build(&g, &c, "ssd_squeezenet1_1", 3);
    build(&direct, &other, "ssd_squeezenet1_1", 7);
    GOOD(task_detection.fresh_head(&g, 7, 1));
    GOOD(graph_check(&g));
    GOOD(task_detection.check(&g, 7, "net"));
    const float *now = values(&g, "ssd.confidence.2.weight", &rows),
                *like = values(&direct, "ssd.confidence.2.weight", &expected);
    assert_int_equal(rows, expected);
    assert_memory_equal(
        now, like, (size_t)shape_count(g.edges[graph_find_edge(&g, "ssd.confidence.2.weight")].shape) * sizeof *now);
    graph_free(&direct);
    graph_free(&g);
    config_free(&other);
    config_free(&c);
}

static void a_file_keeps_the_head(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    model m = {0}, again;
    config c;
    int64_t rows;
    char path[64];
    snprintf(path, sizeof path, "/tmp/graft-detect-%ld", (long)getpid());
    build(&m.graph, &c, "ssd_mobilenet_v2", 3);
    GOOD(preprocess_from_spec(&m.preprocess, &c.spec.model, &c.spec.data));
    GOOD(model_set_classes(&m, names, 3));
    m.task = task_file_name(&task_detection);
    GOOD(model_save(&m, path));
    GOOD(model_load(&again, path));
    unlink(path);
    assert_string_equal(again.task, "detection");
    GOOD(task_detection.check(&again.graph, 3, path));
    const float *now = values(&again.graph, "ssd.anchors", &rows), *was = values(&m.graph, "ssd.anchors", &rows);
    assert_memory_equal(now, was, (size_t)rows * 4 * sizeof *now);
    const node *a = &m.graph.nodes[detect_head(&m.graph, 0)], *b = &again.graph.nodes[detect_head(&again.graph, 0)];
    assert_true(*detect_attr_float(a, "iou") == *detect_attr_float(b, "iou") && *detect_attr_float(b, "iou") == 0.5f);
    GOOD(task_detection.set_limits(&again.graph, &(spec_infer){.threshold = 0.4, .nms_iou = 0.3}));
    assert_true(*detect_attr_float(b, "threshold") == 0.4f && *detect_attr_float(b, "iou") == 0.3f);
    model_free(&again);
    m.task = NULL;
    model_free(&m);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_the_definition),
        cmocka_unit_test(known_curve),
        cmocka_unit_test(counts_as_the_kits_do),
        cmocka_unit_test(absent_classes_are_left_out),
        cmocka_unit_test(labels_fill_rows),
        cmocka_unit_test(anchors_stand_in_cells),
        cmocka_unit_test(many_ratios_fit),
        cmocka_unit_test(heads_stand_on_backbones),
        cmocka_unit_test(classes_change_places),
        cmocka_unit_test(a_fresh_head_has_other_classes),
        cmocka_unit_test(a_file_keeps_the_head),
    };
    return cmocka_run_group_tests_name("task_detect", tests, NULL, NULL);
}
