#include "core/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/base/text.h"

/* ---------------------------------------------------------------------------------------------------- writing */

status file_temp_name(const char *path, char **name)
{
    uint64_t random;
    *name = NULL;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        return FAIL(E_IO, "%s: no random numbers: %s", path, strerror(errno));
    TRY_ALLOC(*name, heap_printf("%s.tmp.%ld.%016" PRIx64, path, (long)getpid(), random));
    return OK;
}

status file_open_stream(const char *path, int flags, const char *mode, FILE **stream)
{
    int fd = open(path, flags | O_NOFOLLOW | O_CLOEXEC, 0666);
    *stream = fd >= 0 ? fdopen(fd, mode) : NULL;
    if (*stream) return OK;
    int error = errno;
    if (fd >= 0) close(fd);
    status failed = FAIL(E_IO, "%s: cannot write: %s", path, strerror(error));
    errno = error;
    return failed;
}

status file_writer_open(file_writer *w, const char *path)
{
    *w = (file_writer){0};
    status result = OK;
    struct stat info;
    /* Renaming over a device or a folder would replace it. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return FAIL(E_IO, "%s: cannot write: not a regular file", path);
    TRY_ALLOC_OUT(w->path, heap_printf("%s", path));
    TRY_OUT(file_temp_name(path, &w->temp_path));
    if (file_open_stream(w->temp_path, O_WRONLY | O_CREAT | O_EXCL, "wb", &w->stream) != OK)
        TRY_OUT(FAIL(E_IO, "%s: cannot create: %s", w->path, strerror(errno)));
out:
    if (result != OK) file_writer_abort(w);
    return result;
}

status file_writer_write(file_writer *w, const void *data, size_t bytes)
{
    if (bytes && fwrite(data, 1, bytes, w->stream) != bytes)
        return FAIL(E_IO, "%s: cannot write: %s", w->path, strerror(errno));
    w->written_bytes += (int64_t)bytes;
    return OK;
}

status file_writer_printf(file_writer *w, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int length = vfprintf(w->stream, fmt, args);
    va_end(args);
    if (length < 0) return FAIL(E_IO, "%s: cannot write: %s", w->path, strerror(errno));
    w->written_bytes += length;
    return OK;
}

/* Without this a crash of the machine may lose the new name although the data is safe. */
static status sync_parent(const char *path)
{
    const char *base = path_base(path);
    char *folder;
    TRY_ALLOC(folder, base == path ? heap_printf(".") : heap_printf("%.*s", (int)(base - path), path));
    status result = OK;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    /* Some file systems refuse to sync a folder (EINVAL); then there is nothing more to do. */
    if (fd < 0 || (fsync(fd) != 0 && errno != EINVAL))
        result = FAIL(E_IO, "%s: cannot sync the folder: %s", folder, strerror(errno));
    if (fd >= 0) close(fd);
    free(folder);
    return result;
}

status file_writer_commit(file_writer *w)
{
    status result = OK;
    if (fflush(w->stream) != 0 || fsync(fileno(w->stream)) != 0)
        TRY_OUT(FAIL(E_IO, "%s: cannot write: %s", w->path, strerror(errno)));
    FILE *stream = w->stream;
    w->stream = NULL;
    if (fclose(stream) != 0) TRY_OUT(FAIL(E_IO, "%s: cannot write: %s", w->path, strerror(errno)));
    if (rename(w->temp_path, w->path) != 0)
        TRY_OUT(FAIL(E_IO, "%s: cannot rename to %s: %s", w->temp_path, w->path, strerror(errno)));
    free(w->temp_path);
    w->temp_path = NULL;
    TRY_OUT(sync_parent(w->path));
out:
    file_writer_abort(w);
    return result;
}

void file_writer_abort(file_writer *w)
{
    if (w->stream) fclose(w->stream);
    if (w->temp_path) unlink(w->temp_path);
    free(w->path);
    free(w->temp_path);
    *w = (file_writer){0};
}

status file_write_all(const char *path, const void *data, size_t bytes)
{
    file_writer w;
    status result = OK;
    TRY(file_writer_open(&w, path));
    TRY_OUT(file_writer_write(&w, data, bytes));
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}

/* ---------------------------------------------------------------------------------------------------- reading */

/* Opens for reading; folders are refused here because open() accepts them. `blocking` false: a pipe
 * without a writer opens at once. */
static status open_input(const char *path, bool blocking, int *fd, struct stat *info)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (blocking ? 0 : O_NONBLOCK));
    if (*fd < 0) return FAIL(E_IO, "%s: cannot open: %s", path, strerror(errno));
    int error = fstat(*fd, info) != 0 ? errno : S_ISDIR(info->st_mode) ? EISDIR : 0;
    if (!error) return OK;
    close(*fd);
    *fd = -1;
    return FAIL(E_IO, "%s: cannot read: %s", path, strerror(error));
}

