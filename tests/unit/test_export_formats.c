/* Files for other programs. nvinfer's arithmetic is DeepStream's: y = net-scale-factor *
 * (x - offsets[c]) for pixels x. */
#include <unistd.h>

#include "tests/unit/unit_test.h"

#include "core/base/file.h"
#include "core/device/device.h"
#include "core/ops/op.h"
#include "export/export.h"
#include "export/nvinfer.h"
#include "export/qat.h"
#include "export/runner.h"
#include "tests/unit/export_net.h"

static const float means[3] = {120, 110, 100}, deviations[3] = {70, 55, 40};

static status uneven_model(model *m)
{
    TRY(net_model(m, "resnet10", 0.25));
    memcpy(m->preprocess.mean, means, sizeof means);
    memcpy(m->preprocess.std, deviations, sizeof deviations);
    return OK;
}

/* Logits for pixels that go through p, all in the order that a user of p would. */
static void scores_of(const model *m, const uint8_t *pixels, float *scores)
{
    graph g;
    device *dev;
    runner *r;
    static float image[NET_IMAGE];
    const preprocess *p = &m->preprocess;
    double factor = 1 / (double)p->std[0];
    bool one = p->std[0] == p->std[1] && p->std[1] == p->std[2];
    for (int i = 0; i < NET_IMAGE; i++)
        image[i] = one ? (float)(factor * ((double)pixels[i] - (double)p->mean[i % 3]))
                       : ((float)pixels[i] - p->mean[i % 3]) / p->std[i % 3];
    assert_int_equal(export_float_graph(&g, &m->graph), OK);
    assert_int_equal(device_open(&dev, SPEC_DEVICE_CPU, 0, 1, NULL), OK);
    assert_int_equal(runner_create(&r, &g, dev, 1), OK);
    assert_int_equal(runner_run(r, (float *const[]){scores}, image, 1), OK);
    runner_destroy(r);
    device_close(dev);
    graph_free(&g);
}

/* The first convolution is padded: a mean folded into its bias would show at the borders. */
static void test_one_scale(void **state)
{
    (void)state;
    model m;
    uint8_t pixels[NET_IMAGE];
    float before[NET_CLASSES], after[NET_CLASSES], greatest = 0;
    rng r = rng_make(3, RNG_TEST, 0);
    for (int i = 0; i < NET_IMAGE; i++) pixels[i] = (uint8_t)rng_below(&r, 256);
    assert_int_equal(uneven_model(&m), OK);
    scores_of(&m, pixels, before);
    float weight =
        ((float *)m.graph.edges[graph_find_edge(&m.graph, "conv1.weight")].data)[1]; /* [0, 0, 0, 1]: green */
    assert_int_equal(nvinfer_one_scale(&m), OK);
    float common = cbrtf(70.0f * 55 * 40),
          folded = ((float *)m.graph.edges[graph_find_edge(&m.graph, "conv1.weight")].data)[1];
    for (int c = 0; c < 3; c++) {
        assert_true(fabsf(m.preprocess.std[c] / common - 1) < 1e-6f);
        assert_true(m.preprocess.mean[c] == means[c]);
    }
    assert_true(fabsf(folded / (weight * common / 55) - 1) < 1e-6f);
    scores_of(&m, pixels, after);
    for (int i = 0; i < NET_CLASSES; i++) greatest = fmaxf(greatest, fabsf(before[i]));
    for (int i = 0; i < NET_CLASSES; i++) assert_true(fabsf(before[i] - after[i]) < 1e-5f * greatest);
    assert_int_equal(nvinfer_one_scale(&m), OK); /* nothing left to do */
    assert_true(((float *)m.graph.edges[graph_find_edge(&m.graph, "conv1.weight")].data)[1] == folded);
    model_free(&m);
}

/* With ranges from training: the image's covers what it covered, the others stay; weights as without. */
static void test_one_scale_trained(void **state)
{
    (void)state;
    model m, plain;
    graph trained;
    export_scales scales;
    assert_int_equal(uneven_model(&m), OK);
    assert_int_equal(uneven_model(&plain), OK);
    assert_int_equal(qat_insert(&trained, &m.graph, 0.01f), OK);
    graph_free(&m.graph);
    m.graph = trained;
    for (node_id n = 0; n < trained.node_count; n++)
        if (trained.nodes[n].op == &op_fake_quant) *(float *)trained.edges[trained.nodes[n].in[1]].data = 2.54f;
    assert_int_equal(nvinfer_one_scale(&m), OK);
    assert_int_equal(nvinfer_one_scale(&plain), OK);
    const edge *found = &m.graph.edges[graph_find_edge(&m.graph, "conv1.weight")],
               *expected = &plain.graph.edges[graph_find_edge(&plain.graph, "conv1.weight")];
    assert_memory_equal(found->data, expected->data, (size_t)shape_count(found->shape) * sizeof(float));
    assert_int_equal(qat_scales(&scales, &m, 8601), OK);
    float common = cbrtf(70.0f * 55 * 40);
    assert_true(fabsf(cache_find(&scales.table, "image")->scale / (0.02f * 70 / common) - 1) < 1e-6f);
    assert_true(scales.table.count > 5);
    for (int64_t i = 0; i < scales.table.count; i++)
        if (strcmp(scales.table.entries[i].name, "image") != 0)
            assert_true(fabsf(scales.table.entries[i].scale / 0.02f - 1) < 1e-6f);
    export_scales_free(&scales);
    model_free(&m);
    model_free(&plain);
}

