/* Passes: what they leave, and that the network computes what it computed before. */
#include <math.h>

#include "tests/unit/graph_fixture.h"

static void set_inputs(plan *p)
{
    const graph *g = plan_graph(p);
    for (int32_t i = 0; i < g->input_count; i++) machine_input(p, g->inputs[i], -1, 1);
}

/* Runs both with reference kernels. f64: the outputs agree to `terms` roundings of 2^-53 of the largest output. */
static void assert_same_outputs(const graph *a, const graph *b, double terms)
{
    machine m;
    machine_init(&m);
    plan *p = machine_plan(&m, a), *q = machine_plan(&m, b);
    set_inputs(p);
    set_inputs(q);
    GOOD(plan_run(p));
    GOOD(plan_run(q));
    assert_int_equal(a->output_count, b->output_count);
    for (int32_t k = 0; k < a->output_count; k++) {
        double *x = machine_read(p, a->outputs[k]), *y = machine_read(q, b->outputs[k]), largest = 0;
        int64_t count = shape_count(a->edges[a->outputs[k]].shape);
        assert_true(shape_equal(a->edges[a->outputs[k]].shape, b->edges[b->outputs[k]].shape));
        for (int64_t i = 0; i < count; i++) largest = fmax(largest, fabs(x[i]));
        assert_true(largest > 1e-3);
        for (int64_t i = 0; i < count; i++)
            if (!(fabs(x[i] - y[i]) <= terms * ldexp(largest, -53)))
                fail_msg("output %d[%lld]: %.17g and %.17g", k, (long long)i, x[i], y[i]);
        free(x);
        free(y);
    }
    plan_destroy(p);
    plan_destroy(q);
    machine_free(&m);
}

static int32_t count_op(const graph *g, const char *name)
{
    int32_t count = 0;
    for (node_id n = 0; n < g->node_count; n++) count += strcmp(g->nodes[n].op->name, name) == 0;
    return count;
}

/* Residual unit with a downsampled branch, dropout, and a layer behind flatten: every pattern the passes know. */
static void build(fixture *f)
{
    fixture_init(f, DTYPE_F64);
    edge_id x = graph_input(&f->g, "image", f->type, shape_4(2, 6, 6, 3));
    x = fx_conv(f, x, "stem", (fixture_conv){.oc = 4, .side = 3, .pad = 1});
    x = fx_batchnorm(f, x, "stem_bn", false);
    x = fx_act(f, x, "stem_relu", ACT_RELU, 0, 0);
    edge_id side = fx_conv(f, x, "down", (fixture_conv){.oc = 6, .side = 1, .stride = 2});
    side = fx_batchnorm(f, side, "down_bn", false);
    edge_id y = fx_conv(f, x, "main", (fixture_conv){.oc = 6, .side = 3, .stride = 2, .pad = 1, .bias = true});
    y = fx_batchnorm(f, y, "main_bn", false);
    x = fx_add(f, side, y, "sum");
    x = fx_act(f, x, "relu", ACT_RELU6, 0, 0);
    edge_id z = fx_conv(f, x, "gate", (fixture_conv){.oc = 6, .side = 1, .bias = true});
    z = fx_act(f, z, "swish", ACT_SWISH, 0, 0);
    x = fx_add(f, z, x, "sum2");
    edge_id keys = graph_input(&f->g, "sample_keys", DTYPE_I64, shape_1(2));
    x = fx_two(f, &op_dropout, "drop", &(dropout_attr){.probability = 0.5f}, x, keys);
    x = fx_one(f, &op_flatten, "flat", NULL, x);
    x = fx_linear(f, x, "hidden", 8, false);
    x = fx_batchnorm(f, x, "hidden_bn", false);
    x = fx_act(f, x, "hidden_act", ACT_LEAKY, 0.1f, 0);
    x = fx_linear(f, x, "fc", 5, true);
    GOOD(graph_output(&f->g, x));
}

