/* kernels.h: arithmetic on raw pointers. One descriptor per operation, one row per implementation.
 *
 * An implementation ("variant") is one `const kernel` named op__backend_technique, defined in its backend's folder and listed in
 * kernels.def, best first, reference last. It accepts a descriptor or refuses it with a reason; kernel_select takes the
 * first that accepts. The same list drives checks and benches.
 *
 *     conv2d_desc d = {.n = 16, .ih = 56, .iw = 56, .ic = 64, ...};
 *     const kernel *k;
 *     TRY(kernel_select(&k, OP_CONV2D_FORWARD, BACKEND_CPU, &d, 0, NULL));
 *     void *state = NULL;
 *     if (k->create) TRY(k->create(&d, &state));                 // once, when a plan is made
 *     k->pack(&call)                                             // if packed_bytes > 0: whenever the weights change
 *     TRY(k->run(&(kernel_call){.desc = &d, .out = {dst}, .in = {src, weight, bias}, .scratch = scratch}));
 *
 * Conventions. Tensors are dense NHWC; convolution weights [oc, kh, kw, ic/groups]; pointers belong to the backend's device;
 * absent optional tensors are NULL. Names: src dst weight bias, gradients dsrc ddst dweight dbias; dims n ih iw ic oh ow oc
 * kh kw sh sw, pads pt pl pb pr (top left bottom right). `run` allocates nothing, synchronises nothing, and gives the
 * same bits for the same input. dweight, dbias, dgamma, dbeta ACCUMULATE into their tensor; dsrc and all activations are overwritten.
 * Sums are taken in at least f32; reference kernels sum in double and also run on DTYPE_F64 tensors.
 * Every tensor starts at a multiple of 16 bytes on a GPU (a plan's at one of 32 or more): convolutions and fills move 16 bytes at a time.
 * A descriptor is zero-initialised before it is filled, so that descriptors can be compared and hashed as bytes.
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

/* ------------------------------------------------------------------------------------------------ activation */

typedef enum activation {
    ACT_NONE,
    ACT_RELU,    /* max(x, 0)                */
    ACT_RELU6,   /* min(max(x, 0), 6)        */
    ACT_LEAKY,   /* x > 0 ? x : alpha * x    */
    ACT_SIGMOID, /* 1 / (1 + exp(-x))        */
    ACT_SWISH,   /* x * sigmoid(x)           */
    ACT_CLIP     /* min(max(x, alpha), beta) */
} activation;

/* dst = act(src). in: src [count]; out: dst [count]. */
typedef struct act_desc {
    int64_t count;
    dtype type;
    activation act;
    float alpha, beta;
} act_desc;
/* NaN goes in, anything may come out of relu, relu6 and clip (NaN or a bound). */
/* OP_ACT_BACKWARD: dsrc = ddst * act'(src). in: ddst, src; out: dsrc. At kinks: relu' (0) = 0, relu6'(6) = 0, leaky'(0) = alpha,
 * clip' = 0 at both ends (PyTorch's convention for hardtanh). */

/* ------------------------------------------------------------------------------------------------ convolution */

/* Optional transform of the input while it is read: x' = act(a[c] * x + d[c]), padding stays 0. Saves storing a
 * normalised activation (PERFORMANCE: a ResNet step is bound by the passes of normalisation). */
typedef struct conv2d_transform {
    bool enabled;
    activation act;
    float alpha, beta;
} conv2d_transform;

/* What happens to the accumulator before it is stored, in this order:
 *     y = acc (+ bias[oc]); y *= scale[oc] (if has_scale); y = fma(add, add_scale, y) (if has_add); y = act(y); round half to even
 *     and saturate when dst is an integer.
 * All of it in f32, each step rounded once: bias and scale are two roundings, add is one (fmaf), exactly what oneDNN does,
 * so that ref, cpu and cuda agree bit for bit on integer results (sigmoid and swish, rounded to an integer: the reference only).
 * Float tensors: the same order, in at least f32. */
