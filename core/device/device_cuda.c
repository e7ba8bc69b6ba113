/* A GPU as a device, on the CUDA runtime API. The runtime is linked statically and finds the driver by
 * itself, so that the same program runs on machines without one; libcuda is never linked. Under kernels/simt
 * the same file drives an imaginary GPU.
 *
 * GRAFT_CUDA_ARCHS comes from the Makefile: what the kernels were compiled for, "75 80 90a +90" (+: PTX); "": any. */
#include "core/device/device.h"

#include <cuda_runtime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__has_include)
#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#define RANGE_PUSH(name) nvtxRangePushA(name)
#define RANGE_POP() nvtxRangePop()
#endif
#endif
#ifndef RANGE_PUSH
#define RANGE_PUSH(name) (void)(name)
#define RANGE_POP() (void)0
#endif

static status explain(cudaError_t error, const char *what)
{
    switch (error) {
    case cudaErrorMemoryAllocation: return FAIL(E_MEMORY, "%s: out of GPU memory", what);
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorUnsupportedPtxVersion:
        return FAIL(E_DEVICE, "%s: %s. This graft holds kernels for \"" GRAFT_CUDA_ARCHS "\": rebuild with "
            "`make CUDA=1 CUDA_ARCHS=...`, or update the driver", what, cudaGetErrorString(error));
    default: return FAIL(E_DEVICE, "%s: %s", what, cudaGetErrorString(error));
    }
}

/* An error of the runtime stays until it is asked for; launches would report it again. */
static status check(cudaError_t error, const char *what)
{
    if (error == cudaSuccess) return OK;
    (void)cudaGetLastError();
    return explain(error, what);
}

#define CUDA_TRY(call) TRY(check((call), #call))

/* ------------------------------------------------------------------------------------------------ finding a GPU */

static const char *version_text(int version, char text[16])
{
    snprintf(text, 16, "%d.%d", version / 1000, version % 1000 / 10);
    return text;
}

static status find_gpus(int *count)
{
    int driver = 0, runtime = 0;
    char have[16], want[16];
    cudaError_t error = cudaGetDeviceCount(count);
    if (error == cudaSuccess && *count > 0) return OK;
    (void)cudaGetLastError();
    if (cudaDriverGetVersion(&driver) != cudaSuccess) driver = 0;
    if (cudaRuntimeGetVersion(&runtime) != cudaSuccess) runtime = 0;
    if (driver == 0)
        return FAIL(
            E_DEVICE, "no NVIDIA driver is installed (libcuda.so.1 was not found): install one, or use device = cpu");
    if (error == cudaErrorInsufficientDriver)
        return FAIL(E_DEVICE,
            "the NVIDIA driver is too old: it speaks CUDA %s, this graft was built with CUDA %s: update the driver, "
            "or build with an older toolkit",
            version_text(driver, have), version_text(runtime, want));
    if (error == cudaSuccess || error == cudaErrorNoDevice)
        return FAIL(E_DEVICE,
            "the NVIDIA driver (CUDA %s) sees no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use device = cpu",
            version_text(driver, have));
    return FAIL(E_DEVICE, "the NVIDIA driver (CUDA %s) does not start: %s", version_text(driver, have),
        cudaGetErrorString(error));
}

static status check_architecture(int index)
{
    int major, minor;
    CUDA_TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index));
    CUDA_TRY(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index));
    if (device_cuda_runs_on(GRAFT_CUDA_ARCHS, 10 * major + minor)) return OK;
    return FAIL(E_DEVICE,
        "GPU %d is of architecture sm_%d%d, this graft holds kernels for \"" GRAFT_CUDA_ARCHS "\": rebuild with "
        "`make CUDA=1 CUDA_ARCHS=%d%d`, or use device = cpu",
        index, major, minor, major, minor);
}

