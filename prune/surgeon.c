/* Which channels the others can best stand in for: the optimal brain surgeon for whole channels (Hassibi and Stork,
 * Second order derivatives for network pruning, NIPS 1992; layer by layer, with inputs' covariance as Hessian: Frantar
 * and Alistarh, Optimal brain compression, NeurIPS 2022, eq. 3 to 5).
 *
 * A layer computes W x. When channel c of x is removed and the other channels take over its part by least squares, the
 * mean square of the change of the layer's outputs is
 *
 *     |W_c|^2 / [C^-1]_cc     C: covariance of x over images and pixels, of the channels that are left
 *
 * where |W_c|^2 sums over outputs and taps. Neighbouring pixels are taken as independent, and outputs are scaled as
 * batch normalisation scales them. After each removal W and C^-1 are updated to the channels that are left. Of W only P
 * = W'W is needed. A change is counted as a part of the outputs' variance and summed over all layers that read the
 * channel; the features in front of the last layer count as read by an unknown layer.
 *
 * The next channel to be removed is the one, in the whole network, whose change divided by the square root of the saved
 * products is smallest. Without the root one layer would lose most of its channels. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/ops/op.h"
#include "prune/channels.h"
#include "prune/least_squares.h"

enum { ROWS_PER_INPUT = 20, ROWS_LEAST = 2 };
static const int64_t BUDGET_BYTES = (int64_t)1 << 30; /* of stored activations */
static const double TINY = 1e-300;

/* A weight that mixes channels; or the features, by themselves. Edges are those of the walk's graph. */
typedef struct reader {
    edge_id input, weight;     /* weight: EDGE_NONE for features                                         */
    int64_t inputs, *root;     /* [inputs]: class of each                                                */
    bool stands_in;            /* enough rows to tell which channels stand in for others                 */
    double *product;           /* P as part of the outputs' variance: [inputs, inputs], or the diagonal  */
    double *precision;         /* C^-1: [inputs, inputs], or 1 / variance: [inputs]                      */
} reader;

typedef struct use {
    int32_t reader;
    int64_t input;
} use;

typedef struct group {
    int64_t total, left, least; /* classes; the last `least` stay */
} group;

typedef struct job {
    channel_map *map;
    const prune_options *options;
    const prune_images *images;
    walk walk;
    reader *readers;
    int32_t reader_count;
    int64_t *first_use;        /* [element_count + 1], by root: its uses are [first_use[r], first_use[r + 1]) */
    use *uses;
    group *groups;             /* [group_count]                                                               */
    int64_t *members, member_count; /* roots of classes that may go                                          */
    double *saved;             /* [element_count], by root                                                    */
    double *cost;              /* [element_count], by root                                                    */
    bool *gone;                /* [element_count], by root                                                    */
    double *share, *before;    /* [inputs of the widest reader]                                               */
    arena memory;
} job;

/* ------------------------------------------------------------------------------------------------ who reads what */

static int64_t last_dim(const graph *g, edge_id e) { return g->edges[e].shape.dim[g->edges[e].shape.rank - 1]; }

static status add_reader(job *j, edge_id input, edge_id weight, int64_t first)
{
    reader *r = &j->readers[j->reader_count++];
    *r = (reader){.input = input, .weight = weight, .inputs = last_dim(&j->walk.g, input)};
    r->root = ARENA_ARRAY(&j->memory, int64_t, r->inputs);
    if (!r->root) return FAIL_MEMORY(r->inputs * 8);
    for (int64_t k = 0; k < r->inputs; k++) r->root[k] = channel_root(j->map, first + k);
    return OK;
}

