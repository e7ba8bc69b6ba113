/* Pruning by what images show, against closed forms: the least squares, the scores of linear networks, and networks
 * whose lost channels are multiples of kept ones, which must compute what they did. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit_test.h"

#include "core/base/rng.h"
#include "core/graph/transform.h"
#include "models/models.h"
#include "models/parts/layers.h"
#include "prune/images.h"
#include "prune/least_squares.h"
#include "prune/prune.h"
#include "tests/unit/prune_net.h"

/* ------------------------------------------------------------------------------------------------ least squares */

enum { IN = 5, OUT = 3, ROWS = 61 };

typedef struct rows {
    float x[ROWS * IN], y[ROWS * OUT], truth[OUT * IN], start[OUT * IN];
    double shift[OUT];
} rows;

static void fill_rows(rows *r, uint64_t seed, float noise)
{
    rng random = rng_make(seed, RNG_TEST, 0);
    for (int32_t i = 0; i < ROWS * IN; i++) r->x[i] = 2 + rng_normal(&random);
    for (int32_t i = 0; i < OUT * IN; i++) r->truth[i] = rng_normal(&random), r->start[i] = rng_normal(&random);
    for (int32_t o = 0; o < OUT; o++) r->shift[o] = rng_normal(&random);
    for (int32_t i = 0; i < ROWS; i++)
        for (int32_t o = 0; o < OUT; o++) {
            double y = r->shift[o] + noise * rng_normal(&random);
            for (int32_t k = 0; k < IN; k++) y += r->truth[o * IN + k] * r->x[i * IN + k];
            r->y[i * OUT + o] = (float)y;
        }
}

static void solve_rows(const rows *r, float *weight, double *shift, double ridge, least_squares_fit *fit)
{
    least_squares l;
    GOOD(least_squares_init(&l, IN, OUT));
    least_squares_add(&l, r->x, r->y, 19); /* pieces that are no multiple of a block */
    least_squares_add(&l, r->x + 19 * IN, r->y + 19 * OUT, ROWS - 19);
    memcpy(weight, r->start, sizeof r->start);
    GOOD(least_squares_solve(&l, weight, shift, ridge, fit));
    least_squares_free(&l);
}

static void test_exact(void **state)
{
    (void)state;
    static rows r;
    float weight[OUT * IN];
    double shift[OUT];
    least_squares_fit fit;
    fill_rows(&r, 1, 0);
    solve_rows(&r, weight, shift, 1e-9, &fit);
    for (int32_t i = 0; i < OUT * IN; i++) assert_true(fabs((double)weight[i] - r.truth[i]) < 1e-5);
    for (int32_t o = 0; o < OUT; o++) assert_true(fabs(shift[o] - r.shift[o]) < 1e-4);
    assert_true(fit.before > 0.1 && fabs(fit.after) < 1e-9);
}

/* The squared error, summed row by row. */
static double squared_error(const rows *r, const float *weight, const double *shift)
{
    double sum = 0;
    for (int32_t i = 0; i < ROWS; i++)
        for (int32_t o = 0; o < OUT; o++) {
            double e = r->y[i * OUT + o] - (shift ? shift[o] : 0);
            for (int32_t k = 0; k < IN; k++) e -= (double)weight[o * IN + k] * r->x[i * IN + k];
            sum += e * e;
        }
    return sum;
}

static void test_never_worse(void **state)
{
    (void)state;
    static rows r;
    const double ridges[] = {1e-9, 1e-3, 1, 1e4};
    for (uint64_t seed = 2; seed < 12; seed++)
        for (int32_t i = 0; i < 4; i++)
            for (int32_t shifted = 0; shifted < 2; shifted++) {
                float weight[OUT * IN];
                double shift[OUT];
                least_squares_fit fit;
                fill_rows(&r, seed, 3);
                solve_rows(&r, weight, shifted ? shift : NULL, ridges[i], &fit);
                double before = squared_error(&r, r.start, NULL),
                       after = squared_error(&r, weight, shifted ? shift : NULL);
                assert_true(after <= before * (1 + 1e-6));
                assert_true(fabs(fit.after / fit.before - after / before) < 1e-4); /* what it says is what it did */
            }
}

