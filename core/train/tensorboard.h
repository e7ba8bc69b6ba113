/* tensorboard.h: scalars as a TensorBoard event file.
 *
 * File `events.out.tfevents.<seconds>.<host>.<pid>.<n>`. Record: u64 length, u32 masked CRC32C of the length, data, u32
 * masked CRC32C of the data, little-endian; mask(c) = ((c >> 15) | (c << 17)) + 0xa282ead8. Data: protobuf Event { 1
 * wall_time double, 2 step int64, 3 file_version string, 5 summary { repeated 1 value { 1 tag string, 2 simple_value
 * float } } }. The first record is file_version "brain.Event:2". Every record is flushed; a resumed run opens a new
 * file, which TensorBoard merges.
 *
 *     tensorboard tb;
 *     TRY(tensorboard_open(&tb, "runs/a/events", 1700000000.0));
 *     TRY(tensorboard_scalars(&tb, now, step, tags, values, count));
 *     tensorboard_close(&tb);
 */
#ifndef GRAFT_TRAIN_TENSORBOARD_H
#define GRAFT_TRAIN_TENSORBOARD_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/status.h"

typedef struct tensorboard {
    FILE *stream;
    char *path;
} tensorboard;

/* Makes the folder and a new file in it. wall_time: seconds since 1970. E_IO. */
status tensorboard_open(tensorboard *tb, const char *folder, double wall_time);
void tensorboard_close(tensorboard *tb); /* accepts a zeroed struct */

/* One event with all the values; NaN values are left out. Does nothing on a zeroed struct. */
status tensorboard_scalars(
    tensorboard *tb, double wall_time, int64_t step, const char *const *tags, const double *values, int32_t count);

/* The bytes of one record, for tests: returns the length, or 0 when capacity is too small. */
size_t tensorboard_version_record(uint8_t *bytes, size_t capacity, double wall_time);
size_t tensorboard_scalar_record(uint8_t *bytes, size_t capacity, double wall_time, int64_t step,
    const char *const *tags, const double *values, int32_t count);

#endif
