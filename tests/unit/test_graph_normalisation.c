/* Normalisation inside convolutions: the same results as the separate nodes but for rounding, on reference kernels,
 * which can do both; where a kernel cannot, or somebody else reads the tensor, nothing changes. */
#include <math.h>

#include "core/ops/internal.h"
#include "graph_fixture.h"

enum { BATCH = 4, SIDE = 9, CLASSES = 4 };

/* conv, bn, relu, conv 3x3, bn, relu, conv 1x1, sum with what the first made, pool, linear, loss; products of `type` or
 * `compute`. */
static void build_in(fixture *f, graph *narrow, bool training, dtype type, conv2d_compute compute)
{
    graph fused = {0}, lowered = {0};
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
    GOOD(pass_lower(&lowered, &fused, training));
    GOOD(pass_precision(narrow, &lowered, type, compute));
    if (training) GOOD(graph_backward(narrow, narrow->outputs, 1, NULL, 0, NULL));
    graph_free(&fused);
    graph_free(&lowered);
}

static void build(fixture *f, graph *lowered, bool training)
{
    build_in(f, lowered, training, DTYPE_F32, COMPUTE_F32);
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
    GOOD(pass_fuse_transforms(dst, &between, b, INFINITY, saved));
    GOOD(graph_check(dst));
    graph_free(&between);
}

/* Output 0 as doubles, then all gradients and running statistics if there are any. */
static double *run_on(device *dev, bool reference, const graph *g, int64_t *count)
{
    plan *p;
    param_store *store;
    GOOD(param_store_create(&store, g, dev, true));
    GOOD(plan_create(&p, g, dev, &(plan_options){.reference = reference, .store = store}));
    for (int32_t i = 0; i < g->input_count; i++) machine_input(p, g->inputs[i], 0, 1);
    GOOD(plan_run(p));
    int64_t outputs = shape_count(g->edges[g->outputs[0]].shape), weights = param_store_count(store), states;
    float *state = param_store_state(store, &states), *host = malloc((size_t)(weights + states + 1) * sizeof *host);
    assert_non_null(host);
    GOOD(device_download(dev, host, param_store_gradients(store), (size_t)weights * sizeof *host));
    GOOD(device_download(dev, host + weights, state, (size_t)states * sizeof *host));
    double *values = machine_read(p, g->outputs[0]);
    *count = outputs + weights + states;
    values = realloc(values, (size_t)*count * sizeof *values);
    assert_non_null(values);
    for (int64_t i = 0; i < weights + states; i++) values[outputs + i] = (double)host[i];
    free(host);
    plan_destroy(p);
    param_store_destroy(store);
    return values;
}

static double *run(const graph *g, int64_t *count)
{
    machine m;
    machine_init(&m);
    double *values = run_on(m.dev, true, g, count);
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

static int64_t activation_bytes(const graph *g)
{
    machine m;
    plan_memory use;
    machine_init(&m);
    GOOD(plan_measure(g, m.dev, &(plan_options){.reference = true}, &use));
    machine_free(&m);
    return use.activation_sum_bytes;
}

/* In training nothing of it is stored either: the weight gradient transforms what it reads, and the activation's slope
 * is found again. */
static void nor_is_it_in_training(void **state)
{
    (void)state;
    fixture f;
    graph plain = {0}, fused = {0};
    fused_traffic saved = {0};
    build(&f, &plain, true);
    GOOD(pass_fuse_transforms(&fused, &plain, BACKEND_REF, INFINITY, &saved));
    GOOD(graph_check(&fused));
    assert_int_equal(count_op(&plain, &op_bn_apply), 2);
    assert_int_equal(count_op(&fused, &op_bn_apply), 1); /* the first is added to something */
    assert_int_equal(saved.transforms, 1);
    int64_t bytes = BATCH * SIDE * SIDE * 8 * 4;
    assert_int_equal(saved.bytes, 4 * bytes); /* written; read to be normalised, summed over and differentiated */
    assert_int_equal(activation_bytes(&plain) - activation_bytes(&fused), bytes);
    const node *dweight = &fused.nodes[graph_find_node(&fused, "conv3/dweight")];
    assert_int_equal(dweight->in_count, 3);
    assert_int_equal(((const conv2d_grad_attr *)dweight->attr)->conv.transform.act, ACT_RELU6);
    for (node_id n = 0; n < fused.node_count; n++) {
        const node *item = &fused.nodes[n];
        if (strncmp(item->name, "act2/", 5) != 0 && strncmp(item->name, "bn2/", 4) != 0) continue;
        if (item->op == &op_bn_grad_stats) assert_true(item->in[2] == EDGE_NONE && item->in[3] != EDGE_NONE);
        if (item->op == &op_bn_grad_apply) assert_true(item->in[3] == EDGE_NONE && item->in[4] != EDGE_NONE);
    }
    assert_close(&fused, &plain);
    graph_free(&f.g), graph_free(&plain), graph_free(&fused);
}

/* conv3 multiplies each element 8 times: as often as it has output channels. */
static void only_where_memory_takes_the_time(void **state)
{
    (void)state;
    static const struct { double most; int transforms; } cases[] = {{0, 0}, {7.5, 0}, {8, 1}};
    for (int i = 0; i < 3; i++) {
        fixture f;
        graph plain = {0}, fused = {0};
        fused_traffic saved = {0};
        build_in(&f, &plain, true, DTYPE_F32, COMPUTE_TF32);
        GOOD(pass_fuse_transforms(&fused, &plain, BACKEND_REF, cases[i].most, &saved));
        assert_int_equal(saved.transforms, cases[i].transforms);
        graph_free(&f.g), graph_free(&plain), graph_free(&fused);
    }
}

/* A GPU's kernels round what they transform as it would have been stored, and add in the same order: the same bits. */
static void a_gpu_gives_the_same_bits(void **state)
{
    (void)state;
    static const struct { dtype type; conv2d_compute compute; } cases[] = {
        {DTYPE_F32, COMPUTE_F32}, {DTYPE_F32, COMPUTE_TF32}, {DTYPE_BF16, COMPUTE_F32}, {DTYPE_F16, COMPUTE_F32}};
    device *dev;
    if (device_open(&dev, SPEC_DEVICE_CUDA, 0, 1, NULL) != OK) skip();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        graph plain = {0}, fused = {0};
        fused_traffic saved = {0};
        build_in(&f, &plain, true, cases[i].type, cases[i].compute);
        GOOD(pass_fuse_transforms(&fused, &plain, BACKEND_CUDA, INFINITY, &saved));
        assert_int_equal(saved.transforms, 1);
        int64_t count, other;
        double *x = run_on(dev, false, &plain, &count), *y = run_on(dev, false, &fused, &other), norm = 0;
        assert_int_equal(count, other);
        for (int64_t k = 0; k < count; k++) norm += x[k] * x[k];
        assert_true(norm > 0.01);
        for (int64_t k = 0; k < count; k++) /* parameters are ordered anew by passes, values are not */
            if (x[k] != y[k])
                fail_msg(
                    "case %zu, value %lld of %lld: %g, expected %g", i, (long long)k, (long long)count, y[k], x[k]);
        free(x), free(y);
        graph_free(&f.g), graph_free(&plain), graph_free(&fused);
    }
    device_close(dev);
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
        cmocka_unit_test(nor_is_it_in_training),
        cmocka_unit_test(only_where_memory_takes_the_time),
        cmocka_unit_test(a_gpu_gives_the_same_bits),
        cmocka_unit_test(a_slower_kernel_is_no_gain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
