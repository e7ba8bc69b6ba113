/* BMP: rows of 1, 4, 8, 16, 24 or 32 bits a pixel, bottom first or top first, with a palette or with bit masks. What is
 * compressed (by run lengths, or a JPEG or PNG within) is refused. Read here because stb_image takes a picture of a
 * file that is a header alone. */
#include <inttypes.h>
#include <string.h>

#include "core/data/image_codecs.h"

enum { FILE_HEADER = 14, MAX_SIDE = 65536 };
enum { RGB = 0, RLE8 = 1, RLE4 = 2, BIT_FIELDS = 3, JPEG_WITHIN = 4, PNG_WITHIN = 5, ALPHA_BIT_FIELDS = 6 };

typedef struct bmp_header {
    int64_t width, height;
    bool top_first;
    uint32_t bits, compression;
    size_t pixels_at, row_bytes, palette_at, palette_entry; /* 3 or 4 bytes a colour */
    uint32_t palette_count, mask[3];
} bmp_header;

static uint32_t u16(const uint8_t *b) { return (uint32_t)b[1] << 8 | b[0]; }
static uint32_t u32(const uint8_t *b) { return u16(b + 2) << 16 | u16(b); }

static status read_masks(bmp_header *h, const uint8_t *bytes, size_t count)
{
    enum { MASKS_AT = FILE_HEADER + 40 };
    static const uint32_t of_16[3] = {0x7c00, 0x3e0, 0x1f}, of_32[3] = {0xff0000, 0xff00, 0xff};
    if (h->compression == RGB) memcpy(h->mask, h->bits == 16 ? of_16 : of_32, sizeof h->mask);
    if (h->compression == RGB) return OK;
    if (count < MASKS_AT + 12) return FAIL(E_DATA, "the file is truncated");
    for (int c = 0; c < 3; c++) {
        uint32_t m = h->mask[c] = u32(bytes + MASKS_AT + 4 * c);
        while (m && !(m & 1)) m >>= 1;
        if (m == 0 || (m & (m + 1)))
            return FAIL(E_DATA, "BMP: bit mask 0x%08x of colour %d is not a row of bits", h->mask[c], c);
    }
    return OK;
}

static status read_palette(bmp_header *h, const uint8_t *bytes, size_t size)
{
    uint32_t most = 1u << h->bits, used = size >= 40 ? u32(bytes + 46) : 0;
    h->palette_at = FILE_HEADER + size;
    h->palette_entry = size == 12 ? 3 : 4;
    if (h->pixels_at < h->palette_at) return FAIL(E_DATA, "BMP: the pixels begin within the header");
    size_t fit = (h->pixels_at - h->palette_at) / h->palette_entry;
    h->palette_count = used && used < most ? used : most;
    if (h->palette_count > fit) h->palette_count = (uint32_t)fit;
    return h->palette_count ? OK : FAIL(E_DATA, "BMP: %u bits a pixel and no palette", h->bits);
}

static status read_sizes(bmp_header *h, const uint8_t *bytes, size_t size, const decode_options *options)
{
    if (size == 12) {
        *h = (bmp_header){.width = u16(bytes + 18), .height = u16(bytes + 20), .bits = u16(bytes + 24)};
    } else {
        *h = (bmp_header){.width = (int32_t)u32(bytes + 18),
            .height = (int32_t)u32(bytes + 22),
            .bits = u16(bytes + 28),
            .compression = u32(bytes + 30)};
        h->top_first = h->height < 0;
        if (h->top_first) h->height = -h->height;
    }
    TRY(image_check_size(h->width, h->height, options));
    if (h->width > MAX_SIDE || h->height > MAX_SIDE)
        return FAIL(E_DATA, "BMP: %" PRId64 " x %" PRId64 " pixels; up to %d each way are read", h->width,
            h->height, (int)MAX_SIDE);
    if (h->compression != RGB && h->compression != BIT_FIELDS && h->compression != ALPHA_BIT_FIELDS)
        return FAIL(E_DATA, "BMP: compressed (method %u), which is not read: convert it to PNG", h->compression);
    bool deep = h->bits == 16 || h->bits == 32,
         known = deep || h->bits == 1 || h->bits == 4 || h->bits == 8 || h->bits == 24;
    if (!known || (h->compression != RGB && !deep))
        return FAIL(E_DATA, "BMP: %u bits a pixel with method %u are not read", h->bits, h->compression);
    return OK;
}

