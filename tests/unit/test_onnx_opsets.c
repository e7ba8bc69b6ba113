/* ONNX up to the newest opset: what became an input, what was added, and what is refused by name. Expected values are
 * loops over the operator's definition, in double. ONNX's own cases (tests/onnx) cover the rest where they are
 * installed. */
#include <math.h>
#include <stdio.h>

#include "tests/unit/unit_test.h"

#include "core/graph/plan.h"
#include "core/graph/transform.h"
#include "core/onnx/onnx.h"
#include "tests/unit/graph_fixture.h"
#include "tests/unit/onnx_bytes.h"

enum { MOST = 4096 };

static int setup(void **state)
{
    device *dev = NULL;
    if (device_open(&dev, SPEC_DEVICE_CPU, 0, 1, NULL) != OK) return 1;
    *state = dev;
    return 0;
}

static int teardown(void **state)
{
    device_close(*state);
    return 0;
}

static float value(int64_t i) { return (float)(i * 37 % 101 - 50) / 8; }

static int64_t product(int rank, const int64_t *dim)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= dim[i];
    return count;
}

/* Where ONNX's element i of [n, c, h, w] lies in [n, h, w, c]. */
static int64_t last(const int64_t *dim, int64_t i)
{
    int64_t pixels = dim[2] * dim[3], p = i % pixels, c = i / pixels % dim[1], n = i / (pixels * dim[1]);
    return (n * pixels + p) * dim[1] + c;
}

/* y of the file for x = value(i), both in ONNX's order. turned: the input is NCHW, which is NHWC here. */
static int64_t run(device *dev, onnx_bytes *m, int rank, const int64_t *dim, bool turned, double *y)
{
    graph g, inference, lowered;
    plan *p;
    float x[MOST], out[MOST];
    GOOD(onnx_read_graph(&g, m->file.bytes, m->file.count, "made"));
    GOOD(pass_inference(&inference, &g));
    GOOD(pass_lower(&lowered, &inference, false));
    GOOD(plan_create(&p, &lowered, dev, NULL));
    const graph *planned = plan_graph(p);
    int64_t count = product(rank, dim);
    for (int64_t i = 0; i < count; i++) x[turned ? last(dim, i) : i] = value(i);
    GOOD(plan_set_input(p, planned->inputs[0], x, (size_t)count * 4));
    GOOD(plan_run(p));
    shape s = planned->edges[planned->outputs[0]].shape;
    int64_t made = shape_count(s), onnx[4] = {s.dim[0], s.dim[3], s.dim[1], s.dim[2]};
    assert_true(made <= MOST);
    GOOD(plan_get(p, planned->outputs[0], out, (size_t)made * 4));
    for (int64_t i = 0; i < made; i++) y[i] = (double)out[s.rank == 4 ? last(onnx, i) : i];
    plan_destroy(p);
    graph *all[] = {&g, &inference, &lowered};
    for (int i = 0; i < 3; i++) graph_free(all[i]);
    return made;
}

/* Sums of a few dozen numbers below 8 in f32. */
static void assert_values(const double *found, int64_t made, const double *expected, int64_t count)
{
    assert_int_equal(made, count);
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(found[i] - expected[i]) <= 1e-5))
            fail_msg("[%lld] is %.9g, expected %.9g", (long long)i, found[i], expected[i]);
}

static void refused(onnx_bytes *m, const char *says)
{
    graph g;
    onnx_bytes_finish(m);
    status s = onnx_read_graph(&g, m->file.bytes, m->file.count, "made");
    if (s == OK || !strstr(status_message(), says))
        fail_msg("expected \"%s\": %s", says, s == OK ? "it was read" : status_message());
    assert_int_equal(s, E_MODEL);
}

/* A file with input x of this shape and an output; its nodes and constants follow. */
static onnx_bytes *begin(int64_t opset, int rank, const int64_t *dim, const char *result)
{
    static onnx_bytes m;
    memset(&m, 0, sizeof m);
    m.opset = opset;
    onnx_bytes_port(&m, true, "x", rank, dim);
    onnx_bytes_port(&m, false, result, 0, NULL);
    return &m;
}

/* Of one node, whose attributes follow. */
static onnx_bytes *one(int64_t opset, int rank, const int64_t *dim, const char *type, const char *in)
{
    onnx_bytes *m = begin(opset, rank, dim, "y");
    onnx_bytes_node(m, type, in, "y");
    return m;
}

