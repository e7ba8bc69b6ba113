/* Gradients of whole graphs, in double with reference kernels, against central differences of the loss. Nothing of the backward pass
 * is in the expected values: the forward graph alone gives them.
 *
 * Tolerance. D(h) = (L(x + h) - L(x - h)) / 2h errs by c h^2 + O(h^4), so |D(2h) - D(h)| is about three times the error of D(h); the
 * loss, a sum of a few thousand products, is good to about 1e-13 of its size, which divided by h adds ROUNDING. A value near a kink
 * (relu, max) has a large |D(2h) - D(h)| and tests nothing: at most 1 in 50 may be so.
 */
#include <math.h>

#include "tests/unit/graph_fixture.h"

static const double H = 1e-5, ROUNDING = 1e-13, LOOSE = 1e-5;

typedef struct check {
    machine *m;
    graph forward, backward;
    edge_id loss;
    plan *p; /* of forward */
    int64_t values, loose;
} check;

static void set_inputs(plan *p)
{
    const graph *g = plan_graph(p);
    for (int32_t i = 0; i < g->input_count; i++) {
        const edge *e = &g->edges[g->inputs[i]];
        if (e->type == DTYPE_I64) machine_input(p, g->inputs[i], 0, 1000);
        else machine_input(p, g->inputs[i], e->type == DTYPE_F32 ? 0 : -1, 1);
    }
}

static double loss_at(check *c, double *x, double value)
{
    double loss, before = *x;
    *x = value;
    GOOD(plan_run(c->p));
    GOOD(plan_get(c->p, c->loss, &loss, sizeof loss));
    *x = before;
    return loss;
}

/* Every value of edge e of the forward graph against gradient[]. */
static void compare_edge(check *c, edge_id e, const double *gradient)
{
    const edge *item = &c->forward.edges[e];
    double *x = plan_edge_data(c->p, e), base = fabs(loss_at(c, x, *x)) + 1.0;
    for (int64_t i = 0; i < shape_count(item->shape); i++) {
        double near = (loss_at(c, x + i, x[i] + H) - loss_at(c, x + i, x[i] - H)) / (2 * H);
        double far = (loss_at(c, x + i, x[i] + 2 * H) - loss_at(c, x + i, x[i] - 2 * H)) / (4 * H);
        double tolerance = fabs(near - far) + base * ROUNDING / H;
        c->values++;
        c->loose += tolerance > LOOSE * (1 + fabs(near));
        if (!(fabs(near - gradient[i]) <= tolerance))
            fail_msg("%s[%lld]: gradient %.12g, difference %.12g, tolerance %.3g", item->name, (long long)i, gradient[i], near, tolerance);
    }
}

/* Lowers f's graph, differentiates a copy by all parameters and float inputs, compares. f is freed. */
static void check_gradients(fixture *f, bool training, edge_id model_loss)
{
    machine m;
    machine_init(&m);
    check c = {.m = &m};
    GOOD(graph_output(&f->g, model_loss));
    GOOD(pass_lower(&c.forward, &f->g, training));
    GOOD(graph_check(&c.forward));
    c.loss = c.forward.outputs[0];
    GOOD(graph_copy(&c.backward, &c.forward));
    edge_id wants[GRAPH_MAX_INPUTS], dwant[GRAPH_MAX_INPUTS];
    int32_t count = 0;
    for (int32_t i = 0; i < c.forward.input_count; i++)
        if (c.forward.edges[c.forward.inputs[i]].type == DTYPE_F64) wants[count++] = c.forward.inputs[i];
    GOOD(graph_backward(&c.backward, &c.loss, 1, wants, count, dwant));
    GOOD(graph_check(&c.backward));
    plan *q = machine_plan(&m, &c.backward);
    c.p = machine_plan(&m, &c.forward);
    set_inputs(c.p);
    set_inputs(q);
    GOOD(plan_run(q));
    for (int32_t i = 0; i < count; i++) {
        double *g = machine_read(q, dwant[i]);
        compare_edge(&c, wants[i], g);
        free(g);
    }
    int32_t params = 0;
    for (edge_id e = 0; e < c.forward.edge_count; e++) {
        const edge *p = &c.backward.edges[e];
        if (p->kind != EDGE_PARAM) continue;
        assert_int_equal(p->grad == EDGE_NONE, p->frozen);
        if (p->frozen) continue;
        double *g = machine_read(q, p->grad);
        compare_edge(&c, e, g);
        free(g);
        params++;
    }
    assert_true(params > 0);
    assert_true(c.loose * 50 <= c.values);
    plan_destroy(q);
    plan_destroy(c.p);
    graph_free(&c.forward);
    graph_free(&c.backward);
    graph_free(&f->g);
    machine_free(&m);
}

