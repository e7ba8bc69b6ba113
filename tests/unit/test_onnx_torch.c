/* ResNet-18, MobileNet v2 and GoogLeNet as PyTorch's default exporter writes them today, narrow: opset 20, weights
 * beside the file. Scores are those of onnxruntime; tests/onnx/torch_fixtures.py made all of it and says how. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit_test.h"

#include "core/base/file.h"
#include "core/graph/transform.h"
#include "core/onnx/onnx.h"
#include "export/export.h"
#include "export/runner.h"
#include "tests/unit/graph_fixture.h"

enum { IMAGES = 2, SIDE = 64, CLASSES = 6, PIXELS = 3 * SIDE * SIDE };

static float number(uint32_t k, float scale)
{
    k = (k ^ k >> 16) * 0x7feb352dU;
    k = (k ^ k >> 15) * 0x846ca68bU;
    k ^= k >> 16;
    return scale * ((float)(k >> 8) / 16777216.0f - 0.5f);
}

/* NAME.onnx and the values beside it, in a folder of its own. */
static void unpack(const char *name, const char *folder)
{
    arena a = {0};
    char path[128], line[128];
    void *bytes;
    size_t count;
    unsigned first, floats, length = 0;
    float scale, *values = NULL;
    snprintf(path, sizeof path, "tests/onnx/torch/%s.onnx", name);
    GOOD(file_read_all(&a, path, 1 << 20, &bytes, &count));
    snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    GOOD(file_write_all(path, bytes, count));
    snprintf(path, sizeof path, "tests/onnx/torch/%s.parts", name);
    FILE *parts = fopen(path, "r");
    assert_non_null(parts);
    while (fgets(line, sizeof line, parts)) {
        assert_int_equal(sscanf(line, "%u %u %f", &first, &floats, &scale), 3);
        unsigned end = first + floats > length ? first + floats : length;
        values = realloc(values, end * sizeof *values);
        for (unsigned k = length; k < end; k++) values[k] = 0;
        for (unsigned k = first; k < first + floats; k++) values[k] = number(k, scale);
        length = end;
    }
    fclose(parts);
    snprintf(path, sizeof path, "%s/%s.onnx.data", folder, name);
    GOOD(file_write_all(path, values, length * sizeof *values));
    free(values);
    arena_free(&a);
}

static void make_images(float *images)
{
    for (int i = 0; i < IMAGES; i++)
        for (int p = 0; p < SIDE * SIDE; p++)
            for (int c = 0; c < 3; c++)
                images[(i * SIDE * SIDE + p) * 3 + c] =
                    number(1000003u * (unsigned)(i + 1) + (unsigned)(c * SIDE * SIDE + p), i ? 32 : 4);
}

static void read_scores(const char *name, float *scores)
{
    char path[128];
    snprintf(path, sizeof path, "tests/onnx/torch/%s.scores", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    for (int i = 0; i < IMAGES * CLASSES; i++) assert_int_equal(fscanf(file, "%f", &scores[i]), 1);
    fclose(file);
}

/* Two programs that add in another order: a sum of n products errs by about sqrt(n) roundings, 2^-24 of it each. Behind
 * up to 57 layers with sums of up to 1,152 onnxruntime's own scores are up to 4e-6 of the largest off those in float64.
 * A wrong weight, window or order changes the scores by as much as they are. */
static void compare(device *dev, const char *name)
{
    char folder[64] = "/tmp/graft_torch_XXXXXX", path[128], command[128];
    static float images[IMAGES * PIXELS];
    float found[IMAGES * CLASSES], expected[IMAGES * CLASSES];
    model m;
    onnx_report report;
    graph g;
    runner *r;
    assert_non_null(mkdtemp(folder));
    unpack(name, folder);
    snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    GOOD(onnx_import(&m, path, &(onnx_options){.preprocess = {.std = {1, 1, 1}}}, &report));
    assert_int_equal(report.opset, 20);
    GOOD(export_float_graph(&g, &m.graph));
    make_images(images);
    read_scores(name, expected);
    GOOD(runner_create(&r, &g, dev, IMAGES));
    GOOD(runner_run(r, (float *const[]){found}, images, IMAGES));
    for (int i = 0; i < IMAGES; i++) {
        float top = 0, worst = 0;
        for (int c = i * CLASSES; c < (i + 1) * CLASSES; c++) {
            top = fmaxf(top, fabsf(expected[c]));
            worst = fmaxf(worst, fabsf(found[c] - expected[c]));
        }
        if (!(worst <= 2e-5f * top)) fail_msg("%s, image %d: %g of %g", name, i, (double)worst, (double)top);
    }
    runner_destroy(r);
    graph_free(&g);
    onnx_report_free(&report);
    model_free(&m);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
}

static void test_resnet18(void **state) { compare(*state, "resnet18"); }

static void test_mobilenet_v2(void **state) { compare(*state, "mobilenet_v2"); }

static void test_googlenet(void **state) { compare(*state, "googlenet"); }

static int setup(void **state) { return device_open((device **)state, SPEC_DEVICE_CPU, 0, 1, NULL) != OK; }

static int teardown(void **state)
{
    device_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_resnet18),
        cmocka_unit_test(test_mobilenet_v2),
        cmocka_unit_test(test_googlenet),
    };
    return cmocka_run_group_tests_name("onnx by torch", tests, setup, teardown);
}
