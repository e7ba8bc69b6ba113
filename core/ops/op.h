/* op.h: every fact about an operation in one row.
 *
 * ops.def lists the ops; core/ops/x.c has one `const op op_x`; docs/ADDING_AN_OP.md has the rest. Attributes are a
 * plain struct per op, described by a field table so that model files can hold them.
 */
#ifndef GRAFT_OPS_OP_H
#define GRAFT_OPS_OP_H

#include "core/graph/graph.h"
#include "kernels/kernels.h"

typedef enum field_type { FIELD_INT32, FIELD_INT64, FIELD_FLOAT, FIELD_BOOL, FIELD_ENUM } field_type;

/* One attribute as model files know it. */
typedef struct op_field {
    const char *name;
    field_type type;
    size_t offset;
    int32_t count;              /* above 1: a JSON array of this length */
    double min, max;            /* checked on reading                   */
    const char *const *choices; /* FIELD_ENUM, NULL-terminated          */
} op_field;

/* How channels (last dimension) of inputs and outputs hang together, for pruning. */
typedef enum coupling {
    COUPLE_FIXED,   /* channels can't be removed on either side                                                    */
    COUPLE_WEIGHT,  /* output channels are rows of the weight, input channels its columns: conv2d, linear          */
    COUPLE_SAME,    /* all inputs and outputs share channels: activation, pool, add, batchnorm, depthwise conv2d   */
    COUPLE_CONCAT,  /* output channels are the inputs' one after the other                                         */
    COUPLE_FLATTEN  /* output channel = (pixel, channel) of the input                                              */
} coupling;

typedef enum quant_kind {
    QUANT_FLOAT,  /* runs in float only                                           */
    QUANT_CONV,   /* integer products, scale per output channel                   */
    QUANT_PASS,   /* integers go through unchanged, same scale: max pool, relu    */
    QUANT_RESCALE /* integers in and out, each with its scale: add, concat, average pool */
} quant_kind;

/* What one node asks the kernels to do. */
typedef struct kernel_binding {
    kernel_op op;
    kernel_desc desc;            /* zeroed before it is filled                        */
    edge_id in[KERNEL_MAX_IN];   /* in descriptors.def's order; EDGE_NONE: NULL       */
    edge_id out[KERNEL_MAX_OUT];
    int32_t weight_in;           /* which in[] kernel.pack packs; -1: none            */
} kernel_binding;

struct autodiff;
struct graph_builder;
struct loss_terms;

typedef struct op {
    const char *name;            /* in model files: "conv2d" */
    size_t attr_bytes;
    const op_field *fields;      /* ends with a NULL name; NULL: no attributes */
    int32_t in_min, in_max;      /* inputs from in_min on are optional              */
    int32_t out_min, out_count;  /* outputs from out_min on are optional            */
    bool alias;                  /* out 0 is in 0 under another shape: no kernel runs          */
    bool internal;               /* made by autodiff or lowering: never in a model file        */
    /* a sum over the ranks of a training, in 0 to out 0, same shape: no kernel, describe is NULL */
    bool over_ranks;
    bool straight_through;       /* out 0 stands for in 0: a parameter read through it gets its gradient unchanged */
    /* bits: inputs that are the network's raw predictions (graph_heads); 0: it is no head */
    uint32_t head_in;
    /* bit: of these, the scores, whose last dimension counts the classes, perhaps behind a background */
    uint32_t class_in;
    float score_prior;           /* probability of each score in fresh layers (init.h); 0: as they come */
    coupling coupling;
    quant_kind quant;
    int32_t inplace_in;          /* out 0 may take this input's memory if it dies here; -1: none */
    /* bits: inputs that may be 16-bit floats, all of them together; float outputs follow. 0: runs in f32 only */
    int32_t narrow_in;

    /* Shapes and types of the outputs. Checks everything that a file could get wrong. */
    status (*infer)(graph *g, node *n);
    /* The kernel call. The caller has set every in/out of the binding to EDGE_NONE and weight_in to -1. NULL: an alias,
     * or a node that must be lowered first. */
    status (*describe)(const graph *g, const node *n, kernel_binding *binding);
    /* Appends gradient nodes. dout[i]: gradient of output i, or EDGE_NONE. Calls autodiff_add for every input that
     * autodiff_wants. NULL: not differentiable. */
    status (*gradient)(struct autodiff *a, const node *n, const edge_id *dout);
    /* Replaces the node by simpler ones in the graph being built (batchnorm); NULL: stands as it is. */
    status (*lower)(struct graph_builder *b, const node *n);
    int64_t (*macs)(const graph *g, const node *n); /* NULL: 0 */
    /* Attributes that count channels, after pruning gave in[1] this shape (depthwise groups). NULL: there are none. */
    void (*cut)(void *attr, shape weight);
    /* Training: appends what this node is trained by, from inputs for labels that it makes, and its terms; its
     * own forward is for inference alone. grad_scale and loss_scale as of a task's add_loss
     * (core/task/task.h). NULL: nothing. */
    status (*add_loss)(graph *g, const node *n, double grad_scale, edge_id loss_scale, struct loss_terms *terms);
    const struct op_onnx *onnx; /* onnx.h; NULL: ONNX has no such operator */
} op;

extern const op *const op_table[]; /* what a model file may hold; NULL-terminated */
const op *op_find(const char *name); /* in op_table; NULL if unknown */

#define OP(name) extern const op op_##name;
#define ONNX(name) extern const struct op_onnx name##_onnx;
#include "core/ops/ops.def"

