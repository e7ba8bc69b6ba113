/* device.h: memory, copies, streams and events of the machine that computes. A backend is a file (device_cpu.c,
 * device_cuda.c; an absent one is device_cuda_absent.c): nothing above this header knows which one runs.
 *
 *     device *dev;
 *     TRY(device_open(&dev, SPEC_DEVICE_AUTO, 0, threads, log));
 *     buffer weights;
 *     TRY(buffer_init(&weights, dev, bytes, "weights"));
 *     TRY(device_upload(dev, weights.data, host, bytes));
 *     buffer_free(&weights);
 *     device_close(dev);
 */
#ifndef GRAFT_DEVICE_DEVICE_H
#define GRAFT_DEVICE_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/log.h"
#include "core/base/status.h"
#include "core/config/spec.h"
#include "kernels/kernels.h"

typedef struct device device;

/* One backend: filled by its file. Streams and events are NULL on the CPU, where everything has happened on return. */
typedef struct device_api {
    backend kernels;                /* whose rows of kernels.def run here */
    const char *name;               /* "cpu", "cuda"                      */
    const char *architectures;      /* what a GPU backend's kernels were compiled for, "80 90a +90" (+: PTX); NULL */
    bool narrow_floats;             /* f16 and bf16 are fast; elsewhere only reference kernels have them */
    bool overlaps;                  /* copies on another stream run beside kernels */
    int64_t cache_bytes;            /* of its last cache, what a run can count on; 0: batches are not cut to fit it */
    status (*open)(device *dev, int32_t index, int32_t threads);
    void (*close)(device *dev);
    /* makes the calling thread ready to create and run kernels: its OpenMP threads, its current GPU */
    void (*enter)(device *dev);
    /* E_MEMORY unless what runs next would get its threads and what libraries take beside our buffers: those end the
     * process otherwise. NULL where nothing does. */
    status (*ready)(device *dev);
    status (*alloc)(device *dev, size_t bytes, void **data); /* 256-byte aligned, zeroed */
    void (*release)(device *dev, void *data);
    status (*copy_in)(device *dev, void *dst, const void *host, size_t bytes, void *stream);
    status (*copy_out)(device *dev, void *host, const void *src, size_t bytes, void *stream);
    status (*copy)(device *dev, void *dst, const void *src, size_t bytes, void *stream); /* device to device */
    status (*zero)(device *dev, void *data, size_t bytes, void *stream);
    status (*stream_create)(device *dev, void **stream);
    void (*stream_destroy)(device *dev, void *stream);
    status (*stream_sync)(device *dev, void *stream);
    status (*event_create)(device *dev, void **event);
    void (*event_destroy)(device *dev, void *event);
    status (*event_record)(device *dev, void *event, void *stream);
    status (*event_wait)(device *dev, void *event, void *stream); /* the stream waits, not the host */
    status (*event_sync)(device *dev, void *event);               /* the host waits                 */
    status (*event_elapsed_ms)(device *dev, void *begin, void *end, float *time_ms);
    status (*host_alloc)(device *dev, size_t bytes, void **data); /* pinned where that exists */
    void (*host_release)(device *dev, void *data);
    status (*memory)(device *dev, int64_t *free_bytes, int64_t *total_bytes);
    void (*describe)(device *dev, char *text, size_t capacity);   /* "AMD EPYC, 2 threads, AVX-512 VNNI" */
    /* What is enqueued between begin and end becomes one replayable unit; captured NULL in end drops it. All
     * NULL where there is no such thing. */
    status (*capture_begin)(device *dev, void *stream);
    status (*capture_end)(device *dev, void *stream, void **captured);
    status (*capture_run)(device *dev, void *captured, void *stream);
    void (*capture_destroy)(device *dev, void *captured);
    /* Names what the calling thread enqueues, for a profiler's time line; nested. NULL where there is none. */
    void (*range_push)(device *dev, const char *name);
    void (*range_pop)(device *dev);
} device_api;

struct device {
    const device_api *api;
    int32_t index, threads;
    void *state;  /* the backend's              */
    void *stream; /* default compute stream     */
    logger *log;
    struct tuning *tuned; /* a GPU's: variants to prefer, core/device/tuning.h; NULL: none */
};

/* auto: CUDA when a usable GPU is found, else the CPU. threads: CPU compute threads, 0 = one per processor. E_DEVICE
 * says what was found and what to do. */
status device_open(device **dev, spec_device kind, int32_t index, int32_t threads, logger *l);
void device_close(device *dev); /* accepts NULL */

/* Before kernels run that another thread may have called last: api->ready, for the calling thread. */
status device_ready(device *dev);

/* Whether kernels built for `archs` (device_api.architectures) run on a GPU of compute capability sm / 10 . sm % 10. */
bool device_cuda_runs_on(const char *archs, int32_t sm);

/* Blocking, on the default stream. */
status device_upload(device *dev, void *dst, const void *host, size_t bytes);
status device_download(device *dev, void *host, const void *src, size_t bytes);
status device_sync(device *dev);

/* An owner of device memory. A zeroed struct is empty. */
typedef struct buffer {
    device *dev;
    void *data;
    size_t bytes;
} buffer;

/* `what` names the buffer in the out-of-memory message. Zero bytes are fine. */
status buffer_init(buffer *b, device *dev, size_t bytes, const char *what);
void buffer_free(buffer *b);

extern const device_api device_api_cpu;
void device_range_push(device *dev, const char *name);
void device_range_pop(device *dev);

extern const device_api device_api_cuda; /* in a build without CUDA: one whose open fails and says so */

#endif
