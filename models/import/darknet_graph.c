/* A cfg as a graph. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/ops/op.h"
#include "models/import/darknet.h"
#include "models/parts/layers.h"

enum { MAX_LAYERS = 4096, MAX_FILTERS = 1 << 20, MAX_WEIGHTS = 1 << 29 };

typedef struct builder {
    net net;
    const darknet_cfg *cfg;
    const darknet_section *section;
    int64_t index;      /* darknet's number of the layer */
    int64_t head;       /* the last layer with weights   */
    edge_id *output;    /* [index] what each layer made  */
    edge_id x;
    bool *used;         /* [section->count] keys that were read */
    int64_t weights;    /* so far */
} builder;

static shape shape_now(const builder *b) { return b->net.g->edges[b->x].shape; }

static const char *layer_name(builder *b, const char *suffix)
{
    char *name = arena_printf(&b->net.g->memory, "layers.%" PRId64 "%s", b->index, suffix);
    return name ? name : "";
}

/* ------------------------------------------------------------------------------------------------ keys */

static const darknet_pair *find_key(builder *b, const char *key)
{
    const darknet_pair *found = NULL;
    for (int64_t i = 0; i < b->section->count; i++)
        if (strcmp(b->section->pairs[i].key, key) == 0) found = &b->section->pairs[i], b->used[i] = true;
    return found;
}

static status get_int(builder *b, const char *key, int64_t absent, int64_t least, int64_t most, int64_t *value)
{
    const darknet_pair *p = find_key(b, key);
    *value = absent;
    if (!p) return OK;
    if (!text_to_int(p->value, value) || *value < least || *value > most)
        return FAIL(E_MODEL, "%s:%d: %s = %s: expected a number from %" PRId64 " to %" PRId64, b->cfg->what, p->line,
            key, p->value, least, most);
    return OK;
}

static status get_activation(builder *b, const char *absent, activation_attr *a)
{
    static const struct { const char *name; activation act; } known[] = {{"linear", ACT_NONE}, {"relu", ACT_RELU},
        {"leaky", ACT_LEAKY}, {"logistic", ACT_SIGMOID}, {"swish", ACT_SWISH}, {"relu6", ACT_RELU6}};
    const darknet_pair *p = find_key(b, "activation");
    const char *name = p ? p->value : absent;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0) {
            *a = (activation_attr){.act = known[i].act, .alpha = known[i].act == ACT_LEAKY ? 0.1f : 0};
            return OK;
        }
    return FAIL(E_MODEL, "%s:%d: activation = %s: expected linear, relu, leaky, logistic, swish or relu6", b->cfg->what,
        p ? p->line : b->section->line, name);
}

