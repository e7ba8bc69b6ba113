#include "core/graph/transform.h"

status pass_remove_fake_quant(graph *dst, const graph *src)
{
    return graph_bypass(dst, src, &op_fake_quant);
}

bool graph_has_fake_quant(const graph *g)
{
    for (node_id n = 0; n < g->node_count; n++)
        if (g->nodes[n].op == &op_fake_quant) return true;
    return false;
}

status graph_remove_fake_quant(graph *g)
{
    return graph_has_fake_quant(g) ? graph_apply(g, pass_remove_fake_quant) : OK;
}