static void test_one_scale_refuses(void **state)
{
    (void)state;
    model m = {.preprocess = {.channels = 3, .std = {1, 2, 3}}};
    assert_int_equal(graph_init(&m.graph), OK);
    edge_id x = graph_input(&m.graph, "image", DTYPE_F32, shape_4(1, 8, 8, 3));
    pool_attr pool = {.kind = POOL_AVERAGE, .global = true};
    assert_int_equal(graph_add(&m.graph, &op_pool, "first", &pool, &x, 1, 0, &x), OK);
    assert_int_equal(graph_output(&m.graph, x), OK);
    assert_int_equal(nvinfer_one_scale(&m), E_MODEL);
    assert_non_null(strstr(status_message(), "first (pool), which reads the image, cannot take the deviations"));
    model_free(&m);
}

static const char *scratch(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/graft-formats-%d", (int)getpid());
    return path;
}

static char *written(arena *a, const char *path)
{
    void *text;
    size_t bytes;
    assert_int_equal(file_read_all(a, path, 1 << 16, &text, &bytes), OK);
    unlink(path);
    return text;
}

static void test_config(void **state)
{
    (void)state;
    static const struct { preprocess p; bool integer; const char *lines[9];
    } cases[] = {
        {{.width = 320,
             .height = 240,
             .channels = 3,
             .bgr = true,
             .mean = {103.5f, 116.25f, 123},
             .std = {2, 2, 2},
             .resize = RESIZE_STRETCH},
            true,
            {"net-scale-factor=0.5\n", "offsets=103.5;116.25;123\n", "model-color-format=1\n", "infer-dims=3;240;320\n",
                "network-mode=1\n", "int8-calib-file=m.cal\n", "maintain-aspect-ratio=0\n", "network-type=1\n",
                "output-blob-names=out\n"}},
        {{.width = 28, .height = 28, .channels = 1, .mean = {128}, .std = {4, 5, 6}, .resize = RESIZE_LETTERBOX}, false,
            {"net-scale-factor=0.25\n", "offsets=128\n", "model-color-format=2\n", "infer-dims=1;28;28\n",
                "network-mode=0\n", "maintain-aspect-ratio=1\nsymmetric-padding=1\n", "onnx-file=m.onnx\n",
                "labelfile-path=m.txt\n", "[property]\n"}},
    };
    for (int i = 0; i < 2; i++) {
        arena a = {0};
        nvinfer_config c = {&cases[i].p, "m.onnx", "m.txt", "m.cal", "out", cases[i].integer};
        assert_int_equal(nvinfer_write_config(&c, scratch()), OK);
        char *text = written(&a, scratch());
        for (int k = 0; k < 9; k++)
            if (!strstr(text, cases[i].lines[k])) fail_msg("no %s in\n%s", cases[i].lines[k], text);
        assert_true(cases[i].integer == (strstr(text, "int8-calib-file") != NULL));
        arena_free(&a);
    }
    preprocess uneven = {.channels = 3, .std = {1, 2, 3}};
    assert_int_equal(nvinfer_write_config(&(nvinfer_config){&uneven, "", "", "", "", false}, scratch()), E_USAGE);
}

static void test_labels(void **state)
{
    (void)state;
    static const char *const names[] = {"ant", "bee; honey", "elk \"big\""};
    arena a = {0};
    assert_int_equal(labels_write(scratch(), names, 3, '\n'), OK);
    assert_string_equal(written(&a, scratch()), "ant\nbee; honey\nelk \"big\"\n");
    assert_int_equal(labels_write(scratch(), names, 3, ';'), E_USAGE);
    assert_non_null(strstr(status_message(), "class \"bee; honey\" holds"));
    assert_int_equal(labels_write(scratch(), names, 1, ';'), OK);
    assert_string_equal(written(&a, scratch()), "ant\n");
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_scale),
        cmocka_unit_test(test_one_scale_trained),
        cmocka_unit_test(test_one_scale_refuses),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
