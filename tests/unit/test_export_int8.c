/* Calibration, quantisation and the whole way to an INT8 network, on a small residual network. */
#include "core/graph/plan.h"
#include "core/graph/transform.h"
#include "core/ops/op.h"
#include "export/export.h"
#include "export/noise.h"
#include "export/quantise.h"
#include "export/runner.h"
#include "tests/unit/export_net.h"

/* Scores of one image. */
static void run(const graph *g, device *dev, bool reference, const float *image, float *scores)
{
    plan *p;
    GOOD(plan_create(&p, g, dev, &(plan_options){.reference = reference}));
    GOOD(plan_set_input(p, g->inputs[0], image, NET_IMAGE * sizeof *image));
    GOOD(plan_run(p));
    GOOD(plan_get(p, g->outputs[0], scores, NET_CLASSES * sizeof *scores));
    plan_destroy(p);
}

/* The model as it was built, batch-norm with running statistics, against the folded and fused graph. */
static void test_float_graph(void **state)
{
    net_fixture *f = *state;
    graph plain, lowered;
    float expected[NET_CLASSES], found[NET_CLASSES];
    GOOD(pass_inference(&plain, &f->m.graph));
    GOOD(pass_lower(&lowered, &plain, false));
    run(&lowered, f->dev, true, f->images.pixels, expected);
    run(&f->fused, f->dev, false, f->images.pixels, found);
    float top = 0, worst = 0;
    for (int c = 0; c < NET_CLASSES; c++) {
        top = fmaxf(top, fabsf(expected[c]));
        worst = fmaxf(worst, fabsf(expected[c] - found[c]));
    }
    assert_true(top > 0.01f);
    if (worst > 2e-5f * top) fail_msg("largest score %g, largest difference %g", (double)top, (double)worst);
    for (node_id n = 0; n < f->fused.node_count; n++) {
        const char *name = f->fused.nodes[n].op->name;
        if (strcmp(name, "batchnorm") == 0 || strcmp(name, "add") == 0 || strcmp(name, "activation") == 0)
            fail_msg("%s (%s) was not fused", f->fused.nodes[n].name, name);
    }
    graph_free(&plain);
    graph_free(&lowered);
}

/* The same ranges to the last bit for every order and batch size. */
static void test_calibration_is_invariant(void **state)
{
    net_fixture *f = *state;
    calibration first;
    GOOD(calibration_run(&first, &f->fused, f->dev, &f->data));
    assert_int_equal(first.images, NET_IMAGES);
    for (int64_t batch = 1; batch <= 13; batch += 3) {
        calibration other;
        net_images images = net_images_make(NET_IMAGES, batch, batch % 2 == 0);
        calibration_data data = net_data(&images);
        GOOD(calibration_run(&other, &f->fused, f->dev, &data));
        for (int64_t e = 0; e < first.edge_count; e++) {
            const tensor_range *a = &first.range[e], *b = &other.range[e];
            assert_int_equal(a->bin != NULL, b->bin != NULL);
            if (!a->bin) continue;
            assert_memory_equal(&a->amax, &b->amax, sizeof a->amax);
            assert_memory_equal(a->bin, b->bin, CALIBRATION_BINS * sizeof *a->bin);
        }
        calibration_free(&other);
        net_images_free(&images);
    }
    calibration_free(&first);
}

/* The histogram against one made here from the kept activations. */
static void test_histogram(void **state)
{
    net_fixture *f = *state;
    calibration c;
    GOOD(calibration_run(&c, &f->fused, f->dev, &f->data));
    edge_id input = f->fused.inputs[0];
    const tensor_range *r = &c.range[input];
    float amax = 0;
    int64_t bin[CALIBRATION_BINS] = {0};
    for (int64_t i = 0; i < NET_IMAGES * NET_IMAGE; i++) amax = fmaxf(amax, fabsf(f->images.pixels[i]));
    for (int64_t i = 0; i < NET_IMAGES * NET_IMAGE; i++) {
        int64_t b = (int64_t)(fabsf(f->images.pixels[i]) * (CALIBRATION_BINS / amax));
        bin[b < CALIBRATION_BINS ? b : CALIBRATION_BINS - 1]++;
    }
    assert_true(r->amax == amax);
    assert_int_equal(r->count, NET_IMAGES * NET_IMAGE);
    assert_memory_equal(r->bin, bin, sizeof bin);
    calibration_free(&c);
}