typedef struct conv2d_epilogue {
    bool has_bias, has_scale, has_add;
    activation act;
    float alpha, beta;
    float add_scale;  /* 1 when has_add and everything is float */
    dtype add_type;
    bool stats;       /* also write sum and sum of squares of dst, as stored, per channel: OP_BN_STATS in passing; floats only */
} conv2d_epilogue;

/* Cross-correlation, as every framework's conv2d. Types: src/weight/dst all f32, f16, bf16 (or f64 in ref); or src i8/u8, weight
 * i8, dst i8/u8/f32 with int32 accumulation (refused where kh * kw * ic / groups > 65536: the sum could overflow). dweight may be
 * f32 beside 16-bit src and dst: gradients live in one f32 block. `compute` other than f32: both factors of every product of f32
 * tensors are rounded to it. A transformed input is a factor rounded to `compute` or, of 16-bit tensors, at most to src's type.
 * oh = (ih + pt + pb - ((kh - 1) * dil_h + 1)) / sh + 1, rounded down; ow likewise. */
typedef enum conv2d_compute {
    COMPUTE_F32,
    COMPUTE_F16,
    COMPUTE_BF16,
    COMPUTE_TF32 /* what NVIDIA's tensor cores read of an f32: 10 bits of mantissa; nearest, ties away from zero; infinity and NaN as they are */
} conv2d_compute;

typedef struct conv2d_desc {
    int64_t n, ih, iw, ic, oh, ow, oc;
    int32_t kh, kw, sh, sw, pt, pl, pb, pr, dil_h, dil_w, groups; /* dil 1 = dense */
    dtype src_type, weight_type, dst_type;
    conv2d_compute compute;     /* of the products; integers and 16-bit tensors: COMPUTE_F32 */
    conv2d_transform transform; /* forward and dweight: of src; dsrc: none, see bn_grad_apply */
    conv2d_epilogue epilogue;   /* forward only */
} conv2d_desc;

/* OP_CONV2D_FORWARD tensors. */
enum {
    CONV2D_SRC,     /* in 0: [n, ih, iw, ic]                                                                */
    CONV2D_WEIGHT,  /* in 1: [oc, kh, kw, ic / groups]                                                      */
    CONV2D_BIAS,    /* in 2: f32 [oc] or NULL (f64 for f64 tensors)                                         */
    CONV2D_ADD,     /* in 3: [n, oh, ow, oc] or NULL; may be the same pointer as dst                        */
    CONV2D_SCALE,   /* in 4: f32 [oc] or NULL                                                               */
    CONV2D_TRANSFORM/* in 5: [2, ic] rows a, d or NULL                                                      */
};
/* out 0: dst [n, oh, ow, oc]; out 1: stats f64 [2, oc] or NULL. */

/* OP_CONV2D_DSRC: in ddst [n, oh, ow, oc], weight; out dsrc [n, ih, iw, ic] (overwritten). */
/* OP_CONV2D_DWEIGHT: in src, ddst, in 5 as forward; out dweight (accumulates), dbias [oc] or NULL (accumulates). */

/* ------------------------------------------------------------------------------------------------ batch-norm */

