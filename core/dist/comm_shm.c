#include "core/dist/comm_shm.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/process.h"

/* "FD:RANK:WORLD" in the environment says where a process belongs. */
static const char variable[] = "GRAFT_SHM_RANK";
enum { SLOT_BYTES = 1 << 20, PATIENCE_MS = 100, NAP_MS = 10 };
/* A rank that others have seen stopped (SIGSTOP, a terminal's ^Z for it alone) so often, once per PATIENCE_MS, is given
 * up: after 20 s. Who is stopped together with it sees nothing. */
enum { STOPPED_LOOKS = 200 };
enum { RANK_ABSENT, RANK_JOINED, RANK_LEFT };

/* What all ranks have mapped: this, then a slot per rank, then the sum. */
typedef struct shm_region {
    _Atomic uint32_t arrived, turn; /* of the barrier: how many wait, how often it has opened */
    _Atomic uint32_t broken;        /* 1 + the rank that was lost or gave up; 0: all is well  */
    _Atomic uint32_t stopped;       /* 1: it was stopped                                      */
    _Atomic uint32_t joined[COMM_SHM_MAX_RANKS]; /* RANK_ABSENT, ...                          */
    _Atomic int32_t pid[COMM_SHM_MAX_RANKS];
    pthread_mutex_t alive[COMM_SHM_MAX_RANKS]; /* robust; held by a rank that has joined until its process ends */
} shm_region;

typedef struct shm_state {
    shm_region *region;
    size_t bytes;
    char *slot[COMM_SHM_MAX_RANKS], *sum; /* SLOT_BYTES each */
    int32_t stopped_looks[COMM_SHM_MAX_RANKS]; /* in a row, by this rank */
} shm_state;

static size_t header_bytes(void) { return (sizeof(shm_region) + 4095) / 4096 * 4096; }
static size_t region_bytes(int32_t world) { return header_bytes() + (size_t)(world + 1) * SLOT_BYTES; }