/* Grouped convolutions mix no channels of different classes, or are pinned. */
static status find_readers(job *j)
{
    const graph *g = &j->walk.g, *whole = j->map->g;
    j->readers = ARENA_ARRAY(&j->memory, reader, g->node_count + g->output_count);
    if (!j->readers) return FAIL_MEMORY(g->node_count * sizeof(reader));
    for (node_id i = 0; i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        if (n->op->coupling != COUPLE_WEIGHT || g->edges[n->in[0]].kind == EDGE_INPUT) continue;
        edge_id weight = graph_find_edge(whole, g->edges[n->in[1]].name);
        if (weight == EDGE_NONE || last_dim(whole, weight) != last_dim(g, n->in[0])) continue;
        TRY(add_reader(j, n->in[0], n->in[1], j->map->column[weight]));
    }
    for (int32_t k = 0; k < g->output_count; k++)
        TRY(add_reader(
            j, features_behind(g, g->outputs[k]), EDGE_NONE, j->map->first[features_behind(whole, whole->outputs[k])]));
    return OK;
}

static status index_uses(job *j)
{
    int64_t count = 0, widest = 1, *next = ARENA_ARRAY(&j->memory, int64_t, j->map->element_count);
    j->first_use = ARENA_ARRAY(&j->memory, int64_t, j->map->element_count + 1);
    if (!next || !j->first_use) return FAIL_MEMORY(j->map->element_count * 16);
    for (int32_t r = 0; r < j->reader_count; r++) {
        for (int64_t k = 0; k < j->readers[r].inputs; k++) j->first_use[j->readers[r].root[k] + 1]++;
        count += j->readers[r].inputs;
        if (j->readers[r].inputs > widest) widest = j->readers[r].inputs;
    }
    for (int64_t r = 0; r < j->map->element_count; r++)
        j->first_use[r + 1] += j->first_use[r], next[r] = j->first_use[r];
    j->uses = ARENA_ARRAY(&j->memory, use, count);
    j->share = ARENA_ARRAY(&j->memory, double, widest), j->before = ARENA_ARRAY(&j->memory, double, widest);
    if (!j->uses || !j->share || !j->before) return FAIL_MEMORY((count + widest) * 16);
    for (int32_t r = 0; r < j->reader_count; r++)
        for (int64_t k = 0; k < j->readers[r].inputs; k++) j->uses[next[j->readers[r].root[k]]++] = (use){r, k};
    return OK;
}

/* ----------------------------------------------------------------------------- what images say of a reader's inputs */

/* Pixels of an image that are looked at. */
static int64_t pixels_of(const job *j, const reader *r)
{
    shape s = j->walk.g.edges[r->input].shape;
    return prune_pixels(j->images, s.dim[0], r->inputs, s.rank == 4 ? s.dim[1] * s.dim[2] : 1, ROWS_PER_INPUT);
}

/* x [pixels, inputs] of one image. */
static void pick_pixels(float *x, const float *image, int64_t inputs, int64_t area, int64_t pixels, rng *random)
{
    for (int64_t p = 0; p < pixels; p++) {
        int64_t at = pixels == area ? p : rng_below(random, (uint32_t)area);
        memcpy(x + p * inputs, image + at * inputs, (size_t)inputs * sizeof *x);
    }
}

/* Sums over pixels: l's; or, where that would be too much of too little, each input's own. */
typedef struct moments {
    least_squares *l;
    double *sum, *square; /* [inputs] */
    int64_t rows;
} moments;

static void add_pixels(moments *m, const float *x, int64_t inputs, int64_t pixels)
{
    m->rows += pixels;
    if (m->l) least_squares_add(m->l, x, x, pixels);
    for (int64_t i = 0; !m->l && i < inputs * pixels; i++)
        m->sum[i % inputs] += x[i], m->square[i % inputs] += (double)x[i] * x[i];
}

