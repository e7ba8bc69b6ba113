#include "core/train/train_graph.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/text.h"
#include "core/config/recipe.h"
#include "core/graph/transform.h"
#include "core/ops/op.h"

bool name_matches(const char *name, const char *pattern)
{
    size_t length = strlen(pattern);
    if (length > 0 && pattern[length - 1] == '*') return strncmp(name, pattern, length - 1) == 0;
    return strcmp(name, pattern) == 0;
}

static void freeze_node(graph *g, node *n)
{
    for (int32_t i = 0; i < n->in_count; i++)
        if (n->in[i] != EDGE_NONE && g->edges[n->in[i]].kind == EDGE_PARAM) g->edges[n->in[i]].frozen = true;
    if (n->op == &op_batchnorm) ((batchnorm_attr *)n->attr)->frozen = true;
}

static status freeze_block(graph *g, const char *text)
{
    int64_t block;
    if (!text_to_int(text, &block)) return FAIL(E_USAGE, "model.freeze_blocks: \"%s\" is no block number", text);
    bool found = false;
    for (node_id i = 0; i < g->node_count; i++) {
        node *n = &g->nodes[i];
        if (n->block != block || block < 0) continue;
        freeze_node(g, n);
        found = true;
    }
    if (!found)
        return FAIL(
            E_USAGE, "model.freeze_blocks: no block %s; this network has 0 to %d", text, (int)graph_last_block(g));
    return OK;
}

static status freeze_layer(graph *g, const char *pattern)
{
    bool found = false;
    for (node_id i = 0; i < g->node_count; i++) {
        if (!name_matches(g->nodes[i].name, pattern)) continue;
        freeze_node(g, &g->nodes[i]);
        found = true;
    }
    if (!found)
        return FAIL(E_USAGE, "model.freeze_layers: no layer matches \"%s\"; `graft inspect` lists the names", pattern);
    return OK;
}

int32_t transfer_first_block(const graph *g, const spec *s)
{
    return transfer_is_on(s) ? (int32_t)(s->transfer.frozen_part * (graph_last_block(g) + 1) + 0.5) : 0;
}

status freeze_apply(graph *g, const spec *s)
{
    const spec_model *options = &s->model;
    int32_t first = transfer_first_block(g, s);
    for (node_id i = 0; i < g->node_count; i++)
        if (g->nodes[i].block >= 0 && g->nodes[i].block < first) freeze_node(g, &g->nodes[i]);
    for (int64_t i = 0; i < options->freeze_blocks.count; i++) TRY(freeze_block(g, options->freeze_blocks.value[i]));
    for (int64_t i = 0; i < options->freeze_layers.count; i++) TRY(freeze_layer(g, options->freeze_layers.value[i]));
    for (node_id i = 0; options->freeze_bn && i < g->node_count; i++)
        if (g->nodes[i].op == &op_batchnorm) freeze_node(g, &g->nodes[i]);
    for (edge_id e = 0; e < g->edge_count; e++)
        if (g->edges[e].kind == EDGE_PARAM && !g->edges[e].frozen) return OK;
    return FAIL(E_USAGE, "model.freeze_blocks, freeze_layers: every parameter is frozen, nothing is left to train");
}

static status resize_batch(graph *g, int64_t rows)
{
    if (graph_find_edge(g, "image") == EDGE_NONE) return FAIL(E_MODEL, "the graph has no input \"image\"");
    return graph_resize_batch(g, rows);
}

static status reduce_precision(graph *g, spec_precision precision)
{
    graph next = {0};
    if (precision == PRECISION_F32) return OK;
    dtype type = precision == PRECISION_F16 ? DTYPE_F16 : precision == PRECISION_BF16 ? DTYPE_BF16 : DTYPE_F32;
    return graph_replace(
        g, &next, pass_precision(&next, g, type, precision == PRECISION_TF32 ? COMPUTE_TF32 : COMPUTE_F32));
}

/* Inputs by name; the terms are the last outputs. */
static void find_edges(trainable *t)
{
    const graph *g = &t->graph;
    t->image = graph_find_edge(g, "image");
    t->sample_keys = graph_find_edge(g, "sample_keys");
    t->loss_scale = graph_find_edge(g, "loss_scale");
    for (int32_t k = 0; k < LABEL_MAX; k++)
        t->label[k] = t->label_name[k] ? graph_find_edge(g, t->label_name[k]) : EDGE_NONE;
    for (int32_t i = 0; i < t->terms.count; i++)
        t->terms.item[i].edge = g->outputs[g->output_count - t->terms.count + i];
}

