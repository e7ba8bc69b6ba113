/* A graph as a cfg. Nodes that darknet has no layer for are refused by name. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/ops/op.h"
#include "models/import/darknet.h"

typedef struct writer {
    file_writer out;
    const graph *g;
    const char *path;
    int32_t layer;   /* darknet's number of the next one                       */
    int32_t *number; /* [edge_count] layer that makes the edge; -1: none does  */
} writer;

static status refuse(const writer *w, const node *n, const char *why)
{
    return FAIL(E_MODEL, "%s: %s (%s) has no darknet layer: %s", w->path, n->name, n->op->name, why);
}

/* The node that alone reads e; NULL if it is none or several. */
static const node *only_reader(const graph *g, edge_id e)
{
    const node *found = NULL;
    if (graph_consumers(g, e) != 1) return NULL;
    for (node_id i = 0; i < g->node_count; i++)
        for (int32_t k = 0; k < g->nodes[i].in_count; k++)
            if (g->nodes[i].in[k] == e) found = &g->nodes[i];
    return found;
}

static const char *activation_word(const activation_attr *a)
{
    switch (a->act) {
    case ACT_NONE: return "linear";
    case ACT_RELU: return "relu";
    case ACT_LEAKY: return a->alpha == 0.1f ? "leaky" : NULL;
    case ACT_SIGMOID: return "logistic";
    case ACT_SWISH: return "swish";
    case ACT_RELU6: return "relu6";
    case ACT_CLIP: break;
    }
    return NULL;
}

/* The activation behind e, which belongs to the layer; *e moves behind it. */
static status find_activation(writer *w, const node *n, edge_id *e, const char **word)
{
    const node *next = only_reader(w->g, *e);
    *word = "linear";
    if (!next || next->op != &op_activation) return OK;
    *word = activation_word(next->attr);
    if (!*word) return refuse(w, n, "its activation");
    *e = next->out[0];
    return OK;
}

static bool is_square(const int32_t pair[2]) { return pair[0] == pair[1]; }

static status write_conv(writer *w, const node *n, edge_id *e)
{
    const conv2d_attr *a = n->attr;
    const int64_t *d = w->g->edges[n->in[1]].shape.dim;
    const node *next = only_reader(w->g, *e);
    const char *word;
    bool normalised = next && next->op == &op_batchnorm, even = true;
    for (int i = 1; i < 4; i++) even = even && a->pad[i] == a->pad[0];
    if (!is_square(a->stride) || d[1] != d[2] || !even)
        return refuse(w, n, "windows, strides and pads must be the same on all sides");
    if (a->dilation[0] != 1 || a->dilation[1] != 1) return refuse(w, n, "dilation");
    if (a->act != ACT_NONE || n->in_count > 3) return refuse(w, n, "it is fused; write the model, not its engine");
    if (normalised) *e = next->out[0];
    TRY(find_activation(w, n, e, &word));
    TRY(file_writer_printf(&w->out,
        "\n[convolutional]\n%sfilters=%" PRId64 "\nsize=%" PRId64 "\nstride=%d\npadding=%d\n",
        normalised ? "batch_normalize=1\n" : "", d[0], d[1], a->stride[0], a->pad[0]));
    if (a->groups > 1) TRY(file_writer_printf(&w->out, "groups=%d\n", a->groups));
    return file_writer_printf(&w->out, "activation=%s\n", word);
}

static status write_linear(writer *w, const node *n, edge_id *e)
{
    const char *word;
    TRY(find_activation(w, n, e, &word));
    return file_writer_printf(
        &w->out, "\n[connected]\noutput=%" PRId64 "\nactivation=%s\n", w->g->edges[n->in[1]].shape.dim[0], word);
}

static status write_pool(writer *w, const node *n)
{
    const pool_attr *a = n->attr;
    const int64_t *d = w->g->edges[n->in[0]].shape.dim;
    if (a->kind == POOL_AVERAGE) {
        if (!a->global && !(a->adaptive[0] == 1 && a->adaptive[1] == 1))
            return refuse(w, n, "only the average of the whole map");
        return file_writer_printf(&w->out, "\n[avgpool]\n");
    }
    int32_t padding = a->pad[0] + a->pad[2];
    bool darknet = is_square(a->kernel) && is_square(a->stride) && a->pad[0] == a->pad[1] && a->pad[2] == a->pad[3] &&
        a->pad[0] == padding / 2 && !a->global && a->adaptive[0] == 0;
    bool exact = !a->ceil_mode || (darknet && (d[1] + padding - a->kernel[0]) % a->stride[0] == 0 &&
        (d[2] + padding - a->kernel[1]) % a->stride[1] == 0);
    if (!darknet || !exact) return refuse(w, n, "windows, strides, pads or rounding up");
    return file_writer_printf(
        &w->out, "\n[maxpool]\nsize=%d\nstride=%d\npadding=%d\n", a->kernel[0], a->stride[0], padding);
}