/* One input, one output: W = (Sxy + k W0) / (Sxx + k), k = ridge Sxx. */
static void test_ridge(void **state)
{
    (void)state;
    const float x[] = {1, 2, -1, 3}, y[] = {2, 1, 0, 5};
    double sxx = 15, sxy = 19, k = 0.25 * sxx;
    float weight = 7;
    least_squares l;
    least_squares_fit fit;
    GOOD(least_squares_init(&l, 1, 1));
    least_squares_add(&l, x, y, 4);
    GOOD(least_squares_solve(&l, &weight, NULL, 0.25, &fit));
    least_squares_free(&l);
    assert_true(fabs(weight - (sxy + k * 7) / (sxx + k)) < 1e-6);
}

static void test_singular(void **state)
{
    (void)state;
    static rows r;
    float weight[OUT * IN];
    double shift[OUT];
    least_squares_fit fit;
    fill_rows(&r, 3, 0);
    for (int32_t i = 0; i < ROWS;
         i++) { /* inputs 0 and 1 are one, 4 is a constant: what they do together is determined */
        double lost = r.x[i * IN + 1] - r.x[i * IN], gone = r.x[i * IN + 4] - 2;
        for (int32_t o = 0; o < OUT; o++)
            r.y[i * OUT + o] -= (float)(lost * r.truth[o * IN + 1] + gone * r.truth[o * IN + 4]);
        r.x[i * IN + 1] = r.x[i * IN], r.x[i * IN + 4] = 2;
    }
    solve_rows(&r, weight, shift, 1e-18, &fit);
    for (int32_t i = 0; i < OUT * IN; i++) assert_true(isfinite(weight[i]));
    assert_true(squared_error(&r, weight, shift) < 1e-6 * squared_error(&r, r.start, NULL));

    memset(r.x, 0, sizeof r.x); /* dead inputs: weights stay, the shift is the mean */
    solve_rows(&r, weight, shift, 1e-3, &fit);
    assert_memory_equal(weight, r.start, sizeof weight);
    double mean = 0;
    for (int32_t i = 0; i < ROWS; i++) mean += r.y[i * OUT] / ROWS;
    assert_true(fabs(shift[0] - mean) < 1e-6);
}

static void test_not_finite(void **state)
{
    (void)state;
    const float x[] = {1, INFINITY}, y[] = {1, 2};
    float weight = 1;
    double shift;
    least_squares l;
    least_squares_fit fit;
    GOOD(least_squares_init(&l, 1, 1));
    least_squares_add(&l, x, y, 2);
    assert_int_equal(least_squares_solve(&l, &weight, &shift, 1e-3, &fit), E_DIVERGED);
    least_squares_free(&l);
}

/* ------------------------------------------------------------------------------------------------ networks */

enum { BATCH = 4, BATCHES = 8, SIDE = 16 };
static const spec_model small_options = {.arch = "resnet10",
    .input_width = SIDE,
    .input_height = SIDE,
    .channels = 3,
    .stem = STEM_SMALL,
    .width = 1,
    .use_batch_norm = true,
    .use_pooling = true,
    .bn_momentum = 0.1,
    .bn_epsilon = 1e-5};

typedef struct feed {
    int64_t left, count;
    uint64_t drawn;
} feed;

static status next_images(void *context, float *images, bool *done)
{
    feed *f = context;
    *done = f->left-- == 0;
    rng r = rng_make(5, RNG_TEST, f->drawn++);
    for (int64_t i = 0; !*done && i < f->count; i++) images[i] = rng_normal(&r);
    return OK;
}

static void begin(graph *g, net *n, edge_id *x)
{
    GOOD(graph_init(g));
    *n = (net){.g = g, .options = &small_options};
    GOOD(net_input(n, x));
}

static status prune_with(
    graph *cut, prune_report *report, const graph *g, prune_options o, int32_t threads, int64_t batches)
{
    shape s = g->edges[g->inputs[0]].shape;
    feed f = {.left = batches, .count = BATCH * shape_count(s) / s.dim[0]};
    prune_data data = {.next_batch = next_images, .context = &f, .batch = BATCH, .batches = batches + 1};
    GOOD(device_open(&data.dev, SPEC_DEVICE_CPU, 0, threads, NULL));
    o.data = &data;
    status result = prune_graph(cut, report, g, &o);
    device_close(data.dev);
    return result;
}

