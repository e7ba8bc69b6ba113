#include "cli/probe.h"

#include <inttypes.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/cpu.h"
#include "core/base/thread.h"

/* A function of a library as a pointer of type `fn`: ISO C has no cast from an object
 * pointer, POSIX says that this works. */
static bool load(void *library, const char *name, void *fn)
{
    void *symbol = dlsym(library, name);
    memcpy(fn, &symbol, sizeof symbol);
    return symbol != NULL;
}

static bool has_flag(const char *flags, const char *flag)
{
    size_t length = strlen(flag);
    for (const char *f = flags; (f = strstr(f, flag)); f += length)
        if (f[-1] == ' ' && (f[length] == ' ' || f[length] == '\n' || f[length] == 0)) return true;
    return false;
}

static void probe_cpu(probe *p)
{
    snprintf(p->cpu_model, sizeof p->cpu_model, "unknown");
    snprintf(p->isa, sizeof p->isa, "%s", cpu_isa_title(cpu_isa_widest()));
    p->cpus = cpu_count();
    FILE *stream = fopen("/proc/cpuinfo", "re");
    char *line = NULL;
    size_t capacity = 0;
    bool seen = false;
    while (stream && !seen && getline(&line, &capacity, stream) > 0) {
        sscanf(line, "model name : %127[^\n]", p->cpu_model);
        if (strncmp(line, "flags", 5) != 0) continue;
        seen = true;
        p->vnni = cpu_isa_allowed(CPU_ISA_AVX512) && (has_flag(line, "avx512_vnni") || has_flag(line, "avx_vnni"));
    }
    free(line);
    if (stream) fclose(stream);
}

static void probe_memory(probe *p)
{
    FILE *stream = fopen("/proc/meminfo", "re");
    char line[256];
    int64_t kib;
    while (stream && fgets(line, sizeof line, stream)) {
        if (sscanf(line, "MemTotal: %" PRId64 " kB", &kib) == 1) p->memory_bytes = kib * 1024;
        if (sscanf(line, "MemAvailable: %" PRId64 " kB", &kib) == 1) p->memory_free_bytes = kib * 1024;
    }
    if (stream) fclose(stream);
}

/* The start of dnnl_version_t. oneDNN is linked into the program or it is not: the linker knows. */
typedef struct onednn_version {
    int major, minor, patch;
} onednn_version;

static void probe_onednn(probe *p)
{
    const onednn_version *(*version)(void) = NULL;
    if (!load(RTLD_DEFAULT, "dnnl_version", &version)) return;
    const onednn_version *v = version();
    snprintf(p->onednn, sizeof p->onednn, "%d.%d.%d", v->major, v->minor, v->patch);
}

/* The CUDA driver, through the functions that every driver since CUDA 4 has. */
typedef struct cuda_driver {
    int (*init)(unsigned), (*version)(int *), (*count)(int *), (*get)(int *, int);
    int (*name)(char *, int, int), (*bytes)(size_t *, int);
} cuda_driver;

static bool load_driver(void *library, cuda_driver *d)
{
    *d = (cuda_driver){0};
    return load(library, "cuInit", &d->init) && load(library, "cuDriverGetVersion", &d->version) &&
           load(library, "cuDeviceGetCount", &d->count) && load(library, "cuDeviceGet", &d->get) &&
           load(library, "cuDeviceGetName", &d->name) && load(library, "cuDeviceTotalMem_v2", &d->bytes);
}

static void list_gpus(probe *p, const cuda_driver *d)
{
    enum { NO_DEVICE = 100 };
    int version = 0, count = 0, device, code = d->init(0);
    if (d->version(&version) == 0)
        snprintf(p->cuda_driver, sizeof p->cuda_driver, "%d.%d", version / 1000, version % 1000 / 10);
    if (code == 0) code = d->count(&count);
    if (code == NO_DEVICE) code = count = 0;
    if (code != 0)
        snprintf(p->cuda_problem, sizeof p->cuda_problem, "a driver is there, but it fails (CUDA error %d)", code);
    else if (count == 0) snprintf(p->cuda_problem, sizeof p->cuda_problem, "a driver is there, but no GPU");
    for (int i = 0; i < count && i < PROBE_GPUS; i++) {
        size_t bytes = 0;
        if (d->get(&device, i) != 0) continue;
        char *name = p->gpu_name[p->gpu_count];
        if (d->name(name, (int)sizeof p->gpu_name[0], device) != 0) snprintf(name, 128, "GPU %d", i);
        if (d->bytes(&bytes, device) == 0) p->gpu_bytes[p->gpu_count] = (int64_t)bytes;
        p->gpu_count++;
    }
}

static void probe_gpus(probe *p)
{
    cuda_driver driver;
    void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        snprintf(p->cuda_problem, sizeof p->cuda_problem, "no NVIDIA driver (libcuda.so.1 is not there)");
    else if (!load_driver(library, &driver))
        snprintf(p->cuda_problem, sizeof p->cuda_problem, "libcuda.so.1 is no CUDA driver that we know");
    else list_gpus(p, &driver);
    if (library) dlclose(library);
}

static void probe_nccl(probe *p)
{
    void *library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
    int (*get_version)(int *) = NULL, version = 0;
    if (library && load(library, "ncclGetVersion", &get_version) && get_version(&version) == 0) {
        /* Before 2.9: major * 1000 + minor * 100 + patch. */
        int scale = version >= 10000 ? 10000 : 1000;
        snprintf(p->nccl, sizeof p->nccl, "%d.%d.%d", version / scale, version % scale / 100, version % 100);
    }
    if (library) dlclose(library);
}

static void probe_mpi(probe *p)
{
    enum { LONGEST_VERSION = 1 << 13 }; /* MPI_MAX_LIBRARY_VERSION_STRING is 256 in Open MPI, 8192 in MPICH */
    void *library = dlopen("libmpi.so.40", RTLD_NOW | RTLD_GLOBAL);
    int (*get_version)(char *, int *) = NULL, length = 0;
    char text[LONGEST_VERSION] = "";
    if (library && load(library, "MPI_Get_library_version", &get_version) && get_version(text, &length) == 0)
        snprintf(p->mpi, sizeof p->mpi, "%.*s", (int)strcspn(text, ","), text);
    /* Left open: Open MPI does not survive being unloaded. */
}

void probe_machine(probe *p)
{
    memset(p, 0, sizeof *p);
    probe_cpu(p);
    probe_memory(p);
    probe_onednn(p);
    probe_gpus(p);
    probe_nccl(p);
    probe_mpi(p);
}