static status cuda_open(device *dev, int32_t index, int32_t threads)
{
    int count = 0;
    cudaStream_t stream;
    TRY(find_gpus(&count));
    if (index < 0 || index >= count)
        return FAIL(E_DEVICE, "GPU %d does not exist: there %s %d (from 0)", index, count == 1 ? "is" : "are", count);
    TRY(check_architecture(index));
    CUDA_TRY(cudaSetDevice(index));
    CUDA_TRY(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
    dev->index = index;
    dev->threads = threads > 0 ? threads : 1;
    dev->stream = stream;
    return OK;
}

static void cuda_close(device *dev)
{
    if (dev->stream) (void)cudaStreamDestroy(dev->stream);
    dev->stream = NULL;
}

static void cuda_enter(device *dev)
{
    (void)cudaSetDevice(dev->index);
}

/* ------------------------------------------------------------------------------------------------ memory */

static status cuda_alloc(device *dev, size_t bytes, void **data)
{
    void *block = NULL;
    CUDA_TRY(cudaMalloc(&block, bytes ? bytes : 1));
    status result = check(cudaMemsetAsync(block, 0, bytes, dev->stream), "zeroing GPU memory");
    /* Other streams may use the block at once. */
    if (result == OK) result = check(cudaStreamSynchronize(dev->stream), "zeroing GPU memory");
    if (result != OK) {
        (void)cudaFree(block);
        return result;
    }
    *data = block;
    return OK;
}

static void cuda_release(device *dev, void *data)
{
    cuda_enter(dev);
    (void)cudaFree(data);
}

/* From pageable memory the bytes have been read on return, from pinned memory (host_alloc) they may not. */
static status cuda_copy_in(device *dev, void *dst, const void *host, size_t bytes, void *stream)
{
    (void)dev;
    return check(cudaMemcpyAsync(dst, host, bytes, cudaMemcpyHostToDevice, stream), "copying to the GPU");
}

static status cuda_copy_out(device *dev, void *host, const void *src, size_t bytes, void *stream)
{
    (void)dev;
    return check(cudaMemcpyAsync(host, src, bytes, cudaMemcpyDeviceToHost, stream), "copying from the GPU");
}

static status cuda_copy(device *dev, void *dst, const void *src, size_t bytes, void *stream)
{
    (void)dev;
    return check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, stream), "copying within the GPU");
}

static status cuda_zero(device *dev, void *data, size_t bytes, void *stream)
{
    (void)dev;
    return check(cudaMemsetAsync(data, 0, bytes, stream), "zeroing GPU memory");
}

static status cuda_host_alloc(device *dev, size_t bytes, void **data)
{
    (void)dev;
    *data = NULL;
    CUDA_TRY(cudaHostAlloc(data, bytes ? bytes : 1, cudaHostAllocDefault));
    memset(*data, 0, bytes);
    return OK;
}

static void cuda_host_release(device *dev, void *data)
{
    cuda_enter(dev);
    (void)cudaFreeHost(data);
}

static status cuda_memory(device *dev, int64_t *free_bytes, int64_t *total_bytes)
{
    size_t available, total;
    cuda_enter(dev);
    CUDA_TRY(cudaMemGetInfo(&available, &total));
    *free_bytes = (int64_t)available;
    *total_bytes = (int64_t)total;
    return OK;
}

/* ------------------------------------------------------------------------------------------------ streams, events */

static status cuda_stream_create(device *dev, void **stream)
{
    (void)dev;
    return check(cudaStreamCreateWithFlags((cudaStream_t *)stream, cudaStreamNonBlocking), "creating a stream");
}

static void cuda_stream_destroy(device *dev, void *stream)
{
    (void)dev;
    if (stream) (void)cudaStreamDestroy(stream);
}

static status cuda_stream_sync(device *dev, void *stream)
{
    (void)dev;
    return check(cudaStreamSynchronize(stream), "waiting for the GPU");
}

static status cuda_event_create(device *dev, void **event)
{
    (void)dev;
    return check(cudaEventCreate((cudaEvent_t *)event), "creating an event");
}

static void cuda_event_destroy(device *dev, void *event)
{
    (void)dev;
    if (event) (void)cudaEventDestroy(event);
}

static status cuda_event_record(device *dev, void *event, void *stream)
{
    (void)dev;
    return check(cudaEventRecord(event, stream), "recording an event");
}

