/* file.h: files that are never half written, and reads that check sizes first.
 *
 * A file_writer writes NAME.tmp.PID.RANDOM in the same directory; commit = flush, fsync, rename over NAME, fsync the
 * directory. Until commit the old NAME is untouched; abort removes the temporary file. Nobody can guess its name, and
 * it is made anew and through no link: who may write to the folder cannot have the data written elsewhere.
 *
 *     file_writer w;
 *     TRY(file_writer_open(&w, path));
 *     TRY_OUT(file_writer_write(&w, data, bytes));
 *     TRY_OUT(file_writer_commit(&w));
 * out:
 *     file_writer_abort(&w);     // does nothing after a commit
 */
#ifndef GRAFT_BASE_FILE_H
#define GRAFT_BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/arena.h"
#include "core/base/status.h"

typedef struct file_writer {
    FILE *stream;
    char *path;
    char *temp_path;
    int64_t written_bytes;
} file_writer;

status file_writer_open(file_writer *w, const char *path);
status file_writer_write(file_writer *w, const void *data, size_t bytes);
status file_writer_printf(file_writer *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
status file_writer_commit(file_writer *w);
void file_writer_abort(file_writer *w);

/* The same in one call. */
status file_write_all(const char *path, const void *data, size_t bytes);

/* "PATH.tmp.PID.RANDOM", to be freed by the caller: for what makes a temporary file otherwise. E_IO, E_MEMORY. */
status file_temp_name(const char *path, char **name);
/* A stream on `path`, which may not be a link, opened with O_* flags and fdopen's mode. E_IO, errno is kept. */
status file_open_stream(const char *path, int flags, const char *mode, FILE **stream);

/* Whole file into memory of `a`, with a 0 byte behind it. Larger than max_bytes is an error (E_DATA). */
status file_read_all(arena *a, const char *path, int64_t max_bytes, void **data, size_t *bytes);
/* The same of data, where a pipe would never end and a device may hold anything: both
 * are E_DATA, and never waited for. */
status file_read_regular(arena *a, const char *path, int64_t max_bytes, void **data, size_t *bytes);

/* A regular file that is read in pieces and never mapped: when it is cut off under its reader, that is an error instead
 * of a signal. May be read from many threads at once. */
typedef struct file_input {
    int fd;
    int64_t bytes, mtime_ns; /* when it was opened */
    char *path;              /* NULL: not open     */
} file_input;
status file_input_open(file_input *f, const char *path); /* E_DATA: a pipe, socket or device; E_IO */
/* all bytes, or E_DATA (cut off), E_IO */
status file_input_read(const file_input *f, int64_t offset, void *data, size_t bytes);
/* A file that another file names, and that must not lead anywhere else: `name` is a plain name in `folder`, and stands
 * for a regular file that is no symbolic link and has no other name (hard link). E_IO; the message says which of these
 * it is, and begins with `name`. */
status file_input_open_beside(file_input *f, const char *folder, const char *name);
void file_input_close(file_input *f);                    /* accepts a zeroed one */

/* A regular file's bytes, read-only, in memory of this process: a copy, not a view of the file. What was checked is
 * therefore what is used however the file changes afterwards, and a file that is cut off cannot stop the process with
 * SIGBUS. data is aligned to a page; an empty file gives data = NULL, bytes = 0. E_IO if the file is shortened while it
 * is read, E_MEMORY if there is no room for it. */
typedef struct file_map {
    const uint8_t *data;
    size_t bytes;
    size_t file_bytes; /* of the whole file: the same, unless only its front was read */
} file_map;
status file_map_open(file_map *m, const char *path);
/* Its first bytes alone, at most `limit`: to tell what a file is before memory is spent on it. */
status file_map_front(file_map *m, const char *path, size_t limit);
void file_map_close(file_map *m);

bool file_exists(const char *path);
bool file_is_dir(const char *path);
bool file_is_stream(const char *path);                          /* a pipe, socket or device             */
status file_info(const char *path, int64_t *bytes, int64_t *mtime_ns);
/* Removes the folder's temporary files that processes left which are no more. What cannot be
 * removed stays, without a word. */
void dir_sweep(const char *path);
status dir_make(const char *path);                             /* with parents; fine if it exists      */
status dir_list(arena *a, const char *path, char ***names, int64_t *count); /* byte-wise sorted, no . or .. */
char *path_join(arena *a, const char *folder, const char *name);
const char *path_base(const char *path);                       /* part behind the last '/'             */
const char *path_extension(const char *path);                  /* behind the last '.', "" if none      */
status file_free_bytes(const char *folder, int64_t *bytes);    /* space left on its file system        */

#endif