static status add_loss(trainable *t, const task_setting *setting, double grad_scale)
{
    graph *g = &t->graph;
    edge_id scale = EDGE_NONE;
    if (setting->spec->train.precision == PRECISION_F16) {
        scale = graph_input(g, "loss_scale", DTYPE_F32, shape_1(1));
        if (scale == EDGE_NONE) return FAIL_MEMORY(sizeof(edge));
    }
    TRY(setting->task->add_loss(g, setting, grad_scale, scale, &t->terms));
    g->auxiliary_count = 0;
    for (int32_t i = 0; i < t->terms.count; i++) TRY(graph_output(g, t->terms.item[i].edge));
    return graph_apply(g, pass_remove_dead); /* what only inference computes */
}

static status build_training(
    trainable *t, const graph *source, const task_setting *setting, int64_t rows, double grad_scale, pass_fn *lower)
{
    const spec *s = setting->spec;
    label_source labels;
    edge_id losses[TERM_MAX];
    int32_t loss_count = 0;
    TRY(setting->task->labels(&labels, setting));
    TRY(lower == pass_lower_training ? graph_copy(&t->graph, source) : pass_drop_auxiliary(&t->graph, source));
    TRY(freeze_apply(&t->graph, s));
    TRY(resize_batch(&t->graph, rows));
    TRY(add_loss(t, setting, grad_scale));
    TRY(graph_apply(&t->graph, pass_fuse_training));
    TRY(graph_apply(&t->graph, lower));
    TRY(reduce_precision(&t->graph, s->train.precision));
    for (int32_t k = 0; k < labels.field_count; k++) t->label_name[k] = labels.field[k].input;
    find_edges(t);
    for (int32_t i = 0; i < t->terms.count; i++)
        if (t->terms.item[i].trained) losses[loss_count++] = t->terms.item[i].edge;
    return graph_backward(&t->graph, losses, loss_count, NULL, 0, NULL);
}

static status build_evaluation(trainable *t, const graph *source, int64_t rows, spec_precision precision)
{
    TRY(graph_copy(&t->graph, source));
    TRY(graph_apply(&t->graph, pass_inference));
    TRY(resize_batch(&t->graph, rows));
    TRY(graph_apply(&t->graph, pass_fuse_training));
    TRY(graph_apply(&t->graph, pass_lower_inference));
    TRY(reduce_precision(&t->graph, precision));
    find_edges(t);
    return OK;
}

status train_graph_build(
    trainable *t, const graph *source, const task_setting *setting, int64_t rows, double grad_scale)
{
    *t = (trainable){0};
    status result = build_training(t, source, setting, rows, grad_scale, pass_lower_training);
    if (result != OK) trainable_free(t);
    return result;
}

status eval_gradient_build(trainable *t, const graph *source, const task_setting *setting, int64_t rows)
{
    *t = (trainable){0};
    status result = build_training(t, source, setting, rows, 1, pass_lower_inference);
    if (result != OK) trainable_free(t);
    return result;
}

status eval_graph_build(trainable *t, const graph *source, int64_t rows, spec_precision precision)
{
    *t = (trainable){0};
    status result = build_evaluation(t, source, rows, precision);
    if (result != OK) trainable_free(t);
    return result;
}

status trainable_sync(trainable *t, int64_t here, int64_t everywhere)
{
    graph shared = {0};
    TRY(graph_replace(&t->graph, &shared, pass_sync_batchnorm(&shared, &t->graph, here, everywhere)));
    find_edges(t);
    return OK;
}

/* Computed, not yet measured: with a transform a tensor-core kernel loads through registers, perhaps 1.7 times
 * as long as by asynchronous copies; at 200 TFLOP/s and 1.7 TB/s (an A100), what forward and weight gradient
 * lose equals the four 16-bit accesses per element saved at about 580 products per element. Wide 3x3
 * convolutions are above, 1x1 ones mostly below. */
static const double MOST_PRODUCTS = 576;

status trainable_fuse(trainable *t, backend b, spec_normalise_on_read on_read, fused_traffic *saved)
{
    graph *g = &t->graph, summed = {0}, fused = {0};
    double most = on_read == NORMALISE_ON_READ_NEVER    ? 0
                  : on_read == NORMALISE_ON_READ_ALWAYS ? INFINITY
                                                        : MOST_PRODUCTS;
    *saved = (fused_traffic){0};
    TRY(graph_replace(g, &summed, pass_fuse_statistics(&summed, g, b, saved)));
    TRY(graph_replace(g, &fused, pass_fuse_transforms(&fused, g, b, most, saved)));
    find_edges(t);
    return OK;
}

size_t trainable_bytes(const trainable *t, edge_id e)
{
    if (e == EDGE_NONE) return 0;
    const edge *x = &t->graph.edges[e];
    return (size_t)shape_count(x->shape) * dtype_bytes(x->type);
}

void trainable_free(trainable *t)
{
    graph_free(&t->graph);
    *t = (trainable){0};
}
