/* Pruning against closed forms (TLT's keep rule, by hand) and against the masked dense network. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit_test.h"

#include "core/base/rng.h"
#include "core/graph/plan.h"
#include "core/graph/transform.h"
#include "models/models.h"
#include "models/parts/layers.h"
#include "prune/channels.h"
#include "prune/prune.h"
#include "tests/unit/prune_net.h"

static const prune_options defaults = {.threshold = 0.1, .granularity = 8, .min_filters = 16};
static const spec_model small_options = {.arch = "resnet10",
    .input_width = 32,
    .input_height = 32,
    .channels = 3,
    .stem = STEM_SMALL,
    .width = 1,
    .use_batch_norm = true,
    .use_pooling = true,
    .bn_momentum = 0.1,
    .bn_epsilon = 1e-5};

/* Filter k of a layer gets norm `norm[k]`: one weight carries it. */
static void set_norms(graph *g, const char *name, const double *norm, int64_t rows)
{
    int64_t count;
    float *w = values(g, name, &count);
    memset(w, 0, (size_t)count * sizeof *w);
    for (int64_t r = 0; r < rows; r++) w[r * (count / rows)] = (float)norm[r];
}

static void begin(graph *g, net *n, edge_id *x, const spec_model *options)
{
    GOOD(graph_init(g));
    *n = (net){.g = g, .options = options};
    GOOD(net_input(n, x));
}

/* conv a -> conv b -> linear, the second always whole: how many filters of a stay? */
static int64_t kept_of(int64_t filters, int64_t above, const prune_options *o)
{
    graph g, cut;
    net n;
    edge_id x;
    prune_report report;
    begin(&g, &n, &x, &small_options);
    GOOD(net_conv(&n, &x, "a", (conv_shape){.out_channels = filters, .kernel = 3, .pad = 1}));
    GOOD(net_global_pool(&n, &x, "pool"));
    GOOD(net_linear(&n, &x, "fc", 10));
    GOOD(graph_output(&g, x));
    double *norm = calloc((size_t)filters, sizeof *norm);
    for (int64_t i = 0; i < filters; i++) norm[i] = i < above ? 1.0 - (double)i / 128 : 0.05;
    set_norms(&g, "a.weight", norm, filters);
    GOOD(prune_graph(&cut, &report, &g, o));
    int64_t kept = report.layers[0].channels_after;
    edge_id w = graph_find_edge(&cut, "a.weight"), fc = graph_find_edge(&cut, "fc.weight");
    assert_int_equal(cut.edges[w].shape.dim[0], kept);
    assert_int_equal(cut.edges[fc].shape.dim[3], kept);
    assert_int_equal(cut.edges[fc].shape.dim[0], 10);
    free(norm);
    prune_report_free(&report);
    graph_free(&g), graph_free(&cut);
    return kept;
}

static void test_keep_rule(void **state)
{
    (void)state; /* TLT20.md 7.3 */
    assert_int_equal(kept_of(64, 10, &defaults), 16);
    assert_int_equal(kept_of(20, 5, &defaults), 16);
    assert_int_equal(kept_of(12, 3, &defaults), 12);
    assert_int_equal(kept_of(64, 17, &defaults), 24);
    assert_int_equal(kept_of(64, 64, &defaults), 64);
    prune_options fine = defaults;
    fine.granularity = 1, fine.min_filters = 1;
    assert_int_equal(kept_of(64, 10, &fine), 10);
    fine.normalizer = NORMALIZER_OFF, fine.threshold = 1 - 10 / 128.0; /* strictly above: 1 ... 119/128 */
    assert_int_equal(kept_of(64, 64, &fine), 10);
}

