/* tuning_time.c: timing the variants of one convolution on the device. */
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/device/tuning.h"

enum { WARM_UP = 3, MAX_SAMPLES = 64 };
static const double SAMPLE_SECONDS = 1e-3;

/* Device memory of one convolution, shared by its variants. */
typedef struct workbench {
    device *dev;
    buffer in[KERNEL_MAX_IN], out[KERNEL_MAX_OUT];
    void *begin, *end;
} workbench;

/* Random values, not zeros: those run faster on some GPUs. A block of them is repeated. */
static status fill(workbench *w, buffer *b, dtype type, int64_t count)
{
    enum { BLOCK = 4096 };
    size_t size = dtype_bytes(type), bytes = (size_t)count * size;
    rng r = rng_make(1, RNG_TEST, (uint64_t)count);
    char *host = malloc(bytes);
    if (!host) return FAIL_MEMORY(bytes);
    for (int64_t i = 0; i < count && i < BLOCK; i++)
        dtype_store(host, type, i, (2 * rng_uniform_double(&r) - 1) * (size == 1 ? 100 : 1));
    for (size_t done = BLOCK * size; done < bytes; done *= 2)
        memcpy(host + done, host, done < bytes - done ? done : bytes - done);
    status s = buffer_init(b, w->dev, bytes, "tuning");
    if (s == OK) s = device_upload(w->dev, b->data, host, bytes);
    free(host);
    return s;
}

static status open_tensors(workbench *w, kernel_op op, const conv2d_desc *d)
{
    int64_t src = d->n * d->ih * d->iw * d->ic, dst = d->n * d->oh * d->ow * d->oc,
            weight = d->oc * d->kh * d->kw * (d->ic / d->groups);
    const conv2d_epilogue *e = &d->epilogue;
    if (op == OP_CONV2D_DSRC) {
        TRY(fill(w, &w->in[0], d->dst_type, dst));
        TRY(fill(w, &w->in[1], d->weight_type, weight));
        return buffer_init(&w->out[0], w->dev, (size_t)src * dtype_bytes(d->src_type), "tuning");
    }
    TRY(fill(w, &w->in[0], d->src_type, src));
    if (d->transform.enabled) TRY(fill(w, &w->in[CONV2D_TRANSFORM], DTYPE_F32, 2 * d->ic));
    if (op == OP_CONV2D_DWEIGHT) {
        TRY(fill(w, &w->in[1], d->dst_type, dst));
        TRY(buffer_init(&w->out[1], w->dev, (size_t)d->oc * sizeof(float), "tuning"));
        return buffer_init(&w->out[0], w->dev, (size_t)weight * dtype_bytes(d->weight_type), "tuning");
    }
    TRY(fill(w, &w->in[CONV2D_WEIGHT], d->weight_type, weight));
    if (e->has_bias) TRY(fill(w, &w->in[CONV2D_BIAS], DTYPE_F32, d->oc));
    if (e->has_scale) TRY(fill(w, &w->in[CONV2D_SCALE], DTYPE_F32, d->oc));
    if (e->has_add) TRY(fill(w, &w->in[CONV2D_ADD], e->add_type, dst));
    if (e->stats) TRY(buffer_init(&w->out[1], w->dev, (size_t)d->oc * 2 * sizeof(double), "tuning"));
    return buffer_init(&w->out[0], w->dev, (size_t)dst * dtype_bytes(d->dst_type), "tuning");
}

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Median milliseconds of one call, over batches of about a millisecond. */
static status time_calls(const workbench *w, const kernel *k, const kernel_call *call, int32_t samples, double *seconds)
{
    const device_api *api = w->dev->api;
    float ms, sample[MAX_SAMPLES];
    int64_t calls = 1;
    for (int32_t i = -WARM_UP; i < samples; i++) {
        double start = clock_seconds();
        if (w->begin) TRY(api->event_record(w->dev, w->begin, w->dev->stream));
        for (int64_t c = 0; c < calls; c++) TRY(k->run(call));
        ms = (float)(1e3 * (clock_seconds() - start));
        if (w->begin) { /* a GPU */
            TRY(api->event_record(w->dev, w->end, w->dev->stream));
            TRY(api->event_sync(w->dev, w->end));
            TRY(api->event_elapsed_ms(w->dev, w->begin, w->end, &ms));
        }
        if (i == -1 && ms > 0) calls = (int64_t)(SAMPLE_SECONDS * 1e3 / (double)ms) + 1;
        if (i >= 0) sample[i] = ms / (float)calls;
    }
    qsort(sample, (size_t)samples, sizeof *sample, by_value);
    *seconds = (double)sample[samples / 2] * 1e-3;
    return OK;
}

static status time_variant(const workbench *w, const kernel *k, const conv2d_desc *d, int32_t samples, double *seconds)
{
    buffer scratch = {0}, packed = {0};
    kernel_call call = {.desc = d, .stream = w->dev->stream};
    status result = OK;
    if (k->create) TRY(k->create(d, &call.state));
    TRY_OUT(buffer_init(&scratch, w->dev, k->scratch_bytes ? k->scratch_bytes(d, call.state) : 0, "tuning"));
    TRY_OUT(buffer_init(&packed, w->dev, k->packed_bytes ? k->packed_bytes(d, call.state) : 0, "tuning"));
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++) call.in[i] = w->in[i].data;
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) call.out[i] = w->out[i].data;
    call.scratch = scratch.data, call.packed = packed.data;
    if (packed.data) TRY_OUT(k->pack(&call));
    TRY_OUT(time_calls(w, k, &call, samples, seconds));
out:
    buffer_free(&scratch);
    buffer_free(&packed);
    if (k->destroy) k->destroy(call.state);
    return result;
}

static status time_all(const workbench *w, kernel_op op, const conv2d_desc *d, int32_t samples, tuning_result *r)
{
    TRY(kernel_select(&r->chosen, op, w->dev->api->kernels, d, NULL, NULL));
    for (const kernel *const *k = kernel_variants(op); *k; k++) {
        double seconds = 0;
        if ((*k)->backend != w->dev->api->kernels || ((*k)->refuse && (*k)->refuse(d))) continue;
        TRY(time_variant(w, *k, d, samples, &seconds));
        r->timed++;
        if (*k == r->chosen) r->chosen_seconds = seconds;
        if (!r->fastest || seconds < r->fastest_seconds) r->fastest = *k, r->fastest_seconds = seconds;
    }
    return OK;
}

status tuning_time_conv2d(device *dev, kernel_op op, const conv2d_desc *desc, int32_t samples, tuning_result *r)
{
    workbench w = {.dev = dev};
    status result = OK;
    *r = (tuning_result){0};
    if (samples < 1 || samples > MAX_SAMPLES) BUG("%d samples", samples);
    TRY_OUT(dev->api->event_create(dev, &w.begin));
    TRY_OUT(dev->api->event_create(dev, &w.end));
    TRY_OUT(open_tensors(&w, op, desc));
    TRY_OUT(time_all(&w, op, desc, samples, r));
out:
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++) buffer_free(&w.in[i]);
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) buffer_free(&w.out[i]);
    if (w.begin) dev->api->event_destroy(dev, w.begin);
    if (w.end) dev->api->event_destroy(dev, w.end);
    return result;
}
