/* graph.h: building, refusing, resizing, copying, checking. */
#include <math.h>

#include "core/config/config.h"
#include "models/models.h"
#include "tests/unit/graph_fixture.h"

static void build_small(fixture *f)
{
    fixture_init(f, DTYPE_F32);
    edge_id x = graph_input(&f->g, "image", f->type, shape_4(1, 8, 8, 3));
    x = fx_conv(f, x, "conv", (fixture_conv){.oc = 4, .side = 3, .stride = 2, .pad = 1, .bias = true});
    x = fx_batchnorm(f, x, "bn", false);
    x = fx_one(f, &op_pool, "pool", &(pool_attr){.kind = POOL_AVERAGE, .global = true}, x);
    x = fx_one(f, &op_flatten, "flat", NULL, x);
    x = fx_linear(f, x, "fc", 5, true);
    GOOD(graph_output(&f->g, x));
}

static void shapes_follow_the_input(void **state)
{
    (void)state;
    fixture f;
    build_small(&f);
    graph *g = &f.g;
    GOOD(graph_check(g));
    assert_true(shape_equal(g->edges[g->outputs[0]].shape, shape_2(1, 5)));
    assert_int_equal(graph_macs(g), 4 * 4 * 4 * 27 + 4 * 5);
    GOOD(graph_resize(g, g->inputs[0], shape_4(16, 9, 7, 3)));
    GOOD(graph_check(g));
    assert_true(shape_equal(g->edges[graph_find_edge(g, "image")].shape, shape_4(16, 9, 7, 3)));
    assert_true(shape_equal(g->edges[g->nodes[graph_find_node(g, "conv")].out[0]].shape, shape_4(16, 5, 4, 4)));
    assert_true(shape_equal(g->edges[g->outputs[0]].shape, shape_2(16, 5)));
    assert_int_equal(
        graph_resize(g, g->inputs[0], shape_4(16, 9, 7, 4)), E_MODEL); /* another channel count: as before */
    assert_true(shape_equal(g->edges[g->inputs[0]].shape, shape_4(16, 9, 7, 3)));
    assert_true(shape_equal(g->edges[g->outputs[0]].shape, shape_2(16, 5)));
    assert_int_equal(graph_resize(g, g->inputs[0], shape_4(0, 9, 7, 3)), E_MODEL);
    assert_int_equal(graph_resize(g, g->outputs[0], shape_2(1, 5)), E_INTERNAL);
    GOOD(graph_check(g));
    graph_free(g);
}

static void counts_and_names(void **state)
{
    (void)state;
    fixture f;
    build_small(&f);
    graph *g = &f.g;
    assert_int_equal(graph_param_count(g), 4 * 27 + 4 + 4 + 4 + 5 * 4 + 5);
    assert_int_equal(graph_find_edge(g, "nowhere"), EDGE_NONE);
    assert_int_equal(graph_find_edge(g, "conv"), EDGE_NONE); /* an activation */
    assert_int_equal(g->edges[graph_find_edge(g, "bn.running_var")].kind, EDGE_STATE);
    assert_int_equal(graph_find_node(g, "nowhere"), NODE_NONE);
    assert_int_equal(graph_consumers(g, g->outputs[0]), 1);
    assert_int_equal(graph_consumers(g, g->inputs[0]), 1);
    edge_id sum = fx_add(&f, g->outputs[0], g->outputs[0], "twice");
    assert_int_equal(graph_consumers(g, g->outputs[0]), 2);
    assert_int_equal(graph_consumers(g, sum), 0);
    graph_free(g);
}

