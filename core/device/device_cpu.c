/* The CPU as a device: everything has happened when a call returns, so streams and events are NULL. */
#include "core/device/device.h"

#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "core/base/limits.h"
#include "core/base/cpu.h"
#include "core/base/thread.h"

/* LIBRARY_ROOM: what OpenMP's start and oneDNN's calls may take beside our buffers, generously. */
enum { ALIGN = 256, HUGE_PAGE = 2 << 20, LIBRARY_ROOM = 32 << 20 };

/* device.state */
typedef struct cpu_state {
    pid_t ready; /* the thread that was last found ready */
} cpu_state;

static status cpu_open(device *dev, int32_t index, int32_t threads)
{
    if (index != 0) return FAIL(E_DEVICE, "CPU %d does not exist: the CPU has index 0", index);
    cpu_isa limit;
    TRY(cpu_isa_limit(&limit));
    if (threads < 0 || threads > 1024) return FAIL(E_USAGE, "threads = %d: expected 0 to 1024", threads);
    dev->state = calloc(1, sizeof(cpu_state));
    if (!dev->state) return FAIL_MEMORY(sizeof(cpu_state));
    dev->index = 0;
    dev->threads = threads > 0 ? threads : cpu_count();
#ifndef _OPENMP
    dev->threads = 1;
#endif
    return OK;
}

static void cpu_close(device *dev)
{
    free(dev->state);
}

static void cpu_enter(device *dev)
{
#ifdef _OPENMP
    omp_set_dynamic(0);
    omp_set_num_threads(dev->threads);
#else
    (void)dev;
#endif
}

#ifdef _OPENMP
/* Whether `count` threads can start. SPARE more must be free: the host's other threads may start some between this
 * answer and OpenMP's start, about 50 us later, and OpenMP would end the process. Threads of an idle team of this one
 * end soon after they are let go, and then count no more. */
static status check_threads(int32_t count)
{
    enum { TRIES = 20, SPARE = 4 };
    count += SPARE;
    status result = limits_check_threads(count);
    if (result == OK || omp_in_parallel() || omp_pause_resource(omp_pause_soft, omp_get_initial_device()) != 0)
        return result;
    for (int i = 0; i < TRIES && result != OK; i++) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        result = limits_check_threads(count);
    }
    return result;
}

/* OpenMP keeps a team of threads for every thread that computes, and exits where it cannot start one: asked before,
 * then started at once, one caller after the other, so that none takes what another has just been promised. */
static status ready_threads(device *dev)
{
    static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
    int32_t present = 0;
    pthread_mutex_lock(&turn);
    status result = check_threads(dev->threads - 1);
    if (result == OK) {
#pragma omp parallel num_threads(dev->threads) reduction(+ : present)
        present++;
    }
    pthread_mutex_unlock(&turn);
    TRY(result);
    return present == dev->threads ? OK
                                   : FAIL(E_MEMORY, "OpenMP started %d of %d threads", (int)present, (int)dev->threads);
}
#else
static status ready_threads(device *dev)
{
    (void)dev;
    return OK;
}
#endif

static status cpu_ready(device *dev)
{
    cpu_state *state = dev->state;
    TRY(limits_check_memory(LIBRARY_ROOM, "computing"));
    if (dev->threads < 2) return OK;
    /* A team of two stays. In larger ones oneDNN lets threads go where work is small, and wants them back later. */
    if (dev->threads == 2 && state->ready == gettid()) return OK;
    TRY(ready_threads(dev));
    state->ready = gettid();
    return OK;
}

static status cpu_alloc(device *dev, size_t bytes, void **data)
{
    (void)dev;
    /* Huge pages: a training step streams through gigabytes, and page walks cost several percent. */
    size_t align = bytes >= HUGE_PAGE ? HUGE_PAGE : ALIGN;
    if (bytes > SIZE_MAX - align) return FAIL_MEMORY(bytes);
    size_t rounded = (bytes + align - 1) / align * align;
    void *block = aligned_alloc(align, rounded ? rounded : align);
    if (!block) return FAIL_MEMORY(bytes);
    if (align == HUGE_PAGE) madvise(block, rounded, MADV_HUGEPAGE);
    memset(block, 0, rounded);
    *data = block;
    return OK;
}

static void cpu_release(device *dev, void *data)
{
    (void)dev;
    free(data);
}

static status cpu_copy(device *dev, void *dst, const void *src, size_t bytes, void *stream)
{
    (void)dev, (void)stream;
    memmove(dst, src, bytes);
    return OK;
}

