#include "models/import/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    END_BYTES = 22, LOCATOR_BYTES = 20, END64_BYTES = 56, CENTRAL_BYTES = 46, LOCAL_BYTES = 30, MAX_COMMENT = 65535,
    EXTRA_ZIP64 = 1, FLAG_ENCRYPTED = 1
};
static const uint32_t END_MARK = 0x06054b50, END64_MARK = 0x06064b50, LOCATOR_MARK = 0x07064b50,
                      CENTRAL_MARK = 0x02014b50, LOCAL_MARK = 0x04034b50, IN_ZIP64 = 0xffffffff;

typedef struct reader {
    const uint8_t *bytes;
    size_t count;
    const char *what;
    arena *memory;
} reader;

static uint64_t number(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    for (int i = 0; i < bytes; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static uint32_t u32(const uint8_t *at) { return (uint32_t)number(at, 4); }

/* Do `bytes` bytes from `offset` on lie in the file? */
static bool inside(const reader *r, uint64_t offset, uint64_t bytes)
{
    return offset <= r->count && bytes <= r->count - offset;
}

bool zip_is_zip(const uint8_t *bytes, size_t count) { return count >= END_BYTES && u32(bytes) == LOCAL_MARK; }

/* Where the list of members is. */
typedef struct directory {
    uint64_t members, bytes, offset;
} directory;

static status find_directory(const reader *r, directory *d)
{
    size_t least = r->count > END_BYTES + MAX_COMMENT ? r->count - END_BYTES - MAX_COMMENT : 0;
    size_t at = r->count >= END_BYTES ? r->count - END_BYTES : 0;
    while (at > least && u32(r->bytes + at) != END_MARK) at--;
    if (r->count < END_BYTES || u32(r->bytes + at) != END_MARK)
        return FAIL(E_MODEL, "%s: no list of members at its end: the archive is cut off or damaged", r->what);
    const uint8_t *end = r->bytes + at;
    *d = (directory){number(end + 10, 2), number(end + 12, 4), number(end + 16, 4)};
    uint64_t disks = number(end + 4, 2) | number(end + 6, 2);
    if (at >= LOCATOR_BYTES && u32(end - LOCATOR_BYTES) == LOCATOR_MARK) {
        uint64_t offset = number(end - LOCATOR_BYTES + 8, 8);
        if (!inside(r, offset, END64_BYTES) || u32(r->bytes + offset) != END64_MARK)
            return FAIL(
                E_MODEL, "%s: the ZIP64 end record is not where the file says: it is cut off or damaged", r->what);
        const uint8_t *end64 = r->bytes + offset;
        *d = (directory){number(end64 + 32, 8), number(end64 + 40, 8), number(end64 + 48, 8)};
        disks = number(end64 + 16, 4) | number(end64 + 20, 4);
    }
    if (disks) return FAIL(E_MODEL, "%s: an archive of several disks", r->what);
    if (!inside(r, d->offset, d->bytes) || d->members > d->bytes / CENTRAL_BYTES)
        return FAIL(E_MODEL, "%s: the list of members lies outside the file: it is cut off or damaged", r->what);
    return OK;
}

typedef struct entry {
    uint64_t packed, bytes, offset;
    uint32_t crc;
} entry;

/* What the ZIP64 extra field says, for those numbers that do not fit 32 bits. */
static status read_zip64(const reader *r, entry *e, const char *name, const uint8_t *extra, size_t length)
{
    uint64_t *const wide[] = {&e->bytes, &e->packed, &e->offset};
    if (e->bytes != IN_ZIP64 && e->packed != IN_ZIP64 && e->offset != IN_ZIP64) return OK;
    for (size_t at = 0; at + 4 <= length;) {
        size_t size = (size_t)number(extra + at + 2, 2);
        if (size > length - at - 4) break;
        if (number(extra + at, 2) != EXTRA_ZIP64) {
            at += 4 + size;
            continue;
        }
        const uint8_t *next = extra + at + 4, *stop = next + size;
        for (int i = 0; i < 3; i++) {
            if (*wide[i] != IN_ZIP64) continue;
            if (stop - next < 8) return FAIL(E_MODEL, "%s: %s: its ZIP64 field is too short", r->what, name);
            *wide[i] = number(next, 8);
            next += 8;
        }
        return OK;
    }
    return FAIL(E_MODEL, "%s: %s: its ZIP64 field is missing", r->what, name);
}

/* The data stand behind the member's own header, whose name and extra field may be longer than the list's. */
static status find_data(const reader *r, const entry *e, zip_member *m)
{
    if (!inside(r, e->offset, LOCAL_BYTES) || u32(r->bytes + e->offset) != LOCAL_MARK)
        return FAIL(E_MODEL, "%s: %s is not where the list says: the archive is damaged", r->what, m->name);
    const uint8_t *local = r->bytes + e->offset;
    uint64_t begin = e->offset + LOCAL_BYTES + number(local + 26, 2) + number(local + 28, 2);
    if (!inside(r, begin, e->bytes))
        return FAIL(E_MODEL, "%s: %s reaches beyond the end of the file: it is cut off", r->what, m->name);
    m->data = r->bytes + begin;
    m->bytes = (size_t)e->bytes;
    if (crc32_z(0, m->data, m->bytes) != e->crc)
        return FAIL(E_MODEL, "%s: %s does not match its checksum: the file is damaged", r->what, m->name);
    return OK;
}

static status read_member(const reader *r, const uint8_t *central, size_t room, zip_member *m, size_t *used)
{
    if (room < CENTRAL_BYTES || u32(central) != CENTRAL_MARK)
        return FAIL(E_MODEL, "%s: its list of members is damaged", r->what);
    size_t name = (size_t)number(central + 28, 2), extra = (size_t)number(central + 30, 2),
           comment = (size_t)number(central + 32, 2);
    if (name + extra + comment > room - CENTRAL_BYTES)
        return FAIL(E_MODEL, "%s: its list of members is damaged", r->what);
    *used = CENTRAL_BYTES + name + extra + comment;
    if (memchr(central + CENTRAL_BYTES, 0, name))
        return FAIL(E_MODEL, "%s: the name of a member holds a 0 byte", r->what);
    m->name = arena_strndup(r->memory, (const char *)central + CENTRAL_BYTES, name);
    if (!m->name) return FAIL_MEMORY(name);
    entry e = {
        .crc = u32(central + 16), .packed = u32(central + 20), .bytes = u32(central + 24), .offset = u32(central + 42)};
    TRY(read_zip64(r, &e, m->name, central + CENTRAL_BYTES + name, extra));
    if (number(central + 8, 2) & FLAG_ENCRYPTED) return FAIL(E_MODEL, "%s: %s is encrypted", r->what, m->name);
    m->compressed = number(central + 10, 2) != 0 || e.packed != e.bytes;
    m->bytes = (size_t)e.packed;
    return m->compressed ? OK : find_data(r, &e, m);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const zip_member *)a)->name, ((const zip_member *)b)->name);
}

