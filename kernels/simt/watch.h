/* watch.h: judging every access of device code. Internal to kernels/simt.
 *
 * Device code compiled with -fsanitize=thread calls __tsan_read4 and so on before each access; these are ours (tsan.c).
 * Every byte of shared memory and of each block of device memory has a cell that says who wrote it last, who read it
 * last, and when. Time is counted in epochs: a new one begins with each block and each time a block passes a barrier.
 * As blocks run one after the other then, on one OS thread, epochs alone tell whether two accesses were in the same
 * launch, the same block, or between the same two barriers.
 */
#ifndef GRAFT_SIMT_WATCH_H
#define GRAFT_SIMT_WATCH_H

#include "kernels/simt/engine.h"

/* One access of the past. A zeroed one never happened. */
typedef struct past {
    uint32_t epoch, code;  /* code: address, from the start of the program */
    uint32_t who;          /* block * 1024 + thread */
    uint16_t warp_epoch;   /* passes of the warp's own barrier */
    bool atomic;
} past;

typedef struct cell {
    past written, read, read_before; /* read_before: the last by another thread than `read` */
    uint32_t in_flight;              /* 1 + the thread whose cp.async will write here; 0: none */
} cell;

typedef struct access {
    const char *at;
    const void *code;
    int32_t thread; /* of the block */
    size_t bytes, alignment;
    bool write, atomic;
} access;

extern bool watch_enabled; /* some device code of this program reports its accesses */

/* Faults if the access is wrong; else remembers it. */
void watch_access(engine *e, const access *a);

/* cp.async begins: nobody may touch its destination before it has been waited for; and ends. */
void watch_copy_begins(engine *e, const copy *c, const void *code);
void watch_copy_ends(engine *e, const copy *c);

/* memory.c: the cell of the byte at `at`, and how many bytes follow it in its block (0: in
 * none, `text` says where it is). */
cell *memory_cells(const void *at, size_t *left, char *text, size_t text_bytes);
/* shared.c: likewise. */
cell *shared_cells(engine *e, const void *at, size_t *left, char *text, size_t text_bytes);
void shared_describe(const engine *e, const void *at, char *text, size_t text_bytes);
void memory_describe(const void *at, char *text, size_t text_bytes);
cell *cells_make(size_t bytes); /* zeroed; NULL: out of memory */
void cells_free(cell *cells, size_t bytes);

#endif