/* The walk goes to the reader's input. */
static status gather_covariances(job *j, const reader *r, moments *m)
{
    const edge *e = &j->walk.g.edges[r->input];
    int64_t pixels = pixels_of(j, r), batch = e->shape.dim[0], area = shape_count(e->shape) / batch / r->inputs;
    float *values = malloc((size_t)shape_count(e->shape) * sizeof *values),
          *x = malloc((size_t)(pixels * r->inputs) * sizeof *x);
    status result = values && x ? OK : FAIL_MEMORY((shape_count(e->shape) + pixels * r->inputs) * 4);
    TRY_OUT(result);
    TRY_OUT(walk_leg(&j->walk, e->producer < j->walk.at ? j->walk.at - 1 : e->producer, &r->input, 1));
    for (int64_t b = 0; b < j->images->batches; b++) {
        rng random = rng_make(2, RNG_PRUNE, (uint64_t)(r - j->readers) << 32 | (uint64_t)b);
        TRY_OUT(walk_run(&j->walk, b));
        TRY_OUT(walk_get(&j->walk, 0, values));
        for (int64_t i = 0; i < batch; i++) {
            pick_pixels(x, values + i * area * r->inputs, r->inputs, area, pixels, &random);
            add_pixels(m, x, r->inputs, pixels);
        }
    }
    TRY_OUT(walk_arrive(&j->walk));
out:
    free(values), free(x);
    return result;
}

/* Of batch normalisation behind the weight, or NULL. */
static const node *find_batchnorm(const graph *g, edge_id weight)
{
    for (node_id i = 0; i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        if (n->op != &op_batchnorm) continue;
        node_id before = g->edges[n->in[0]].producer;
        if (before != NODE_NONE && g->nodes[before].op->coupling == COUPLE_WEIGHT && g->nodes[before].in[1] == weight)
            return n;
    }
    return NULL;
}

/* product = W'W over outputs and taps; of the features 1. diagonal: nothing else of it, [inputs]. */
static void find_products(const job *j, const reader *r, bool diagonal, double *product)
{
    const graph *g = &j->walk.g;
    int64_t n = r->inputs;
    for (int64_t k = 0; r->weight == EDGE_NONE && k < n; k++) product[diagonal ? k : k * n + k] = 1;
    if (r->weight == EDGE_NONE) return;
    const float *w = g->edges[r->weight].data;
    const node *norm = find_batchnorm(g, r->weight);
    const float *gamma = norm ? g->edges[norm->in[1]].data : NULL, *variance = norm ? g->edges[norm->in[4]].data : NULL;
    int64_t rows = shape_count(g->edges[r->weight].shape) / n, taps = rows / g->edges[r->weight].shape.dim[0];
    for (int64_t i = 0; i < rows; i++, w += n) {
        double gain =
            norm ? gamma[i / taps] / sqrt(variance[i / taps] + ((const batchnorm_attr *)norm->attr)->epsilon) : 1;
        for (int64_t a = 0; diagonal && a < n; a++) product[a] += gain * gain * w[a] * w[a];
        for (int64_t a = 0; !diagonal && a < n; a++) {
            double scaled = gain * gain * w[a];
            for (int64_t b = 0; b < n; b++) product[a * n + b] += scaled * w[b];
        }
    }
}

/* P C summed over its diagonal is the outputs' variance. */
static status scale_products(reader *r, const double *covariance, int64_t count)
{
    double spread = 0;
    for (int64_t k = 0; k < count; k++) spread += r->product[k] * covariance[k];
    if (!isfinite(spread))
        return FAIL(
            E_DIVERGED, "a layer's inputs or weights are not finite: the network cannot be pruned by what images show");
    for (int64_t k = 0; spread > 0 && k < count; k++) r->product[k] /= spread;
    return OK;
}

static status open_mixed(job *j, reader *r)
{
    int64_t n = r->inputs;
    least_squares l;
    status result = least_squares_init(&l, n, 0);
    TRY_OUT(result);
    TRY_OUT(gather_covariances(j, r, &(moments){.l = &l}));
    least_squares_covariance(&l, r->precision);
    TRY_OUT(scale_products(r, r->precision, n * n));
    result = symmetric_inverse(r->precision, n, j->options->ridge);
out:
    least_squares_free(&l);
    return result;
}

