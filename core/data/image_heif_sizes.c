/* ISO/IEC 14496-12 (boxes, iloc), 14496-15 (hvcC), H.265 7.3.2.2 (sequence parameter set), AV1 5.5 (sequence header).
 */
#include "core/data/image_heif_sizes.h"

#include <stdbool.h>
#include <string.h>

enum { BOX_HEADER = 8, SPS = 33, SEQUENCE_HEADER = 1, SPS_BYTES = 512 };

/* Bits from the highest on. Behind the end there are zeros. */
typedef struct bits {
    const uint8_t *bytes;
    size_t count, at;
} bits;

static uint32_t read_bits(bits *b, int n)
{
    uint32_t v = 0;
    for (; n > 0; n--, b->at++) v = v << 1 | (b->at / 8 < b->count ? b->bytes[b->at / 8] >> (7 - b->at % 8) & 1u : 0);
    return v;
}

/* ue(v) of H.265 and uvlc() of AV1. */
static uint32_t read_exponential(bits *b)
{
    int zeros = 0;
    while (zeros < 32 && b->at / 8 < b->count && read_bits(b, 1) == 0) zeros++;
    return zeros == 32 ? UINT32_MAX : (1u << zeros) - 1 + read_bits(b, zeros);
}

static uint64_t big_endian(const uint8_t *b, int count)
{
    uint64_t v = 0;
    for (int i = 0; i < count; i++) v = v << 8 | b[i];
    return v;
}

/* A unit of its own two bytes' header, with the 3 behind every two zeros taken out. */
static int64_t pixels_of_sps(const uint8_t *unit, size_t count)
{
    uint8_t unescaped[SPS_BYTES];
    size_t n = 0;
    for (size_t i = 2; i < count && n < sizeof unescaped; i++)
        if (unit[i] != 3 || unit[i - 1] || unit[i - 2]) unescaped[n++] = unit[i];
    bits b = {unescaped, n, 4};
    uint32_t layers = read_bits(&b, 3), present[7] = {0};
    b.at += 1 + 88 + 8;
    for (uint32_t i = 0; i < layers; i++) present[i] = read_bits(&b, 2);
    if (layers) b.at += 2 * (8 - layers);
    for (uint32_t i = 0; i < layers; i++) b.at += (present[i] & 2 ? 88u : 0) + (present[i] & 1 ? 8u : 0);
    read_exponential(&b);
    if (read_exponential(&b) == 3) read_bits(&b, 1);
    int64_t width = read_exponential(&b), height = read_exponential(&b);
    return width > 0 && height > INT64_MAX / 2 / width ? INT64_MAX : width * height;
}

static void skip_operating_points(bits *b, bool has_model, uint32_t delay_bits, bool has_display_delay)
{
    uint32_t points = read_bits(b, 5) + 1;
    for (uint32_t i = 0; i < points; i++) {
        read_bits(b, 12);
        if (read_bits(b, 5) > 7) read_bits(b, 1);
        if (has_model && read_bits(b, 1)) b->at += 2 * delay_bits + 1;
        if (has_display_delay && read_bits(b, 1)) read_bits(b, 4);
    }
}

