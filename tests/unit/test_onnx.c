/* ONNX files: what is written reads back as the same network; what is damaged or unknown is refused by name. Agreement
 * with other programs is tests/onnx's business. */
#include <unistd.h>

#include "tests/unit/unit_test.h"

#include "core/graph/transform.h"
#include "core/base/version.h"
#include "core/onnx/file.h"
#include "core/onnx/onnx.h"
#include "export/export.h"
#include "export/quantise.h"
#include "export/runner.h"
#include "tests/unit/export_net.h"

enum { IMAGES = 4, MOST_SCORES = 4096 };

typedef struct fixture {
    device *dev;
    model m;
    graph g; /* m fused */
    net_images images;
    char path[64];
    arena memory;
    uint8_t *bytes; /* of g as a file */
    size_t count;
} fixture;

static onnx_about about(const model *m)
{
    return (onnx_about){
        .preprocess = &m->preprocess, .class_name = m->class_name, .class_count = m->class_count, .info_json = "{}"};
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    void *bytes;
    if (!f || device_open(&f->dev, SPEC_DEVICE_CPU, 0, 1, NULL) != OK) return 1;
    if (net_model(&f->m, "resnet10", 0.25) != OK || export_float_graph(&f->g, &f->m.graph) != OK) return 1;
    f->images = net_images_make(IMAGES, IMAGES, false);
    snprintf(f->path, sizeof f->path, "/tmp/graft_onnx_%d.onnx", (int)getpid());
    onnx_about a = about(&f->m);
    if (onnx_write(&f->g, &a, f->path, NULL) != OK ||
        file_read_all(&f->memory, f->path, 1 << 24, &bytes, &f->count) != OK)
        return 1;
    f->bytes = bytes;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    unlink(f->path);
    net_images_free(&f->images);
    graph_free(&f->g);
    model_free(&f->m);
    device_close(f->dev);
    arena_free(&f->memory);
    free(f);
    return 0;
}

static void scores_of(fixture *f, const graph *from, const float *images, int64_t n, float *scores)
{
    graph inference, g;
    runner *r;
    GOOD(pass_inference(&inference, from));
    GOOD(pass_lower(&g, &inference, false));
    GOOD(runner_create(&r, &g, f->dev, n));
    GOOD(runner_run(r, (float *const[]){scores}, images, n));
    runner_destroy(r);
    graph_free(&g);
    graph_free(&inference);
}

static void assert_close(const float *found, const float *expected, int64_t count, float tolerance)
{
    float top = 0, worst = 0;
    for (int64_t i = 0; i < count; i++) {
        top = fmaxf(top, fabsf(expected[i]));
        worst = fmaxf(worst, fabsf(found[i] - expected[i]));
    }
    if (!(top > 1e-3f) || !(worst <= tolerance * top))
        fail_msg("largest value %g, largest difference %g", (double)top, (double)worst);
}

/* Images of zero padding everywhere: a mean folded as a bias would show at the borders. */
static void test_round_trip(void **state)
{
    fixture *f = *state;
    for (int inside = 0; inside < 2; inside++) {
        model back;
        onnx_report report;
        float expected[IMAGES * NET_CLASSES], found[IMAGES * NET_CLASSES],
            *pixels = malloc(IMAGES * NET_IMAGE * sizeof *pixels);
        const preprocess *p = &f->m.preprocess;
        onnx_about a = about(&f->m);
        a.preprocess_inside = inside;
        GOOD(onnx_write(&f->g, &a, f->path, NULL));
        GOOD(onnx_import(&back, f->path, &(onnx_options){.force = false}, &report));
        for (int64_t i = 0; i < IMAGES * NET_IMAGE; i++)
            pixels[i] = inside ? f->images.pixels[i] * p->std[i % 3] + p->mean[i % 3] : f->images.pixels[i];
        scores_of(f, &f->g, f->images.pixels, IMAGES, expected);
        scores_of(f, &back.graph, pixels, IMAGES, found);
        assert_close(found, expected, IMAGES * NET_CLASSES, 2e-5f);
        assert_string_equal(back.graph.edges[back.graph.inputs[0]].name, "image");
        assert_int_equal(back.class_count, NET_CLASSES);
        for (int c = 0; c < NET_CLASSES; c++) assert_string_equal(back.class_name[c], f->m.class_name[c]);
        assert_true(
            back.preprocess.mean[1] == (inside ? 0 : p->mean[1]) && back.preprocess.std[1] == (inside ? 1 : p->std[1]));
        assert_int_equal(back.preprocess.resize, p->resize);
        assert_int_equal(report.opset, 13);
        assert_string_equal(report.producer, "graft " GRAFT_VERSION);
        free(pixels);
        onnx_report_free(&report);
        model_free(&back);
    }
}

