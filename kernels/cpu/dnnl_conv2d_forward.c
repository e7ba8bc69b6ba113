/* conv2d_forward through oneDNN: f32, bf16 and int8 (VNNI only: without it products of s8 saturate in pairs).
 * int8 scales are constants of the compiled primitive, so pack compiles it. */
#include <string.h>

#include "kernels/cpu/dnnl_conv2d.h"

static bool has_vnni(void)
{
    int isa = dnnl_get_effective_cpu_isa();
    return (isa & dnnl_cpu_isa_avx512_core_vnni) == dnnl_cpu_isa_avx512_core_vnni ||
           (isa & dnnl_cpu_isa_avx2_vnni) == dnnl_cpu_isa_avx2_vnni;
}

static bool has_bf16(void)
{
    return (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_bf16) == dnnl_cpu_isa_avx512_core_bf16;
}

static const char *refuse_types(const conv2d_desc *d)
{
    if (d->weight_type == DTYPE_I8 || d->src_type == DTYPE_BF16) return NULL;
    if (d->src_type != DTYPE_F32) return "f32, bf16 and i8 only";
    if (d->compute != COMPUTE_F32) return "no reduced products of f32 tensors";
    return NULL;
}

/* Asked last, so that on every machine a descriptor meets the reasons that lie in itself. */
static const char *refuse_machine(const conv2d_desc *d)
{
    const char *reason = dnnl_conv2d_refuse_isa();
    if (reason) return reason;
    if (d->weight_type == DTYPE_I8 && !has_vnni()) return "no VNNI";
    if (d->src_type == DTYPE_BF16 && !has_bf16()) return "no AVX512_BF16";
    return dnnl_conv2d_refuse(OP_CONV2D_FORWARD, d);
}

/* Whether some output's window has all its taps in the padding, along one axis. */
static bool misses_image(int64_t out, int64_t in, int32_t window, int32_t stride, int32_t before, int32_t dilation)
{
    for (int64_t o = 0; o < out; o++) {
        bool meets = false;
        for (int32_t i = 0; i < window && !meets; i++) {
            int64_t at = o * stride - before + (int64_t)i * dilation;
            meets = at >= 0 && at < in;
        }
        if (!meets) return true;
    }
    return false;
}

static const char *refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    const conv2d_epilogue *e = &d->epilogue;
    const char *reason = refuse_types(d);
    if (reason) return reason;
    if (d->transform.enabled) return "no input transform";
    if (e->stats) return "no statistics";
    if (e->has_scale && d->weight_type != DTYPE_I8) return "scales need i8 weights";
    if (e->has_add && e->add_type != d->dst_type && dtype_bytes(e->add_type) + dtype_bytes(d->dst_type) != 2)
        return "residual of another size";
    if ((e->act == ACT_SIGMOID || e->act == ACT_SWISH) && dtype_bytes(d->dst_type) == 1)
        return "exponential rounded to an integer: not bit for bit";
    /* 2.6.3 (brgconv) crashes there: its epilogue without products takes a tail mask for the address
     * of the activation's constants. */
    if (misses_image(d->oh, d->ih, d->kh, d->sh, d->pt, d->dil_h) ||
        misses_image(d->ow, d->iw, d->kw, d->sw, d->pl, d->dil_w))
        return "a window wholly in the padding";
    return refuse_machine(d);
}

static status create(const void *desc, void **state)
{
    return dnnl_conv2d_create((dnnl_conv2d **)state, OP_CONV2D_FORWARD, desc);
}

static status pack(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    if (d->epilogue.has_scale) TRY(dnnl_conv2d_compile(call->state, OP_CONV2D_FORWARD, d, call->in[CONV2D_SCALE]));
    return dnnl_conv2d_repack(call->state, call->in[CONV2D_WEIGHT], call->packed);
}

/* The sum post-op reads dst: bring the residual there. */
static void copy_residual(const conv2d_desc *d, void *dst, const void *add)
{
    enum { CHUNK = 1 << 16 };
    int64_t bytes = d->n * d->oh * d->ow * d->oc * (int64_t)dtype_bytes(d->dst_type);
#pragma omp parallel for schedule(static) if (bytes > CHUNK)
    for (int64_t at = 0; at < bytes; at += CHUNK)
        memcpy((char *)dst + at, (const char *)add + at, (size_t)(bytes - at < CHUNK ? bytes - at : CHUNK));
}

static status run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    dnnl_conv2d *c = call->state;
    void *dst = call->out[0];
    if (d->epilogue.has_add && call->in[CONV2D_ADD] != dst) copy_residual(d, dst, call->in[CONV2D_ADD]);
    TRY(dnnl_conv2d_set(c, SLOT_SRC, call->in[CONV2D_SRC]));
    TRY(dnnl_conv2d_set(c, SLOT_PICKED, call->packed));
    TRY(dnnl_conv2d_set(c, SLOT_DST, dst));
    TRY(dnnl_conv2d_set(c, SLOT_BIAS, call->in[CONV2D_BIAS]));
    TRY(dnnl_conv2d_set(c, SLOT_SCRATCH, call->scratch));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, c->memory[SLOT_SRC]},
                                    {DNNL_ARG_WEIGHTS, c->memory[SLOT_PICKED]},
                                    {DNNL_ARG_DST, c->memory[SLOT_DST]},
                                    {DNNL_ARG_SCRATCHPAD, c->memory[SLOT_SCRATCH]},
                                    {DNNL_ARG_BIAS, c->memory[SLOT_BIAS]}};
    return dnnl_conv2d_execute(c, c->conv, args, d->epilogue.has_bias ? 5 : 4);
}

const kernel conv2d_forward__cpu_dnnl = {
    .op = OP_CONV2D_FORWARD, .backend = BACKEND_CPU, .name = "conv2d_forward__cpu_dnnl",
    .refuse = refuse, .create = create, .destroy = dnnl_conv2d_destroy,
    .scratch_bytes = dnnl_conv2d_scratch_bytes, .packed_bytes = dnnl_conv2d_packed_bytes, .pack = pack, .run = run,
};
