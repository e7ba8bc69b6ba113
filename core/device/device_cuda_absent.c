/* Stands in for device_cuda.c in builds without CUDA. */
#include "core/device/device.h"

static status cuda_open(device *dev, int32_t index, int32_t threads)
{
    (void)dev, (void)index, (void)threads;
    return FAIL(E_DEVICE, "this graft was built without CUDA: rebuild with `make CUDA=1`, or use device = cpu");
}

const device_api device_api_cuda = {.kernels = BACKEND_CUDA, .name = "cuda", .open = cuda_open};
