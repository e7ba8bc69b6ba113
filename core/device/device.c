#include "core/device/device.h"

#include <stdlib.h>

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
    *dev = d;
    return OK;
}

status device_open(device **dev, spec_device kind, int32_t index, int32_t threads, logger *l)
{
    *dev = NULL;
    if (kind == SPEC_DEVICE_CPU) return open_with(dev, &device_api_cpu, index, threads, l);
    if (kind == SPEC_DEVICE_CUDA) return open_with(dev, &device_api_cuda, index, threads, l);
    if (open_with(dev, &device_api_cuda, index, threads, l) == OK) return OK;
    log_verbose(l, "no GPU: %s", status_message());
    return open_with(dev, &device_api_cpu, 0, threads, l);
}

void device_close(device *dev)
{
    if (!dev) return;
    dev->api->close(dev);
    free(dev);
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
        char size[32];
        format_bytes((double)bytes, size);
        *b = (buffer){0};
        return FAIL(E_MEMORY, "%s: %s do not fit in the memory of device %s", what, size, dev->api->name);
    }
    b->bytes = bytes;
    return OK;
}

void buffer_free(buffer *b)
{
    if (b->data) b->dev->api->release(b->dev, b->data);
    *b = (buffer){0};
}