/* Batch normalisation in three steps (Ioffe and Szegedy 2015, algorithm 1), so that a sum over ranks sits between the first and the
 * second, and fusions in the first and third. rows = n*h*w, channels last.
 *
 *   OP_BN_STATS          in src [rows, c]; out stats f64 [2, c] = { sum x, sum x^2 }
 *   OP_BN_FINALISE       in stats, gamma [c], beta [c]; out coef [2, c] = { a, d } with a = gamma * rstd, d = beta - mean * a,
 *                        saved [2, c] = { mean, rstd }, running_mean [c], running_var [c] (both updated in place:
 *                        r = (1 - momentum) * r + momentum * batch; variance unbiased there, biased in rstd)
 *   OP_BN_COEF           in gamma, beta, running_mean, running_var; out coef, saved (evaluation, frozen)
 *   OP_BN_APPLY          in src, coef, add [rows, c] or NULL; out dst = act(a * src + d (+ add))
 *   OP_BN_GRAD_STATS     in ddst, src, dst, coef or NULL; out stats f64 [2, c] = { sum g, sum g * x }, g = ddst * act'(dst)
 *   OP_BN_GRAD_FINALISE  in stats, gamma, saved; out grad_coef [3, c] = { p, q, r }, dgamma [c], dbeta [c] (accumulate, may
 *                        be NULL). frozen: p = gamma * rstd, q = r = 0; stats may then be NULL if dgamma and dbeta are.
 *   OP_BN_GRAD_APPLY     in ddst, src, dst, grad_coef, coef or NULL; out dsrc = p * g + q * x + r, dadd = g or NULL (gradient of `add`)
 *
 * act here must be recoverable from dst alone: none, relu, relu6, leaky (alpha >= 0), clip. dst may be NULL in the gradients when
 * act is none; dadd may be NULL. recompute: dst has not been stored (conv2d_transform) and is NULL; the gradients make it from src and coef:
 * act(fmaf(a, src, d)) in f32 (f64 for f64), rounded to the type, as a GPU's OP_BN_APPLY stores it. A negative biased variance (rounding) counts as 0; with count 1 the unbiased is the biased. */
typedef struct bn_desc {
    int64_t rows, channels;
    double count;      /* values per channel the stats cover: rows, times the ranks when summed over ranks */
    dtype type;        /* of src, dst, add and their gradients; parameters and coefs are f32 (f64 for f64) */
    float epsilon, momentum;
    activation act;
    float alpha, beta; /* of the activation */
    bool has_add, frozen;
    bool recompute;    /* the gradients only */
} bn_desc;

/* ------------------------------------------------------------------------------------------------ pooling */

typedef enum pool_kind { POOL_MAX, POOL_AVERAGE } pool_kind;

/* Window pooling; global pooling is kh = ih, kw = iw. adaptive: output o covers floor(o*ih/oh) .. ceil((o+1)*ih/oh) and the
 * window fields are ignored. Averages divide by kh*kw clipped to the padded input when count_include_pad (PyTorch's rule), else by the pixels inside. Ties of
 * max go to the first in row order; NaN wins, the last of several (PyTorch's rule).
 * OP_POOL_FORWARD: in src; out dst, index i32 [n, oh, ow, c] (position ih*iw of the maximum) or NULL.
 * OP_POOL_BACKWARD: in ddst, index (max only, else NULL); out dsrc. Types f32, f16, bf16, f64; forward also i8, u8
 * (average: int32 sum, f32 divide, half to even). oh and ow are free as long as every window starts inside the input or the
 * padding before it and touches a pixel: PyTorch's ceil_mode is a larger oh with the same pads. */
typedef struct pool_desc {
    int64_t n, ih, iw, c, oh, ow;
    int32_t kh, kw, sh, sw, pt, pl, pb, pr;
    pool_kind kind;
    bool count_include_pad, adaptive;
    dtype type;
} pool_desc;

/* ------------------------------------------------------------------------------------------------ elementwise */

/* OP_ADD: dst = act(a * a_scale + b * b_scale). in a, b; out dst (may alias a). Integers: computed in f32, half to even,
 * saturated; each product is rounded before the sum.
 * b_broadcast holds for OP_ADD too. OP_MUL: dst = a * b; in a, b; out dst. b_broadcast: b is [n, 1, 1, c] against a
 * [n, h*w, c]; also the gradient with respect to a. OP_MUL_REDUCE: gradient with respect to a broadcast b: in ddst, a; out db [n, c] = sum over
 * pixels of ddst * a. */
typedef struct binary_desc {
    int64_t n, pixels, channels; /* count = n * pixels * channels */
    dtype type;
    float a_scale, b_scale;      /* add only; 1 for plain sums */
    activation act;
    float alpha, beta;
    bool b_broadcast;
} binary_desc;

/* OP_CAST: any type to any, one rounding to nearest, half to even, integers saturating (NaN gives 0; i64 beyond 2^53 may lose bits;
 * f64 to f16 or bf16 may pass through f32). in src; out dst.
 * OP_QUANTISE: i8 = saturate(round_half_even(src * inv_scale)) in [-128, 127], u8 in [0, 255] (src f32, f16, bf16; inv_scale = 1 / scale rounded to f32);
 * OP_DEQUANTISE: f32 (f16, bf16) = src * scale, src i8, u8, i32, in f32. */
