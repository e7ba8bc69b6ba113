/* Pillow's resampling (box-limited separable convolution, horizontal first, 8 bits in between), with 14-bit
 * weights so that one SSE2 multiply-add takes two taps. The rounding of the weights is carried from tap to
 * tap, which keeps every sum exact. */
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "core/data/image_resample.h"

static double filter_support(spec_interpolation filter)
{
    return filter == INTERPOLATION_BICUBIC ? 2.0 : filter == INTERPOLATION_NEAREST ? 0.5 : 1.0;
}

/* Triangle, and Keys' cubic with a = -0.5. */
static double filter_weight(spec_interpolation filter, double x)
{
    x = fabs(x);
    if (filter != INTERPOLATION_BICUBIC) return x < 1 ? 1 - x : 0;
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static void fill_weights(int16_t *weight, int32_t n, const double *w, double sum)
{
    double exact = 0;
    long placed = 0;
    for (int32_t i = 0; i < n; i++) {
        exact += w[i] / sum;
        long upto = lrint(exact * (1 << WEIGHT_BITS));
        weight[i] = (int16_t)(upto - placed);
        placed = upto;
    }
}

status axis_make(axis *a, arena *memory, int32_t count, int32_t length, double scale, double offset,
    spec_interpolation filter)
{
    double stretch = fabs(scale) > 1 && filter != INTERPOLATION_LINEAR ? fabs(scale) : 1;
    double support = filter_support(filter) * stretch;
    if (!isfinite(support) || !isfinite(offset)) return FAIL(E_INTERNAL, "resampling by a factor that is no number");
    if (support > length) support = length;
    if (filter == INTERPOLATION_NEAREST) support = 0.5;
    *a = (axis){.count = count, .taps = (2 * (int32_t)ceil(support) + 2) & ~1, .low = length, .high = 0};
    a->first = ARENA_ARRAY(memory, int32_t, count);
    a->weight = ARENA_ARRAY(memory, int16_t, (int64_t)count * a->taps);
    double *w = ARENA_ARRAY(memory, double, a->taps);
    if (!a->first || !a->weight || !w) return FAIL_MEMORY((size_t)count * (size_t)a->taps * sizeof(int16_t));
    for (int32_t x = 0; x < count; x++) {
        double centre = (x + 0.5) * scale + offset;
        if (!(centre >= 0 && centre <= length)) continue;
        int32_t low = (int32_t)(centre - support + 0.5), high = (int32_t)(centre + support + 0.5);
        if (centre - support + 0.5 < 0) low = 0;
        if (high > length) high = length;
        if (filter == INTERPOLATION_NEAREST) {
            low = centre < length ? (int32_t)centre : length - 1;
            high = low + 1;
        }
        double sum = 0;
        for (int32_t i = low; i < high; i++) {
            w[i - low] = filter == INTERPOLATION_NEAREST ? 1 : filter_weight(filter, (i - centre + 0.5) / stretch);
            sum += w[i - low];
        }
        a->first[x] = low;
        fill_weights(a->weight + (int64_t)x * a->taps, high - low, w, sum);
        if (low < a->low) a->low = low;
        if (high > a->high) a->high = high;
    }
    if (a->low > a->high) a->low = a->high = 0;
    return OK;
}

static uint8_t clip_sum(int32_t sum)
{
    sum = (sum + (1 << (WEIGHT_BITS - 1))) >> WEIGHT_BITS;
    return (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
}

/* One row, any channel count. Weights beyond the last used tap are zero and their pixels are not read. */
static void row_portable(uint8_t *dst, const uint8_t *src, const axis *a, int32_t channels)
{
    for (int32_t x = 0; x < a->count; x++) {
        const int16_t *w = a->weight + (int64_t)x * a->taps;
        const uint8_t *from = src + (int64_t)a->first[x] * channels;
        int32_t taps = a->taps, room = a->high - a->first[x];
        if (taps > room) taps = room;
        for (int32_t c = 0; c < channels; c++) {
            int32_t sum = 0;
            for (int32_t t = 0; t < taps; t++) sum += w[t] * from[(int64_t)t * channels + c];
            dst[(int64_t)x * channels + c] = clip_sum(sum);
        }
    }
}

#ifdef __SSE2__
static __m128i load_pixel(const uint8_t *p)
{
    int32_t bits;
    memcpy(&bits, p, 4);
    return _mm_cvtsi32_si128(bits);
}

static __m128i load_weights(const int16_t *w)
{
    int32_t bits;
    memcpy(&bits, w, 4);
    return _mm_set1_epi32(bits);
}

/* One RGB row. Reads up to taps pixels from first[x] on, and one byte more, and writes one byte behind dst. */
static void row_rgb(uint8_t *dst, const uint8_t *src, const axis *a)
{
    const __m128i zero = _mm_setzero_si128(), half = _mm_set1_epi32(1 << (WEIGHT_BITS - 1));
    for (int32_t x = 0; x < a->count; x++) {
        const int16_t *w = a->weight + (int64_t)x * a->taps;
        const uint8_t *from = src + (int64_t)a->first[x] * 3;
        __m128i sum = half;
        for (int32_t t = 0; t < a->taps; t += 2, from += 6) {
            __m128i two = _mm_unpacklo_epi8(_mm_unpacklo_epi8(load_pixel(from), load_pixel(from + 3)), zero);
            sum = _mm_add_epi32(sum, _mm_madd_epi16(two, load_weights(w + t)));
        }
        sum = _mm_packs_epi32(_mm_srai_epi32(sum, WEIGHT_BITS), zero);
        int32_t bits = _mm_cvtsi128_si32(_mm_packus_epi16(sum, zero));
        memcpy(dst + (int64_t)x * 3, &bits, 4);
    }
}

/* Sixteen columns from rows `stride` apart. */
static __m128i column_block(const uint8_t *src, size_t stride, const int16_t *w, int32_t taps, int32_t room)
{
    const __m128i zero = _mm_setzero_si128();
    __m128i sum[4];
    for (int i = 0; i < 4; i++) sum[i] = _mm_set1_epi32(1 << (WEIGHT_BITS - 1));
    for (int32_t t = 0; t < taps && t < room; t += 2) {
        __m128i a = _mm_loadu_si128((const __m128i *)(src + (size_t)t * stride));
        __m128i b = t + 1 < room ? _mm_loadu_si128((const __m128i *)(src + (size_t)(t + 1) * stride)) : zero;
        __m128i low = _mm_unpacklo_epi8(a, b), high = _mm_unpackhi_epi8(a, b), k = load_weights(w + t);
        sum[0] = _mm_add_epi32(sum[0], _mm_madd_epi16(_mm_unpacklo_epi8(low, zero), k));
        sum[1] = _mm_add_epi32(sum[1], _mm_madd_epi16(_mm_unpackhi_epi8(low, zero), k));
        sum[2] = _mm_add_epi32(sum[2], _mm_madd_epi16(_mm_unpacklo_epi8(high, zero), k));
        sum[3] = _mm_add_epi32(sum[3], _mm_madd_epi16(_mm_unpackhi_epi8(high, zero), k));
    }
    for (int i = 0; i < 4; i++) sum[i] = _mm_srai_epi32(sum[i], WEIGHT_BITS);
    return _mm_packus_epi16(_mm_packs_epi32(sum[0], sum[1]), _mm_packs_epi32(sum[2], sum[3]));
}
#endif

/* One output row from `taps` rows. src rows are readable up to the next multiple of 16 bytes. */
static void column_row(uint8_t *dst, size_t bytes, const uint8_t *src, size_t stride, const int16_t *w, int32_t taps,
    int32_t room)
{
    size_t i = 0;
#ifdef __SSE2__
    for (; i + 16 <= bytes; i += 16)
        _mm_storeu_si128((__m128i *)(dst + i), column_block(src + i, stride, w, taps, room));
    if (i < bytes) {
        uint8_t block[16];
        _mm_storeu_si128((__m128i *)block, column_block(src + i, stride, w, taps, room));
        memcpy(dst + i, block, bytes - i);
    }
#else
    for (; i < bytes; i++) {
        int32_t sum = 0;
        for (int32_t t = 0; t < taps && t < room; t++) sum += w[t] * src[(size_t)t * stride + i];
        dst[i] = clip_sum(sum);
    }
#endif
}

static bool axis_outside(const axis *a, int32_t i)
{
    const int16_t *w = a->weight + (int64_t)i * a->taps;
    for (int32_t t = 0; t < a->taps; t++)
        if (w[t]) return false;
    return true;
}

static void horizontal(uint8_t *dst, size_t stride, const image *src, const axis *ax, const axis *ay, uint8_t *scratch)
{
    size_t c = (size_t)src->channels, row_bytes = (size_t)src->width * c;
    for (int32_t y = ay->low; y < ay->high; y++, dst += stride) {
        const uint8_t *row = src->pixels + (size_t)y * row_bytes;
#ifdef __SSE2__
        if (c == 3) {
            /* Loads run over the end of a row; in the last rows that would be the end of the memory. */
            if ((size_t)(src->height - y - 1) * row_bytes < (size_t)ax->taps * 3 + 16)
                row = memcpy(scratch, row, row_bytes);
            row_rgb(dst, row, ax);
            continue;
        }
#else
        (void)scratch;
#endif
        row_portable(dst, row, ax, (int32_t)c);
    }
}

static void fill_outside(image *dst, const axis *ax, const axis *ay, uint8_t fill)
{
    size_t c = (size_t)dst->channels, row_bytes = (size_t)dst->width * c;
    for (int32_t y = 0; y < dst->height; y++)
        if (axis_outside(ay, y)) memset(dst->pixels + (size_t)y * row_bytes, fill, row_bytes);
    for (int32_t x = 0; x < dst->width; x++) {
        if (!axis_outside(ax, x)) continue;
        for (int32_t y = 0; y < dst->height; y++) memset(dst->pixels + (size_t)y * row_bytes + (size_t)x * c, fill, c);
    }
}

status image_resample(image *dst, const image *src, const axis *ax, const axis *ay, uint8_t fill)
{
    status result = OK;
    size_t c = (size_t)src->channels, out_bytes = (size_t)ax->count * c, stride = (out_bytes + 16 + 15) & ~(size_t)15;
    size_t rows = (size_t)(ay->high - ay->low), scratch_bytes = ((size_t)src->width + (size_t)ax->taps) * c + 16;
    uint8_t *between = malloc(rows * stride + 16), *scratch = calloc(1, scratch_bytes);
    *dst = (image){0};
    if (!between || !scratch) {
        result = FAIL_MEMORY(rows * stride + scratch_bytes);
        goto out;
    }
    TRY_OUT(image_alloc(dst, ax->count, ay->count, src->channels));
    horizontal(between, stride, src, ax, ay, scratch);
    for (int32_t y = 0; y < ay->count; y++) {
        const uint8_t *from = between + (size_t)(ay->first[y] - (rows ? ay->low : 0)) * stride;
        if (rows == 0 || axis_outside(ay, y)) continue;
        column_row(dst->pixels + (size_t)y * out_bytes, out_bytes, from, stride, ay->weight + (int64_t)y * ay->taps,
            ay->taps, ay->high - ay->first[y]);
    }
    fill_outside(dst, ax, ay, fill);
out:
    free(between);
    free(scratch);
    return result;
}

status image_resize(image *dst, const image *src, const float box[4], int32_t width, int32_t height,
    spec_interpolation filter)
{
    const float whole[4] = {0, 0, (float)src->width, (float)src->height};
    const float *b = box ? box : whole;
    *dst = (image){0};
    if (width < 1 || height < 1 || !(b[2] > b[0]) || !(b[3] > b[1]) || b[0] < 0 || b[1] < 0 ||
        b[2] > (float)src->width || b[3] > (float)src->height)
        return FAIL(E_INTERNAL, "resize of box %g %g %g %g in %d x %d to %d x %d", b[0], b[1], b[2], b[3], src->width,
            src->height, width, height);
    arena memory = {0};
    axis ax, ay;
    status result = OK;
    TRY_OUT(axis_make(&ax, &memory, width, src->width, ((double)b[2] - b[0]) / width, b[0], filter));
    TRY_OUT(axis_make(&ay, &memory, height, src->height, ((double)b[3] - b[1]) / height, b[1], filter));
    TRY_OUT(image_resample(dst, src, &ax, &ay, 0));
out:
    if (result != OK) image_free(dst);
    arena_free(&memory);
    return result;
}
