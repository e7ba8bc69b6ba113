/* After the surgery every layer behind a cut reads fewer or changed channels. In graph order each gets the
 * weights, and its bias or the mean of the batch norm behind it, with which it comes nearest to the outputs of
 * the layer that it was cut from, on training images; its inputs are those of the pruned network, whose layers in
 * front have been fitted already (He and others, Channel pruning for accelerating very deep neural networks, ICCV
 * 2017, eq. 5 and 4.1.3). Where the output meets another branch in an addition, what that branch lacks is asked
 * of it too (He: eq. 6 and 4.2). */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "prune/channels.h"
#include "prune/images.h"
#include "prune/least_squares.h"

/* Rows that a fit sees for each unknown of one output, and from one image at most:
 * neighbouring pixels say much the same. */
enum { ROWS_PER_INPUT = 40 };
static const int64_t BUDGET_BYTES = (int64_t)1 << 30; /* of stored activations, for each of the two networks */

/* One layer of the pruned network and the one that it was cut from. */
typedef struct fitting {
    node_id node;
    conv2d_attr conv;          /* a linear layer is the convolution of its only pixel */
    shape in, weight, out;     /* of the pruned network; rank 4                       */
    int64_t dense_channels;    /* of out before the cut                               */
    int64_t *kept;             /* [out channels]: channel of the dense network        */
    edge_id bias, mean;        /* takes the shift; EDGE_NONE                          */
    edge_id other;             /* meets the output in an addition; EDGE_NONE          */
    double *gain;              /* [out channels]: from the output to that addition    */
    int64_t pixels;            /* looked at in one image                              */
} fitting;

typedef struct job {
    walk dense, small;
    channel_map *map;
    const bool *keep;          /* by root                                                    */
    const prune_options *options;
    const prune_images *images;
    bool *touched;             /* [edges of small.g]: values differ from the dense network's */
    edge_uses uses;            /* of small.g                                                 */
    float *dense_out, *small_in, *dense_other, *small_other; /* one batch */
    float *x, *y;              /* rows of one image                       */
    arena memory;              /* of one fitting                          */
    double before, after;      /* sums of relative errors                 */
    int64_t fitted;
} job;

static shape as_map(shape s) { return s.rank == 4 ? s : shape_4(s.dim[0], 1, 1, s.dim[1]); }

/* ------------------------------------------------------------------------------------------------ which layers, how */

/* Whether the layer of the pruned network may compute something else than a part of the dense one. */
static bool inputs_differ(const job *j, node_id i)
{
    const node *n = &j->small.g.nodes[i];
    for (int32_t k = 0; k < n->in_count; k++)
        if (n->in[k] != EDGE_NONE && j->touched[n->in[k]]) return true;
    if (n->op->coupling != COUPLE_WEIGHT) return false;
    shape small = j->small.g.edges[n->in[1]].shape, dense = j->dense.g.edges[j->dense.g.nodes[i].in[1]].shape;
    return shape_count(small) / small.dim[0] != shape_count(dense) / dense.dim[0];
}

static bool can_be_fitted(const job *j, const node *n)
{
    const graph *g = &j->small.g;
    if (n->op != &op_conv2d && n->op != &op_linear) return false;
    for (int32_t k = 3; k < n->in_count; k++)
        if (n->in[k] != EDGE_NONE) return false;
    activation act = n->op == &op_conv2d ? ((const conv2d_attr *)n->attr)->act : ((const linear_attr *)n->attr)->act;
    return act == ACT_NONE && g->edges[n->in[1]].kind == EDGE_PARAM && j->uses.count[n->in[1]] == 1;
}

/* The batch norm behind the layer if it alone reads it; *e becomes what comes out. */
static const node *batchnorm_behind(const job *j, edge_id *e)
{
    node_id reader = edge_only_reader(&j->uses, *e);
    const node *n = reader == NODE_NONE ? NULL : &j->small.g.nodes[reader];
    if (!n || n->op != &op_batchnorm || ((const batchnorm_attr *)n->attr)->act != ACT_NONE) return NULL;
    *e = n->out[0];
    return n;
}

/* Gamma over the deviation; a channel that is all but switched off asks for nothing. */
static void find_gain(const job *j, fitting *f, const node *norm)
{
    for (int64_t c = 0; c < f->out.dim[3]; c++) {
        f->gain[c] = 1;
        if (!norm) continue;
        const float *gamma = j->small.g.edges[norm->in[1]].data, *var = j->small.g.edges[norm->in[4]].data;
        f->gain[c] = gamma[c] / sqrt(var[c] + ((const batchnorm_attr *)norm->attr)->epsilon);
    }
}