typedef struct cast_desc {
    int64_t count;
    dtype src_type, dst_type;
    float scale; /* quantise: multiplied (inv_scale); dequantise: multiplied; cast: ignored */
} cast_desc;

/* Fake quantisation: f32 values go through an engine's integers and back (Jacob and others 2018, "Quantization and training of neural networks
 * for integer-arithmetic-only inference", section 3). One scale per row, range / 127; the greatest integer is 127, the least -128, or -127
 * if narrow. A range of at most 1e-30 was never measured: values pass unchanged.
 *   OP_FAKE_QUANT_RANGE     in src [rows, count]; out range f32 [rows], updated: the first time the row's greatest |x|, then
 *                           (1 - momentum) * range + momentum * greatest; momentum 1: overwritten
 *   OP_FAKE_QUANT           in src, range; out dst = saturate(half even(src * (1 / scale))) * scale; NaN stays NaN
 *   OP_FAKE_QUANT_BACKWARD  in ddst, src, range; out dsrc = ddst where nothing was saturated, else 0 (the straight-through estimator) */
typedef struct fake_quant_desc {
    int64_t rows, count; /* count: of one row */
    dtype type;          /* f32, f16, bf16 */
    float momentum;      /* range only */
    bool narrow;
} fake_quant_desc;

/* ------------------------------------------------------------------------------------------------ data movement */

/* OP_PAD: dst gets src at offset `before`; negative pads crop (slice = negative pad); elsewhere `value`. Any type. Every step must be given (1: none). Gradient: OP_PAD with the
 * pads negated; of a strided slice: dims exchanged, the same before and step, scatter. in src; out dst. */
enum { MOVE_MAX_RANK = 6, CONCAT_MAX = 8 };
typedef struct pad_desc {
    int32_t rank;
    int64_t src_dim[MOVE_MAX_RANK], dst_dim[MOVE_MAX_RANK], before[MOVE_MAX_RANK]; /* src i lands at dst i + before */
    int64_t step[MOVE_MAX_RANK]; /* 1, or s: dst takes every s-th element of src from -before on (strided slice) */
    dtype type;
    float value;
    bool scatter;                /* reversed for the gradient of a strided slice: dst is zero, then dst[i*step - before] = src[i] */
} pad_desc;

/* OP_TRANSPOSE: dst dimension i is src dimension perm[i]. in src; out dst. */
typedef struct transpose_desc {
    int32_t rank;
    int64_t src_dim[MOVE_MAX_RANK];
    int32_t perm[MOVE_MAX_RANK];
    dtype type;
} transpose_desc;

/* OP_CONCAT: along the last dimension. in up to CONCAT_MAX tensors [rows, channels[i]]; out dst [rows, sum]. i8: input i is rescaled by
 * scale[i] (f32, half to even; must be above 0, u8 likewise) unless it is 1; other types ignore scale. Gradient: OP_PAD per input. */
typedef struct concat_desc {
    int64_t rows;
    int32_t inputs;
    int64_t channels[CONCAT_MAX];
    float scale[CONCAT_MAX];
    dtype type;
} concat_desc;

/* OP_RESIZE_FORWARD / BACKWARD: nearest (floor(o * ih / oh)) or bilinear with half-pixel centres (align_corners: corner to corner),
 * edge clamped, no antialias; positions exact (integers or double). Nearest forward takes any type, all else floats. in src [n, ih, iw, c]; out dst [n, oh, ow, c]; backward in ddst, out dsrc. */
typedef struct resize_desc {
    int64_t n, ih, iw, oh, ow, c;
    dtype type;
    bool bilinear, align_corners;
} resize_desc;

