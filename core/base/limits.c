#include "core/base/limits.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base/arena.h"

status limits_check_memory(size_t bytes, const char *what)
{
    /* Writable and private: what RLIMIT_DATA counts too. Not reserved: a machine that commits no
     * more than it has still counts it. */
    void *room = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return FAIL(E_MEMORY, "out of memory: %s needs room for %zu bytes (ulimit -v, ulimit -d): %s", what, bytes,
            strerror(errno));
    munmap(room, bytes);
    return OK;
}

typedef struct probe {
    pthread_mutex_t *all_started;
    pthread_t thread;
    pid_t id;
} probe;

static void *wait_for_all(void *argument)
{
    probe *p = argument;
    p->id = gettid();
    pthread_mutex_lock(p->all_started);
    pthread_mutex_unlock(p->all_started);
    return NULL;
}

/* A thread that was joined counts until the kernel has put it away, some microseconds later. */
static void end(const probe *p)
{
    pthread_join(p->thread, NULL);
    while (tgkill(getpid(), p->id, 0) == 0) sched_yield();
}

status limits_check_threads(int32_t count)
{
    if (count < 1) return OK;
    probe *probes;
    TRY_ALLOC(probes, HEAP_ARRAY(probe, count));
    pthread_mutex_t all_started = PTHREAD_MUTEX_INITIALIZER;
    sigset_t every, before;
    int32_t started = 0;
    int error = 0;
    /* A signal of the program's must not be handled on a thread that it does not know. */
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    pthread_mutex_lock(&all_started);
    for (; started < count && !error; started += !error) {
        probes[started].all_started = &all_started;
        error = pthread_create(&probes[started].thread, NULL, wait_for_all, &probes[started]);
    }
    pthread_mutex_unlock(&all_started);
    for (int32_t i = 0; i < started; i++) end(&probes[i]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(probes);
    if (started == count) return OK;
    return FAIL(E_MEMORY,
        "cannot start thread %d of %d: %s: fewer compute threads, or higher limits (ulimit -u, ulimit -v, pids.max)",
        (int)started + 2, (int)count + 1, strerror(error));
}
