#include "kernels/cpu/dnnl_conv2d.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"
#include "core/base/limits.h"

/* oneDNN generates code into memory without looking whether it got any, and throws through C: nothing that makes a
 * primitive is called without this. 2.6.3 takes 2.2 MB for one at most, over the networks here. */
static status check_room(void)
{
    enum { ROOM = 16 << 20 };
    return limits_check_memory(ROOM, "oneDNN");
}

status dnnl_conv2d_check(dnnl_status_t code, const char *call)
{
    if (code == dnnl_success) return OK;
    if (code == dnnl_out_of_memory) return FAIL(E_MEMORY, "oneDNN: out of memory in %s", call);
    return FAIL(E_INTERNAL, "oneDNN: %s gave status %d", call, (int)code);
}

static dnnl_data_type_t data_type(dtype type)
{
    switch (type) {
    case DTYPE_F32: return dnnl_f32;
    case DTYPE_BF16: return dnnl_bf16;
    case DTYPE_I8: return dnnl_s8;
    case DTYPE_U8: return dnnl_u8;
    default: return dnnl_data_type_undef;
    }
}

static dnnl_status_t nhwc(dnnl_memory_desc_t *md, int64_t n, int64_t h, int64_t w, int64_t c, dtype type)
{
    dnnl_dims_t dims = {n, c, h, w};
    return dnnl_memory_desc_init_by_tag(md, 4, dims, data_type(type), dnnl_nhwc);
}

/* Weights in oneDNN's logical order ([g,] o, i, h, w): strides of our layout, or `any`. */
static dnnl_status_t weights(dnnl_memory_desc_t *md, const conv2d_desc *d, bool plain)
{
    int64_t icg = d->ic / d->groups, ocg = d->oc / d->groups, filter = (int64_t)d->kh * d->kw * icg;
    dnnl_dims_t dims = {d->groups, ocg, icg, d->kh, d->kw};
    dnnl_dims_t strides = {ocg * filter, filter, 1, (int64_t)d->kw * icg, icg};
    int skip = d->groups == 1; /* no group dimension */
    dnnl_data_type_t type = data_type(d->weight_type);
    if (plain) return dnnl_memory_desc_init_by_strides(md, 5 - skip, dims + skip, type, strides + skip);
    return dnnl_memory_desc_init_by_tag(md, 5 - skip, dims + skip, type, dnnl_format_tag_any);
}

static dnnl_status_t append_activation(dnnl_post_ops_t ops, const conv2d_epilogue *e)
{
    dnnl_alg_kind_t kind;
    float alpha = e->alpha, beta = e->beta;
    switch (e->act) {
    case ACT_NONE: return dnnl_success;
    case ACT_RELU: kind = dnnl_eltwise_relu, alpha = 0.0f; break;
    case ACT_RELU6: kind = dnnl_eltwise_clip, alpha = 0.0f, beta = 6.0f; break;
    case ACT_LEAKY: kind = dnnl_eltwise_relu; break;
    case ACT_SIGMOID: kind = dnnl_eltwise_logistic; break;
    case ACT_SWISH: kind = dnnl_eltwise_swish, alpha = 1.0f; break;
    case ACT_CLIP: kind = dnnl_eltwise_clip; break;
    default: return dnnl_invalid_arguments;
    }
    return dnnl_post_ops_append_eltwise(ops, 1.0f, kind, alpha, beta);
}

/* The order of kernels.h: scale, residual (the sum post-op is a fused multiply-add), activation. */
static dnnl_status_t set_epilogue(dnnl_primitive_attr_t attr, const conv2d_desc *d, const float *scale)
{
    const conv2d_epilogue *e = &d->epilogue;
    dnnl_status_t s = dnnl_success;
    if (e->has_scale) s = dnnl_primitive_attr_set_output_scales(attr, d->oc, 1 << 1, scale);
    dnnl_post_ops_t ops;
    if (s == dnnl_success) s = dnnl_post_ops_create(&ops);
    if (s != dnnl_success) return s;
    if (e->has_add) s = dnnl_post_ops_append_sum_v2(ops, e->add_scale, data_type(e->add_type));
    if (s == dnnl_success) s = append_activation(ops, e);
    if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(attr, ops);
    dnnl_post_ops_destroy(ops);
    return s;
}

