/* kernels.h: arithmetic on raw pointers. One descriptor per operation, one row per implementation.
 *
 * descriptors.def lists the operations: the formula of each, its descriptor and its cost. An implementation ("variant")
 * is one `const kernel` named op__backend_technique, defined in its backend's folder. Every op has a reference,
 * kernels/ref's op__ref_direct; kernels.def lists the faster variants, best first. A variant accepts a descriptor or
 * refuses it with a reason; kernel_select takes the first that accepts. The same lists drive checks and benches.
 *
 *     conv2d_desc d = {.n = 16, .ih = 56, .iw = 56, .ic = 64, ...};
 *     const kernel *k;
 *     TRY(kernel_select(&k, OP_CONV2D_FORWARD, BACKEND_CPU, &d, 0, NULL));
 *     void *state = NULL;
 *     if (k->create) TRY(k->create(&d, &state));                 // once, when a plan is made
 *     if (k->pack) TRY(k->pack(&call));                          // if packed_bytes > 0: whenever the weights change
 *     TRY(k->run(&(kernel_call){.desc = &d, .out = {dst}, .in = {src, weight, bias}, .scratch = scratch}));
 *
 * Conventions. Tensors are dense NHWC; convolution weights [oc, kh, kw, ic/groups]; pointers belong to the backend's
 * device; absent optional tensors are NULL. Names: src dst weight bias, gradients dsrc ddst dweight dbias; dims n ih iw
 * ic oh ow oc kh kw sh sw, pads pt pl pb pr (top left bottom right). `run` allocates nothing, synchronises nothing, and
 * gives the same bits for the same input. dweight, dbias, dgamma, dbeta ACCUMULATE into their tensor; dsrc and all
 * activations are overwritten. Sums are taken in at least f32; reference kernels sum in double and also run on
 * DTYPE_F64 tensors. Every tensor starts at a multiple of 16 bytes on a GPU (a plan's at one of 32 or more):
 * convolutions and fills move 16 bytes at a time. A descriptor is zero-initialised before it is filled, so that
 * descriptors can be compared and hashed as bytes.
 */
#ifndef GRAFT_KERNELS_H
#define GRAFT_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/dtype.h"
#include "core/base/rng.h"
#include "core/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum backend { BACKEND_REF, BACKEND_CPU, BACKEND_CUDA, BACKEND_COUNT } backend;

/* --------------------------------------------------------------------------------------------- parts of descriptors */

typedef enum activation {
    ACT_NONE,
    ACT_RELU,    /* max(x, 0)                */
    ACT_RELU6,   /* min(max(x, 0), 6)        */
    ACT_LEAKY,   /* x > 0 ? x : alpha * x    */
    ACT_SIGMOID, /* 1 / (1 + exp(-x))        */
    ACT_SWISH,   /* x * sigmoid(x)           */
    ACT_CLIP     /* min(max(x, alpha), beta) */
} activation;

/* Optional transform of the input while it is read: x' = act(a[c] * x + d[c]), padding stays 0. Saves storing a
 * normalised activation (PERFORMANCE: a ResNet step is bound by the passes of normalisation). */
typedef struct conv2d_transform {
    bool enabled;
    activation act;
    float alpha, beta;
} conv2d_transform;

/* What happens to the accumulator before it is stored, in this order:
 *     y = acc (+ bias[oc]); y *= scale[oc] (if has_scale); y = fma(add, add_scale, y) (if has_add); y = act(y); round
 *     half to even and saturate when dst is an integer.
 * All of it in f32, each step rounded once: bias and scale are two roundings, add is one (fmaf), exactly what oneDNN
 * does, so that ref, cpu and cuda agree bit for bit on integer results (sigmoid and swish, rounded to an integer: the
 * reference only). Float tensors: the same order, in at least f32. */