static edge_id cross_entropy(fixture *f, edge_id logits, const char *name, float smoothing, bool weighted)
{
    shape s = f->g.edges[logits].shape;
    char text[96];
    snprintf(text, sizeof text, "%s.targets", name);
    edge_id targets = graph_input(&f->g, text, DTYPE_F32, s), weight = EDGE_NONE;
    snprintf(text, sizeof text, "%s.class_weight", name);
    if (weighted) weight = fx_values(f, text, EDGE_CONST, DTYPE_F32, shape_1(s.dim[1]), 0.5, 2.0);
    loss_attr a = {.smoothing = smoothing, .grad_scale = 1.0f};
    return fx_node(f, &op_softmax_ce, name, &a, 3, (edge_id[]){logits, targets, weight});
}

static edge_id sigmoid_bce(fixture *f, edge_id logits, const char *name)
{
    char text[96];
    snprintf(text, sizeof text, "%s.targets", name);
    edge_id targets = graph_input(&f->g, text, DTYPE_F32, f->g.edges[logits].shape);
    return fx_two(f, &op_sigmoid_bce, name, &(loss_attr){.grad_scale = 1.0f}, logits, targets);
}

/* A residual block with downsampling, max pool with overhang, dropout, linear behind flatten. */
static void build_residual(fixture *f, bool frozen)
{
    edge_id x = graph_input(&f->g, "x", f->type, shape_4(2, 8, 7, 3));
    x = fx_conv(f, x, "stem", (fixture_conv){.oc = 4, .side = 3, .stride = 2, .pad = 1});
    x = fx_batchnorm(f, x, "stem_bn", frozen);
    x = fx_act(f, x, "stem_relu", ACT_RELU, 0, 0);
    edge_id y = fx_conv(f, x, "down", (fixture_conv){.oc = 6, .side = 1});
    y = fx_batchnorm(f, y, "down_bn", false);
    x = fx_conv(f, x, "main", (fixture_conv){.oc = 6, .side = 3, .pad = 1, .bias = true});
    x = fx_batchnorm(f, x, "main_bn", frozen);
    x = fx_add(f, x, y, "sum");
    x = fx_act(f, x, "leaky", ACT_LEAKY, 0.1f, 0);
    x = fx_one(f, &op_pool, "pool", &(pool_attr){.kind = POOL_MAX, .kernel = {2, 3}, .stride = {2, 2}, .pad = {0, 1, 0, 1}, .ceil_mode = true}, x);
    edge_id keys = graph_input(&f->g, "sample_keys", DTYPE_I64, shape_1(2));
    x = fx_two(f, &op_dropout, "drop", &(dropout_attr){.probability = 0.3f, .seed = 5}, x, keys);
    x = fx_linear(f, x, "fc", 5, true);
    GOOD(graph_output(&f->g, cross_entropy(f, x, "ce", 0.1f, true)));
}

static edge_id take_output(fixture *f)
{
    return f->g.outputs[--f->g.output_count];
}

static void residual_training(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F64);
    build_residual(&f, false);
    check_gradients(&f, true, take_output(&f));
}

static void residual_frozen_statistics(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F64);
    build_residual(&f, true);
    check_gradients(&f, true, take_output(&f));
}

static void residual_evaluation_with_trained_gamma(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F64);
    build_residual(&f, false);
    check_gradients(&f, false, take_output(&f));
}

static void residual_fused(void **state)
{
    (void)state;
    fixture f, fused;
    fixture_init(&f, DTYPE_F64);
    build_residual(&f, false);
    fused = f;
    GOOD(pass_fuse_training(&fused.g, &f.g));
    assert_int_equal(fused.g.node_count, f.g.node_count - 3); /* stem_relu, sum, leaky */
    graph_free(&f.g);
    check_gradients(&fused, true, take_output(&fused));
}

/* Weights frozen one by one: a bias alone, gamma alone, an addend alone. */
static void partly_frozen(void **state)
{
    (void)state;
    const char *frozen[] = {"main.weight", "fc.weight", "down_bn.bias", "stem.weight", "stem_bn.weight", "stem_bn.bias"};
    fixture f, fused;
    fixture_init(&f, DTYPE_F64);
    build_residual(&f, false);
    fused = f;
    GOOD(pass_fuse_training(&fused.g, &f.g));
    graph_free(&f.g);
    for (size_t i = 0; i < sizeof frozen / sizeof *frozen; i++) fused.g.edges[graph_find_edge(&fused.g, frozen[i])].frozen = true;
    check_gradients(&fused, true, take_output(&fused));
}

