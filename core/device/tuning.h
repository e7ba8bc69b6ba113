/* tuning.h: which kernel variant was timed as the fastest for a descriptor on this GPU: a table in a file per
 * GPU, written by `graft bench --tune`, read when a plan is made. What is not in the table, or refuses, is
 * chosen as ever: best first. A checkpoint keeps the names of the variants it was trained with, so that
 * resuming does not depend on the file.
 *
 *     graft-tuning 1 KERNELS GPU         KERNELS: hash of all variants' names; a file of other kernels counts as empty
 *     OP DESCRIPTOR VARIANT MICROSECONDS
 *
 * $XDG_CACHE_HOME/graft/tuning-GPU.txt, or ~/.cache/graft/...; without either there is no file.
 */
#ifndef GRAFT_DEVICE_TUNING_H
#define GRAFT_DEVICE_TUNING_H

#include "core/base/arena.h"
#include "core/device/device.h"

typedef struct tuning_row {
    kernel_op op;
    const char *desc, *variant;
    double seconds;
} tuning_row;

typedef struct tuning {
    arena memory;
    const char *path, *gpu; /* path NULL: none */
    tuning_row *rows;
    int64_t count, capacity;
} tuning;

/* What the device's file holds. A damaged or missing file is an empty table (and a warning for a damaged one). */
status tuning_open(tuning *t, device *dev);
void tuning_close(tuning *t); /* accepts a zeroed one */

/* The variant's name, NULL if the descriptor was never timed. */
const char *tuning_find(const tuning *t, kernel_op op, const void *desc);

/* Adds or replaces a row. */
status tuning_set(tuning *t, kernel_op op, const void *desc, const kernel *k, double seconds);
status tuning_save(const tuning *t); /* E_IO; E_USAGE without a place for the file */

/* Times every variant that accepts a convolution on the device, each on the same data: a few calls to warm up, then the
 * median of `samples` batches. fastest may be the default, the one that kernel_select takes. E_MEMORY, E_DEVICE. */
typedef struct tuning_result {
    const kernel *fastest, *chosen;
    double fastest_seconds, chosen_seconds;
    int32_t timed; /* variants */
} tuning_result;
status tuning_time_conv2d(device *dev, kernel_op op, const conv2d_desc *desc, int32_t samples, tuning_result *r);

#endif