static status open_diagonal(job *j, reader *r)
{
    int64_t n = r->inputs;
    moments m = {.sum = ARENA_ARRAY(&j->memory, double, n), .square = ARENA_ARRAY(&j->memory, double, n)};
    if (!m.sum || !m.square) return FAIL_MEMORY(n * 16);
    TRY(gather_covariances(j, r, &m));
    for (int64_t k = 0; k < n; k++)
        r->precision[k] = fmax((m.square[k] - m.sum[k] * m.sum[k] / (double)m.rows) / (double)m.rows, TINY);
    TRY(scale_products(r, r->precision, n));
    for (int64_t k = 0; k < n; k++) r->precision[k] = 1 / r->precision[k];
    return OK;
}

static status open_reader(job *j, reader *r)
{
    int64_t images = j->images->batches * j->walk.g.edges[r->input].shape.dim[0];
    r->stands_in = images * pixels_of(j, r) >= ROWS_LEAST * r->inputs;
    int64_t all = r->stands_in ? r->inputs * r->inputs : r->inputs;
    r->product = ARENA_ARRAY(&j->memory, double, all), r->precision = ARENA_ARRAY(&j->memory, double, all);
    if (!r->product || !r->precision) return FAIL_MEMORY(all * 16);
    find_products(j, r, !r->stands_in, r->product);
    return r->stands_in ? open_mixed(j, r) : open_diagonal(j, r);
}

/* -------------------------------------------------------------------------------------- one channel after the other */

/* Change of the layers that read the class, for the root of what it saves. Inputs that never change (precision
 * 0: there is none) count nothing. */
static double cost_of(const job *j, int64_t root)
{
    double sum = 0;
    for (int64_t k = j->first_use[root]; k < j->first_use[root + 1]; k++) {
        const reader *r = &j->readers[j->uses[k].reader];
        int64_t at = j->uses[k].input * (r->stands_in ? r->inputs + 1 : 1);
        if (r->precision[at] > 0) sum += r->product[at] / r->precision[at];
    }
    return sum / sqrt(fmax(j->saved[root], 1));
}

/* The others take over what channel x did: W_k += W_x s_k with s_k = -C^-1_xk / C^-1_xx, and
 * C^-1 loses a row and a column. */
static void remove_channel(job *j, reader *r, int64_t x)
{
    int64_t n = r->inputs;
    if (!r->stands_in || !(r->precision[x * n + x] > 0)) return;
    double own = r->precision[x * n + x], product = r->product[x * n + x], *share = j->share, *before = j->before;
    for (int64_t k = 0; k < n; k++)
        share[k] = k == x ? 0 : -r->precision[x * n + k] / own, before[k] = r->product[x * n + k];
    for (int64_t a = 0; a < n; a++) {
        double *p = r->product + a * n, *c = r->precision + a * n;
        for (int64_t b = 0; share[a] != 0 && b < n; b++) {
            p[b] += share[a] * before[b] + before[a] * share[b] + share[a] * share[b] * product;
            c[b] -= share[a] * share[b] * own;
        }
    }
    for (int64_t k = 0; k < n; k++)
        r->product[x * n + k] = r->product[k * n + x] = r->precision[x * n + k] = r->precision[k * n + x] = 0;
    r->precision[x * n + x] = 1;
}

static void remove_class(job *j, int64_t root)
{
    j->gone[root] = true;
    for (int64_t k = j->first_use[root]; k < j->first_use[root + 1]; k++)
        remove_channel(j, &j->readers[j->uses[k].reader], j->uses[k].input);
    for (int64_t k = j->first_use[root]; k < j->first_use[root + 1]; k++) {
        const reader *r = &j->readers[j->uses[k].reader];
        for (int64_t i = 0; r->stands_in && i < r->inputs; i++) j->cost[r->root[i]] = cost_of(j, r->root[i]);
    }
}

