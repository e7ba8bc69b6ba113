/* Gradients of dense 1x1 convolutions (and linear layers) as one plain matrix product each, f32: nothing to pack, and
 * dweight accumulates in place. Against oneDNN's convolutions, two cores, batch 16: dweight 183 : 119 GFLOP/s at 56x56
 * 64 -> 256, 215 : 160 at 28x28 128 -> 512, 159 : 37 for 2048 -> 1000; dsrc 205 : 177 at 56x56 256 -> 64, else equal.
 * (Forward the packed convolution wins.) oneDNN's product takes its work space from the heap. */
#include "kernels/cpu/bias.h"
#include "kernels/cpu/dnnl_conv2d.h"

static const char *refuse(const void *desc)
{
    const conv2d_desc *d = desc;
    if (d->src_type != DTYPE_F32 || d->weight_type != DTYPE_F32 || d->dst_type != DTYPE_F32) return "f32 only";
    if (d->compute != COMPUTE_F32) return "no reduced products of f32 tensors";
    if (d->groups != 1) return "no groups";
    if (d->kh != 1 || d->kw != 1 || d->sh != 1 || d->sw != 1) return "1x1 with stride 1 only";
    if (d->pt || d->pl || d->pb || d->pr) return "no padding";
    return dnnl_conv2d_refuse_isa();
}

static status dsrc_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    DNNL_TRY(dnnl_sgemm('N', 'N', d->n * d->ih * d->iw, d->ic, d->oc, 1.0f, call->in[0], d->oc, call->in[1], d->ic,
        0.0f, call->out[0], d->ic));
    return OK;
}

static const char *dweight_refuse(const void *desc)
{
    if (((const conv2d_desc *)desc)->transform.enabled) return "no input transform";
    return refuse(desc);
}

static size_t dweight_scratch_bytes(const void *desc, const void *state)
{
    (void)state;
    return bias_scratch_bytes(desc);
}

static status dweight_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    DNNL_TRY(dnnl_sgemm('T', 'N', d->oc, d->ic, d->n * d->ih * d->iw, 1.0f, call->in[1], d->oc, call->in[0], d->ic,
        1.0f, call->out[0], d->ic));
    if (call->out[1]) bias_accumulate(d, call->out[1], call->in[1], call->scratch);
    return OK;
}

const kernel conv2d_dsrc__cpu_dnnl_product = {
    .op = OP_CONV2D_DSRC,
    .backend = BACKEND_CPU,
    .name = "conv2d_dsrc__cpu_dnnl_product",
    .refuse = refuse,
    .run = dsrc_run,
};
const kernel conv2d_dweight__cpu_dnnl_product = {
    .op = OP_CONV2D_DWEIGHT, .backend = BACKEND_CPU, .name = "conv2d_dweight__cpu_dnnl_product",
    .refuse = dweight_refuse, .scratch_bytes = dweight_scratch_bytes, .run = dweight_run,
};