static void inference_drops_dropout_and_its_input(void **state)
{
    (void)state;
    fixture f;
    graph g;
    build(&f);
    GOOD(pass_inference(&g, &f.g));
    GOOD(graph_check(&g));
    assert_int_equal(count_op(&g, "dropout"), 0);
    assert_int_equal(g.node_count, f.g.node_count - 1);
    assert_int_equal(g.input_count, 1);
    assert_string_equal(g.edges[g.inputs[0]].name, "image");
    assert_int_equal(graph_find_edge(&g, "sample_keys"), EDGE_NONE);
    graph_free(&g);
    graph_free(&f.g);
}

/* The add is fused into the later of its two batch-norms. Fusing changes no arithmetic: equal bits. */
static void fusing_for_training_changes_no_bit(void **state)
{
    (void)state;
    for (int training = 0; training < 2; training++) {
        fixture f;
        graph fused, a, b;
        build(&f);
        GOOD(pass_fuse_training(&fused, &f.g));
        GOOD(graph_check(&fused));
        assert_int_equal(fused.node_count, f.g.node_count - 4); /* stem_relu; sum, relu; hidden_act */
        const node *bn = &fused.nodes[graph_find_node(&fused, "main_bn")];
        assert_string_equal(fused.edges[bn->in[5]].name, "down_bn");
        assert_int_equal(((const batchnorm_attr *)bn->attr)->act, ACT_RELU6);
        GOOD(pass_lower(&a, &f.g, training));
        GOOD(pass_lower(&b, &fused, training));
        assert_int_equal(count_op(&b, training ? "bn_finalise" : "bn_coef"), 4);
        assert_same_outputs(&a, &b, 0);
        graph_free(&a);
        graph_free(&b);
        graph_free(&fused);
        graph_free(&f.g);
    }
}

/* Folding rounds each weight and bias to double once more: a sum of up to 54 products, then three layers more. */
static void deployment_computes_the_same(void **state)
{
    (void)state;
    fixture f;
    graph evaluation, reference, folded, lowered, fused, constant, clean;
    build(&f);
    GOOD(pass_inference(&evaluation, &f.g));
    GOOD(pass_lower(&reference, &evaluation, false));
    GOOD(pass_fold_batchnorm(&folded, &evaluation));
    GOOD(graph_check(&folded));
    assert_int_equal(count_op(&folded, "batchnorm"), 0);
    assert_int_not_equal(graph_find_edge(&folded, "stem.weight"), EDGE_NONE);
    assert_int_not_equal(graph_find_edge(&folded, "stem.bias"), EDGE_NONE);
    assert_int_equal(graph_find_edge(&folded, "stem_bn.weight"), EDGE_NONE);
    assert_int_equal(folded.edges[graph_find_edge(&folded, "stem.weight")].layout, LAYOUT_OIHW);
    GOOD(pass_lower(&lowered, &folded, false));
    GOOD(pass_fuse_epilogues(&fused, &lowered));
    GOOD(pass_fold_constants(&constant, &fused));
    GOOD(pass_remove_dead(&clean, &constant));
    GOOD(graph_check(&clean));
    assert_int_equal(count_op(&clean, "activation"), 0);
    assert_int_equal(count_op(&clean, "add"), 1); /* swish stands between gate and sum2 */
    assert_int_equal(clean.node_count, 8);        /* stem down main gate sum2 flat hidden fc */
    assert_same_outputs(&reference, &clean, 4 * 54);
    assert_true(graph_macs(&clean) == graph_macs(&f.g));
    graph *all[] = {&f.g, &evaluation, &reference, &folded, &lowered, &fused, &constant, &clean};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) graph_free(all[i]);
}

