#include "core/task/classify/classify.h"

status classify_check(const graph *g, int64_t class_count, const char *what)
{
    if (g->output_count < 1) return FAIL(E_MODEL, "%s: the network has no output", what);
    const edge *scores = &g->edges[g->outputs[0]];
    if (scores->type != DTYPE_F32 || scores->shape.rank != 2)
        return FAIL(E_MODEL, "%s: the network must give f32 scores [n, classes]", what);
    if (class_count > 0 && scores->shape.dim[1] != class_count)
        return FAIL(E_MODEL, "%s: %lld scores for %lld classes", what, (long long)scores->shape.dim[1], (long long)class_count);
    return OK;
}