/* A refused node leaves nothing behind. */
static void refusing_restores(void **state)
{
    (void)state;
    fixture f;
    build_small(&f);
    graph *g = &f.g;
    int64_t nodes = g->node_count, edges = g->edge_count;
    edge_id x = g->inputs[0], out = 77;
    conv2d_attr a = {.stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
    edge_id w = graph_find_edge(g, "conv.weight");
    assert_int_equal(graph_add(g, &op_conv2d, "bad", &a, (edge_id[]){g->outputs[0], w}, 2, 0, &out), E_MODEL);
    assert_non_null(strstr(status_message(), "node 'bad' (conv2d)"));
    assert_int_equal(graph_add(g, &op_conv2d, "bad", &a, (edge_id[]){x}, 1, 0, &out), E_MODEL);
    assert_int_equal(graph_add(g, &op_conv2d, "bad", &a, (edge_id[]){x, EDGE_NONE}, 2, 0, &out), E_MODEL);
    assert_int_equal(graph_add(g, &op_conv2d, "bad", &a, (edge_id[]){x, 12345}, 2, 0, &out), E_MODEL);
    assert_int_equal(graph_add(g, &op_conv2d, "bad", &a, (edge_id[]){x, -5}, 2, 0, &out), E_MODEL);
    assert_int_equal(graph_add(g, &op_conv2d, "bad", NULL, (edge_id[]){x, w}, 2, 0, &out), E_INTERNAL);
    a.stride[1] = 0;
    assert_int_equal(graph_add(g, &op_conv2d, "bad", &a, (edge_id[]){x, w}, 2, 0, &out), E_MODEL);
    assert_non_null(strstr(status_message(), "stride = 0, expected 1 to"));
    assert_int_equal(g->node_count, nodes);
    assert_int_equal(g->edge_count, edges);
    assert_int_equal(out, 77);
    assert_int_equal(graph_edge(g, "huge", EDGE_PARAM, DTYPE_F32, shape_4(1 << 20, 1 << 20, 1 << 20, 4)), EDGE_NONE);
    assert_int_equal(graph_edge(g, "negative", EDGE_PARAM, DTYPE_F32, shape_1(-1)), EDGE_NONE);
    assert_int_equal(graph_edge(g, "rank", EDGE_PARAM, DTYPE_F32, (shape){.rank = 7}), EDGE_NONE);
    assert_int_equal(graph_edge(g, "type", EDGE_PARAM, DTYPE_COUNT, shape_1(1)), EDGE_NONE);
    assert_int_equal(graph_output(g, 12345), E_MODEL);
    GOOD(graph_check(g));
    graph_free(g);
}

static void too_many_ports(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F32);
    char name[16];
    for (int i = 0; i < GRAPH_MAX_INPUTS; i++) {
        snprintf(name, sizeof name, "in%d", i);
        assert_int_not_equal(graph_input(&f.g, name, DTYPE_F32, shape_1(1)), EDGE_NONE);
        GOOD(graph_output(&f.g, i));
    }
    assert_int_equal(graph_input(&f.g, "more", DTYPE_F32, shape_1(1)), EDGE_NONE);
    assert_int_equal(graph_output(&f.g, 0), E_MODEL);
    graph_free(&f.g);
}

static void copies_are_deep(void **state)
{
    (void)state;
    fixture f;
    graph copy;
    build_small(&f);
    edge_id w = graph_find_edge(&f.g, "conv.weight");
    float first = ((float *)f.g.edges[w].data)[0];
    GOOD(graph_copy(&copy, &f.g));
    ((float *)f.g.edges[w].data)[0] = 99.0f;
    ((conv2d_attr *)f.g.nodes[0].attr)->stride[0] = 5;
    GOOD(graph_check(&copy));
    assert_true(((float *)copy.edges[w].data)[0] == first);
    assert_int_equal(((conv2d_attr *)copy.nodes[0].attr)->stride[0], 2);
    graph_free(&f.g);
    assert_string_equal(copy.edges[w].name, "conv.weight");
    assert_string_equal(copy.nodes[0].name, "conv");
    graph_free(&copy);
    graph_free(&copy); /* a freed graph is empty */
}

