/* Networks: sizes against published ones, options, stages, heads. tests/golden compares their values. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit_test.h"

#include "core/graph/model.h"
#include "core/graph/transform.h"
#include "core/graph/init.h"
#include "core/train/prepare.h"
#include "core/train/train_graph.h"
#include "models/models.h"

/* A spec of the network with its defaults and "model.key=value" words. */
static void make_spec(config *c, const char *arch, const char *words)
{
    char word[64];
    int length;
    GOOD(config_init(c));
    GOOD(config_set(c, "model", "arch", arch, "test"));
    for (; sscanf(words, " %63s%n", word, &length) == 1; words += length) GOOD(config_override(c, word));
    GOOD(models_set_defaults(c));
    GOOD(config_finish(c));
}

static void build(graph *g, const char *arch, const char *words, int64_t classes)
{
    config c;
    make_spec(&c, arch, words);
    GOOD(models_build(g, &c.spec, classes));
    GOOD(graph_check(g));
    config_free(&c);
}

static void sizes(void **state)
{
    (void)state;
    /* params: sum(p.numel() for p in model.parameters()) of torchvision's, and of tests/golden/papers.py's for
     * mobilenet_v1 and darknet. giga_macs: torchvision's documentation ("GFLOPS"); Howard and others 2017, table 8
     * (mobilenet_v1); Redmon and Farhadi 2018, table 2 (darknet: billions of operations at 256 x 256, halved), to the
     * digits that are printed there. */
    static const struct {
        const char *arch, *words;
        int64_t params;
        double giga_macs, digit;
    } known[] = {
        {"resnet10", "", 5418792, 0, 0},
        {"resnet18", "", 11689512, 1.81, 0.01},
        {"resnet34", "", 21797672, 3.66, 0.01},
        {"resnet50", "", 25557032, 4.09, 0.01},
        {"resnet101", "", 44549160, 7.80, 0.01},
        {"vgg16", "", 138365992, 15.47, 0.01},
        {"vgg16", "model.use_batch_norm=false", 138357544, 15.47, 0.01},
        {"vgg19", "", 143678248, 19.63, 0.01},
        {"vgg19", "model.use_batch_norm=false", 143667240, 19.63, 0.01},
        {"googlenet", "", 13004888, 0, 0},
        {"googlenet", "model.aux_weight=0", 6624904, 1.50, 0.01},
        {"mobilenet_v1", "", 4231976, 0.569, 0.001},
        {"mobilenet_v1", "model.width=0.5", 1331592, 0.149, 0.001},
        {"mobilenet_v1", "model.width=0.25", 470072, 0.041, 0.001},
        {"mobilenet_v2", "", 3504872, 0.30, 0.01},
        {"mobilenet_v2", "model.width=0.35", 1677128, 0, 0},
        {"mobilenet_v2", "model.width=0.5", 1968680, 0, 0},
        {"mobilenet_v2", "model.width=0.75", 2636424, 0, 0},
        {"mobilenet_v2", "model.width=1.4", 6108776, 0, 0},
        {"squeezenet1_0", "", 1248424, 0.82, 0.01},
        {"squeezenet1_1", "", 1235496, 0.35, 0.01},
        {"darknet19", "model.input_width=256 model.input_height=256", 20842376, 7.29 / 2, 0.02},
        {"darknet53", "", 41609928, 18.7 / 2, 0.1},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        graph g;
        build(&g, known[i].arch, known[i].words, 1000);
        double giga = (double)graph_macs(&g) / 1e9;
        if (graph_param_count(&g) != known[i].params)
            fail_msg("%s %s: %lld parameters, expected %lld", known[i].arch, known[i].words,
                (long long)graph_param_count(&g), (long long)known[i].params);
        if (known[i].digit > 0 && fabs(giga - known[i].giga_macs) > known[i].digit)
            fail_msg("%s %s: %.4f G products, expected %.3f", known[i].arch, known[i].words, giga, known[i].giga_macs);
        graph_free(&g);
    }
}