/* Two layers that meet in an add: scores of channel i are p_i and q_i. */
static void equalised(
    prune_equalization equalization, const double *p, const double *q, int64_t count, const int *expected)
{
    graph g, cut;
    net n;
    edge_id x, y;
    prune_report report;
    begin(&g, &n, &x, &small_options);
    y = x;
    GOOD(net_conv(&n, &x, "a", (conv_shape){.out_channels = count, .kernel = 1, .bias = true}));
    GOOD(net_conv(&n, &y, "b", (conv_shape){.out_channels = count, .kernel = 1, .bias = true}));
    GOOD(net_add(&n, &x, y, "add"));
    GOOD(net_linear(&n, &x, "fc", 3));
    GOOD(graph_output(&g, x));
    set_norms(&g, "a.weight", p, count), set_norms(&g, "b.weight", q, count);
    float *bias = values(&g, "a.bias", NULL);
    for (int64_t i = 0; i < count; i++) bias[i] = (float)i;
    prune_options o = {.threshold = 0.5, .granularity = 1, .min_filters = 1, .equalization = equalization};
    GOOD(prune_graph(&cut, &report, &g, &o));
    assert_int_equal(report.layers[0].group, report.layers[1].group);
    assert_string_equal(report.layers[2].kept_whole, "network output");
    int64_t kept;
    bias = values(&cut, "a.bias", &kept);
    for (int64_t i = 0; i < kept; i++) assert_int_equal((int)bias[i], expected[i]);
    assert_int_equal(expected[kept], -1);
    prune_report_free(&report);
    graph_free(&g), graph_free(&cut);
}

static void test_equalisation(void **state)
{
    (void)state;
    const double p[] = {1.0, 0.6, 0.4, 0.2, 0.9}, q[] = {0.2, 0.6, 1.0, 0.1, 0.3};
    /* max: 1 .6 1 .2 .9; min: .2 .6 .4 .1 .3; mean: .6 .6 .7 .15 .6; root: .447 .6 .632 .141 .520 */
    equalised(EQUALIZE_UNION, p, q, 5, (int[]){0, 1, 2, 4, -1});
    equalised(EQUALIZE_INTERSECTION, p, q, 5, (int[]){1, -1});
    equalised(EQUALIZE_ARITHMETIC, p, q, 5, (int[]){0, 1, 2, 4, -1});
    equalised(EQUALIZE_GEOMETRIC, p, q, 5, (int[]){1, 2, 4, -1});
}

static void run(const graph *g, int64_t batch, const float *images, float *result, int64_t result_count)
{
    graph plain, lowered, resized;
    device *dev;
    plan *p;
    GOOD(graph_copy(&resized, g));
    GOOD(graph_resize_batch(&resized, batch));
    shape s = resized.edges[resized.inputs[0]].shape;
    GOOD(pass_inference(&plain, &resized));
    GOOD(pass_lower(&lowered, &plain, false));
    GOOD(device_open(&dev, SPEC_DEVICE_CPU, 0, 0, NULL));
    GOOD(plan_create(&p, &lowered, dev, &(plan_options){0}));
    GOOD(plan_set_input(p, lowered.inputs[0], images, (size_t)shape_count(s) * sizeof *images));
    GOOD(plan_run(p));
    GOOD(plan_get(p, lowered.outputs[0], result, (size_t)result_count * sizeof *result));
    plan_destroy(p);
    device_close(dev);
    graph_free(&plain), graph_free(&lowered), graph_free(&resized);
}

/* The dense graph with a product by 0 or 1 per channel behind every batch normalisation and activation. */
static void mask_graph(graph *masked, channel_map *m, const bool *keep, int64_t batch)
{
    graph_builder b;
    GOOD(builder_init(&b, masked, m->g));
    for (node_id i = 0; i < m->g->node_count; i++) {
        const node *nd = &m->g->nodes[i];
        GOOD(builder_copy_node(&b, i));
        if (nd->op != &op_activation && nd->op != &op_batchnorm) continue;
        shape s = m->g->edges[nd->out[0]].shape;
        int64_t channels = s.dim[s.rank - 1];
        char name[128];
        snprintf(name, sizeof name, "%s/mask", nd->name);
        edge_id mask = graph_edge(masked, name, EDGE_CONST, DTYPE_F32,
            s.rank == 4 ? shape_4(batch, 1, 1, channels) : shape_2(batch, channels));
        assert_int_not_equal(mask, EDGE_NONE);
        for (int64_t k = 0; k < batch * channels; k++)
            ((float *)masked->edges[mask].data)[k] = keep[channel_root(m, m->first[nd->out[0]] + k % channels)];
        edge_id in[2] = {b.map[nd->out[0]], mask};
        GOOD(graph_add(masked, &op_mul, name, &(binary_attr){0}, in, 2, 0, &b.map[nd->out[0]]));
    }
    GOOD(builder_finish(&b));
    builder_free(&b);
}

