/* Weights that 16-bit products read: all cast in one go when they have changed, to the bits that a cast of each would
 * give. On the CPU by reference kernels; on a GPU by its own, those of every tensor's own cast included. */
#include <math.h>

#include "core/ops/internal.h"
#include "graph_fixture.h"

enum { BATCH = 2, SIDE = 6, CLASSES = 3 };

/* Odd sizes, a bias and batch-norm between the weights, a frozen convolution in front. */
static void build(graph *narrow, dtype type)
{
    fixture f;
    graph lowered = {0};
    fixture_init(&f, DTYPE_F32);
    edge_id x = graph_input(&f.g, "x", DTYPE_F32, shape_4(BATCH, SIDE, SIDE, 3));
    edge_id targets = graph_input(&f.g, "targets", DTYPE_F32, shape_2(BATCH, CLASSES));
    x = fx_conv(&f, x, "conv1", (fixture_conv){.oc = 5, .side = 3, .pad = 1, .bias = true});
    x = fx_act(&f, fx_batchnorm(&f, x, "bn1", false), "act1", ACT_RELU, 0, 0);
    x = fx_conv(&f, x, "conv2", (fixture_conv){.oc = 7, .side = 3, .pad = 1});
    x = fx_act(&f, fx_batchnorm(&f, x, "bn2", false), "act2", ACT_RELU, 0, 0);
    x = fx_conv(&f, x, "conv3", (fixture_conv){.oc = 8, .side = 1});
    x = fx_one(&f, &op_pool, "pool", &(pool_attr){.kind = POOL_AVERAGE, .global = true}, x);
    x = fx_linear(&f, x, "fc", CLASSES, true);
    x = fx_two(&f, &op_softmax_ce, "loss", &(loss_attr){.grad_scale = 1}, x, targets);
    f.g.edges[graph_find_edge(&f.g, "conv1.weight")].frozen = true;
    GOOD(graph_output(&f.g, x));
    GOOD(pass_lower(&lowered, &f.g, true));
    GOOD(pass_precision(narrow, &lowered, type, COMPUTE_F32));
    GOOD(graph_backward(narrow, narrow->outputs, 1, NULL, 0, NULL));
    graph_free(&lowered);
    graph_free(&f.g);
}

static bool is_weight_cast(const graph *g, const node *n)
{
    return n->op == &op_cast && g->edges[n->in[0]].kind == EDGE_PARAM;
}

/* What the kernel of a cast of this tensor alone makes of it. */
static void cast_alone(device *dev, bool reference, const float *from, int64_t count, dtype type, void *to)
{
    const kernel *k;
    buffer src, dst;
    const cast_desc d = {.count = count, .src_type = DTYPE_F32, .dst_type = type};
    GOOD(kernel_select(&k, OP_CAST, reference ? BACKEND_REF : dev->api->kernels, &d, NULL, NULL));
    GOOD(buffer_init(&src, dev, (size_t)count * 4, "src"));
    GOOD(buffer_init(&dst, dev, (size_t)count * 2, "dst"));
    GOOD(device_upload(dev, src.data, from, (size_t)count * 4));
    GOOD(k->run(&(kernel_call){.desc = &d, .in = {src.data}, .out = {dst.data}, .stream = dev->stream}));
    GOOD(device_download(dev, to, dst.data, (size_t)count * 2));
    buffer_free(&src);
    buffer_free(&dst);
}

/* Every cast weight against its own cast. Number of them. */
static int compare(plan *p, const graph *g, device *dev, bool reference, dtype type)
{
    int found = 0;
    for (node_id n = 0; n < g->node_count; n++) {
        if (!is_weight_cast(g, &g->nodes[n])) continue;
        int64_t count = shape_count(g->edges[g->nodes[n].in[0]].shape);
        float *from = malloc((size_t)count * 4);
        void *to = malloc((size_t)count * 2), *expected = malloc((size_t)count * 2);
        assert_true(from && to && expected);
        GOOD(plan_get(p, g->nodes[n].in[0], from, (size_t)count * 4));
        GOOD(plan_get(p, g->nodes[n].out[0], to, (size_t)count * 2));
        cast_alone(dev, reference, from, count, type, expected);
        assert_memory_equal(to, expected, (size_t)count * 2);
        free(from), free(to), free(expected);
        found++;
    }
    return found;
}

static void all_at_once(spec_device kind, bool reference)
{
    for (int i = 0; i < 2; i++) {
        dtype type = i ? DTYPE_F16 : DTYPE_BF16;
        graph g = {0};
        device *dev;
        plan *p;
        param_store *store;
        const char *const *names;
        build(&g, type);
        if (device_open(&dev, kind, 0, 1, NULL) != OK) {
            graph_free(&g);
            skip();
        }
        GOOD(param_store_create(&store, &g, dev, true));
        GOOD(plan_create(
            &p, &g, dev, &(plan_options){.reference = reference, .store = store, .keep_activations = true}));
        for (int32_t k = 0; k < g.input_count; k++) machine_input(p, g.inputs[k], 0, 1);
        for (int run = 0; run < 3; run++) GOOD(plan_run(p)); /* the third one is replayed where steps are */
        assert_int_equal(compare(p, &g, dev, reference, type), 3);

        /* No step of its own: casts that are left are of activations, one of x and one before the loss, and back. */
        int64_t casts = 0, activations = 0;
        int64_t steps = plan_variants(p, &names);
        for (int64_t s = 0; s < steps; s++) casts += strncmp(names[s], "cast_", 5) == 0;
        for (node_id n = 0; n < g.node_count; n++)
            activations += g.nodes[n].op == &op_cast && !is_weight_cast(&g, &g.nodes[n]);
        assert_int_equal(casts, activations);
        assert_true(activations >= 2);

        /* Other weights, from all over the type's range. */
        int64_t count = param_store_count(store);
        float *weights = malloc((size_t)count * sizeof *weights);
        assert_non_null(weights);
        rng r = rng_make(3, RNG_TEST, 0);
        for (int64_t k = 0; k < count; k++)
            weights[k] = ldexpf((float)rng_uniform_double(&r) - 0.5f, (int)rng_below(&r, 24) - 20);
        GOOD(device_upload(dev, param_store_weights(store), weights, (size_t)count * sizeof *weights));
        param_store_changed(store);
        GOOD(plan_run(p));
        assert_int_equal(compare(p, &g, dev, reference, type), 3);
        free(weights);
        plan_destroy(p);
        param_store_destroy(store);
        device_close(dev);
        graph_free(&g);
    }
}

static void on_the_cpu(void **state)
{
    (void)state;
    all_at_once(SPEC_DEVICE_CPU, true);
}

static void on_a_gpu(void **state)
{
    (void)state;
    all_at_once(SPEC_DEVICE_CUDA, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_the_cpu),
        cmocka_unit_test(on_a_gpu),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