static status cpu_zero(device *dev, void *data, size_t bytes, void *stream)
{
    (void)dev, (void)stream;
    memset(data, 0, bytes);
    return OK;
}

static status cpu_create(device *dev, void **handle)
{
    (void)dev;
    *handle = NULL;
    return OK;
}

static void cpu_destroy(device *dev, void *handle)
{
    (void)dev, (void)handle;
}

static status cpu_sync(device *dev, void *stream)
{
    (void)dev, (void)stream;
    return OK;
}

static status cpu_event(device *dev, void *event, void *stream)
{
    (void)dev, (void)event, (void)stream;
    return OK;
}

static status cpu_event_sync(device *dev, void *event)
{
    (void)dev, (void)event;
    return OK;
}

static status cpu_elapsed(device *dev, void *begin, void *end, float *time_ms)
{
    (void)dev, (void)begin, (void)end, (void)time_ms;
    return FAIL(E_INTERNAL, "the CPU has no events: use clock_seconds");
}

/* A number behind `key` in a file of /proc or /sys; -1 if it is not there. */
static int64_t read_number(const char *path, const char *key)
{
    FILE *f = fopen(path, "r");
    if (!f) return -1;
    char line[256];
    int64_t value = -1;
    size_t length = strlen(key);
    while (value < 0 && fgets(line, sizeof line, f)) {
        int64_t number;
        if (strncmp(line, key, length) == 0 && sscanf(line + length, " %" PRId64, &number) == 1) value = number;
    }
    fclose(f);
    return value;
}

static status cpu_memory(device *dev, int64_t *free_bytes, int64_t *total_bytes)
{
    (void)dev;
    int64_t available = read_number("/proc/meminfo", "MemAvailable:"),
            total = read_number("/proc/meminfo", "MemTotal:");
    struct sysinfo s;
    if (available >= 0 && total >= 0) {
        *free_bytes = available * 1024;
        *total_bytes = total * 1024;
    } else if (sysinfo(&s) == 0) { /* no /proc: file cache counts as used */
        *free_bytes = (int64_t)(s.freeram + s.bufferram) * s.mem_unit;
        *total_bytes = (int64_t)s.totalram * s.mem_unit;
    } else {
        return FAIL(E_DEVICE, "neither /proc/meminfo nor sysinfo tells how much memory is free");
    }
    /* In a container the limit is the control group's. File cache counts as used there
     * but is given back under pressure. */
    int64_t limit = read_number("/sys/fs/cgroup/memory.max", ""),
            used = read_number("/sys/fs/cgroup/memory.current", "");
    int64_t cache = read_number("/sys/fs/cgroup/memory.stat", "inactive_file");
    if (limit > 0 && used >= 0 && limit < *total_bytes) {
        int64_t left = limit - used + (cache > 0 ? cache : 0);
        *total_bytes = limit;
        if (left < *free_bytes) *free_bytes = left > 0 ? left : 0;
    }
    return OK;
}

static const char *instruction_set(void)
{
    cpu_isa isa = cpu_isa_widest();
    return isa == CPU_ISA_AVX512 && __builtin_cpu_supports("avx512vnni") ? "AVX-512 VNNI" : cpu_isa_title(isa);
}

static void cpu_describe(device *dev, char *text, size_t capacity)
{
    char line[256], name[128] = "CPU";
    FILE *f = fopen("/proc/cpuinfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "model name : %127[^\n]", name) == 1) break;
    if (f) fclose(f);
    snprintf(
        text, capacity, "%s, %d thread%s, %s", name, dev->threads, dev->threads == 1 ? "" : "s", instruction_set());
}

const device_api device_api_cpu = {
    .kernels = BACKEND_CPU,
    .name = "cpu",
    .cache_bytes = 16 << 20, /* one number for all machines: how a batch is cut must not depend on where it runs */
    .open = cpu_open,
    .close = cpu_close,
    .enter = cpu_enter,
    .ready = cpu_ready,
    .alloc = cpu_alloc,
    .release = cpu_release,
    .copy_in = cpu_copy,
    .copy_out = cpu_copy,
    .copy = cpu_copy,
    .zero = cpu_zero,
    .stream_create = cpu_create,
    .stream_destroy = cpu_destroy,
    .stream_sync = cpu_sync,
    .event_create = cpu_create,
    .event_destroy = cpu_destroy,
    .event_record = cpu_event,
    .event_wait = cpu_event,
    .event_sync = cpu_event_sync,
    .event_elapsed_ms = cpu_elapsed,
    .host_alloc = cpu_alloc,
    .host_release = cpu_release,
    .memory = cpu_memory,
    .describe = cpu_describe,
};