/* Logits for one more batch. */
static void run(const graph *g, float *result, int64_t count)
{
    graph resized, plain, lowered;
    device *dev;
    plan *p;
    bool done;
    GOOD(pass_inference(&plain, g));
    GOOD(graph_copy(&resized, &plain));
    GOOD(graph_resize_batch(&resized, BATCH));
    GOOD(pass_lower(&lowered, &resized, false));
    GOOD(device_open(&dev, SPEC_DEVICE_CPU, 0, 1, NULL));
    GOOD(plan_create(&p, &lowered, dev, &(plan_options){0}));
    int64_t pixels = shape_count(resized.edges[resized.inputs[0]].shape);
    float *images = malloc((size_t)pixels * sizeof *images);
    GOOD(next_images(&(feed){.left = 1, .count = pixels, .drawn = 1000}, images, &done));
    GOOD(plan_set_input(p, lowered.inputs[0], images, (size_t)pixels * sizeof *images));
    GOOD(plan_run(p));
    GOOD(plan_get(p, lowered.outputs[0], result, (size_t)count * sizeof *result));
    plan_destroy(p);
    device_close(dev);
    free(images);
    graph_free(&resized), graph_free(&plain), graph_free(&lowered);
}

/* Row 2k + 1 becomes `factor` times row 2k. unit: rows 2k get norm 1 first. */
static void pair_rows(graph *g, const char *layer, const char *part, float factor, bool unit)
{
    char name[64];
    int64_t count;
    snprintf(name, sizeof name, "%s.%s", layer, part);
    float *w = values(g, name, &count);
    int64_t columns = count / g->edges[graph_find_edge(g, name)].shape.dim[0];
    for (int64_t at = 0; at < count; at += 2 * columns) {
        double norm = 0;
        for (int64_t i = 0; i < columns; i++) norm += (double)w[at + i] * w[at + i];
        for (int64_t i = 0; i < columns; i++) {
            if (unit) w[at + i] = (float)(w[at + i] / sqrt(norm));
            w[at + columns + i] = factor * w[at + i];
        }
    }
}

/* What leaves layer and batch norm in channel 2k + 1 is 0.4 times channel 2k, given that it is so before the norm; ReLU
 * keeps that. */
static void pair_layer(graph *g, const char *layer, const char *norm, float factor)
{
    pair_rows(g, layer, "weight", factor, true);
    if (!norm) {
        pair_rows(g, layer, "bias", 0.4f, false);
        return;
    }
    pair_rows(g, norm, "weight", 0.4f, false);
    pair_rows(g, norm, "bias", 0.4f, false);
    pair_rows(g, norm, "running_mean", 0.4f, false);
    char name[64];
    int64_t count;
    snprintf(name, sizeof name, "%s.running_var", norm);
    float *var = values(g, name, &count);
    for (int64_t i = 0; i < count; i += 2) var[i + 1] = 0.16f * (var[i] + 1e-5f) - 1e-5f;
}

/* A hidden layer, a depthwise one, and a trunk that an addition joins: half of their channels are multiples of the
 * others, with smaller filters. */
static void build_paired(graph *g)
{
    net n;
    edge_id x, y;
    begin(g, &n, &x);
    GOOD(net_conv(&n, &x, "a", (conv_shape){.out_channels = 12, .kernel = 3, .pad = 1, .bias = true}));
    GOOD(net_activation(&n, &x, "a_relu", ACT_RELU));
    y = x;
    GOOD(net_conv(&n, &y, "b", (conv_shape){.out_channels = 16, .kernel = 1}));
    GOOD(net_batchnorm(&n, &y, "b_bn"));
    GOOD(net_activation(&n, &y, "b_relu", ACT_RELU));
    GOOD(net_conv(&n, &y, "dw", (conv_shape){.out_channels = 16, .kernel = 3, .pad = 1, .groups = 16}));
    GOOD(net_batchnorm(&n, &y, "dw_bn"));
    GOOD(net_activation(&n, &y, "dw_relu", ACT_RELU));
    GOOD(net_conv(&n, &y, "c", (conv_shape){.out_channels = 12, .kernel = 1}));
    GOOD(net_batchnorm(&n, &y, "c_bn"));
    GOOD(net_add(&n, &x, y, "add"));
    GOOD(net_conv(&n, &x, "d", (conv_shape){.out_channels = 8, .kernel = 3, .stride = 2, .pad = 1}));
    GOOD(net_batchnorm(&n, &x, "d_bn"));
    GOOD(net_activation(&n, &x, "d_relu", ACT_RELU));
    GOOD(net_global_pool(&n, &x, "pool"));
    GOOD(net_linear(&n, &x, "fc", 3));
    GOOD(graph_output(g, x));
    randomise(g, 6);
    pair_layer(g, "a", NULL, 0.4f);
    pair_layer(g, "b", "b_bn", 0.4f);
    pair_layer(g, "dw", "dw_bn", 1);
    pair_layer(g, "c", "c_bn", 0.4f);
    pair_layer(g, "d", "d_bn", 0.4f);
}

