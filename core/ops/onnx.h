/* onnx.h: how an op meets ONNX. Plain structures: the file format itself (protobuf) is core/onnx's business.
 *
 * An op says in its row (op.onnx) which ONNX operators become it (`read`, may make several nodes) and how its nodes
 * are written (`write`). ONNX counts image dimensions as NCHW, we store NHWC: a value carries which of ONNX's axes
 * each dimension of its edge is, so that a Transpose costs nothing and a real transposition appears only where an op
 * needs another order than it gets.
 *
 *     static status read_relu(onnx_call *c)
 *     {
 *         return onnx_unary(c, &op_activation, &(activation_attr){.act = ACT_RELU});
 *     }
 *     const op_onnx activation_onnx = {.read = {{"Relu", read_relu}, {NULL, NULL}}, .write = write};
 *
 * Attributes and inputs that no rule has asked for are refused by name, as are operators without a rule. Failures are
 * E_MODEL.
 */
#ifndef GRAFT_OPS_ONNX_H
#define GRAFT_OPS_ONNX_H

#include "core/ops/op.h"

/* ------------------------------------------------------------------------------------------------ both directions */

/* Constant values. Booleans are u8. */
typedef struct onnx_tensor {
    const char *name;
    dtype type;
    shape shape;      /* ONNX's order */
    void *data;       /* aligned; shape_count elements */
} onnx_tensor;

typedef enum onnx_attribute_kind {
    ONNX_INT,
    ONNX_FLOAT,
    ONNX_TEXT,
    ONNX_INTS,
    ONNX_FLOATS,
    ONNX_TENSOR,
    ONNX_OTHER
} onnx_attribute_kind;
typedef struct onnx_attribute {
    const char *name;
    onnx_attribute_kind kind;
    int64_t i;
    float f;
    const char *text;
    const int64_t *ints;
    const float *floats;
    int64_t count;    /* of ints, floats */
    const onnx_tensor *tensor;
    bool used;        /* reading: some rule asked for it */
} onnx_attribute;

/* ------------------------------------------------------------------------------------------------ reading */

/* What an ONNX name stands for: a constant or an edge of our graph. */
typedef struct onnx_value {
    const char *name;
    const onnx_tensor *constant;  /* NULL: computed                                                    */
    edge_id edge;
    shape shape;                  /* ONNX's order                                                      */
    int32_t axis[SHAPE_MAX_RANK]; /* dimension j of edge is ONNX's axis[j]                             */
    int64_t chw[3];               /* chw[0] > 0: shape is [n, c*h*w], the edge's order is [n, h*w*c]    */
    int32_t readers;              /* nodes that read it, + 1 if it is an output                        */
    const struct onnx_call *reader; /* the last of them                                                */
    bool merged;                  /* its only reader has been computed with its producer               */
} onnx_value;

enum { ONNX_MAX_IN = 64, ONNX_MAX_OUT = 16, ONNX_NEWEST_OPSET = 28 }; /* DenseNet-201 joins 49 */

/* One ONNX node while it is read. */
typedef struct onnx_call {
    const char *type;            /* "Conv"                                              */
    const char *name;            /* unique; also of the node that it becomes            */
    int64_t opset;
    int32_t in_count, out_count;
    onnx_value *in[ONNX_MAX_IN]; /* NULL: absent                                        */
    uint64_t in_used;            /* bit i: some rule asked for input i                  */
    onnx_value *out[ONNX_MAX_OUT];
    onnx_attribute *attributes;  /* [attribute_count]                                   */
    int32_t attribute_count;
    graph *g;
    arena *memory;               /* for names and constants; lives until the import ends */
    bool done;                   /* computed with an earlier node                       */
} onnx_call;

typedef struct onnx_rule {
    const char *type;
    status (*read)(onnx_call *c);
} onnx_rule;