static status cuda_event_wait(device *dev, void *event, void *stream)
{
    (void)dev;
    return check(cudaStreamWaitEvent(stream, event, 0), "waiting for an event");
}

static status cuda_event_sync(device *dev, void *event)
{
    (void)dev;
    return check(cudaEventSynchronize(event), "waiting for the GPU");
}

static status cuda_event_elapsed_ms(device *dev, void *begin, void *end, float *time_ms)
{
    (void)dev;
    CUDA_TRY(cudaEventSynchronize(end));
    return check(cudaEventElapsedTime(time_ms, begin, end), "reading a time");
}

/* ------------------------------------------------------------------------------------------------ captured work */

static status cuda_capture_begin(device *dev, void *stream)
{
    (void)dev;
    return check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "beginning a capture");
}

static status cuda_capture_end(device *dev, void *stream, void **captured)
{
    (void)dev;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    cudaError_t error = cudaStreamEndCapture(stream, &graph);
    if (captured) *captured = NULL;
    if (!captured) { /* given up: whatever it is, it goes */
        (void)cudaGetLastError();
        if (graph) (void)cudaGraphDestroy(graph);
        return OK;
    }
    TRY(check(error, "ending a capture"));
    status result = check(cudaGraphInstantiate(&exec, graph, 0), "instantiating a CUDA graph");
    (void)cudaGraphDestroy(graph);
    if (result == OK) *captured = exec;
    return result;
}

static status cuda_capture_run(device *dev, void *captured, void *stream)
{
    (void)dev;
    return check(cudaGraphLaunch(captured, stream), "launching a CUDA graph");
}

static void cuda_capture_destroy(device *dev, void *captured)
{
    cuda_enter(dev);
    if (captured) (void)cudaGraphExecDestroy(captured);
}

/* ------------------------------------------------------------------------------------------------ telling */

static void cuda_describe(device *dev, char *text, size_t capacity)
{
    struct cudaDeviceProp p;
    int driver = 0, runtime = 0;
    char memory[32], have[16], with[16];
    if (cudaGetDeviceProperties(&p, dev->index) != cudaSuccess) {
        (void)cudaGetLastError();
        snprintf(text, capacity, "GPU %d", dev->index);
        return;
    }
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    format_bytes((double)p.totalGlobalMem, memory);
    snprintf(text, capacity, "%s, sm_%d%d, %d multiprocessors, %s, driver CUDA %s, built with CUDA %s for %s", p.name,
        p.major, p.minor, p.multiProcessorCount, memory, version_text(driver, have), version_text(runtime, with),
        GRAFT_CUDA_ARCHS);
}

static void cuda_range_push(device *dev, const char *name)
{
    (void)dev;
    RANGE_PUSH(name);
}

static void cuda_range_pop(device *dev)
{
    (void)dev;
    RANGE_POP();
}

const device_api device_api_cuda = {
    .kernels = BACKEND_CUDA,
    .name = "cuda",
    .architectures = GRAFT_CUDA_ARCHS,
    .narrow_floats = true,
    .overlaps = true,
    .open = cuda_open,
    .close = cuda_close,
    .enter = cuda_enter,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .copy_in = cuda_copy_in,
    .copy_out = cuda_copy_out,
    .copy = cuda_copy,
    .zero = cuda_zero,
    .stream_create = cuda_stream_create,
    .stream_destroy = cuda_stream_destroy,
    .stream_sync = cuda_stream_sync,
    .event_create = cuda_event_create,
    .event_destroy = cuda_event_destroy,
    .event_record = cuda_event_record,
    .event_wait = cuda_event_wait,
    .event_sync = cuda_event_sync,
    .event_elapsed_ms = cuda_event_elapsed_ms,
    .host_alloc = cuda_host_alloc,
    .host_release = cuda_host_release,
    .memory = cuda_memory,
    .describe = cuda_describe,
    .capture_begin = cuda_capture_begin,
    .capture_end = cuda_capture_end,
    .capture_run = cuda_capture_run,
    .capture_destroy = cuda_capture_destroy,
    .range_push = cuda_range_push,
    .range_pop = cuda_range_pop,
};
