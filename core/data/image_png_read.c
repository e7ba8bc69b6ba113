/* PNG by libpng's progressive reader, row by row into the image: nothing of the picture is held twice, and inflating
 * ends with the last row, whatever else the file has to say (stb_image inflates all of it first, and libpng's
 * png_read_row inflates to the end of the stream).
 *
 * libpng sees the critical chunks alone: no profile, text or gamma can cost time, memory or change a pixel. Of the
 * others the orientation (eXIf) is read here. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <png.h>

#include "core/data/exif.h"
#include "core/data/image_codecs.h"

/* A row is held up to four times at eight bytes a pixel. */
enum { SIGNATURE_BYTES = 8, CHUNK_EXTRA = 12, MAX_SIDE = 65536, DEFLATE_MOST = 1032 };

typedef struct png_chunk {
    const uint8_t *type, *data;
    size_t length;
} png_chunk;

typedef struct png_header {
    int64_t width, height;
    int depth, colour, orientation;
    bool interlaced;
    uint64_t idat_bytes;
} png_header;

typedef struct png_job {
    jmp_buf jump;
    const png_header *header;
    image *im;
    bool started;
    status result;
} png_job;

static uint32_t big_endian(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static bool is_type(const png_chunk *c, const char *type) { return memcmp(c->type, type, 4) == 0; }

/* Length, type, data, CRC. False where the file ends within it. */
static bool next_chunk(png_chunk *c, const uint8_t *bytes, size_t count, size_t *at)
{
    if (count - *at < CHUNK_EXTRA) return false;
    *c = (png_chunk){bytes + *at + 4, bytes + *at + 8, big_endian(bytes + *at)};
    if (c->length > count - *at - CHUNK_EXTRA) return false;
    *at += CHUNK_EXTRA + c->length;
    return true;
}

/* Bytes that the image data inflate to: each row of each pass has a filter byte. */
static uint64_t raw_bytes(const png_header *h)
{
    static const int first_x[7] = {0, 4, 0, 2, 0, 1, 0}, step_x[7] = {8, 8, 4, 4, 2, 2, 1};
    static const int first_y[7] = {0, 0, 4, 0, 2, 0, 1}, step_y[7] = {8, 8, 8, 4, 4, 2, 2};
    static const int samples[7] = {1, 0, 3, 1, 2, 0, 4};
    uint64_t bits = (uint64_t)(h->depth * samples[h->colour]), sum = 0;
    if (!h->interlaced) return (uint64_t)h->height * (1 + ((uint64_t)h->width * bits + 7) / 8);
    for (int pass = 0; pass < 7; pass++) {
        int64_t w = (h->width - first_x[pass] + step_x[pass] - 1) / step_x[pass],
                n = (h->height - first_y[pass] + step_y[pass] - 1) / step_y[pass];
        if (w > 0 && n > 0) sum += (uint64_t)n * (1 + ((uint64_t)w * bits + 7) / 8);
    }
    return sum;
}

static status read_ihdr(png_header *h, const png_chunk *c, const decode_options *options)
{
    if (!is_type(c, "IHDR") || c->length != 13) return FAIL(E_DATA, "PNG: the header is not valid");
    *h = (png_header){.width = big_endian(c->data),
        .height = big_endian(c->data + 4),
        .depth = c->data[8],
        .colour = c->data[9],
        .interlaced = c->data[12] == 1,
        .orientation = 1};
    TRY(image_check_size(h->width, h->height, options));
    if (h->width > MAX_SIDE || h->height > MAX_SIDE)
        return FAIL(E_DATA, "PNG: %" PRId64 " x %" PRId64 " pixels; up to %d each way are read", h->width,
            h->height, (int)MAX_SIDE);
    bool depth_fits = h->depth == 8 || (h->colour != 3 && h->depth == 16) ||
                      ((h->colour == 0 || h->colour == 3) && (h->depth == 1 || h->depth == 2 || h->depth == 4));
    if (h->colour > 6 || h->colour == 1 || h->colour == 5 || !depth_fits)
        return FAIL(E_DATA, "PNG: the header is not valid (colour type %d with %d bits)", h->colour, h->depth);
    return OK;
}

static status read_header(png_header *h, const uint8_t *bytes, size_t count, const decode_options *options)
{
    png_chunk c;
    size_t at = SIGNATURE_BYTES;
    int stored = 1;
    if (!next_chunk(&c, bytes, count, &at)) return FAIL(E_DATA, "the file is truncated");
    TRY(read_ihdr(h, &c, options));
    do {
        if (!next_chunk(&c, bytes, count, &at)) return FAIL(E_DATA, "the file is truncated");
        if (is_type(&c, "IDAT")) h->idat_bytes += c.length;
        if (is_type(&c, "eXIf")) stored = exif_orientation(c.data, c.length);
    } while (!is_type(&c, "IEND"));
    /* Deflate packs a string of 258 bytes into 2 bits at best. */
    if (raw_bytes(h) / DEFLATE_MOST > h->idat_bytes)
        return FAIL(E_DATA, "PNG: %llu bytes of image data cannot hold %" PRId64 " x %" PRId64 " pixels",
            (unsigned long long)h->idat_bytes, h->width, h->height);
    return image_choose_orientation(&h->orientation, stored, options);
}

static void on_error(png_structp png, png_const_charp text)
{
    png_job *job = png_get_error_ptr(png);
    job->result = FAIL(E_DATA, "PNG: %s", text);
    longjmp(job->jump, 1);
}

/* Warnings are about what does not change pixels, or about rows that are missing, which are counted below. */
static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

/* Palette to RGB, fewer than 8 bits to 8, 16 bits rounded to 8, alpha dropped. */
static void on_header(png_structp png, png_infop info)
{
    png_job *job = png_get_progressive_ptr(png);
    const png_header *h = job->header;
    if (h->colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (h->colour == PNG_COLOR_TYPE_GRAY && h->depth < 8) png_set_expand_gray_1_2_4_to_8(png);
    if (h->depth == 16) png_set_scale_16(png);
    if (h->colour & PNG_COLOR_MASK_ALPHA) png_set_strip_alpha(png);
    png_set_interlace_handling(png);
    png_read_update_info(png, info);
    if ((job->result = image_alloc(
             job->im, (int32_t)h->width, (int32_t)h->height, h->colour & PNG_COLOR_MASK_COLOR ? 3 : 1)) != OK)
        longjmp(job->jump, 1);
    if (png_get_rowbytes(png, info) != (size_t)job->im->width * (size_t)job->im->channels)
        png_error(png, "a row has another length");
    job->started = true;
}

static void on_row(png_structp png, png_bytep row, png_uint_32 number, int pass)
{
    const png_job *job = png_get_progressive_ptr(png);
    (void)pass;
    if (!row || number >= (png_uint_32)job->im->height) return;
    png_progressive_combine_row(
        png, job->im->pixels + number * (size_t)job->im->width * (size_t)job->im->channels, row);
}

static void feed(png_job *job, png_structp png, png_infop info, const uint8_t *bytes, size_t count)
{
    png_chunk c;
    size_t at = SIGNATURE_BYTES;
    png_process_data(png, info, (png_bytep)bytes, SIGNATURE_BYTES);
    while (next_chunk(&c, bytes, count, &at)) {
        bool critical = !(c.type[0] & 0x20);
        if (critical) png_process_data(png, info, (png_bytep)c.type - 4, CHUNK_EXTRA + c.length);
        if (is_type(&c, "IEND")) break;
    }
    bool complete =
        job->started && (job->header->interlaced ? png_get_current_pass_number(png) >= 7
                                                 : png_get_current_row_number(png) >= (png_uint_32)job->header->height);
    if (!complete) job->result = FAIL(E_DATA, "PNG: the image data is truncated or corrupt");
}

static status decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    png_header header;
    TRY(read_header(&header, bytes, count, options));
    png_job job = {.header = &header, .im = im};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &job, on_error, on_warning);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    if (!info) {
        png_destroy_read_struct(&png, NULL, NULL);
        return FAIL_MEMORY(sizeof job);
    }
    if (setjmp(job.jump) == 0) {
        png_set_user_limits(png, MAX_SIDE, MAX_SIDE);
        png_set_progressive_read_fn(png, &job, on_header, on_row, NULL);
        feed(&job, png, info, bytes, count);
    }
    png_destroy_read_struct(&png, &info, NULL);
    TRY(job.result);
    TRY(image_convert_channels(im, options->channels));
    return image_orient(im, header.orientation);
}

static status probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    png_header h;
    TRY(read_header(&h, bytes, count, options));
    image_oriented_size(width, height, h.width, h.height, h.orientation);
    return OK;
}

static void version(char *text, size_t room) { snprintf(text, room, "libpng %s", png_get_libpng_ver(NULL)); }

const image_codec codec_png = {"png", "PNG", "libpng-dev", decode, probe, version};
