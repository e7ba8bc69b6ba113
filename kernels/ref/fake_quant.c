/* fake_quant.c: through the integers of an engine and back, in f32 as the engine computes. */
#include <math.h>

#include "kernels/ref/ref.h"

#define RANGE_MIN 1e-30f

static const char *refuse(const void *desc)
{
    const fake_quant_desc *d = desc;
    if (!ref_dims_ok((const int64_t[]){d->rows, d->count}, 2)) return "a dimension is below 1 or too large";
    if (!ref_is_float(d->type) || d->type == DTYPE_F64) return "only f32, f16 and bf16 are quantised";
    if (!(d->momentum >= 0.0f && d->momentum <= 1.0f)) return "momentum is not within 0 and 1";
    return NULL;
}

static status range_run(const kernel_call *call)
{
    const fake_quant_desc *d = call->desc;
    float *range = call->out[0];
    for (int64_t r = 0; r < d->rows; r++) {
        float greatest = 0;
        for (int64_t i = 0; i < d->count; i++)
            greatest = fmaxf(greatest, fabsf((float)dtype_load(call->in[0], d->type, r * d->count + i)));
        bool first = d->momentum == 1.0f || !(range[r] > RANGE_MIN);
        range[r] = first ? greatest : (1.0f - d->momentum) * range[r] + d->momentum * greatest;
    }
    return OK;
}

/* The integer that x becomes, before saturation. */
static float integer_of(float x, float range)
{
    float scale = range / 127.0f;
    return nearbyintf(x * (1.0f / scale));
}

static status forward_run(const kernel_call *call)
{
    const fake_quant_desc *d = call->desc;
    const float *range = call->in[1];
    float least = d->narrow ? -127.0f : -128.0f;
    for (int64_t i = 0; i < d->rows * d->count; i++) {
        float x = (float)dtype_load(call->in[0], d->type, i), r = range[i / d->count];
        if (r > RANGE_MIN && !isnan(x)) x = fminf(fmaxf(integer_of(x, r), least), 127.0f) * (r / 127.0f);
        dtype_store(call->out[0], d->type, i, x);
    }
    return OK;
}

static status backward_run(const kernel_call *call)
{
    const fake_quant_desc *d = call->desc;
    const float *range = call->in[2];
    float least = d->narrow ? -127.0f : -128.0f;
    for (int64_t i = 0; i < d->rows * d->count; i++) {
        float x = (float)dtype_load(call->in[1], d->type, i), r = range[i / d->count];
        bool saturated = r > RANGE_MIN && (integer_of(x, r) < least || integer_of(x, r) > 127.0f);
        dtype_store(call->out[0], d->type, i, saturated ? 0 : dtype_load(call->in[0], d->type, i));
    }
    return OK;
}

const kernel fake_quant_range__ref_direct = {.op = OP_FAKE_QUANT_RANGE, .backend = BACKEND_REF,
    .name = "fake_quant_range__ref_direct", .refuse = refuse, .run = range_run};
const kernel fake_quant__ref_direct = {.op = OP_FAKE_QUANT,
    .backend = BACKEND_REF,
    .name = "fake_quant__ref_direct",
    .refuse = refuse,
    .run = forward_run};
const kernel fake_quant_backward__ref_direct = {.op = OP_FAKE_QUANT_BACKWARD, .backend = BACKEND_REF,
    .name = "fake_quant_backward__ref_direct", .refuse = refuse, .run = backward_run};
