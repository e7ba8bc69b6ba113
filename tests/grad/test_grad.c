/* Gradients of whole graphs, in double with reference kernels, against central differences of the loss. Nothing of the
 * backward pass is in the expected values: the forward graph alone gives them.
 *
 * Tolerance. D(h) = (L(x + h) - L(x - h)) / 2h errs by c h^2 + O(h^4), so |D(2h) - D(h)| is about three times the error
 * of D(h); the loss, a sum of a few thousand products, is good to about 1e-13 of its size, which divided by h adds
 * ROUNDING. A value near a kink (relu, max) has a large |D(2h) - D(h)| and tests nothing: at most 1 in 50 may be so.
 */
#include <math.h>

#include "core/ops/terms.h"
#include "tests/unit/graph_fixture.h"

static const double H = 1e-5, ROUNDING = 1e-13, LOOSE = 1e-5;

typedef struct check {
    machine *m;
    graph forward, backward;
    edge_id loss;
    plan *p; /* of forward */
    int64_t values, loose;
} check;

/* Labels of a detector on 64 x 64 pixels: classes 0 .. 2, one ignored box, then the end of the list. */
static void set_labels(plan *p, edge_id e)
{
    const edge *x = &plan_graph(p)->edges[e];
    static const float box[4][4] = {{3, 5, 20, 18}, {30, 28, 62, 60}, {10, 40, 26, 58}, {36, 2, 60, 24}};
    static const int32_t kind[4] = {2, 0, 1, BOX_CLASS_IGNORE};
    float boxes[2][5][4] = {{{0}}};
    int32_t box_class[2][5];
    for (int32_t i = 0; i < 10; i++) {
        box_class[i / 5][i % 5] = i % 5 < 4 ? kind[i % 5] : BOX_CLASS_NONE;
        for (int32_t k = 0; k < 4 && i % 5 < 4; k++) boxes[i / 5][i % 5][k] = box[i % 5][k] + (float)(i / 5);
    }
    const void *host = x->type == DTYPE_I32 ? (const void *)box_class : boxes;
    GOOD(plan_set_input(p, e, host, edge_bytes(plan_graph(p), e)));
}

static void set_inputs(plan *p)
{
    const graph *g = plan_graph(p);
    for (int32_t i = 0; i < g->input_count; i++) {
        const edge *e = &g->edges[g->inputs[i]];
        if (strncmp(e->name, "box", 3) == 0) set_labels(p, g->inputs[i]);
        else if (e->type == DTYPE_I64) machine_input(p, g->inputs[i], 0, 1000);
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
            fail_msg("%s[%lld]: gradient %.12g, difference %.12g, tolerance %.3g", item->name, (long long)i,
                gradient[i], near, tolerance);
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
    x = fx_one(f, &op_pool, "pool",
        &(pool_attr){.kind = POOL_MAX, .kernel = {2, 3}, .stride = {2, 2}, .pad = {0, 1, 0, 1}, .ceil_mode = true}, x);
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
    const char *frozen[] = {
        "main.weight", "fc.weight", "down_bn.bias", "stem.weight", "stem_bn.weight", "stem_bn.bias"};
    fixture f, fused;
    fixture_init(&f, DTYPE_F64);
    build_residual(&f, false);
    fused = f;
    GOOD(pass_fuse_training(&fused.g, &f.g));
    graph_free(&f.g);
    for (size_t i = 0; i < sizeof frozen / sizeof *frozen; i++)
        fused.g.edges[graph_find_edge(&fused.g, frozen[i])].frozen = true;
    check_gradients(&fused, true, take_output(&fused));
}

/* Grouped, dilated and depthwise convolutions, every smooth activation, squeeze and excitation, data movement. */
static void movement_and_gates(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "x", f.type, shape_4(2, 6, 5, 4));
    edge_id a = fx_conv(
        &f, x, "grouped", (fixture_conv){.oc = 6, .side = 3, .pad = 2, .dilation = 2, .groups = 2, .bias = true});
    a = fx_act(&f, a, "swish", ACT_SWISH, 0, 0);
    edge_id b = fx_conv(&f, a, "depthwise", (fixture_conv){.oc = 6, .side = 3, .pad = 1, .groups = 6});
    b = fx_act(&f, b, "clip", ACT_CLIP, -0.4f, 0.6f);
    edge_id c = fx_node(&f, &op_concat, "cat", &(concat_attr){0}, 3, (edge_id[]){a, b, x});
    edge_id gate = fx_one(&f, &op_pool, "squeeze", &(pool_attr){.kind = POOL_AVERAGE, .global = true}, c);
    gate = fx_conv(&f, gate, "excite", (fixture_conv){.oc = 16, .side = 1, .bias = true});
    gate = fx_act(&f, gate, "sigmoid", ACT_SIGMOID, 0, 0);
    c = fx_two(&f, &op_mul, "scale", &(binary_attr){0}, c, gate);
    c = fx_one(
        &f, &op_slice, "slice", &(slice_attr){.begin = {0, 1, 0, 2}, .size = {0, 2, 0, 5}, .step = {1, 3, 2, 2}}, c);
    c = fx_one(&f, &op_resize, "nearest", &(resize_attr){.factor = 2}, c);
    c = fx_one(&f, &op_resize, "bilinear", &(resize_attr){.height = 3, .width = 7, .bilinear = true}, c);
    c = fx_one(&f, &op_pad, "pad", &(pad_attr){.before = {0, 1, -1, 0}, .after = {0, 0, 2, 0}, .value = 0.5f}, c);
    c = fx_one(&f, &op_transpose, "turn", &(transpose_attr){{0, 2, 3, 1}}, c);
    c = fx_one(&f, &op_pool, "average",
        &(pool_attr){.kind = POOL_AVERAGE,
            .kernel = {3, 2},
            .stride = {2, 2},
            .pad = {1, 1, 1, 0},
            .ceil_mode = true,
            .count_include_pad = true},
        c);
    c = fx_one(&f, &op_pool, "adaptive", &(pool_attr){.kind = POOL_AVERAGE, .adaptive = {2, 2}}, c);
    c = fx_one(
        &f, &op_resize, "corners", &(resize_attr){.height = 3, .width = 3, .bilinear = true, .align_corners = true}, c);
    c = fx_one(
        &f, &op_reshape, "rows", &(reshape_attr){.rank = 2, .dim = {-1, shape_count(f.g.edges[c].shape) / 2}}, c);
    c = fx_linear(&f, c, "fc", 3, true);
    check_gradients(&f, true, sigmoid_bce(&f, c, "bce"));
}

