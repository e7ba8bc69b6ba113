/* prune_net.h: parameters of a network by name, and random ones, for the tests of prune/. */
#ifndef GRAFT_TESTS_PRUNE_NET_H
#define GRAFT_TESTS_PRUNE_NET_H

#include <math.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/graph/graph.h"

static inline float *values(graph *g, const char *name, int64_t *count)
{
    edge_id e = graph_find_edge(g, name);
    if (e == EDGE_NONE) fail_msg("no edge %s", name);
    if (count) *count = shape_count(g->edges[e].shape);
    return g->edges[e].data;
}

/* Everything random; gammas and variances positive. */
static inline void randomise(graph *g, uint64_t seed)
{
    rng r = rng_make(seed, RNG_TEST, 0);
    for (edge_id e = 0; e < g->edge_count; e++) {
        edge *ed = &g->edges[e];
        if (ed->kind != EDGE_PARAM && ed->kind != EDGE_STATE) continue;
        int64_t count = shape_count(ed->shape);
        bool vector = ed->shape.rank == 1, positive = vector && !strstr(ed->name, "bias") && !strstr(ed->name, "mean");
        double scale = vector ? 0.3 : sqrt(2.0 / ((double)count / (double)ed->shape.dim[0]));
        for (int64_t i = 0; i < count; i++)
            ((float *)ed->data)[i] = positive ? 0.5f + rng_uniform(&r) : (float)scale * rng_normal(&r);
    }
}

#endif
