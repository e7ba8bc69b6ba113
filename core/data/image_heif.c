/* The primary picture of a HEIF file (HEIC, AVIF) by libheif. How it is turned, mirrored and cropped is part of the
 * format (irot, imir, clap), and EXIF inside says nothing (ISO 23008-12): data.exif = ignore leaves it as it was coded,
 * error refuses what is not upright. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libheif/heif.h>

#include "core/data/image_codecs.h"
#include "core/data/image_heif_sizes.h"

/* A block of 64 x 64 pixels that is as predicted takes a fraction of a bit. */
enum { MOST_PER_BYTE = 1 << 17, BOX_HEADER = 8 };
/* Coded pictures may be filled up to whole blocks, or be the tiles of a grid: small ones are not compared. */
enum { SMALL_CODED = 1 << 20 };

typedef struct heif_file {
    struct heif_context *context;
    struct heif_image_handle *handle;
    int64_t width, height; /* as it will be decoded */
} heif_file;

static status fail(struct heif_error e)
{
    status code = e.code == heif_error_Memory_allocation_error && e.subcode != heif_suberror_Security_limit_exceeded
                      ? E_MEMORY
                      : E_DATA;
    return FAIL(code, "HEIF: %s", e.message ? e.message : "the file is not valid");
}

static uint32_t u32(const uint8_t *b)
{
    return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

/* Is there a property that turns or mirrors a picture? They are boxes of nine bytes within the file's box "meta". */
static bool is_turned(const uint8_t *bytes, size_t count)
{
    static const char names[2][5] = {"irot", "imir"};
    for (size_t at = 0; count - at >= BOX_HEADER;) {
        size_t size = u32(bytes + at);
        if (size < BOX_HEADER || size > count - at) return false;
        for (int k = 0; k < 2 && memcmp(bytes + at + 4, "meta", 4) == 0; k++) {
            uint8_t box[BOX_HEADER] = {0, 0, 0, BOX_HEADER + 1};
            memcpy(box + 4, names[k], 4);
            const uint8_t *found = memmem(bytes + at, size - 1, box, sizeof box);
            if (found && (k == 1 || found[BOX_HEADER] & 3)) return true;
        }
        at += size;
    }
    return false;
}

/* libheif is C++: memory that it cannot have ends the program, so it is asked for here first. Planes before and after
 * the conversion. */
static status reserve(const heif_file *f)
{
    size_t bytes = (size_t)f->width * (size_t)f->height * 9 + (16 << 20);
    void *volatile room = malloc(bytes);
    if (!room) return FAIL_MEMORY(bytes);
    free(room);
    return OK;
}

/* The decoders allocate what the coded data say, whatever the container says. */
static status check_coded_size(const heif_file *f, const uint8_t *bytes, size_t count)
{
    int64_t width = heif_image_handle_get_ispe_width(f->handle), height = heif_image_handle_get_ispe_height(f->handle);
    int64_t coded = heif_coded_pixels(bytes, count), most = 2 * width * height;
    if (coded == 0) return FAIL(E_DATA, "HEIF: no picture that is coded by HEVC or AV1");
    if (coded > (most > SMALL_CODED ? most : SMALL_CODED))
        return FAIL(E_DATA, "HEIF: %" PRId64 " x %" PRId64 " pixels in the header, %" PRId64 " pixels are coded", width,
            height, coded);
    return OK;
}

static status open_file(heif_file *f, const uint8_t *bytes, size_t count, const decode_options *options)
{
    *f = (heif_file){.context = heif_context_alloc()};
    if (!f->context) return FAIL_MEMORY(sizeof *f);
    heif_context_set_max_decoding_threads(f->context, 0);
    heif_context_set_maximum_image_size_limit(f->context, (int)ceil(sqrt((double)options->max_pixels)));
    struct heif_error e = heif_context_read_from_memory_without_copy(f->context, bytes, count, NULL);
    if (e.code == heif_error_Ok) e = heif_context_get_primary_image_handle(f->context, &f->handle);
    if (e.code != heif_error_Ok) return fail(e);
    bool as_coded = options->exif == EXIF_IGNORE;
    f->width = as_coded ? heif_image_handle_get_ispe_width(f->handle) : heif_image_handle_get_width(f->handle);
    f->height = as_coded ? heif_image_handle_get_ispe_height(f->handle) : heif_image_handle_get_height(f->handle);
    TRY(image_check_size(f->width, f->height, options));
    TRY(image_check_size(
        heif_image_handle_get_ispe_width(f->handle), heif_image_handle_get_ispe_height(f->handle), options));
    TRY(image_check_density(f->width, f->height, count, MOST_PER_BYTE));
    TRY(check_coded_size(f, bytes, count));
    if (options->exif == EXIF_ERROR && is_turned(bytes, count))
        return FAIL(E_DATA, "HEIF: the picture is stored turned (data.exif = error)");
    return OK;
}

static void close_file(heif_file *f)
{
    if (f->handle) heif_image_handle_release(f->handle);
    if (f->context) heif_context_free(f->context);
}

static status copy_pixels(image *im, const struct heif_image *from, const heif_file *f)
{
    int stride = 0;
    const uint8_t *pixels = heif_image_get_plane_readonly(from, heif_channel_interleaved, &stride);
    int width = heif_image_get_width(from, heif_channel_interleaved),
        height = heif_image_get_height(from, heif_channel_interleaved);
    if (!pixels || width < 1 || height < 1 || heif_image_get_bits_per_pixel(from, heif_channel_interleaved) != 24 ||
        stride < 3 * width)
        return FAIL(E_DATA, "HEIF: the picture is not RGB of 8 bits");
    if (width != f->width || height != f->height)
        return FAIL(E_DATA, "HEIF: %" PRId64 " x %" PRId64 " pixels in the header, %d x %d are coded", f->width,
            f->height, width, height);
    TRY(image_alloc(im, width, height, 3));
    for (int y = 0; y < height; y++)
        memcpy(im->pixels + (size_t)y * (size_t)width * 3, pixels + (size_t)y * (size_t)stride, (size_t)width * 3);
    return OK;
}

static status decode_picture(image *im, const heif_file *f, const decode_options *options)
{
    struct heif_image *picture = NULL;
    struct heif_decoding_options *o = heif_decoding_options_alloc();
    if (!o) return FAIL_MEMORY(sizeof *o);
    o->ignore_transformations = options->exif == EXIF_IGNORE;
    o->convert_hdr_to_8bit = 1;
    o->strict_decoding = 1;
    struct heif_error e = heif_decode_image(f->handle, &picture, heif_colorspace_RGB, heif_chroma_interleaved_RGB, o);
    heif_decoding_options_free(o);
    if (e.code != heif_error_Ok) return fail(e);
    status result = copy_pixels(im, picture, f);
    heif_image_release(picture);
    return result;
}

static status decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    heif_file f;
    status result = OK;
    TRY_OUT(open_file(&f, bytes, count, options));
    TRY_OUT(reserve(&f));
    TRY_OUT(decode_picture(im, &f, options));
out:
    close_file(&f);
    return result == OK ? image_convert_channels(im, options->channels) : result;
}

static status probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    heif_file f;
    status result = open_file(&f, bytes, count, options);
    if (result == OK) image_oriented_size(width, height, f.width, f.height, 1);
    close_file(&f);
    return result;
}

static void version(char *text, size_t room) { snprintf(text, room, "libheif %s", heif_get_version()); }

const image_codec codec_heif = {"heif", "HEIC and AVIF", "libheif-dev", decode, probe, version};
