/* conv2d.c: convolutions: odd sizes, groups, depthwise, dilation, uneven pads, all types, epilogues, transforms. */
#include "tests/check/check.h"

#include <math.h>

/* Window, stride and dilation are drawn where they are 0. */
static void draw_axis(rng *r, int64_t *in, int64_t *out, int32_t *window, int32_t *stride, int32_t *dilation,
    int32_t *first, int32_t *last)
{
    static const int32_t windows[] = {1, 1, 2, 3, 3, 3, 5, 7};
    *window = *window ? *window : windows[rng_below(r, 8)];
    *stride = *stride ? *stride : check_chance(r, 3) ? 1 + (int32_t)rng_below(r, 3) : 1;
    *dilation = *dilation ? *dilation : check_chance(r, 5) ? 2 + (int32_t)rng_below(r, 2) : 1;
    *first = (int32_t)rng_below(r, (uint32_t)*window + 1);
    *last = check_chance(r, 3) ? (int32_t)rng_below(r, 4) : *first;
    *in = check_size(r, check_chance(r, 6) ? 33 : 15);
    int64_t reach = (int64_t)(*window - 1) * *dilation + 1;
    if (*in + *first + *last < reach) *in = reach;
    *out = (*in + *first + *last - reach) / *stride + 1;
}

static void draw_transform(rng *r, conv2d_desc *d, uint32_t one_in)
{
    d->transform = (conv2d_transform){check_chance(r, one_in), ACT_NONE, 0, 0};
    if (d->transform.enabled) d->transform.act = check_chance(r, 2) ? ACT_RELU : ACT_SWISH;
}

static void draw_types(rng *r, kernel_op op, conv2d_desc *d)
{
    conv2d_epilogue *e = &d->epilogue;
    d->src_type = d->weight_type = d->dst_type = e->add_type = check_float_type(r);
    if (op != OP_CONV2D_FORWARD) {
        if (op == OP_CONV2D_DWEIGHT && check_chance(r, 2)) d->weight_type = DTYPE_F32;
        if (d->src_type == DTYPE_F32 && check_chance(r, 3)) d->compute = COMPUTE_F16 + rng_below(r, 3);
        if (op == OP_CONV2D_DWEIGHT) draw_transform(r, d, 3);
        e->add_type = DTYPE_F32;
        return;
    }
    e->has_bias = check_chance(r, 2);
    e->has_add = check_chance(r, 3);
    e->add_scale = check_chance(r, 3) ? 0.37f : 1;
    e->act = check_chance(r, 2) ? check_activation(r, false) : ACT_NONE;
    e->alpha = e->act == ACT_CLIP ? -0.5f : 0.1f;
    e->beta = 3;
    if (check_chance(r, 3)) { /* integers */
        static const dtype outs[] = {DTYPE_I8, DTYPE_U8, DTYPE_F32};
        d->src_type = check_chance(r, 2) ? DTYPE_I8 : DTYPE_U8;
        d->weight_type = DTYPE_I8;
        d->dst_type = outs[rng_below(r, 3)];
        e->add_type = check_chance(r, 3) ? outs[rng_below(r, 3)] : d->dst_type;
        e->has_scale = !check_chance(r, 4);
        return;
    }
    e->has_scale = check_chance(r, 8);
    e->stats = check_chance(r, 6);
    if (d->src_type == DTYPE_F32 && check_chance(r, 3)) d->compute = COMPUTE_F16 + rng_below(r, 3);
    draw_transform(r, d, 6);
    if (!e->has_add) e->add_type = DTYPE_F32, e->add_scale = 0;
}