/* ---------------------------------------------------------------------------------------------------- opsets */

static void test_newest(void **state)
{
    double y[MOST];
    static const int64_t dim[] = {1, 3, 2, 2};
    for (int64_t opset = 13; opset <= 28; opset++) {
        onnx_bytes *m = one(opset, 4, dim, "Relu", "x");
        onnx_bytes_finish(m);
        assert_int_equal(run(*state, m, 4, dim, true, y), 12);
        assert_true(y[0] == fmax((double)value(0), 0) && y[11] == fmax((double)value(11), 0));
    }
    refused(one(29, 4, dim, "Relu", "x"), "opset 29, expected 1 to 28");
}

/* ------------------------------------------------------------------------------------------------- means and maxima */

typedef struct reduction {
    int rank, axis_count;
    int64_t dim[4], axis[3];
    bool turned;
} reduction;

static void expect_reduced(const reduction *r, bool max, double *y, int64_t *count)
{
    bool gone[4] = {false};
    int64_t dim[4], members[MOST] = {0}, total = product(r->rank, r->dim);
    for (int i = 0; i < r->axis_count; i++) gone[(r->axis[i] + r->rank) % r->rank] = true;
    *count = 1;
    for (int i = 0; i < r->rank; i++) dim[i] = gone[i] ? 1 : r->dim[i], *count *= dim[i];
    for (int64_t i = 0; i < *count; i++) y[i] = max ? -INFINITY : 0;
    for (int64_t i = 0; i < total; i++) {
        int64_t rest = i, at = 0, step = 1;
        for (int d = r->rank - 1; d >= 0; d--) {
            int64_t k = rest % r->dim[d];
            rest /= r->dim[d];
            at += gone[d] ? 0 : k * step;
            step *= dim[d];
        }
        y[at] = max ? fmax(y[at], (double)value(i)) : y[at] + (double)value(i);
        members[at]++;
    }
    for (int64_t i = 0; i < *count && !max; i++) y[i] /= (double)members[i];
}