static status broken_next(void *context, const float **images, int64_t *count)
{
    net_images *s = context;
    TRY(net_next(s, images, count));
    if (*count) s->buffer[5] = NAN;
    return OK;
}

static status growing_next(void *context, const float **images, int64_t *count)
{
    net_images *s = context;
    TRY(net_next(s, images, count));
    for (int64_t i = 0; i < *count * NET_IMAGE; i++) s->buffer[i] *= 1.0f + 0.01f * (float)s->backwards;
    if (s->at == s->count) s->backwards = true;
    return OK;
}

static void test_calibration_refuses(void **state)
{
    net_fixture *f = *state;
    calibration c;
    net_images images = net_images_make(4, 4, false);
    calibration_data data = net_data(&images);
    data.next = broken_next;
    assert_int_equal(calibration_run(&c, &f->fused, f->dev, &data), E_MODEL);
    assert_non_null(strstr(status_message(), "NaN"));
    data.next = growing_next;
    assert_int_equal(calibration_run(&c, &f->fused, f->dev, &data), E_DATA);
    assert_non_null(strstr(status_message(), "second pass"));
    images.count = 0;
    data.next = net_next;
    assert_int_equal(calibration_run(&c, &f->fused, f->dev, &data), E_DATA);
    net_images_free(&images);
}

static void make_scales(net_fixture *f, spec_calibrator method, float *scale)
{
    calibration c;
    GOOD(calibration_run(&c, &f->fused, f->dev, &f->data));
    calibration_scales(&c, method, 99.99, scale);
    quantise_share_scales(&f->fused, scale);
    calibration_free(&c);
}

/* Every tensor of the integer network: plain C against whatever the CPU backend chooses. */
static void test_reference_equals_cpu(void **state)
{
    net_fixture *f = *state;
    graph q;
    plan *ref, *cpu;
    float *scale = calloc((size_t)f->fused.edge_count, sizeof *scale);
    make_scales(f, CALIBRATOR_MINMAX, scale);
    GOOD(quantise_graph(&q, &f->fused, scale, NULL));
    GOOD(graph_check(&q));
    GOOD(plan_create(&ref, &q, f->dev, &(plan_options){.reference = true, .keep_activations = true}));
    GOOD(plan_create(&cpu, &q, f->dev, &(plan_options){.keep_activations = true}));
    int64_t compared = 0;
    for (int64_t i = 0; i < 3; i++) {
        const float *image = f->images.pixels + i * NET_IMAGE;
        plan *both[] = {ref, cpu};
        for (int k = 0; k < 2; k++) {
            GOOD(plan_set_input(both[k], q.inputs[0], image, NET_IMAGE * sizeof *image));
            GOOD(plan_run(both[k]));
        }
        for (edge_id e = 0; e < q.edge_count; e++) {
            const edge *p = &q.edges[e];
            if (p->kind != EDGE_ACTIVATION || p->type != DTYPE_I8) continue;
            size_t bytes = (size_t)shape_count(p->shape);
            int8_t *a = malloc(bytes), *b = malloc(bytes);
            GOOD(plan_get(ref, e, a, bytes));
            GOOD(plan_get(cpu, e, b, bytes));
            for (size_t k = 0; k < bytes; k++)
                if (a[k] != b[k]) fail_msg("image %d, %s, element %zu: ref %d, cpu %d", (int)i, p->name, k, a[k], b[k]);
            compared++;
            free(a);
            free(b);
        }
    }
    assert_true(compared > 30);
    plan_destroy(ref);
    plan_destroy(cpu);
    graph_free(&q);
    free(scale);
}

/* What the integer graph looks like: one quantisation of the image, no conversion between layers, float
 * only around the global average. */
