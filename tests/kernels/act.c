/* act.c: activations on their own. */
#include "tests/check/check.h"

#include <math.h>

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    act_desc *d = &desc->act;
    (void)op;
    d->count = check_size(r, 70001);
    d->type = check_float_type(r);
    d->act = check_activation(r, false);
    d->alpha = d->act == ACT_CLIP ? -0.5f : 0.1f;
    d->beta = 3;
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const act_desc *d = &desc->act;
    check_tensor all = {.type = d->type, .count = d->count, .terms = 4}; /* an exponential costs a few roundings */
    t->in[0] = t->out[0] = all;
    if (op == OP_ACT_BACKWARD) t->in[1] = all;
}

/* Relative errors of a few u, but for 1 - sigmoid(x) near 1, whose error of u is multiplied by x. */
static double magnitude(const check_case *c, int32_t out, int64_t i)
{
    const act_desc *d = &c->desc.act;
    double x = fabs(dtype_load(c->start.in[c->op == OP_ACT_BACKWARD], d->type, i));
    if (c->op == OP_ACT_FORWARD) return fabs(dtype_load(c->expected.out[out], c->expected_tensors.out[out].type, i));
    return fabs(dtype_load(c->start.in[0], d->type, i)) * (d->act == ACT_SWISH ? 1 + (x < 100 ? x : 0) : 1);
}

static bool allows(kernel_op op, const check_desc *desc, check_pattern pattern)
{
    (void)desc;
    return pattern != PATTERN_INFINITE || (op == OP_ACT_FORWARD && desc->act.act != ACT_SWISH); /* -inf * 0 */
}

static status tail_run(const kernel_call *call)
{
    const act_desc *d = call->desc;
    act_desc whole = *d;
    kernel_call most = *call;
    whole.count = d->count > 8 ? d->count / 8 * 8 : d->count;
    most.desc = &whole;
    return check_reference(OP_ACT_FORWARD)->run(&most);
}

static status kink_run(const kernel_call *call)
{
    const act_desc *d = call->desc;
    status s = check_reference(OP_ACT_BACKWARD)->run(call);
    for (int64_t i = 0; i < d->count; i++) /* the wrong side at 0 */
        if (dtype_load(call->in[1], d->type, i) == 0)
            dtype_store(call->out[0], d->type, i, dtype_load(call->in[0], d->type, i));
    return s;
}

const check_family act_family = {
    .name = "act",
    .op = {OP_ACT_FORWARD, OP_ACT_BACKWARD},
    .op_count = 2,
    .generate = generate,
    .tensors = tensors,
    .allows = allows,
    .magnitude = magnitude,
    .mutant = {{.op = OP_ACT_FORWARD, .name = "tail of 8 not written", .run = tail_run},
        {.op = OP_ACT_BACKWARD, .name = "relu'(0) = 1", .run = kink_run}},
};
