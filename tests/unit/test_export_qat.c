/* Fake quantisation against the engine that it stands for: the same places, the same scales, the same integers. */
#include "core/graph/plan.h"
#include "core/graph/transform.h"
#include "core/ops/op.h"
#include "export/noise.h"
#include "export/qat.h"
#include "export/quantise.h"
#include "tests/unit/export_net.h"

static void set_ranges(net_fixture *f)
{
    calibration c;
    GOOD(calibration_run(&c, &f->fused, f->dev, &f->data));
    f->scale = calloc((size_t)f->fused.edge_count, sizeof *f->scale);
    assert_non_null(f->scale);
    calibration_scales(&c, CALIBRATOR_MINMAX, 0, f->scale);
    for (edge_id e = 0; e < f->fused.edge_count; e++) {
        char name[512];
        snprintf(name, sizeof name, "%s.range", f->fused.edges[e].name);
        edge_id range = graph_find_edge(&f->m.graph, name);
        if (range != EDGE_NONE) *(float *)f->m.graph.edges[range].data = c.range[e].amax;
    }
    calibration_free(&c);
}

/* The model gets fake quantisation, with the ranges that minmax calibration finds. */
static int setup(void **state)
{
    if (net_fixture_open(state) != 0) return 1;
    net_fixture *f = *state;
    graph plain = f->m.graph;
    if (qat_insert(&f->m.graph, &plain, 0.01f) != OK) return 1;
    graph_free(&plain);
    set_ranges(f);
    return 0;
}

/* One fake_quant per tensor that the engine keeps as integers, but for results of pooling,
 * which have their input's scale. */
static void places_are_the_engines(void **state)
{
    net_fixture *f = *state;
    bool *wanted = calloc((size_t)f->fused.edge_count, sizeof *wanted);
    int64_t expected = 0, found = 0;
    GOOD(quantise_wanted(&f->fused, wanted));
    for (edge_id e = 0; e < f->fused.edge_count; e++) {
        char name[512];
        snprintf(name, sizeof name, "%s/fake_quant", f->fused.edges[e].name);
        node_id p = f->fused.edges[e].producer;
        bool pooled = p != NODE_NONE && f->fused.nodes[p].op == &op_pool;
        bool there = graph_find_node(&f->m.graph, name) != NODE_NONE;
        if (there != (wanted[e] && !pooled))
            fail_msg("%s: wanted %d, pooled %d, there %d", name, wanted[e], pooled, there);
        expected += wanted[e] && !pooled;
    }
    for (node_id n = 0; n < f->m.graph.node_count; n++) found += f->m.graph.nodes[n].op == &op_fake_quant;
    assert_int_equal(found, expected);
    assert_true(found > 10);
    free(wanted);
}

static void scales_come_back(void **state)
{
    net_fixture *f = *state;
    export_scales s;
    GOOD(qat_scales(&s, &f->m, 8601));
    assert_string_equal(s.calibrator, "qat");
    for (edge_id e = 0; e < f->fused.edge_count; e++) {
        const cache_entry *entry = cache_find(&s.table, f->fused.edges[e].name);
        node_id p = f->fused.edges[e].producer;
        assert_int_equal(entry != NULL, f->scale[e] > 0);
        if (!entry) continue;
        float own = f->scale[e], inherited = p == NODE_NONE ? 0 : f->scale[f->fused.nodes[p].in[0]];
        float expected = inherited > 0 && quantise_passes(&f->fused.nodes[p]) ? inherited : own;
        assert_memory_equal(&entry->scale, &expected, sizeof expected);
    }
    export_scales_free(&s);
}

