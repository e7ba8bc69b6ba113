/* act.c: activations on their own. */
#include "kernels/ref/ref.h"

static const char *act_refuse(const void *desc)
{
    const act_desc *d = desc;
    if (!ref_dims_ok(&d->count, 1)) return "count below 1 or too large";
    if (!ref_is_float(d->type)) return "the type is no float";
    if (!ref_act_known(d->act)) return "unknown activation";
    return NULL;
}

static status forward_run(const kernel_call *call)
{
    const act_desc *d = call->desc;
    for (int64_t i = 0; i < d->count; i++)
        dtype_store(call->out[0], d->type, i, ref_act(d->act, d->alpha, d->beta, dtype_load(call->in[0], d->type, i)));
    return OK;
}

static status backward_run(const kernel_call *call)
{
    const act_desc *d = call->desc;
    for (int64_t i = 0; i < d->count; i++) {
        double slope = ref_act_grad(d->act, d->alpha, d->beta, dtype_load(call->in[1], d->type, i));
        dtype_store(call->out[0], d->type, i, dtype_load(call->in[0], d->type, i) * slope);
    }
    return OK;
}

const kernel act_forward__ref_direct = {
    .op = OP_ACT_FORWARD,
    .backend = BACKEND_REF,
    .name = "act_forward__ref_direct",
    .refuse = act_refuse,
    .run = forward_run,
};
const kernel act_backward__ref_direct = {
    .op = OP_ACT_BACKWARD,
    .backend = BACKEND_REF,
    .name = "act_backward__ref_direct",
    .refuse = act_refuse,
    .run = backward_run,
};
