#include "core/base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/arena.h"

struct thread_pool {
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    pthread_t *workers;
    int32_t worker_count; /* threads - 1: the caller works too */
    bool stop;

    /* The current run. Everything is guarded by `lock`. */
    uint64_t run;
    pool_item_fn *fn;
    void *context;
    int64_t count, next, failed_index;
    int32_t busy;
    status failure;
    char *failure_text; /* NULL when it could not be copied */
};

static void record_failure(thread_pool *pool, int64_t index, status code)
{
    if (pool->failure != OK && index > pool->failed_index) return;
    free(pool->failure_text);
    pool->failure = code;
    pool->failed_index = index;
    pool->failure_text = heap_printf("%s", status_message());
}

/* Takes items until none is left. Called and left with the lock held. Items are handed out in order, so every item
 * below a failed one has run, and the lowest failure does not depend on timing. */
static void work(thread_pool *pool)
{
    while (pool->next < pool->count && pool->failure == OK) {
        int64_t index = pool->next++;
        pool_item_fn *fn = pool->fn;
        void *context = pool->context;
        pthread_mutex_unlock(&pool->lock);
        status code = fn(context, index);
        pthread_mutex_lock(&pool->lock);
        if (code != OK) record_failure(pool, index, code);
    }
}

static void *worker_main(void *argument)
{
    thread_pool *pool = argument;
    uint64_t seen = 0;
    pthread_mutex_lock(&pool->lock);
    for (;;) {
        while (!pool->stop && pool->run == seen) pthread_cond_wait(&pool->start, &pool->lock);
        if (pool->stop) break;
        seen = pool->run;
        pool->busy++;
        work(pool);
        if (--pool->busy == 0) pthread_cond_signal(&pool->done);
    }
    pthread_mutex_unlock(&pool->lock);
    return NULL;
}

status pool_create(thread_pool **result, int32_t threads)
{
    *result = NULL;
    if (threads < 1) return FAIL(E_INTERNAL, "thread pool of %d threads: expected 1 or more", (int)threads);
    thread_pool *pool;
    TRY_ALLOC(pool, heap_alloc_array(1, sizeof *pool));
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->start, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->workers = heap_alloc_array(threads, sizeof *pool->workers);
    if (!pool->workers) {
        pool_destroy(pool);
        return E_MEMORY;
    }
    for (int32_t i = 0; i < threads - 1; i++) {
        int error = pthread_create(&pool->workers[i], NULL, worker_main, pool);
        if (error) {
            pool_destroy(pool);
            return FAIL(E_MEMORY, "cannot start thread %d of %d: %s", (int)i + 2, (int)threads, strerror(error));
        }
        pool->worker_count++;
    }
    *result = pool;
    return OK;
}

void pool_destroy(thread_pool *pool)
{
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->stop = true;
    pthread_cond_broadcast(&pool->start);
    pthread_mutex_unlock(&pool->lock);
    for (int32_t i = 0; i < pool->worker_count; i++) pthread_join(pool->workers[i], NULL);
    pthread_cond_destroy(&pool->start);
    pthread_cond_destroy(&pool->done);
    pthread_mutex_destroy(&pool->lock);
    free(pool->failure_text);
    free(pool->workers);
    free(pool);
}

int32_t pool_threads(const thread_pool *pool)
{
    return pool->worker_count + 1;
}

status pool_run(thread_pool *pool, pool_item_fn *fn, void *context, int64_t count)
{
    pthread_mutex_lock(&pool->lock);
    pool->fn = fn;
    pool->context = context;
    pool->count = count;
    pool->next = 0;
    pool->failure = OK;
    free(pool->failure_text);
    pool->failure_text = NULL;
    pool->run++;
    if (count > 1) pthread_cond_broadcast(&pool->start);
    work(pool);
    while (pool->busy > 0) pthread_cond_wait(&pool->done, &pool->lock);
    /* A worker that wakes up late finds nothing left: next has reached count, or the failure stands. */
    pool->next = pool->count = 0;
    status code = pool->failure;
    char *text = pool->failure_text;
    pool->failure_text = NULL;
    pthread_mutex_unlock(&pool->lock);
    if (code != OK) code = FAIL(code, "%s", text ? text : "a worker thread failed");
    free(text);
    return code;
}

int32_t cpu_count(void)
{
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 0) return CPU_COUNT(&allowed);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int32_t)online : 1;
}

void openmp_wait_briefly(char **words)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY")) return;
    if (setenv("GOMP_SPINCOUNT", "1000", 0) == 0)
        execv("/proc/self/exe", words); /* comes back only if that failed: then it spins */
}
