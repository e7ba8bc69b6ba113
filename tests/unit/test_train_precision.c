/* Training in 16 bits and tf32: what the pass does to a graph, that its errors are those of the types, the dynamic loss
 * scale. The yardstick is the same network in f32; all of it on the CPU, where reference kernels have every type. */
#include "tests/unit/unit_test.h"

#include <math.h>

#include "core/graph/transform.h"
#include "core/ops/internal.h"
#include "core/graph/init.h"
#include "core/train/loss_scale.h"
#include "core/train/train_graph.h"
#include "train_fixture.h"

enum { BATCH = 6, SIDE = 16, CLASSES = 3 };

/* ------------------------------------------------------------------------------------------------ one step */

typedef struct step {
    config config;
    graph model;
    trainable t;
    double loss;
    float *gradients, logits[BATCH * CLASSES];
    int64_t count;
} step;

static void open_step(step *s, const char *overrides)
{
    *s = (step){0};
    GOOD(fixture_config(&s->config, "none", overrides));
    GOOD(models_build(&s->model, &s->config.spec, CLASSES));
    init_params(&s->model, 1);
    const task_setting setting = {.task = &task_classification, .spec = &s->config.spec, .class_count = CLASSES};
    GOOD(train_graph_build(&s->t, &s->model, &setting, BATCH, 1));
}

static void close_step(step *s)
{
    trainable_free(&s->t);
    graph_free(&s->model);
    config_free(&s->config);
    free(s->gradients);
}

static void run_step(step *s, float scale)
{
    static float pixels[BATCH * SIDE * SIDE * 3], targets[BATCH * CLASSES];
    rng r = rng_make(7, RNG_TEST, 0);
    device *dev;
    param_store *store;
    plan *p;
    for (size_t i = 0; i < sizeof pixels / sizeof *pixels; i++) pixels[i] = rng_normal(&r);
    for (int i = 0; i < BATCH * CLASSES; i++) targets[i] = i % CLASSES == i / CLASSES % CLASSES;
    GOOD(device_open(&dev, SPEC_DEVICE_CPU, 0, 1, NULL));
    GOOD(param_store_create(&store, &s->t.graph, dev, true));
    GOOD(plan_create(&p, &s->t.graph, dev, &(plan_options){.store = store}));
    GOOD(plan_set_input(p, s->t.image, pixels, sizeof pixels));
    GOOD(plan_set_input(p, s->t.label[0], targets, sizeof targets));
    if (s->t.loss_scale != EDGE_NONE) GOOD(plan_set_input(p, s->t.loss_scale, &scale, sizeof scale));
    GOOD(plan_run(p));
    GOOD(plan_get(p, s->t.terms.item[0].edge, &s->loss, sizeof s->loss));
    GOOD(plan_get(p, s->t.graph.outputs[0], s->logits, sizeof s->logits));
    s->count = param_store_count(store);
    s->gradients = malloc((size_t)s->count * sizeof(float));
    memcpy(s->gradients, param_store_gradients(store), (size_t)s->count * sizeof(float));
    plan_destroy(p);
    param_store_destroy(store);
    device_close(dev);
}

