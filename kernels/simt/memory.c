/* memory.c: device memory: host memory between guard bands, in a table by address. Pinned
 * host memory likewise, in another. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/simt/engine.h"
#include "kernels/simt/gpu.h"
#include "kernels/simt/watch.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { GUARD = 512, ALIGN = 256 };

typedef struct block {
    char *at;
    size_t bytes, room; /* room: rounded up to ALIGN */
    bool device;
    cell *cells; /* [bytes], made when an access is first watched */
} block;

/* Sorted by address. */
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static block *blocks;
static size_t count, capacity, device_bytes;

static size_t total_bytes(void)
{
    return (size_t)gpu_setting("GRAFT_SIMT_MEMORY_MB", 16384) << 20;
}

/* The last block that begins at or before `at`, or NULL. */
static block *find(const void *at)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (blocks[middle].at <= (const char *)at) low = middle + 1;
        else high = middle;
    }
    return low ? &blocks[low - 1] : NULL;
}

static bool insert(block b)
{
    if (count == capacity) {
        size_t more = capacity ? 2 * capacity : 64;
        block *grown = realloc(blocks, more * sizeof *blocks);
        if (!grown) return false;
        blocks = grown;
        capacity = more;
    }
    block *before = find(b.at);
    size_t index = before ? (size_t)(before - blocks) + 1 : 0;
    memmove(blocks + index + 1, blocks + index, (count++ - index) * sizeof *blocks);
    blocks[index] = b;
    return true;
}

static cudaError_t allocate(void **data, size_t bytes, bool device)
{
    *data = NULL;
    const char *what = device ? "cudaMalloc" : "cudaHostAlloc";
    if (capture_active())
        return gpu_error(cudaErrorStreamCaptureUnsupported, "%s while a stream is being captured", what);
    if (bytes == 0) return cudaSuccess;
    if (bytes > SIZE_MAX / 2) return gpu_error(cudaErrorMemoryAllocation, "out of memory");
    size_t room = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    pthread_rwlock_wrlock(&lock);
    bool fits = !device || device_bytes + room <= total_bytes();
    char *base = fits ? aligned_alloc(ALIGN, room + 2 * GUARD) : NULL;
    block b = {base + GUARD, bytes, room, device, NULL};
    if (!base || !insert(b)) {
        free(base);
        pthread_rwlock_unlock(&lock);
        return gpu_error(cudaErrorMemoryAllocation, "out of memory");
    }
    if (device) device_bytes += room;
    memset(base, GUARD_BYTE, GUARD);
    memset(b.at, FRESH_BYTE, bytes);
    memset(b.at + bytes, GUARD_BYTE, room - bytes + GUARD);
    ASAN_POISON_MEMORY_REGION(base, GUARD);
    ASAN_POISON_MEMORY_REGION(b.at + bytes, room - bytes + GUARD);
    pthread_rwlock_unlock(&lock);
    *data = b.at;
    return cudaSuccess;
}

static bool guards_intact(const block *b)
{
#ifdef __SANITIZE_ADDRESS__
    (void)b;
#else
    const unsigned char *before = (const unsigned char *)b->at - GUARD,
                        *after = (const unsigned char *)b->at + b->bytes;
    for (size_t i = 0; i < GUARD; i++)
        if (before[i] != GUARD_BYTE) return false;
    for (size_t i = 0; i < b->room - b->bytes + GUARD; i++)
        if (after[i] != GUARD_BYTE) return false;
#endif
    return true;
}

static cudaError_t release(void *data, bool device)
{
    if (!data) return cudaSuccess;
    const char *what = device ? "cudaFree" : "cudaFreeHost";
    pthread_rwlock_wrlock(&lock);
    block *b = find(data);
    if (!b || b->at != data || b->device != device) {
        pthread_rwlock_unlock(&lock);
        return gpu_error(cudaErrorInvalidValue, "%s(%p): no such block", what, data);
    }
    bool intact = guards_intact(b);
    char *base = b->at - GUARD;
    ASAN_UNPOISON_MEMORY_REGION(base, b->room + 2 * GUARD);
    if (device) device_bytes -= b->room;
    cells_free(b->cells, b->bytes);
    size_t bytes = b->bytes, index = (size_t)(b - blocks);
    memmove(b, b + 1, (--count - index) * sizeof *b);
    free(base);
    pthread_rwlock_unlock(&lock);
    if (!intact)
        return gpu_error(cudaErrorIllegalAddress, "%s: something wrote beside a block of %zu bytes", what, bytes);
    return cudaSuccess;
}