/* Running statistics: an output that names an existing edge, of the right shape only. */
static void outputs_in_place(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F32);
    edge_id x = graph_input(&f.g, "x", DTYPE_F32, shape_2(4, 3));
    edge_id grad = graph_edge(&f.g, "g", EDGE_GRAD, DTYPE_F32, shape_2(4, 3));
    edge_id wrong = graph_edge(&f.g, "h", EDGE_GRAD, DTYPE_F32, shape_2(4, 2));
    binary_attr plain = {0};
    edge_id out[] = {grad};
    GOOD(graph_add_to(&f.g, &op_add, "sum", &plain, (edge_id[]){grad, x}, 2, 0, out));
    assert_int_equal(out[0], grad);
    assert_int_equal(f.g.edges[grad].producer, NODE_NONE);
    out[0] = wrong;
    assert_int_equal(graph_add_to(&f.g, &op_add, "sum2", &plain, (edge_id[]){grad, x}, 2, 0, out), E_MODEL);
    assert_non_null(strstr(status_message(), "updates 'h'"));
    out[0] = x; /* an input is nobody's to write */
    assert_int_equal(graph_add_to(&f.g, &op_add, "sum3", &plain, (edge_id[]){grad, x}, 2, 0, out), E_MODEL);
    out[0] = EDGE_NONE; /* output 0 is no option */
    assert_int_equal(graph_add_to(&f.g, &op_add, "sum4", &plain, (edge_id[]){grad, x}, 2, 0, out), E_MODEL);
    GOOD(graph_check(&f.g));
    graph_free(&f.g);
}

/* What a damaged or hostile file can hold: each damage alone is found. */
static void checking_finds_every_damage(void **state)
{
    (void)state;
    for (int damage = 0; damage < 18; damage++) {
        fixture f;
        build_small(&f);
        graph *g = &f.g;
        node *conv = &g->nodes[0];
        edge *w = &g->edges[graph_find_edge(g, "conv.weight")];
        conv2d_attr *a = conv->attr;
        GOOD(graph_check(g));
        switch (damage) {
        case 0: conv->in[0] = g->outputs[0]; break; /* reads what is made later */
        case 1: conv->in[1] = 1 << 30; break;
        case 2: conv->in_count = 1; break;
        case 3: conv->out[0] = g->inputs[0]; break;
        case 4: conv->out[0] = EDGE_NONE; break;
        case 5: a->groups = 0; break;
        case 6: a->alpha = NAN; break;
        case 7: a->out_scale = INFINITY; break;
        case 8: a->act = (activation)1000; break;
        case 9: w->shape.dim[0] = -4; break;
        case 10: w->shape.dim[0] = 8; break;
        case 11: w->type = DTYPE_I8; break;
        case 12: w->data = NULL; break;
        case 13: g->nodes[1].name = "conv"; break;
        case 14: w->name = "bn.weight"; break;
        case 15: g->edges[conv->out[0]].shape.dim[1]++; break;
        case 16: g->outputs[0] = -7; break;
        case 17: g->edges[conv->out[0]].producer = 3; break;
        }
        if (graph_check(g) != E_MODEL) fail_msg("damage %d passes", damage);
        graph_free(g);
    }
}

/* fvcore's and torchvision's published figures: 1.814 and 4.089 G multiply-adds (convolutions and linear layers). */
static void macs_of_known_networks(void **state)
{
    (void)state;
    struct {
        const char *arch;
        double giga_macs;
        int64_t params; /* torchvision: sum(p.numel() for p in model.parameters()) */
    } known[] = {{"resnet18", 1.814, 11689512}, {"resnet50", 4.089, 25557032}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        graph g;
        spec_model options = {.arch = known[i].arch,
            .input_width = 224,
            .input_height = 224,
            .channels = 3,
            .width = 1.0,
            .use_batch_norm = true,
            .use_pooling = true,
            .bn_momentum = 0.1,
            .bn_epsilon = 1e-5};
        GOOD(models_build(&g, &(spec){.model = options}, 1000));
        GOOD(graph_check(&g));
        assert_true(fabs((double)graph_macs(&g) / 1e9 - known[i].giga_macs) < 0.0005);
        assert_int_equal(graph_param_count(&g), known[i].params);
        graph_free(&g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shapes_follow_the_input),
        cmocka_unit_test(counts_and_names),
        cmocka_unit_test(refusing_restores),
        cmocka_unit_test(too_many_ports),
        cmocka_unit_test(copies_are_deep),
        cmocka_unit_test(outputs_in_place),
        cmocka_unit_test(checking_finds_every_damage),
        cmocka_unit_test(macs_of_known_networks),
    };
    return cmocka_run_group_tests_name("graphs", tests, NULL, NULL);
}