/* Scales of activations are the engine's to the last bit, weights to one rounding of the product of scales. */
static void test_integers(void **state)
{
    fixture *f = *state;
    graph q, back;
    void *bytes;
    size_t count;
    int64_t activations = 0;
    float *scale = calloc((size_t)f->g.edge_count, sizeof *scale);
    for (int64_t e = 0; e < f->g.edge_count; e++) scale[e] = 0.01f + 0.001f * (float)(e % 17);
    quantise_share_scales(&f->g, scale);
    GOOD(quantise_graph(&q, &f->g, scale, NULL));
    onnx_about a = about(&f->m);
    GOOD(onnx_write(&q, &a, f->path, NULL));
    GOOD(file_read_all(&f->memory, f->path, 1 << 24, &bytes, &count));
    GOOD(onnx_read_graph(&back, bytes, count, "int8"));
    for (node_id n = 0; n < back.node_count; n++) {
        const node *p = &back.nodes[n];
        if (p->op != &op_quantise) continue;
        const char *name = back.edges[p->in[0]].name;
        edge_id e = EDGE_NONE;
        for (edge_id k = 0; k < f->g.edge_count; k++)
            if (strcmp(f->g.edges[k].name, name) == 0) e = k;
        if (e == EDGE_NONE) fail_msg("no tensor is called %s", name);
        assert_true(((const quantise_attr *)p->attr)->scale == scale[e]);
        activations++;
    }
    assert_true(activations >= 10);
    edge_id weight = graph_find_edge(&back, "layer1.0.conv1.weight"),
            plain = f->g.nodes[graph_find_node(&f->g, "layer1.0.conv1")].in[1];
    assert_int_not_equal(weight, EDGE_NONE);
    const edge *w = &back.edges[weight], *original = &f->g.edges[plain];
    int64_t per_channel = shape_count(w->shape) / w->shape.dim[0];
    for (int64_t o = 0; o < w->shape.dim[0]; o++) {
        float amax = 0;
        for (int64_t i = 0; i < per_channel; i++)
            amax = fmaxf(amax, fabsf(((float *)original->data)[o * per_channel + i]));
        for (int64_t i = 0; i < per_channel; i++) {
            float x = ((float *)original->data)[o * per_channel + i], y = ((float *)w->data)[o * per_channel + i];
            if (fabsf(x - y) > 0.5001f * amax / 127) fail_msg("channel %d: %g became %g", (int)o, (double)x, (double)y);
        }
    }
    free(scale);
    graph_free(&back);
    graph_free(&q);
}

/* ---------------------------------------------------------------------------------------------------- every op */

static edge_id add(graph *g, const op *o, const char *name, const void *attr, const edge_id *in, int32_t count)
{
    edge_id e = EDGE_NONE;
    GOOD(graph_add(g, o, name, attr, in, count, 0, &e));
    return e;
}

static edge_id values(graph *g, const char *name, edge_kind kind, param_layout layout, shape s)
{
    edge_id e = graph_edge(g, name, kind, DTYPE_F32, s);
    rng r = rng_make(4, RNG_TEST, (uint64_t)e);
    bool variance = strstr(name, "var") != NULL;
    g->edges[e].layout = layout;
    for (int64_t i = 0; i < shape_count(s); i++)
        ((float *)g->edges[e].data)[i] = variance ? 0.5f + fabsf(rng_normal(&r)) : 0.5f * rng_normal(&r);
    return e;
}

static edge_id linear(graph *g, const char *name, edge_id x, shape weight)
{
    char text[64];
    snprintf(text, sizeof text, "%s.weight", name);
    edge_id in[3] = {x, values(g, text, EDGE_PARAM, LAYOUT_LINEAR, weight), EDGE_NONE};
    snprintf(text, sizeof text, "%s.bias", name);
    in[2] = values(g, text, EDGE_PARAM, LAYOUT_PLAIN, shape_1(weight.dim[0]));
    return add(g, &op_linear, name, &(linear_attr){.act = ACT_SWISH}, in, 3);
}