/* OP_DROPOUT (forward and backward are the same call): dst = keep ? src / (1 - p) : 0, keep drawn from
 * philox(key, counter = {i / 4 within the sample, sample_key ^ salt}), word i % 4: keep when (word >> 8) * 2^-24 >= p. in src [n, per_sample], sample_keys i64 [n]; out dst. */
typedef struct dropout_desc {
    int64_t n, per_sample;
    dtype type;
    float probability;
    uint64_t key;  /* rng_key(seed, RNG_DROPOUT) */
    uint64_t salt; /* distinguishes dropout layers: hash of the node's name */
} dropout_desc;

/* ------------------------------------------------------------------------------------------------ images */

/* Where a picture of a batch lies and what happens to it. `inverse` and `color` are image_warp's (core/data/image.h): row vectors,
 * [x + 0.5, y + 0.5, 1] * inverse = position in the source, [r g b 1] * color on 0 .. 1. */
typedef struct image_source {
    int64_t offset;             /* bytes from src to its first pixel                                                       */
    int32_t width, height;
    float inverse[9], color[16];
    float radius_x, radius_y;   /* of the triangle filter, in source pixels: 1, or more where the map shrinks (antialias)  */
    float fill;                 /* 0 .. 255: what lies outside                                                             */
    bool has_color;
} image_source;

/* OP_IMAGE_WARP: the augmentation pass. in src u8 (pictures [height, width, channels], anywhere in `bytes`), image_source [n]; out dst
 * [n, height, width, dst_channels] = (colour(sample) - mean) / std; channels beyond `channels` are 0. bgr: blue first, mean and std in that order.
 * The sample at position p is the average of the source's pixels with weights t((x + 0.5 - p.x) / radius_x) t((y + 0.5 - p.y) / radius_y),
 * t(d) = max(0, 1 - |d|), cut at the borders: bilinear for radius 1, Pillow's antialiased bilinear for an upright map's scale. Positions are
 * computed in double, so that all backends agree which lie outside [0, width] x [0, height]: those get `fill`. colour clips to 0 .. 255; grey:
 * r = g = b, red is kept. Nothing is rounded to 8 bits on the way. */
typedef struct image_warp_desc {
    int64_t n, height, width, bytes;
    int32_t channels, dst_channels; /* 1 or 3, at most dst_channels; that at most 4 */
    dtype type;                     /* of dst */
    bool bgr;
    float mean[3], std[3];          /* of 0 .. 255; grey uses [0] */
} image_warp_desc;

/* ------------------------------------------------------------------------------------------------ losses */

/* OP_SOFTMAX_FORWARD: over the last dimension; in src [rows, c]; out dst. OP_SOFTMAX_BACKWARD: in ddst, dst; out dsrc =
 * dst * (ddst - sum(ddst * dst)). */
typedef struct softmax_desc {
    int64_t rows, classes;
    dtype type;
} softmax_desc;

/* OP_SOFTMAX_CE: softmax cross-entropy, loss and gradient in one pass. Targets are distributions; with smoothing e they become
 * t' = (1 - e) * t + e / c (Szegedy and others 2016, section 7); class weights w multiply each term:
 *     loss_i = -sum_c w[c] t'[i,c] log softmax(src_i)[c];   loss = sum_i loss_i / divisor
 * divisor = sum_i sum_c w[c] t[i,c] over the valid rows, the weighted mean of PyTorch. Rows from `valid` on are ignored:
 * their row_loss and dsrc are 0. Nothing valid or divisor 0: loss 0, dsrc 0. row_loss is loss_i, undivided. A term with t' = 0 is 0 whatever
 * the logit.
 * in src [rows, c], targets f32 [rows, c], class_weight f32 [c] or NULL, valid i64 [1] or NULL, loss_scale f32 [1] or NULL (1); out loss
 * f64 [1] (mean), row_loss f32 [rows] or NULL, dsrc [rows, c] or NULL (gradient of loss * grad_scale * loss_scale).
 * OP_SIGMOID_BCE: the same tensors; loss_i = sum_c w[c] (softplus(x) - t x), mean over valid rows * c; t' = (1 - e) t + e / 2.
 * OP_TOP1 (softmax_desc): in scores [rows, classes], targets f32 [rows, classes]; out f64 [1]: in how many rows the first of the largest
 * scores stands where the first of the largest targets stands, and that target is positive. NaN is larger than nothing, and nothing is
 * larger than NaN. */
