/* The first picture of a TIFF by libtiff: strips row by row, tiles one by one, straight into the image (libtiff's RGBA
 * interface would hold the picture three more times). Grey, RGB, palette and CMYK of 1 to 16 bits, in any compression
 * that libtiff knows; YCbCr as JPEG. Alpha is dropped. A camera's raw file is a TIFF too, whose first picture is a
 * preview: refused. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <tiffio.h>

#include "core/data/image_codecs.h"

/* A row of the fax codes takes a bit: 65536 pixels. */
enum {
    MAX_SIDE = 65536,
    MOST_PER_BYTE = 1 << 19,
    MAX_SAMPLES = 16,
    MAX_TILE_BYTES = 16 << 20,
    MAX_ALLOCATION = 1 << 28
};

typedef struct tiff_file {
    TIFF *tif;
    const uint8_t *bytes;
    size_t count;
    uint64_t at;
    char message[192];                /* libtiff's last */
    int64_t width, height, row_bytes; /* row_bytes: of one plane, without tiles */
    uint16_t bits, samples, photometric, planar, compression, format;
    const uint16_t *palette[3];
    bool cut;          /* a tag lies outside of the file */
    bool wide_palette; /* 16 bits a colour, as the standard says, instead of 8 */
    int orientation;
} tiff_file;

static tmsize_t read_bytes(thandle_t handle, void *to, tmsize_t wanted)
{
    tiff_file *f = handle;
    uint64_t left = f->at < f->count ? f->count - f->at : 0, n = (uint64_t)wanted < left ? (uint64_t)wanted : left;
    memcpy(to, f->bytes + (f->count - left), (size_t)n);
    f->at += n;
    return (tmsize_t)n;
}

static tmsize_t write_bytes(thandle_t handle, void *from, tmsize_t count)
{
    (void)handle, (void)from, (void)count;
    return -1;
}

static toff_t seek(thandle_t handle, toff_t offset, int whence)
{
    tiff_file *f = handle;
    f->at = whence == SEEK_CUR ? f->at + offset : whence == SEEK_END ? f->count + offset : offset;
    return f->at;
}