/* A weight that two layers read, a parameter as a factor, x + x, two losses, softmax in
 * the middle, fused activations. */
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

/* The loss that the end of a detector brings along, through both of its predictions. */
static const prior_head_attr priors_head = {.classes = 3,
    .capacity = 10,
    .label_capacity = 5,
    .top_k = 20,
    .threshold = 0.1f,
    .iou = 0.5f,
    .variance = {0.1f, 0.1f, 0.2f, 0.2f},
    .width = 64,
    .height = 64,
    .positive = 0.5f,
    .negative = 0.4f,
    .location_weight = 0.5f};

static void check_detector(const op *o, const void *head, int32_t channels)
{
    static const char *const tags[] = {"loss", "loss_box", "loss_class", "positives"};
    fixture f;
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "x", f.type, shape_4(2, 4, 4, 3));
    edge_id location = fx_conv(&f, x, "location", (fixture_conv){.oc = 8, .side = 3, .pad = 1, .bias = true});
    edge_id confidence =
        fx_conv(&f, x, "confidence", (fixture_conv){.oc = 2 * channels, .side = 3, .pad = 1, .bias = true});
    const reshape_attr rows = {.rank = 3, .dim = {-1, 32, 4}};
    const reshape_attr scores = {.rank = 3, .dim = {-1, 32, channels}};
    location = fx_one(&f, &op_reshape, "locations", &rows, location);
    confidence = fx_one(&f, &op_reshape, "confidences", &scores, confidence);
    edge_id priors = fx_values(&f, "priors", EDGE_CONST, DTYPE_F32, shape_2(32, 4), 0, 1);
    for (int32_t i = 0; i < 32 * 4; i++) {
        int32_t p = i / 4, cell = i % 2 ? p / 8 : p / 2 % 4, half = p % 2 ? 8 : 14;
        ((float *)f.g.edges[priors].data)[i] = (float)(16 * cell + 8 + (i % 4 < 2 ? -half : half));
    }
    edge_id found = fx_node(&f, o, "head", head, 3, (edge_id[]){location, confidence, priors}),
            heads[GRAPH_MAX_OUTPUTS];
    GOOD(graph_output(&f.g, found));
    assert_int_equal(graph_heads(&f.g, heads), 2);
    assert_true(heads[0] == location && heads[1] == confidence);
    loss_terms terms = {0};
    GOOD(o->add_loss(&f.g, &f.g.nodes[f.g.edges[found].producer], 1, EDGE_NONE, &terms));
    assert_int_equal(terms.count, 4);
    for (int32_t i = 0; i < 4; i++) {
        assert_string_equal(terms.item[i].tag, tags[i]);
        assert_int_equal(terms.item[i].trained, i == 0);
    }
    take_output(&f);
    check_gradients(&f, true, terms.item[0].edge);
}

static void ssd(void **state)
{
    (void)state;
    check_detector(&op_ssd_head, &(ssd_head_attr){.head = priors_head, .neg_pos_ratio = 1.5f}, 4);
}

static void retinanet(void **state)
{
    (void)state;
    retinanet_head_attr a = {.head = priors_head, .alpha = 0.25f, .gamma = 2, .beta = 0.5f};
    check_detector(&op_retinanet_head, &a, 3);
    a.gamma = 1.5f;
    a.per_image = true;
    check_detector(&op_retinanet_head, &a, 3);
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
        cmocka_unit_test(ssd),
        cmocka_unit_test(retinanet),
    };
    return cmocka_run_group_tests_name("gradients of whole graphs", tests, NULL, NULL);
}
