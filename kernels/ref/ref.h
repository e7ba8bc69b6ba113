/* ref.h: what the reference kernels share: activations in double, conversions of whole runs, and checks of descriptors.
 * Internal to kernels/ref. */
#ifndef GRAFT_KERNELS_REF_H
#define GRAFT_KERNELS_REF_H

#include "kernels/kernels.h"

double ref_act(activation act, float alpha, float beta, double x);
float ref_act_f32(activation act, float alpha, float beta, float x); /* every step in f32: integer tensors */
double ref_act_grad(activation act, float alpha, float beta, double x);     /* act'(x), from the input */
double ref_act_grad_dst(activation act, float alpha, float beta, double y); /* act'(x), from y = act(x) */
bool ref_act_known(activation act);
bool ref_act_recoverable(activation act, float alpha); /* whether ref_act_grad_dst can tell */

/* Elements first .. first + count - 1 to and from doubles. */
void ref_load(double *values, const void *data, dtype type, int64_t first, int64_t count);
void ref_store(void *data, dtype type, int64_t first, const double *values, int64_t count);

/* y in f32 to the nearest integer, halves to even, saturated: element i of an integer tensor.
 * Floats are stored as they are. */
void ref_store_f32(void *data, dtype type, int64_t i, float y);

bool ref_is_float(dtype type); /* f32 f16 bf16 f64 */
bool ref_is_i8(dtype type);    /* i8 u8            */
dtype ref_param_type(dtype type); /* of parameters beside tensors of `type`: f64 for f64, else f32 */

/* Whether all dimensions are at least 1 (and, of several, at most 2^31 - 1) and their product is at most 2^40: no
 * product of two of them, or of one and a stride, overflows. */
bool ref_dims_ok(const int64_t *dim, int32_t count);

#endif