/* Strides and channels of the feature maps, from the papers' tables. */
static void stages(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *words;
        int64_t channels[4]; /* at strides 4, 8, 16, 32; 0: no such stage */
    } known[] = {
        {"resnet10", "", {64, 128, 256, 512}},
        {"resnet50", "", {256, 512, 1024, 2048}},
        {"resnet18", "model.use_pooling=false", {64, 128, 512, 0}},
        {"vgg16", "", {256, 512, 512, 512}},
        {"vgg19", "model.use_pooling=false", {256, 512, 512, 0}},
        {"googlenet", "", {192, 480, 832, 1024}},
        {"mobilenet_v1", "", {128, 256, 512, 1024}},
        {"mobilenet_v2", "", {24, 32, 96, 320}},
        {"squeezenet1_0", "", {256, 512, 512, 0}},
        {"squeezenet1_1", "", {128, 256, 512, 0}},
        {"darknet19", "", {128, 256, 512, 1024}},
        {"darknet53", "", {128, 256, 512, 1024}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        config c;
        graph g;
        model_stages s;
        make_spec(&c, known[i].arch, known[i].words);
        GOOD(models_build_backbone(&g, &c.spec.model, &s));
        assert_int_equal(g.output_count, 0);
        for (int32_t k = 0; k < 4; k++) {
            int32_t stride = 4 << k;
            edge_id e = model_stage_at(&s, stride);
            if (known[i].channels[k] == 0 && e == EDGE_NONE) continue;
            if (e == EDGE_NONE) fail_msg("%s %s: nothing at stride %d", known[i].arch, known[i].words, stride);
            shape at = g.edges[e].shape;
            if (at.dim[3] != known[i].channels[k])
                fail_msg("%s: %lld channels at stride %d", known[i].arch, (long long)at.dim[3], stride);
            /* A pool without pads (SqueezeNet's stem) loses at most two pixels of its stride. */
            assert_true(llabs((long long)(at.dim[1] - c.spec.model.input_height / stride)) <= 2);
        }
        graph_free(&g);
        config_free(&c);
    }
}

static const node *node_of(const graph *g, const char *name)
{
    node_id n = graph_find_node(g, name);
    if (n == NODE_NONE) fail_msg("no node %s", name);
    return &g->nodes[n];
}

static bool has(const graph *g, const char *name) { return graph_find_edge(g, name) != EDGE_NONE; }

static void options(void **state)
{
    (void)state;
    graph g;
    /* TensorFlow's SAME: 224 is even, 0 in front and 1 behind; 7 stays 7 with 1 and 1. */
    build(&g, "mobilenet_v2", "model.padding=same", 10);
    const conv2d_attr *stem = node_of(&g, "features.0.0")->attr, *last = node_of(&g, "features.16.conv.1.0")->attr;
    assert_memory_equal(stem->pad, ((int32_t[]){0, 0, 1, 1}), sizeof stem->pad);
    assert_memory_equal(last->pad, ((int32_t[]){1, 1, 1, 1}), sizeof last->pad);
    graph_free(&g);
    build(&g, "mobilenet_v1", "model.padding=same model.input_height=225 model.channels=1", 10);
    stem = node_of(&g, "conv_stem")->attr;
    assert_memory_equal(stem->pad, ((int32_t[]){1, 0, 1, 1}), sizeof stem->pad); /* 225 is odd */
    assert_int_equal(g.edges[graph_find_edge(&g, "conv_stem.weight")].shape.dim[3], 1);
    graph_free(&g);
    build(&g, "mobilenet_v2", "model.all_projections=true", 10);
    assert_true(has(&g, "features.3.shortcut.0.weight") && has(&g, "features.17.conv.2.weight") &&
                !has(&g, "features.2.shortcut.0.weight"));
    graph_free(&g);
    build(&g, "mobilenet_v1", "model.use_batch_norm=false", 10);
    assert_true(has(&g, "blocks.1.0.conv_dw.bias") && !has(&g, "blocks.1.0.bn1.weight"));
    graph_free(&g);
    build(&g, "darknet53", "model.use_bias=true", 10);
    assert_true(has(&g, "stages.2.blocks.7.conv2.conv.bias") && has(&g, "stages.2.blocks.7.conv2.bn.bias"));
    graph_free(&g);
    build(&g, "squeezenet1_1", "model.dropout=0.3", 10);
    assert_true(((const dropout_attr *)node_of(&g, "classifier.0")->attr)->probability == 0.3f);
    graph_free(&g);
    build(&g, "googlenet", "", 10);
    const batchnorm_attr *bn = node_of(&g, "inception4a.branch2.1.bn")->attr;
    const dropout_attr *aux = node_of(&g, "aux1.dropout")->attr;
    assert_true(bn->epsilon == 1e-3f && aux->probability == 0.7f);
    assert_int_equal(g.auxiliary_count, 2);
    graph_free(&g);
}

