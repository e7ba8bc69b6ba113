/* engine.h: one OS thread's means to run blocks. Internal to kernels/simt.
 *
 * A thread of a block is ready, waits (at the block's barrier or with its warp) or has ended. Ready threads run in the
 * order of their numbers, each until it waits; GRAFT_SIMT_ORDER=seed draws the order instead. A fibre runs thread after
 * thread as long as they end without waiting, so kernels without barriers never switch.
 */
#ifndef GRAFT_SIMT_ENGINE_H
#define GRAFT_SIMT_ENGINE_H

#include "kernels/simt/fibre.h"
#include "kernels/simt/simt.h"

enum {
    LANES = 32,
    MAX_THREADS = 1024,
    MAX_WARPS = MAX_THREADS / LANES,
    MAX_ARRAYS = 32,          /* shared arrays of a block */
    MAX_COPIES = 256,         /* of a thread, under way   */
    SHARED_GUARD = 128,
    STATIC_SHARED = 48 << 10, /* a GPU's limit of declared shared memory */
    ARENA_BYTES = 512 << 10,
    REPORT_BYTES = 4096,
    GUARD_BYTE = 0xf5,        /* as f32, f16 and bf16 a huge number */
    FRESH_BYTE = 0xff         /* as a float NaN: what nobody has written */
};

/* One kernel call; lives until all blocks are done. */
typedef struct launch {
    void (*body)(const void *closure);
    const void *closure, *kernel;
    size_t closure_bytes;
    dim3 grid, block;
    size_t shared_bytes;
    uint64_t order; /* 0: by number; else seeds the order of threads */
    int32_t sm;     /* of the imaginary GPU */
} launch;

typedef struct copy {
    void *to;
    const void *from;
    int32_t bytes, group;
    bool valid, done;
} copy;

typedef struct thread {
    fibre *fibre;          /* NULL: has not started, or has ended */
    uint3 index;
    const simt_site *site; /* where it waits */
    const void *code;      /* the same as an address */
    int32_t copies, group; /* cp.async: under way; the group that the next one belongs to */
} thread;

typedef struct warp {
    uint32_t all, ready, waiting, done; /* a bit per lane */
    simt_combine *combine;              /* of those that wait with their warp */
    const char *name;
    void *argument[LANES];
    uint16_t epoch;                     /* how often the warp has passed its own barrier */
} warp;

typedef struct shared_array {
    const void *key;
    const char *name;
    size_t offset, bytes;
} shared_array;

typedef struct engine {
    const launch *l;
    uint64_t block;        /* its number in the grid */
    uint64_t random;
    int32_t current, threads, arrived, finished;
    const simt_site *barrier; /* where those that have arrived wait */
    uint32_t ready_warps;
    uint32_t epoch, block_epoch, launch_epoch; /* the running one; the first of this block, of this launch: watch.h */
    bool failed, running;                      /* running: a thread of a block, not the code around it */
    struct cell *cells;                        /* [ARENA_BYTES] when accesses are watched */
    shared_array array[MAX_ARRAYS];
    int32_t arrays;
    size_t arena_used;
    char *arena;
    copy *copies;          /* [MAX_THREADS][MAX_COPIES] */
    fibre host, *free_fibre;
    int32_t fibres;
    warp warp[MAX_WARPS];
    thread thread[MAX_THREADS];
    fibre fibre[MAX_THREADS];
    char report[REPORT_BYTES];
} engine;

extern __thread engine *simt_engine __attribute__((tls_model("initial-exec")));

engine *engine_get(void); /* this OS thread's; NULL: out of memory */

/* For a series of blocks of one launch; block is its number. E_DEVICE with the report. */
void engine_begin(engine *e, const launch *l);
status engine_block(engine *e, uint64_t block);

/* shared.c */
void shared_begin(engine *e);
void shared_fill(engine *e);
bool shared_intact(engine *e); /* false: the report says what was overrun */

/* report.c: "file:line" of a code address, and the function that it is in, by addr2line where it is installed. */
void report_line(const void *address, char *text, size_t capacity);
void report_function(const void *address, char *text, size_t capacity);

/* launch.c */
status launch_run(const launch *l);

/* memory.c */
bool memory_intact(char *text, size_t capacity); /* guard bands of all allocations */

/* api.c: keeps it in the graph if the stream is being captured. True if it did. */
bool capture_launch(const launch *l, void *stream, status *result);

#endif