/* A frame may say another size, of so many bits: those count. */
static int64_t pixels_of_sequence(const uint8_t *data, size_t count)
{
    bits b = {data, count, 4};
    if (read_bits(&b, 1)) {
        read_bits(&b, 5);
    } else {
        bool has_model = false;
        uint32_t delay_bits = 0;
        if (read_bits(&b, 1)) {
            b.at += 64;
            if (read_bits(&b, 1)) read_exponential(&b);
            if ((has_model = read_bits(&b, 1))) {
                delay_bits = read_bits(&b, 5) + 1;
                b.at += 32 + 5 + 5;
            }
        }
        bool has_display_delay = read_bits(&b, 1);
        skip_operating_points(&b, has_model, delay_bits, has_display_delay);
    }
    int width_bits = (int)read_bits(&b, 4) + 1, height_bits = (int)read_bits(&b, 4) + 1;
    int64_t width = (int64_t)read_bits(&b, width_bits) + 1, height = (int64_t)read_bits(&b, height_bits) + 1;
    return width * height;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

static int64_t pixels_of_units(const uint8_t *bytes, size_t count)
{
    int64_t most = 0;
    for (size_t at = 0; count - at > 6;) {
        size_t length = big_endian(bytes + at, 4);
        if (length > count - at - 4) break;
        if (length > 2 && (bytes[at + 4] >> 1 & 63) == SPS) most = larger(most, pixels_of_sps(bytes + at + 4, length));
        at += 4 + length;
    }
    return most;
}

static int64_t pixels_of_obus(const uint8_t *bytes, size_t count)
{
    int64_t most = 0;
    for (size_t at = 0; at + 2 <= count;) {
        uint8_t head = bytes[at];
        bool has_size = head & 2;
        uint64_t length = 0;
        at += head & 4 ? 2 : 1;
        for (int shift = 0; has_size && at < count && shift < 56; shift += 7) {
            length |= (uint64_t)(bytes[at] & 127) << shift;
            if (!(bytes[at++] & 128)) break;
        }
        if (at > count) break;
        if (!has_size || length > count - at) length = count - at;
        if ((head >> 3 & 15) == SEQUENCE_HEADER) most = larger(most, pixels_of_sequence(bytes + at, (size_t)length));
        at += (size_t)length;
    }
    return most;
}

static int64_t pixels_of_hvcc(const uint8_t *data, size_t count)
{
    int64_t most = 0;
    size_t at = 23;
    for (int arrays = count >= at ? data[22] : 0; arrays > 0 && count - at >= 3; arrays--) {
        bool sps = (data[at] & 63) == SPS;
        int units = (int)big_endian(data + at + 1, 2);
        for (at += 3; units > 0 && count - at >= 2; units--) {
            size_t length = big_endian(data + at, 2);
            if (length > count - at - 2) return most;
            if (sps && length > 2) most = larger(most, pixels_of_sps(data + at + 2, length));
            at += 2 + length;
        }
        if (units > 0) break;
    }
    return most;
}

typedef struct heif_bytes {
    const uint8_t *bytes; /* of the file */
    size_t count;
    bool hevc, av1;
    uint64_t budget; /* bytes of items that are still looked at: extents may overlap a million times */
} heif_bytes;

/* The next `size` bytes of a box as a number; false where it ends. */
static bool read_unsigned(const uint8_t *box, size_t count, size_t *at, int size, uint64_t *v)
{
    if (count - *at < (size_t)size) return false;
    *v = big_endian(box + *at, size);
    *at += (size_t)size;
    return true;
}

static int64_t pixels_of_extent(heif_bytes *f, uint64_t offset, uint64_t length)
{
    if (offset > f->count) return 0;
    if (length == 0 || length > f->count - offset) length = f->count - offset;
    if (length > f->budget) return INT64_MAX;
    f->budget -= length;
    int64_t most = f->hevc ? pixels_of_units(f->bytes + offset, (size_t)length) : 0;
    return f->av1 ? larger(most, pixels_of_obus(f->bytes + offset, (size_t)length)) : most;
}

/* iloc: where the items lie in the file. */
static int64_t pixels_of_items(heif_bytes *f, const uint8_t *box, size_t count)
{
    int64_t most = 0;
    if (count < 8) return 0;
    int version = box[0], offset_size = box[4] >> 4, length_size = box[4] & 15, base_size = box[5] >> 4;
    int index_size = version ? box[5] & 15 : 0;
    size_t at = 6;
    uint64_t items, skipped, base, extents, offset, length, method = 0;
    if (!read_unsigned(box, count, &at, version < 2 ? 2 : 4, &items)) return 0;
    if (offset_size > 8 || length_size > 8 || base_size > 8 || index_size > 8) return 0;
    for (; items > 0; items--) {
        if (!read_unsigned(box, count, &at, version < 2 ? 2 : 4, &skipped)) return most;
        if (version && !read_unsigned(box, count, &at, 2, &method)) return most;
        if (!read_unsigned(box, count, &at, 2, &skipped) || !read_unsigned(box, count, &at, base_size, &base) ||
            !read_unsigned(box, count, &at, 2, &extents))
            return most;
        for (; extents > 0; extents--) {
            if (!read_unsigned(box, count, &at, index_size, &skipped) ||
                !read_unsigned(box, count, &at, offset_size, &offset) ||
                !read_unsigned(box, count, &at, length_size, &length))
                return most;
            if ((method & 15) == 0) most = larger(most, pixels_of_extent(f, base + offset, length));
        }
    }
    return most;
}

/* A property of the box "meta", wherever in it: its name, and its size in front. */
static int64_t pixels_of_properties(const uint8_t *meta, size_t count, const char *name, bool *any)
{
    int64_t most = 0;
    size_t step = 4;
    for (const uint8_t *p = meta; (p = memmem(p, count - (size_t)(p - meta), name, 4)); p += step) {
        size_t left = count - (size_t)(p - meta) - 4, size = p - meta >= 4 ? big_endian(p - 4, 4) : 0;
        step = 4;
        if (size < BOX_HEADER || size - BOX_HEADER > left) continue;
        step = size - 4;
        *any = true;
        bool av1 = strcmp(name, "av1C") == 0;
        if (!av1) most = larger(most, pixels_of_hvcc(p + 4, size - BOX_HEADER));
        else if (size > BOX_HEADER + 4) most = larger(most, pixels_of_obus(p + 8, size - BOX_HEADER - 4));
    }
    return most;
}

int64_t heif_coded_pixels(const uint8_t *bytes, size_t count)
{
    heif_bytes f = {.bytes = bytes, .count = count, .budget = 4 * (uint64_t)count};
    int64_t most = 0;
    for (size_t at = 0; count - at >= BOX_HEADER;) {
        size_t size = big_endian(bytes + at, 4);
        if (size == 0) size = count - at;
        if (size < BOX_HEADER || size > count - at) break;
        if (memcmp(bytes + at + 4, "meta", 4) == 0) {
            const uint8_t *meta = bytes + at + BOX_HEADER, *iloc;
            size_t room = size - BOX_HEADER;
            most = larger(most, pixels_of_properties(meta, room, "hvcC", &f.hevc));
            most = larger(most, pixels_of_properties(meta, room, "av1C", &f.av1));
            iloc = memmem(meta, room, "iloc", 4);
            if (iloc) most = larger(most, pixels_of_items(&f, iloc + 4, room - (size_t)(iloc - meta) - 4));
        }
        at += size;
    }
    return most;
}