static status map_region(int fd, int32_t world, void **region)
{
    *region = mmap(NULL, region_bytes(world), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return *region == MAP_FAILED
               ? FAIL(E_MEMORY, "cannot map the memory that %d ranks share: %s", (int)world, strerror(errno))
               : OK;
}

/* ---------------------------------------------------------------------------------------------------- waiting */

static status broken(const comm *c)
{
    const shm_state *s = c->state;
    int rank = (int)atomic_load(&s->region->broken) - 1;
    if (atomic_load(&s->region->stopped))
        return FAIL(E_TEMPORARY,
            "rank %d of %d (process %d) was stopped for %d s: the run ends; --resume goes on from the last checkpoint",
            rank, (int)c->world, (int)atomic_load(&s->region->pid[rank]), STOPPED_LOOKS * PATIENCE_MS / 1000);
    return FAIL(E_TEMPORARY,
        "rank %d of %d has ended: the others stop too (its own message says why); --resume goes on from the last "
        "checkpoint",
        rank, (int)c->world);
}

static void wake_all(_Atomic uint32_t *word)
{
    syscall(SYS_futex, (uint32_t *)word, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
}

static void mark_broken(shm_region *r, int32_t rank)
{
    uint32_t none = 0;
    atomic_compare_exchange_strong(&r->broken, &none, (uint32_t)rank + 1);
    wake_all(&r->turn);
}

static bool is_stopped(pid_t pid)
{
    process_info info;
    return process_look(pid, &info) && info.state == 'T';
}

/* Given up, it is woken: it finds the run broken and ends as the others do. */
static void find_stopped_ranks(shm_state *s, int32_t rank)
{
    shm_region *r = s->region;
    pid_t pid = atomic_load(&r->pid[rank]);
    s->stopped_looks[rank] = is_stopped(pid) ? s->stopped_looks[rank] + 1 : 0;
    if (s->stopped_looks[rank] < STOPPED_LOOKS) return;
    if (!atomic_load(&r->broken)) atomic_store(&r->stopped, 1);
    mark_broken(r, rank);
    kill(pid, SIGCONT);
}

/* A process that has ended leaves its mutex to whoever asks first. One that has left will
 * not come to the barrier either. */
static void find_lost_ranks(const comm *c)
{
    shm_state *s = c->state;
    shm_region *r = s->region;
    for (int32_t i = 0; i < c->world; i++) {
        uint32_t joined = atomic_load(&r->joined[i]);
        if (i == c->rank || joined == RANK_ABSENT) continue; /* rank 0 looks after who has not joined yet */
        if (joined == RANK_LEFT) {
            mark_broken(r, i);
            continue;
        }
        int code = pthread_mutex_trylock(&r->alive[i]);
        if (code == EBUSY) {
            find_stopped_ranks(s, i);
            continue;
        }
        if (code == 0 || code == EOWNERDEAD) pthread_mutex_unlock(&r->alive[i]);
        mark_broken(r, i);
    }
}

static status shm_barrier(comm *c)
{
    shm_region *r = ((shm_state *)c->state)->region;
    uint32_t turn = atomic_load(&r->turn);
    if (atomic_load(&r->broken)) return broken(c);
    if (atomic_fetch_add(&r->arrived, 1) + 1 == (uint32_t)c->world) {
        atomic_store(&r->arrived, 0);
        atomic_fetch_add(&r->turn, 1);
        wake_all(&r->turn);
        return OK;
    }
    const struct timespec patience = {.tv_nsec = PATIENCE_MS * 1000000L};
    while (atomic_load(&r->turn) == turn) {
        long woken = syscall(SYS_futex, (uint32_t *)&r->turn, FUTEX_WAIT, turn, &patience, NULL, 0);
        if (woken != 0 && errno == ETIMEDOUT) find_lost_ranks(c);
        if (atomic_load(&r->turn) == turn && atomic_load(&r->broken)) return broken(c);
    }
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- collectives */

static status read_part(const comm *c, void *host, const void *data, size_t bytes, void *stream)
{
    if (!c->dev) {
        memcpy(host, data, bytes);
        return OK;
    }
    TRY(c->dev->api->copy_out(c->dev, host, data, bytes, stream));
    return c->dev->api->stream_sync(c->dev, stream);
}

static status write_part(const comm *c, void *data, const void *host, size_t bytes, void *stream)
{
    if (!c->dev) {
        memcpy(data, host, bytes);
        return OK;
    }
    TRY(c->dev->api->copy_in(c->dev, data, host, bytes, stream));
    return c->dev->api->stream_sync(c->dev, stream);
}

#define ADD_SLOTS(type)                                                                                                \
    static void add_slots_##type(const comm *c, int64_t first, int64_t last)                                          \
    {                                                                                                                  \
        const shm_state *s = c->state;                                                                                 \
        for (int64_t i = first; i < last; i++) {                                                                       \
            double sum = 0;                                                                                            \
            for (int32_t r = 0; r < c->world; r++) sum += (double)((const type *)s->slot[r])[i];                       \
            ((type *)s->sum)[i] = (type)sum;                                                                           \
        }                                                                                                              \
    }
ADD_SLOTS(float)
ADD_SLOTS(double)

static status sum_part(comm *c, char *data, int64_t count, dtype type, void *stream)
{
    const shm_state *s = c->state;
    size_t bytes = (size_t)count * dtype_bytes(type);
    TRY(read_part(c, s->slot[c->rank], data, bytes, stream));
    TRY(shm_barrier(c));
    int64_t first = count * c->rank / c->world,
            last = count * (c->rank + 1) / c->world; /* this rank's share of the work */
    if (type == DTYPE_F32) add_slots_float(c, first, last);
    else add_slots_double(c, first, last);
    TRY(shm_barrier(c));
    /* The sum is written again only behind the next part's first barrier, which needs this rank. */
    return write_part(c, data, s->sum, bytes, stream);
}

static status shm_all_reduce_sum(comm *c, void *data, int64_t count, dtype type, void *stream)
{
    if (type != DTYPE_F32 && type != DTYPE_F64)
        return FAIL(E_INTERNAL, "ranks add f32 and f64 only, not %s", dtype_name(type));
    int64_t most = SLOT_BYTES / (int64_t)dtype_bytes(type);
    for (int64_t at = 0; at < count; at += most)
        TRY(sum_part(
            c, (char *)data + at * (int64_t)dtype_bytes(type), count - at < most ? count - at : most, type, stream));
    return OK;
}

static status shm_broadcast(comm *c, void *data, int64_t bytes, int32_t root, void *stream)
{
    const shm_state *s = c->state;
    for (int64_t at = 0; at < bytes; at += SLOT_BYTES) {
        size_t part = (size_t)(bytes - at < SLOT_BYTES ? bytes - at : SLOT_BYTES);
        char *here = (char *)data + at;
        if (c->rank == root) TRY(read_part(c, s->slot[root], here, part, stream));
        TRY(shm_barrier(c));
        if (c->rank != root) TRY(write_part(c, here, s->slot[root], part, stream));
        TRY(shm_barrier(c));
    }
    return OK;
}

static status shm_all_reduce_host(comm *c, double *values, int64_t count)
{
    comm host = *c;
    host.dev = NULL;
    return shm_all_reduce_sum(&host, values, count, DTYPE_F64, NULL);
}

static void shm_abort(comm *c, const char *why)
{
    fprintf(stderr, "graft: rank %d: %s\n", (int)c->rank, why);
    mark_broken(((shm_state *)c->state)->region, c->rank);
    exit(E_TEMPORARY);
}

static void shm_free(comm *c)
{
    shm_state *s = c->state;
    atomic_store(&s->region->joined[c->rank], RANK_LEFT);
    munmap(s->region, s->bytes);
    free(s);
}

static const comm_api shm_api = {
    .all_reduce_sum = shm_all_reduce_sum,
    .broadcast = shm_broadcast,
    .all_reduce_host = shm_all_reduce_host,
    .barrier = shm_barrier,
    .abort = shm_abort,
    .free = shm_free,
};

bool comm_shm_is_launched(void)
{
    return getenv(variable) != NULL;
}

status comm_shm_init(comm *c)
{
    int fd, rank, world;
    const char *text = getenv(variable);
    if (!text || sscanf(text, "%d:%d:%d", &fd, &rank, &world) != 3 || world < 2 || world > COMM_SHM_MAX_RANKS ||
        rank < 0 || rank >= world)
        return FAIL(E_USAGE, "environment variable %s = %s: expected what --ranks sets", variable, text ? text : "");
    shm_state *s = calloc(1, sizeof *s);
    if (!s) return FAIL_MEMORY(sizeof *s);
    void *region;
    status result = map_region(fd, world, &region);
    if (result != OK) {
        free(s);
        return result;
    }
    s->region = region;
    s->bytes = region_bytes(world);
    atomic_store(&s->region->joined[rank], RANK_JOINED);
    for (int32_t i = 0; i <= world; i++) {
        char *slot = (char *)region + header_bytes() + (size_t)i * SLOT_BYTES;
        if (i < world) s->slot[i] = slot;
        else s->sum = slot;
    }
    *c = (comm){.rank = rank, .world = world, .local_rank = rank, .api = &shm_api, .state = s};
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- launching */

static status create_region(int32_t world, int *fd, shm_region **region)
{
    void *mapped = NULL;
    *region = NULL;
    *fd = memfd_create("graft-ranks", 0);
    if (*fd < 0 || ftruncate(*fd, (off_t)region_bytes(world)) != 0)
        return FAIL(E_MEMORY, "cannot make the memory that %d ranks share: %s", (int)world, strerror(errno));
    TRY(map_region(*fd, world, &mapped));
    *region = mapped;
    pthread_mutexattr_t shared;
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&shared, PTHREAD_MUTEX_ROBUST);
    for (int32_t i = 0; i < world; i++) pthread_mutex_init(&(*region)->alive[i], &shared);
    pthread_mutexattr_destroy(&shared);
    return OK;
}

/* The mapping stays until the process ends, and with it the mutex that says that it lives. */
static status join_as_rank(shm_region *r, int fd, int32_t rank, int32_t world)
{
    char text[48];
    snprintf(text, sizeof text, "%d:%d:%d", fd, (int)rank, (int)world);
    if (setenv(variable, text, 1) != 0) return FAIL_MEMORY(sizeof text);
    int code = pthread_mutex_lock(&r->alive[rank]);
    if (code) return FAIL(E_INTERNAL, "rank %d: its mutex: %s", (int)rank, strerror(code));
    atomic_store(&r->pid[rank], (int32_t)getpid());
    atomic_store(&r->joined[rank], RANK_JOINED);
    return OK;
}

/* Until it has joined, a child that dies would not be missed. */
static status wait_for_child(shm_region *r, pid_t child, int32_t rank)
{
    for (;;) {
        siginfo_t ended = {0};
        if (atomic_load(&r->joined[rank])) return OK;
        if (waitid(P_PID, (id_t)child, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == child &&
            !atomic_load(&r->joined[rank]))
            return FAIL(E_DEVICE, "rank %d ended at once", (int)rank);
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
}

status comm_shm_launch(int32_t world, int32_t *rank)
{
    *rank = 0;
    if (world < 1 || world > COMM_SHM_MAX_RANKS)
        return FAIL(E_USAGE, "ranks = %d: expected 1 to %d", (int)world, COMM_SHM_MAX_RANKS);
    if (world == 1) return OK;
    shm_region *region;
    int fd;
    pid_t child[COMM_SHM_MAX_RANKS];
    TRY(create_region(world, &fd, &region));
    fflush(NULL);
    status result = join_as_rank(region, fd, 0, world);
    int32_t made = 1;
    for (; made < world && result == OK; made++) {
        child[made] = fork();
        if (child[made] == 0) {
            *rank = made;
            return join_as_rank(region, fd, made, world);
        }
        result = child[made] < 0 ? FAIL(E_DEVICE, "cannot start rank %d: %s", (int)made, strerror(errno))
                                 : wait_for_child(region, child[made], made);
    }
    if (result == OK) return OK;
    for (int32_t i = 1; i < made; i++)
        if (child[i] > 0) kill(child[i], SIGKILL);
    while (wait(NULL) > 0) continue;
    return result;
}

/* Stopped children would be waited for without end: this rank is done, so nothing but
 * their exit codes is left of them. */
static void end_the_stopped(const shm_region *r, int32_t looks[COMM_SHM_MAX_RANKS])
{
    for (int32_t i = 1; i < COMM_SHM_MAX_RANKS; i++) {
        pid_t pid = atomic_load(&r->pid[i]);
        looks[i] = pid && is_stopped(pid) ? looks[i] + 1 : 0;
        if (looks[i] == STOPPED_LOOKS * PATIENCE_MS / NAP_MS) kill(pid, SIGKILL);
    }
}

/* Its number may be another process's from now on. */
static void forget(shm_region *r, pid_t child)
{
    for (int32_t i = 1; r && i < COMM_SHM_MAX_RANKS; i++)
        if (atomic_load(&r->pid[i]) == child) atomic_store(&r->pid[i], 0);
}

status comm_shm_wait(void)
{
    int ended, bad = 0, code = 0, fd, rank, world;
    int32_t looks[COMM_SHM_MAX_RANKS] = {0};
    const char *text = getenv(variable);
    void *region = NULL;
    if (text && sscanf(text, "%d:%d:%d", &fd, &rank, &world) == 3) TRY(map_region(fd, world, &region));
    for (;;) {
        pid_t child = waitpid(-1, &ended, region ? WNOHANG : 0);
        if (child < 0 && errno == EINTR) continue;
        if (child < 0) break;
        if (child > 0) {
            forget(region, child);
            bad += !WIFEXITED(ended) || WEXITSTATUS(ended) != 0;
            if (WIFEXITED(ended) && WEXITSTATUS(ended) > 0 && WEXITSTATUS(ended) <= E_IO) code = WEXITSTATUS(ended);
            continue;
        }
        end_the_stopped(region, looks);
        nanosleep(&(struct timespec){.tv_nsec = NAP_MS * 1000000L}, NULL);
    }
    if (region) munmap(region, region_bytes(world));
    if (code) return FAIL((status)code, "another rank ended with exit code %d: its own message says why", code);
    return bad ? FAIL(E_TEMPORARY, "%d of the other ranks ended with a failure", bad) : OK;
}