typedef struct conv2d_epilogue {
    bool has_bias, has_scale, has_add;
    activation act;
    float alpha, beta;
    float add_scale;  /* 1 when has_add and everything is float */
    dtype add_type;
    bool
        /* also write sum and sum of squares of dst, as stored, per channel: OP_BN_STATS in passing; floats only */
        stats;
} conv2d_epilogue;

typedef enum conv2d_compute {
    COMPUTE_F32,
    COMPUTE_F16,
    COMPUTE_BF16,
    /* what NVIDIA's tensor cores read of an f32: 10 bits of mantissa; nearest, ties away from zero; infinity and NaN as
     * they are */
    COMPUTE_TF32
} conv2d_compute;

/* OP_CONV2D_FORWARD tensors. */
enum {
    CONV2D_SRC,     /* in 0: [n, ih, iw, ic]                                                                */
    CONV2D_WEIGHT,  /* in 1: [oc, kh, kw, ic / groups]                                                      */
    CONV2D_BIAS,    /* in 2: f32 [oc] or NULL (f64 for f64 tensors)                                         */
    CONV2D_ADD,     /* in 3: [n, oh, ow, oc] or NULL; may be the same pointer as dst                        */
    CONV2D_SCALE,   /* in 4: f32 [oc] or NULL                                                               */
    CONV2D_TRANSFORM/* in 5: [2, ic] rows a, d or NULL                                                      */
};

typedef enum pool_kind { POOL_MAX, POOL_AVERAGE } pool_kind;

enum { MOVE_MAX_RANK = 6, CONCAT_MAX = 8 };

/* Values of a box's class that are no class, as labels hold them (core/data/labels.h), and of a
 * prior's match that are no box. */
enum { BOX_CLASS_NONE = -1, BOX_CLASS_IGNORE = -2 };
enum { MATCH_BACKGROUND = -1, MATCH_IGNORED = -2 };

/* Where a picture of a batch lies and what happens to it. `inverse` and `color` are image_warp's (core/data/image.h):
 * row vectors, [x + 0.5, y + 0.5, 1] * inverse = position in the source, [r g b 1] * color on 0 .. 1. */
typedef struct image_source {
    int64_t offset; /* bytes from src to its first pixel                                                       */
    int32_t width, height;
    float inverse[9], color[16];
    float radius_x,
        radius_y; /* of the triangle filter, in source pixels: 1, or more where the map shrinks (antialias)  */
    float fill;   /* 0 .. 255: what lies outside                                                             */
    bool has_color;
} image_source;

/* What changes from step to step lives in device memory, so that a captured step never changes its arguments. */
typedef struct step_state {
    float learning_rate;
    float loss_scale;      /* 1 unless f16 */
    float grad_norm;       /* written by OP_GRAD_CHECK: of the unscaled gradient */
    float clip_factor;     /* written by OP_GRAD_CHECK: min(1, clip / norm)       */
    int64_t step;          /* 1 for the first update: Adam's t                    */
    int32_t finite;        /* written by OP_GRAD_CHECK: 0 = skip the update       */
    int32_t bad_segment;   /* first segment with a non-finite value, or -1        */
    double penalty;        /* written by OP_OPTIMISER: regulariser's value before the update */
} step_state;

/* One parameter tensor in the flat blocks. Segments are in order of their offsets and do not overlap. */
typedef struct param_segment {
    int64_t offset, count;  /* elements */
    float rate_factor;      /* multiplies the learning rate; 0: frozen */
    float decay_factor;     /* 1 or 0: weight decay and penalty apply  */
} param_segment;

typedef enum update_rule { UPDATE_SGD, UPDATE_ADAM, UPDATE_ADAMW, UPDATE_RMSPROP } update_rule;

enum { OPTIMISER_GRAD, OPTIMISER_SEGMENTS };                                                              /* in  */
enum {
    OPTIMISER_WEIGHT,
    OPTIMISER_MOMENT1,
    OPTIMISER_MOMENT2,
    OPTIMISER_EMA,
    OPTIMISER_STATE,
    OPTIMISER_GRAD_ZEROED
}; /* out */

