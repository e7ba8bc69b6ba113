#include "core/base/folder_lock.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/arena.h"
#include "core/base/process.h"

enum { ATTEMPTS = 100, MAX_BYTES = 1024 };

typedef struct owner {
    machine_identity machine;
    int64_t pid;
    uint64_t start_tick;
    char since[32];
} owner;

static owner this_process(void)
{
    owner o = {.machine = machine_look(), .pid = getpid()};
    process_info info;
    time_t now = time(NULL);
    struct tm utc;
    if (process_look(getpid(), &info)) o.start_tick = info.start_tick;
    if (gmtime_r(&now, &utc)) strftime(o.since, sizeof o.since, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return o;
}

static status write_owner(int fd, const char *path, const owner *o)
{
    char text[MAX_BYTES];
    int length =
        snprintf(text, sizeof text, "graft-lock 1\nhost %s\nboot %s\nprocess %" PRId64 " %" PRIu64 "\nsince %s\n",
            o->machine.host, o->machine.boot[0] ? o->machine.boot : "-", o->pid, o->start_tick, o->since);
    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) == length) return OK;
    return FAIL(E_IO, "%s: cannot write: %s", path, strerror(errno));
}

/* false: nothing in it, or nothing that can be understood. */
static bool read_owner(int fd, owner *o)
{
    char text[MAX_BYTES] = "";
    *o = (owner){0};
    ssize_t got = pread(fd, text, sizeof text - 1, 0);
    for (ssize_t i = 0; i < got; i++)
        if (!isgraph((unsigned char)text[i]) && text[i] != '\n' && text[i] != ' ')
            text[i] = '?'; /* it may be printed */
    return sscanf(text, "graft-lock 1\nhost %255s\nboot %63s\nprocess %" SCNd64 " %" SCNu64 "\nsince %31s",
               o->machine.host, o->machine.boot, &o->pid, &o->start_tick, o->since) == 5;
}

static status refuse(const char *folder, const owner *o, const char *advice, const char *more)
{
    return FAIL(E_USAGE, "%s: in use by process %" PRId64 " on %s since %s: wait for it to end, or %s%s", folder,
        o->pid, o->machine.host, o->since, advice, more);
}

/* Whether the process that wrote the lock may still be there, although nobody is seen to hold
 * it. `locks`: flock() works here. */
static bool may_live(const owner *old, const owner *me, bool locks)
{
    process_info info;
    bool same_run = strcmp(old->machine.boot, me->machine.boot[0] ? me->machine.boot : "-") == 0;
    if (!same_run) return strcmp(old->machine.host, me->machine.host) != 0; /* this machine has been started anew */
    if (locks) return false;
    return process_look((pid_t)old->pid, &info) && info.start_tick == old->start_tick && info.state != 'Z';
}

static bool is_still(int fd, const char *path)
{
    struct stat opened, named;
    return fstat(fd, &opened) == 0 && stat(path, &named) == 0 && opened.st_dev == named.st_dev &&
           opened.st_ino == named.st_ino;
}

/* One attempt with the file open. *again: its owner has removed it meanwhile. */
static status take_file(folder_lock *lock, const char *folder, const char *advice, logger *l, bool *again)
{
    struct stat info;
    owner me = this_process(), old;
    if (fstat(lock->fd, &info) != 0 || !S_ISREG(info.st_mode)) return FAIL(E_IO, "%s: no regular file", lock->path);
    int error = flock(lock->fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;
    bool known = read_owner(lock->fd, &old);
    if (error == EWOULDBLOCK) {
        if (known) return refuse(folder, &old, advice, "");
        return FAIL(E_USAGE, "%s: in use by another process: wait for it to end, or %s", folder, advice);
    }
    *again = !is_still(lock->fd, lock->path);
    if (*again) return OK;
    if (known && may_live(&old, &me, error == 0))
        return refuse(folder, &old, advice, "; if it is no more, remove " FOLDER_LOCK_FILE " there");
    if (known)
        log_info(l, "%s: taking over the lock of process %" PRId64 " on %s (since %s), which is no more", folder,
            old.pid, old.machine.host, old.since);
    return write_owner(lock->fd, lock->path, &me);
}

status folder_lock_take(folder_lock *lock, const char *folder, const char *advice, logger *l)
{
    char *path = NULL;
    status result = OK;
    bool again = true;
    *lock = (folder_lock){0};
    TRY_ALLOC(path, heap_printf("%s/%s", folder, FOLDER_LOCK_FILE));
    lock->path = path;
    for (int i = 0; again && i < ATTEMPTS; i++) {
        lock->fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0644);
        if (lock->fd < 0) {
            result = FAIL(E_IO, "%s: cannot make the lock: %s", path, strerror(errno));
            break;
        }
        result = take_file(lock, folder, advice, l, &again);
        if (result == OK && !again) return OK;
        close(lock->fd);
        if (result != OK) break;
    }
    if (result == OK) result = FAIL(E_IO, "%s: made and removed by others all the time", path);
    free(path);
    *lock = (folder_lock){0};
    return result;
}

void folder_lock_release(folder_lock *lock)
{
    if (!lock->path) return;
    unlink(lock->path); /* first: whoever opened it meanwhile sees that it is another file now */
    close(lock->fd);
    free(lock->path);
    *lock = (folder_lock){0};
}