typedef struct loss_desc {
    int64_t rows, classes;
    dtype type;
    float smoothing;
    float grad_scale; /* 1 / accumulated batches */
} loss_desc;

/* ------------------------------------------------------------------------------------------------ optimiser */

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

/* OP_GRAD_CHECK: in grad f32 [count], segments [segments]; out 0: step_state (loss_scale is read). Norm in double, fixed order, of the
 * segments' elements; clip_norm 0: no clipping (factor 1), as when something is not finite.
 * OP_OPTIMISER: one pass over all parameters. in grad f32 [count], segments; out weight f32 [count], moment1, moment2 (as the rule needs,
 * else NULL), step_state. Does nothing to weights and moments when finite == 0. g = grad / loss_scale * clip_factor + l2_weight *
 * 2 w + l1_weight * sign(w) + weight_decay * w (not adamw), then
 *   sgd      m = momentum * m + g;  w -= lr * (nesterov ? g + momentum * m : m)           (PyTorch's form; m starts as g)
 *   adam     Kingma and Ba 2015, algorithm 1, bias-corrected; epsilon outside the root
 *   adamw    Loshchilov and Hutter 2019: w *= 1 - lr * weight_decay first
 *   rmsprop  v = rho * v + (1 - rho) g^2; m = momentum * m + g / (sqrt(v) + epsilon); w -= lr * m
 * ema f32 [count] or NULL: ema = ema_decay * ema + (1 - ema_decay) * w afterwards. grad is zeroed in passing, all of it and always.
 * lr = learning_rate * rate_factor; decay_factor multiplies weight_decay, l1_weight and l2_weight. rate_factor 0 leaves weight, moments
 * and ema alone and adds no penalty. penalty = sum of l2_weight * w^2 + l1_weight * |w|. moment1 is m (needed by sgd and rmsprop when momentum
 * is not 0), moment2 is v. */
typedef struct optimiser_desc {
    int64_t count;
    int32_t segments;
    update_rule rule;
    float momentum, beta1, beta2, rho, epsilon, weight_decay, l1_weight, l2_weight, ema_decay, clip_norm;
    bool nesterov;
} optimiser_desc;
enum { OPTIMISER_GRAD, OPTIMISER_SEGMENTS };                                                              /* in  */
enum { OPTIMISER_WEIGHT, OPTIMISER_MOMENT1, OPTIMISER_MOMENT2, OPTIMISER_EMA, OPTIMISER_STATE, OPTIMISER_GRAD_ZEROED }; /* out */

/* OP_FILL: out dst [count] = value. */
typedef struct fill_desc {
    int64_t count;
    dtype type;
    float value;
} fill_desc;

/* ------------------------------------------------------------------------------------------------ the list */

