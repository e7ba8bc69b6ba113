#include "core/graph/transform.h"

status pass_remove_fake_quant(graph *dst, const graph *src)
{
    graph_builder b = {0};
    status result = OK;
    TRY_OUT(builder_init(&b, dst, src));
    for (node_id n = 0; n < src->node_count; n++) {
        const node *item = &src->nodes[n];
        if (item->op != &op_fake_quant) TRY_OUT(builder_copy_node(&b, n));
        else TRY_OUT(builder_edge(&b, item->in[0], &b.map[item->out[0]]));
    }
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    if (result != OK) graph_free(dst);
    return result;
}

bool graph_has_fake_quant(const graph *g)
{
    for (node_id n = 0; n < g->node_count; n++)
        if (g->nodes[n].op == &op_fake_quant) return true;
    return false;
}

status graph_remove_fake_quant(graph *g)
{
    graph plain;
    if (!graph_has_fake_quant(g)) return OK;
    TRY(pass_remove_fake_quant(&plain, g));
    graph_free(g);
    *g = plain;
    return OK;
}
