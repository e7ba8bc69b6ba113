#include <math.h>
#include <string.h>

#include "core/data/image.h"

image_placement image_place(int32_t src_width, int32_t src_height, const preprocess *p)
{
    double w = src_width, h = src_height;
    image_placement place = {{0, 0, (float)w, (float)h}, 0, 0, p->width, p->height};
    if (p->resize == RESIZE_STRETCH) return place;
    if (p->resize == RESIZE_LETTERBOX) {
        double scale = fmin(p->width / w, p->height / h);
        place.width = (int32_t)fmin(fmax(1, rint(w * scale)), p->width);
        place.height = (int32_t)fmin(fmax(1, rint(h * scale)), p->height);
        place.x = (p->width - place.width) / 2;
        place.y = (p->height - place.height) / 2;
        return place;
    }
    /* The side that is relatively shorter is resized to crop / crop_fraction, the other one in proportion. */
    double zoom = p->crop_size > 0 ? p->crop_size / fmin(p->width, p->height) : 1;
    double crop_w = rint(p->width * zoom), crop_h = rint(p->height * zoom), resized_w, resized_h;
    if (crop_w * h >= crop_h * w) {
        resized_w = rint(crop_w / (double)p->crop_fraction);
        resized_h = fmax(floor(resized_w * h / w), crop_h);
    } else {
        resized_h = rint(crop_h / (double)p->crop_fraction);
        resized_w = fmax(floor(resized_h * w / h), crop_w);
    }
    double left = rint((resized_w - crop_w) / 2), top = rint((resized_h - crop_h) / 2);
    place.box[0] = (float)(left * w / resized_w);
    place.box[1] = (float)(top * h / resized_h);
    place.box[2] = (float)fmin((left + crop_w) * w / resized_w, w);
    place.box[3] = (float)fmin((top + crop_h) * h / resized_h, h);
    return place;
}

void image_place_matrix(float to_input[9], int32_t src_width, int32_t src_height, const preprocess *p)
{
    image_placement place = image_place(src_width, src_height, p);
    float x = (float)place.width / (place.box[2] - place.box[0]),
          y = (float)place.height / (place.box[3] - place.box[1]);
    const float m[9] = {x, 0, 0, 0, y, 0, (float)place.x - place.box[0] * x, (float)place.y - place.box[1] * y, 1};
    memcpy(to_input, m, sizeof m);
}

void image_normalise(float *dst, const uint8_t *pixels, const preprocess *p)
{
    float table[3][256];
    int32_t c = p->channels == 1 ? 1 : 3;
    for (int32_t i = 0; i < c; i++)
        for (int v = 0; v < 256; v++) table[i][v] = ((float)v - p->mean[i]) / p->std[i];
    size_t count = (size_t)p->width * (size_t)p->height;
    if (c == 1) {
        for (size_t i = 0; i < count; i++) dst[i] = table[0][pixels[i]];
        return;
    }
    int first = p->bgr ? 2 : 0, last = 2 - first;
    for (size_t i = 0; i < count; i++, dst += 3, pixels += 3) {
        dst[0] = table[0][pixels[first]];
        dst[1] = table[1][pixels[1]];
        dst[2] = table[2][pixels[last]];
    }
}

status image_preprocess(float *dst, const image *src, const preprocess *p)
{
    if (src->channels != p->channels)
        return FAIL(E_INTERNAL, "an image of %d channels for a network of %d", src->channels, p->channels);
    image_placement place = image_place(src->width, src->height, p);
    image scaled = {0}, framed = {0};
    status result = OK;
    TRY_OUT(image_resize(&scaled, src, place.box, place.width, place.height, p->interpolation));
    if (place.width != p->width || place.height != p->height) {
        TRY_OUT(image_alloc(&framed, p->width, p->height, p->channels));
        memset(framed.pixels, IMAGE_BORDER, (size_t)p->width * (size_t)p->height * (size_t)p->channels);
        image_paste(&framed, &scaled, place.x, place.y);
    }
    image_normalise(dst, framed.pixels ? framed.pixels : scaled.pixels, p);
out:
    image_free(&scaled);
    image_free(&framed);
    return result;
}