/* Reads at most `limit` bytes. */
static status read_up_to(const char *path, int fd, uint8_t *data, size_t limit, size_t *bytes)
{
    *bytes = 0;
    while (*bytes < limit) {
        ssize_t got = read(fd, data + *bytes, limit - *bytes);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return FAIL(E_IO, "%s: cannot read: %s", path, strerror(errno));
        if (got == 0) break;
        *bytes += (size_t)got;
    }
    return OK;
}

static status too_large(const char *path, int64_t max_bytes)
{
    return FAIL(E_DATA, "%s: larger than the limit of %" PRId64 " bytes", path, max_bytes);
}

/* A pipe has no size: read until it ends or exceeds the limit. */
static status read_pipe(arena *a, const char *path, int fd, int64_t max_bytes, void **data, size_t *bytes)
{
    enum { CHUNK = 1 << 16 };
    void *buffer = NULL;
    int64_t capacity = 0, used = 0;
    status result = OK;
    for (;;) {
        size_t got;
        TRY_OUT(array_reserve(&buffer, &capacity, used + CHUNK, 1));
        TRY_OUT(read_up_to(path, fd, (uint8_t *)buffer + used, CHUNK, &got));
        used += (int64_t)got;
        if (used > max_bytes) TRY_OUT(too_large(path, max_bytes));
        if (got < CHUNK) break;
    }
    uint8_t *copy;
    TRY_ALLOC_OUT(copy, arena_alloc(a, (size_t)used + 1));
    memcpy(copy, buffer, (size_t)used);
    *data = copy;
    *bytes = (size_t)used;
out:
    free(buffer);
    return result;
}

static status read_regular(
    arena *a, const char *path, int fd, const struct stat *info, int64_t max_bytes, void **data, size_t *bytes)
{
    if (info->st_size > max_bytes) return too_large(path, max_bytes);
    uint8_t *memory;
    TRY_ALLOC(memory, arena_alloc(a, (size_t)info->st_size + 1));
    TRY(read_up_to(path, fd, memory, (size_t)info->st_size, bytes));
    *data = memory;
    return OK;
}

status file_read_all(arena *a, const char *path, int64_t max_bytes, void **data, size_t *bytes)
{
    int fd;
    struct stat info;
    status result = OK;
    *data = NULL;
    *bytes = 0;
    TRY(open_input(path, true, &fd, &info));
    if (!S_ISREG(info.st_mode)) {
        result = read_pipe(a, path, fd, max_bytes, data, bytes);
        goto out;
    }
    TRY_OUT(read_regular(a, path, fd, &info, max_bytes, data, bytes));
out:
    close(fd);
    return result;
}

static status not_regular(const char *path)
{
    return FAIL(E_DATA, "%s: a pipe, socket or device instead of a file", path);
}

/* Looked at before it is opened, because opening a device may do something, and after,
 * because it may have been replaced. */
static status open_regular(const char *path, int *fd, struct stat *info)
{
    if (file_is_stream(path)) return not_regular(path);
    TRY(open_input(path, false, fd, info));
    if (S_ISREG(info->st_mode)) return OK;
    close(*fd);
    return not_regular(path);
}

status file_read_regular(arena *a, const char *path, int64_t max_bytes, void **data, size_t *bytes)
{
    int fd;
    struct stat info;
    *data = NULL;
    *bytes = 0;
    TRY(open_regular(path, &fd, &info));
    status result = read_regular(a, path, fd, &info, max_bytes, data, bytes);
    close(fd);
    return result;
}