static void test_reductions(void **state)
{
    static const reduction cases[] = {
        {4, 2, {1, 3, 5, 7}, {2, 3}, true},   {4, 2, {1, 3, 5, 7}, {-1, -2}, true}, {4, 2, {1, 6, 5, 3}, {1, 2},
            false}, /* NHWC */
        {4, 2, {1, 6, 5, 3}, {-3, 2}, false}, {4, 1, {1, 3, 5, 7}, {3}, true},      {4, 1, {2, 3, 5, 7}, {1}, true},
        {4, 2, {1, 3, 5, 7}, {1, 3}, true},   {4, 3, {1, 3, 5, 7}, {1, 2, 3}, true}, {3, 1, {2, 5, 4}, {1}, false},
        {3, 1, {2, 5, 4}, {-1}, false},       {2, 1, {3, 9}, {1}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (int variant = 0; variant < 8; variant++) {
            const reduction *r = &cases[i];
            bool max = variant & 1, keep = variant & 2, as_input = variant & 4;
            double y[MOST], expected[MOST];
            int64_t count;
            onnx_bytes *m = one(max && as_input ? 20 : as_input ? 18 : 13, r->rank, r->dim, max ? "ReduceMax"
                : "ReduceMean", as_input ? "x axes" : "x");
            onnx_bytes_attr_int(m, "keepdims", keep);
            if (as_input) onnx_bytes_ints(m, "axes", r->axis_count, r->axis);
            else onnx_bytes_attr_ints(m, "axes", r->axis_count, r->axis);
            onnx_bytes_finish(m);
            expect_reduced(r, max, expected, &count);
            assert_values(y, run(*state, m, r->rank, r->dim, r->turned, y), expected, count);
        }
    }
}

static void test_reductions_refused(void **state)
{
    static const int64_t dim[] = {1, 3, 5, 7}, twice[] = {2, -2}, batch[] = {0, 1};
    double y[MOST];
    (void)state;
    onnx_bytes *m = one(18, 4, dim, "ReduceMean", "x");
    refused(m, "node 'y' (ReduceMean): over the batch");
    m = one(18, 4, dim, "ReduceMean", "x");
    onnx_bytes_attr_int(m, "noop_with_empty_axes", 1); /* then it does nothing */
    onnx_bytes_finish(m);
    assert_int_equal(run(*state, m, 4, dim, true, y), 105);
    assert_true(y[104] == (double)value(104));
    m = one(18, 4, dim, "ReduceMean", "x axes");
    onnx_bytes_ints(m, "axes", 2, batch);
    refused(m, "over the batch");
    m = one(18, 4, dim, "ReduceMean", "x axes");
    onnx_bytes_ints(m, "axes", 2, twice);
    refused(m, "axis 2 twice");
    m = one(18, 4, dim, "ReduceMean", "x axes");
    onnx_bytes_ints(m, "axes", 2, twice);
    onnx_bytes_attr_ints(m, "axes", 2, twice);
    refused(m, "axes as an attribute and as input 1");
}

/* A network as tf2onnx writes it, NHWC outside and NCHW around its convolution, beside the same one in NCHW. */
static void network(onnx_bytes *m, bool nhwc)
{
    static float weight[8 * 3 * 3 * 3], fc[8 * 4], bias[8];
    memset(m, 0, sizeof *m);
    m->opset = 13;
    for (int i = 0; i < 216; i++) weight[i] = value(i * 5) / 16;
    for (int i = 0; i < 32; i++) fc[i] = value(i * 7) / 4;
    for (int i = 0; i < 8; i++) bias[i] = value(i * 11) / 8;
    onnx_bytes_port(m, true, "x", 4, nhwc ? (int64_t[]){1, 6, 8, 3} : (int64_t[]){1, 3, 6, 8});
    onnx_bytes_floats(m, "w", 4, (int64_t[]){8, 3, 3, 3}, weight);
    onnx_bytes_floats(m, "fc", 2, (int64_t[]){8, 4}, fc);
    onnx_bytes_floats(m, "b", nhwc ? 1 : 3, nhwc ? (int64_t[]){8} : (int64_t[]){8, 1, 1}, bias);
    onnx_bytes_node(m, nhwc ? "Transpose" : "Identity", "x", "image");
    if (nhwc) onnx_bytes_attr_ints(m, "perm", 4, (int64_t[]){0, 3, 1, 2});
    onnx_bytes_node(m, "Conv", "image w", "conv");
    onnx_bytes_attr_text(m, "auto_pad", "SAME_UPPER");
    onnx_bytes_node(m, nhwc ? "Transpose" : "Identity", "conv", "turned");
    if (nhwc) onnx_bytes_attr_ints(m, "perm", 4, (int64_t[]){0, 2, 3, 1});
    onnx_bytes_node(m, "Add", "turned b", "biased");
    onnx_bytes_node(m, "ReduceMean", "biased", "squeezed");
    onnx_bytes_attr_ints(m, "axes", 2, nhwc ? (int64_t[]){1, 2} : (int64_t[]){2, 3});
    onnx_bytes_node(m, "Sigmoid", "squeezed", "gate");
    onnx_bytes_node(m, "Mul", "gate biased", "excited");
    onnx_bytes_node(m, "ReduceMean", "excited", "mean");
    onnx_bytes_attr_ints(m, "axes", 2, nhwc ? (int64_t[]){1, 2} : (int64_t[]){2, 3});
    onnx_bytes_attr_int(m, "keepdims", 0);
    onnx_bytes_node(m, "MatMul", "mean fc", "y");
    onnx_bytes_port(m, false, "y", 2, (int64_t[]){1, 4});
    onnx_bytes_finish(m);
}

static void test_nhwc_network(void **state)
{
    static onnx_bytes m[2];
    float x[144], y[2][4];
    int64_t turns[2] = {0};
    for (int64_t i = 0; i < 144; i++) x[i] = value(i * 3);
    for (int k = 0; k < 2; k++) {
        graph g, inference, lowered;
        plan *p;
        network(&m[k], k == 1);
        GOOD(onnx_read_graph(&g, m[k].file.bytes, m[k].file.count, "network"));
        for (node_id n = 0; n < g.node_count; n++) turns[k] += g.nodes[n].op == &op_transpose;
        GOOD(pass_inference(&inference, &g));
        GOOD(pass_lower(&lowered, &inference, false));
        GOOD(plan_create(&p, &lowered, *state, NULL));
        GOOD(plan_set_input(p, plan_graph(p)->inputs[0], x, sizeof x)); /* NHWC for both */
        GOOD(plan_run(p));
        GOOD(plan_get(p, plan_graph(p)->outputs[0], y[k], sizeof y[k]));
        plan_destroy(p);
        graph *all[] = {&g, &inference, &lowered};
        for (int i = 0; i < 3; i++) graph_free(all[i]);
    }
    for (int i = 0; i < 4; i++) assert_true(fabsf(y[0][i]) > 0.01f);
    assert_memory_equal(y[0], y[1], sizeof y[0]); /* the same kernels on the same values */
    assert_int_equal(turns[1], 0);
}

/* ------------------------------------------------------------------------------- what became an input, or was added */

static void test_pad_axes(void **state)
{
    static const int64_t dim[] = {1, 2, 3, 4}, pads[] = {1, 0, 2, 1}, axes[] = {-1, 2}; /* width 1 + 2, height 0 + 1 */
    double y[MOST], expected[2 * 4 * 7];
    onnx_bytes *m = one(18, 4, dim, "Pad", "x pads value axes");
    onnx_bytes_ints(m, "pads", 4, pads);
    onnx_bytes_ints(m, "axes", 2, axes);
    onnx_bytes_floats(m, "value", 0, NULL, &(float){0.5f});
    onnx_bytes_finish(m);
    for (int64_t i = 0; i < 56; i++) {
        int64_t c = i / 28, h = i / 7 % 4, w = i % 7 - 1;
        expected[i] = h < 3 && w >= 0 && w < 4 ? (double)value((c * 3 + h) * 4 + w) : 0.5;
    }
    assert_values(y, run(*state, m, 4, dim, true, y), expected, 56);
    m = one(18, 4, dim, "Pad", "x pads - axes");
    onnx_bytes_ints(m, "pads", 4, pads);
    onnx_bytes_ints(m, "axes", 2, (int64_t[]){2, -2});
    refused(m, "axis 2 twice");
    m = one(13, 4, dim, "Pad", "x pads - axes"); /* before it was there */
    onnx_bytes_ints(m, "pads", 8, (int64_t[8]){0});
    onnx_bytes_ints(m, "axes", 2, axes);
    refused(m, "input 3, 'axes', is not supported");
    m = one(19, 4, dim, "Pad", "x pads");
    onnx_bytes_ints(m, "pads", 8, (int64_t[8]){0});
    onnx_bytes_attr_text(m, "mode", "wrap");
    refused(m, "mode = wrap");
}

/* Two rows of four become four of eight, whichever way it is said. */
static void test_resize(void **state)
{
    static const int64_t dim[] = {1, 2, 2, 4};
    double y[MOST], expected[64];
    for (int64_t i = 0; i < 64; i++) expected[i] = (double)value(i / 32 * 8 + i / 8 % 4 / 2 * 4 + i % 8 / 2);
    for (int way = 0; way < 4; way++) {
        onnx_bytes *m = one(18, 4, dim, "Resize", way == 0 ? "x - scales" : "x - - sizes");
        onnx_bytes_attr_text(m, "coordinate_transformation_mode", "asymmetric");
        onnx_bytes_attr_text(m, "nearest_mode", "floor");
        onnx_bytes_attr_ints(m, "axes", 2, (int64_t[]){3, 2});
        onnx_bytes_attr_int(m, "antialias", 0);
        if (way == 0) onnx_bytes_floats(m, "scales", 1, (int64_t[]){2}, (float[]){2, 2});
        if (way == 1) onnx_bytes_ints(m, "sizes", 2, (int64_t[]){8, 4});
        if (way == 2) onnx_bytes_ints(m, "sizes", 2, (int64_t[]){8, 100});
        if (way == 3) onnx_bytes_ints(m, "sizes", 2, (int64_t[]){2, 4});
        onnx_bytes_attr_text(m, "keep_aspect_ratio_policy", way < 2 ? "stretch" : way == 2 ? "not_larger"
            : "not_smaller");
        onnx_bytes_finish(m);
        assert_values(y, run(*state, m, 4, dim, true, y), expected, 64);
    }
}

static void test_resize_refused(void **state)
{
    static const struct { const char *name, *text, *says; int64_t value; } cases[] = {
        {"antialias", NULL, "antialias = 1 where dimension 2 shrinks", 1},
        {"coordinate_transformation_mode", "tf_crop_and_resize",
            "coordinate_transformation_mode = tf_crop_and_resize", 0},
        {"keep_aspect_ratio_policy", "fill", "keep_aspect_ratio_policy = fill", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        onnx_bytes *m = one(19, 4, (int64_t[]){1, 2, 4, 4}, "Resize", "x - scales");
        onnx_bytes_attr_text(m, "mode", "linear");
        onnx_bytes_floats(m, "scales", 1, (int64_t[]){4}, (float[]){1, 1, 0.5f, 0.5f});
        if (cases[i].text) onnx_bytes_attr_text(m, cases[i].name, cases[i].text);
        else onnx_bytes_attr_int(m, cases[i].name, cases[i].value);
        refused(m, cases[i].says);
    }
    onnx_bytes *m = one(18, 4, (int64_t[]){1, 2, 4, 4}, "Resize", "x - scales");
    onnx_bytes_attr_ints(m, "axes", 2, (int64_t[]){2, 3});
    onnx_bytes_floats(m, "scales", 1, (int64_t[]){4}, (float[]){1, 1, 2, 2});
    refused(m, "4 scales or sizes, expected 2");
}

/* Five columns into parts of two, the last smaller; entries by index; without an axis. */
static void test_parts(void **state)
{
    static const int64_t dim[] = {2, 5};
    double y[MOST], expected[10];
    static const int64_t order[] = {4, 2, 3, 0, 1};
    onnx_bytes *m = begin(18, 2, dim, "y");
    onnx_bytes_node(m, "Split", "x", "a b c");
    onnx_bytes_attr_int(m, "axis", 1);
    onnx_bytes_attr_int(m, "num_outputs", 3);
    onnx_bytes_node(m, "Concat", "c b a", "y");
    onnx_bytes_attr_int(m, "axis", 1);
    onnx_bytes_finish(m);
    for (int64_t i = 0; i < 10; i++) expected[i] = (double)value(i / 5 * 5 + order[i % 5]);
    assert_values(y, run(*state, m, 2, dim, false, y), expected, 10);
    m = one(18, 2, dim, "Split", "x");
    onnx_bytes_attr_int(m, "num_outputs", 2);
    refused(m, "num_outputs = 2 for 1 outputs");
    static const int64_t picks[] = {4, -5, 1}, columns[] = {4, 0, 1};
    m = one(18, 2, dim, "Gather", "x which");
    onnx_bytes_attr_int(m, "axis", -1);
    onnx_bytes_ints(m, "which", 3, picks);
    onnx_bytes_finish(m);
    for (int64_t i = 0; i < 6; i++) expected[i] = (double)value(i / 3 * 5 + columns[i % 3]);
    assert_values(y, run(*state, m, 2, dim, false, y), expected, 6);
    static const int64_t image[] = {1, 3, 2, 2};
    m = one(18, 4, image, "Gather", "x which"); /* x[:, 2] */
    onnx_bytes_attr_int(m, "axis", 1);
    onnx_bytes_tensor(m, "which", 7, 0, NULL, &(int64_t){2}, 8);
    onnx_bytes_finish(m);
    for (int64_t i = 0; i < 4; i++) expected[i] = (double)value(8 + i);
    assert_values(y, run(*state, m, 4, image, true, y), expected, 4);
    m = one(18, 2, dim, "Gather", "x which");
    onnx_bytes_attr_int(m, "axis", 1);
    onnx_bytes_ints(m, "which", 1, (int64_t[]){5});
    refused(m, "index 5 of 5");
}

static void test_swish(void **state)
{
    static const int64_t dim[] = {1, 6};
    double y[MOST], expected[6];
    onnx_bytes *m = one(24, 2, dim, "Swish", "x");
    onnx_bytes_attr_float(m, "alpha", 1);
    onnx_bytes_finish(m);
    for (int64_t i = 0; i < 6; i++) expected[i] = (double)value(i) / (1 + exp(-(double)value(i)));
    assert_values(y, run(*state, m, 2, dim, false, y), expected, 6);
    m = one(24, 2, dim, "Swish", "x");
    onnx_bytes_attr_float(m, "alpha", 1.5f);
    refused(m, "alpha = 1.5, expected 1");
}

/* Nothing is ignored: attributes of other opsets, inputs that mean nothing here, values that no kernel of ours has. */
static void test_refused_by_name(void **state)
{
    static const struct {
        int64_t opset;
        const char *type, *in, *attribute, *says;
        int64_t value;
    } cases[] = {
        {13, "Dropout", "x", "seed", NULL, 3},
        {13, "Relu", "x more", NULL, "input 1, 'more', is not supported", 0},
        {13, "Sigmoid", "x more", NULL, "input 1, 'more', is not supported", 0},
        {18, "MaxPool", "x more", NULL, "kernel_shape is missing", 0},
        {19, "Cast", "x", "to", "to ONNX type 17, expected a float type", 17},
        {20, "Flatten", "x more", NULL, "input 1, 'more', is not supported", 0},
        {13, "Clip", "x", "min", "attribute min is not supported", 0},
        {18, "Softmax", "x", "block_size", "attribute block_size is not supported", 0},
        {6, "Clip", "x more", NULL, "input 1, 'more', is not supported", 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        onnx_bytes *m = one(cases[i].opset, 4, (int64_t[]){1, 2, 4, 4}, cases[i].type, cases[i].in);
        if (cases[i].attribute) onnx_bytes_attr_int(m, cases[i].attribute, cases[i].value);
        onnx_bytes_floats(m, "more", 1, (int64_t[]){1}, (float[]){1});
        graph g;
        if (cases[i].says) {
            refused(m, cases[i].says);
            continue;
        }
        onnx_bytes_finish(m);
        GOOD(onnx_read_graph(&g, m->file.bytes, m->file.count, "made"));
        graph_free(&g);
    }
    onnx_bytes *m = one(13, 4, (int64_t[]){1, 2, 4, 4}, "Dropout", "x"); /* an input since opset 12 */
    onnx_bytes_attr_float(m, "ratio", 0.1f);
    refused(m, "attribute ratio is not supported");
    m = one(19, 4, (int64_t[]){1, 2, 4, 4}, "AveragePool", "x");
    onnx_bytes_attr_ints(m, "kernel_shape", 2, (int64_t[]){2, 2});
    onnx_bytes_attr_ints(m, "dilations", 2, (int64_t[]){2, 1});
    refused(m, "dilations 2 1, expected 1");
    m = one(19, 4, (int64_t[]){1, 2, 9, 9}, "MaxPool", "x"); /* 3 windows of 1, 3 apart: from pixel 0 or from 1 */
    onnx_bytes_attr_ints(m, "kernel_shape", 2, (int64_t[]){3, 1});
    onnx_bytes_attr_ints(m, "strides", 2, (int64_t[]){3, 3});
    onnx_bytes_attr_text(m, "auto_pad", "SAME_UPPER");
    refused(m, "auto_pad with a stride of 3 and windows of 1: say pads");
}

static void test_quantise(void **state)
{
    static const struct { const char *attribute, *says; int64_t value; bool zero; } cases[] = {
        {"output_dtype", NULL, 3, false},
        {"saturate", NULL, 1, true},
        {"precision", NULL, 1, true},
        {"block_size", NULL, 0, true},
        {"block_size", "block_size = 2: scales of blocks are not supported", 2, true},
        {"output_dtype", "output_dtype = 5, expected int8 (3)", 5, false},
        {"precision", "precision = 10, expected f32 (1)", 10, true},
        {"saturate", "without a zero point it makes uint8", 1, false},
    };
    static const int64_t dim[] = {1, 6};
    double y[MOST], expected[6];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        onnx_bytes *m = begin(23, 2, dim, "y");
        onnx_bytes_node(m, "QuantizeLinear", cases[i].zero ? "x scale zero" : "x scale", "q");
        onnx_bytes_attr_int(m, cases[i].attribute, cases[i].value);
        onnx_bytes_node(m, "DequantizeLinear", cases[i].zero ? "q scale zero" : "q scale", "y");
        onnx_bytes_attr_int(m, "output_dtype", 1);
        onnx_bytes_attr_int(m, "block_size", 0);
        onnx_bytes_floats(m, "scale", 0, NULL, &(float){0.5f});
        onnx_bytes_tensor(m, "zero", 3, 0, NULL, &(int8_t){0}, 1);
        if (cases[i].says) {
            refused(m, cases[i].says);
            continue;
        }
        onnx_bytes_finish(m);
        for (int64_t k = 0; k < 6; k++) expected[k] = nearbyint((double)value(k) / 0.5) * 0.5;
        assert_values(y, run(*state, m, 2, dim, false, y), expected, 6);
    }
}

/* A file for four images, whose reshape names them, is a model for one. */
static void test_batch(void **state)
{
    static const int64_t dim[] = {4, 3, 2, 2}, to[] = {4, 12};
    model net;
    onnx_report report;
    onnx_bytes *m = begin(18, 4, dim, "y");
    (void)state;
    onnx_bytes_ints(m, "shape", 2, to);
    onnx_bytes_node(m, "Reshape", "x shape", "y");
    onnx_bytes_attr_int(m, "allowzero", 1);
    onnx_bytes_finish(m);
    onnx_options o = {.preprocess = {.std = {1, 1, 1}}};
    GOOD(onnx_import_bytes(&net, m->file.bytes, m->file.count, "made", &o, &report));
    assert_true(shape_equal(net.graph.edges[net.graph.inputs[0]].shape, shape_4(1, 2, 2, 3)));
    assert_true(shape_equal(net.graph.edges[net.graph.outputs[0]].shape, shape_2(1, 12)));
    onnx_report_free(&report);
    model_free(&net);
}

/* Height and width that the file leaves open are the caller's, in either order of dimensions. */
static void test_open_size(void **state)
{
    (void)state;
    for (int nhwc = 0; nhwc < 2; nhwc++) {
        static onnx_bytes m;
        model net;
        onnx_report report;
        memset(&m, 0, sizeof m);
        m.opset = 18;
        onnx_bytes_port(&m, true, "x", 4, nhwc ? (int64_t[]){0, 0, 0, 3} : (int64_t[]){0, 3, 0, 0}); /* 0: open */
        onnx_bytes_ints(&m, "axes", 2, nhwc ? (int64_t[]){1, 2} : (int64_t[]){2, 3});
        onnx_bytes_node(&m, "ReduceMean", "x axes", "y");
        onnx_bytes_attr_int(&m, "keepdims", 0);
        onnx_bytes_port(&m, false, "y", 0, NULL);
        onnx_bytes_finish(&m);
        onnx_options o = {.preprocess = {.height = 20, .width = 24, .std = {1, 1, 1}}};
        GOOD(onnx_import_bytes(&net, m.file.bytes, m.file.count, "made", &o, &report));
        assert_true(shape_equal(net.graph.edges[net.graph.inputs[0]].shape, shape_4(1, 20, 24, 3)));
        assert_int_equal(net.preprocess.height, 20);
        onnx_report_free(&report);
        model_free(&net);
    }
}

/* What PyTorch leaves in a file that nobody has folded: a bias of zeros, as long as the weight says. */
static void test_unfolded(void **state)
{
    static const int64_t dim[] = {1, 3, 2, 2};
    float weight[6 * 3], zero = 0.25f;
    double y[MOST], expected[24];
    for (int i = 0; i < 18; i++) weight[i] = value(i * 13);
    onnx_bytes *m = begin(20, 4, dim, "y");
    onnx_bytes_floats(m, "w", 4, (int64_t[]){6, 3, 1, 1}, weight);
    onnx_bytes_tensor(m, "zero", 11, 0, NULL, &(double){0.25}, 8);
    onnx_bytes_node(m, "Shape", "w", "length");
    onnx_bytes_attr_int(m, "end", 1);
    onnx_bytes_node(m, "CastLike", "zero x", "like");
    onnx_bytes_node(m, "Expand", "like length", "bias");
    onnx_bytes_node(m, "Conv", "x w bias", "conv");
    onnx_bytes_node(m, "CastLike", "conv x", "y");
    onnx_bytes_finish(m);
    for (int64_t i = 0; i < 24; i++) {
        expected[i] = (double)zero;
        for (int64_t c = 0; c < 3; c++) expected[i] += (double)weight[i / 4 * 3 + c] * (double)value(c * 4 + i % 4);
    }
    assert_values(y, run(*state, m, 4, dim, true, y), expected, 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_newest),
        cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_reductions_refused),
        cmocka_unit_test(test_nhwc_network),
        cmocka_unit_test(test_pad_axes),
        cmocka_unit_test(test_resize),
        cmocka_unit_test(test_resize_refused),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_swish),
        cmocka_unit_test(test_refused_by_name),
        cmocka_unit_test(test_quantise),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_open_size),
        cmocka_unit_test(test_unfolded),
    };
    return cmocka_run_group_tests_name("onnx opsets", tests, setup, teardown);
}