/* Enough rows and channels for the largest tiles of the GPU's kernels, their edges included, and few products. */
static void draw_wide(rng *r, kernel_op op, conv2d_desc *d)
{
    static const int64_t wide[] = {64, 96, 128, 129, 136, 200}, narrow[] = {3, 8, 16, 24}, rows[] = {8, 16, 31, 32, 33};
    int64_t many = wide[rng_below(r, 6)], few = narrow[rng_below(r, 4)];
    d->n = 1, d->ih = rows[rng_below(r, 5)], d->iw = 32, d->groups = 1;
    d->kh = 1, d->kw = 1 + (int32_t)rng_below(r, 2), d->pl = d->kw - 1;
    d->sh = d->sw = d->dil_h = d->dil_w = 1;
    d->pt = d->pb = d->pr = 0;
    d->oh = d->ih, d->ow = d->iw;
    d->ic = op == OP_CONV2D_FORWARD ? few : many;
    d->oc = op == OP_CONV2D_FORWARD ? many : op == OP_CONV2D_DSRC ? few : wide[rng_below(r, 6)];
    if (op == OP_CONV2D_DWEIGHT && check_chance(r, 3))
        d->n = 10, d->ic = few, d->oc = 8; /* many bands of pixels, small weights */
}

/* Many groups or taps and few pixels, so that the large tiles of the products in f32 are chosen,
 * which look at the number of tiles. */
static void draw_many(rng *r, kernel_op op, conv2d_desc *d)
{
    int64_t few = 1 + rng_below(r, 2), many = 65 + rng_below(r, 9);
    d->n = 1, d->groups = 264;
    d->ih = 1 + rng_below(r, 3), d->iw = 1 + rng_below(r, 3);
    d->kh = 1, d->kw = 1 + 2 * (int32_t)rng_below(r, 2), d->pl = d->pr = d->kw / 2;
    if (op == OP_CONV2D_DWEIGHT)
        d->groups = 1, few = 64 + 8 * rng_below(r, 3), d->kh = d->kw = 3, d->pt = d->pb = d->pl = d->pr = 1;
    d->sh = d->sw = d->dil_h = d->dil_w = 1;
    d->oh = d->ih, d->ow = d->iw;
    d->ic = d->groups * (op == OP_CONV2D_DSRC ? many : few);
    d->oc = d->groups * (op == OP_CONV2D_DSRC ? few : many);
}

/* Channels of each group, and their number. */
static void draw_channels(rng *r, uint32_t kind, bool strips, conv2d_desc *d)
{
    d->groups = 1;
    d->ic = strips ? 8 * (1 + rng_below(r, 10)) : check_size(r, 129);
    d->oc = check_size(r, 129);
    if (kind == 0) d->groups = (int32_t)d->ic, d->oc = d->ic; /* depthwise */
    if (kind == 1) {
        d->groups = 2 + (int32_t)rng_below(r, 4);
        d->ic = check_size(r, 33) * d->groups;
        d->oc = check_size(r, 33) * d->groups;
    }
    if (kind == 2 || kind == 3) { /* whole vectors of channels */
        d->groups = kind == 3 && check_chance(r, 3) ? 2 : 1;
        d->ic = 8 * (int64_t)(kind - 1) * d->groups * (1 + (int64_t)rng_below(r, 5));
        d->oc = 8 * d->groups * (1 + (int64_t)rng_below(r, 10));
    }
}

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    conv2d_desc *d = &desc->conv2d;
    if (check_chance(r, 8)) {
        if (check_chance(r, 8)) draw_many(r, op, d);
        else draw_wide(r, op, d);
        draw_types(r, op, d);
        return;
    }
    do {
        uint32_t kind = rng_below(r, 7);
        bool strips = kind == 0 && check_chance(r, 2); /* the depthwise kernels' own windows */
        d->n = 1 + rng_below(r, 3);
        d->kh = d->kw = strips                ? 3 + 2 * (int32_t)rng_below(r, 2)
                        : check_chance(r, 40) ? 23
                                              : 0; /* now and then hundreds of taps */
        d->sh = d->sw = strips ? 1 + (int32_t)rng_below(r, 2) : 0;
        d->dil_h = d->dil_w = strips ? 1 : 0;
        draw_axis(r, &d->ih, &d->oh, &d->kh, &d->sh, &d->dil_h, &d->pt, &d->pb);
        draw_axis(r, &d->iw, &d->ow, &d->kw, &d->sw, &d->dil_w, &d->pl, &d->pr);
        draw_channels(r, kind, strips, d);
    } while (d->n * d->oh * d->ow * d->oc * d->kh * d->kw * (d->ic / d->groups) > 1500000 ||
             d->n * d->ih * d->iw * d->ic > 60000);
    draw_types(r, op, d);
}

