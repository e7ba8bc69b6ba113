#include "core/graph/transform.h"

/* An input that dropout alone reads (sample keys) goes with it. */
static void keep_inputs(graph *trimmed, const graph *src)
{
    *trimmed = *src;
    trimmed->input_count = 0;
    for (int32_t k = 0; k < src->input_count; k++) {
        bool read = false, dropped = false;
        for (node_id n = 0; n < src->node_count; n++) {
            const node *item = &src->nodes[n];
            for (int32_t i = 0; i < item->in_count; i++) {
                if (item->in[i] != src->inputs[k]) continue;
                if (item->op == &op_dropout && i == 1) dropped = true;
                else read = true;
            }
        }
        if (read || !dropped) trimmed->inputs[trimmed->input_count++] = src->inputs[k];
    }
}

static status drop_dropout(graph *dst, const graph *src)
{
    graph trimmed; /* borrows all of src */
    keep_inputs(&trimmed, src);
    return graph_bypass(dst, &trimmed, &op_dropout);
}

status pass_inference(graph *dst, const graph *src)
{
    if (src->auxiliary_count == 0) return drop_dropout(dst, src);
    graph without_heads;
    TRY(pass_drop_auxiliary(&without_heads, src));
    status result = drop_dropout(dst, &without_heads);
    graph_free(&without_heads);
    return result;
}
