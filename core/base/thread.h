/* thread.h: a pool of worker threads for independent items. One pool_run at a time per pool.
 * Which thread does which item is unspecified, so an item's result must depend on its index only. */
#ifndef GRAFT_BASE_THREAD_H
#define GRAFT_BASE_THREAD_H

#include <stdint.h>

#include "core/base/status.h"

typedef struct thread_pool thread_pool;

/* One item. A failure stops the handing out of further items. */
typedef status pool_item_fn(void *context, int64_t index);

status pool_create(thread_pool **pool, int32_t threads); /* threads >= 1; 1 runs in the caller */
void pool_destroy(thread_pool *pool);                    /* accepts NULL */
int32_t pool_threads(const thread_pool *pool);

/* Runs fn for 0 .. count-1 and waits. Returns the failure of the lowest failed index, its message in the caller. */
status pool_run(thread_pool *pool, pool_item_fn *fn, void *context, int64_t count);

/* For main(), first of all: makes this process's OpenMP threads sleep soon when they wait for each other, by starting
 * the program again with GOMP_SPINCOUNT set, the one moment that libgomp reads it. Its default is to spin, which on a
 * machine with other work slows training tenfold: the thread that all wait for does not get its processor. Returns at
 * once where the environment has a say already. */
void openmp_wait_briefly(char **words);

int32_t cpu_count(void); /* processors this process may use; at least 1 */

#endif
