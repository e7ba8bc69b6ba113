#include "core/train/train_graph.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/base/text.h"
#include "core/config/recipe.h"
#include "core/graph/transform.h"
#include "core/ops/op.h"
#include "core/train/head.h"

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

int32_t graph_last_block(const graph *g)
{
    int32_t last = -1;
    for (node_id i = 0; i < g->node_count; i++)
        if (g->nodes[i].block > last) last = g->nodes[i].block;
    return last;
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
    if (!found) return FAIL(E_USAGE, "model.freeze_blocks: no block %s; this network has 0 to %d", text, (int)graph_last_block(g));
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

static status resize_batch(graph *g, int64_t batch)
{
    if (graph_find_edge(g, "image") == EDGE_NONE) return FAIL(E_MODEL, "the graph has no input \"image\"");
    return graph_resize_batch(g, batch);
}

static status add_class_weights(graph *g, const float_list *weights, int64_t classes, edge_id *e)
{
    *e = EDGE_NONE;
    if (weights->count == 0) return OK;
    if (weights->count != classes)
        return FAIL(E_USAGE, "train.class_loss_weights has %lld values, the data set has %lld classes", (long long)weights->count,
            (long long)classes);
    *e = graph_edge(g, "class_weight", EDGE_CONST, DTYPE_F32, shape_1(classes));
    if (*e == EDGE_NONE) return FAIL_MEMORY(classes * sizeof(float));
    for (int64_t i = 0; i < classes; i++) ((float *)g->edges[*e].data)[i] = (float)weights->value[i];
    return OK;
}

/* One loss per output, the auxiliary ones weighted, as outputs behind the network's own: [logits, auxiliary logits ..., losses ...]. */
status train_graph_add_loss(graph *g, const spec *o, double grad_scale, bool scaled)
{
    shape s = g->edges[g->outputs[0]].shape;
    int32_t heads = g->output_count, auxiliary_from = heads - g->auxiliary_count;
    if (s.rank != 2) return FAIL(E_MODEL, "the network's output is not [batch, classes]");
    edge_id targets = graph_input(g, "targets", DTYPE_F32, s), weights;
    if (targets == EDGE_NONE) return FAIL_MEMORY(sizeof(edge));
    edge_id loss_scale = scaled ? graph_input(g, "loss_scale", DTYPE_F32, shape_1(1)) : EDGE_NONE;
    TRY(add_class_weights(g, &o->train.class_loss_weights, s.dim[1], &weights));
    const op *kind = o->train.loss == LOSS_SIGMOID ? &op_sigmoid_bce : &op_softmax_ce;
    g->auxiliary_count = 0;
    for (int32_t i = 0; i < heads; i++) {
        double weight = i < auxiliary_from ? 1 : o->model.aux_weight;
        const loss_attr attr = {.smoothing = (float)o->train.label_smoothing, .grad_scale = (float)(grad_scale * weight)};
        const edge_id in[5] = {g->outputs[i], targets, weights, EDGE_NONE, loss_scale};
        char name[16] = "loss";
        if (i > 0) snprintf(name, sizeof name, "loss%d", i);
        edge_id loss;
        TRY(graph_add(g, kind, name, &attr, in, scaled ? 5 : weights == EDGE_NONE ? 2 : 3, -1, &loss));
        TRY(graph_output(g, loss));
    }
    return OK;
}

/* The only output becomes what the last layer reads, averaged over the map if it is averaged behind it; or what the layer makes. */
static status cut_at_head(graph *g, bool before_relu)
{
    head_info h;
    head_find(&h, g, 0);
    if (h.layer == NODE_NONE) return FAIL(E_MODEL, "the network does not end in a linear layer or a 1x1 convolution");
    edge_id e = before_relu ? g->nodes[h.layer].out[0] : h.features;
    shape s = g->edges[e].shape;
    if (!before_relu && h.pooled && s.dim[1] * s.dim[2] > 1) {
        const pool_attr mean = {.kind = POOL_AVERAGE, .global = true};
        TRY(graph_add(g, &op_pool, "features", &mean, &e, 1, -1, &e));
    }
    g->outputs[0] = e;
    g->output_count = 1;
    return OK;
}

static status reduce_precision(graph *g, spec_precision precision)
{
    graph next = {0};
    if (precision == PRECISION_F32) return OK;
    dtype type = precision == PRECISION_F16 ? DTYPE_F16 : precision == PRECISION_BF16 ? DTYPE_BF16 : DTYPE_F32;
    return graph_replace(g, &next, pass_precision(&next, g, type, precision == PRECISION_TF32 ? COMPUTE_TF32 : COMPUTE_F32));
}

static void find_edges(trainable *t, bool with_loss)
{
    const graph *g = &t->graph;
    t->image = graph_find_edge(g, "image");
    t->sample_keys = graph_find_edge(g, "sample_keys");
    t->targets = with_loss ? graph_find_edge(g, "targets") : EDGE_NONE;
    t->logits = g->outputs[0];
    t->loss = with_loss ? g->outputs[g->output_count / 2] : EDGE_NONE;
    t->loss_scale = with_loss ? graph_find_edge(g, "loss_scale") : EDGE_NONE;
}

static status build_training(trainable *t, const graph *model, const spec *s, int64_t batch, double grad_scale, pass_fn *lower)
{
    TRY(lower == pass_lower_training ? graph_copy(&t->graph, model) : pass_drop_auxiliary(&t->graph, model));
    TRY(freeze_apply(&t->graph, s));
    TRY(resize_batch(&t->graph, batch));
    TRY(train_graph_add_loss(&t->graph, s, grad_scale, s->train.precision == PRECISION_F16));
    TRY(graph_apply(&t->graph, pass_fuse_training));
    TRY(graph_apply(&t->graph, lower));
    TRY(reduce_precision(&t->graph, s->train.precision));
    int32_t heads = t->graph.output_count / 2;
    TRY(graph_backward(&t->graph, &t->graph.outputs[heads], heads, NULL, 0, NULL));
    find_edges(t, true);
    return OK;
}

static status build_evaluation(trainable *t, const graph *model, int64_t batch, spec_precision precision)
{
    TRY(graph_copy(&t->graph, model));
    TRY(graph_apply(&t->graph, pass_inference));
    TRY(resize_batch(&t->graph, batch));
    TRY(graph_apply(&t->graph, pass_fuse_training));
    TRY(graph_apply(&t->graph, pass_lower_inference));
    TRY(reduce_precision(&t->graph, precision));
    find_edges(t, false);
    return OK;
}

static status build_features(trainable *t, const graph *model, int64_t batch, bool before_relu)
{
    TRY(graph_copy(&t->graph, model));
    TRY(graph_apply(&t->graph, pass_inference));
    TRY(cut_at_head(&t->graph, before_relu));
    TRY(graph_apply(&t->graph, pass_remove_dead));
    TRY(resize_batch(&t->graph, batch));
    TRY(graph_apply(&t->graph, pass_fuse_training));
    TRY(graph_apply(&t->graph, pass_lower_inference));
    find_edges(t, false);
    return OK;
}

status train_graph_build(trainable *t, const graph *model, const spec *s, int64_t batch, double grad_scale)
{
    *t = (trainable){0};
    status result = build_training(t, model, s, batch, grad_scale, pass_lower_training);
    if (result != OK) trainable_free(t);
    return result;
}

status eval_gradient_build(trainable *t, const graph *model, const spec *s, int64_t batch)
{
    *t = (trainable){0};
    status result = build_training(t, model, s, batch, 1, pass_lower_inference);
    if (result != OK) trainable_free(t);
    return result;
}

status eval_graph_build(trainable *t, const graph *model, int64_t batch, spec_precision precision)
{
    *t = (trainable){0};
    status result = build_evaluation(t, model, batch, precision);
    if (result != OK) trainable_free(t);
    return result;
}

status trainable_sync(trainable *t, int64_t here, int64_t everywhere)
{
    graph shared = {0};
    TRY(graph_replace(&t->graph, &shared, pass_sync_batchnorm(&shared, &t->graph, here, everywhere)));
    find_edges(t, t->loss != EDGE_NONE);
    return OK;
}

/* Computed, not yet measured: with a transform a tensor-core kernel loads through registers, perhaps 1.7 times as long as by asynchronous copies;
 * at 200 TFLOP/s and 1.7 TB/s (an A100), what forward and weight gradient lose equals the four 16-bit accesses per element saved at about 580
 * products per element. Wide 3x3 convolutions are above, 1x1 ones mostly below. */
static const double MOST_PRODUCTS = 576;

status trainable_fuse(trainable *t, backend b, spec_normalise_on_read on_read, fused_traffic *saved)
{
    graph *g = &t->graph, summed = {0}, fused = {0};
    double most = on_read == NORMALISE_ON_READ_NEVER ? 0 : on_read == NORMALISE_ON_READ_ALWAYS ? INFINITY : MOST_PRODUCTS;
    *saved = (fused_traffic){0};
    TRY(graph_replace(g, &summed, pass_fuse_statistics(&summed, g, b, saved)));
    TRY(graph_replace(g, &fused, pass_fuse_transforms(&fused, g, b, most, saved)));
    find_edges(t, t->loss != EDGE_NONE);
    return OK;
}

size_t trainable_bytes(const trainable *t, edge_id e)
{
    if (e == EDGE_NONE) return 0;
    const edge *x = &t->graph.edges[e];
    return (size_t)shape_count(x->shape) * dtype_bytes(x->type);
}

status feature_graph_build(trainable *t, const graph *model, int64_t batch, bool before_relu)
{
    *t = (trainable){0};
    status result = build_features(t, model, batch, before_relu);
    if (result != OK) trainable_free(t);
    return result;
}

void trainable_free(trainable *t)
{
    graph_free(&t->graph);
    *t = (trainable){0};
}
