/* infer.h: what the ops' infer and describe functions share. Only core/ops includes it. */
#ifndef GRAFT_OPS_INFER_H
#define GRAFT_OPS_INFER_H

#include "core/ops/op.h"

/* Input i, or NULL when it is absent. Valid until the graph grows. */
const edge *infer_in(const graph *g, const node *n, int32_t i);

/* E_MODEL "node 'NAME' (OP): ..." */
status infer_fail(const node *n, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Gives output `slot` its type and shape; an edge that is updated in place must have them
 * already. Absent outputs are fine. */
status infer_out(graph *g, const node *n, int32_t slot, dtype type, shape s);
/* of an integer output; E_MODEL unless positive */
status infer_out_scale(graph *g, const node *n, int32_t slot, float scale);

/* Checks of one input; an absent one (optional) passes. */
status infer_is_float(const graph *g, const node *n, int32_t i);            /* f32, f16, bf16, f64 */
status infer_is(const graph *g, const node *n, int32_t i, dtype type, shape s);
status infer_is_vector(const graph *g, const node *n, int32_t i, dtype type, int64_t count);
status infer_rank(const graph *g, const node *n, int32_t i, int32_t low, int32_t high);

/* in 0 .. 2: location, confidence of one class at least and so many backgrounds (0 or 1), priors (multibox_loss.c) */
status infer_is_detector(const graph *g, const node *n, int32_t backgrounds);

dtype param_type(dtype activation_type);       /* of biases and coefficients: f32, for f64 tensors f64 */
int64_t macs_product(const int64_t *factors, int32_t count); /* INT64_MAX instead of an overflow */

/* [n, pixels, channels] of a tensor: first dimension, last one, everything between. Rank 1: n = pixels = 1. */
void shape_split(shape s, int64_t *n, int64_t *pixels, int64_t *channels);

extern const char *const activation_names[]; /* by enum activation, NULL-terminated */
extern const char *const dtype_names[];

/* The rows that every op with a fused activation repeats. */
#define FIELDS_ACTIVATION(type)                                                                                        \
    {"act", FIELD_ENUM, offsetof(type, act), 1, 0, 0, activation_names},                                              \
    {"alpha", FIELD_FLOAT, offsetof(type, alpha), 1, -FLOAT_LIMIT, FLOAT_LIMIT, NULL},                                 \
    {"beta", FIELD_FLOAT, offsetof(type, beta), 1, -FLOAT_LIMIT, FLOAT_LIMIT, NULL}
#define FLOAT_LIMIT 3.0e38
#define FIELDS_END {NULL, FIELD_INT32, 0, 0, 0, 0, NULL}
#define LEAST_IOU 1.0e-6      /* of thresholds that must be above 0 */
#define LEAST_VARIANCE 1.0e-6 /* of encodings of boxes              */
enum { SIZE_LIMIT = 1 << 20 }; /* strides, pads, windows */

#endif