/* saved[root]: parameters or products that go with the class, counted in the whole network. */
static status find_savings(job *j)
{
    channel_map *m = j->map;
    j->saved = ARENA_ARRAY(&j->memory, double, m->element_count);
    if (!j->saved) return FAIL_MEMORY(m->element_count * 8);
    for (int64_t i = 0; i < m->prunable_count; i++) {
        const prunable *p = &m->prunables[i];
        const node *n = &m->g->nodes[p->node];
        double size = j->options->target == TARGET_PARAMS ? (double)shape_count(m->g->edges[p->weight].shape)
                                                          : n->op->macs ? (double)n->op->macs(m->g, n) : 0;
        for (int64_t r = 0; r < p->rows; r++)
            j->saved[channel_root(m, m->first[p->weight] + r)] += size / (double)p->rows;
        int64_t columns = m->column[p->weight] < 0 ? 0 : m->columns[p->weight];
        for (int64_t c = 0; c < columns; c++)
            j->saved[channel_root(m, m->column[p->weight] + c)] += size / (double)columns;
    }
    return OK;
}

static status fill_groups(job *j)
{
    const channel_map *m = j->map;
    j->groups = ARENA_ARRAY(&j->memory, group, m->group_count),
    j->members = ARENA_ARRAY(&j->memory, int64_t, m->element_count);
    if (!j->groups || !j->members) return FAIL_MEMORY(m->element_count * 8);
    for (int64_t r = 0; r < m->element_count; r++) {
        if (m->group[r] < 0) continue;
        group *g = &j->groups[m->group[r]];
        g->total++, g->left++;
        if (m->pinned[r]) g->least = m->element_count;
        else if (j->saved[r] > 0) j->members[j->member_count++] = r;
    }
    for (int32_t k = 0; k < m->group_count; k++)
        if (j->groups[k].least < j->options->min_filters) j->groups[k].least = j->options->min_filters;
    return OK;
}

/* The cheapest class that may go; -1: none. */
static int64_t next_class(const job *j)
{
    int64_t best = -1;
    for (int64_t k = 0; k < j->member_count; k++) {
        int64_t r = j->members[k];
        const group *g = &j->groups[j->map->group[r]];
        if (!j->gone[r] && g->left > g->least && (best < 0 || j->cost[r] < j->cost[best])) best = r;
    }
    return best;
}

/* Those that stay to the end have 1; a change that shrinks while others go counts as it was. */
static void remove_all(job *j, double *score)
{
    double level = TINY;
    for (int64_t r = 0; r < j->map->element_count; r++) j->cost[r] = cost_of(j, r), score[r] = 1;
    for (int64_t best; (best = next_class(j)) >= 0;) {
        level = fmax(level * (1 + 1e-9), j->cost[best]); /* no two are equal: a target can be met */
        score[best] = level;
        j->groups[j->map->group[best]].left--;
        remove_class(j, best);
    }
    for (int64_t k = 0; k < j->member_count; k++)
        if (j->gone[j->members[k]]) score[j->members[k]] /= level;
}

status score_surgeon(channel_map *m, const prune_options *o, const prune_images *images, double **score)
{
    job j = {.map = m, .options = o, .images = images};
    status result = OK;
    *score = ARENA_ARRAY(&m->memory, double, m->element_count);
    j.cost = ARENA_ARRAY(&j.memory, double, m->element_count), j.gone = ARENA_ARRAY(&j.memory, bool, m->element_count);
    if (!*score || !j.cost || !j.gone) TRY_OUT(FAIL_MEMORY(m->element_count * 17));
    TRY_OUT(walk_init(&j.walk, m->g, images, o->data->batch, o->data->dev, BUDGET_BYTES));
    TRY_OUT(find_readers(&j));
    TRY_OUT(index_uses(&j));
    TRY_OUT(find_savings(&j));
    TRY_OUT(fill_groups(&j));
    for (int32_t r = 0; r < j.reader_count; r++) {
        TRY_OUT(open_reader(&j, &j.readers[r]));
        log_progress(o->data->log, false, "prune: looked at layer %d/%d", (int)r + 1, (int)j.reader_count);
    }
    remove_all(&j, *score);
out:
    walk_free(&j.walk);
    arena_free(&j.memory);
    return result;
}
