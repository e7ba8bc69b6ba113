#include "core/data/exif.h"

#include <stdbool.h>
#include <string.h>

enum { TAG_ORIENTATION = 0x0112, TYPE_SHORT = 3, ENTRY_BYTES = 12 };

typedef struct tiff {
    const uint8_t *bytes;
    size_t count;
    bool big_endian;
} tiff;

static uint32_t read_u16(const tiff *t, size_t at)
{
    if (t->count < 2 || at > t->count - 2) return 0;
    const uint8_t *p = t->bytes + at;
    return t->big_endian ? (uint32_t)(p[0] << 8 | p[1]) : (uint32_t)(p[1] << 8 | p[0]);
}

static uint32_t read_u32(const tiff *t, size_t at)
{
    uint32_t a = read_u16(t, at), b = read_u16(t, at + 2);
    return t->big_endian ? a << 16 | b : b << 16 | a;
}

int exif_orientation(const uint8_t *bytes, size_t count)
{
    if (count >= 6 && memcmp(bytes, "Exif\0", 6) == 0) bytes += 6, count -= 6;
    if (count < 8 || (memcmp(bytes, "II", 2) != 0 && memcmp(bytes, "MM", 2) != 0)) return 1;
    tiff t = {bytes, count, bytes[0] == 'M'};
    if (read_u16(&t, 2) != 42) return 1;
    size_t at = read_u32(&t, 4);
    uint32_t entries = read_u16(&t, at);
    for (uint32_t i = 0; i < entries; i++) {
        size_t entry = at + 2 + (size_t)i * ENTRY_BYTES;
        if (entry + ENTRY_BYTES > t.count) return 1;
        if (read_u16(&t, entry) != TAG_ORIENTATION || read_u16(&t, entry + 2) != TYPE_SHORT) continue;
        uint32_t value = read_u16(&t, entry + 8);
        return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
