#include "core/graph/init.h"

#include <math.h>

#include "core/base/hash.h"
#include "core/base/rng.h"
#include "core/ops/op.h"

#define SMALL 0.01

static edge *input_of(graph *g, const node *n, int32_t slot)
{
    if (slot >= n->in_count || n->in[slot] == EDGE_NONE) return NULL;
    edge *e = &g->edges[n->in[slot]];
    return e->kind == EDGE_PARAM || e->kind == EDGE_STATE ? e : NULL;
}

static void fill(edge *e, float value)
{
    if (!e) return;
    float *data = e->data;
    for (int64_t i = 0, count = shape_count(e->shape); i < count; i++) data[i] = value;
}

static rng stream_of(const edge *e, uint64_t seed)
{
    return rng_make(seed, RNG_INIT, hash64_text(e->name));
}

static void fill_normal(edge *e, uint64_t seed, float sigma)
{
    rng r = stream_of(e, seed);
    float *data = e->data;
    for (int64_t i = 0, count = shape_count(e->shape); i < count; i++) data[i] = sigma * rng_normal(&r);
}

static void fill_uniform(edge *e, uint64_t seed, float bound)
{
    if (!e) return;
    rng r = stream_of(e, seed);
    float *data = e->data;
    for (int64_t i = 0, count = shape_count(e->shape); i < count; i++) data[i] = rng_uniform_in(&r, -bound, bound);
}

static bool is_read_by(const graph *g, edge_id e, const op *reader)
{
    for (node_id i = 0; i < g->node_count; i++)
        if (g->nodes[i].op == reader && g->nodes[i].in[0] == e) return true;
    return false;
}

/* A product of two normalised maps would be 0 on average, and half of either's gradient lost. */
static bool is_factor(const graph *g, edge_id e)
{
    for (node_id i = 0; i < g->node_count; i++)
        if (g->nodes[i].op == &op_mul && g->nodes[i].in[1] == e) return true;
    return false;
}

static bool is_output(const graph *g, edge_id e)
{
    for (int32_t i = 0; i < g->output_count; i++)
        if (g->outputs[i] == e) return true;
    return false;
}

static double conv_sigma(const graph *g, const node *n, shape weight)
{
    const conv2d_attr *a = n->attr;
    const int64_t *d = weight.dim; /* oc kh kw ic/groups */
    if (is_read_by(g, n->out[0], &op_batchnorm)) return sqrt(2 * a->groups / (double)(d[0] * d[1] * d[2]));
    return n->block < 0 ? SMALL : sqrt(2 / (double)(d[1] * d[2] * d[3]));
}

/* The bias that gives the scores of a head the probability that it asks for: ln(p / (1 - p)). n: in front of it, with
 * nothing between but nodes that move values. 0: it does not ask, or n makes no scores. */
static float score_bias(const graph *g, const node *n)
{
    edge_id e = n->out[0];
    for (node_id i = 0; i < g->node_count; i++) { /* nodes stand in the order of their edges */
        const node *reader = &g->nodes[i];
        bool moves = reader->op == &op_reshape || reader->op == &op_concat;
        for (int32_t k = 0; k < reader->in_count; k++) {
            if (reader->in[k] != e) continue;
            if (moves) {
                e = reader->out[0];
                break;
            }
            double p = (double)reader->op->score_prior;
            if (p > 0 && reader->op->class_in >> k & 1) return (float)log(p / (1 - p));
        }
    }
    return 0;
}

void init_node_params(graph *g, node_id id, uint64_t seed)
{
    const node *n = &g->nodes[id];
    edge *weight = input_of(g, n, 1);
    if (!weight) return;
    if (n->op == &op_conv2d) {
        fill_normal(weight, seed, (float)conv_sigma(g, n, weight->shape));
        bool scores = n->block < 0 && is_read_by(g, n->out[0], &op_activation);
        fill(input_of(g, n, 2), scores ? 1 : score_bias(g, n));
    } else if (n->op == &op_linear && !is_output(g, n->out[0])) {
        fill_normal(weight, seed, (float)SMALL);
        fill(input_of(g, n, 2), 0);
    } else if (n->op == &op_linear) {
        double fan_in = (double)shape_count(weight->shape) / (double)weight->shape.dim[0];
        fill_uniform(weight, seed, (float)(1 / sqrt(fan_in)));
        fill_uniform(input_of(g, n, 2), seed, (float)(1 / sqrt(fan_in)));
    } else if (n->op == &op_batchnorm) {
        fill(weight, 1);
        fill(input_of(g, n, 2), is_factor(g, n->out[0]) ? 1 : 0);
        fill(input_of(g, n, 3), 0);
        fill(input_of(g, n, 4), 1);
    }
}

void init_params(graph *g, uint64_t seed)
{
    for (node_id i = 0; i < g->node_count; i++) init_node_params(g, i, seed);
}