static double worst_difference(const float *a, const float *b, int32_t count)
{
    double worst = 0;
    for (int32_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)a[i] - b[i]));
    return worst;
}

static void test_paired(void **state)
{
    (void)state;
    enum { LOGITS = BATCH * 3 };
    graph g, fitted, plain;
    prune_report report;
    float dense[LOGITS], with_fit[LOGITS], without[LOGITS], zero[LOGITS] = {0};
    build_paired(&g);
    run(&g, dense, LOGITS);
    prune_options o = {.normalizer = NORMALIZER_OFF,
        .threshold = 0.5,
        .granularity = 1,
        .min_filters = 1,
        .equalization = EQUALIZE_INTERSECTION,
        .reconstruct = true,
        .ridge = 1e-9};
    GOOD(prune_with(&fitted, &report, &g, o, 1, BATCHES));
    assert_int_equal(fitted.edges[graph_find_edge(&fitted, "a.weight")].shape.dim[0], 6);
    assert_int_equal(fitted.edges[graph_find_edge(&fitted, "dw.weight")].shape.dim[0], 8);
    assert_int_equal(fitted.edges[graph_find_edge(&fitted, "d.weight")].shape.dim[0], 4);
    prune_report_free(&report);
    o.reconstruct = false;
    GOOD(prune_with(&plain, &report, &g, o, 1, BATCHES));
    prune_report_free(&report);
    run(&fitted, with_fit, LOGITS);
    run(&plain, without, LOGITS);
    double size = worst_difference(dense, zero, LOGITS), worst = worst_difference(dense, with_fit, LOGITS);
    if (worst > 1e-4 * size) fail_msg("fitted and dense differ by %g of %g", worst, size);
    assert_true(worst_difference(dense, without, LOGITS) > 0.01 * size); /* the cut alone does harm */
    graph_free(&g), graph_free(&fitted), graph_free(&plain);
}

/* Channels that no other can stand for: the layers' fits leave an error, which learning as a whole lowers on images
 * that it has not seen. */
static void test_imitation(void **state)
{
    (void)state;
    enum { LOGITS = BATCH * 3, MANY = 64 };
    graph g, fitted, taught;
    net n;
    edge_id x;
    prune_report report;
    float dense[LOGITS], with_fit[LOGITS], with_lesson[LOGITS];
    begin(&g, &n, &x);
    GOOD(net_conv(&n, &x, "a", (conv_shape){.out_channels = 12, .kernel = 3, .pad = 1, .bias = true}));
    GOOD(net_activation(&n, &x, "a_relu", ACT_RELU));
    GOOD(net_conv(&n, &x, "b", (conv_shape){.out_channels = 16, .kernel = 3, .pad = 1}));
    GOOD(net_batchnorm(&n, &x, "b_bn"));
    GOOD(net_activation(&n, &x, "b_relu", ACT_RELU));
    GOOD(net_global_pool(&n, &x, "pool"));
    GOOD(net_linear(&n, &x, "fc", 3));
    GOOD(graph_output(&g, x));
    randomise(&g, 9);
    prune_options o = {.score = SCORE_OBS,
        .target = TARGET_MACS,
        .target_fraction = 0.5,
        .granularity = 1,
        .min_filters = 2,
        .reconstruct = true,
        .ridge = 1e-3};
    GOOD(prune_with(&fitted, &report, &g, o, 1, MANY));
    prune_report_free(&report);
    o.imitate_epochs = 10;
    GOOD(prune_with(&taught, &report, &g, o, 1, MANY));
    if (!(report.imitation_after < report.imitation_before))
        fail_msg("error %g, then %g", report.imitation_before, report.imitation_after);
    prune_report_free(&report);
    run(&g, dense, LOGITS), run(&fitted, with_fit, LOGITS), run(&taught, with_lesson, LOGITS);
    double before = 0, after = 0;
    for (int32_t i = 0; i < LOGITS; i++) {
        before += ((double)with_fit[i] - dense[i]) * ((double)with_fit[i] - dense[i]);
        after += ((double)with_lesson[i] - dense[i]) * ((double)with_lesson[i] - dense[i]);
    }
    if (!(after < before)) fail_msg("squared distance to the whole network: %g fitted, %g taught", before, after);
    graph_free(&g), graph_free(&fitted), graph_free(&taught);
}