/* Grouped, dilated and depthwise convolutions, every smooth activation, squeeze and excitation, data movement. */
static void movement_and_gates(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "x", f.type, shape_4(2, 6, 5, 4));
    edge_id a = fx_conv(&f, x, "grouped", (fixture_conv){.oc = 6, .side = 3, .pad = 2, .dilation = 2, .groups = 2, .bias = true});
    a = fx_act(&f, a, "swish", ACT_SWISH, 0, 0);
    edge_id b = fx_conv(&f, a, "depthwise", (fixture_conv){.oc = 6, .side = 3, .pad = 1, .groups = 6});
    b = fx_act(&f, b, "clip", ACT_CLIP, -0.4f, 0.6f);
    edge_id c = fx_node(&f, &op_concat, "cat", &(concat_attr){0}, 3, (edge_id[]){a, b, x});
    edge_id gate = fx_one(&f, &op_pool, "squeeze", &(pool_attr){.kind = POOL_AVERAGE, .global = true}, c);
    gate = fx_conv(&f, gate, "excite", (fixture_conv){.oc = 16, .side = 1, .bias = true});
    gate = fx_act(&f, gate, "sigmoid", ACT_SIGMOID, 0, 0);
    c = fx_two(&f, &op_mul, "scale", &(binary_attr){0}, c, gate);
    c = fx_one(&f, &op_slice, "slice", &(slice_attr){.begin = {0, 1, 0, 2}, .size = {0, 2, 0, 5}, .step = {1, 3, 2, 2}}, c);
    c = fx_one(&f, &op_resize, "nearest", &(resize_attr){.factor = 2}, c);
    c = fx_one(&f, &op_resize, "bilinear", &(resize_attr){.height = 3, .width = 7, .bilinear = true}, c);
    c = fx_one(&f, &op_pad, "pad", &(pad_attr){.before = {0, 1, -1, 0}, .after = {0, 0, 2, 0}, .value = 0.5f}, c);
    c = fx_one(&f, &op_transpose, "turn", &(transpose_attr){{0, 2, 3, 1}}, c);
    c = fx_one(&f, &op_pool, "average", &(pool_attr){.kind = POOL_AVERAGE, .kernel = {3, 2}, .stride = {2, 2}, .pad = {1, 1, 1, 0},
        .ceil_mode = true, .count_include_pad = true}, c);
    c = fx_one(&f, &op_pool, "adaptive", &(pool_attr){.kind = POOL_AVERAGE, .adaptive = {2, 2}}, c);
    c = fx_one(&f, &op_resize, "corners", &(resize_attr){.height = 3, .width = 3, .bilinear = true, .align_corners = true}, c);
    c = fx_one(&f, &op_reshape, "rows", &(reshape_attr){.rank = 2, .dim = {-1, shape_count(f.g.edges[c].shape) / 2}}, c);
    c = fx_linear(&f, c, "fc", 3, true);
    check_gradients(&f, true, sigmoid_bce(&f, c, "bce"));
}

/* A weight that two layers read, a parameter as a factor, x + x, two losses, softmax in the middle, fused activations. */
static void shared_parameters_and_two_losses(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "x", f.type, shape_4(2, 4, 4, 3));
    conv2d_attr conv = {.stride = {1, 1}, .pad = {1, 0, 1, 2}, .dilation = {1, 1}, .groups = 1, .act = ACT_RELU6};
    edge_id w = fx_values(&f, "shared.weight", EDGE_PARAM, f.type, shape_4(3, 3, 3, 3), -0.5, 0.5);
    edge_id a = fx_two(&f, &op_conv2d, "first", &conv, x, w);
    conv.act = ACT_NONE;
    edge_id b = fx_node(&f, &op_conv2d, "second", &conv, 4, (edge_id[]){a, w, EDGE_NONE, a});
    b = fx_two(&f, &op_add, "double", &(binary_attr){.act = ACT_LEAKY, .alpha = 0.2f}, b, b);
    edge_id factor = fx_values(&f, "factor", EDGE_PARAM, f.type, f.g.edges[b].shape, 0.5, 1.5);
    b = fx_two(&f, &op_mul, "product", &(binary_attr){0}, b, factor);
    b = fx_two(&f, &op_mul, "square", &(binary_attr){0}, b, factor);
    b = fx_one(&f, &op_cast, "cast", &(cast_attr){DTYPE_F64}, b);
    b = fx_one(&f, &op_softmax, "softmax", NULL, b);
    b = fx_one(&f, &op_flatten, "flat", NULL, b);
    edge_id logits = fx_linear(&f, b, "fc", 4, false), other = fx_linear(&f, b, "aux", 3, true);
    edge_id ce = cross_entropy(&f, logits, "ce", 0.0f, false), aux = cross_entropy(&f, other, "ce_aux", 0.2f, false);
    check_gradients(&f, true, fx_add(&f, ce, aux, "total"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(residual_training),
        cmocka_unit_test(residual_frozen_statistics),
        cmocka_unit_test(residual_evaluation_with_trained_gamma),
        cmocka_unit_test(residual_fused),
        cmocka_unit_test(partly_frozen),
        cmocka_unit_test(movement_and_gates),
        cmocka_unit_test(shared_parameters_and_two_losses),
    };
    return cmocka_run_group_tests_name("gradients of whole graphs", tests, NULL, NULL);
}
