#include <stdlib.h>

#include "core/graph/transform.h"

enum { CONV2D_IN_ADD = 3 };

static status emit(graph_builder *b, const fusion *f)
{
    const graph *src = b->src;
    node n = src->nodes[f->root];
    conv2d_attr conv;
    linear_attr linear;
    if (n.op == &op_conv2d) {
        conv = *(const conv2d_attr *)n.attr;
        conv.act = f->act, conv.alpha = f->alpha, conv.beta = f->beta;
        n.attr = &conv;
    } else {
        linear = *(const linear_attr *)n.attr;
        linear.act = f->act, linear.alpha = f->alpha, linear.beta = f->beta;
        n.attr = &linear;
    }
    n.out[0] = src->nodes[f->last].out[0];
    if (f->add != EDGE_NONE) {
        n.in[CONV2D_IN_ADD] = f->add;
        if (n.in_count <= CONV2D_IN_ADD) n.in_count = CONV2D_IN_ADD + 1;
    }
    return builder_copy(b, &n);
}

status pass_fuse_epilogues(graph *dst, const graph *src)
{
    graph_builder b = {0};
    status result = OK;
    int64_t count = src->node_count + 1;
    fusion *conv = HEAP_ARRAY(fusion, count), *linear = HEAP_ARRAY(fusion, count);
    bool *in_conv = HEAP_ARRAY(bool, count), *in_linear = HEAP_ARRAY(bool, count);
    TRY_OUT(builder_init(&b, dst, src));
    if (!conv || !linear || !in_conv || !in_linear) TRY_OUT(E_MEMORY);
    TRY_OUT(fusion_find(src, &op_conv2d, false, conv, in_conv));
    TRY_OUT(fusion_find(src, &op_linear, false, linear, in_linear));
    for (node_id n = 0; n < src->node_count; n++) {
        if (in_conv[n] || in_linear[n]) continue;
        const fusion *f = conv[n].root != NODE_NONE ? &conv[n] : &linear[n];
        TRY_OUT(f->root == NODE_NONE ? builder_copy_node(&b, n) : emit(&b, f));
    }
    TRY_OUT(builder_finish(&b));
out:
    builder_free(&b);
    free(conv);
    free(linear);
    free(in_conv);
    free(in_linear);
    if (result != OK) graph_free(dst);
    return result;
}
