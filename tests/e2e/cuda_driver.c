/* cuda_driver.c: a libcuda.so.1 without a GPU behind it, for test_cuda_driver.sh. FAKE_INIT: what cuInit returns (100:
 * no device); FAKE_VERSION: the CUDA version that the driver speaks. Only what the CUDA runtime asks for before it has
 * found a device, and what `graft doctor` asks for: with FAKE_INIT=0 there is one GPU. */
#include <stdlib.h>
#include <string.h>

static int setting(const char *name, int otherwise)
{
    const char *text = getenv(name);
    return text ? atoi(text) : otherwise;
}

int cuInit(unsigned flags)
{
    (void)flags;
    return setting("FAKE_INIT", 100);
}

int cuDriverGetVersion(int *version)
{
    *version = setting("FAKE_VERSION", 99000);
    return 0;
}

int cuDeviceGetCount(int *count)
{
    *count = 1;
    return setting("FAKE_INIT", 100);
}

int cuDeviceGet(int *device, int index)
{
    *device = index;
    return 0;
}

int cuDeviceGetName(char *name, int bytes, int device)
{
    (void)device;
    strncpy(name, "Imaginary GPU", (size_t)bytes);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *bytes, int device)
{
    (void)device;
    *bytes = (size_t)8 << 30;
    return 0;
}

static int any_other(void)
{
    return 999; /* CUDA_ERROR_UNKNOWN */
}

int cuGetProcAddress_v2(const char *symbol, void **function, int version, unsigned long long flags, int *found)
{
    (void)version, (void)flags;
    *function = strcmp(symbol, "cuInit") == 0                  ? (void *)cuInit
                : strcmp(symbol, "cuDriverGetVersion") == 0    ? (void *)cuDriverGetVersion
                : strncmp(symbol, "cuGetProcAddress", 16) == 0 ? (void *)cuGetProcAddress_v2
                                                               : (void *)any_other;
    if (found) *found = 0;
    return 0;
}

int cuGetProcAddress(const char *symbol, void **function, int version, unsigned long long flags)
{
    return cuGetProcAddress_v2(symbol, function, version, flags, NULL);
}
