/* pass_precision: errors of a smooth network's loss and gradients in f16, bf16 and tf32 are those that the types'
 * roundings explain. The yardstick is the same graph in f32, by reference kernels. (Kinks are left out: where the sign
 * of a ReLU's input flips, errors are not proportional to the rounding.) */
#include <math.h>

#include "graph_fixture.h"

enum { BATCH = 8, SIDE = 9, CLASSES = 4 };

/* conv, batch-norm, swish, conv, sum with a shortcut, average pool, mul by a parameter, linear, cross-entropy. */
static edge_id build(fixture *f)
{
    fixture_init(f, DTYPE_F32);
    edge_id x = graph_input(&f->g, "x", DTYPE_F32, shape_4(BATCH, SIDE, SIDE, 3)), y;
    edge_id targets = graph_input(&f->g, "targets", DTYPE_F32, shape_2(BATCH, CLASSES));
    x = fx_conv(f, x, "conv1", (fixture_conv){.oc = 8, .side = 3, .pad = 1});
    x = fx_batchnorm(f, x, "bn1", false);
    y = fx_act(f, x, "act1", ACT_SWISH, 0, 0);
    y = fx_conv(f, y, "conv2", (fixture_conv){.oc = 8, .side = 3, .pad = 1, .bias = true});
    x = fx_add(f, x, y, "sum");
    x = fx_one(f, &op_pool, "pool", &(pool_attr){.kind = POOL_AVERAGE, .global = true}, x);
    edge_id gain = fx_values(f, "gain", EDGE_PARAM, DTYPE_F32, shape_4(BATCH, 1, 1, 8), 0.5, 1.5);
    x = fx_two(f, &op_mul, "mul", &(binary_attr){0}, x, gain);
    x = fx_linear(f, x, "fc", CLASSES, true);
    return fx_two(f, &op_softmax_ce, "loss", &(loss_attr){.grad_scale = 1}, x, targets);
}

typedef struct result {
    double loss;
    float *gradients;
    int64_t count, nodes;
} result;

static result run(dtype type, conv2d_compute compute)
{
    fixture f;
    machine m;
    plan *p;
    param_store *store;
    result r;
    graph lowered = {0}, narrow = {0};
    edge_id loss = build(&f);
    GOOD(graph_output(&f.g, loss));
    GOOD(pass_lower(&lowered, &f.g, true));
    GOOD(pass_precision(&narrow, &lowered, type, compute));
    GOOD(graph_backward(&narrow, narrow.outputs, 1, NULL, 0, NULL));
    GOOD(graph_check(&narrow));
    machine_init(&m);
    GOOD(param_store_create(&store, &narrow, m.dev, true));
    GOOD(plan_create(&p, &narrow, m.dev, &(plan_options){.reference = true, .store = store}));
    machine_input(p, graph_find_edge(&narrow, "x"), -1, 1);
    float targets[BATCH * CLASSES] = {0};
    for (int i = 0; i < BATCH; i++) targets[i * CLASSES + i % CLASSES] = 1;
    GOOD(plan_set_input(p, graph_find_edge(&narrow, "targets"), targets, sizeof targets));
    GOOD(plan_run(p));
    GOOD(plan_get(p, narrow.outputs[0], &r.loss, sizeof r.loss));
    r.count = param_store_count(store);
    r.nodes = narrow.node_count;
    r.gradients = malloc((size_t)r.count * sizeof(float));
    assert_non_null(r.gradients);
    memcpy(r.gradients, param_store_gradients(store), (size_t)r.count * sizeof(float));
    plan_destroy(p);
    param_store_destroy(store);
    machine_free(&m);
    graph_free(&f.g);
    graph_free(&lowered);
    graph_free(&narrow);
    return r;
}

/* Error of the gradients relative to their norm. */
static double error_of(const result *r, const result *plain)
{
    double error = 0, norm = 0;
    assert_int_equal(r->count, plain->count);
    for (int64_t i = 0; i < r->count; i++) {
        double d = (double)r->gradients[i] - (double)plain->gradients[i];
        error += d * d;
        norm += (double)plain->gradients[i] * (double)plain->gradients[i];
    }
    return sqrt(error / norm);
}

/* n roundings of unit roundoff u on the way give a relative error of about sqrt(n) u if they are independent, and at
 * most n u to first order. And it must be proportional to u: 2^-8 for bf16, 2^-11 for f16 and tf32, whatever the
 * network makes of it; a factor of 2 is left to chance. */
static void errors_are_those_of_the_types(void **state)
{
    (void)state;
    result plain = run(DTYPE_F32, COMPUTE_F32), bf16 = run(DTYPE_BF16, COMPUTE_F32), f16 = run(DTYPE_F16, COMPUTE_F32);
    result tf32 = run(DTYPE_F32, COMPUTE_TF32);
    double n = (double)bf16.nodes, e_bf16 = error_of(&bf16, &plain), e_f16 = error_of(&f16, &plain),
           e_tf32 = error_of(&tf32, &plain);
    assert_true(e_bf16 < n * 0x1p-8 && e_f16 < n * 0x1p-11 && e_tf32 < n * 0x1p-11);
    assert_true(e_bf16 / e_f16 > 4 && e_bf16 / e_f16 < 16);
    assert_true(e_tf32 > 0x1p-14 && e_tf32 < 2 * e_f16); /* products alone are rounded */
    assert_true(fabs(bf16.loss - plain.loss) < n * 0x1p-8 * plain.loss);
    assert_true(fabs(f16.loss - plain.loss) < n * 0x1p-11 * plain.loss);
    free(plain.gradients), free(bf16.gradients), free(f16.gradients), free(tf32.gradients);
}

static void f32_is_left_alone(void **state)
{
    (void)state;
    fixture f;
    graph lowered = {0}, same = {0};
    edge_id loss = build(&f);
    GOOD(graph_output(&f.g, loss));
    GOOD(pass_lower(&lowered, &f.g, true));
    GOOD(pass_precision(&same, &lowered, DTYPE_F32, COMPUTE_F32));
    assert_int_equal(same.node_count, lowered.node_count);
    for (node_id n = 0; n < same.node_count; n++) assert_ptr_equal(same.nodes[n].op, lowered.nodes[n].op);
    graph wrong = {0};
    assert_int_equal(pass_precision(&wrong, &lowered, DTYPE_I8, COMPUTE_F32), E_INTERNAL);
    graph_free(&f.g);
    graph_free(&lowered);
    graph_free(&same);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_are_those_of_the_types),
        cmocka_unit_test(f32_is_left_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
