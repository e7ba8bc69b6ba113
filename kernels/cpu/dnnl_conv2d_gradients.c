/* conv2d_dsrc and conv2d_dweight through oneDNN, f32. The weight gradient is computed in the layout that oneDNN picks,
 * in scratch, and added to the plain one while it is reordered. */
#include "kernels/cpu/bias.h"
#include "kernels/cpu/dnnl_conv2d.h"

static const char *refuse_f32(const conv2d_desc *d)
{
    if (d->src_type != DTYPE_F32 || d->weight_type != DTYPE_F32 || d->dst_type != DTYPE_F32) return "f32 only";
    if (d->compute != COMPUTE_F32) return "no reduced products of f32 tensors";
    return NULL;
}

static const char *dsrc_refuse(const void *desc)
{
    const char *reason = refuse_f32(desc);
    return reason ? reason : dnnl_conv2d_refuse(OP_CONV2D_DSRC, desc);
}

static status dsrc_create(const void *desc, void **state)
{
    return dnnl_conv2d_create((dnnl_conv2d **)state, OP_CONV2D_DSRC, desc);
}

static status dsrc_pack(const kernel_call *call)
{
    return dnnl_conv2d_repack(call->state, call->in[1], call->packed);
}

static status dsrc_run(const kernel_call *call)
{
    dnnl_conv2d *c = call->state;
    TRY(dnnl_conv2d_set(c, SLOT_DST, call->in[0]));
    TRY(dnnl_conv2d_set(c, SLOT_PICKED, call->packed));
    TRY(dnnl_conv2d_set(c, SLOT_SRC, call->out[0]));
    TRY(dnnl_conv2d_set(c, SLOT_SCRATCH, call->scratch));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_DIFF_DST, c->memory[SLOT_DST]},
                                    {DNNL_ARG_WEIGHTS, c->memory[SLOT_PICKED]},
                                    {DNNL_ARG_DIFF_SRC, c->memory[SLOT_SRC]},
                                    {DNNL_ARG_SCRATCHPAD, c->memory[SLOT_SCRATCH]}};
    return dnnl_conv2d_execute(c, c->conv, args, 4);
}

const kernel conv2d_dsrc__cpu_dnnl = {
    .op = OP_CONV2D_DSRC,
    .backend = BACKEND_CPU,
    .name = "conv2d_dsrc__cpu_dnnl",
    .refuse = dsrc_refuse,
    .create = dsrc_create,
    .destroy = dnnl_conv2d_destroy,
    .scratch_bytes = dnnl_conv2d_scratch_bytes,
    .packed_bytes = dnnl_conv2d_packed_bytes,
    .pack = dsrc_pack,
    .run = dsrc_run,
};

static const char *dweight_refuse(const void *desc)
{
    const char *reason = refuse_f32(desc);
    if (((const conv2d_desc *)desc)->transform.enabled) return "no input transform";
    return reason ? reason : dnnl_conv2d_refuse(OP_CONV2D_DWEIGHT, desc);
}

static status dweight_create(const void *desc, void **state)
{
    return dnnl_conv2d_create((dnnl_conv2d **)state, OP_CONV2D_DWEIGHT, desc);
}

/* Scratch: picked dweight, partial sums of dbias, oneDNN's own. */
static size_t dweight_scratch_bytes(const void *desc, const void *state)
{
    const dnnl_conv2d *c = state;
    return c->picked_bytes + bias_scratch_bytes(desc) + c->scratch_bytes;
}

static status dweight_run(const kernel_call *call)
{
    const conv2d_desc *d = call->desc;
    dnnl_conv2d *c = call->state;
    char *picked = call->scratch, *partial = picked + c->picked_bytes, *scratch = partial + bias_scratch_bytes(d);
    TRY(dnnl_conv2d_set(c, SLOT_SRC, call->in[0]));
    TRY(dnnl_conv2d_set(c, SLOT_DST, call->in[1]));
    TRY(dnnl_conv2d_set(c, SLOT_PICKED, picked));
    TRY(dnnl_conv2d_set(c, SLOT_PLAIN, call->out[0]));
    TRY(dnnl_conv2d_set(c, SLOT_SCRATCH, scratch));
    const dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, c->memory[SLOT_SRC]},
                                    {DNNL_ARG_DIFF_DST, c->memory[SLOT_DST]},
                                    {DNNL_ARG_DIFF_WEIGHTS, c->memory[SLOT_PICKED]},
                                    {DNNL_ARG_SCRATCHPAD, c->memory[SLOT_SCRATCH]}};
    TRY(dnnl_conv2d_execute(c, c->conv, args, 4));
    const dnnl_exec_arg_t add[] = {{DNNL_ARG_FROM, c->memory[SLOT_PICKED]}, {DNNL_ARG_TO, c->memory[SLOT_PLAIN]}};
    TRY(dnnl_conv2d_execute(c, c->repack, add, 2));
    /* A pass of its own: oneDNN's would be paid by every layer without bias. */
    if (call->out[1]) bias_accumulate(d, call->out[1], call->in[1], (double *)(void *)partial);
    return OK;
}

const kernel conv2d_dweight__cpu_dnnl = {
    .op = OP_CONV2D_DWEIGHT, .backend = BACKEND_CPU, .name = "conv2d_dweight__cpu_dnnl",
    .refuse = dweight_refuse, .create = dweight_create, .destroy = dnnl_conv2d_destroy,
    .scratch_bytes = dweight_scratch_bytes, .run = dweight_run,
};