/* X(enum suffix, lower-case name, descriptor type) */
#define KERNEL_OPS(X)                                                                                                  \
    X(CONV2D_FORWARD, conv2d_forward, conv2d_desc)                                                                     \
    X(CONV2D_DSRC, conv2d_dsrc, conv2d_desc)                                                                           \
    X(CONV2D_DWEIGHT, conv2d_dweight, conv2d_desc)                                                                     \
    X(BN_STATS, bn_stats, bn_desc)                                                                                     \
    X(BN_FINALISE, bn_finalise, bn_desc)                                                                               \
    X(BN_COEF, bn_coef, bn_desc)                                                                                       \
    X(BN_APPLY, bn_apply, bn_desc)                                                                                     \
    X(BN_GRAD_STATS, bn_grad_stats, bn_desc)                                                                           \
    X(BN_GRAD_FINALISE, bn_grad_finalise, bn_desc)                                                                     \
    X(BN_GRAD_APPLY, bn_grad_apply, bn_desc)                                                                           \
    X(ACT_FORWARD, act_forward, act_desc)                                                                              \
    X(ACT_BACKWARD, act_backward, act_desc)                                                                            \
    X(POOL_FORWARD, pool_forward, pool_desc)                                                                           \
    X(POOL_BACKWARD, pool_backward, pool_desc)                                                                         \
    X(ADD, add, binary_desc)                                                                                           \
    X(MUL, mul, binary_desc)                                                                                           \
    X(MUL_REDUCE, mul_reduce, binary_desc)                                                                             \
    X(CAST, cast, cast_desc)                                                                                           \
    X(QUANTISE, quantise, cast_desc)                                                                                   \
    X(DEQUANTISE, dequantise, cast_desc)                                                                               \
    X(FAKE_QUANT_RANGE, fake_quant_range, fake_quant_desc)                                                             \
    X(FAKE_QUANT, fake_quant, fake_quant_desc)                                                                         \
    X(FAKE_QUANT_BACKWARD, fake_quant_backward, fake_quant_desc)                                                       \
    X(PAD, pad, pad_desc)                                                                                              \
    X(TRANSPOSE, transpose, transpose_desc)                                                                            \
    X(CONCAT, concat, concat_desc)                                                                                     \
    X(RESIZE_FORWARD, resize_forward, resize_desc)                                                                     \
    X(RESIZE_BACKWARD, resize_backward, resize_desc)                                                                   \
    X(DROPOUT, dropout, dropout_desc)                                                                                  \
    X(IMAGE_WARP, image_warp, image_warp_desc)                                                                         \
    X(SOFTMAX_FORWARD, softmax_forward, softmax_desc)                                                              \
    X(SOFTMAX_BACKWARD, softmax_backward, softmax_desc)                                                            \
    X(SOFTMAX_CE, softmax_ce, loss_desc)                                                                               \
    X(SIGMOID_BCE, sigmoid_bce, loss_desc)                                                                             \
    X(TOP1, top1, softmax_desc)                                                                                        \
    X(GRAD_CHECK, grad_check, optimiser_desc)                                                                          \
    X(OPTIMISER, optimiser, optimiser_desc)                                                                            \
    X(FILL, fill, fill_desc)

typedef enum kernel_op {
#define X(upper, lower, desc) OP_##upper,
    KERNEL_OPS(X)
#undef X
    KERNEL_OP_COUNT
} kernel_op;

enum { KERNEL_MAX_IN = 8, KERNEL_MAX_OUT = 6 };

/* One call. Everything it points to outlives it. */
typedef struct kernel_call {
    const void *desc;
    void *out[KERNEL_MAX_OUT];
    const void *in[KERNEL_MAX_IN];
    void *scratch;  /* scratch_bytes(desc, state), 64-byte aligned; contents are undefined before and after               */
    void *packed;   /* packed_bytes(desc, state): written by pack, kept between calls                                      */
    void *state;    /* made by create, or NULL                                                                             */
    void *stream;   /* cudaStream_t on a GPU; NULL on the CPU                                                              */
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
    status (*pack)(const kernel_call *call);                         /* reads the weights in in[] (and their scales), writes packed
                                                                        and state; may allocate; before run, not in a step for i8 */
    status (*run)(const kernel_call *call);
} kernel;

/* All variants of an op on any backend, best first, NULL-terminated. */
const kernel *const *kernel_variants(kernel_op op);
const char *kernel_op_name(kernel_op op);
size_t kernel_desc_bytes(kernel_op op);
const char *backend_name(backend b);

/* The reference, last of its op, accepts every valid descriptor: one that it refuses fails at once (E_INTERNAL), and the other
 * variants are asked only about those it accepts, so they need not check dimensions again. */
/* First variant of `b` that accepts `desc`; on BACKEND_CPU the reference stands in where no cpu variant accepts. prefer: take
 * this variant by name if it accepts (a checkpoint's choice), NULL: best. E_INTERNAL with all refusals when none accepts.
 * verbose: a stream for the choice and the refusals, or NULL (GRAFT_VERBOSE=1). */
status kernel_select(const kernel **k, kernel_op op, backend b, const void *desc, const char *prefer, void *verbose_stream);
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