cudaError_t cudaMalloc(void **data, size_t bytes) { return allocate(data, bytes, true); }
cudaError_t cudaFree(void *data) { return release(data, true); }
cudaError_t cudaHostAlloc(void **data, size_t bytes, unsigned flags)
{
    return (void)flags, allocate(data, bytes, false);
}
cudaError_t cudaMallocHost(void **data, size_t bytes) { return allocate(data, bytes, false); }
cudaError_t cudaFreeHost(void *data) { return release(data, false); }
cudaError_t cudaHostRegister(void *data, size_t bytes, unsigned flags)
{
    return (void)data, (void)bytes, (void)flags, cudaSuccess;
}
cudaError_t cudaHostUnregister(void *data) { return (void)data, cudaSuccess; }

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total)
{
    *total = total_bytes();
    pthread_rwlock_rdlock(&lock);
    *free_bytes = *total > device_bytes ? *total - device_bytes : 0;
    pthread_rwlock_unlock(&lock);
    return cudaSuccess;
}

bool memory_intact(char *text, size_t text_bytes)
{
    bool good = true;
    pthread_rwlock_rdlock(&lock);
    for (size_t i = 0; i < count && good; i++) {
        good = guards_intact(&blocks[i]);
        if (!good)
            snprintf(text, text_bytes, "a thread wrote beside a block of %zu bytes of device memory", blocks[i].bytes);
    }
    pthread_rwlock_unlock(&lock);
    return good;
}

cudaError_t memory_check(const void *at, size_t bytes, bool device, const char *what)
{
    pthread_rwlock_rdlock(&lock);
    const block *b = find(at);
    block found = b && (const char *)at < b->at + b->room ? *b : (block){0};
    pthread_rwlock_unlock(&lock);
    if (!found.at) {
        if (!device) return cudaSuccess; /* pageable host memory */
        return gpu_error(cudaErrorInvalidValue, "%s: %p is no device memory", what, at);
    }
    if (found.device != device)
        return gpu_error(cudaErrorInvalidValue, "%s: %p is %s memory", what, at, found.device ? "device" : "host");
    if ((size_t)((const char *)at - found.at) + bytes > found.bytes)
        return gpu_error(cudaErrorInvalidValue, "%s: %zu bytes at offset %zu of a block of %zu", what, bytes,
            (size_t)((const char *)at - found.at), found.bytes);
    return cudaSuccess;
}

/* ------------------------------------------------------------------------------------------------ watched */

/* Whether `at` is in a read-only part of a loaded file: constant tables. */
static bool is_constant(const void *at)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[512], flags[8] = "";
    bool found = false;
    while (maps && !found && fgets(line, sizeof line, maps)) {
        unsigned long low, high;
        if (sscanf(line, "%lx-%lx %7s", &low, &high, flags) != 3) continue;
        found = (uintptr_t)at >= low && (uintptr_t)at < high;
    }
    if (maps) fclose(maps);
    return found && strncmp(flags, "r-", 2) == 0;
}

cell *memory_cells(const void *at, size_t *left, char *text, size_t text_bytes)
{
    pthread_rwlock_rdlock(&lock);
    block *b = find(at);
    cell *result = NULL;
    bool near = b && b->device && (const char *)at < b->at + b->room + GUARD;
    *left = 0;
    if (b && b->device && (const char *)at < b->at + b->bytes) {
        if (!b->cells) b->cells = cells_make(b->bytes);
        *left = b->cells ? b->bytes - (size_t)((const char *)at - b->at) : 0;
        result = b->cells ? b->cells + ((const char *)at - b->at) : NULL;
    }
    pthread_rwlock_unlock(&lock);
    if (result) return result;
    if (gpu_setting("GRAFT_SIMT_HOST_MEMORY", 0) || is_constant(at)) *left = 1;
    else snprintf(text, text_bytes, "%s", near ? "outside of the block" : "no device memory: the host's, or freed");
    return NULL;
}

void memory_describe(const void *at, char *text, size_t text_bytes)
{
    pthread_rwlock_rdlock(&lock);
    const block *b = find(at);
    if (b && (const char *)at < b->at + b->room + GUARD)
        snprintf(text, text_bytes, "byte %zu of a block of %zu bytes of %s memory", (size_t)((const char *)at - b->at),
            b->bytes, b->device ? "device" : "pinned host");
    else snprintf(text, text_bytes, "address %p", at);
    pthread_rwlock_unlock(&lock);
}