bool dtype_is_float(dtype type); /* f32, f16, bf16, f64 */
/* Whether act'(x) follows from act(x): none, relu, relu6, leaky (alpha >= 0), clip.
 * Others are never fused in training. */
bool activation_recoverable(activation act, float alpha);

/* Ranges of attributes are op.fields' business: graph_add refuses what lies outside before infer sees it. */
status op_check_attr(const op *o, const void *attr, const char *node_name); /* E_MODEL: node, field, value, range */

/* Attributes. A zero activation is none. */
/* in: x, weight [oc, kh, kw, ic / groups], bias [oc] or none, add or none, scale [oc] or none, transform coefficients
 * [2, ic] or none */
typedef struct conv2d_attr {
    int32_t stride[2], pad[4] /* top left bottom right */, dilation[2], groups;
    activation act;
    float alpha, beta;
    dtype out_type;           /* of integer products: i8, u8 or f32; float products keep the type of x */
    conv2d_compute compute;   /* of f32 products; of a plan, never in a file */
    conv2d_transform transform; /* with in 5, its coefficients [2, ic]; likewise */
    float add_scale;          /* integer products: what `add` is multiplied with; float: 1 */
    float out_scale;          /* i8, u8 out: its edge.scale */
} conv2d_attr;
/* in: x [n, features] or [n, h, w, c], weight [oc, h, w, c], bias or none, scale or none */
typedef struct linear_attr {
    activation act;
    float alpha, beta;
    dtype out_type;           /* as conv2d */
    conv2d_compute compute;
    float out_scale;
} linear_attr;
typedef struct batchnorm_attr { /* in: x, gamma, beta, running_mean, running_var, add or none: act(bn(x) + add) */
    float epsilon, momentum;
    bool frozen;              /* running statistics even in training; lowering freezes gamma and beta too */
    activation act;
    float alpha, beta;
} batchnorm_attr;
typedef struct activation_attr {
    activation act;
    float alpha, beta;
} activation_attr;
typedef struct pool_attr {
    pool_kind kind;
    int32_t kernel[2], stride[2], pad[4];
    bool global;              /* whole map to 1x1 */
    int32_t adaptive[2];      /* output size; 0: not adaptive */
    bool ceil_mode, count_include_pad;
} pool_attr;
typedef struct binary_attr {  /* add, mul: in a, b */
    activation act;           /* add only */
    float alpha, beta;
    float out_scale;
} binary_attr;
typedef struct pad_attr {
    int64_t before[SHAPE_MAX_RANK], after[SHAPE_MAX_RANK];
    float value;
} pad_attr;
typedef struct slice_attr {   /* takes begin, begin + step, ...: size elements; size 0: to the end; step 0: 1 */
    int64_t begin[SHAPE_MAX_RANK], size[SHAPE_MAX_RANK], step[SHAPE_MAX_RANK];
} slice_attr;
typedef struct transpose_attr {
    int32_t perm[SHAPE_MAX_RANK];
} transpose_attr;
typedef struct reshape_attr { /* dim[0] = -1: the batch, as the input has it */
    int32_t rank;
    int64_t dim[SHAPE_MAX_RANK];
} reshape_attr;
typedef struct concat_attr {
    float out_scale;
} concat_attr;
typedef struct dropout_attr { /* in: x, sample keys i64 [n] */
    float probability;
    int64_t seed;
} dropout_attr;
typedef struct resize_attr {
    int32_t height, width;    /* output size; 0: times factor */
    int32_t factor;
    bool bilinear, align_corners;
} resize_attr;
/* in: logits, targets, class weights or none, valid count or none, loss scale f32 [1] or none; out: loss f64 [1], row
 * losses f32 [rows], and, once autodiff wants it, the gradient of grad_scale * loss scale * loss by the logits */
typedef struct loss_attr {
    float smoothing, grad_scale;
} loss_attr;
/* in: location [n, priors, 4], confidence [n, priors, classes + 1] (channel 0: background), priors f32 [priors, 4] (x0
 * y0 x1 y1, pixels of the network's input); out: detections f32 [n, capacity, 6], as of OP_DETECT_BOXES. In training it
 * is a loss of inputs boxes [n, label_capacity, 4] and box_class */
typedef struct prior_head_attr {
    int64_t classes, capacity, label_capacity /* 0: not known yet */, top_k;
    float threshold, iou, variance[4];
    int32_t width, height;    /* of the network's input */
    float positive, negative; /* as of OP_MATCH_BOXES */
    float location_weight;
} prior_head_attr;
typedef struct ssd_head_attr {
    prior_head_attr head;
    float neg_pos_ratio;      /* as of OP_MULTIBOX_LOSS */
} ssd_head_attr;
/* the same without a background: confidence [n, priors, classes] */
typedef struct retinanet_head_attr {
    prior_head_attr head;
    float alpha, gamma, beta; /* as of OP_FOCAL_LOSS */
    bool per_image;
    bool low_quality;         /* as of OP_MATCH_BOXES, which is bipartite else */
} retinanet_head_attr;
typedef struct quantise_attr {
    float scale;              /* value = integer * scale */
} quantise_attr;
typedef struct fake_quant_attr { /* in: x, range f32 [1] (state; 0: not measured yet); weights: [oc], narrow */
    float momentum;           /* weight of a batch in the range's moving average */
    bool narrow;              /* integers from -127 on */
    int64_t rows;             /* of the range, in lowering only; 0: 1 */
} fake_quant_attr;
typedef struct cast_attr {
    dtype type;
} cast_attr;

#endif
