#include "core/train/rates.h"

#include <math.h>

#include "core/train/train_graph.h"

/* Block of the first node that reads the parameter; -1 for the head. */
static int32_t block_of(const graph *g, const char *name)
{
    edge_id e = graph_find_edge(g, name);
    for (node_id n = 0; e != EDGE_NONE && n < g->node_count; n++)
        for (int32_t i = 0; i < g->nodes[n].in_count; i++)
            if (g->nodes[n].in[i] == e) return g->nodes[n].block;
    return -1;
}

void transfer_rates(float *rate, const param_store *store, const graph *g, const task_setting *t, bool fitted)
{
    const spec_transfer *o = &t->spec->transfer;
    int32_t last = graph_last_block(g), first = transfer_first_block(g, t->spec);
    for (int32_t i = 0; i < param_store_segments(store); i++) {
        const char *name = param_store_info(store, i)->name;
        int32_t block = block_of(g, name);
        double depth = block < 0 ? 0 : (double)(last + 1 - block) / (last + 1 - first);
        rate[i] = (float)pow(o->front_rate, depth);
        if (fitted && t->task->is_head(g, 0, name)) rate[i] = (float)o->head_rate;
    }
}