/* An option that means nothing to a network is refused unless it has the value that the network has anyway. */
static void meaningless_options(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"squeezenet1_0", "model.use_batch_norm=true"},
        {"mobilenet_v2", "model.stem=small"}, {"vgg16", "model.padding=same"}, {"resnet18", "model.aux_weight=0.5"},
        {"resnet34", "model.bottleneck_stride=1x1"}, {"darknet19", "model.use_pooling=false"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        config c;
        GOOD(config_init(&c));
        GOOD(config_set(&c, "model", "arch", bad[i][0], "test"));
        GOOD(config_override(&c, bad[i][1]));
        GOOD(models_set_defaults(&c));
        assert_int_equal(config_finish(&c), E_USAGE);
        assert_non_null(strstr(status_message(), "means nothing to"));
        assert_non_null(strstr(status_message(), bad[i][0]));
        config_free(&c);
    }
    config c;
    make_spec(&c, "squeezenet1_0", "model.use_batch_norm=false model.stem=imagenet model.dropout=0");
    assert_true(c.spec.model.dropout == 0);
    config_free(&c);
}

static void freezing_blocks(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *blocks;
        const char *frozen, *trained; /* one parameter each */
    } known[] = {
        {"vgg16", "1,2", "features.7.weight", "features.14.weight"},
        {"googlenet", "0,1", "inception3a.branch4.1.conv.weight", "inception3b.branch1.conv.weight"},
        {"mobilenet_v1", "0,1,2", "blocks.1.0.conv_pw.weight", "blocks.1.1.conv_dw.weight"},
        {"mobilenet_v2", "0,1,2", "features.2.conv.2.weight", "features.3.conv.0.0.weight"},
        {"squeezenet1_0", "0,1", "features.3.expand3x3.bias", "features.4.squeeze.weight"},
        {"darknet19", "0,1", "stages.1.0.conv.weight", "stages.2.0.conv.weight"},
        {"darknet53", "0,1", "stages.0.blocks.0.conv2.bn.weight", "stages.1.conv_down.conv.weight"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        config c;
        graph g;
        char word[64];
        snprintf(word, sizeof word, "model.freeze_blocks=%s model.width=0.25", known[i].blocks);
        make_spec(&c, known[i].arch, word);
        GOOD(models_build(&g, &c.spec, 5));
        GOOD(freeze_apply(&g, &c.spec));
        assert_true(has(&g, known[i].frozen) && has(&g, known[i].trained));
        assert_true(g.edges[graph_find_edge(&g, known[i].frozen)].frozen);
        assert_false(g.edges[graph_find_edge(&g, known[i].trained)].frozen);
        graph_free(&g);
        config_free(&c);
    }
}

