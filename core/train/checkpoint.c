#include "core/train/checkpoint.h"

#include <inttypes.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const kinds[2] = {"safetensors", "state"};

enum { PATH_CAPACITY = 4096 };

static status make_path(char path[PATH_CAPACITY], const char *folder, const char *name, const char *kind)
{
    int length = snprintf(path, PATH_CAPACITY, "%s/%s.%s", folder, name, kind);
    if (length < 0 || length >= PATH_CAPACITY) return FAIL(E_USAGE, "%s: path too long", folder);
    return OK;
}

/* Some file systems know no hard links: there the bytes are copied. */
static status copy_file(const char *from, const char *to)
{
    file_map map;
    TRY(file_map_open(&map, from));
    status result = file_write_all(to, map.data, map.bytes);
    file_map_close(&map);
    return result;
}

/* `to` becomes a second name of `from` in one rename. */
static status link_over(const char *from, const char *to)
{
    char *temp;
    status result = OK;
    TRY(file_temp_name(to, &temp));
    if (link(from, temp) != 0) {
        free(temp);
        return copy_file(from, to);
    }
    if (rename(temp, to) != 0) result = FAIL(E_IO, "%s: %s", to, strerror(errno));
    unlink(temp); /* rename leaves both names when they already are one file */
    free(temp);
    return result;
}

static status sync_folder(const char *folder)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return FAIL(E_IO, "%s: %s", folder, strerror(errno));
    int failed = fsync(fd);
    int code = errno;
    close(fd);
    /* EINVAL: a file system that cannot sync folders. */
    if (failed && code != EINVAL) return FAIL(E_IO, "%s: %s", folder, strerror(code));
    return OK;
}

/* Model first: between the two renames last.state still finds its model under last-1 and last alike. */
static status duplicate(const char *folder, const char *from, const char *to)
{
    char source[PATH_CAPACITY], target[PATH_CAPACITY];
    for (int i = 0; i < 2; i++) {
        TRY(make_path(source, folder, from, kinds[i]));
        TRY(make_path(target, folder, to, kinds[i]));
        TRY(link_over(source, target));
    }
    return sync_folder(folder);
}

/* Only a committed pair may replace last-1: after a kill between model and state, last is not one. */
static bool last_is_whole(const char *folder)
{
    char model_path[PATH_CAPACITY], state_path[PATH_CAPACITY];
    if (make_path(model_path, folder, "last", kinds[0]) != OK || make_path(state_path, folder, "last", kinds[1]) != OK)
        return false;
    hash128 h;
    train_state s;
    if (!file_exists(state_path) || !file_exists(model_path) || state_read(&s, state_path) != OK) return false;
    bool whole = hash128_of_file(model_path, &h) == OK && h.low == s.model_hash.low && h.high == s.model_hash.high;
    state_free(&s);
    return whole;
}

status checkpoint_save(const char *folder, model *m, train_state *s)
{
    char path[PATH_CAPACITY];
    TRY(dir_make(folder));
    if (last_is_whole(folder)) TRY(duplicate(folder, "last", "last-1"));
    TRY(make_path(path, folder, "last", kinds[0]));
    TRY(model_save(m, path));
    s->model_hash = m->file_hash;
    TRY(make_path(path, folder, "last", kinds[1]));
    return state_write(s, path);
}

status checkpoint_mark_best(const char *folder)
{
    return duplicate(folder, "last", "best");
}

bool checkpoint_exists(const char *folder)
{
    char path[PATH_CAPACITY];
    const char *names[2] = {"last", "last-1"};
    for (int i = 0; i < 2; i++)
        if (make_path(path, folder, names[i], kinds[1]) == OK && file_exists(path)) return true;
    return false;
}

static status open_named(const char *folder, const char *name, model *m, train_state *s)
{
    char model_path[PATH_CAPACITY], state_path[PATH_CAPACITY];
    TRY(make_path(model_path, folder, name, kinds[0]));
    TRY(make_path(state_path, folder, name, kinds[1]));
    TRY(state_read(s, state_path));
    status result = model_load(m, model_path);
    if (result == OK && (m->file_hash.low != s->model_hash.low || m->file_hash.high != s->model_hash.high)) {
        model_free(m);
        result = FAIL(E_MODEL, "%s: not the model that %s belongs to", model_path, state_path);
    }
    if (result != OK) state_free(s);
    return result;
}

status checkpoint_open(const char *folder, model *m, train_state *s, logger *l)
{
    if (open_named(folder, "last", m, s) == OK) return OK;
    char reason[1024];
    snprintf(reason, sizeof reason, "%s", status_message());
    if (open_named(folder, "last-1", m, s) != OK) {
        char second[1024];
        snprintf(second, sizeof second, "%s", status_message());
        return FAIL(E_MODEL, "%s: no checkpoint can be read: last: %s; last-1: %s", folder, reason, second);
    }
    log_warn(l, "the last checkpoint is not whole (%s); going on from the one before it, step %" PRId64, reason,
        s->progress.step);
    return OK;
}

status checkpoint_preflight(const char *folder, int64_t checkpoint_bytes, double checkpoints)
{
    int64_t free_bytes;
    TRY(dir_make(folder));
    TRY(file_free_bytes(folder, &free_bytes));
    double needed = (double)checkpoint_bytes * checkpoints;
    if ((double)free_bytes >= needed) return OK;
    char have[32], want[32];
    format_bytes((double)free_bytes, have);
    format_bytes(needed, want);
    return FAIL(E_IO, "%s: %s free, checkpoints need %s; free some space or set train.output to another disk", folder,
        have, want);
}
