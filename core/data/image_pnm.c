/* Binary PGM (P5) and PPM (P6). Not by stb_image, which takes 16-bit samples in the wrong byte order, ignores the
 * greatest value, and accepts files that end early. */
#include <inttypes.h>
#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#include "core/data/image_codecs.h"

typedef struct pnm_header {
    int64_t number[3]; /* width, height, greatest value */
    int32_t channels, sample_bytes;
    size_t pixels_at;
} pnm_header;

static status read_header(pnm_header *p, const uint8_t *bytes, size_t count, const decode_options *options)
{
    size_t at = 2;
    *p = (pnm_header){.channels = bytes[1] == '6' ? 3 : 1};
    for (int i = 0; i < 3; i++) {
        while (at < count && (isspace(bytes[at]) || bytes[at] == '#')) {
            bool comment = bytes[at] == '#';
            while (comment && at < count && bytes[at] != '\n' && bytes[at] != '\r') at++;
            if (!comment) at++;
        }
        size_t start = at;
        for (; at < count && isdigit(bytes[at]) && p->number[i] <= INT32_MAX; at++)
            p->number[i] = p->number[i] * 10 + bytes[at] - '0';
        if (at == start || at >= count || !isspace(bytes[at]))
            return FAIL(E_DATA, "PNM: the header is cut short or not valid");
    }
    TRY(image_check_size(p->number[0], p->number[1], options));
    if (p->number[2] < 1 || p->number[2] > 65535)
        return FAIL(E_DATA, "PNM: greatest value %" PRId64 ", expected 1 to 65535", p->number[2]);
    p->sample_bytes = p->number[2] > 255 ? 2 : 1;
    p->pixels_at = at + 1;
    size_t need = (size_t)p->number[0] * (size_t)p->number[1] * (size_t)(p->channels * p->sample_bytes);
    return need <= count - p->pixels_at ? OK : FAIL(E_DATA, "the file is truncated");
}

static uint8_t read_sample(const pnm_header *p, const uint8_t *from)
{
    uint32_t v = p->sample_bytes == 2 ? (uint32_t)from[0] << 8 | from[1] : from[0], top = (uint32_t)p->number[2];
    return (uint8_t)(((v > top ? top : v) * 255 + top / 2) / top);
}

static status decode(image *im, const uint8_t *bytes, size_t count, const decode_options *options)
{
    pnm_header p;
    TRY(read_header(&p, bytes, count, options));
    TRY(image_alloc(
        im, (int32_t)p.number[0], (int32_t)p.number[1], options->channels ? options->channels : p.channels));
    size_t pixels = (size_t)im->width * (size_t)im->height;
    const uint8_t *from = bytes + p.pixels_at;
    uint8_t *to = im->pixels;
    for (size_t i = 0; i < pixels; i++, to += im->channels) {
        uint8_t v[3] = {0};
        for (int c = 0; c < p.channels; c++, from += p.sample_bytes) v[c] = read_sample(&p, from);
        if (p.channels == im->channels) memcpy(to, v, (size_t)im->channels);
        else if (im->channels == 1) to[0] = image_luma(v[0], v[1], v[2]);
        else memset(to, v[0], 3);
    }
    return OK;
}

static status probe(const uint8_t *bytes, size_t count, const decode_options *options, int32_t *width, int32_t *height)
{
    pnm_header p;
    TRY(read_header(&p, bytes, count, options));
    *width = (int32_t)p.number[0];
    *height = (int32_t)p.number[1];
    return OK;
}

const image_codec codec_pnm = {"pnm", "PNM", "", decode, probe, NULL};
