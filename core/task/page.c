#include "core/task/page.h"

#include <math.h>
#include <stdlib.h>

#include "core/base/utf8.h"
#include "core/task/draw.h"
#include "core/task/task.h"

enum { THUMB = 96, OBJECTS = 320 }; /* pixels of the longer side */

/* A page is UTF-8; names of files are what they are. */
void page_text(page *p, const char *text)
{
    FILE *f = p->stream;
    uint32_t character = 0;
    for (size_t length; *text; text += length) {
        length = utf8_character(text, &character);
        if (*text == '<') fputs("&lt;", f);
        else if (*text == '>') fputs("&gt;", f);
        else if (*text == '&') fputs("&amp;", f);
        else if (*text == '"') fputs("&quot;", f);
        else if (*text != '\n' && (length == 0 || utf8_is_control(character))) {
            fprintf(f, "\\x%02x", (unsigned char)*text);
            length = 1;
        } else fwrite(text, 1, length, f);
    }
}

static void put_base64(FILE *f, const uint8_t *data, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t v =
            (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
        fputc(digits[v >> 18], f);
        fputc(digits[v >> 12 & 63], f);
        fputc(left > 1 ? digits[v >> 6 & 63] : '=', f);
        fputc(left > 2 ? digits[v & 63] : '=', f);
    }
}

void page_percent(page *p, double part)
{
    if (isnan(part)) fputs("<td>-</td>", p->stream);
    else fprintf(p->stream, "<td>%.2f</td>", 100 * part);
}

/* The longer side becomes `side`. */
static status shrink(image *small, const image *whole, int32_t side)
{
    int32_t longer = whole->width > whole->height ? whole->width : whole->height;
    int32_t w = (int32_t)((int64_t)whole->width * side / longer), h = (int32_t)((int64_t)whole->height * side / longer);
    return image_resize(small, whole, NULL, w > 0 ? w : 1, h > 0 ? h : 1, INTERPOLATION_BILINEAR);
}

static void put_picture(page *p, const image *small)
{
    uint8_t *png = NULL;
    size_t bytes = 0;
    if (image_encode_png(small, &png, &bytes) == OK) {
        fputs("<img alt=\"\" src=\"data:image/png;base64,", p->stream);
        put_base64(p->stream, png, bytes);
        fputs("\"/>", p->stream);
    }
    free(png);
}

void page_thumbnail(page *p, const dataset *data, int64_t index)
{
    image whole = {0}, small = {0};
    const decode_options o = {.channels = (int32_t)p->spec->model.channels, .max_pixels = p->spec->data.max_pixels,
        .exif = p->spec->data.exif, .min_width = THUMB, .min_height = THUMB};
    bool there = index >= 0 && index < data->count && dataset_decode(data, index, &o, &whole) == OK;
    if (there && shrink(&small, &whole, THUMB) == OK) put_picture(p, &small);
    image_free(&small);
    image_free(&whole);
}

void page_objects(page *p, const task_setting *t, int64_t index, const found_object *object, int64_t count)
{
    image whole = {0}, small = {0};
    const dataset *data = t->data;
    const decode_options o = {.channels = (int32_t)p->spec->model.channels, .max_pixels = p->spec->data.max_pixels,
        .exif = p->spec->data.exif};
    bool there = index >= 0 && index < data->count && dataset_decode(data, index, &o, &whole) == OK;
    if (there && shrink(&small, &whole, OBJECTS) == OK) {
        double scale = (double)small.width / (double)whole.width;
        draw_labels(&small, &data->samples[index], scale);
        draw_objects(&small, &(prediction){object, count}, t->class_name, scale);
        put_picture(p, &small);
    }
    image_free(&small);
    image_free(&whole);
}