/* ------------------------------------------------------------------------------------------------ the list */

/* struct NAME_desc of each descriptor: descriptors.def. */
#define DESCRIPTOR(name) typedef struct name##_desc name##_desc; struct name##_desc {
#define DESCRIPTOR_END };
#define MEMBER(type, declarator) type declarator;
#include "kernels/descriptors.def"

/* Any of them. */
typedef union kernel_desc {
#define DESCRIPTOR(name) name##_desc name;
#define DESCRIPTOR_END
#include "kernels/descriptors.def"
} kernel_desc;

typedef enum kernel_op {
#define KERNEL_OP(upper, lower, descriptor, flops, bytes) OP_##upper,
#include "kernels/descriptors.def"
    KERNEL_OP_COUNT
} kernel_op;

enum { KERNEL_MAX_IN = 8, KERNEL_MAX_OUT = 6 };

/* One call. Everything it points to outlives it. */
typedef struct kernel_call {
    const void *desc;
    void *out[KERNEL_MAX_OUT];
    const void *in[KERNEL_MAX_IN];
    void *
        /* scratch_bytes(desc, state), 64-byte aligned; contents are undefined before and after               */
        scratch;
    void *
        /* packed_bytes(desc, state): written by pack, kept between calls                                      */
        packed;
    void *
        state; /* made by create, or NULL                                                                             */
    void *
        /* cudaStream_t on a GPU; NULL on the CPU                                                              */
        stream;
} kernel_call;

/* One implementation. Only op, backend, name, refuse (may accept all by returning NULL) and run are obligatory. */
typedef struct kernel {
    kernel_op op;
    backend backend;
    const char *name;                                                /* "conv2d_forward__cpu_dnnl" */
    const char *(*refuse)(const void *desc);                         /* NULL: accepted; else a constant reason */
    status (*create)(const void *desc, void **state);                /* may allocate and compile; not within a step */
    void (*destroy)(void *state);
    size_t (*scratch_bytes)(const void *desc, const void *state);    /* NULL: none */
    size_t (*packed_bytes)(const void *desc, const void *state);     /* NULL: none */
    /* reads the weights in in[] (and their scales), writes packed and state; may allocate; before run, not in a step
     * for i8 */
    status (*pack)(const kernel_call *call);
    status (*run)(const kernel_call *call);
} kernel;

/* All variants of an op on any backend, best first, NULL-terminated. */
const kernel *const *kernel_variants(kernel_op op);
const char *kernel_op_name(kernel_op op);
size_t kernel_desc_bytes(kernel_op op);
const char *backend_name(backend b);

/* The reference, last of its op, accepts every valid descriptor: one that it refuses fails at once (E_INTERNAL), and
 * the other variants are asked only about those it accepts, so they need not check dimensions again. */
/* First variant of `b` that accepts `desc`; on BACKEND_CPU the reference stands in where no cpu variant accepts.
 * prefer: take this variant by name if it accepts (a checkpoint's choice), NULL: best. E_INTERNAL with all refusals
 * when none accepts. verbose: a stream for the choice and the refusals, or NULL (GRAFT_VERBOSE=1). */
status kernel_select(
    const kernel **k, kernel_op op, backend b, const void *desc, const char *prefer, void *verbose_stream);
const kernel *kernel_find(const char *name); /* NULL if unknown */

/* One-line text of a descriptor ("n2ic7ih9iw9oc5kh3kw3...") and back: reproducer lines and the variant cache. */
status kernel_desc_format(kernel_op op, const void *desc, char *text, size_t capacity);
status kernel_desc_parse(kernel_op op, const char *text, void *desc); /* E_USAGE */

/* Multiply-adds and least memory traffic of a call: what a bench divides by its time. */
double kernel_flops(kernel_op op, const void *desc); /* 2 per multiply-add */
double kernel_bytes(kernel_op op, const void *desc);

#ifdef __cplusplus
}
#endif
#endif
