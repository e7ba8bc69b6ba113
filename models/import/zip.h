/* zip.h: the members of a ZIP archive that are stored as they are, as PyTorch writes them; ZIP64 too. APPNOTE.TXT
 * 6.3.9, sections 4.3.7, 4.3.12, 4.3.14 to 4.3.16 and 4.5.3.
 *
 * Every offset and length is compared with the bytes that are there before it is used. An encrypted member, an archive
 * of several disks, two members of one name, members that overlap and one whose CRC-32 differs are refused (E_MODEL);
 * compressed ones are listed without data.
 *
 *     zip_archive z;
 *     TRY(zip_open(&z, &memory, bytes, count, "model.pth"));
 *     const zip_member *m = zip_find(&z, "archive/data.pkl");    // NULL if absent; m->data points into bytes
 */
#ifndef GRAFT_MODELS_IMPORT_ZIP_H
#define GRAFT_MODELS_IMPORT_ZIP_H

#include <stdbool.h>

#include "core/base/arena.h"
#include "core/base/status.h"

typedef struct zip_member {
    const char *name;
    const uint8_t *data; /* NULL: compressed */
    size_t bytes;
    bool compressed;
} zip_member;

typedef struct zip_archive {
    zip_member *members; /* [count], by name */
    int64_t count;
} zip_archive;

bool zip_is_zip(const uint8_t *bytes, size_t count);
/* Lists are allocated in a; bytes stay the caller's. */
status zip_open(zip_archive *z, arena *a, const uint8_t *bytes, size_t count, const char *what);
const zip_member *zip_find(const zip_archive *z, const char *name);

#endif