/* Heads of every form take another number of classes; auxiliary ones too. */
static void fresh_heads(void **state)
{
    (void)state;
    for (const model_entry *m = model_table; m->name; m++) {
        graph g;
        build(&g, m->name, strstr(m->options, "width") ? "model.width=0.25" : "", 5);
        GOOD(task_classification.fresh_head(&g, 9, 1));
        for (int32_t i = 0; i < g.output_count; i++) {
            shape s = g.edges[g.outputs[i]].shape;
            assert_true(s.rank == 2 && s.dim[0] == 1 && s.dim[1] == 9);
        }
        GOOD(graph_check(&g));
        graph_free(&g);
    }
}

static void auxiliary_heads(void **state)
{
    (void)state;
    graph g, read, plain;
    arena memory = {0};
    json_writer w = {0};
    json *root;
    const char *text;
    size_t bytes;
    build(&g, "googlenet", "model.width=0.25 model.dropout=0", 5);
    assert_int_equal(g.input_count, 2); /* image, sample keys of the auxiliary heads' dropout */
    GOOD(graph_write_json(&g, &w));
    GOOD(json_writer_finish(&w, &text, &bytes));
    GOOD(json_parse(&memory, text, bytes, "test", &root));
    GOOD(graph_read_json(&read, root));
    assert_true(read.auxiliary_count == 2 && read.output_count == 3);
    GOOD(pass_inference(&plain, &read));
    assert_true(plain.auxiliary_count == 0 && plain.output_count == 1 && plain.input_count == 1);
    assert_true(!has(&plain, "aux1.fc1.weight") && has(&plain, "inception5b.branch1.conv.weight"));
    g.auxiliary_count = 3;
    assert_int_equal(graph_check(&g), E_MODEL);
    graph_free(&g), graph_free(&read), graph_free(&plain);
    json_writer_free(&w);
    arena_free(&memory);
}

static double deviation(const graph *g, const char *name)
{
    const edge *e = &g->edges[graph_find_edge(g, name)];
    double sum = 0;
    int64_t count = shape_count(e->shape);
    for (int64_t i = 0; i < count; i++) sum += ((float *)e->data)[i] * (double)((float *)e->data)[i];
    return sqrt(sum / (double)count);
}

/* Against torchvision's __init__ of the networks: deviations within 5 %, three sigma at 2000 values. */
static void initial_values(void **state)
{
    (void)state;
    static const struct {
        const char *arch, *words, *name;
        double sigma;
    } known[] = {
        {"vgg16", "", "features.3.weight", 0.0589},                                   /* fan out: sqrt(2 / (64 * 9))  */
        {"vgg16", "model.width=0.25", "classifier.3.weight", 0.01},
        {"squeezenet1_0", "", "features.12.expand3x3.weight", 0.0589},                /* fan in: sqrt(2 / (64 * 9))   */
        {"squeezenet1_0", "", "classifier.1.weight", 0.01},
        {"mobilenet_v2", "", "features.17.conv.2.weight", 0.0791},                    /* fan out: sqrt(2 / 320)       */
        {"darknet19", "model.width=0.25", "head.conv.weight", 0.01},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        graph g;
        build(&g, known[i].arch, known[i].words, 100);
        init_params(&g, 3);
        double got = deviation(&g, known[i].name);
        if (fabs(got / known[i].sigma - 1) > 0.05)
            fail_msg("%s %s: %g, expected %g", known[i].arch, known[i].name, got, known[i].sigma);
        graph_free(&g);
    }
    /* Unlike torchvision's 0: see init.h. */
    graph g;
    build(&g, "squeezenet1_1", "", 10);
    init_params(&g, 3);
    assert_true(deviation(&g, "classifier.1.bias") == 1 && deviation(&g, "features.3.squeeze.bias") == 0);
    graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(stages),
        cmocka_unit_test(options),
        cmocka_unit_test(meaningless_options),
        cmocka_unit_test(freezing_blocks),
        cmocka_unit_test(fresh_heads),
        cmocka_unit_test(auxiliary_heads),
        cmocka_unit_test(initial_values),
    };
    return cmocka_run_group_tests_name("networks", tests, NULL, NULL);
}