/* The trunk passes everything on; what a branch makes is not all that the addition reads. */
static void test_passes(void **state)
{
    (void)state;
    graph g;
    int32_t count;
    const char *expected[] = {"a_relu", "add", "fc/flatten"};
    build_paired(&g);
    edge_id *passes = calloc((size_t)g.edge_count, sizeof *passes);
    GOOD(find_passes(&g, passes, &count));
    assert_int_equal(count, 3);
    for (int32_t i = 0; i < 3; i++) assert_string_equal(g.nodes[g.edges[passes[i]].producer].name, expected[i]);
    free(passes);
    graph_free(&g);
}

/* The same network when doubles are to be found by what images show: norms would not tell them from the others. */
static void test_doubles(void **state)
{
    (void)state;
    enum { LOGITS = BATCH * 3, MANY = 64 };
    graph g, cut;
    prune_report report;
    float dense[LOGITS], small[LOGITS], zero[LOGITS] = {0};
    build_paired(&g);
    run(&g, dense, LOGITS);
    prune_options o = {
        .score = SCORE_OBS, .threshold = 1e-6, .granularity = 1, .min_filters = 1, .reconstruct = true, .ridge = 1e-9};
    GOOD(prune_with(&cut, &report, &g, o, 1, MANY));
    const char *layers[] = {"a.weight", "b.weight", "dw.weight", "c.weight", "d.weight"};
    const int64_t left[] = {6, 8, 8, 6, 4};
    for (int32_t i = 0; i < 5; i++)
        assert_true(cut.edges[graph_find_edge(&cut, layers[i])].shape.dim[0] <= left[i]); /* some ReLUs are never on */
    run(&cut, small, LOGITS);
    double size = worst_difference(dense, zero, LOGITS), worst = worst_difference(dense, small, LOGITS);
    if (worst > 1e-4 * size) fail_msg("pruned and dense differ by %g of %g", worst, size);
    prune_report_free(&report);
    graph_free(&g), graph_free(&cut);
}

/* Layer a makes u, v, w and s = u + v of independent u, v, w of variance 1; b reads them with columns of squared norms
 * 1, 4, 1.4 and 0.81 at right angles. u, v and s can stand in for each other, so s, which counts least, goes first. u
 * and v take over its column: 1.81, 4.81. Then w goes, for 1.4. By a channel's own contribution u (1) would go first;
 * if nobody took over s, u would go second. */