/* One graph of all that can be written. Windows, orders and axes are all different, so that a wrong one shows. */
static void build_everything(graph *g)
{
    GOOD(graph_init(g));
    edge_id x = graph_input(g, "image", DTYPE_F32, shape_4(1, 12, 10, 3)), y, z;
    x = add(g, &op_conv2d, "conv",
        &(conv2d_attr){
            .stride = {1, 2}, .pad = {1, 0, 2, 1}, .dilation = {2, 1}, .groups = 1, .act = ACT_LEAKY, .alpha = 0.1f},
        (edge_id[]){x, values(g, "conv.weight", EDGE_PARAM, LAYOUT_OIHW, shape_4(8, 3, 2, 3)),
            values(g, "conv.bias", EDGE_PARAM, LAYOUT_PLAIN, shape_1(8))},
        3);
    x = add(g, &op_batchnorm, "bn", &(batchnorm_attr){.epsilon = 1e-3f, .momentum = 0.1f},
        (edge_id[]){x, values(g, "bn.weight", EDGE_PARAM, LAYOUT_PLAIN, shape_1(8)),
            values(g, "bn.bias", EDGE_PARAM, LAYOUT_PLAIN, shape_1(8)),
            values(g, "bn.running_mean", EDGE_STATE, LAYOUT_PLAIN, shape_1(8)),
            values(g, "bn.running_var", EDGE_STATE, LAYOUT_PLAIN, shape_1(8))},
        5);
    y = add(g, &op_pool, "max",
        &(pool_attr){.kind = POOL_MAX, .kernel = {3, 2}, .stride = {2, 1}, .pad = {1, 0, 1, 1}, .ceil_mode = true}, &x,
        1);
    z = add(g, &op_pool, "average",
        &(pool_attr){
            .kind = POOL_AVERAGE, .kernel = {2, 3}, .stride = {2, 1}, .pad = {0, 1, 1, 1}, .count_include_pad = true},
        &x, 1);
    y = add(
        g, &op_slice, "slice", &(slice_attr){.begin = {0, 1, 0, 2}, .size = {0, 4, 0, 4}, .step = {0, 1, 0, 1}}, &y, 1);
    z = add(g, &op_slice, "strided", &(slice_attr){.begin = {0, 0, 0, 1}, .size = {0, 4, 0, 3}, .step = {0, 1, 0, 3}},
        &z, 1);
    z = add(g, &op_pad, "pad", &(pad_attr){.after = {0, 0, 0, 1}, .value = 0.25f}, &z, 1);
    y = add(g, &op_resize, "nearest", &(resize_attr){.factor = 2}, &y, 1);
    z = add(g, &op_resize, "bilinear",
        &(resize_attr){.height = 8, .width = (int32_t)g->edges[y].shape.dim[2], .bilinear = true}, &z, 1);
    x = add(g, &op_add, "add", &(binary_attr){.act = ACT_RELU6}, (edge_id[]){y, z}, 2);
    x = add(g, &op_concat, "concat", &(concat_attr){0}, (edge_id[]){x, y, z}, 3);
    y = add(g, &op_pool, "gate", &(pool_attr){.kind = POOL_AVERAGE, .global = true}, &x, 1);
    y = add(g, &op_activation, "sigmoid", &(activation_attr){.act = ACT_SIGMOID}, &y, 1);
    x = add(g, &op_mul, "mul", &(binary_attr){0}, (edge_id[]){x, y}, 2);
    x = add(g, &op_pool, "adaptive", &(pool_attr){.kind = POOL_AVERAGE, .adaptive = {5, 4}}, &x,
        1); /* of 8 by 10: windows overlap */
    x = add(g, &op_transpose, "transpose", &(transpose_attr){.perm = {0, 2, 3, 1}}, &x, 1);
    shape s = g->edges[x].shape;
    x = add(
        g, &op_reshape, "split", &(reshape_attr){.rank = 5, .dim = {-1, s.dim[1], 2, s.dim[2] / 2, s.dim[3]}}, &x, 1);
    x = add(g, &op_transpose, "shuffle", &(transpose_attr){.perm = {0, 1, 3, 2, 4}}, &x, 1);
    x = add(g, &op_reshape, "join", &(reshape_attr){.rank = 4, .dim = {-1, s.dim[1], s.dim[2], s.dim[3]}}, &x, 1);
    x = add(g, &op_flatten, "flatten", NULL, &x, 1);
    x = linear(g, "fc1", x, shape_4(6, s.dim[1], s.dim[2], s.dim[3]));
    x = linear(g, "fc2", x, shape_4(5, 1, 1, 6));
    x = add(g, &op_activation, "clip", &(activation_attr){.act = ACT_CLIP, .alpha = -2, .beta = 3}, &x, 1);
    GOOD(graph_output(g, add(g, &op_softmax, "softmax", NULL, &x, 1)));
}

