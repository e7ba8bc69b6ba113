#include "export/qat.h"

#include <string.h>

#include "core/graph/transform.h"
#include "export/export_steps.h"
#include "export/quantise.h"

enum { CONV_IN_ADD = 3 };

static activation fused_activation(const node *n)
{
    if (n->op == &op_conv2d) return ((const conv2d_attr *)n->attr)->act;
    return n->op == &op_linear ? ((const linear_attr *)n->attr)->act : ACT_NONE;
}

/* The edge of g that holds what node `fused` makes in the fused graph: the layer of that name, then the batch
 * normalisation, addition and activation that went into it. */
static edge_id result_of(const graph *g, const edge_uses *uses, const node *fused)
{
    node_id at = graph_find_node(g, fused->name);
    if (at == NODE_NONE) return EDGE_NONE;
    bool layer = fused->op == &op_conv2d || fused->op == &op_linear;
    bool add = fused->op == &op_conv2d && fused->in_count > CONV_IN_ADD && fused->in[CONV_IN_ADD] != EDGE_NONE;
    bool act = fused_activation(fused) != ACT_NONE && fused_activation(&g->nodes[at]) == ACT_NONE;
    edge_id e = g->nodes[at].out[0];
    for (node_id r = edge_only_reader(uses, e); layer && r != NODE_NONE; r = edge_only_reader(uses, e)) {
        const node *n = &g->nodes[r];
        if (n->op == &op_add && add) {
            add = false;
            if (((const binary_attr *)n->attr)->act != ACT_NONE) act = false;
        } else if (n->op == &op_activation && act && !add) {
            act = false;
        } else if (n->op != &op_batchnorm) {
            break;
        }
        e = n->out[0];
    }
    return e;
}

/* name[e], for every edge of g that an engine keeps as integers with a scale of its own: its
 * name in the fused graph, in `a`. */
static status find_points(const graph *g, arena *a, const char **name)
{
    graph fused = {0};
    edge_uses uses = {0};
    status result = export_float_graph(&fused, g);
    bool *wanted = ARENA_ARRAY(a, bool, fused.edge_count + 1);
    if (result == OK && !wanted) result = FAIL_MEMORY(fused.edge_count);
    if (result == OK) result = quantise_wanted(&fused, wanted);
    if (result == OK) result = edge_uses_init(&uses, g);
    for (edge_id e = 0; result == OK && e < fused.edge_count; e++) {
        const edge *x = &fused.edges[e];
        if (!wanted[e]) continue;
        const node *producer = x->producer == NODE_NONE ? NULL : &fused.nodes[x->producer];
        if (producer && quantise_passes(producer) && wanted[producer->in[0]]) continue; /* it has its input's scale */
        edge_id at = producer ? result_of(g, &uses, producer) : graph_find_edge(g, x->name);
        if (at == EDGE_NONE) result = FAIL(E_INTERNAL, "tensor %s of the fused graph is none of the model's", x->name);
        else if (!(name[at] = arena_strdup(a, x->name))) result = FAIL_MEMORY(strlen(x->name));
    }
    edge_uses_free(&uses);
    graph_free(&fused);
    return result;
}

/* Readers of src_edge will read its fake-quantised image. */
static status insert_behind(graph_builder *b, edge_id src_edge, const char *name, float momentum)
{
    graph *g = b->dst;
    char *range_name = arena_printf(&g->memory, "%s.range", name),
         *node_name = arena_printf(&g->memory, "%s/fake_quant", name);
    if (!range_name || !node_name) return FAIL_MEMORY(64);
    node_id producer = b->src->edges[src_edge].producer;
    edge_id range = graph_edge(g, range_name, EDGE_STATE, DTYPE_F32, shape_1(1));
    if (range == EDGE_NONE) return FAIL_MEMORY(sizeof(edge));
    return graph_add(g, &op_fake_quant, node_name, &(fake_quant_attr){.momentum = momentum},
        (edge_id[]){b->map[src_edge], range}, 2, producer == NODE_NONE ? 0 : b->src->nodes[producer].block,
        &b->map[src_edge]);
}

static status insert_all(graph_builder *b, const char *const *name, float momentum)
{
    const graph *src = b->src;
    for (int32_t i = 0; i < src->input_count; i++)
        if (name[src->inputs[i]]) TRY(insert_behind(b, src->inputs[i], name[src->inputs[i]], momentum));
    for (node_id n = 0; n < src->node_count; n++) {
        edge_id out = src->nodes[n].out[0];
        TRY(builder_copy_node(b, n));
        if (name[out]) TRY(insert_behind(b, out, name[out], momentum));
    }
    return builder_finish(b);
}

status qat_insert(graph *dst, const graph *src, float momentum)
{
    arena a = {0};
    graph_builder b = {0};
    status result = OK;
    *dst = (graph){0};
    const char **name = ARENA_ARRAY(&a, const char *, src->edge_count + 1);
    if (!name) TRY_OUT(FAIL_MEMORY((size_t)src->edge_count * sizeof *name));
    TRY_OUT(find_points(src, &a, name));
    TRY_OUT(builder_init(&b, dst, src));
    TRY_OUT(insert_all(&b, name, momentum));
out:
    builder_free(&b);
    arena_free(&a);
    if (result != OK) graph_free(dst);
    return result;
}

/* ------------------------------------------------------------------------------------------------ export */

/* 1 for a tensor that was always zero in training, as calibration has it. */
static status scale_of(const graph *trained, const char *name, float *scale)
{
    char text[512];
    snprintf(text, sizeof text, "%s.range", name);
    edge_id e = graph_find_edge(trained, text);
    if (e == EDGE_NONE || trained->edges[e].kind != EDGE_STATE || shape_count(trained->edges[e].shape) != 1)
        return FAIL(E_MODEL,
            "tensor %s has no range: the network was changed after quantisation-aware training; train it again with "
            "qat.enable = true, or calibrate with export.force_ptq = true",
            name);
    float range = *(const float *)trained->edges[e].data;
    *scale = range > 1e-30f ? range / 127.0f : 1.0f;
    return OK;
}

static status collect(float *scale, const graph *fused, const graph *trained, const bool *wanted)
{
    for (edge_id e = 0; e < fused->edge_count; e++) {
        if (!wanted[e]) continue;
        node_id p = fused->edges[e].producer;
        bool passes = p != NODE_NONE && quantise_passes(&fused->nodes[p]) && wanted[fused->nodes[p].in[0]];
        if (passes) scale[e] = scale[fused->nodes[p].in[0]];
        else TRY(scale_of(trained, fused->edges[e].name, &scale[e]));
    }
    return OK;
}

status qat_scales(export_scales *s, const model *m, int64_t version)
{
    graph fused;
    arena a = {0};
    status result = OK;
    *s = (export_scales){0};
    TRY(export_float_graph(&fused, &m->graph));
    float *scale = ARENA_ARRAY(&a, float, fused.edge_count + 1);
    bool *wanted = ARENA_ARRAY(&a, bool, fused.edge_count + 1);
    if (!scale || !wanted) TRY_OUT(FAIL_MEMORY((size_t)fused.edge_count * sizeof *scale));
    TRY_OUT(quantise_wanted(&fused, wanted));
    TRY_OUT(collect(scale, &fused, &m->graph, wanted));
    TRY_OUT(export_fill_table(s, &fused, scale, "qat", "EntropyCalibration2", version));
out:
    graph_free(&fused);
    arena_free(&a);
    if (result != OK) export_scales_free(s);
    return result;
}