/* E_MODEL "node 'NAME' (TYPE): ..." */
status onnx_fail(const onnx_call *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Attributes; a value of another kind is E_MODEL. Absent: the given default, or count 0. */
status onnx_int(onnx_call *c, const char *name, int64_t absent, int64_t *value);
status onnx_float(onnx_call *c, const char *name, float absent, float *value);
status onnx_text(onnx_call *c, const char *name, const char *absent, const char **value);
status onnx_ints(onnx_call *c, const char *name, const int64_t **values, int64_t *count);
const onnx_attribute *onnx_find(onnx_call *c, const char *name); /* NULL: absent */

/* Inputs. */
status onnx_need(onnx_call *c, int32_t i, onnx_value **v);  /* present */
bool onnx_has(onnx_call *c, int32_t i);                     /* whether an optional one is there */
status onnx_axis(const onnx_call *c, int64_t given, int32_t rank, int32_t *axis); /* negative counts from the end */
/* Input i as constant integers (i64 or i32), at most `most` of them: shapes, axes, pads. *values lives in c->memory. */
status onnx_const_ints(onnx_call *c, int32_t i, int64_t most, const int64_t **values, int64_t *count);
/* Slice's, from attributes (before opset 10) or constant inputs: [count] each, all of one length. axes and
 * steps NULL: the first ones, 1. */
typedef struct onnx_slice {
    const int64_t *start, *end, *axes, *step;
    int64_t count;
} onnx_slice;
status onnx_slice_read(onnx_call *c, onnx_slice *s);
status onnx_const_scalar(onnx_call *c, int32_t i, double *value); /* one element, any shape */
/* Axes from attribute `name` (older opsets) or constant input i; count 0 when neither is there. */
status onnx_axes(onnx_call *c, const char *name, int32_t i, const int64_t **values, int64_t *count);

/* The edge of a computed value with its dimensions in this order of ONNX's axes; transposed if need
 * be. A constant becomes an edge. */
status onnx_arrange(onnx_call *c, onnx_value *v, const int32_t *axis, edge_id *e);
status onnx_plain(onnx_call *c, onnx_value *v, edge_id *e); /* in ONNX's order */
status onnx_image(onnx_call *c, onnx_value *v, edge_id *e); /* rank 4, channels last; E_MODEL for other ranks */
status onnx_ordered(onnx_call *c, onnx_value *v, edge_id *e); /* in any order of whole axes, as v->axis then says */
/* Two values of equal shape in the order of a. */
status onnx_same_order(onnx_call *c, onnx_value *a, onnx_value *b, edge_id *ea, edge_id *eb);
void onnx_order_plain(int32_t rank, int32_t *axis);
void onnx_order_last(int32_t rank, int32_t last, int32_t *axis); /* `last` behind the others */
/* The edge as it lies. A constant becomes an edge. */
status onnx_edge(onnx_call *c, onnx_value *v, edge_id *e);

/* A parameter (PARAM, STATE or CONST) of type f32 named after the constant, or NAME.suffix when the constant has no
 * name or was used differently before. values: [shape_count(s)] in our order. */
status onnx_param(onnx_call *c, const char *name, const char *suffix, edge_kind kind, param_layout layout, shape s,
    const float *values, edge_id *e);
/* The values of a constant as floats, in ONNX's order; E_MODEL when input i is none. */
status onnx_floats(onnx_call *c, int32_t i, const float **values, shape *s);
void onnx_number(int32_t i, char text[32]);
/* Input i is a constant vector of `count` floats: becomes a parameter. */
status onnx_vector(onnx_call *c, int32_t i, const char *suffix, edge_kind kind, int64_t count, edge_id *e);

/* Appends a node: for the last one of a call suffix is NULL, helpers before it get NAME/suffix. */
status onnx_node(
    onnx_call *c, const op *o, const char *suffix, const void *attr, const edge_id *in, int32_t in_count, edge_id *e);
/* Output 0 is this edge. onnx_put: with dimensions in that order of ONNX's axes. */
status onnx_put(onnx_call *c, edge_id e, const int32_t *axis);
status onnx_put_image(onnx_call *c, edge_id e);
status onnx_put_plain(onnx_call *c, edge_id e);
status onnx_put_same(onnx_call *c, edge_id e, const onnx_value *like); /* same shape and order as `like` */
status onnx_put_value(onnx_call *c, const onnx_value *v);              /* output 0 is v itself: Identity */
status onnx_put_const(onnx_call *c, const onnx_tensor *t);
/* One computed input, elementwise. */
status onnx_unary(onnx_call *c, const op *o, const void *attr);
/* What is one number per channel: the axis that the channels are, and how many they are. */
typedef struct onnx_channels {
    int32_t axis;
    int64_t count;
} onnx_channels;
/* Where every channel gets the same: those that need no transposition. */
onnx_channels onnx_any_channels(const onnx_value *v);
/* Constant input i, of one value or of one per entry of any axis of v but the batch (NCHW, NHWC), as [k->count]. */
status onnx_per_channel(onnx_call *c, const onnx_value *v, int32_t i, onnx_channels *k, float **values);
/* Output 0 = v * scale[channel] + shift[channel], both [k.count]. helper: not the call's last node. */
status onnx_affine(onnx_call *c, onnx_value *v, onnx_channels k, const float *scale, const float *shift, bool helper);
status onnx_repeat(onnx_call *c, float value, int64_t count, float **values);
/* An edge in another shape (same elements in the edge's order). */
status onnx_reshape_edge(onnx_call *c, edge_id from, shape to, edge_id *e);
/* v in another shape (same elements in ONNX's order). */
status onnx_reshape(onnx_call *c, onnx_value *v, shape s);
/* The only node that reads output 0, if it is of this type, else NULL: to be computed along. */
onnx_call *onnx_only_reader(const onnx_call *c, const char *type);
/* `second` has been computed with c: its output 0 is c's. */
void onnx_merge(onnx_call *c, onnx_call *second);

/* Windows of Conv and pools: strides, pads (auto_pad, pads), dilations, kernel_shape from
 * attributes. Only two spatial dimensions. */
typedef struct onnx_window {
    int32_t kernel[2], stride[2], pad[4], dilation[2]; /* pad: top left bottom right */
} onnx_window;
/* v: the image; sides: what the weight says, or NULL: from kernel_shape. */
status onnx_read_window(onnx_call *c, const onnx_value *v, const int32_t *sides, onnx_window *w);

/* ------------------------------------------------------------------------------------------------ writing */

enum { ONNX_OUT_ATTRIBUTES = 8, ONNX_OUT_IN = 8 };
typedef struct onnx_out_node {
    const char *type, *name;
    const char *in[ONNX_OUT_IN]; /* "": absent */
    int32_t in_count;
    const char *out;
    onnx_attribute attribute[ONNX_OUT_ATTRIBUTES];
    int32_t attribute_count;
} onnx_out_node;

/* A graph on its way out. Images are NCHW there, everything else as here. */
typedef struct onnx_sink {
    const graph *g;
    arena memory;
    /* [edge_count]: of the float tensor that is the edge, or becomes it by quantising; NULL: not made yet */
    const char **name;
    /* [edge_count]: of an integer edge behind QuantizeLinear and DequantizeLinear */
    const char **dequantised;
    /* [edge_count]: rank 4: the edge is that image flattened, and the tensor has ONNX's order (c, h, w) */
    shape *flat;
    onnx_out_node *nodes;
    int64_t node_count, node_capacity;
    onnx_tensor *tensors;
    int64_t tensor_count, tensor_capacity;
    /* Preprocessing inside: what convolutions read from input 0 is, per channel of the network, the tensor times scale;
     * reversed: the tensor's channels are in the other order. NULL and false: the tensor is the input. */
    const float *input_scale;
    bool input_reversed;
} onnx_sink;

/* Tensor to read e as floats: integer edges through QuantizeLinear and
 * DequantizeLinear, which are made on first use. */
status onnx_read_name(onnx_sink *s, edge_id e, const char **name);
/* The same before quantising: for ops that pass integers through. */
status onnx_raw_name(onnx_sink *s, edge_id e, const char **name);
/* The same for ops that care for the order of values: a flattened image is turned to ours first. */
status onnx_ordered_name(onnx_sink *s, edge_id e, const char **name);
/* "BASE/part", or "BASE.part" when the part begins with a dot as parameters do, in the sink's memory. */
status onnx_name(onnx_sink *s, const char *base, const char *part, const char **name);
/* A constant "BASE/part"; data is copied. */
status onnx_const_out(
    onnx_sink *s, const char *base, const char *part, dtype type, shape sh, const void *data, const char **name);
status onnx_ints_out(
    onnx_sink *s, const char *base, const char *part, const int64_t *values, int64_t count, const char **name);
/* Appends a node with these inputs ("": absent) and output; attributes are added to *n, which is valid until the next
 * call. The node is named after its output. */
status onnx_node_out(
    onnx_sink *s, const char *type, const char *const *in, int32_t in_count, const char *out, onnx_out_node **n);
void onnx_attr_int(onnx_out_node *n, const char *name, int64_t value);
void onnx_attr_float(onnx_out_node *n, const char *name, float value);
void onnx_attr_text(onnx_out_node *n, const char *name, const char *value);
void onnx_attr_ints(onnx_sink *s, onnx_out_node *n, const char *name, const int64_t *values, int64_t count);
/* Output 0 of the node gets the name of its edge: to be called once its tensor is made. */
void onnx_made(onnx_sink *s, const node *n);
/* Tensor `from`, then the activation (bounds in units of `unit`): output 0 of the node. */
status onnx_act_out(onnx_sink *s, const node *n, const char *from, activation act, float alpha, float beta, float unit);
/* Name for what is made before the activation: the output's own when there is none. */
status onnx_before_act(onnx_sink *s, const node *n, activation act, const char **name);
/* One input, one output, no attributes but those of *o. */
status onnx_simple_out(onnx_sink *s, const node *n, const char *type, onnx_out_node **o);
int32_t onnx_out_axis(int32_t rank, int32_t dimension); /* ONNX's axis of an edge's dimension   */
shape onnx_out_shape(shape s);                          /* [n, h, w, c] as [n, c, h, w]          */
status onnx_write_fail(const node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ------------------------------------------------------------------------------------------------ per op */

enum { ONNX_MAX_RULES = 12 };
typedef struct op_onnx {
    onnx_rule read[ONNX_MAX_RULES]; /* ends with a NULL type */
    status (*write)(onnx_sink *s, const node *n); /* NULL: E_MODEL, the op cannot be written */
} op_onnx;

#endif
