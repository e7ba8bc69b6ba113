/* cache.h: TensorRT's calibration cache, byte for byte.
 *
 *     TRT-8601-EntropyCalibration2
 *     image: 3c010a14
 *     layer1.0.conv1: 3d5b2f80
 *
 * Line 1 is TRT-<version>-<algorithm>. Every other line is a tensor's name, ": " and the bits of its float32 scale
 * (clip / 127) as hex, most significant digit first. Written: 8 lower-case digits, LF. Read: 1 to 8 digits of either
 * case, CRLF, a missing final newline, empty lines, names that contain ": " (the last one counts).
 *
 *     calibration_cache c;
 *     TRY_OUT(cache_read(&c, "model.cal"));
 *     const cache_entry *e = cache_find(&c, "layer1.0.conv1");
 * out:
 *     cache_free(&c);
 */
#ifndef GRAFT_EXPORT_CACHE_H
#define GRAFT_EXPORT_CACHE_H

#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/status.h"

typedef struct cache_entry {
    const char *name;
    float scale;
} cache_entry;

typedef struct calibration_cache {
    arena memory;
    int64_t version;       /* 8601                                           */
    const char *algorithm; /* "EntropyCalibration2" or "MinMaxCalibration"   */
    cache_entry *entries;  /* [count], in file order                         */
    int64_t count;
} calibration_cache;

/* c is initialised by the call. E_MODEL naming `what`, line and reason: no header, no colon, digits that are none, a
 * scale that is not positive and finite, a name twice. */
status cache_parse(calibration_cache *c, const char *text, size_t bytes, const char *what);
status cache_read(calibration_cache *c, const char *path); /* files up to 16 MiB */
void cache_free(calibration_cache *c);                     /* accepts a zeroed one */

/* Writes entries in order; names with a line break are refused (E_USAGE). */
status cache_write(const char *path, int64_t version, const char *algorithm, const cache_entry *entries, int64_t count);

const cache_entry *cache_find(const calibration_cache *c, const char *name); /* NULL if absent */

#endif
