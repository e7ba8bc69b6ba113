#include <inttypes.h>
#include <stdio.h>

#include "core/ops/internal.h"
#include "core/ops/op.h"
#include "core/task/classify/classify.h"

static status add_class_weights(graph *g, const float_list *weights, int64_t classes, edge_id *e)
{
    *e = EDGE_NONE;
    if (weights->count == 0) return OK;
    if (weights->count != classes)
        return FAIL(E_USAGE, "train.class_loss_weights has %" PRId64 " values, the data set has %" PRId64 " classes",
            weights->count, classes);
    *e = graph_edge(g, "class_weight", EDGE_CONST, DTYPE_F32, shape_1(classes));
    if (*e == EDGE_NONE) return FAIL_MEMORY(classes * sizeof(float));
    for (int64_t i = 0; i < classes; i++) ((float *)g->edges[*e].data)[i] = (float)weights->value[i];
    return OK;
}

/* The loss of output i, times `weight` where the gradient is concerned. */
static status add_output_loss(
    graph *g, const spec_train *o, int32_t i, const edge_id in[5], double grad_scale, edge_id *loss)
{
    const loss_attr attr = {.smoothing = (float)o->label_smoothing, .grad_scale = (float)grad_scale};
    char name[16] = "loss";
    if (i > 0) snprintf(name, sizeof name, "loss%d", (int)i);
    return graph_add(g, o->loss == LOSS_SIGMOID ? &op_sigmoid_bce : &op_softmax_ce, name, &attr, in,
        in[4] != EDGE_NONE ? 5 : in[2] == EDGE_NONE ? 2 : 3, -1, loss);
}

/* The loss of the scores, how many images are right, then the losses of auxiliary scores, which are not logged. */
status classify_add_loss(graph *g, const task_setting *t, double grad_scale, edge_id loss_scale, loss_terms *terms)
{
    const spec *o = t->spec;
    shape s = g->edges[g->outputs[0]].shape;
    int32_t heads = g->output_count, auxiliary_from = heads - g->auxiliary_count;
    edge_id weights, loss, correct;
    if (s.rank != 2) return FAIL(E_MODEL, "the network's output is not [batch, classes]");
    if (heads + 1 > TERM_MAX) return FAIL(E_MODEL, "%d outputs: at most %d can be trained", (int)heads, TERM_MAX - 1);
    edge_id targets = graph_input(g, "targets", DTYPE_F32, s);
    if (targets == EDGE_NONE) return FAIL_MEMORY(sizeof(edge));
    TRY(add_class_weights(g, &o->train.class_loss_weights, s.dim[1], &weights));
    *terms = (loss_terms){0};
    for (int32_t i = 0; i < heads; i++) {
        const edge_id in[5] = {g->outputs[i], targets, weights, EDGE_NONE, loss_scale};
        TRY(add_output_loss(g, &o->train, i, in, grad_scale * (i < auxiliary_from ? 1 : o->model.aux_weight), &loss));
        terms->item[terms->count++] = (loss_term){.edge = loss, .trained = true};
        if (i > 0) continue;
        TRY(graph_add(g, &op_top1, "correct", NULL, (edge_id[]){g->outputs[0], targets}, 2, -1, &correct));
        terms->item[0].tag = terms->item[0].label = "loss";
        terms->item[terms->count++] =
            (loss_term){.edge = correct, .tag = "accuracy", .label = "top-1", .counted = true};
    }
    return OK;
}