/* Pruned equals masked dense to 1e-5, relative to the size of the logits. */
static void check_masked(graph *g, const prune_options *o, int64_t classes)
{
    enum { BATCH = 2 };
    graph cut, masked;
    prune_report report;
    channel_map m;
    double *score;
    GOOD(prune_graph(&cut, &report, g, o));
    GOOD(channel_map_init(&m, g, o->excluded, o->excluded_count));
    bool *keep = calloc((size_t)m.element_count, sizeof *keep);
    GOOD(score_channels(&m, o, &score));
    GOOD(choose_kept(&m, score, report.threshold, o, keep));
    GOOD(graph_resize_batch(g, BATCH));
    shape s = g->edges[g->inputs[0]].shape;
    mask_graph(&masked, &m, keep, BATCH);

    int64_t pixels = shape_count(s);
    float *images = malloc((size_t)pixels * sizeof *images), *small = malloc((size_t)classes * BATCH * 4),
          *dense = malloc((size_t)classes * BATCH * 4);
    rng r = rng_make(3, RNG_TEST, 1);
    for (int64_t i = 0; i < pixels; i++) images[i] = rng_normal(&r);
    if (o->target == TARGET_MACS) {
        double left = (double)report.macs_after / (double)report.macs_before;
        if (fabs(left - o->target_fraction) > 0.03)
            fail_msg("asked for %.2f of the products, got %.4f", o->target_fraction, left);
    }
    run(&cut, BATCH, images, small, classes * BATCH);
    run(&masked, BATCH, images, dense, classes * BATCH);
    double size = 0, worst = 0;
    for (int64_t i = 0; i < classes * BATCH; i++) {
        size = fmax(size, fabs(dense[i]));
        worst = fmax(worst, fabs((double)dense[i] - small[i]));
    }
    assert_true(report.params_after < report.params_before);
    assert_true(size > 0);
    if (worst > 1e-5 * fmax(size, 1)) fail_msg("masked and pruned differ by %g of %g", worst, size);
    free(images), free(small), free(dense), free(keep);
    channel_map_free(&m);
    prune_report_free(&report);
    graph_free(&cut), graph_free(&masked);
}

static void test_masked_resnets(void **state)
{
    (void)state;
    static const char *const archs[] = {"resnet10", "resnet18", "resnet50"};
    for (int32_t i = 0; i < 3; i++)
        for (int32_t projections = 0; projections < 2; projections++) {
            spec_model options = small_options;
            options.arch = archs[i], options.all_projections = projections, options.width = 0.5;
            graph g;
            GOOD(models_build(&g, &(spec){.model = options}, 7));
            randomise(&g, 5);
            prune_options o = defaults;
            o.threshold = 0.9, o.granularity = 4, o.min_filters = 4;
            check_masked(&g, &o, 7);
            graph_free(&g);
        }
}

/* Every network, narrow, cut to half its products. Thresholds are steps, so that narrow networks hit the target
 * roughly. */
static void test_masked_networks(void **state)
{
    (void)state;
    for (const model_entry *m = model_table; m->name; m++) {
        config c;
        graph g, whole;
        GOOD(config_init(&c));
        GOOD(config_set(&c, "model", "arch", m->name, "test"));
        GOOD(models_set_defaults(&c));
        spec_model options = c.spec.model;
        options.width = 0.25, options.input_width = options.input_height = 64;
        GOOD(models_build(&whole, &(spec){.model = options}, 7));
        GOOD(pass_drop_auxiliary(&g, &whole));
        randomise(&g, 5);
        prune_options o = defaults;
        o.target = TARGET_MACS, o.target_fraction = 0.5, o.granularity = 1, o.min_filters = 2;
        check_masked(&g, &o, 7);
        graph_free(&g), graph_free(&whole);
        config_free(&c);
    }
}

