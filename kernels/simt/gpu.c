/* gpu.c: the imaginary GPU's properties, and errors. */
#include "kernels/simt/gpu.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/simt/engine.h"

enum { DRIVER_VERSION = 13000, PROCESSORS = 4, L2_BYTES = 4 << 20, TEXT_BYTES = 8192 };

static _Thread_local cudaError_t last_error;
static _Thread_local cudaError_t text_code;
static _Thread_local char error_text[TEXT_BYTES];

int64_t gpu_setting(const char *variable, int64_t otherwise)
{
    const char *text = getenv(variable);
    return text && *text ? strtoll(text, NULL, 10) : otherwise;
}

int32_t gpu_sm(void)
{
    return (int32_t)gpu_setting("GRAFT_SIMT_SM", 80);
}

int32_t gpu_shared_bytes(void)
{
    switch (gpu_sm()) {
    case 75: return 64 << 10;
    case 80:
    case 87: return 163 << 10;
    case 86:
    case 89: return 99 << 10;
    default: return 227 << 10;
    }
}

/* ------------------------------------------------------------------------------------------------ errors */

cudaError_t gpu_error(cudaError_t code, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(error_text, sizeof error_text, fmt, args);
    va_end(args);
    text_code = code;
    return last_error = code;
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (error) {
#define NAME(code) case code: return #code;
    NAME(cudaSuccess)
    NAME(cudaErrorInvalidValue)
    NAME(cudaErrorMemoryAllocation)
    NAME(cudaErrorInitializationError)
    NAME(cudaErrorInvalidConfiguration)
    NAME(cudaErrorInvalidMemcpyDirection)
    NAME(cudaErrorInsufficientDriver)
    NAME(cudaErrorNoDevice)
    NAME(cudaErrorInvalidDevice)
    NAME(cudaErrorNoKernelImageForDevice)
    NAME(cudaErrorUnsupportedPtxVersion)
    NAME(cudaErrorInvalidResourceHandle)
    NAME(cudaErrorNotReady)
    NAME(cudaErrorIllegalAddress)
    NAME(cudaErrorLaunchFailure)
    NAME(cudaErrorNotSupported)
    NAME(cudaErrorStreamCaptureUnsupported)
    NAME(cudaErrorStreamCaptureInvalidated)
    NAME(cudaErrorCapturedEvent)
    NAME(cudaErrorUnknown)
#undef NAME
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    if (error != cudaSuccess && error == text_code) return error_text;
    return error == cudaSuccess ? "no error" : cudaGetErrorName(error);
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

cudaError_t cudaGetLastError(void)
{
    cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

/* ------------------------------------------------------------------------------------------------ devices */

static cudaError_t known_device(int device)
{
    int64_t count = gpu_setting("GRAFT_SIMT_DEVICES", 1);
    if (count < 1) return gpu_error(cudaErrorNoDevice, "no CUDA-capable device is detected");
    if (device < 0 || device >= count)
        return gpu_error(cudaErrorInvalidDevice, "invalid device ordinal %d of %" PRId64, device, count);
    return cudaSuccess;
}

static _Thread_local int current_device;

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 0;
    if (known_device(0) != cudaSuccess) return last_error;
    *count = (int)gpu_setting("GRAFT_SIMT_DEVICES", 1);
    return cudaSuccess;
}

cudaError_t cudaGetDevice(int *device)
{
    *device = current_device;
    return known_device(current_device);
}

cudaError_t cudaSetDevice(int device)
{
    if (known_device(device) != cudaSuccess) return last_error;
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaSetDeviceFlags(unsigned flags)
{
    (void)flags;
    return known_device(current_device);
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    if (known_device(device) != cudaSuccess) return last_error;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = MAX_THREADS; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = STATIC_SHARED; break;
    case cudaDevAttrWarpSize: *value = LANES; break;
    case cudaDevAttrMaxRegistersPerBlock: *value = 65536; break;
    case cudaDevAttrClockRate: *value = 1000000; break;
    case cudaDevAttrMultiProcessorCount: *value = PROCESSORS; break;
    case cudaDevAttrMemoryClockRate: *value = 1000000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = 64; break;
    case cudaDevAttrL2CacheSize: *value = L2_BYTES; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = gpu_sm() == 75 ? 1024 : 1536; break;
    case cudaDevAttrComputeCapabilityMajor: *value = gpu_sm() / 10; break;
    case cudaDevAttrComputeCapabilityMinor: *value = gpu_sm() % 10; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = gpu_shared_bytes() + 1024; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = gpu_shared_bytes(); break;
    default: return gpu_error(cudaErrorInvalidValue, "device attribute %d is not known here", (int)attribute);
    }
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device)
{
    if (known_device(device) != cudaSuccess) return last_error;
    memset(p, 0, sizeof *p);
    snprintf(p->name, sizeof p->name, "SIMT on the CPU, as sm_%d", gpu_sm());
    size_t free_bytes;
    cudaMemGetInfo(&free_bytes, &p->totalGlobalMem);
    p->sharedMemPerBlock = STATIC_SHARED;
    p->sharedMemPerBlockOptin = (size_t)gpu_shared_bytes();
    p->sharedMemPerMultiprocessor = (size_t)gpu_shared_bytes() + 1024;
    p->regsPerBlock = 65536;
    p->warpSize = LANES;
    p->maxThreadsPerBlock = MAX_THREADS;
    p->maxThreadsDim[0] = p->maxThreadsDim[1] = MAX_THREADS;
    p->maxThreadsDim[2] = 64;
    p->maxGridSize[0] = 2147483647;
    p->maxGridSize[1] = p->maxGridSize[2] = 65535;
    p->major = gpu_sm() / 10;
    p->minor = gpu_sm() % 10;
    p->multiProcessorCount = PROCESSORS;
    p->l2CacheSize = L2_BYTES;
    p->memoryBusWidth = 64;
    p->maxThreadsPerMultiProcessor = gpu_sm() == 75 ? 1024 : 1536;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    if (capture_active())
        return gpu_error(cudaErrorStreamCaptureUnsupported, "cudaDeviceSynchronize while a stream is being captured");
    return known_device(current_device);
}

cudaError_t cudaDeviceReset(void)
{
    return known_device(current_device);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = (int)gpu_setting("GRAFT_SIMT_DRIVER", DRIVER_VERSION); /* 0: no driver */
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *kernel, enum cudaFuncAttribute attribute, int value)
{
    (void)kernel;
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize && value > gpu_shared_bytes())
        return gpu_error(
            cudaErrorInvalidValue, "%d bytes of shared memory, this GPU has %d a block", value, gpu_shared_bytes());
    return cudaSuccess;
}
