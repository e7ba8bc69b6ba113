#include "core/device/tuning.h"

#include <stdlib.h>

/* Of GPUs only: on a CPU the best variant does not depend on the shape that much. */
static status open_tuning(device *d)
{
    if (d->api->kernels != BACKEND_CUDA) return OK;
    d->tuned = calloc(1, sizeof *d->tuned);
    return d->tuned ? tuning_open(d->tuned, d) : FAIL_MEMORY(sizeof *d->tuned);
}

static status open_with(device **dev, const device_api *api, int32_t index, int32_t threads, logger *l)
{
    device *d = calloc(1, sizeof *d);
    if (!d) return FAIL_MEMORY(sizeof *d);
    d->api = api;
    d->log = l;
    status result = api->open(d, index, threads);
    if (result != OK) {
        free(d);
        return result;
    }
    api->enter(d);
    result = device_ready(d);
    if (result == OK) result = open_tuning(d);
    if (result != OK) {
        device_close(d);
        return result;
    }
    *dev = d;
    return OK;
}

status device_open(device **dev, spec_device kind, int32_t index, int32_t threads, logger *l)
{
    *dev = NULL;
    if (kind == SPEC_DEVICE_CPU) return open_with(dev, &device_api_cpu, index, threads, l);
    if (kind == SPEC_DEVICE_CUDA) return open_with(dev, &device_api_cuda, index, threads, l);
    if (open_with(dev, &device_api_cuda, index, threads, l) == OK) return OK;
    /* Who built with CUDA wants to know. */
    if (device_api_cuda.architectures) log_info(l, "no GPU: %s", status_message());
    else log_verbose(l, "no GPU: %s", status_message());
    return open_with(dev, &device_api_cpu, 0, threads, l);
}

void device_close(device *dev)
{
    if (!dev) return;
    if (dev->tuned) tuning_close(dev->tuned);
    free(dev->tuned);
    dev->api->close(dev);
    free(dev);
}

status device_ready(device *dev)
{
    return dev->api->ready ? dev->api->ready(dev) : OK;
}

/* Jetsons' machine code runs on nothing else, and they run no other (CUDA programming
 * guide, "binary compatibility"). */
static bool is_jetson(int64_t sm)
{
    return sm == 72 || sm == 87 || sm == 101 || sm == 110;
}

bool device_cuda_runs_on(const char *archs, int32_t sm)
{
    if (!*archs) return true;
    for (const char *a = archs; *a;) {
        while (*a == ' ') a++;
        bool ptx = *a == '+';
        char *end;
        long built = strtol(a + ptx, &end, 10);
        bool exact = *end == 'a';
        if (ptx && sm >= built) return true;
        if (!ptx && sm == built) return true;
        /* Machine code runs on later chips of the same generation. */
        if (!ptx && !exact && sm / 10 == built / 10 && sm > built && !is_jetson(sm) && !is_jetson(built)) return true;
        a = end;
        while (*a && *a != ' ') a++;
    }
    return false;
}

void device_range_push(device *dev, const char *name)
{
    if (dev->api->range_push) dev->api->range_push(dev, name);
}

void device_range_pop(device *dev)
{
    if (dev->api->range_pop) dev->api->range_pop(dev);
}

status device_upload(device *dev, void *dst, const void *host, size_t bytes)
{
    if (bytes == 0) return OK;
    TRY(dev->api->copy_in(dev, dst, host, bytes, dev->stream));
    return dev->api->stream_sync(dev, dev->stream);
}

status device_download(device *dev, void *host, const void *src, size_t bytes)
{
    if (bytes == 0) return OK;
    TRY(dev->api->copy_out(dev, host, src, bytes, dev->stream));
    return dev->api->stream_sync(dev, dev->stream);
}

status device_sync(device *dev)
{
    return dev->api->stream_sync(dev, dev->stream);
}

status buffer_init(buffer *b, device *dev, size_t bytes, const char *what)
{
    *b = (buffer){.dev = dev};
    if (bytes == 0) return OK;
    if (dev->api->alloc(dev, bytes, &b->data) != OK) {
        char size[32], left[32];
        int64_t available = 0, total;
        if (dev->api->memory(dev, &available, &total) != OK) available = 0;
        format_bytes((double)bytes, size);
        format_bytes((double)available, left);
        *b = (buffer){0};
        return FAIL(E_MEMORY, "%s: %s do not fit in the memory of device %s, which has %s free", what, size,
            dev->api->name, left);
    }
    b->bytes = bytes;
    return OK;
}

void buffer_free(buffer *b)
{
    if (b->data) b->dev->api->release(b->dev, b->data);
    *b = (buffer){0};
}