/* Where folding or fusing would be wrong, nothing happens. */
static void what_others_read_stays(void **state)
{
    (void)state;
    fixture f;
    graph folded, fused;
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "image", f.type, shape_4(1, 4, 4, 3));
    edge_id c = fx_conv(&f, x, "c", (fixture_conv){.oc = 3, .side = 1});
    edge_id n = fx_batchnorm(&f, c, "n", false); /* c is read twice */
    edge_id s = fx_add(&f, n, c, "s");
    edge_id d = fx_conv(&f, s, "d", (fixture_conv){.oc = 3, .side = 1});
    edge_id r = fx_act(&f, d, "r", ACT_RELU, 0, 0); /* d is an output */
    edge_id e = fx_conv(&f, r, "e", (fixture_conv){.oc = 3, .side = 1});
    edge_id twice = fx_add(&f, e, e, "twice"); /* e + e */
    GOOD(graph_output(&f.g, twice));
    GOOD(graph_output(&f.g, d));
    GOOD(pass_fold_batchnorm(&folded, &f.g));
    assert_int_equal(count_op(&folded, "batchnorm"), 1);
    GOOD(pass_fuse_epilogues(&fused, &folded));
    assert_int_equal(fused.node_count, f.g.node_count);
    graph_free(&fused);
    graph_free(&folded);
    graph_free(&f.g);
}

/* What no layer takes in becomes a layer of its own: a product and a sum per value more than 27 products. */
static void lonely_batchnorm_becomes_a_layer(void **state)
{
    (void)state;
    fixture f;
    graph evaluation, folded, replaced;
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "image", f.type, shape_4(2, 4, 5, 3));
    edge_id c = fx_conv(&f, x, "c", (fixture_conv){.oc = 3, .side = 3});
    edge_id n = fx_batchnorm(&f, c, "n", false); /* c is read twice */
    GOOD(graph_output(&f.g, fx_add(&f, fx_act(&f, n, "r", ACT_RELU, 0, 0), c, "s")));
    GOOD(pass_lower(&evaluation, &f.g, false));
    GOOD(pass_fold_batchnorm(&folded, &f.g));
    GOOD(pass_replace_batchnorm(&replaced, &folded));
    assert_int_equal(count_op(&folded, "batchnorm"), 1);
    assert_int_equal(count_op(&replaced, "batchnorm"), 0);
    assert_int_equal(count_op(&replaced, "conv2d"), 2);
    assert_same_outputs(&evaluation, &replaced, 4 * 30);
    graph *all[] = {&f.g, &evaluation, &folded, &replaced};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) graph_free(all[i]);
}

/* Two layers with one weight and different batch-norms cannot share the folded one. */
static void shared_weight_folds_into_two(void **state)
{
    (void)state;
    fixture f;
    graph folded, a, b;
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "image", f.type, shape_4(1, 4, 4, 3));
    edge_id w = fx_values(&f, "w", EDGE_PARAM, f.type, shape_4(3, 3, 3, 3), -0.5, 0.5);
    conv2d_attr conv = {.stride = {1, 1}, .pad = {1, 1, 1, 1}, .dilation = {1, 1}, .groups = 1};
    edge_id y = fx_batchnorm(&f, fx_two(&f, &op_conv2d, "one", &conv, x, w), "bn1", false);
    y = fx_batchnorm(&f, fx_two(&f, &op_conv2d, "two", &conv, y, w), "bn2", false);
    GOOD(graph_output(&f.g, y));
    GOOD(pass_fold_batchnorm(&folded, &f.g));
    GOOD(graph_check(&folded));
    assert_int_equal(folded.node_count, 2);
    GOOD(pass_lower(&a, &f.g, false));
    GOOD(pass_lower(&b, &folded, false));
    assert_same_outputs(&a, &b, 4 * 27);
    graph *all[] = {&f.g, &folded, &a, &b};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) graph_free(all[i]);
}

