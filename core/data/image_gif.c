/* The first frame of a GIF by giflib, line by line onto the canvas. What follows is not looked at. As in Pillow, a
 * transparent pixel has its colour of the palette, and what the frame does not cover has the transparent colour, or
 * colour 0. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <gif_lib.h>

#include "core/data/image_codecs.h"

/* A code has 2 bits at least and stands for at most as many pixels as there are codes. */
enum { MOST_PER_BYTE = 4 * 4097, GRAPHICS_EXTENSION = 0xf9 };

typedef struct gif_source {
    const uint8_t *bytes;
    size_t count, at;
} gif_source;

typedef struct gif_frame {
    GifFileType *file;
    int64_t width, height; /* of the canvas */
    int transparent;       /* -1: none */
} gif_frame;

static int read_bytes(GifFileType *file, GifByteType *to, int wanted)
{
    gif_source *s = file->UserData;
    size_t left = s->count - s->at, n = (size_t)wanted < left ? (size_t)wanted : left;
    memcpy(to, s->bytes + s->at, n);
    s->at += n;
    return (int)n;
}

static status fail(int code)
{
    if (code == D_GIF_ERR_NOT_ENOUGH_MEM) return FAIL(E_MEMORY, "GIF: not enough memory");
    const char *text = GifErrorString(code);
    return FAIL(E_DATA, "GIF: the file is truncated or corrupt: %s", text ? text : "no image data");
}

static status read_extension(gif_frame *f)
{
    int code;
    GifByteType *data;
    if (DGifGetExtension(f->file, &code, &data) == GIF_ERROR) return fail(f->file->Error);
    for (bool first = true; data; first = false) {
        if (first && code == GRAPHICS_EXTENSION && data[0] >= 4) f->transparent = data[1] & 1 ? data[4] : -1;
        if (DGifGetExtensionNext(f->file, &data) == GIF_ERROR) return fail(f->file->Error);
    }
    return OK;
}

/* Up to the description of the first frame. */
static status find_frame(gif_frame *f, const gif_source *s, const decode_options *options)
{
    GifRecordType type = UNDEFINED_RECORD_TYPE;
    f->transparent = -1;
    TRY(image_check_size(
        f->file->SWidth > 0 ? f->file->SWidth : 1, f->file->SHeight > 0 ? f->file->SHeight : 1, options));
    while (type != IMAGE_DESC_RECORD_TYPE) {
        if (DGifGetRecordType(f->file, &type) == GIF_ERROR) return fail(f->file->Error);
        if (type == TERMINATE_RECORD_TYPE) return FAIL(E_DATA, "GIF: no picture in it");
        if (type == EXTENSION_RECORD_TYPE) TRY(read_extension(f));
    }
    if (DGifGetImageDesc(f->file) == GIF_ERROR) return fail(f->file->Error);
    const GifImageDesc *d = &f->file->Image;
    if (d->Width < 1 || d->Height < 1) return FAIL(E_DATA, "GIF: a frame of %d x %d pixels", d->Width, d->Height);
    int64_t right = (int64_t)d->Left + d->Width, bottom = (int64_t)d->Top + d->Height;
    f->width = right > f->file->SWidth ? right : f->file->SWidth;
    f->height = bottom > f->file->SHeight ? bottom : f->file->SHeight;
    TRY(image_check_size(f->width, f->height, options));
    return image_check_density(f->width, f->height, s->count, MOST_PER_BYTE);
}

static void colour_of(uint8_t rgb[3], const gif_frame *f, int index)
{
    const ColorMapObject *map = f->file->Image.ColorMap ? f->file->Image.ColorMap : f->file->SColorMap;
    if (!map) memset(rgb, index, 3);
    else if (index >= map->ColorCount) memset(rgb, 0, 3);
    else memcpy(rgb, (uint8_t[]){map->Colors[index].Red, map->Colors[index].Green, map->Colors[index].Blue}, 3);
}

/* Lines of an interlaced frame come in four passes. */
static int line_position(int line, int height, bool interlaced)
{
    static const int first[4] = {0, 4, 2, 1}, step[4] = {8, 8, 4, 2};
    for (int pass = 0; interlaced && pass < 4; pass++) {
        int lines = (height - first[pass] + step[pass] - 1) / step[pass];
        if (line < lines) return first[pass] + line * step[pass];
        line -= lines > 0 ? lines : 0;
    }
    return line;
}

static status read_frame(image *im, const gif_frame *f, GifPixelType *line)
{
    const GifImageDesc *d = &f->file->Image;
    uint8_t colour[256][3];
    for (int i = 0; i < 256; i++) colour_of(colour[i], f, i);
    const uint8_t *around = colour[f->transparent >= 0 ? f->transparent : 0];
    bool covered = d->Width == f->width && d->Height == f->height;
    for (int64_t i = 0; !covered && i < f->width * f->height; i++) memcpy(im->pixels + 3 * i, around, 3);
    for (int y = 0; y < d->Height; y++) {
        if (DGifGetLine(f->file, line, d->Width) == GIF_ERROR) return fail(f->file->Error);
        int64_t row = (int64_t)d->Top + line_position(y, d->Height, d->Interlace);
        uint8_t *to = im->pixels + 3 * (row * f->width + d->Left);
        for (int x = 0; x < d->Width; x++) memcpy(to + 3 * x, colour[line[x]], 3);
    }
    return OK;
}

static status open_gif(gif_frame *f, gif_source *s, const decode_options *options)
{
    int code = 0;
    *f = (gif_frame){.file = DGifOpen(s, read_bytes, &code)};
    return f->file ? find_frame(f, s, options) : fail(code);
}

static status decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    gif_source source = {bytes, count, 0};
    gif_frame f;
    GifPixelType *line = NULL;
    status result = OK;
    TRY_OUT(open_gif(&f, &source, options));
    if (!(line = malloc((size_t)f.file->Image.Width))) TRY_OUT(FAIL_MEMORY((size_t)f.file->Image.Width));
    TRY_OUT(image_alloc(im, (int32_t)f.width, (int32_t)f.height, 3));
    TRY_OUT(read_frame(im, &f, line));
    TRY_OUT(image_convert_channels(im, options->channels));
out:
    free(line);
    if (f.file) DGifCloseFile(f.file, NULL);
    return result;
}

static status probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    gif_source source = {bytes, count, 0};
    gif_frame f;
    status result = open_gif(&f, &source, options);
    if (result == OK) image_oriented_size(width, height, f.width, f.height, 1);
    if (f.file) DGifCloseFile(f.file, NULL);
    return result;
}

static void version(char *text, size_t room)
{
    snprintf(text, room, "giflib %d.%d.%d", GIFLIB_MAJOR, GIFLIB_MINOR, GIFLIB_RELEASE);
}

const image_codec codec_gif = {"gif", "GIF", "libgif-dev", decode, probe, version};