/* A shortcut adds to the layer just before it, so that must be one of the two. */
static status write_add(writer *w, const node *n, edge_id *e)
{
    const char *word;
    int32_t first = w->number[n->in[0]], second = w->number[n->in[1]], last = w->layer - 1;
    if (first != last && second != last) return refuse(w, n, "neither input is the layer before it");
    TRY(find_activation(w, n, e, &word));
    return file_writer_printf(
        &w->out, "\n[shortcut]\nfrom=%d\nactivation=%s\n", (first == last ? second : first) - w->layer, word);
}

static status write_concat(writer *w, const node *n)
{
    TRY(file_writer_printf(&w->out, "\n[route]\nlayers="));
    for (int32_t i = 0; i < n->in_count; i++)
        TRY(file_writer_printf(&w->out, "%s%d", i ? "," : "", w->number[n->in[i]] - w->layer));
    return file_writer_printf(&w->out, "\n");
}

static status write_resize(writer *w, const node *n)
{
    const resize_attr *a = n->attr;
    if (a->factor < 1 || a->bilinear) return refuse(w, n, "only a whole factor, nearest neighbour");
    return file_writer_printf(&w->out, "\n[upsample]\nstride=%d\n", a->factor);
}

static status write_dropout(writer *w, const node *n)
{
    return file_writer_printf(
        &w->out, "\n[dropout]\nprobability=%g\n", (double)((const dropout_attr *)n->attr)->probability);
}

/* A layer reads the one before it; where another is meant, a route goes back to it. */
static status go_back(writer *w, const node *n)
{
    int32_t from = w->number[n->in[0]];
    if (n->op == &op_add || n->op == &op_concat || from == w->layer - 1) return OK;
    if (from < 0) return refuse(w, n, "it reads the image behind other layers");
    return file_writer_printf(&w->out, "\n[route]\nlayers=%d\n", from - w->layer++);
}

static status write_node(writer *w, const node *n)
{
    edge_id e = n->out[0];
    if (n->op == &op_flatten || n->op == &op_batchnorm || n->op == &op_activation) {
        bool part = n->op == &op_flatten || w->number[e] >= 0; /* written with its layer */
        if (!part) return refuse(w, n, "it does not follow a convolution, connected or shortcut layer alone");
        if (n->op == &op_flatten) w->number[e] = w->number[n->in[0]];
        return OK;
    }
    TRY(go_back(w, n));
    status result;
    if (n->op == &op_conv2d) result = write_conv(w, n, &e);
    else if (n->op == &op_linear) result = write_linear(w, n, &e);
    else if (n->op == &op_pool) result = write_pool(w, n);
    else if (n->op == &op_add) result = write_add(w, n, &e);
    else if (n->op == &op_concat) result = write_concat(w, n);
    else if (n->op == &op_resize) result = write_resize(w, n);
    else if (n->op == &op_dropout) result = write_dropout(w, n);
    else result = refuse(w, n, "no layer computes that");
    /* Batch normalisation and activation belong to the layer: what is between them cannot be read. */
    for (edge_id inner = n->out[0]; result == OK; ) {
        w->number[inner] = w->layer;
        if (inner == e) break;
        inner = only_reader(w->g, inner)->out[0];
    }
    w->layer++;
    return result;
}

static status write_all(writer *w)
{
    shape in = w->g->edges[w->g->inputs[0]].shape;
    for (int64_t i = 0; i < w->g->edge_count; i++) w->number[i] = -1;
    TRY(file_writer_printf(&w->out,
        "[net]\nbatch=1\nsubdivisions=1\nheight=%" PRId64 "\nwidth=%" PRId64 "\nchannels=%" PRId64 "\n", in.dim[1],
        in.dim[2], in.dim[3]));
    for (node_id i = 0; i < w->g->node_count; i++) TRY(write_node(w, &w->g->nodes[i]));
    return file_writer_printf(&w->out, "\n[softmax]\ngroups=1\n");
}

status darknet_cfg_save(const graph *g, const char *path)
{
    writer w = {.g = g, .path = path};
    status result = OK;
    w.number = malloc(((size_t)g->edge_count + 1) * sizeof *w.number);
    if (!w.number) return FAIL_MEMORY((size_t)g->edge_count * sizeof *w.number);
    TRY_OUT(file_writer_open(&w.out, path));
    TRY_OUT(write_all(&w));
    TRY_OUT(file_writer_commit(&w.out));
out:
    file_writer_abort(&w.out);
    free(w.number);
    return result;
}
