/* loss.h: what softmax_ce and sigmoid_bce share: tensors, checks, and a gradient that the forward kernel computes. */
#ifndef GRAFT_OPS_LOSS_H
#define GRAFT_OPS_LOSS_H

#include "core/ops/op.h"

struct autodiff;

extern const op_field loss_fields[];
status loss_infer(graph *g, node *n);
status loss_describe(const graph *g, const node *n, kernel_op o, kernel_binding *b);
/* Asks for output 2, the gradient by the logits. E_INTERNAL unless the loss is what
 * graph_backward was called for (or a sum). */
status loss_gradient(struct autodiff *a, const node *n, const edge_id *dout);

#endif