/* A key that nobody has read might change what the layer computes. */
static status check_keys(const builder *b)
{
    for (int64_t i = 0; i < b->section->count; i++) {
        const darknet_pair *p = &b->section->pairs[i];
        if (!b->used[i] && strcmp(p->value, "0") != 0)
            return FAIL(E_MODEL, "%s:%d: %s = %s is not supported in [%s]", b->cfg->what, p->line, p->key, p->value,
                b->section->name);
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ layers */

static status add_activation(builder *b, const activation_attr *a)
{
    if (a->act == ACT_NONE) return OK;
    return graph_add(b->net.g, &op_activation, layer_name(b, ".activation"), a, &b->x, 1, b->net.block, &b->x);
}

/* Before memory is asked for. */
static status count_weights(builder *b, int64_t outputs, int64_t inputs)
{
    b->weights += outputs * inputs;
    if (inputs <= INT32_MAX && b->weights <= MAX_WEIGHTS) return OK;
    return FAIL(
        E_MODEL, "%s:%d: more than %d weights up to here: refused", b->cfg->what, b->section->line, MAX_WEIGHTS);
}

static status build_convolutional(builder *b)
{
    int64_t filters, size, stride, pad, padding, groups, normalise;
    activation_attr act;
    TRY(get_int(b, "filters", 1, 1, MAX_FILTERS, &filters));
    TRY(get_int(b, "size", 1, 1, 64, &size));
    TRY(get_int(b, "stride", 1, 1, 64, &stride));
    TRY(get_int(b, "pad", 0, 0, 1, &pad));
    TRY(get_int(b, "padding", 0, 0, 64, &padding));
    TRY(get_int(b, "groups", 1, 1, MAX_FILTERS, &groups));
    TRY(get_int(b, "batch_normalize", 0, 0, 1, &normalise));
    TRY(get_activation(b, "logistic", &act));
    if (shape_now(b).dim[3] % groups || filters % groups)
        return FAIL(E_MODEL,
            "%s:%d: groups = %" PRId64 " does not divide %" PRId64 " channels into %" PRId64 " filters", b->cfg->what,
            b->section->line, groups, shape_now(b).dim[3], filters);
    TRY(count_weights(b, filters, shape_now(b).dim[3] / groups * size * size));
    if (stride > 1 && b->net.block >= 0) b->net.block++;
    conv_shape conv = {.out_channels = filters,
        .kernel = (int32_t)size,
        .stride = (int32_t)stride,
        .groups = (int32_t)groups,
        .pad = (int32_t)(pad ? size / 2 : padding),
        .bias = !normalise};
    TRY(net_conv(&b->net, &b->x, layer_name(b, ""), conv));
    if (normalise) TRY(net_batchnorm(&b->net, &b->x, layer_name(b, ".bn")));
    return add_activation(b, &act);
}

static status build_connected(builder *b)
{
    int64_t outputs, normalise;
    activation_attr act;
    TRY(get_int(b, "output", 1, 1, MAX_FILTERS, &outputs));
    TRY(get_int(b, "batch_normalize", 0, 0, 0, &normalise));
    TRY(get_activation(b, "logistic", &act));
    TRY(count_weights(b, outputs, shape_count(shape_now(b))));
    TRY(net_linear(&b->net, &b->x, layer_name(b, ""), outputs));
    return add_activation(b, &act);
}

/* Darknet pads size - 1 in all, the smaller half in front. */
static status build_maxpool(builder *b)
{
    int64_t size, stride, padding;
    TRY(get_int(b, "stride", 1, 1, 64, &stride));
    TRY(get_int(b, "size", stride, 1, 64, &size));
    TRY(get_int(b, "padding", size - 1, 0, size - 1, &padding));
    int32_t before = (int32_t)(padding / 2), after = (int32_t)padding - before, side = (int32_t)size,
            step = (int32_t)stride;
    if (stride > 1 && b->net.block >= 0) b->net.block++;
    pool_attr attr = {
        .kind = POOL_MAX, .kernel = {side, side}, .stride = {step, step}, .pad = {before, before, after, after}};
    return graph_add(b->net.g, &op_pool, layer_name(b, ""), &attr, &b->x, 1, b->net.block, &b->x);
}

static status build_avgpool(builder *b) { return net_global_pool(&b->net, &b->x, layer_name(b, "")); }

static status build_dropout(builder *b)
{
    const darknet_pair *p = find_key(b, "probability");
    double probability = 0.5;
    if (p && (!text_to_number(p->value, &probability) || !(probability >= 0 && probability < 1)))
        return FAIL(E_MODEL, "%s:%d: probability = %s: expected 0 to less than 1", b->cfg->what, p->line, p->value);
    return net_dropout(&b->net, &b->x, layer_name(b, ""), probability);
}

/* The scores stand before it: a Graft model's output is logits, the softmax is the user's. */
static status build_softmax(builder *b)
{
    int64_t groups;
    return get_int(b, "groups", 1, 1, 1, &groups);
}

static status build_cost(builder *b)
{
    find_key(b, "type");
    return OK;
}

/* Numbers below 0 count back from here. */
static status earlier(const builder *b, const char *text, int32_t line, int64_t *layer)
{
    bool fine = text_to_int(text, layer);
    if (fine && *layer < 0) *layer += b->index;
    if (!fine || *layer < 0 || *layer >= b->index)
        return FAIL(E_MODEL, "%s:%d: layer %s: expected an earlier layer of the %" PRId64 " before", b->cfg->what, line,
            text, b->index);
    return OK;
}

static status build_route(builder *b)
{
    const darknet_pair *p = find_key(b, "layers");
    edge_id in[NODE_MAX_IN];
    int32_t count = 0;
    char text[512];
    if (!p || strlen(p->value) >= sizeof text)
        return FAIL(E_MODEL, "%s:%d: [route] needs layers = N,...", b->cfg->what, b->section->line);
    strcpy(text, p->value);
    char *rest = text;
    for (char *word = strsep(&rest, ","); word; word = strsep(&rest, ",")) {
        int64_t layer;
        TRY(earlier(b, word, p->line, &layer));
        if (count == NODE_MAX_IN)
            return FAIL(E_MODEL, "%s:%d: at most %d layers are joined", b->cfg->what, p->line, NODE_MAX_IN);
        in[count++] = b->output[layer];
    }
    b->x = in[0];
    if (count == 1) return OK;
    concat_attr attr = {0};
    return graph_add(b->net.g, &op_concat, layer_name(b, ""), &attr, in, count, b->net.block, &b->x);
}

static status build_shortcut(builder *b)
{
    const darknet_pair *p = find_key(b, "from");
    activation_attr act;
    int64_t layer;
    if (!p) return FAIL(E_MODEL, "%s:%d: [shortcut] needs from = N", b->cfg->what, b->section->line);
    TRY(earlier(b, p->value, p->line, &layer));
    TRY(get_activation(b, "linear", &act));
    if (!shape_equal(b->net.g->edges[b->output[layer]].shape, shape_now(b)))
        return FAIL(E_MODEL, "%s:%d: layer %s has another shape: adding the part that fits is not supported",
            b->cfg->what, p->line, p->value);
    TRY(net_add(&b->net, &b->x, b->output[layer], layer_name(b, "")));
    return add_activation(b, &act);
}

static status build_upsample(builder *b)
{
    int64_t stride;
    TRY(get_int(b, "stride", 2, 1, 16, &stride));
    resize_attr attr = {.factor = (int32_t)stride};
    return graph_add(b->net.g, &op_resize, layer_name(b, ""), &attr, &b->x, 1, b->net.block, &b->x);
}

static const struct layer_kind {
    const char *name;
    status (*build)(builder *b);
    bool needs_map; /* works on [n, h, w, c] */
    bool has_weights;
} kinds[] = {
    {"convolutional", build_convolutional, true, true},
    {"conv", build_convolutional, true, true},
    {"connected", build_connected, false, true},
    {"maxpool", build_maxpool, true, false},
    {"max", build_maxpool, true, false},
    {"avgpool", build_avgpool, true, false},
    {"avg", build_avgpool, true, false},
    {"dropout", build_dropout, false, false},
    {"softmax", build_softmax, false, false},
    {"soft", build_softmax, false, false},
    {"cost", build_cost, false, false},
    {"route", build_route, false, false},
    {"shortcut", build_shortcut, false, false},
    {"upsample", build_upsample, true, false},
};

static const struct layer_kind *find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, name) == 0) return &kinds[i];
    return NULL;
}