/* Concatenation, depthwise convolution, and a flattened map in front of a linear layer. */
static void test_masked_mixed(void **state)
{
    (void)state;
    graph g;
    net n;
    edge_id x, a, b;
    begin(&g, &n, &x, &small_options);
    a = b = x;
    GOOD(net_conv(&n, &a, "a", (conv_shape){.out_channels = 24, .kernel = 3, .stride = 4, .pad = 1}));
    GOOD(net_batchnorm(&n, &a, "a_bn"));
    GOOD(net_conv(&n, &b, "b", (conv_shape){.out_channels = 16, .kernel = 5, .stride = 4, .pad = 2}));
    GOOD(net_batchnorm(&n, &b, "b_bn"));
    GOOD(graph_add(&g, &op_concat, "cat", &(concat_attr){0}, (edge_id[]){a, b}, 2, 0, &x));
    GOOD(net_activation(&n, &x, "relu", ACT_RELU));
    GOOD(net_conv(&n, &x, "dw", (conv_shape){.out_channels = 40, .kernel = 3, .pad = 1, .groups = 40}));
    GOOD(net_batchnorm(&n, &x, "dw_bn"));
    GOOD(net_activation(&n, &x, "dw_relu", ACT_RELU6));
    GOOD(net_max_pool(&n, &x, "pool", (pool_shape){.side = 2, .stride = 2}));
    GOOD(net_linear(&n, &x, "fc1", 32)); /* not prunable behind the mask test's masks: pinned below */
    GOOD(net_linear(&n, &x, "fc2", 5));
    GOOD(graph_output(&g, x));
    randomise(&g, 11);
    const char *excluded[] = {"fc1"};
    prune_options o = defaults;
    o.threshold = 0.85, o.granularity = 1, o.min_filters = 1, o.excluded = excluded, o.excluded_count = 1;
    check_masked(&g, &o, 5);
    graph_free(&g);
}

/* As many channels as taps: the columns of such a weight are taps, not input channels. */
static void test_masked_depthwise(void **state)
{
    (void)state;
    graph g;
    net n;
    edge_id x;
    begin(&g, &n, &x, &small_options);
    GOOD(net_conv(&n, &x, "a", (conv_shape){.out_channels = 9, .kernel = 3, .pad = 1}));
    GOOD(net_batchnorm(&n, &x, "a_bn"));
    GOOD(net_conv(&n, &x, "dw", (conv_shape){.out_channels = 9, .kernel = 3, .pad = 1, .groups = 9}));
    GOOD(net_batchnorm(&n, &x, "dw_bn"));
    GOOD(net_activation(&n, &x, "dw_relu", ACT_RELU));
    GOOD(net_global_pool(&n, &x, "pool"));
    GOOD(net_linear(&n, &x, "fc", 5));
    GOOD(graph_output(&g, x));
    randomise(&g, 12);
    prune_options o = defaults;
    o.threshold = 0.85, o.granularity = 1, o.min_filters = 1;
    check_masked(&g, &o, 5);
    graph_free(&g);
}

static void test_targets(void **state)
{
    (void)state;
    graph g;
    spec_model options = small_options;
    options.arch = "resnet18";
    GOOD(models_build(&g, &(spec){.model = options}, 10));
    randomise(&g, 9);
    for (int32_t i = 0; i < 6; i++) {
        graph cut;
        prune_report report;
        prune_options o = defaults;
        o.target = i % 2 ? TARGET_PARAMS : TARGET_MACS;
        o.target_fraction = 0.3 + 0.2 * (i / 2);
        GOOD(prune_graph(&cut, &report, &g, &o));
        double got = i % 2 ? (double)report.params_after / (double)report.params_before
                           : (double)report.macs_after / (double)report.macs_before;
        if (fabs(got - o.target_fraction) > 0.02) fail_msg("asked %.2f, got %.4f", o.target_fraction, got);
        assert_int_equal(report.params_after, graph_param_count(&cut));
        prune_report_free(&report);
        graph_free(&cut);
    }
    graph_free(&g);
}