static status read_header(bmp_header *h, const uint8_t *bytes, size_t count, const decode_options *options)
{
    if (count < FILE_HEADER + 12) return FAIL(E_DATA, "the file is truncated");
    size_t size = u32(bytes + FILE_HEADER);
    if (size != 12 && size != 40 && size != 52 && size != 56 && size != 64 && size != 108 && size != 124)
        return FAIL(E_DATA, "BMP: a header of %zu bytes is not known", size);
    if (count < FILE_HEADER + size) return FAIL(E_DATA, "the file is truncated");
    TRY(read_sizes(h, bytes, size, options));
    h->pixels_at = u32(bytes + 10);
    if (h->pixels_at < FILE_HEADER + size) return FAIL(E_DATA, "BMP: the pixels begin within the header");
    if (h->bits <= 8) TRY(read_palette(h, bytes, size));
    if (h->bits == 16 || h->bits == 32) TRY(read_masks(h, bytes, count));
    /* Rows are filled up to four bytes; the last one may lack that. */
    size_t row_bits = (size_t)h->width * h->bits;
    h->row_bytes = (row_bits + 31) / 32 * 4;
    size_t need = h->row_bytes * (size_t)(h->height - 1) + (row_bits + 7) / 8;
    return h->pixels_at <= count && need <= count - h->pixels_at ? OK : FAIL(E_DATA, "the file is truncated");
}

/* The bits of a mask to 0 .. 255, repeated to fill eight. */
static uint8_t masked(uint32_t value, uint32_t mask)
{
    int shift = __builtin_ctz(mask), bits = __builtin_popcount(mask);
    uint32_t v = (value & mask) >> shift;
    if (bits >= 8) return (uint8_t)(v >> (bits - 8));
    uint32_t wide = 0;
    int have = 0;
    for (; have < 8; have += bits) wide = wide << bits | v;
    return (uint8_t)(wide >> (have - 8));
}

static void read_pixel(uint8_t rgb[3], const bmp_header *h, const uint8_t *bytes, const uint8_t *row, int64_t x)
{
    if (h->bits <= 8) {
        size_t bit = (size_t)x * h->bits;
        uint32_t index = row[bit / 8] >> (8 - h->bits - bit % 8) & ((1u << h->bits) - 1);
        const uint8_t *colour = bytes + h->palette_at + index * h->palette_entry;
        for (int c = 0; c < 3; c++) rgb[c] = index < h->palette_count ? colour[2 - c] : 0;
    } else if (h->bits == 24) {
        for (int c = 0; c < 3; c++) rgb[c] = row[3 * x + 2 - c];
    } else {
        uint32_t value = h->bits == 16 ? u16(row + 2 * x) : u32(row + 4 * x);
        for (int c = 0; c < 3; c++) rgb[c] = masked(value, h->mask[c]);
    }
}

static status decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    bmp_header h;
    TRY(read_header(&h, bytes, count, options));
    TRY(image_alloc(im, (int32_t)h.width, (int32_t)h.height, options->channels == 1 ? 1 : 3));
    uint8_t *to = im->pixels;
    for (int64_t y = 0; y < h.height; y++) {
        const uint8_t *row = bytes + h.pixels_at + h.row_bytes * (size_t)(h.top_first ? y : h.height - 1 - y);
        for (int64_t x = 0; x < h.width; x++, to += im->channels) {
            uint8_t rgb[3];
            read_pixel(rgb, &h, bytes, row, x);
            if (im->channels == 1) to[0] = image_luma(rgb[0], rgb[1], rgb[2]);
            else memcpy(to, rgb, 3);
        }
    }
    return OK;
}

static status probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    bmp_header h;
    TRY(read_header(&h, bytes, count, options));
    image_oriented_size(width, height, h.width, h.height, 1);
    return OK;
}

const image_codec codec_bmp = {"bmp", "BMP", "", decode, probe, NULL};
