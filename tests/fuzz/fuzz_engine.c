/* The engine's reader. The first byte chooses: even, the input is a file; odd, it is three sections, each behind a
 * length of 2 bytes, from which a sound container is built, so that mutations reach what stands inside. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "export/engine.h"
#include "export/engine_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(const uint8_t *data, size_t size)
{
    engine e;
    size_t room = (size_t)engine_align(size + 1);
    uint8_t *bytes = aligned_alloc(ENGINE_ALIGN, room);
    if (!bytes) return;
    memcpy(bytes, data, size);
    if (engine_parse(&e, bytes, size, "fuzz", false) == OK) {
        shape s = e.graph.edges[e.graph.inputs[0]].shape;
        s.dim[0] = 2;
        (void)graph_resize(&e.graph, e.graph.inputs[0], s);
        engine_free(&e);
    }
    free(bytes);
}

/* Takes one section off the input. */
static size_t take(const uint8_t **data, size_t *size)
{
    if (*size < 2) return 0;
    size_t bytes = (size_t)((*data)[0] | (*data)[1] << 8);
    *data += 2;
    *size -= 2;
    return bytes < *size ? bytes : *size;
}

static void parse_built(const uint8_t *data, size_t size)
{
    engine_front front = {.header = {.version = ENGINE_VERSION, .section_count = SECTION_COUNT}};
    size_t offset = sizeof front;
    uint8_t *bytes = calloc(1, sizeof front + size + SECTION_COUNT * ENGINE_ALIGN);
    if (!bytes) return;
    memcpy(front.header.magic, ENGINE_MAGIC, sizeof front.header.magic);
    for (int i = 0; i < SECTION_COUNT; i++) {
        size_t count = take(&data, &size);
        memcpy(front.section[i].tag, engine_section_tags[i], strlen(engine_section_tags[i]));
        front.section[i].offset = offset;
        front.section[i].bytes = count;
        if (count) memcpy(bytes + offset, data, count);
        data += count;
        size -= count;
        offset += engine_align(count);
    }
    front.header.file_bytes = offset;
    memcpy(bytes, &front, sizeof front);
    parse(bytes, offset);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    if (data[0] % 2) parse_built(data + 1, size - 1);
    else parse(data + 1, size - 1);
    return 0;
}