static status find_neighbours(job *j, fitting *f, const node *n)
{
    edge_id e = n->out[0];
    const node *norm = batchnorm_behind(j, &e);
    f->bias = n->in_count > 2 ? n->in[2] : EDGE_NONE;
    if (f->bias != EDGE_NONE && j->uses.count[f->bias] != 1) f->bias = EDGE_NONE;
    f->mean = norm && f->bias == EDGE_NONE && j->uses.count[norm->in[3]] == 1 ? norm->in[3] : EDGE_NONE;
    f->other = EDGE_NONE;
    node_id reader = edge_only_reader(&j->uses, e);
    if (reader == NODE_NONE || j->small.g.nodes[reader].op != &op_add) return OK;
    const node *add = &j->small.g.nodes[reader];
    edge_id other = add->in[0] == e ? add->in[1] : add->in[0];
    const edge *o = &j->small.g.edges[other];
    if (other == e || o->kind != EDGE_ACTIVATION || o->producer > f->node || !j->touched[other]) return OK;
    f->other = other;
    f->gain = ARENA_ARRAY(&j->memory, double, f->out.dim[3]);
    if (!f->gain) return FAIL_MEMORY(f->out.dim[3] * 8);
    find_gain(j, f, norm);
    return OK;
}

static status prepare(job *j, fitting *f, node_id i)
{
    const graph *g = &j->small.g;
    const node *n = &g->nodes[i];
    *f = (fitting){.node = i,
        .in = as_map(g->edges[n->in[0]].shape),
        .weight = g->edges[n->in[1]].shape,
        .out = as_map(g->edges[n->out[0]].shape)};
    shape dense = j->dense.g.edges[j->dense.g.nodes[i].out[0]].shape;
    f->dense_channels = dense.dim[dense.rank - 1];
    f->conv = (conv2d_attr){.stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
    if (n->op == &op_conv2d) f->conv = *(const conv2d_attr *)n->attr;
    if (f->conv.groups < 1) f->conv.groups = 1;
    int64_t inputs = shape_count(f->weight) / f->weight.dim[0];
    f->pixels = prune_pixels(j->images, f->in.dim[0], inputs, f->out.dim[1] * f->out.dim[2], ROWS_PER_INPUT);
    f->kept = ARENA_ARRAY(&j->memory, int64_t, f->out.dim[3]);
    if (!f->kept) return FAIL_MEMORY(f->out.dim[3] * 8);
    TRY(kept_channels(f->kept, f->out.dim[3], j->map, j->keep, n->name));
    return find_neighbours(j, f, n);
}

/* ------------------------------------------------------------------------------------------------ rows */

/* What group `group` of the layer reads for output pixel (oy, ox) of one image, in the order of a weight's columns. */
static void gather_patch(float *x, const fitting *f, const float *image, int64_t group, int64_t oy, int64_t ox)
{
    int64_t depth = f->weight.dim[3], ih = f->in.dim[1], iw = f->in.dim[2], ic = f->in.dim[3];
    for (int64_t ky = 0; ky < f->weight.dim[1]; ky++)
        for (int64_t kx = 0; kx < f->weight.dim[2]; kx++, x += depth) {
            int64_t y = oy * f->conv.stride[0] - f->conv.pad[0] + ky * f->conv.dilation[0];
            int64_t c = ox * f->conv.stride[1] - f->conv.pad[1] + kx * f->conv.dilation[1];
            if (y < 0 || y >= ih || c < 0 || c >= iw) memset(x, 0, (size_t)depth * sizeof *x);
            else memcpy(x, image + (y * iw + c) * ic + group * depth, (size_t)depth * sizeof *x);
        }
}

/* Asked for at pixel `at` of the batch: the dense output, and what the other branch lacks. */
static void gather_target(float *y, const job *j, const fitting *f, int64_t first, int64_t count, int64_t at)
{
    int64_t oc = f->out.dim[3];
    for (int64_t k = 0; k < count; k++) {
        int64_t c = first + k, dense = at * f->dense_channels + f->kept[c];
        y[k] = j->dense_out[dense];
        if (f->other != EDGE_NONE && fabs(f->gain[c]) > 1e-3)
            y[k] += (float)((j->dense_other[dense] - j->small_other[at * oc + c]) / f->gain[c]);
    }
}

/* Pixels of image `image` of all: different ones in different layers. */
static void add_image(job *j, const fitting *f, least_squares *fits, int64_t in_batch, int64_t *order)
{
    int64_t area = f->out.dim[1] * f->out.dim[2], groups = f->conv.groups, each = f->out.dim[3] / groups;
    int64_t inputs = shape_count(f->weight) / f->weight.dim[0], image = j->small.batch * f->in.dim[0] + in_batch;
    rng r = rng_make(1, RNG_PRUNE, (uint64_t)f->node << 32 | (uint64_t)image);
    for (int64_t i = 0; i < area; i++) order[i] = i;
    for (int64_t i = 0; i < f->pixels; i++) {
        int64_t other = i + rng_below(&r, (uint32_t)(area - i)), swap = order[i];
        order[i] = order[other], order[other] = swap;
    }
    const float *source = j->small_in + in_batch * f->in.dim[1] * f->in.dim[2] * f->in.dim[3];
    for (int64_t g = 0; g < groups; g++) {
        for (int64_t i = 0; i < f->pixels; i++) {
            gather_patch(j->x + i * inputs, f, source, g, order[i] / f->out.dim[2], order[i] % f->out.dim[2]);
            gather_target(j->y + i * each, j, f, g * each, each, in_batch * area + order[i]);
        }
        least_squares_add(&fits[g], j->x, j->y, f->pixels);
    }
}

static status resize(float **values, int64_t count)
{
    free(*values);
    *values = malloc((size_t)count * sizeof **values);
    return *values ? OK : FAIL_MEMORY(count * 4);
}

static status make_buffers(job *j, const fitting *f)
{
    int64_t pixels = f->out.dim[0] * f->out.dim[1] * f->out.dim[2];
    TRY(resize(&j->small_in, shape_count(f->in)));
    TRY(resize(&j->dense_out, pixels * f->dense_channels));
    TRY(resize(&j->dense_other, pixels * f->dense_channels));
    TRY(resize(&j->small_other, shape_count(f->out)));
    TRY(resize(&j->x, f->pixels * shape_count(f->weight) / f->weight.dim[0]));
    return resize(&j->y, f->pixels * f->out.dim[3]);
}

/* Both networks go on to the layer: the dense one through it, the pruned one up to it. */
static status collect(job *j, const fitting *f, least_squares *fits)
{
    const node *small = &j->small.g.nodes[f->node], *dense = &j->dense.g.nodes[f->node];
    edge_id small_wanted[2] = {small->in[0]}, dense_wanted[2] = {dense->out[0]};
    bool joined = f->other != EDGE_NONE;
    if (joined) { /* edges of both graphs have one order */
        small_wanted[1] = f->other;
        dense_wanted[1] =
            j->dense.g.nodes[j->small.g.edges[f->other].producer].out[j->small.g.edges[f->other].producer_slot];
    }
    int64_t *order = ARENA_ARRAY(&j->memory, int64_t, f->out.dim[1] * f->out.dim[2]);
    if (!order) return FAIL_MEMORY(f->out.dim[1] * f->out.dim[2] * 8);
    TRY(make_buffers(j, f));
    TRY(walk_leg(&j->dense, f->node, dense_wanted, 1 + joined));
    TRY(walk_leg(&j->small, f->node - 1, small_wanted, 1 + joined));
    for (int64_t b = 0; b < j->images->batches; b++) {
        TRY(walk_run(&j->dense, b));
        TRY(walk_run(&j->small, b));
        TRY(walk_get(&j->dense, 0, j->dense_out));
        TRY(walk_get(&j->small, 0, j->small_in));
        if (joined) TRY(walk_get(&j->dense, 1, j->dense_other));
        if (joined) TRY(walk_get(&j->small, 1, j->small_other));
        for (int64_t i = 0; i < f->in.dim[0]; i++) add_image(j, f, fits, i, order);
    }
    TRY(walk_arrive(&j->dense));
    return walk_arrive(&j->small);
}

/* ------------------------------------------------------------------------------------------------ the fit */

static status solve(job *j, const fitting *f, least_squares *fits)
{
    graph *g = &j->small.g;
    const node *n = &g->nodes[f->node];
    int64_t each = f->out.dim[3] / f->conv.groups, columns = shape_count(f->weight) / f->weight.dim[0];
    double before = 0, after = 0;
    bool shifts = f->bias != EDGE_NONE || f->mean != EDGE_NONE;
    double *shift = ARENA_ARRAY(&j->memory, double, each);
    if (!shift) return FAIL_MEMORY(each * 8);
    for (int64_t k = 0; k < f->conv.groups; k++) {
        least_squares_fit fit;
        float *weight = (float *)g->edges[n->in[1]].data + k * each * columns;
        float *bias = f->bias != EDGE_NONE ? (float *)g->edges[f->bias].data + k * each : NULL;
        float *mean = f->mean != EDGE_NONE ? (float *)g->edges[f->mean].data + k * each : NULL;
        TRY(least_squares_solve(&fits[k], weight, shifts ? shift : NULL, j->options->ridge, &fit));
        for (int64_t c = 0; bias && c < each; c++) bias[c] = (float)shift[c];
        for (int64_t c = 0; mean && c < each; c++) mean[c] = (float)(mean[c] - shift[c]);
        before += fit.before / f->conv.groups, after += fit.after / f->conv.groups;
    }
    log_verbose(j->options->data->log, "    %-28s error %.4f -> %.4f of the variance", n->name, before, after);
    j->before += before, j->after += after, j->fitted++;
    return OK;
}

static status fit_node(job *j, node_id i)
{
    fitting f;
    least_squares *fits = NULL;
    status result = OK;
    TRY_OUT(prepare(j, &f, i));
    int64_t groups = f.conv.groups;
    fits = ARENA_ARRAY(&j->memory, least_squares, groups);
    if (!fits) TRY_OUT(FAIL_MEMORY(groups * sizeof *fits));
    for (int64_t k = 0; k < groups; k++)
        TRY_OUT(least_squares_init(&fits[k], shape_count(f.weight) / f.weight.dim[0], f.out.dim[3] / groups));
    TRY_OUT(collect(j, &f, fits));
    TRY_OUT(solve(j, &f, fits));
out:
    for (int64_t k = 0; fits && k < f.conv.groups; k++) least_squares_free(&fits[k]);
    arena_free(&j->memory);
    return result;
}

static status fit_all(job *j)
{
    const graph *g = &j->small.g;
    for (node_id i = 0; i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        bool differ = inputs_differ(j, i);
        for (int32_t k = 0; differ && k < n->out_count; k++)
            if (n->out[k] != EDGE_NONE) j->touched[n->out[k]] = true;
        if (differ && can_be_fitted(j, n)) TRY(fit_node(j, i));
        log_progress(j->options->data->log, false, "prune: layer %d/%" PRId64, (int)i + 1, g->node_count);
    }
    return OK;
}

static status check_twins(const job *j)
{
    if (j->small.g.node_count != j->dense.g.node_count)
        return FAIL(E_INTERNAL, "the pruned network has other nodes than its source");
    for (node_id i = 0; i < j->small.g.node_count; i++)
        if (strcmp(j->small.g.nodes[i].name, j->dense.g.nodes[i].name) != 0)
            return FAIL(E_INTERNAL, "node %d of the pruned network is another one than its source's", i);
    return OK;
}

status reconstruct(
    graph *g, channel_map *m, const bool *keep, const prune_options *o, const prune_images *images, double *error)
{
    job j = {.map = m, .keep = keep, .options = o, .images = images};
    const prune_data *data = o->data;
    status result = OK;
    TRY_OUT(walk_init(&j.dense, m->g, images, data->batch, data->dev, BUDGET_BYTES));
    TRY_OUT(walk_init(&j.small, g, images, data->batch, data->dev, BUDGET_BYTES));
    TRY_OUT(check_twins(&j));
    TRY_OUT(edge_uses_init(&j.uses, &j.small.g));
    j.touched = calloc((size_t)j.small.g.edge_count, sizeof *j.touched);
    if (!j.touched) TRY_OUT(FAIL_MEMORY(j.small.g.edge_count));
    TRY_OUT(fit_all(&j));
    copy_values(g, &j.small.g);
    error[0] = j.fitted ? j.before / (double)j.fitted : 0, error[1] = j.fitted ? j.after / (double)j.fitted : 0;
out:
    walk_free(&j.dense), walk_free(&j.small);
    edge_uses_free(&j.uses);
    free(j.touched);
    free(j.dense_out), free(j.small_in), free(j.dense_other), free(j.small_other), free(j.x), free(j.y);
    return result;
}