/* An open descriptor becomes f's. */
static status take_input(file_input *f, const char *path, int fd, const struct stat *info)
{
    *f = (file_input){.fd = fd, .bytes = info->st_size};
    f->mtime_ns = (int64_t)info->st_mtim.tv_sec * 1000000000 + info->st_mtim.tv_nsec;
    f->path = heap_printf("%s", path);
    if (f->path) return OK;
    close(fd);
    return E_MEMORY;
}

status file_input_open(file_input *f, const char *path)
{
    struct stat info;
    *f = (file_input){0};
    int fd;
    TRY(open_regular(path, &fd, &info));
    return take_input(f, path, fd, &info);
}

status file_input_read(const file_input *f, int64_t offset, void *data, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(f->fd, (uint8_t *)data + done, bytes - done, (off_t)(offset + (int64_t)done));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return FAIL(E_IO, "%s: cannot read: %s", f->path, strerror(errno));
        if (got == 0)
            return FAIL(E_DATA, "%s: cut off while it was in use: ends at byte %" PRId64 ", had %" PRId64, f->path,
                offset + (int64_t)done, f->bytes);
        done += (size_t)got;
    }
    return OK;
}

void file_input_close(file_input *f)
{
    if (f->path) close(f->fd);
    free(f->path);
    *f = (file_input){0};
}

/* Pages of our own, filled once and then locked against writing. */
static status read_pages(file_map *m, const char *path, int fd, size_t bytes)
{
    size_t got;
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return FAIL(E_MEMORY, "%s: out of memory: could not allocate %zu bytes for it", path, bytes);
    status result = read_up_to(path, fd, memory, bytes, &got);
    if (result == OK && got < bytes)
        result =
            FAIL(E_IO, "%s: ends after %zu of its %zu bytes: something is changing it; try again", path, got, bytes);
    if (result != OK) {
        munmap(memory, bytes);
        return result;
    }
    mprotect(memory, bytes, PROT_READ);
    m->data = memory;
    m->bytes = bytes;
    return OK;
}

status file_map_front(file_map *m, const char *path, size_t limit)
{
    int fd;
    struct stat info;
    status result = OK;
    *m = (file_map){0};
    TRY(open_input(path, false, &fd, &info));
    if (!S_ISREG(info.st_mode)) TRY_OUT(FAIL(E_IO, "%s: not a regular file", path));
    size_t bytes = (size_t)info.st_size < limit ? (size_t)info.st_size : limit;
    if (bytes > 0) TRY_OUT(read_pages(m, path, fd, bytes));
    m->file_bytes = (size_t)info.st_size;
out:
    close(fd);
    return result;
}

status file_map_open(file_map *m, const char *path)
{
    return file_map_front(m, path, SIZE_MAX);
}

void file_map_close(file_map *m)
{
    if (m->data) munmap((void *)(uintptr_t)m->data, m->bytes);
    *m = (file_map){0};
}

/* What is wrong with a file that another one names, or NULL. */
static const char *fault_beside(int fd, int error, struct stat *info)
{
    if (fd < 0) return error == ELOOP ? "it is a symbolic link: put the file itself there" : strerror(error);
    if (fstat(fd, info) != 0) return strerror(errno);
    if (!S_ISREG(info->st_mode)) return "it is no regular file";
    return info->st_nlink == 1 ? NULL : "it has other names (hard links): put a copy of its own there";
}

/* Without O_NONBLOCK a pipe would wait for a writer. */
status file_input_open_beside(file_input *f, const char *folder, const char *name)
{
    struct stat info;
    *f = (file_input){0};
    if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return FAIL(E_IO, "'%s': expected the plain name of a file in the same folder", name);
    int parent = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent < 0) return FAIL(E_IO, "%s: cannot open the folder: %s", folder, strerror(errno));
    int fd = openat(parent, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), error = errno;
    close(parent);
    const char *fault = fault_beside(fd, error, &info);
    if (fault && fd >= 0) close(fd);
    if (fault) return FAIL(E_IO, "'%s' in %s: %s", name, folder, fault);
    return take_input(f, name, fd, &info);
}