static int64_t window_of(const conv2d_desc *d)
{
    return d->kh * d->kw * (d->ic / d->groups);
}

/* Distance from 1 to the next value among what the factors of products are rounded to; 0: f32 itself. */
static double factor_epsilon(const conv2d_desc *d)
{
    if (d->compute == COMPUTE_TF32) return 0x1p-10;
    if (d->compute != COMPUTE_F32) return dtype_epsilon(d->compute == COMPUTE_F16 ? DTYPE_F16 : DTYPE_BF16);
    return d->src_type == DTYPE_F16 || d->src_type == DTYPE_BF16 ? dtype_epsilon(d->src_type) : 0;
}

/* A transformed input is a factor rounded once more, at worst by epsilon / 2 each: (8 sqrt(n) u + epsilon / 2) M. */
static int64_t terms_of(const conv2d_desc *d, int64_t terms)
{
    if (!d->transform.enabled || factor_epsilon(d) == 0) return terms;
    double root = sqrt((double)terms) + factor_epsilon(d) / 2 / (8 * 0x1p-24);
    return (int64_t)ceil(root * root);
}

static void forward_tensors(const conv2d_desc *d, check_tensors *t)
{
    const conv2d_epilogue *e = &d->epilogue;
    bool integer = d->src_type == DTYPE_I8 || d->src_type == DTYPE_U8;
    int64_t dst = d->n * d->oh * d->ow * d->oc;
    dtype param = check_param(d->src_type);
    /* Scales that spread the sums over about twice the range of i8. */
    double spread = 200 / (sqrt((double)window_of(d)) * 70 * 70);
    t->in[CONV2D_SRC] = (check_tensor){.type = d->src_type, .count = d->n * d->ih * d->iw * d->ic};
    t->in[CONV2D_WEIGHT] = (check_tensor){.type = d->weight_type, .count = d->oc * window_of(d)};
    if (e->has_bias) t->in[CONV2D_BIAS] = (check_tensor){.type = param, .count = d->oc};
    if (e->has_bias && integer) t->in[CONV2D_BIAS].low = -9000, t->in[CONV2D_BIAS].high = 9000;
    if (e->has_add) t->in[CONV2D_ADD] = (check_tensor){.type = e->add_type, .count = dst};
    if (e->has_scale) t->in[CONV2D_SCALE] = (check_tensor){.type = param, .count = d->oc, .low = 0.5, .high = 2};
    if (e->has_scale && integer) t->in[CONV2D_SCALE].low = spread / 4, t->in[CONV2D_SCALE].high = spread;
    if (d->transform.enabled) t->in[CONV2D_TRANSFORM] = (check_tensor){.type = param, .count = 2 * d->ic};
    t->out[0] = (check_tensor){.type = d->dst_type, .count = dst, .terms = window_of(d) + 3};
    t->out[0].terms = terms_of(d, t->out[0].terms);
    /* The integer epilogue is defined to the bit, but for the exponential functions. */
    t->out[0].exact = integer && e->act != ACT_SIGMOID && e->act != ACT_SWISH;
    /* Statistics are of dst as stored: each addend carries the rounding of dst, which
     * counts as that many more terms. */
    double rounding = dtype_epsilon(d->dst_type) / 0x1p-24;
    if (e->stats) t->out[1] = (check_tensor){.type = DTYPE_F64, .count = 2 * d->oc,
        .terms = (int64_t)((double)(d->n * d->oh * d->ow) * (1 + rounding * rounding)) + window_of(d)};
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const conv2d_desc *d = &desc->conv2d;
    check_tensor src = {.type = d->src_type, .count = d->n * d->ih * d->iw * d->ic};
    check_tensor weight = {.type = d->weight_type, .count = d->oc * window_of(d)};
    check_tensor dst = {.type = d->dst_type, .count = d->n * d->oh * d->ow * d->oc};
    if (op == OP_CONV2D_FORWARD) {
        forward_tensors(d, t);
    } else if (op == OP_CONV2D_DSRC) {
        t->in[0] = dst;
        t->in[1] = weight;
        t->out[0] = src;
        t->out[0].terms = d->kh * d->kw * d->oc / d->groups;
    } else {
        t->in[0] = src;
        t->in[1] = dst;
        if (d->transform.enabled)
            t->in[CONV2D_TRANSFORM] = (check_tensor){.type = check_param(d->src_type), .count = 2 * d->ic};
        t->out[0] = weight;
        t->out[0].kept = true;
        t->out[0].terms = terms_of(d, d->n * d->oh * d->ow + 1);
        if (d->oc % 3) t->out[1] = (check_tensor){.type = check_param(d->src_type), .count = d->oc, .kept = true,
            .terms = d->n * d->oh * d->ow + 1};
    }
}