static void test_every_op(void **state)
{
    fixture *f = *state;
    graph g, back;
    void *bytes;
    size_t count;
    float expected[2 * 5], found[2 * 5], image[2 * 12 * 10 * 3];
    rng r = rng_make(9, RNG_TEST, 0);
    for (size_t i = 0; i < sizeof image / sizeof *image; i++) image[i] = rng_normal(&r);
    build_everything(&g);
    onnx_about a = about(&f->m);
    GOOD(onnx_write(&g, &a, f->path, NULL));
    GOOD(file_read_all(&f->memory, f->path, 1 << 24, &bytes, &count));
    GOOD(onnx_read_graph(&back, bytes, count, "everything"));
    scores_of(f, &g, image, 2, expected);
    scores_of(f, &back, image, 2, found);
    assert_close(found, expected, 10, 2e-5f);
    int64_t turns = 0; /* a Transpose costs nothing unless something needs the order */
    for (node_id n = 0; n < back.node_count; n++)
        turns += back.nodes[n].op == &op_transpose &&
                 !strstr(back.nodes[n].name, "adaptive"); /* which joins along height and width */
    assert_true(turns <= 4);
    graph_free(&g);
    graph_free(&back);
}

/* Integers behind a flattened image: the engine has them in its order, the file in ONNX's, and weights to match. So few
 * sums that none of them falls between two integers: the same scores. */
static void test_flattened_integers(void **state)
{
    fixture *f = *state;
    graph g, q, back;
    void *bytes;
    size_t count;
    float expected[3 * 5], found[3 * 5], plain[3 * 5], image[3 * 8 * 6 * 3], scale[64] = {0};
    rng r = rng_make(13, RNG_TEST, 0);
    for (size_t i = 0; i < sizeof image / sizeof *image; i++) image[i] = rng_normal(&r);
    GOOD(graph_init(&g));
    edge_id x = graph_input(&g, "image", DTYPE_F32, shape_4(1, 8, 6, 3));
    x = add(&g, &op_conv2d, "conv",
        &(conv2d_attr){.stride = {1, 1}, .pad = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = 1, .act = ACT_RELU},
        (edge_id[]){x, values(&g, "conv.weight", EDGE_PARAM, LAYOUT_OIHW, shape_4(8, 3, 3, 3))}, 2);
    x = add(&g, &op_pool, "max", &(pool_attr){.kind = POOL_MAX, .kernel = {2, 2}, .stride = {2, 2}}, &x, 1);
    x = add(&g, &op_flatten, "flatten", NULL, &x, 1);
    for (int i = 0; i < 2; i++) {
        char name[2][16];
        snprintf(name[0], sizeof name[0], "fc%d", i);
        snprintf(name[1], sizeof name[1], "fc%d.weight", i);
        shape w = i == 0 ? shape_4(6, 4, 3, 8) : shape_4(5, 1, 1, 6);
        x = add(&g, &op_linear, name[0], &(linear_attr){.act = i == 0 ? ACT_RELU : ACT_NONE},
            (edge_id[]){x, values(&g, name[1], EDGE_PARAM, LAYOUT_LINEAR, w)}, 2);
    }
    GOOD(graph_output(&g, x));
    assert_true(g.edge_count <= 64);
    for (edge_id e = 0; e < g.edge_count; e++)
        scale[e] = g.edges[e].name[0] == 'f' && g.edges[e].name[1] == 'c' ? 0.25f : 0.06f;
    quantise_share_scales(&g, scale);
    GOOD(quantise_graph(&q, &g, scale, NULL));
    onnx_about a = about(&f->m);
    GOOD(onnx_write(&q, &a, f->path, NULL));
    GOOD(file_read_all(&f->memory, f->path, 1 << 24, &bytes, &count));
    GOOD(onnx_read_graph(&back, bytes, count, "flattened"));
    scores_of(f, &q, image, 3, expected);
    scores_of(f, &back, image, 3, found);
    scores_of(f, &g, image, 3, plain);
    assert_close(found, expected, 15, 2e-5f);
    assert_close(found, plain, 15, 0.1f);
    graph *all[] = {&g, &q, &back};
    for (int i = 0; i < 3; i++) graph_free(all[i]);
}