static void test_order(void **state)
{
    (void)state;
    enum { A = 4 };
    const float mixes[A][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}, {1, 1, 0}};
    const double norms[A] = {1, 4, 1.4, 0.81};
    const char *excluded[] = {"b"};
    graph g, cut;
    net n;
    edge_id x;
    prune_report report;
    begin(&g, &n, &x);
    GOOD(net_conv(&n, &x, "a", (conv_shape){.out_channels = A, .kernel = 1}));
    GOOD(net_conv(&n, &x, "b", (conv_shape){.out_channels = A, .kernel = 1}));
    GOOD(net_global_pool(&n, &x, "pool"));
    GOOD(net_linear(&n, &x, "fc", 4));
    GOOD(graph_output(&g, x));
    memcpy(values(&g, "a.weight", NULL), mixes, sizeof mixes);
    float *b = values(&g, "b.weight", NULL);
    for (int32_t i = 0; i < A * A; i++) b[i] = i / A == i % A ? (float)sqrt(norms[i % A]) : 0;
    for (int64_t left = 3; left >= 2; left--) {
        prune_options o = {.score = SCORE_OBS,
            .threshold = 1e9,
            .granularity = 1,
            .min_filters = left,
            .excluded = excluded,
            .excluded_count = 1,
            .ridge = 1e-4};
        GOOD(prune_with(&cut, &report, &g, o, 1, BATCHES));
        assert_int_equal(cut.edges[graph_find_edge(&cut, "a.weight")].shape.dim[0], left);
        assert_memory_equal(values(&cut, "a.weight", NULL), mixes, (size_t)left * sizeof mixes[0]);
        prune_report_free(&report);
        graph_free(&cut);
    }
    graph_free(&g);
}

/* ------------------------------------------------------------------------------------------------ a whole network */

static void prune_network(graph *cut, int32_t threads, int64_t imitate_epochs)
{
    graph g;
    prune_report report;
    config c;
    GOOD(config_init(&c));
    GOOD(config_set(&c, "model", "arch", "mobilenet_v2", "test"));
    GOOD(models_set_defaults(&c));
    spec_model options = c.spec.model;
    options.width = 0.25, options.input_width = options.input_height = 32;
    GOOD(models_build(&g, &(spec){.model = options}, 5));
    randomise(&g, 8);
    prune_options o = {.score = SCORE_OBS,
        .granularity = 2,
        .min_filters = 4,
        .target = TARGET_MACS,
        .target_fraction = 0.5,
        .reconstruct = true,
        .ridge = 1e-3,
        .imitate_epochs = imitate_epochs};
    GOOD(prune_with(cut, &report, &g, o, threads, BATCHES));
    double left = (double)report.macs_after / (double)report.macs_before;
    if (fabs(left - 0.5) > 0.03) fail_msg("%.3f of the products are left", left);
    assert_true(report.error_after <= report.error_before);
    prune_report_free(&report);
    graph_free(&g);
    config_free(&c);
}

static void same_values(const graph *a, const graph *b)
{
    assert_int_equal(a->edge_count, b->edge_count);
    for (edge_id e = 0; e < a->edge_count; e++) {
        assert_true(shape_equal(a->edges[e].shape, b->edges[e].shape));
        if (!a->edges[e].data) continue;
        assert_memory_equal(a->edges[e].data, b->edges[e].data, (size_t)shape_count(a->edges[e].shape) * sizeof(float));
    }
}

/* Gradients of weights are summed thread by thread, as in training: with imitation the number of threads shows in the
 * last bits. */
static void test_deterministic(void **state)
{
    (void)state;
    graph first, again, threaded;
    for (int64_t epochs = 0; epochs < 3; epochs += 2) {
        prune_network(&first, 1, epochs);
        prune_network(&again, 1, epochs);
        same_values(&first, &again);
        graph_free(&again);
        prune_network(&threaded, 2, epochs);
        if (epochs == 0) same_values(&first, &threaded);
        graph_free(&first), graph_free(&threaded);
    }
}

static void test_refusals(void **state)
{
    (void)state;
    graph g, cut;
    prune_report report;
    GOOD(models_build(&g, &(spec){.model = small_options}, 4));
    prune_options o = {.score = SCORE_OBS, .granularity = 1, .min_filters = 1, .ridge = 1e-3};
    assert_int_equal(prune_graph(&cut, &report, &g, &o), E_USAGE); /* no data */
    assert_int_equal(prune_with(&cut, &report, &g, o, 1, 0), E_DATA);
    o.score = SCORE_L2, o.reconstruct = true, o.ridge = 0;
    assert_int_equal(prune_with(&cut, &report, &g, o, 1, 1), E_USAGE);
    graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),     cmocka_unit_test(test_never_worse), cmocka_unit_test(test_ridge),
        cmocka_unit_test(test_singular),  cmocka_unit_test(test_not_finite),  cmocka_unit_test(test_paired),
        cmocka_unit_test(test_imitation), cmocka_unit_test(test_passes),      cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_order),     cmocka_unit_test(test_deterministic), cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
