#include <stdlib.h>

#include "core/graph/transform.h"

enum { BATCHNORM_ADD = 5 };

static status emit(graph_builder *b, const fusion *f)
{
    const graph *src = b->src;
    node n = src->nodes[f->root];
    batchnorm_attr attr = *(const batchnorm_attr *)n.attr;
    attr.act = f->act, attr.alpha = f->alpha, attr.beta = f->beta;
    n.attr = &attr;
    n.out[0] = src->nodes[f->last].out[0];
    if (f->add != EDGE_NONE) {
        n.in[BATCHNORM_ADD] = f->add;
        n.in_count = BATCHNORM_ADD + 1;
    }
    return builder_copy(b, &n);
}

status pass_fuse_training(graph *dst, const graph *src)
{
    graph_builder b = {0};
    status result = OK;
    fusion *fused = heap_alloc_array(src->node_count + 1, sizeof *fused);
    bool *inside = heap_alloc_array(src->node_count + 1, sizeof *inside);
    TRY_OUT(builder_init(&b, dst, src));
    if (!fused || !inside) TRY_OUT(E_MEMORY);
    TRY_OUT(fusion_find(src, &op_batchnorm, true, fused, inside));
    for (node_id n = 0; n < src->node_count; n++) {
        if (inside[n]) continue;
        TRY_OUT(fused[n].root == NODE_NONE ? builder_copy_node(&b, n) : emit(&b, &fused[n]));
    }
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    free(fused);
    free(inside);
    if (result != OK) graph_free(dst);
    return result;
}
