#include "core/ops/op.h"
#include "core/task/detect/detect.h"

/* Every node that is trained by the boxes appends its losses; what it computes for inference is
 * no output of the training graph. */
status detect_add_loss(graph *g, const task_setting *t, double grad_scale, edge_id loss_scale, loss_terms *terms)
{
    label_source labels;
    const node_id nodes = (node_id)g->node_count;
    TRY(t->task->labels(&labels, t));
    *terms = (loss_terms){0};
    for (node_id i = 0; i < nodes; i++) {
        const node *n = &g->nodes[i];
        if (!n->op->add_loss) continue;
        int64_t *capacity = detect_attr_int64(n, "label_capacity");
        if (capacity) *capacity = labels.capacity;
        TRY(n->op->add_loss(g, n, grad_scale, loss_scale, terms));
    }
    if (terms->count == 0) return FAIL(E_MODEL, "the network has no head that learns boxes: model.head says which");
    g->output_count = g->auxiliary_count = 0;
    return OK;
}
