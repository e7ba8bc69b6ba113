/* packed.h: the packed data set's layout, shared by its reader and its writer (pack.c); docs/FORMATS.md has the same in words.
 *
 * An LMDB environment (PATH/data.mdb) whose unnamed database holds
 *   "meta"          JSON: {"format": "graft-packed", "version": 1, "classes": [...], "numbered": bool,
 *                   "parts": {"train": {"count": N}, ...}}
 *   "PART/index"    per sample, little-endian: i32 class, u32 bytes of its name, u64 XXH3 of its encoded bytes, the name
 *   "PART/%010d"    the encoded bytes of sample 0, 1, ...
 */
#ifndef GRAFT_DATA_PACKED_H
#define GRAFT_DATA_PACKED_H

#define PACKED_FORMAT "graft-packed"
#define PACKED_FILE "data.mdb"
enum { PACKED_VERSION = 1, PACKED_ENTRY_BYTES = 16, PACKED_KEY_BYTES = 32 };

#endif