static dnnl_status_t make_pd(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, kernel_op op, const conv2d_desc *d,
                             dnnl_primitive_attr_t attr)
{
    dnnl_memory_desc_t src, dst, weight, bias;
    dnnl_dims_t bias_dims = {d->oc}, stride = {d->sh, d->sw}, dilation = {d->dil_h - 1, d->dil_w - 1};
    dnnl_dims_t before = {d->pt, d->pl}, after = {d->pb, d->pr};
    dnnl_status_t s = nhwc(&src, d->n, d->ih, d->iw, d->ic, d->src_type);
    if (s == dnnl_success) s = nhwc(&dst, d->n, d->oh, d->ow, d->oc, d->dst_type);
    if (s == dnnl_success) s = weights(&weight, d, false);
    if (s == dnnl_success) s = dnnl_memory_desc_init_by_tag(&bias, 1, bias_dims, dnnl_f32, dnnl_a);
    if (s != dnnl_success) return s;
    bool forward = op == OP_CONV2D_FORWARD, has_bias = forward && d->epilogue.has_bias;
    dnnl_convolution_desc_t cd;
    s = dnnl_dilated_convolution_forward_desc_init(&cd, forward ? dnnl_forward_inference : dnnl_forward_training,
        dnnl_convolution_direct, &src, &weight, has_bias ? &bias : NULL, &dst, stride, dilation, before, after);
    if (s != dnnl_success) return s;
    if (forward) return dnnl_primitive_desc_create(pd, &cd, attr, engine, NULL);

    dnnl_primitive_desc_t hint; /* oneDNN wants the forward pass it belongs to */
    s = dnnl_primitive_desc_create(&hint, &cd, NULL, engine, NULL);
    if (s != dnnl_success) return s;
    if (op == OP_CONV2D_DSRC)
        s = dnnl_dilated_convolution_backward_data_desc_init(&cd, dnnl_convolution_direct, &src, &weight, &dst, stride,
                                                             dilation, before, after);
    else
        s = dnnl_dilated_convolution_backward_weights_desc_init(&cd, dnnl_convolution_direct, &src, &weight, NULL, &dst,
                                                                stride, dilation, before, after);
    if (s == dnnl_success) s = dnnl_primitive_desc_create(pd, &cd, attr, engine, hint);
    dnnl_primitive_desc_destroy(hint);
    return s;
}

dnnl_status_t dnnl_conv2d_describe(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, kernel_op op, const conv2d_desc *d,
                                   const float *scale)
{
    dnnl_primitive_attr_t attr;
    dnnl_status_t s = dnnl_primitive_attr_create(&attr);
    if (s != dnnl_success) return s;
    s = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (s == dnnl_success && op == OP_CONV2D_FORWARD) s = set_epilogue(attr, d, scale);
    if (s == dnnl_success) s = make_pd(pd, engine, op, d, attr);
    dnnl_primitive_attr_destroy(attr);
    return s;
}

/* Scales whose values do not matter yet: layout and implementation depend on their presence only. */
static float *placeholder_scales(const conv2d_desc *d)
{
    float *scale = HEAP_ARRAY(float, d->oc);
    for (int64_t i = 0; scale && i < d->oc; i++) scale[i] = 0.5f;
    return scale;
}

static dnnl_status_t describe_unscaled(
    dnnl_primitive_desc_t *pd, dnnl_engine_t engine, kernel_op op, const conv2d_desc *d)
{
    float *scale = NULL;
    if (d->epilogue.has_scale && !(scale = placeholder_scales(d))) return dnnl_out_of_memory;
    dnnl_status_t s = dnnl_conv2d_describe(pd, engine, op, d, scale);
    free(scale);
    return s;
}

/* oneDNN computes blocks of channels and pixels in int and divides by what overflows. */
static bool too_large(const conv2d_desc *d)
{
    const int64_t dims[] = {d->n, d->ih, d->iw, d->ic, d->oh, d->ow, d->oc};
    for (size_t i = 0; i < sizeof dims / sizeof dims[0]; i++)
        if (dims[i] > 1 << 20) return true;
    return false;
}

