/* net_fill.h: random weights for a network that nobody trained. */
#ifndef GRAFT_TESTS_NET_FILL_H
#define GRAFT_TESTS_NET_FILL_H

#include <math.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/graph/graph.h"

/* Weights of deviation sqrt(2 / fan in), statistics as training leaves them: near 0 and 1, not at them. */
static void net_fill(graph *g, uint64_t seed)
{
    for (edge_id e = 0; e < g->edge_count; e++) {
        edge *p = &g->edges[e];
        if (!p->data || p->type != DTYPE_F32) continue;
        rng r = rng_make(seed, RNG_TEST, (uint64_t)e);
        int64_t count = shape_count(p->shape);
        float sigma = p->shape.rank == 4 ? sqrtf(2.0f / (float)(count / p->shape.dim[0])) : 0.2f;
        bool about_one = p->shape.rank == 1 && (strstr(p->name, "running_var") || strstr(p->name, "weight"));
        for (int64_t i = 0; i < count; i++) {
            float x = sigma * rng_normal(&r);
            ((float *)p->data)[i] = about_one ? fmaxf(0.3f, 1.0f + x) : x;
        }
    }
}

#endif