/* ---------------------------------------------------------------------------------------------------- refusals */

static void refused(const uint8_t *bytes, size_t count, const char *says)
{
    model m;
    onnx_report report;
    status s = onnx_import_bytes(&m, bytes, count, "test.onnx", &(onnx_options){.force = false}, &report);
    if (s == OK || !strstr(status_message(), says))
        fail_msg("expected \"%s\": %s", says, s == OK ? "it was read" : status_message());
    assert_int_equal(s, E_MODEL);
    assert_null(m.graph.nodes);
    assert_null(report.producer);
}

/* The file with the first `most` of `from` replaced by `to`, of the same length. */
static void refused_with(fixture *f, int64_t most, const char *from, const char *to, const char *says)
{
    uint8_t *copy = malloc(f->count);
    size_t length = strlen(from);
    int64_t hits = 0;
    memcpy(copy, f->bytes, f->count);
    for (size_t i = 0; i + length <= f->count && hits < most; i++)
        if (memcmp(copy + i, from, length) == 0) memcpy(copy + i, to, length), hits++;
    assert_true(hits > 0);
    refused(copy, f->count, says);
    free(copy);
}

static void test_refused_by_name(void **state)
{
    fixture *f = *state;
    enum { ALL = 1000 };
    refused_with(f, ALL, "MaxPool", "MinPool", "operators that are not supported: node 'maxpool' (MinPool)");
    refused_with(f, ALL, "strides", "strokes", "attribute strokes is not supported");
    refused_with(f, ALL, "dilations", "dilutions", "attribute dilutions is not supported");
    refused_with(f, ALL, "layer2.0.conv1.weight", "layer1.0.conv1.weight", "'layer1.0.conv1.weight' is defined twice");
    refused_with(
        f, 1, "fc.weight", "fc.wright", "input 1, 'fc.wright', is defined nowhere"); /* the node's, not the tensor's */
}

/* Cut anywhere in its graph, a file is refused; where a cut leaves whole fields, a name or the opset is missing. */
static void test_truncated(void **state)
{
    fixture *f = *state;
    for (size_t count = 0; count + 4096 < f->count; count += count < 3000 ? 1 : 997) {
        model m;
        onnx_report report;
        if (onnx_import_bytes(&m, f->bytes, count, "cut", &(onnx_options){.force = false}, &report) == OK)
            fail_msg("%zu bytes of %zu were read", count, f->count);
    }
}

/* Appended fields are merged into the graph: field 7 of the model, then one initialiser (field 5). */
static size_t with_tensor(fixture *f, uint8_t *to, const char *tensor, size_t count)
{
    memcpy(to, f->bytes, f->count);
    uint8_t *at = to + f->count;
    assert_true(count < 120);
    *at++ = 7 << 3 | 2, *at++ = (uint8_t)(count + 2), *at++ = 5 << 3 | 2, *at++ = (uint8_t)count;
    memcpy(at, tensor, count);
    return f->count + 4 + count;
}

