/* internal.h: ops that lowering and autodiff make. They stand beside their forward op and are never in a model
 * file; what distinguishes them is written here, descriptors.def has the arithmetic. Gradient ops hold the
 * shapes that they were made for. */
#ifndef GRAFT_OPS_INTERNAL_H
#define GRAFT_OPS_INTERNAL_H

#include "core/ops/op.h"

/* in: ddst, weight; out: gradient by x. */
extern const op op_conv2d_dsrc;
/* in: x, ddst, transform coefficients [2, ic] or none; out: weight's GRAD edge (or, bias_only, the bias's: x is a
 * plane of ones), bias's GRAD edge. */
extern const op op_conv2d_dweight;
typedef struct conv2d_grad_attr {
    /* linear: a 1x1 convolution over [n, 1, 1, features]; its transform belongs to in 2 of dweight */
    conv2d_attr conv;
    shape src, weight;    /* as the forward node has them                       */
    bool linear;
} conv2d_grad_attr;

/* Batch-norm in steps; every attribute is the batchnorm's. */
extern const op op_bn_stats;         /* in: x; out: stats f64 [2, c]                                            */
extern const op op_bn_finalise;      /* in: stats, gamma, beta; out: coef, saved, running mean, running var     */
extern const op op_bn_coef;          /* in: gamma, beta, running mean, running var; out: coef, saved            */
extern const op op_bn_apply;         /* in: x, coef, add or none; out: dst                                      */
/* The gradients' dst: none without activation, or where coef is there to make it from x. */
extern const op op_bn_grad_stats;    /* in: ddst, x, dst, coef or none; out: stats f64 [2, c]                   */
/* in: saved, gamma, stats (none: frozen, nothing trained); out: grad_coef [3, c], dgamma, dbeta */
extern const op op_bn_grad_finalise;
extern const op op_bn_grad_apply;    /* in: ddst, x, grad_coef, dst, coef or none; out: dx, dadd                */
typedef struct bn_step_attr {
    batchnorm_attr bn;
    double count;         /* finalise: values per channel behind the statistics  */
    bool has_add;
} bn_step_attr;

extern const op op_top1;             /* in: scores [n, classes], targets f32 [n, classes]; out: correct rows, f64 [1] */
/* in: priors [priors, 4], boxes [n, capacity, 4], box_class [n, capacity]; out: match [n, priors] */
extern const op op_match_boxes;
typedef struct match_boxes_attr {
    float positive, negative;
    bool bipartite, low_quality;
} match_boxes_attr;
/* in: location [n, priors, 4], confidence [n, priors, classes + 1], priors, boxes, box_class, match, loss scale f32 [1]
 * or none; out: total, box, class, positives, f64 [1], and, once autodiff wants them, the gradients of total *
 * grad_scale * loss scale by in 0 and in 1. */
extern const op op_multibox_loss;
typedef struct multibox_loss_attr {
    float neg_pos_ratio, location_weight, variance[4], grad_scale;
} multibox_loss_attr;
/* The same without a background: confidence [n, priors, classes]. */
extern const op op_focal_loss;
typedef struct focal_loss_attr {
    float alpha, gamma, beta, location_weight, variance[4], grad_scale;
    bool per_image;
} focal_loss_attr;
/* What losses of matched priors have in common (multibox_loss.c): the shapes of their inputs and outputs, where the
 * confidences have so many channels beside the classes; and their gradients, which come with them. */
status prior_loss_infer(graph *g, node *n, int32_t backgrounds);
status prior_loss_gradient(struct autodiff *a, const node *n, const edge_id *dout);
extern const op op_rank_sum;         /* in: f32 or f64 of any shape; out: its sum over the ranks of a training */

extern const op op_act_backward;     /* in: ddst, x (or dst where the slope follows from it); out: dx */
extern const op op_pool_backward;    /* in: ddst, index or none; out: dx                              */
typedef struct pool_grad_attr {
    pool_attr pool;
    shape src;
} pool_grad_attr;
extern const op op_mul_reduce;       /* in: ddst, a; out: gradient by a broadcast b                   */
typedef struct mul_reduce_attr {
    shape b;
} mul_reduce_attr;
extern const op op_slice_backward;   /* in: ddst; out: dx                                             */
typedef struct slice_grad_attr {
    slice_attr slice;
    shape src;
} slice_grad_attr;
extern const op op_dropout_backward; /* in: ddst, sample keys; out: dx                                */
typedef struct dropout_grad_attr {
    dropout_attr dropout;
    uint64_t salt;        /* the forward node's */
} dropout_grad_attr;
extern const op op_resize_backward;  /* in: ddst; out: dx                                             */
typedef struct resize_grad_attr {
    resize_attr resize;
    shape src;
} resize_grad_attr;
extern const op op_fake_quant_range;    /* in: x; out: range, a state updated in place or [rows] */
extern const op op_fake_quant_backward; /* in: ddst, x, range; out: dx                        */
struct graph_builder;
/* Whether x comes from a fake_quant, through nothing that changes integers. */
bool quantised_input(const graph *g, edge_id x);
/* Lowering: appends what fake-quantises the weight of node n, one range per output channel. */
status quantised_weight(struct graph_builder *b, const node *n, edge_id weight, edge_id *image);
extern const op op_softmax_backward; /* in: ddst, dst; out: dx                                        */

#endif
