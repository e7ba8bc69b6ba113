/* packed.h: the packed data set's layout, shared by its reader and its writer (pack.c);
 * docs/FORMATS.md has the same in words.
 *
 * PATH/data.pack, every number little-endian: a header of PACKED_HEADER_BYTES, the records (image files as they are)
 * one behind the other, and the directory (classes, then an entry per sample), which ends the file. Header and
 * directory have checksums that are compared when the file is opened, a record has one that is compared whenever it is
 * read: every byte is covered. Version 3 is version 1 with the boxes of a sample behind its name in the directory,
 * version 2 the same without the objects' areas; data sets without boxes are written as version 1.
 */
#ifndef GRAFT_DATA_PACKED_H
#define GRAFT_DATA_PACKED_H

#include <stdint.h>

#include "core/base/hash.h"

#define PACKED_FILE "data.pack"
#define PACKED_LMDB_FILE "data.mdb" /* what earlier versions wrote */
#define PACKED_MAGIC "GRAFTPCK"
enum {
    PACKED_VERSION = 1,
    PACKED_VERSION_BOXES = 2,
    PACKED_VERSION_AREAS = 3,
    PACKED_HEADER_BYTES = 96,
    PACKED_ENTRY_BYTES = 40, /* in front of an entry's name */
    PACKED_LABELS_BYTES = 12, /* behind the name, in front of the label file's name */
    PACKED_BOX_BYTES = 40, /* 36 in version 2 */
    PACKED_POINT_BYTES = 8,
    PACKED_NUMBERED = 1, /* flags of the directory */
    PACKED_BOXES = 2,    /* from version 2 on      */
    PACKED_LABELLED = 1, /* flag of an entry       */
    PACKED_IGNORE = 1,   /* flags of a box         */
    PACKED_CROWD = 2     /* from version 3 on      */
};

typedef struct packed_header {
    int32_t version;
    int64_t file_bytes, directory_at, directory_bytes;
    int64_t count[3]; /* samples of train, val, test */
    hash128 directory_hash;
} packed_header;

static inline void packed_store(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) to[i] = (uint8_t)(value >> 8 * i);
}

static inline uint64_t packed_load(const uint8_t *from, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | from[i];
    return value;
}

#endif