static double distance(const float *a, const float *b, int64_t count)
{
    double error = 0, norm = 0;
    for (int64_t i = 0; i < count; i++) {
        error += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return sqrt(error / norm);
}

/* n roundings of unit roundoff u (2^-8 for bf16, 2^-11 for f16 and tf32) give an error of at most n u to first order. A
 * loss scale that is a power of two changes gradients by that factor exactly, as long as nothing leaves f16's range. */
static void logits_are_as_good_as_the_types(void **state)
{
    (void)state;
    static const struct { const char *overrides; double unit; } cases[] = {
        {"train.precision=bf16", 0x1p-8}, {"train.precision=f16", 0x1p-11}, {"train.precision=tf32", 0x1p-11}};
    step plain;
    open_step(&plain, "");
    run_step(&plain, 1);
    for (int i = 0; i < 3; i++) {
        step s;
        open_step(&s, cases[i].overrides);
        run_step(&s, 1);
        double n = (double)s.t.graph.node_count, error = distance(s.logits, plain.logits, BATCH * CLASSES);
        assert_true(error > 0 && error < n * cases[i].unit);
        assert_true(fabs(s.loss - plain.loss) < n * cases[i].unit * plain.loss);
        close_step(&s);
    }
    close_step(&plain);
}

static void the_scale_reaches_the_gradients(void **state)
{
    (void)state;
    step one, scaled;
    open_step(&one, "train.precision=f16");
    open_step(&scaled, "train.precision=f16");
    run_step(&one, 1024);
    run_step(&scaled, 4096);
    assert_true(one.loss == scaled.loss);
    for (int64_t i = 0; i < one.count; i++) scaled.gradients[i] /= 4;
    assert_true(
        distance(scaled.gradients, one.gradients, one.count) < 0x1p-11); /* equal but for what is denormal in f16 */
    close_step(&one);
    close_step(&scaled);
}

/* ------------------------------------------------------------------------------------------------ the graph */

static const edge *in_edge(const graph *g, const node *n, int32_t i) { return &g->edges[n->in[i]]; }

static void check_types(const graph *g, dtype narrow)
{
    int64_t products = 0, frozen = 0, casts = 0;
    for (node_id i = 0; i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        if (n->op == &op_conv2d || n->op == &op_linear) {
            const edge *w = in_edge(g, n, 1);
            assert_int_equal(in_edge(g, n, 0)->type, narrow);
            assert_int_equal(w->type, narrow);
            frozen += w->kind == EDGE_CONST;
            products++;
        }
        if (n->op == &op_cast && in_edge(g, n, 0)->kind == EDGE_PARAM) casts++;
        if (n->op == &op_conv2d_dweight) {
            assert_int_equal(in_edge(g, n, 1)->type, narrow);
            assert_int_equal(g->edges[n->out[0]].type, DTYPE_F32);
        }
        if (n->op == &op_bn_finalise)
            for (int k = 0; k < 4; k++) assert_int_equal(g->edges[n->out[k]].type, DTYPE_F32);
        if (n->op == &op_softmax_ce) assert_int_equal(in_edge(g, n, 0)->type, DTYPE_F32);
    }
    assert_int_equal(casts + frozen, products); /* once each, or not at all */
    assert_true(frozen > 0);
    for (edge_id e = 0; e < g->edge_count; e++)
        if (g->edges[e].kind == EDGE_PARAM || g->edges[e].kind == EDGE_STATE || g->edges[e].kind == EDGE_GRAD)
            assert_int_equal(g->edges[e].type, DTYPE_F32);
}

static void masters_stay_f32(void **state)
{
    (void)state;
    static const struct { const char *overrides; dtype type;
    } cases[] = {{"train.precision=bf16 model.freeze_blocks=0", DTYPE_BF16},
        {"train.precision=f16 model.freeze_blocks=0", DTYPE_F16}};
    for (int i = 0; i < 2; i++) {
        step s;
        open_step(&s, cases[i].overrides);
        check_types(&s.t.graph, cases[i].type);
        assert_int_equal(s.t.graph.edges[s.t.graph.outputs[0]].type, DTYPE_F32);
        assert_int_equal(s.t.graph.edges[s.t.image].type, DTYPE_F32);
        assert_int_equal(s.t.loss_scale != EDGE_NONE, cases[i].type == DTYPE_F16);
        close_step(&s);
    }
}

/* A frozen weight's constant holds what the cast kernel gives. */
static void frozen_weights_are_cast_once(void **state)
{
    (void)state;
    step s;
    open_step(&s, "train.precision=bf16 model.freeze_blocks=0");
    const graph *g = &s.t.graph;
    edge_id w = graph_find_edge(g, "conv1.weight"), narrow = graph_find_edge(g, "conv1.weight/bf16");
    assert_int_not_equal(w, EDGE_NONE);
    assert_int_not_equal(narrow, EDGE_NONE);
    int64_t count = shape_count(g->edges[w].shape);
    uint16_t *expected = calloc((size_t)count, sizeof *expected);
    const kernel *k;
    cast_desc d = {.count = count, .src_type = DTYPE_F32, .dst_type = DTYPE_BF16};
    GOOD(kernel_select(&k, OP_CAST, BACKEND_REF, &d, NULL, NULL));
    GOOD(k->run(&(kernel_call){.desc = &d, .in = {g->edges[w].data}, .out = {expected}}));
    assert_memory_equal(g->edges[narrow].data, expected, (size_t)count * sizeof *expected);
    free(expected);
    close_step(&s);
}

/* ------------------------------------------------------------------------------------------------ loss scale */

static void the_scale_follows_its_rule(void **state)
{
    (void)state;
    spec_train o = {.precision = PRECISION_F16, .loss_scale_period = 3};
    train_progress p = {0};
    loss_scale_start(&p, &o);
    assert_true(p.loss_scale == 65536);
    assert_int_equal(loss_scale_update(&p, &o, true), LOSS_SCALE_KEPT);
    assert_int_equal(loss_scale_update(&p, &o, true), LOSS_SCALE_KEPT);
    assert_int_equal(loss_scale_update(&p, &o, false), LOSS_SCALE_LOWERED); /* counting starts again */
    assert_true(p.loss_scale == 32768);
    for (int i = 0; i < 2; i++) assert_int_equal(loss_scale_update(&p, &o, true), LOSS_SCALE_KEPT);
    assert_int_equal(loss_scale_update(&p, &o, true), LOSS_SCALE_RAISED);
    assert_true(p.loss_scale == 65536);
    for (int i = 0; i < 16; i++) assert_int_equal(loss_scale_update(&p, &o, false), LOSS_SCALE_LOWERED);
    assert_true(p.loss_scale == 1);
    assert_int_equal(loss_scale_update(&p, &o, false), LOSS_SCALE_KEPT); /* no scale is to blame any more */
    for (int i = 0; i < 200; i++) loss_scale_update(&p, &o, true);
    assert_true(p.loss_scale == 16777216);

    spec_train fixed = {.precision = PRECISION_F16, .loss_scale = 128, .loss_scale_period = 1};
    p = (train_progress){0};
    loss_scale_start(&p, &fixed);
    assert_true(p.loss_scale == 128);
    assert_int_equal(loss_scale_update(&p, &fixed, false), LOSS_SCALE_KEPT);
    assert_int_equal(loss_scale_update(&p, &fixed, true), LOSS_SCALE_KEPT);
    assert_true(p.loss_scale == 128);
}

static void train(fixture_run *r)
{
    r->any_precision = true;
    if (fixture_train(r) != OK) fail_msg("%s", status_message());
}

/* The scale doubles with every second update until gradients overflow, so that updates are skipped in the middle of the
 * run. */
static const char overflowing[] =
    "train.precision=f16 train.loss_scale_period=1 train.epochs=4 schedule.learning_rate=0.01";

static void overflows_are_skipped_and_resumed_alike(void **state)
{
    (void)state;
    char *said = NULL;
    size_t bytes;
    fixture_run straight = {.folder = "f16", .overrides = overflowing, .said = open_memstream(&said, &bytes)};
    train(&straight);
    fclose(straight.said);
    assert_int_equal(straight.summary.bad_steps, 0); /* skipping is no failure */
    assert_true(straight.summary.finished && isfinite(straight.summary.term[0]));
    assert_null(strstr(said, "NaN"));
    free(said);
    train_state s;
    char path[512];
    snprintf(path, sizeof path, "%s/last.state", fixture_path("f16"));
    GOOD(state_read(&s, path));
    assert_true(s.progress.applied < s.progress.step); /* some were skipped */
    assert_true(s.progress.loss_scale >= 1);
    state_free(&s);
    static const int split[] = {7, 17};
    for (int i = 0; i < 2; i++) {
        fixture_run first = {.folder = "f16-split", .overrides = overflowing, .stop_at = split[i]};
        fixture_run second = {.folder = "f16-split", .overrides = overflowing, .resume = true};
        fixture_remove("f16-split");
        train(&first);
        train(&second);
        assert_true(fixture_last("f16-split") == fixture_last("f16"));
    }
}

/* The same weights to start from and the same images: after a few updates losses differ by what the types round. */
static void bf16_learns_like_f32(void **state)
{
    (void)state;
    fixture_run f32 = {.folder = "like-f32", .overrides = "train.epochs=10"};
    fixture_run bf16 = {.folder = "like-bf16", .overrides = "train.epochs=10 train.precision=bf16"};
    train(&f32);
    train(&bf16);
    assert_true(f32.summary.term[0] < 1.0986); /* less than log 3: it has learnt */
    assert_true(bf16.summary.term[0] < 1.0986);
    assert_true(fixture_last("like-f32") != fixture_last("like-bf16"));
}

static void the_cpu_refuses_unless_told(void **state)
{
    (void)state;
    fixture_run r = {.folder = "refused", .overrides = "train.precision=bf16"};
    assert_int_equal(fixture_train(&r), E_USAGE);
    assert_non_null(strstr(status_message(), "f32 only"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_as_good_as_the_types),
        cmocka_unit_test(the_scale_reaches_the_gradients),
        cmocka_unit_test(masters_stay_f32),
        cmocka_unit_test(frozen_weights_are_cast_once),
        cmocka_unit_test(the_scale_follows_its_rule),
        cmocka_unit_test(overflows_are_skipped_and_resumed_alike),
        cmocka_unit_test(bf16_learns_like_f32),
        cmocka_unit_test(the_cpu_refuses_unless_told),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