/* ---------------------------------------------------------------------------------------------------- names */

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool file_is_stream(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && !S_ISREG(info.st_mode) && !S_ISDIR(info.st_mode);
}

status file_info(const char *path, int64_t *bytes, int64_t *mtime_ns)
{
    struct stat info;
    if (stat(path, &info) != 0) return FAIL(E_IO, "%s: %s", path, strerror(errno));
    *bytes = info.st_size;
    *mtime_ns = (int64_t)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec;
    return OK;
}

status dir_make(const char *path)
{
    char *copy;
    TRY_ALLOC(copy, heap_printf("%s", path));
    status result = OK;
    /* From the left, one parent at a time. */
    for (char *end = copy; *end;) {
        end += strspn(end, "/");
        end += strcspn(end, "/");
        char kept = *end;
        *end = 0;
        int error = mkdir(copy, 0777) != 0 ? errno : 0;
        if (error && !file_is_dir(copy)) {
            result = FAIL(E_IO, "%s: cannot make the folder: %s", copy, strerror(error));
            break;
        }
        *end = kept;
    }
    free(copy);
    return result;
}

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

status dir_list(arena *a, const char *path, char ***names, int64_t *count)
{
    *names = NULL;
    *count = 0;
    DIR *dir = opendir(path);
    if (!dir) return FAIL(E_IO, "%s: cannot list: %s", path, strerror(errno));
    void *list = NULL;
    int64_t capacity = 0, used = 0;
    status result = OK;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (!entry && errno) TRY_OUT(FAIL(E_IO, "%s: cannot list: %s", path, strerror(errno)));
        if (!entry) break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        TRY_OUT(array_reserve(&list, &capacity, used + 1, sizeof(char *)));
        char *name;
        TRY_ALLOC_OUT(name, arena_strdup(a, entry->d_name));
        ((char **)list)[used++] = name;
    }
    if (used) qsort(list, (size_t)used, sizeof(char *), by_bytes);
    char **copy;
    TRY_ALLOC_OUT(copy, ARENA_ARRAY(a, char *, used));
    if (used) memcpy(copy, list, (size_t)used * sizeof(char *));
    *names = copy;
    *count = used;
out:
    free(list);
    closedir(dir);
    return result;
}

char *path_join(arena *a, const char *folder, const char *name)
{
    size_t length = strlen(folder);
    if (length == 0 || name[0] == '/') return arena_strdup(a, name);
    return arena_printf(a, folder[length - 1] == '/' ? "%s%s" : "%s/%s", folder, name);
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

const char *path_extension(const char *path)
{
    const char *base = path_base(path), *dot = strrchr(base, '.');
    return dot && dot != base ? dot + 1 : ""; /* ".profile" has none */
}

status file_free_bytes(const char *folder, int64_t *bytes)
{
    struct statvfs info;
    if (statvfs(folder, &info) != 0) return FAIL(E_IO, "%s: %s", folder, strerror(errno));
    *bytes = (int64_t)info.f_bavail * (int64_t)info.f_frsize;
    return OK;
}

/* The process that NAME.tmp.PID.RANDOM belongs to (NAME.tmp.PID: so earlier versions named
 * them); 0: another kind of name. */
static int64_t owner_of(const char *name)
{
    const char *mark = strstr(name, ".tmp.");
    char digits[16];
    int64_t pid;
    size_t length = mark ? strcspn(mark + 5, ".") : sizeof digits;
    if (length >= sizeof digits) return 0;
    const char *rest = mark + 5 + length;
    if (*rest && (strlen(rest) != 17 || strspn(rest + 1, "0123456789abcdef") != 16)) return 0;
    snprintf(digits, sizeof digits, "%.*s", (int)length, mark + 5);
    return text_to_int(digits, &pid) && pid >= 1 && pid <= INT32_MAX ? pid : 0;
}

void dir_sweep(const char *path)
{
    arena a = {0};
    char **names;
    int64_t count = 0;
    if (dir_list(&a, path, &names, &count) != OK) count = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t pid = owner_of(names[i]);
        if (!pid) continue;
        const char *file = path_join(&a, path, names[i]);
        if (file && kill((pid_t)pid, 0) != 0 && errno == ESRCH) unlink(file);
    }
    arena_free(&a);
}