/* ------------------------------------------------------------------------------------------------ the whole */

static status build_layer(builder *b)
{
    const darknet_section *s = b->section;
    const struct layer_kind *kind = find_kind(s->name);
    if (!kind)
        return FAIL(E_MODEL,
            "%s:%d: [%s] is not supported: a classification network of convolutional, connected, maxpool, avgpool, "
            "dropout, route, shortcut, upsample and softmax layers is expected",
            b->cfg->what, s->line, s->name);
    if (kind->needs_map && shape_now(b).rank != 4)
        return FAIL(E_MODEL, "%s:%d: [%s] behind a connected layer", b->cfg->what, s->line, s->name);
    b->used = arena_alloc_array(&b->net.g->memory, s->count, sizeof *b->used);
    if (!b->used) return FAIL_MEMORY((size_t)s->count);
    if (b->index == b->head) b->net.block = -1;
    status result = kind->build(b);
    if (result != OK) return result;
    b->output[b->index] = b->x;
    return check_keys(b);
}

static status finish(builder *b)
{
    shape s = shape_now(b);
    if (s.rank == 4 && (s.dim[1] != 1 || s.dim[2] != 1))
        return FAIL(E_MODEL,
            "%s: its output is %" PRId64 " x %" PRId64 " x %" PRId64 ": this is no classification network",
            b->cfg->what, s.dim[2], s.dim[1], s.dim[3]);
    if (s.rank == 4) TRY(graph_add(b->net.g, &op_flatten, "flatten", NULL, &b->x, 1, b->net.block, &b->x));
    return graph_output(b->net.g, b->x);
}

static status build_all(builder *b)
{
    int64_t layers = b->cfg->count - 1;
    if (layers > MAX_LAYERS)
        return FAIL(E_MODEL, "%s: %" PRId64 " layers: at most %d", b->cfg->what, layers, MAX_LAYERS);
    b->output = ARENA_ARRAY(&b->net.g->memory, edge_id, layers);
    if (!b->output) return FAIL_MEMORY((size_t)layers * sizeof *b->output);
    b->head = -1;
    for (int64_t i = 0; i < layers; i++) {
        const struct layer_kind *kind = find_kind(b->cfg->sections[i + 1].name);
        if (kind && kind->has_weights) b->head = i;
    }
    TRY(net_input(&b->net, &b->x));
    for (b->index = 0; b->index < layers; b->index++) {
        b->section = &b->cfg->sections[b->index + 1];
        TRY(build_layer(b));
    }
    return finish(b);
}

status darknet_build(graph *g, const darknet_cfg *cfg, float epsilon)
{
    spec_model options = {.input_width = cfg->width, .input_height = cfg->height, .channels = cfg->channels, .width = 1,
        .bn_epsilon = epsilon, .bn_momentum = 0.1};
    builder b = {.net = {.g = g, .options = &options}, .cfg = cfg};
    TRY(graph_init(g));
    status result = build_all(&b);
    if (result != OK) graph_free(g);
    return result;
}