static bool typed(kernel_op op, const check_desc *desc)
{
    const conv2d_desc *d = &desc->conv2d;
    (void)op;
    return d->weight_type == DTYPE_I8 || d->compute != COMPUTE_F32;
}

static bool allows(kernel_op op, const check_desc *desc, check_pattern pattern)
{
    const conv2d_desc *d = &desc->conv2d;
    (void)op;
    if (pattern == PATTERN_INFINITE) return false; /* infinity times the zeros of padding: not defined */
    /* What f16 rounds off denormals does not depend on their size, and every addend of the statistics carries it. */
    if (pattern == PATTERN_DENORMAL && d->epilogue.stats && d->dst_type == DTYPE_F16) return false;
    /* Products of three, and 16-bit squares, would overflow in between. */
    return pattern != PATTERN_LARGE || d->weight_type == DTYPE_I8 ||
        (!d->transform.enabled && !d->epilogue.stats && d->compute == COMPUTE_F32);
}

static int32_t alias(kernel_op op, const check_desc *desc)
{
    const conv2d_desc *d = &desc->conv2d;
    return op == OP_CONV2D_FORWARD && d->epilogue.has_add && d->epilogue.add_type == d->dst_type ? CONV2D_ADD : -1;
}

/* Mutants: the window one row too low; dweight that forgets what was there. */
static size_t mutant_scratch(const void *desc, const void *state)
{
    return check_reference(OP_CONV2D_FORWARD)->scratch_bytes(desc, state);
}

static status shifted_run(const kernel_call *call)
{
    conv2d_desc d = *(const conv2d_desc *)call->desc;
    kernel_call moved = *call;
    d.pt++;
    d.pb--;
    moved.desc = &d;
    return check_reference(OP_CONV2D_FORWARD)->run(&moved);
}

static status forgetful_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    for (int64_t i = 0; i < d->oc * window_of(d); i++) dtype_store(call->out[0], d->weight_type, i, 0);
    return check_reference(OP_CONV2D_DWEIGHT)->run(call);
}

const check_family conv2d_family = {
    .name = "conv2d",
    .op = {OP_CONV2D_FORWARD, OP_CONV2D_DSRC, OP_CONV2D_DWEIGHT},
    .op_count = 3,
    .generate = generate,
    .tensors = tensors,
    .typed = typed,
    .allows = allows,
    .alias = alias,
    .mutant =
        {{.op = OP_CONV2D_FORWARD, .name = "pads off by one", .scratch_bytes = mutant_scratch, .run = shifted_run},
            {.op = OP_CONV2D_DWEIGHT,
                .name = "dweight overwritten",
                .scratch_bytes = mutant_scratch,
                .run = forgetful_run}},
};