const char *dnnl_conv2d_refuse_isa(void)
{
    if (cpu_isa_allowed(CPU_ISA_AVX512)) return NULL;
    dnnl_cpu_isa_t limit = cpu_isa_allowed(CPU_ISA_AVX2) ? dnnl_cpu_isa_avx2 : dnnl_cpu_isa_sse41;
    dnnl_set_max_cpu_isa(limit); /* refused after the first use: what holds then is asked */
    return (int)dnnl_get_effective_cpu_isa() & ~(int)limit ? "oneDNN was used before GRAFT_CPU_ISA could limit it"
                                                           : NULL;
}

const char *dnnl_conv2d_refuse(kernel_op op, const conv2d_desc *d)
{
    if (too_large(d)) return "a dimension above 2^20: too large for oneDNN";
    if (check_room() != OK) return "no memory for oneDNN";
    const char *reason = dnnl_conv2d_refuse_isa(), *implementation = "";
    if (reason) return reason;
    dnnl_engine_t engine;
    dnnl_primitive_desc_t pd;
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) return "oneDNN has no CPU engine";
    if (describe_unscaled(&pd, engine, op, d) != dnnl_success) {
        reason = "oneDNN cannot";
    } else {
        dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &implementation);
        if (strncmp(implementation, "ref", 3) == 0) reason = "oneDNN has only its reference";
        dnnl_primitive_desc_destroy(pd);
    }
    dnnl_engine_destroy(engine);
    return reason;
}

static status create_memory(dnnl_conv2d *c, int slot, const dnnl_memory_desc_t *md)
{
    DNNL_TRY(dnnl_memory_create(&c->memory[slot], md, c->engine, DNNL_MEMORY_NONE));
    return OK;
}

static status create_repack(dnnl_conv2d *c, kernel_op op, const dnnl_memory_desc_t *plain)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops = NULL;
    dnnl_primitive_desc_t pd = NULL;
    TRY(check_room());
    DNNL_TRY(dnnl_primitive_attr_create(&attr));
    dnnl_status_t s;
    if (op == OP_CONV2D_DWEIGHT) {
        s = dnnl_post_ops_create(&ops);
        if (s == dnnl_success) s = dnnl_post_ops_append_sum(ops, 1.0f);
        if (s == dnnl_success) s = dnnl_primitive_attr_set_post_ops(attr, ops);
        if (s == dnnl_success)
            s = dnnl_reorder_primitive_desc_create(&pd, &c->picked, c->engine, plain, c->engine, attr);
        dnnl_post_ops_destroy(ops);
    } else {
        s = dnnl_reorder_primitive_desc_create(&pd, plain, c->engine, &c->picked, c->engine, attr);
    }
    if (s == dnnl_success) s = dnnl_primitive_create(&c->repack, pd);
    dnnl_primitive_desc_destroy(pd);
    dnnl_primitive_attr_destroy(attr);
    return dnnl_conv2d_check(s, "create the repacking of weights");
}

