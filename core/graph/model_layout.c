#include "core/graph/model_layout.h"

#include <string.h>

shape layout_file_shape(const edge *e)
{
    const int64_t *d = e->shape.dim;
    if (e->layout == LAYOUT_OIHW) return shape_4(d[0], d[3], d[1], d[2]);
    if (e->layout == LAYOUT_LINEAR) return shape_2(d[0], d[3] * d[1] * d[2]);
    return e->shape;
}

/* dst [n, b, a] = src [n, a, b]. */
static void swap_last(void *dst, const void *src, int64_t n, int64_t a, int64_t b, size_t size)
{
    if (a == 1 || b == 1) {
        memcpy(dst, src, (size_t)(n * a * b) * size);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        char *to = (char *)dst + (size_t)(i * a * b) * size;
        const char *from = (const char *)src + (size_t)(i * a * b) * size;
        for (int64_t y = 0; y < b; y++)
            for (int64_t x = 0; x < a; x++) {
                size_t at = (size_t)(y * a + x), of = (size_t)(x * b + y);
                if (size == 4) ((uint32_t *)to)[at] = ((const uint32_t *)from)[of];
                else memcpy(to + at * size, from + of * size, size);
            }
    }
}

void layout_to_file(const edge *e, void *dst, const void *src)
{
    const int64_t *d = e->shape.dim;
    size_t size = dtype_bytes(e->type);
    if (e->layout == LAYOUT_PLAIN) memcpy(dst, src, (size_t)shape_count(e->shape) * size);
    else swap_last(dst, src, d[0], d[1] * d[2], d[3], size);
}

void layout_from_file(const edge *e, void *dst, const void *src)
{
    const int64_t *d = e->shape.dim;
    size_t size = dtype_bytes(e->type);
    if (e->layout == LAYOUT_PLAIN) memcpy(dst, src, (size_t)shape_count(e->shape) * size);
    else swap_last(dst, src, d[0], d[3], d[1] * d[2], size);
}
