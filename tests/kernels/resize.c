/* resize.c: nearest and bilinear, both conventions, up and down. */
#include "tests/check/check.h"

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    resize_desc *d = &desc->resize;
    do {
        d->n = 1 + rng_below(r, 3);
        d->ih = check_size(r, 33), d->iw = check_size(r, 33);
        d->oh = check_size(r, 65), d->ow = check_size(r, 65);
        if (check_chance(r, 3)) d->oh = 2 * d->ih, d->ow = 2 * d->iw;
        d->c = check_size(r, 129);
    } while (d->n * d->c * (d->ih * d->iw + d->oh * d->ow) > 60000);
    d->bilinear = !check_chance(r, 3);
    d->align_corners = d->bilinear && check_chance(r, 2);
    d->type = op == OP_RESIZE_FORWARD && !d->bilinear && check_chance(r, 2) ? DTYPE_I8 : check_float_type(r);
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const resize_desc *d = &desc->resize;
    check_tensor src = {.type = d->type, .count = d->n * d->ih * d->iw * d->c};
    check_tensor dst = {.type = d->type, .count = d->n * d->oh * d->ow * d->c, .terms = 8, .exact = !d->bilinear};
    src.terms = (2 * d->oh / d->ih + 2) * (2 * d->ow / d->iw + 2) + 4;
    t->in[0] = op == OP_RESIZE_FORWARD ? src : dst;
    t->out[0] = op == OP_RESIZE_FORWARD ? dst : src;
}

static bool typed(kernel_op op, const check_desc *desc)
{
    (void)op;
    return desc->resize.type == DTYPE_I8;
}

static status convention_run(const kernel_call *call)
{
    resize_desc d = *(const resize_desc *)call->desc;
    kernel_call other = *call;
    d.align_corners = d.bilinear && !d.align_corners;
    other.desc = &d;
    return check_reference(OP_RESIZE_FORWARD)->run(&other);
}

static size_t scratch_bytes(const void *desc, const void *state)
{
    return check_reference(OP_RESIZE_BACKWARD)->scratch_bytes(desc, state);
}

static status row_run(const kernel_call *call)
{
    resize_desc d = *(const resize_desc *)call->desc;
    kernel_call other = *call;
    status s = check_reference(OP_RESIZE_BACKWARD)->run(&other);
    dtype_store(call->out[0], d.type, d.n * d.ih * d.iw * d.c - 1, 0);
    return s;
}

const check_family resize_family = {
    .name = "resize",
    .op = {OP_RESIZE_FORWARD, OP_RESIZE_BACKWARD},
    .op_count = 2,
    .generate = generate,
    .tensors = tensors,
    .typed = typed,
    .mutant = {{.op = OP_RESIZE_FORWARD, .name = "the other corner convention", .run = convention_run},
        {.op = OP_RESIZE_BACKWARD, .name = "last element cleared", .scratch_bytes = scratch_bytes, .run = row_run}},
};
