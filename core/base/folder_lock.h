/* folder_lock.h: one run per output folder.
 *
 * The file FOLDER/graft.lock says who has the folder: docs/FORMATS.md. Its owner holds flock() on it, which the
 * system ends with the process however that ends; so the lock of a dead owner is taken over. Where another
 * machine's name stands in it and the file system may not carry flock() between machines, nobody can tell, and the
 * lock stays until it is removed by hand.
 *
 *     folder_lock lock = {0};
 *     TRY_OUT(folder_lock_take(&lock, folder, "choose another folder with train.output=...", log));
 * out:
 *     folder_lock_release(&lock);
 */
#ifndef GRAFT_BASE_FOLDER_LOCK_H
#define GRAFT_BASE_FOLDER_LOCK_H

#include "core/base/log.h"
#include "core/base/status.h"

#define FOLDER_LOCK_FILE "graft.lock"

typedef struct folder_lock {
    int fd;
    char *path; /* NULL: not held */
} folder_lock;

/* The folder exists. E_USAGE: another process has it; the message says which one since when, and `advice`. E_IO. */
status folder_lock_take(folder_lock *lock, const char *folder, const char *advice, logger *l);
/* Removes the file. Accepts a zeroed lock. */
void folder_lock_release(folder_lock *lock);

#endif