static status create_memories(dnnl_conv2d *c, dnnl_primitive_desc_t pd, kernel_op op, const conv2d_desc *d)
{
    dnnl_memory_desc_t src, dst, plain, bias;
    dnnl_dims_t bias_dims = {d->oc};
    DNNL_TRY(nhwc(&src, d->n, d->ih, d->iw, d->ic, d->src_type));
    DNNL_TRY(nhwc(&dst, d->n, d->oh, d->ow, d->oc, d->dst_type));
    DNNL_TRY(weights(&plain, d, true));
    DNNL_TRY(dnnl_memory_desc_init_by_tag(&bias, 1, bias_dims, dnnl_f32, dnnl_a));
    const dnnl_memory_desc_t *scratch = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
    c->picked = *dnnl_primitive_desc_query_md(
        pd, op == OP_CONV2D_DWEIGHT ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    c->picked_bytes = (dnnl_memory_desc_get_size(&c->picked) + 63) / 64 * 64;
    c->scratch_bytes = dnnl_memory_desc_get_size(scratch);
    TRY(create_memory(c, SLOT_SRC, &src));
    TRY(create_memory(c, SLOT_DST, &dst));
    TRY(create_memory(c, SLOT_PICKED, &c->picked));
    TRY(create_memory(c, SLOT_PLAIN, &plain));
    TRY(create_memory(c, SLOT_BIAS, &bias));
    TRY(create_memory(c, SLOT_SCRATCH, scratch));
    return create_repack(c, op, &plain);
}

status dnnl_conv2d_compile(dnnl_conv2d *c, kernel_op op, const conv2d_desc *d, const float *scale)
{
    dnnl_primitive_desc_t pd;
    TRY(check_room());
    DNNL_TRY(dnnl_conv2d_describe(&pd, c->engine, op, d, scale));
    dnnl_primitive_t conv = NULL;
    dnnl_status_t s = dnnl_primitive_create(&conv, pd);
    dnnl_primitive_desc_destroy(pd);
    DNNL_TRY(s);
    dnnl_primitive_destroy(c->conv);
    c->conv = conv;
    return OK;
}

static status create(dnnl_conv2d *c, kernel_op op, const conv2d_desc *d)
{
    TRY(check_room());
    DNNL_TRY(dnnl_engine_create(&c->engine, dnnl_cpu, 0));
    DNNL_TRY(dnnl_stream_create(&c->stream, c->engine, dnnl_stream_default_flags));
    dnnl_primitive_desc_t pd;
    DNNL_TRY(describe_unscaled(&pd, c->engine, op, d));
    status result = create_memories(c, pd, op, d);
    dnnl_primitive_desc_destroy(pd);
    if (result == OK && !(op == OP_CONV2D_FORWARD && d->epilogue.has_scale))
        result = dnnl_conv2d_compile(c, op, d, NULL);
    return result;
}

status dnnl_conv2d_create(dnnl_conv2d **state, kernel_op op, const conv2d_desc *d)
{
    dnnl_conv2d *c;
    TRY_ALLOC(c, HEAP_NEW(dnnl_conv2d));
    status result = create(c, op, d);
    if (result == OK)
        *state = c;
    else
        dnnl_conv2d_destroy(c);
    return result;
}

void dnnl_conv2d_destroy(void *state)
{
    dnnl_conv2d *c = state;
    if (!c) return;
    for (int i = 0; i < SLOT_COUNT; i++) dnnl_memory_destroy(c->memory[i]);
    dnnl_primitive_destroy(c->conv);
    dnnl_primitive_destroy(c->repack);
    dnnl_stream_destroy(c->stream);
    dnnl_engine_destroy(c->engine);
    free(c);
}

size_t dnnl_conv2d_scratch_bytes(const void *desc, const void *state)
{
    (void)desc;
    return ((const dnnl_conv2d *)state)->scratch_bytes;
}

size_t dnnl_conv2d_packed_bytes(const void *desc, const void *state)
{
    (void)desc;
    return ((const dnnl_conv2d *)state)->picked_bytes;
}

/* oneDNN takes inputs through the same non-const handles as outputs. */
status dnnl_conv2d_set(dnnl_conv2d *c, int slot, const void *data)
{
    DNNL_TRY(dnnl_memory_set_data_handle(c->memory[slot], (void *)(uintptr_t)data));
    return OK;
}

status dnnl_conv2d_execute(dnnl_conv2d *c, dnnl_primitive_t primitive, const dnnl_exec_arg_t *args, int count)
{
    DNNL_TRY(dnnl_primitive_execute(primitive, c->stream, count, args));
    DNNL_TRY(dnnl_stream_wait(c->stream));
    return OK;
}

status dnnl_conv2d_repack(dnnl_conv2d *c, const void *plain, void *packed)
{
    TRY(dnnl_conv2d_set(c, SLOT_PLAIN, plain));
    TRY(dnnl_conv2d_set(c, SLOT_PICKED, packed));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, c->memory[SLOT_PLAIN]}, {DNNL_ARG_TO, c->memory[SLOT_PICKED]}};
    return dnnl_conv2d_execute(c, c->repack, args, 2);
}