static void test_tensors(void **state)
{
    fixture *f = *state;
    uint8_t *bytes = malloc(f->count + 256);
    /* dims 1, type 1, name "t", data_location external (14 = 1) */
    const char external[] = {1 << 3, 1, 2 << 3, 1, 8 << 3 | 2, 1, 't', 14 << 3, 1};
    refused(bytes, with_tensor(f, bytes, external, sizeof external), "external data is not read");
    /* external_data (13): key "location" */
    const char location[] = {1 << 3, 1, 2 << 3, 1, 8 << 3 | 2, 1, 't', 13 << 3 | 2, 10, 1 << 3 | 2, 8, 'l', 'o', 'c',
        'a', 't', 'i', 'o', 'n'};
    refused(bytes, with_tensor(f, bytes, location, sizeof location), "external data is not read");
    /* dims 2^28 twice beside 4 bytes of raw data (9) */
    const char large[] = {1 << 3, (char)0x80, (char)0x80, (char)0x80, (char)0x80, 1, 1 << 3, (char)0x80, (char)0x80,
        (char)0x80, (char)0x80, 1, 2 << 3, 1, 8 << 3 | 2, 1, 't', 9 << 3 | 2, 4, 0, 0, 0, 0};
    refused(bytes, with_tensor(f, bytes, large, sizeof large), "tensor 't' holds 4 bytes, its dimensions say");
    /* a dimension of -1 */
    const char negative[] = {1 << 3, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff, (char)0xff,
        (char)0xff, (char)0xff, 1, 2 << 3, 1, 8 << 3 | 2, 1, 't'};
    refused(bytes, with_tensor(f, bytes, negative, sizeof negative), "dimension 0 of tensor 't' is -1");
    /* three floats (4) for two */
    const char many[] = {1 << 3, 2, 2 << 3, 1, 8 << 3 | 2, 1, 't', 4 << 3 | 2, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    refused(bytes, with_tensor(f, bytes, many, sizeof many), "tensor 't' holds 3 values, its dimensions say 2");
    free(bytes);
}

/* y = x + t[5:8][5:8] by one Slice of a constant of 8 numbers with axes = 0, 0: written by onnx.helper, opset 9. */
static void test_axis_twice(void **state)
{
    (void)state;
    static const uint8_t bytes[] = {8, 4, 18, 0, 58, 192, 1, 10, 65, 10, 1, 116, 18, 1, 115, 26, 3, 99, 117, 116, 34, 5,
        83, 108, 105, 99, 101, 42, 13, 10, 4, 97, 120, 101, 115, 64, 0, 64, 0, 160, 1, 7, 42, 13, 10, 4, 101, 110, 100,
        115, 64, 8, 64, 8, 160, 1, 7, 42, 15, 10, 6, 115, 116, 97, 114, 116, 115, 64, 5, 64, 5, 160, 1, 7, 10, 19, 10,
        1, 120, 10, 1, 115, 18, 1, 121, 26, 3, 115, 117, 109, 34, 3, 65, 100, 100, 18, 1, 103, 42, 41, 8, 8, 16, 1, 34,
        32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 66, 1, 116,
        90, 27, 10, 1, 120, 18, 22, 10, 20, 8, 1, 18, 16, 10, 2, 8, 1, 10, 2, 8, 3, 10, 2, 8, 1, 10, 2, 8, 3, 98, 27,
        10, 1, 121, 18, 22, 10, 20, 8, 1, 18, 16, 10, 2, 8, 1, 10, 2, 8, 3, 10, 2, 8, 1, 10, 2, 8, 3, 66, 4, 10, 0, 16,
        9};
    refused(bytes, sizeof bytes, "node 'cut' (Slice): axis 0 twice");
}

/* Graphs in attributes of nodes in graphs ...: 30 levels. */
static void test_nested(void **state)
{
    (void)state;
    uint8_t bytes[512];
    size_t at = sizeof bytes, inner = 0;
    for (int level = 0; level < 30; level++) {
        static const uint8_t tags[] = {
            6 << 3 | 2 /* attribute.g */, 5 << 3 | 2 /* node.attribute */, 1 << 3 | 2 /* graph.node */};
        for (int i = 0; i < 3; i++) {
            if (inner > 127) bytes[--at] = (uint8_t)(inner >> 7), bytes[--at] = (uint8_t)(inner | 128);
            else bytes[--at] = (uint8_t)inner;
            bytes[--at] = tags[i];
            inner = sizeof bytes - at;
        }
    }
    bytes[--at] = (uint8_t)(inner >> 7), bytes[--at] = (uint8_t)(inner | 128), bytes[--at] = 7 << 3 | 2;
    refused(bytes + at, sizeof bytes - at, "nested deeper than");
}

/* Small messages by the thousand take far more memory than bytes. */
static void test_swollen(void **state)
{
    (void)state;
    size_t count = 1 << 22;
    uint8_t *bytes = malloc(count + 5);
    bytes[0] = 7 << 3 | 2;
    for (int i = 0; i < 4; i++) bytes[1 + i] = (uint8_t)(count >> 7 * i & 127) | (i < 3 ? 128 : 0);
    for (size_t i = 0; i < count; i += 2) bytes[5 + i] = 1 << 3 | 2, bytes[6 + i] = 0; /* empty nodes */
    refused(bytes, count + 5, "would take more than 4 times that");
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_every_op),
        cmocka_unit_test(test_flattened_integers),
        cmocka_unit_test(test_refused_by_name),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_axis_twice),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_swollen),
    };
    return cmocka_run_group_tests_name("onnx", tests, setup, teardown);
}