static void test_structure(void **state)
{
    net_fixture *f = *state;
    graph q;
    float *scale = calloc((size_t)f->fused.edge_count, sizeof *scale);
    int64_t layers = 0, quantise = 0;
    make_scales(f, CALIBRATOR_MINMAX, scale);
    GOOD(quantise_graph(&q, &f->fused, scale, NULL));
    for (node_id n = 0; n < q.node_count; n++) {
        const node *p = &q.nodes[n];
        dtype type = q.edges[p->in[0]].type;
        if (p->op == &op_conv2d || p->op == &op_linear) {
            assert_int_equal(type, DTYPE_I8);
            layers++;
        }
        if (p->op == &op_pool && ((const pool_attr *)p->attr)->kind == POOL_MAX) assert_int_equal(type, DTYPE_I8);
        if (p->op == &op_quantise) quantise++;
    }
    int64_t expected = 0;
    for (node_id n = 0; n < f->fused.node_count; n++) expected += quantise_is_layer(&f->fused, n);
    assert_int_equal(layers, expected);
    assert_int_equal(layers, 13); /* stem, 4 blocks of 2, 3 projections, linear */
    assert_int_equal(quantise, 2); /* image, pooled features */
    assert_int_equal(q.edges[q.outputs[0]].type, DTYPE_F32);
    assert_int_equal(graph_macs(&q), graph_macs(&f->fused));
    graph_free(&q);
    free(scale);
}

/* Weights and factors by their definition, for one layer. */
static void test_constants(void **state)
{
    net_fixture *f = *state;
    graph q;
    float *scale = calloc((size_t)f->fused.edge_count, sizeof *scale);
    make_scales(f, CALIBRATOR_MINMAX, scale);
    GOOD(quantise_graph(&q, &f->fused, scale, NULL));
    const node *from = &f->fused.nodes[graph_find_node(&f->fused, "layer1.0.conv1")];
    const node *to = &q.nodes[graph_find_node(&q, "layer1.0.conv1")];
    const edge *w = &f->fused.edges[from->in[1]], *wq = &q.edges[to->in[1]];
    const float *bias = f->fused.edges[from->in[2]].data, *bias_q = q.edges[to->in[2]].data,
                *factor = q.edges[to->in[4]].data;
    int64_t oc = w->shape.dim[0], count = shape_count(w->shape) / oc;
    double s_in = scale[from->in[0]], s_out = scale[from->out[0]];
    for (int64_t o = 0; o < oc; o++) {
        const float *row = (const float *)w->data + o * count;
        const int8_t *row_q = (const int8_t *)wq->data + o * count;
        float amax = 0;
        for (int64_t i = 0; i < count; i++) amax = fmaxf(amax, fabsf(row[i]));
        int top = 0;
        for (int64_t i = 0; i < count; i++) {
            top = abs(row_q[i]) > top ? abs(row_q[i]) : top;
            assert_true(fabs(row_q[i] * (double)amax / 127 - row[i]) <= 0.5001 * amax / 127);
        }
        assert_int_equal(top, 127);
        assert_true(fabs(factor[o] * s_out / (s_in * amax / 127) - 1) < 1e-6);
        assert_true(bias_q[o] == nearbyintf(bias_q[o])); /* other programs keep it in an int32 */
        assert_true(fabs(bias_q[o] * (s_in * amax / 127) - bias[o]) <= 0.5001 * s_in * amax / 127);
    }
    graph_free(&q);
    free(scale);
}

/* Channels without weights, or with weights of no size: their biases are kept, and fit an int32. */
static void test_dead_channels(void **state)
{
    net_fixture *f = *state;
    graph q, dead;
    float *scale = calloc((size_t)f->fused.edge_count, sizeof *scale);
    make_scales(f, CALIBRATOR_MINMAX, scale);
    GOOD(graph_copy(&dead, &f->fused));
    const node *from = &dead.nodes[graph_find_node(&dead, "layer1.0.conv1")];
    const edge *w = &dead.edges[from->in[1]];
    const float size[4] = {0, 1e-37f, 1e-20f, 1e-12f};
    float *bias = dead.edges[from->in[2]].data;
    int64_t count = shape_count(w->shape) / w->shape.dim[0];
    for (int o = 0; o < 4; o++) {
        bias[o] = o % 2 ? 0.3f : -2.0f;
        for (int64_t i = 0; i < count; i++) ((float *)w->data)[o * count + i] *= size[o];
    }
    GOOD(quantise_graph(&q, &dead, scale, NULL));
    const node *to = &q.nodes[graph_find_node(&q, "layer1.0.conv1")];
    const float *bias_q = q.edges[to->in[2]].data, *factor = q.edges[to->in[4]].data;
    for (int o = 0; o < 4; o++) {
        assert_true(fabsf(bias_q[o]) <= 1073741824.0f);
        assert_true(fabs((double)bias_q[o] * factor[o] * scale[from->out[0]] / bias[o] - 1) < 1e-6);
    }
    graph_free(&q);
    graph_free(&dead);
    free(scale);
}