/* A batch-norm that nothing absorbs: its coefficients become constants, gamma and the statistics are gone. */
static void constants_are_computed_once(void **state)
{
    (void)state;
    fixture f;
    graph lowered, constant;
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "image", f.type, shape_4(1, 4, 4, 3));
    x = fx_batchnorm(&f, x, "n", false);
    edge_id k = fx_values(&f, "k", EDGE_CONST, f.type, shape_4(1, 2, 2, 3), -1, 1);
    k = fx_one(&f, &op_reshape, "k_row", &(reshape_attr){.rank = 4, .dim = {1, 1, 4, 3}}, k);
    k = fx_one(&f, &op_resize, "k_map", &(resize_attr){.height = 4, .width = 4}, k);
    x = fx_add(&f, x, k, "sum");
    GOOD(graph_output(&f.g, x));
    GOOD(graph_output(&f.g, k));
    GOOD(pass_lower(&lowered, &f.g, false));
    GOOD(pass_fold_constants(&constant, &lowered));
    GOOD(graph_check(&constant));
    assert_int_equal(constant.node_count, 2); /* bn_apply, sum */
    assert_int_equal(graph_find_edge(&constant, "n.weight"), EDGE_NONE);
    assert_int_equal(graph_find_edge(&constant, "k"), EDGE_NONE);
    assert_int_equal(constant.edges[constant.outputs[1]].kind, EDGE_CONST);
    assert_same_outputs(&lowered, &constant, 0);
    graph *all[] = {&f.g, &lowered, &constant};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) graph_free(all[i]);
}

static void dead_nodes_go_live_ones_stay(void **state)
{
    (void)state;
    fixture f;
    graph lowered, clean;
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "image", f.type, shape_4(2, 4, 4, 3)), index;
    edge_id dead = fx_conv(&f, x, "dead", (fixture_conv){.oc = 3, .side = 1});
    fx_act(&f, dead, "dead_too", ACT_RELU, 0, 0);
    fx_batchnorm(&f, x, "unread", false);
    x = fx_one(&f, &op_pool, "pool", &(pool_attr){.kind = POOL_MAX, .kernel = {2, 2}, .stride = {2, 2}}, x);
    GOOD(graph_want_output(&f.g, f.g.edges[x].producer, 1, &index));
    GOOD(graph_output(&f.g, x));
    GOOD(pass_lower(&lowered, &f.g, true));
    GOOD(pass_remove_dead(&clean, &lowered));
    GOOD(graph_check(&clean));
    assert_int_equal(graph_find_node(&clean, "dead"), NODE_NONE);
    assert_int_equal(graph_find_node(&clean, "dead_too"), NODE_NONE);
    assert_int_equal(graph_find_node(&clean, "unread"), NODE_NONE);
    assert_int_not_equal(graph_find_node(&clean, "unread/finalise"), NODE_NONE); /* updates running statistics */
    assert_int_equal(clean.node_count, 3);
    assert_int_equal(clean.nodes[graph_find_node(&clean, "pool")].out[1], EDGE_NONE);
    graph *all[] = {&f.g, &lowered, &clean};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) graph_free(all[i]);
}

/* r = 0.9 r + 0.1 batch, variance unbiased: PyTorch's rule, computed here from the input. */
static void training_updates_running_statistics(void **state)
{
    (void)state;
    fixture f;
    graph lowered;
    machine m;
    machine_init(&m);
    fixture_init(&f, DTYPE_F64);
    edge_id x = graph_input(&f.g, "image", f.type, shape_4(2, 3, 3, 2));
    GOOD(graph_output(&f.g, fx_batchnorm(&f, x, "n", false)));
    GOOD(pass_lower(&lowered, &f.g, true));
    plan *p = machine_plan(&m, &lowered);
    set_inputs(p);
    GOOD(plan_run(p));
    edge_id mean_edge = graph_find_edge(&lowered, "n.running_mean"),
            var_edge = graph_find_edge(&lowered, "n.running_var");
    double *input = machine_read(p, lowered.inputs[0]), *mean_after = machine_read(p, mean_edge),
           *var_after = machine_read(p, var_edge);
    for (int64_t c = 0; c < 2; c++) {
        double mean = 0, squares = 0;
        for (int64_t i = 0; i < 18; i++) mean += input[i * 2 + c] / 18;
        for (int64_t i = 0; i < 18; i++) squares += (input[i * 2 + c] - mean) * (input[i * 2 + c] - mean);
        double momentum = (double)0.1f, before = dtype_load(lowered.edges[mean_edge].data, DTYPE_F64, c);
        assert_true(fabs(mean_after[c] - ((1 - momentum) * before + momentum * mean)) < 1e-14);
        before = dtype_load(lowered.edges[var_edge].data, DTYPE_F64, c);
        assert_true(fabs(var_after[c] - ((1 - momentum) * before + momentum * squares / 17)) < 1e-14);
    }
    free(input);
    free(mean_after);
    free(var_after);
    plan_destroy(p);
    graph_free(&lowered);
    graph_free(&f.g);
    machine_free(&m);
}