static int close_nothing(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t size_of(thandle_t handle) { return ((tiff_file *)handle)->count; }

static int map(thandle_t handle, void **base, toff_t *size)
{
    const tiff_file *f = handle;
    *base = (void *)(uintptr_t)f->bytes;
    *size = f->count;
    return 1;
}

static void unmap(thandle_t handle, void *base, toff_t size) { (void)handle, (void)base, (void)size; }

static int on_error(TIFF *tif, void *user, const char *module, const char *format, va_list args)
{
    tiff_file *f = user;
    (void)tif, (void)module;
    vsnprintf(f->message, sizeof f->message, format, args);
    return 1;
}

/* A tag whose value lies behind the end of the file is ignored by libtiff, a palette for example: the pixels would be
 * others. */
static int on_warning(TIFF *tif, void *user, const char *module, const char *format, va_list args)
{
    tiff_file *f = user;
    (void)tif, (void)module, (void)args;
    f->cut = f->cut || strstr(format, "IO error during reading");
    return 1;
}

static status open_file(tiff_file *f, const uint8_t *bytes, size_t count)
{
    *f = (tiff_file){.bytes = bytes, .count = count};
    TIFFOpenOptions *o = TIFFOpenOptionsAlloc();
    if (!o) return FAIL_MEMORY(sizeof *f);
    TIFFOpenOptionsSetMaxSingleMemAlloc(o, MAX_ALLOCATION);
    TIFFOpenOptionsSetErrorHandlerExtR(o, on_error, f);
    TIFFOpenOptionsSetWarningHandlerExtR(o, on_warning, f);
    f->tif = TIFFClientOpenExt("image", "r", f, read_bytes, write_bytes, seek, close_nothing, size_of, map, unmap, o);
    TIFFOpenOptionsFree(o);
    if (!f->tif) return FAIL(E_DATA, "TIFF: the file is truncated or not valid: %s", f->message);
    return f->cut ? FAIL(E_DATA, "the file is truncated") : OK;
}

static status refuse_raw(const tiff_file *f)
{
    uint32_t kind = 0;
    uint16_t n = 0;
    void *dng = NULL;
    TIFFGetFieldDefaulted(f->tif, TIFFTAG_SUBFILETYPE, &kind);
    if (kind & FILETYPE_REDUCEDIMAGE || TIFFGetField(f->tif, TIFFTAG_DNGVERSION, &dng) ||
        TIFFGetField(f->tif, TIFFTAG_CFAREPEATPATTERNDIM, &n, &dng))
        return FAIL(E_DATA, "this is a camera's raw file (or a TIFF that begins with a preview), which is not read: "
                            "convert it to PNG or JPEG");
    return OK;
}

/* Samples that a pixel needs; 0: not read. */
static int needed_samples(const tiff_file *f)
{
    switch (f->photometric) {
    case PHOTOMETRIC_MINISWHITE:
    case PHOTOMETRIC_MINISBLACK:
        return 1;
    case PHOTOMETRIC_PALETTE:
        return f->bits <= 8 ? 1 : 0;
    case PHOTOMETRIC_RGB:
        return 3;
    case PHOTOMETRIC_SEPARATED:
        return f->planar == PLANARCONFIG_CONTIG ? 4 : 0;
    case PHOTOMETRIC_YCBCR:
        return f->planar == PLANARCONFIG_CONTIG && f->compression == COMPRESSION_JPEG ? 3 : 0;
    default:
        return 0;
    }
}

static status read_kind(tiff_file *f)
{
    if (!TIFFGetField(f->tif, TIFFTAG_PHOTOMETRIC, &f->photometric))
        return FAIL(E_DATA, "TIFF: the tag 262 (photometric interpretation) is missing");
    TIFFGetFieldDefaulted(f->tif, TIFFTAG_BITSPERSAMPLE, &f->bits);
    TIFFGetFieldDefaulted(f->tif, TIFFTAG_SAMPLESPERPIXEL, &f->samples);
    TIFFGetFieldDefaulted(f->tif, TIFFTAG_PLANARCONFIG, &f->planar);
    TIFFGetFieldDefaulted(f->tif, TIFFTAG_COMPRESSION, &f->compression);
    TIFFGetFieldDefaulted(f->tif, TIFFTAG_SAMPLEFORMAT, &f->format);
    bool bits_fit = f->bits == 1 || f->bits == 2 || f->bits == 4 || f->bits == 8 || f->bits == 16;
    bool integers = f->format == SAMPLEFORMAT_UINT || f->format == SAMPLEFORMAT_VOID;
    int needed = needed_samples(f);
    if (!bits_fit || !integers || !needed || f->samples < needed || f->samples > MAX_SAMPLES)
        return FAIL(E_DATA,
            "TIFF: %d samples of %d bits%s, photometric interpretation %d, planes %d, compression %d: not read",
            f->samples, f->bits, integers ? "" : " (not unsigned integers)", f->photometric, f->planar, f->compression);
    if (!TIFFIsCODECConfigured(f->compression))
        return FAIL(E_DATA, "TIFF: compression %d is not read by this libtiff", f->compression);
    if (f->photometric == PHOTOMETRIC_YCBCR) TIFFSetField(f->tif, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
    return OK;
}

static status read_palette(tiff_file *f)
{
    uint16_t *colours[3];
    if (f->photometric != PHOTOMETRIC_PALETTE) return OK;
    if (!TIFFGetField(f->tif, TIFFTAG_COLORMAP, &colours[0], &colours[1], &colours[2]))
        return FAIL(E_DATA, "TIFF: the palette is missing");
    for (int c = 0; c < 3; c++) {
        f->palette[c] = colours[c];
        for (int i = 0; i < 1 << f->bits; i++) f->wide_palette = f->wide_palette || colours[c][i] > 255;
    }
    return OK;
}

static status read_header(tiff_file *f, const decode_options *options)
{
    uint32_t w = 0, h = 0;
    uint16_t stored = 1;
    TIFFGetField(f->tif, TIFFTAG_IMAGEWIDTH, &w);
    TIFFGetField(f->tif, TIFFTAG_IMAGELENGTH, &h);
    f->width = w;
    f->height = h;
    TRY(image_check_size(w, h, options));
    if (w > MAX_SIDE || h > MAX_SIDE)
        return FAIL(E_DATA, "TIFF: %u x %u pixels; up to %d each way are read", w, h, (int)MAX_SIDE);
    TRY(refuse_raw(f));
    TRY(read_kind(f));
    TRY(read_palette(f));
    int64_t per_row = f->planar == PLANARCONFIG_CONTIG ? f->samples : 1;
    f->row_bytes = (f->width * f->bits * per_row + 7) / 8;
    if (f->compression == COMPRESSION_NONE && f->row_bytes * f->height > (int64_t)f->count)
        return FAIL(E_DATA, "the file is truncated");
    TRY(image_check_density(w, h, f->count, MOST_PER_BYTE));
    TIFFGetFieldDefaulted(f->tif, TIFFTAG_ORIENTATION, &stored);
    return image_choose_orientation(&f->orientation, stored, options);
}

/* Sample `index` of a row, as it is stored. */
static unsigned stored_sample(const tiff_file *f, const uint8_t *row, size_t index)
{
    if (f->bits == 8) return row[index];
    if (f->bits == 16) return ((const uint16_t *)(const void *)row)[index];
    size_t bit = index * f->bits;
    return row[bit / 8] >> (8 - f->bits - bit % 8) & ((1u << f->bits) - 1);
}

static uint8_t to_8_bits(const tiff_file *f, unsigned value)
{
    return (uint8_t)(f->bits == 16 ? (value + 128) / 257 : f->bits == 8 ? value : value * 255 / ((1u << f->bits) - 1));
}

/* Samples that stand side by side in a row: all of a pixel's, or the one of the row's plane. */
static size_t samples_of_row_pixel(const tiff_file *f) { return f->planar == PLANARCONFIG_CONTIG ? f->samples : 1; }

/* One pixel of interleaved samples. */
static void put_pixel(uint8_t *to, const tiff_file *f, const uint8_t *row, size_t index)
{
    unsigned first = stored_sample(f, row, index);
    uint8_t s[4] = {to_8_bits(f, first)};
    if (f->photometric == PHOTOMETRIC_PALETTE) {
        for (int c = 0; c < 3; c++) to[c] = (uint8_t)(f->palette[c][first] >> (f->wide_palette ? 8 : 0));
        return;
    }
    size_t samples = samples_of_row_pixel(f);
    for (size_t c = 1; c < 4 && c < samples; c++) s[c] = to_8_bits(f, stored_sample(f, row, index + c));
    if (f->photometric == PHOTOMETRIC_SEPARATED)
        for (int c = 0; c < 3; c++) to[c] = image_ink_to_light(s[c], s[3]);
    else if (f->photometric == PHOTOMETRIC_MINISWHITE) to[0] = (uint8_t)(255 - s[0]);
    else if (f->photometric == PHOTOMETRIC_MINISBLACK) to[0] = s[0];
    else memcpy(to, s, 3);
}

/* `count` pixels, or samples of plane `plane`, from column x of line y on. */
static void put_row(image *im, const tiff_file *f, const uint8_t *row, int64_t x, int64_t y, int64_t count, int plane)
{
    size_t channels = (size_t)im->channels;
    uint8_t *to = im->pixels + ((size_t)y * (size_t)im->width + (size_t)x) * channels;
    bool separate = f->planar != PLANARCONFIG_CONTIG && channels == 3 && f->photometric != PHOTOMETRIC_PALETTE;
    size_t step = samples_of_row_pixel(f);
    for (size_t i = 0; i < (size_t)count; i++, to += channels)
        if (separate) to[plane] = to_8_bits(f, stored_sample(f, row, i));
        else put_pixel(to, f, row, i * step);
}

static status read_strips(image *im, tiff_file *f, int plane, uint8_t *buffer)
{
    for (int64_t y = 0; y < f->height; y++) {
        if (TIFFReadScanline(f->tif, buffer, (uint32_t)y, (uint16_t)plane) != 1)
            return FAIL(E_DATA, "TIFF: the data is truncated or corrupt: %s", f->message);
        put_row(im, f, buffer, 0, y, f->width, plane);
    }
    return OK;
}

static status read_tiles(image *im, tiff_file *f, int plane, uint8_t *buffer, int64_t tile_width, int64_t tile_height)
{
    size_t row_bytes = (size_t)TIFFTileRowSize64(f->tif);
    for (int64_t y = 0; y < f->height; y += tile_height)
        for (int64_t x = 0; x < f->width; x += tile_width) {
            if (TIFFReadTile(f->tif, buffer, (uint32_t)x, (uint32_t)y, 0, (uint16_t)plane) < 0)
                return FAIL(E_DATA, "TIFF: the data is truncated or corrupt: %s", f->message);
            int64_t n = f->width - x < tile_width ? f->width - x : tile_width,
                    rows = f->height - y < tile_height ? f->height - y : tile_height;
            for (int64_t k = 0; k < rows; k++) put_row(im, f, buffer + (size_t)k * row_bytes, x, y + k, n, plane);
        }
    return OK;
}

static status read_planes(image *im, tiff_file *f)
{
    bool tiled = TIFFIsTiled(f->tif);
    uint32_t tile_width = 0, tile_height = 0;
    int64_t bytes = (int64_t)(tiled ? TIFFTileSize64(f->tif) : TIFFScanlineSize64(f->tif)),
            per_row = f->planar == PLANARCONFIG_CONTIG ? f->samples : 1;
    int planes = f->planar == PLANARCONFIG_CONTIG ? 1 : needed_samples(f);
    if (tiled) {
        TIFFGetField(f->tif, TIFFTAG_TILEWIDTH, &tile_width);
        TIFFGetField(f->tif, TIFFTAG_TILELENGTH, &tile_height);
        if (!tile_width || !tile_height || tile_width > 2 * MAX_SIDE || tile_height > 2 * MAX_SIDE ||
            (bytes > MAX_TILE_BYTES && bytes > f->row_bytes * f->height) ||
            bytes < ((int64_t)tile_width * f->bits * per_row + 7) / 8 * tile_height)
            return FAIL(E_DATA, "TIFF: tiles of %u x %u pixels in a picture of %" PRId64 " x %" PRId64, tile_width,
                tile_height, f->width, f->height);
    } else if (bytes != f->row_bytes) {
        return FAIL(E_DATA, "TIFF: a row of %" PRId64 " bytes, expected %" PRId64, bytes, f->row_bytes);
    }
    uint8_t *buffer = malloc((size_t)bytes);
    if (!buffer) return FAIL_MEMORY((size_t)bytes);
    status result = OK;
    for (int p = 0; p < planes && result == OK; p++)
        result = tiled ? read_tiles(im, f, p, buffer, tile_width, tile_height) : read_strips(im, f, p, buffer);
    free(buffer);
    return result;
}

static status decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    tiff_file f;
    status result = OK;
    TRY_OUT(open_file(&f, bytes, count));
    TRY_OUT(read_header(&f, options));
    bool grey = f.photometric == PHOTOMETRIC_MINISWHITE || f.photometric == PHOTOMETRIC_MINISBLACK;
    TRY_OUT(image_alloc(im, (int32_t)f.width, (int32_t)f.height, grey ? 1 : 3));
    TRY_OUT(read_planes(im, &f));
    TRY_OUT(image_convert_channels(im, options->channels));
    TRY_OUT(image_orient(im, f.orientation));
out:
    if (f.tif) TIFFClose(f.tif);
    return result;
}

static status probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    tiff_file f;
    status result = open_file(&f, bytes, count);
    if (result == OK) result = read_header(&f, options);
    if (result == OK) image_oriented_size(width, height, f.width, f.height, f.orientation);
    if (f.tif) TIFFClose(f.tif);
    return result;
}

/* "LIBTIFF, Version 4.5.0", and lines about its authors. */
static void version(char *text, size_t room)
{
    const char *number = strpbrk(TIFFGetVersion(), "0123456789");
    snprintf(text, room, "libtiff %.*s", number ? (int)strcspn(number, "\n") : 0, number ? number : "");
}

const image_codec codec_tiff = {"tiff", "TIFF", "libtiff-dev", decode, probe, version};
