/* launch.c: the blocks of a grid over OS threads. */
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "core/base/thread.h"
#include "kernels/simt/engine.h"
#include "kernels/simt/gpu.h"
#include "kernels/simt/watch.h"

/* The one GPU and its OS threads: state of the process, as a CUDA driver's is. */
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static thread_pool *pool;
static pthread_key_t engine_key;
static pthread_once_t engine_once = PTHREAD_ONCE_INIT;
static atomic_uint_least64_t launches;

static void engine_free(void *at)
{
    engine *e = at;
    for (int32_t i = 0; i < e->fibres; i++) fibre_free(&e->fibre[i]);
    if (e->copies != MAP_FAILED && e->copies) munmap(e->copies, sizeof(copy) * MAX_THREADS * MAX_COPIES);
    cells_free(e->cells, ARENA_BYTES);
    free(e->arena);
    free(e);
    simt_engine = NULL;
}

static void make_key(void)
{
    pthread_key_create(&engine_key, engine_free);
}

engine *engine_get(void)
{
    if (simt_engine) return simt_engine;
    pthread_once(&engine_once, make_key);
    engine *e = calloc(1, sizeof *e);
    if (!e) return NULL;
    e->arena = aligned_alloc(SHARED_GUARD, ARENA_BYTES);
    e->copies = mmap(NULL, sizeof(copy) * MAX_THREADS * MAX_COPIES, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    e->cells = watch_enabled ? cells_make(ARENA_BYTES) : NULL;
    if (!e->arena || e->copies == MAP_FAILED || (watch_enabled && !e->cells)) {
        engine_free(e);
        return NULL;
    }
    pthread_setspecific(engine_key, e);
    return simt_engine = e;
}

/* A share of the blocks. */
typedef struct share {
    const launch *l;
    uint64_t blocks, each;
} share;

static status run_share(void *context, int64_t index)
{
    const share *s = context;
    engine *e = engine_get();
    if (!e) return FAIL_MEMORY(sizeof *e);
    uint64_t first = (uint64_t)index * s->each, end = first + s->each < s->blocks ? first + s->each : s->blocks;
    engine_begin(e, s->l);
    for (uint64_t block = first; block < end; block++) TRY(engine_block(e, block));
    return OK;
}

/* Watched launches run one after the other, each on one OS thread: their epochs are then one sequence. */
static status run_watched(const share *s)
{
    static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
    static uint32_t epoch;
    engine *e = engine_get();
    if (!e) return FAIL_MEMORY(sizeof *e);
    pthread_mutex_lock(&turn);
    e->epoch = epoch;
    status result = run_share((void *)(uintptr_t)s, 0);
    epoch = e->epoch;
    pthread_mutex_unlock(&turn);
    return result;
}

static int32_t thread_count(void)
{
    int64_t wanted = gpu_setting("GRAFT_SIMT_THREADS", cpu_count());
    return wanted < 1 ? 1 : wanted > 64 ? 64 : (int32_t)wanted;
}

status launch_run(const launch *l)
{
    launch mine = *l;
    mine.sm = gpu_sm();
    int64_t order = gpu_setting("GRAFT_SIMT_ORDER", 0);
    if (order) mine.order = (uint64_t)order * 0x9e3779b97f4a7c15u + atomic_fetch_add(&launches, 1) + 1;
    share s = {&mine, (uint64_t)l->grid.x * l->grid.y * l->grid.z, 1};
    int32_t threads = thread_count();
    status result;
    /* A second host thread that launches at the same time works alone. */
    if (watch_enabled) {
        s.each = s.blocks;
        result = run_watched(&s);
    } else if (threads > 1 && s.blocks > 1 && pthread_mutex_trylock(&pool_lock) == 0) {
        result = pool ? OK : pool_create(&pool, threads);
        s.each = (s.blocks + (uint64_t)threads * 8 - 1) / ((uint64_t)threads * 8);
        if (result == OK) result = pool_run(pool, run_share, &s, (int64_t)((s.blocks + s.each - 1) / s.each));
        pthread_mutex_unlock(&pool_lock);
    } else {
        s.each = s.blocks;
        result = run_share(&s, 0);
    }
    if (result != OK) return result;
    char text[512], kernel[512];
    if (memory_intact(text, sizeof text)) return OK;
    report_function(l->kernel, kernel, sizeof kernel);
    return FAIL(E_DEVICE, "kernel %s: %s", kernel, text);
}

static status configuration(const launch *l)
{
    uint64_t threads = (uint64_t)l->block.x * l->block.y * l->block.z;
    if (threads < 1 || threads > MAX_THREADS || l->block.z > 64)
        return FAIL(E_DEVICE,
            "invalid configuration: block of (%u, %u, %u), a GPU has at most 1024 threads a block, 64 along z",
            l->block.x, l->block.y, l->block.z);
    if (l->grid.x < 1 || l->grid.y < 1 || l->grid.z < 1 || l->grid.x > INT32_MAX || l->grid.y > 65535 ||
        l->grid.z > 65535)
        return FAIL(E_DEVICE,
            "invalid configuration: grid of (%u, %u, %u), a GPU has at most (2147483647, 65535, 65535) blocks",
            l->grid.x, l->grid.y, l->grid.z);
    if (l->shared_bytes > (size_t)gpu_shared_bytes())
        return FAIL(E_DEVICE, "invalid configuration: %zu bytes of shared memory, this GPU has %d a block",
            l->shared_bytes, gpu_shared_bytes());
    return OK;
}

status simt_launch_closure(void (*body)(const void *closure), const void *closure, size_t closure_bytes,
    const void *kernel, dim3 grid, dim3 block, size_t shared_bytes, void *stream)
{
    launch l = {.body = body,
        .closure = closure,
        .closure_bytes = closure_bytes,
        .kernel = kernel,
        .grid = grid,
        .block = block,
        .shared_bytes = shared_bytes};
    TRY(configuration(&l));
    status result = OK;
    if (capture_launch(&l, stream, &result)) return result;
    return launch_run(&l);
}