/* Nothing behind the loss is computed for frozen layers, and the front of the network costs nothing. */
static void frozen_front_costs_nothing(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F32);
    edge_id x = graph_input(&f.g, "image", f.type, shape_4(2, 4, 4, 3));
    x = fx_conv(&f, x, "front", (fixture_conv){.oc = 4, .side = 3, .pad = 1, .bias = true});
    x = fx_act(&f, x, "relu", ACT_RELU, 0, 0);
    x = fx_linear(&f, x, "fc", 3, true);
    edge_id targets = graph_input(&f.g, "targets", DTYPE_F32, shape_2(2, 3));
    edge_id loss = fx_two(&f, &op_softmax_ce, "ce", &(loss_attr){.grad_scale = 1}, x, targets);
    f.g.edges[graph_find_edge(&f.g, "front.weight")].frozen = true;
    f.g.edges[graph_find_edge(&f.g, "front.bias")].frozen = true;
    int64_t before = f.g.node_count;
    GOOD(graph_backward(&f.g, &loss, 1, NULL, 0, NULL));
    GOOD(graph_check(&f.g));
    assert_int_equal(f.g.node_count, before + 1); /* fc/dweight, which gives dbias too */
    assert_string_equal(f.g.nodes[before].name, "fc/dweight");
    assert_int_equal(f.g.edges[graph_find_edge(&f.g, "front.weight")].grad, EDGE_NONE);
    assert_int_not_equal(f.g.edges[graph_find_edge(&f.g, "fc.bias")].grad, EDGE_NONE);
    graph_free(&f.g);
}

/* batchnorm has no kernel of its own, quantise no gradient: said, not crashed. */
static void gradients_that_do_not_exist(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F32);
    edge_id x = graph_input(&f.g, "image", f.type, shape_2(4, 3));
    x = fx_batchnorm(&f, x, "n", false);
    edge_id targets = graph_input(&f.g, "targets", DTYPE_F32, shape_2(4, 3));
    edge_id loss = fx_two(&f, &op_softmax_ce, "ce", &(loss_attr){.grad_scale = 1}, x, targets);
    assert_int_equal(graph_backward(&f.g, &loss, 1, NULL, 0, NULL), E_INTERNAL);
    assert_non_null(strstr(status_message(), "lower the graph first"));
    assert_int_equal(graph_backward(&f.g, &x, 1, NULL, 0, NULL), E_INTERNAL);
    assert_non_null(strstr(status_message(), "no scalar"));
    graph_free(&f.g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inference_drops_dropout_and_its_input),
        cmocka_unit_test(fusing_for_training_changes_no_bit),
        cmocka_unit_test(deployment_computes_the_same),
        cmocka_unit_test(what_others_read_stays),
        cmocka_unit_test(lonely_batchnorm_becomes_a_layer),
        cmocka_unit_test(shared_weight_folds_into_two),
        cmocka_unit_test(constants_are_computed_once),
        cmocka_unit_test(dead_nodes_go_live_ones_stay),
        cmocka_unit_test(training_updates_running_statistics),
        cmocka_unit_test(frozen_front_costs_nothing),
        cmocka_unit_test(gradients_that_do_not_exist),
    };
    return cmocka_run_group_tests_name("graph passes", tests, NULL, NULL);
}