/* An engine rounds biases to whole steps of the accumulator, training does not. */
static void restore_biases(graph *engine_graph, const graph *fused)
{
    for (node_id n = 0; n < engine_graph->node_count; n++) {
        const node *to = &engine_graph->nodes[n];
        if (to->op != &op_conv2d && to->op != &op_linear) continue;
        const node *from = &fused->nodes[graph_find_node(fused, to->name)];
        const edge *out = &engine_graph->edges[to->out[0]];
        const float *factor = engine_graph->edges[to->in[to->op == &op_linear ? 3 : 4]].data,
                    *bias = fused->edges[from->in[2]].data;
        double out_scale = out->type == DTYPE_I8 ? (double)out->scale : 1;
        for (int64_t o = 0; o < engine_graph->edges[to->in[2]].shape.dim[0]; o++)
            ((float *)engine_graph->edges[to->in[2]].data)[o] =
                (float)((double)bias[o] / ((double)factor[o] * out_scale));
    }
}

/* What training rounds is what the engine stores: their results differ by values that lie within rounding
 * of a tie, which move by one step. The engine's distance from the float network is all the rounding
 * there is, at least 20 dB more. */
static void results_are_the_engines(void **state)
{
    net_fixture *f = *state;
    graph plain, rounded, engine_graph;
    export_scales s;
    double from_rounded, from_float;
    float *scale = calloc((size_t)f->fused.edge_count, sizeof *scale);
    GOOD(qat_scales(&s, &f->m, 8601));
    for (edge_id e = 0; e < f->fused.edge_count; e++) {
        const cache_entry *entry = cache_find(&s.table, f->fused.edges[e].name);
        if (entry) scale[e] = entry->scale;
    }
    export_scales_free(&s);
    GOOD(pass_inference(&plain, &f->m.graph));
    GOOD(pass_lower(&rounded, &plain, false));
    GOOD(quantise_graph(&engine_graph, &f->fused, scale, NULL));
    restore_biases(&engine_graph, &f->fused);
    GOOD(noise_network(&from_rounded, &rounded, &engine_graph, f->dev, &f->data));
    GOOD(noise_network(&from_float, &f->fused, &engine_graph, f->dev, &f->data));
    print_message("# engine against fake quantisation %.1f dB, against float %.1f dB\n", from_rounded, from_float);
    assert_true(from_float > 10 && from_float < 60);
    assert_true(from_rounded > from_float + 20);
    graph_free(&plain);
    graph_free(&rounded);
    graph_free(&engine_graph);
    free(scale);
}

/* Inserting and removing leaves the float network. */
static void removal_restores(void **state)
{
    net_fixture *f = *state;
    graph fused;
    double db;
    GOOD(export_float_graph(&fused, &f->m.graph));
    assert_int_equal(fused.node_count, f->fused.node_count);
    GOOD(noise_network(&db, &f->fused, &fused, f->dev, &f->data));
    assert_true(db >= 200); /* equal */
    graph_free(&fused);
}

/* A range is learnt: the first batch sets it, later ones move it; nothing is there before. */
static void ranges_must_be_trained(void **state)
{
    net_fixture *f = *state;
    export_scales s;
    edge_id range = graph_find_edge(&f->m.graph, "conv1.range");
    assert_int_not_equal(range, EDGE_NONE);
    float *value = f->m.graph.edges[range].data, kept = *value;
    *value = 0;
    GOOD(qat_scales(&s, &f->m, 8601));
    assert_true(cache_find(&s.table, "conv1")->scale == 1.0f);
    export_scales_free(&s);
    *value = kept;
    f->m.graph.edges[range].name = "conv1.other";
    assert_int_equal(qat_scales(&s, &f->m, 8601), E_MODEL);
    assert_non_null(strstr(status_message(), "tensor conv1 has no range"));
    f->m.graph.edges[range].name = "conv1.range";
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_the_engines),
        cmocka_unit_test(scales_come_back),
        cmocka_unit_test(results_are_the_engines),
        cmocka_unit_test(removal_restores),
        cmocka_unit_test(ranges_must_be_trained),
    };
    return cmocka_run_group_tests(tests, setup, net_fixture_close);
}