/* Between powers of two: steps of 6 binary digits that saturate next to nothing, and
 * whole biases, of dead channels too. */
static void test_power_of_two(void **state)
{
    net_fixture *f = *state;
    graph q;
    float *scale = calloc((size_t)f->fused.edge_count, sizeof *scale);
    int64_t checked = 0;
    make_scales(f, CALIBRATOR_MINMAX, scale);
    float *measured = calloc((size_t)f->fused.edge_count, sizeof *measured);
    memcpy(measured, scale, (size_t)f->fused.edge_count * sizeof *scale);
    quantise_round_scales(&f->fused, scale);
    for (edge_id e = 0; e < f->fused.edge_count; e++) {
        int exponent;
        assert_true(measured[e] > 0 ? frexpf(scale[e], &exponent) == 0.5f : scale[e] == measured[e]);
        assert_true(measured[e] <= 0 || fabsf(log2f(scale[e] / measured[e])) <= 0.5f + 1e-6f);
    }
    free(measured);
    GOOD(quantise_graph(&q, &f->fused, scale, NULL));
    for (node_id n = 0; n < f->fused.node_count; n++) {
        const node *from = &f->fused.nodes[n], *to = &q.nodes[graph_find_node(&q, from->name)];
        if (!quantise_is_layer(&f->fused, n)) continue;
        const edge *w = &f->fused.edges[from->in[1]], *out = &q.edges[to->out[0]];
        const float *bias = f->fused.edges[from->in[2]].data, *bias_q = q.edges[to->in[2]].data;
        const float *factor = q.edges[to->in[to->op == &op_conv2d ? 4 : 3]].data;
        const int8_t *wq = q.edges[to->in[1]].data;
        int64_t channels = w->shape.dim[0], count = shape_count(w->shape) / channels;
        float s_in = scale[from->in[0]], s_out = out->type == DTYPE_I8 ? out->scale : 1;
        for (int64_t o = 0; o < channels; o++, checked++) {
            int exponent;
            double digits = ldexp(frexp((double)factor[o], &exponent), 6), step = (double)factor[o] * s_out / s_in,
                   unit = step * s_in;
            assert_true(digits == nearbyint(digits));
            assert_true(bias_q[o] == nearbyintf(bias_q[o]) && fabsf(bias_q[o]) <= 1.06f * (1 << 18));
            assert_true(fabs(bias_q[o] * unit - bias[o]) <= 0.5001 * unit);
            for (int64_t i = 0; i < count; i++) {
                double exact = ((const float *)w->data)[o * count + i] / step;
                assert_true(fabs(exact) <= 127 / 0.95 + 0.01);
                assert_true(fabs(wq[o * count + i] - fmax(-127, fmin(127, exact))) <= 0.5001);
            }
        }
    }
    assert_true(checked > 100);
    graph_free(&q);
    free(scale);
}

/* Each method gives a network that keeps its scores; layers alone are cleaner than the whole. */
static void test_noise(void **state)
{
    net_fixture *f = *state;
    float *scale = calloc((size_t)f->fused.edge_count, sizeof *scale);
    double *db = calloc((size_t)f->fused.node_count, sizeof *db);
    for (spec_calibrator m = CALIBRATOR_ENTROPY; m < CALIBRATOR_AUTO; m++) {
        graph q;
        double whole;
        make_scales(f, m, scale);
        GOOD(quantise_graph(&q, &f->fused, scale, NULL));
        GOOD(noise_network(&whole, &f->fused, &q, f->dev, &f->data));
        GOOD(noise_layers(db, &f->fused, scale, f->dev, &f->data));
        if (whole < 15) fail_msg("%s: result %.1f dB", calibrator_name(m), whole);
        for (node_id n = 0; n < f->fused.node_count; n++) {
            if (!quantise_is_layer(&f->fused, n)) assert_true(db[n] == 0);
            else if (db[n] < 20 || db[n] > 60)
                fail_msg("%s: %s %.1f dB", calibrator_name(m), f->fused.nodes[n].name, db[n]);
        }
        graph_free(&q);
    }
    free(scale);
    free(db);
}

