#include "core/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/base/text.h"

/* ---------------------------------------------------------------------------------------------------- writing */

status file_writer_open(file_writer *w, const char *path)
{
    *w = (file_writer){0};
    status result = OK;
    struct stat info;
    /* Renaming over a device or a folder would replace it. */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return FAIL(E_IO, "%s: cannot write: not a regular file", path);
    w->path = strdup(path);
    if (!w->path || asprintf(&w->temp_path, "%s.tmp.%ld", path, (long)getpid()) < 0) {
        w->temp_path = NULL;
        TRY_OUT(FAIL_MEMORY(strlen(path) + 32));
    }
    w->stream = fopen(w->temp_path, "wbe");
    if (!w->stream) TRY_OUT(FAIL(E_IO, "%s: cannot create: %s", w->path, strerror(errno)));
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
    char *folder = base == path ? strdup(".") : strndup(path, (size_t)(base - path));
    if (!folder) return FAIL_MEMORY(strlen(path));
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

/* Opens for reading; folders are refused here because open() accepts them. */
static status open_input(const char *path, int *fd, struct stat *info)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC);
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
    return FAIL(E_DATA, "%s: larger than the limit of %lld bytes", path, (long long)max_bytes);
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
    uint8_t *copy = arena_alloc(a, (size_t)used + 1);
    if (!copy) TRY_OUT(FAIL_MEMORY(used));
    memcpy(copy, buffer, (size_t)used);
    *data = copy;
    *bytes = (size_t)used;
out:
    free(buffer);
    return result;
}

status file_read_all(arena *a, const char *path, int64_t max_bytes, void **data, size_t *bytes)
{
    int fd;
    struct stat info;
    status result = OK;
    *data = NULL;
    *bytes = 0;
    TRY(open_input(path, &fd, &info));
    if (!S_ISREG(info.st_mode)) {
        result = read_pipe(a, path, fd, max_bytes, data, bytes);
        goto out;
    }
    if (info.st_size > max_bytes) TRY_OUT(too_large(path, max_bytes));
    uint8_t *memory = arena_alloc(a, (size_t)info.st_size + 1);
    if (!memory) TRY_OUT(FAIL_MEMORY(info.st_size));
    TRY_OUT(read_up_to(path, fd, memory, (size_t)info.st_size, bytes));
    *data = memory;
out:
    close(fd);
    return result;
}

/* Pages of our own, filled once and then locked against writing. */
static status read_pages(file_map *m, const char *path, int fd, size_t bytes)
{
    size_t got;
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return FAIL(E_MEMORY, "%s: out of memory: could not allocate %zu bytes for it", path, bytes);
    status result = read_up_to(path, fd, memory, bytes, &got);
    if (result == OK && got < bytes)
        result = FAIL(E_IO, "%s: ends after %zu of its %zu bytes: something is changing it; try again", path, got, bytes);
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
    TRY(open_input(path, &fd, &info));
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
    char *copy = strdup(path);
    if (!copy) return FAIL_MEMORY(strlen(path));
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
        char *name = arena_strdup(a, entry->d_name);
        if (!name) TRY_OUT(FAIL_MEMORY(strlen(entry->d_name)));
        ((char **)list)[used++] = name;
    }
    if (used) qsort(list, (size_t)used, sizeof(char *), by_bytes);
    char **copy = ARENA_ARRAY(a, char *, used);
    if (!copy) TRY_OUT(FAIL_MEMORY((size_t)used * sizeof(char *)));
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

void dir_sweep(const char *path)
{
    arena a = {0};
    char **names;
    int64_t count = 0, pid;
    if (dir_list(&a, path, &names, &count) != OK) count = 0;
    for (int64_t i = 0; i < count; i++) {
        const char *mark = strstr(names[i], ".tmp.");
        if (!mark || !text_to_int(mark + 5, &pid) || pid < 1 || pid > INT32_MAX) continue;
        const char *file = path_join(&a, path, names[i]);
        if (file && kill((pid_t)pid, 0) != 0 && errno == ESRCH) unlink(file);
    }
    arena_free(&a);
}
