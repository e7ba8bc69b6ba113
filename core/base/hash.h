/* hash.h: XXH3 (64 and 128 bits) for checksums and file identities; CRC32C for TensorBoard records. Not for secrets. */
#ifndef GRAFT_BASE_HASH_H
#define GRAFT_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

typedef struct hash128 {
    uint64_t low, high;
} hash128;

uint64_t hash64(const void *data, size_t bytes);
hash128 hash128_of(const void *data, size_t bytes);
void hash128_hex(hash128 h, char text[33]);
status hash128_of_file(const char *path, hash128 *h);
uint64_t hash64_text(const char *text);
uint32_t crc32c(const void *data, size_t bytes); /* crc32c("123456789", 9) == 0xe3069283 */

#endif