/* ------------------------------------------------------------------------------------------------ fall back */

/* Points by the rule that a layer called `bad` costs 10 in INT8. */
typedef struct judge {
    const char *bad;
    int64_t calls;
} judge;

static status judge_graph(void *context, graph *g, double *points)
{
    judge *j = context;
    node_id n = graph_find_node(g, j->bad);
    j->calls++;
    *points = n != NODE_NONE && g->edges[g->nodes[n].in[0]].type == DTYPE_I8 ? 80 : 90;
    return OK;
}

static void test_fall_back(void **state)
{
    net_fixture *f = *state;
    export_scales scales;
    judge j = {.bad = "layer2.0.conv1"};
    export_options o = {.calibrator = CALIBRATOR_ENTROPY,
        .max_drop = 1,
        .source_name = "net",
        .dev = f->dev,
        .data = &f->data,
        .score = judge_graph,
        .score_context = &j,
        .check_images = 10};
    engine e;
    GOOD(export_calibrate(&scales, &f->m, &o, 8601));
    GOOD(export_int8(&e, &f->m, &scales, &o));
    int64_t in_float = 0;
    double bad_db = 0, kept_db = 1000;
    for (int64_t i = 0; i < e.layer_count; i++) {
        const engine_layer *l = &e.layers[i];
        bool bad = strcmp(l->name, j.bad) == 0;
        in_float += !l->integer;
        if (bad) {
            assert_false(l->integer);
            assert_string_equal(l->reason, "noisy: back to f32");
            bad_db = l->sqnr_db;
        } else if (l->integer) {
            kept_db = fmin(kept_db, l->sqnr_db);
        }
    }
    assert_true(in_float >= 1 && kept_db >= bad_db); /* the noisiest went, up to the bad one, and no further */
    assert_true(e.score == 90 && e.float_score == 90);
    engine_free(&e);

    o.min_integer = 1;
    assert_int_equal(export_int8(&e, &f->m, &scales, &o), E_GATE);
    o.float_layers = (const char *const[]){"layer2.*", "conv1"};
    o.float_layer_count = 2;
    o.min_integer = 0;
    j.calls = 0;
    GOOD(export_int8(&e, &f->m, &scales, &o));
    for (int64_t i = 0; i < e.layer_count; i++) {
        bool named = strncmp(e.layers[i].name, "layer2.", 7) == 0 || strcmp(e.layers[i].name, "conv1") == 0;
        assert_int_equal(e.layers[i].integer, !named);
    }
    assert_int_equal(j.calls, 2);
    engine_free(&e);
    o.float_layers = (const char *const[]){"layer9.*"};
    o.float_layer_count = 1;
    assert_int_equal(export_int8(&e, &f->m, &scales, &o), E_USAGE);
    export_scales_free(&scales);
}

/* A mixed network still runs, and every float layer brings it nearer to float. */
static void test_mixed(void **state)
{
    net_fixture *f = *state;
    float *scale = calloc((size_t)f->fused.edge_count, sizeof *scale);
    bool *keep = calloc((size_t)f->fused.node_count, 1);
    double db = 0;
    make_scales(f, CALIBRATOR_MINMAX, scale);
    for (int64_t step = 2; step >= 1; step--) {
        graph q;
        double mixed;
        for (node_id n = 0; n < f->fused.node_count; n++) keep[n] = quantise_is_layer(&f->fused, n) && n % step == 0;
        GOOD(quantise_graph(&q, &f->fused, scale, keep));
        GOOD(noise_network(&mixed, &f->fused, &q, f->dev, &f->data));
        assert_true(mixed > db);
        db = mixed;
        graph_free(&q);
    }
    assert_true(db > 100); /* all layers in float: the float network */
    free(scale);
    free(keep);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_float_graph),
        cmocka_unit_test(test_calibration_is_invariant),
        cmocka_unit_test(test_histogram),
        cmocka_unit_test(test_calibration_refuses),
        cmocka_unit_test(test_reference_equals_cpu),
        cmocka_unit_test(test_structure),
        cmocka_unit_test(test_constants),
        cmocka_unit_test(test_dead_channels),
        cmocka_unit_test(test_power_of_two),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_fall_back),
        cmocka_unit_test(test_mixed),
    };
    return cmocka_run_group_tests(tests, net_fixture_open, net_fixture_close);
}