status zip_open(zip_archive *z, arena *a, const uint8_t *bytes, size_t count, const char *what)
{
    reader r = {bytes, count, what, a};
    directory d = {0};
    *z = (zip_archive){0};
    TRY(find_directory(&r, &d));
    z->members = ARENA_ARRAY(a, zip_member, d.members);
    if (!z->members) return FAIL_MEMORY(d.members * sizeof *z->members);
    const uint8_t *next = bytes + d.offset;
    uint64_t total = 0;
    for (size_t room = (size_t)d.bytes, used = 0; (uint64_t)z->count < d.members; room -= used, next += used) {
        TRY(read_member(&r, next, room, &z->members[z->count], &used));
        total += z->members[z->count++].bytes;
        if (total > count)
            return FAIL(E_MODEL, "%s: its members overlap", what); /* else checking them could take for ever */
    }
    if (z->count) qsort(z->members, (size_t)z->count, sizeof *z->members, by_name);
    for (int64_t i = 1; i < z->count; i++)
        if (strcmp(z->members[i - 1].name, z->members[i].name) == 0)
            return FAIL(E_MODEL, "%s: two members are called %s", what, z->members[i].name);
    return OK;
}

const zip_member *zip_find(const zip_archive *z, const char *name)
{
    zip_member key = {.name = name};
    return z->count ? bsearch(&key, z->members, (size_t)z->count, sizeof key, by_name) : NULL;
}
