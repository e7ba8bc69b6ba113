/* engine_format.h: the fixed parts of an engine file as structs (engine.h specifies them). Private to export/engine*.c.
 * The structs are the bytes of the file: little-endian machines only, which is checked at compile time. */
#ifndef GRAFT_EXPORT_ENGINE_FORMAT_H
#define GRAFT_EXPORT_ENGINE_FORMAT_H

#include "export/engine.h"

enum { SECTION_META, SECTION_GRAPH, SECTION_WEIGHTS, SECTION_COUNT };

typedef struct engine_header {
    char magic[8];
    uint32_t version, section_count;
    uint64_t file_bytes;
    uint64_t checksum[2]; /* low, high */
    uint8_t zero[24];
} engine_header;

typedef struct engine_section {
    char tag[8];
    uint64_t offset, bytes;
    uint64_t checksum[2];
    uint8_t zero[24];
} engine_section;

typedef struct engine_front {
    engine_header header;
    engine_section section[SECTION_COUNT];
} engine_front;

_Static_assert(sizeof(engine_header) == 64 && sizeof(engine_section) == 64, "the format says 64 bytes");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "engine files are little-endian");

#define ENGINE_MAGIC "GRAFTENG"
extern const char *const engine_section_tags[SECTION_COUNT];

static inline uint64_t engine_align(uint64_t bytes)
{
    return (bytes + ENGINE_ALIGN - 1) / ENGINE_ALIGN * ENGINE_ALIGN;
}

/* Of header and table, with the checksum's own bytes as 0. */
hash128 engine_front_hash(engine_front front);

/* Is this an edge whose values stand in WEIGHTS? */
static inline bool engine_holds(const edge *e)
{
    return e->kind == EDGE_PARAM || e->kind == EDGE_STATE || e->kind == EDGE_CONST;
}

status engine_meta_read(engine *e, const json *root, const char *what); /* fills all but graph, hashes and map */

#endif
