/* dropout.c: element i of a sample is kept when word i % 4 of Philox block i / 4 says so. */
#include "kernels/ref/ref.h"

static const char *dropout_refuse(const void *desc)
{
    const dropout_desc *d = desc;
    int64_t dim[] = {d->n, d->per_sample};
    if (!ref_dims_ok(dim, 2)) return "a dimension below 1 or a tensor too large";
    if (!ref_is_float(d->type)) return "the type is no float";
    if (!(d->probability >= 0 && d->probability < 1)) return "probability not in [0, 1)";
    return NULL;
}

static status dropout_run(const kernel_call *call)
{
    const dropout_desc *d = call->desc;
    const int64_t *sample_keys = call->in[1];
    double scale = 1 / (1 - (double)d->probability);
    uint32_t word[4] = {0};
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t i = 0; i < d->per_sample; i++) {
            if (i % 4 == 0) philox4x32(word, d->key, (uint64_t)(i / 4), (uint64_t)sample_keys[n] ^ d->salt);
            bool keep = (float)(word[i % 4] >> 8) * 0x1p-24f >= d->probability;
            double x = dtype_load(call->in[0], d->type, n * d->per_sample + i);
            dtype_store(call->out[0], d->type, n * d->per_sample + i, keep ? x * scale : 0);
        }
    return OK;
}

const kernel dropout__ref_direct = {
    .op = OP_DROPOUT,
    .backend = BACKEND_REF,
    .name = "dropout__ref_direct",
    .refuse = dropout_refuse,
    .run = dropout_run,
};
