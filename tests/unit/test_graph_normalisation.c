/* Normalisation inside convolutions: the same results as the separate nodes but for rounding, on reference kernels, which can do both;
 * where a kernel cannot, or somebody else reads the tensor, nothing changes. */
#include <math.h>

#include "core/ops/internal.h"
#include "graph_fixture.h"

enum { BATCH = 4, SIDE = 9, CLASSES = 4 };

/* conv, bn, relu, conv 3x3, bn, relu, conv 1x1, sum with what the first made, pool, linear, loss. */
static void build(fixture *f, graph *lowered, bool training)
{
    graph fused = {0};
    fixture_init(f, DTYPE_F32);
    edge_id x = graph_input(&f->g, "x", DTYPE_F32, shape_4(BATCH, SIDE, SIDE, 3)), first;
    edge_id targets = training ? graph_input(&f->g, "targets", DTYPE_F32, shape_2(BATCH, CLASSES)) : EDGE_NONE;
    x = fx_conv(f, x, "conv1", (fixture_conv){.oc = 8, .side = 3, .pad = 1});
    first = x = fx_act(f, fx_batchnorm(f, x, "bn1", false), "act1", ACT_RELU, 0, 0);
    x = fx_conv(f, x, "conv2", (fixture_conv){.oc = 8, .side = 3, .pad = 1});
    x = fx_act(f, fx_batchnorm(f, x, "bn2", false), "act2", ACT_RELU6, 0, 0);
    x = fx_conv(f, x, "conv3", (fixture_conv){.oc = 8, .side = 1, .bias = true});
    x = fx_add(f, x, first, "sum");
    x = fx_one(f, &op_pool, "pool", &(pool_attr){.kind = POOL_AVERAGE, .global = true}, x);
    x = fx_linear(f, x, "fc", CLASSES, true);
    if (training) x = fx_two(f, &op_softmax_ce, "loss", &(loss_attr){.grad_scale = 1}, x, targets);
    GOOD(graph_output(&f->g, x));
    GOOD(pass_fuse_training(&fused, &f->g));
    GOOD(pass_lower(lowered, &fused, training));
    if (training) GOOD(graph_backward(lowered, lowered->outputs, 1, NULL, 0, NULL));
    graph_free(&fused);
}

static int64_t count_op(const graph *g, const op *o)
{
    int64_t count = 0;
    for (node_id n = 0; n < g->node_count; n++) count += g->nodes[n].op == o;
    return count;
}

static void fuse(graph *dst, const graph *src, backend b, fused_traffic *saved)
{
    graph between = {0};
    *saved = (fused_traffic){0};
    GOOD(pass_fuse_statistics(&between, src, b, saved));
    GOOD(pass_fuse_transforms(dst, &between, b, saved));
    GOOD(graph_check(dst));
    graph_free(&between);
}

/* Output 0 as doubles, then all gradients and running statistics if there are any. */
static double *run(const graph *g, int64_t *count)
{
    machine m;
    plan *p;
    param_store *store;
    machine_init(&m);
    GOOD(param_store_create(&store, g, m.dev, true));
    GOOD(plan_create(&p, g, m.dev, &(plan_options){.reference = true, .store = store}));
    for (int32_t i = 0; i < g->input_count; i++) machine_input(p, g->inputs[i], 0, 1);
    GOOD(plan_run(p));
    int64_t outputs = shape_count(g->edges[g->outputs[0]].shape), weights = param_store_count(store), states;
    const float *gradients = param_store_gradients(store), *state = param_store_state(store, &states);
    double *values = machine_read(p, g->outputs[0]);
    *count = outputs + weights + states;
    values = realloc(values, (size_t)*count * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < weights; i++) values[outputs + i] = (double)gradients[i];
    for (int64_t i = 0; i < states; i++) values[outputs + weights + i] = (double)state[i];
    plan_destroy(p);
    param_store_destroy(store);
    machine_free(&m);
    return values;
}

/* To first order n roundings of 2^-24, relative to the norm; the reference sums in double. */
static void assert_close(const graph *a, const graph *b)
{
    int64_t count_a, count_b;
    double *x = run(a, &count_a), *y = run(b, &count_b), error = 0, norm = 0;
    assert_int_equal(count_a, count_b);
    for (int64_t i = 0; i < count_a; i++) {
        error += (x[i] - y[i]) * (x[i] - y[i]);
        norm += y[i] * y[i];
    }
    assert_true(norm > 0.01);
    assert_true(sqrt(error / norm) < (double)b->node_count * 0x1p-24);
    free(x), free(y);
}

static void statistics_come_with_the_convolution(void **state)
{
    (void)state;
    fixture f;
    graph plain = {0}, fused = {0};
    fused_traffic saved;
    build(&f, &plain, true);
    fuse(&fused, &plain, BACKEND_REF, &saved);
    assert_int_equal(count_op(&plain, &op_bn_stats), 2);
    assert_int_equal(count_op(&fused, &op_bn_stats), 0);
    assert_int_equal(saved.statistics, 2);
    assert_int_equal(saved.transforms, 0); /* gradients read what is normalised */
    assert_int_equal(saved.bytes, 2 * BATCH * SIDE * SIDE * 8 * 4);
    assert_close(&fused, &plain);
    graph_free(&f.g), graph_free(&plain), graph_free(&fused);
}

static void the_second_normalisation_is_not_stored(void **state)
{
    (void)state;
    fixture f;
    graph plain = {0}, fused = {0};
    fused_traffic saved;
    build(&f, &plain, false);
    fuse(&fused, &plain, BACKEND_REF, &saved);
    assert_int_equal(count_op(&plain, &op_bn_apply), 2);
    assert_int_equal(count_op(&fused, &op_bn_apply), 1); /* the first is read twice */
    assert_int_equal(saved.statistics, 0);
    assert_int_equal(saved.transforms, 1);
    assert_int_equal(saved.bytes, 2 * BATCH * SIDE * SIDE * 8 * 4);
    const node *conv = &fused.nodes[graph_find_node(&fused, "conv3")];
    assert_int_equal(conv->in_count, 6);
    assert_int_equal(((const conv2d_attr *)conv->attr)->transform.act, ACT_RELU6);
    assert_close(&fused, &plain);
    graph_free(&f.g), graph_free(&plain), graph_free(&fused);
}

/* The CPU's fast convolutions do neither, and nobody wants the reference instead. */
static void a_slower_kernel_is_no_gain(void **state)
{
    (void)state;
    for (int training = 0; training < 2; training++) {
        fixture f;
        graph plain = {0}, fused = {0};
        fused_traffic saved;
        build(&f, &plain, training);
        fuse(&fused, &plain, BACKEND_CPU, &saved);
        assert_int_equal(saved.bytes, 0);
        assert_int_equal(fused.node_count, plain.node_count);
        for (node_id n = 0; n < plain.node_count; n++) {
            assert_ptr_equal(fused.nodes[n].op, plain.nodes[n].op);
            assert_string_equal(fused.nodes[n].name, plain.nodes[n].name);
        }
        graph_free(&f.g), graph_free(&plain), graph_free(&fused);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(statistics_come_with_the_convolution),
        cmocka_unit_test(the_second_normalisation_is_not_stored),
        cmocka_unit_test(a_slower_kernel_is_no_gain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
