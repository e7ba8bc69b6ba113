#include "core/graph/transform.h"

status pass_lower(graph *dst, const graph *src, bool training)
{
    graph_builder b = {0};
    status result = OK;
    TRY_OUT(builder_init(&b, dst, src));
    b.training = training;
    for (node_id n = 0; n < src->node_count; n++) {
        const node *item = &src->nodes[n];
        TRY_OUT(item->op->lower ? item->op->lower(&b, item) : builder_copy_node(&b, n));
    }
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    if (result != OK) graph_free(dst);
    return result;
}

status pass_lower_training(graph *dst, const graph *src)
{
    return pass_lower(dst, src, true);
}

status pass_lower_inference(graph *dst, const graph *src)
{
    return pass_lower(dst, src, false);
}