static void test_refusals(void **state)
{
    (void)state;
    graph g, cut;
    prune_report report;
    GOOD(models_build(&g, &(spec){.model = small_options}, 10));
    randomise(&g, 1);
    const char *unknown[] = {"layer9*"};
    prune_options o = defaults;
    o.excluded = unknown, o.excluded_count = 1;
    assert_int_equal(prune_graph(&cut, &report, &g, &o), E_USAGE);
    assert_non_null(strstr(status_message(), "layer9*"));
    o = defaults;
    o.target = TARGET_PARAMS, o.target_fraction = 1e-4;
    assert_int_equal(prune_graph(&cut, &report, &g, &o), E_USAGE);
    assert_non_null(strstr(status_message(), "can't be reached"));
    o.granularity = 0;
    assert_int_equal(prune_graph(&cut, &report, &g, &o), E_USAGE);

    const char *stage[] = {"layer1.*"};
    o = defaults;
    o.threshold = 2, o.excluded = stage, o.excluded_count = 1; /* nothing is above 2: every free layer falls to 16 */
    GOOD(prune_graph(&cut, &report, &g, &o));
    for (int64_t i = 0; i < report.layer_count; i++) {
        const prune_layer *l = &report.layers[i];
        bool whole = strcmp(l->name, "fc") == 0 || strncmp(l->name, "layer1.", 7) == 0 || strcmp(l->name, "conv1") == 0;
        assert_int_equal(l->channels_after, whole ? l->channels_before : 16);
        assert_int_equal(l->kept_whole != NULL, whole); /* conv1 meets layer1 in its first add */
    }
    prune_report_free(&report);
    graph_free(&g), graph_free(&cut);
}

typedef struct feed {
    const float *images;
    int64_t count;
    int32_t left;
} feed;

static status next_images(void *context, float *images, bool *done)
{
    feed *f = context;
    *done = f->left-- == 0;
    if (!*done) memcpy(images, f->images + f->left * f->count, (size_t)f->count * sizeof *images);
    return OK;
}

/* A convolution that copies its input: statistics of its batch norm are those of the images, batch by batch. */
static void test_reestimate(void **state)
{
    (void)state;
    enum { BATCH = 3, SIDE = 16, COUNT = BATCH * SIDE * SIDE };
    graph g;
    net n;
    edge_id x;
    spec_model options = small_options;
    options.input_width = options.input_height = SIDE, options.channels = 1;
    begin(&g, &n, &x, &options);
    GOOD(net_conv(&n, &x, "copy", (conv_shape){.out_channels = 1, .kernel = 1}));
    GOOD(net_batchnorm(&n, &x, "bn"));
    GOOD(net_linear(&n, &x, "fc", 2));
    GOOD(graph_output(&g, x));
    GOOD(graph_resize(&g, g.inputs[0], shape_4(BATCH, SIDE, SIDE, 1)));
    values(&g, "copy.weight", NULL)[0] = 1;
    static float images[2 * COUNT];
    double mean = 0, var = 0;
    rng r = rng_make(4, RNG_TEST, 0);
    for (int32_t b = 0; b < 2; b++) {
        double sum = 0, square = 0;
        for (int32_t i = 0; i < COUNT; i++) {
            float v = (float)(b + 1) * rng_normal(&r) + 5;
            images[b * COUNT + i] = v;
            sum += v, square += (double)v * v;
        }
        mean += sum / COUNT / 2;
        var += (square - sum * sum / COUNT) / (COUNT - 1) / 2; /* unbiased, as running variances are */
    }
    device *dev;
    GOOD(device_open(&dev, SPEC_DEVICE_CPU, 0, 0, NULL));
    GOOD(prune_reestimate(&g, dev, next_images, &(feed){images, COUNT, 2}, 10));
    device_close(dev);
    assert_true(fabs(values(&g, "bn.running_mean", NULL)[0] - mean) < 1e-5 * mean);
    assert_true(fabs(values(&g, "bn.running_var", NULL)[0] - var) < 1e-5 * var);
    graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_keep_rule),
        cmocka_unit_test(test_equalisation),
        cmocka_unit_test(test_masked_resnets),
        cmocka_unit_test(test_masked_networks),
        cmocka_unit_test(test_masked_mixed),
        cmocka_unit_test(test_masked_depthwise),
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_reestimate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
