#include "core/tensor/shape.h"

#include <inttypes.h>
#include <stdio.h>

int64_t shape_count(shape s)
{
    int64_t count = 1;
    for (int32_t i = 0; i < s.rank; i++) count *= s.dim[i];
    return count;
}

bool shape_count_checked(shape s, int64_t *count)
{
    if (s.rank < 0 || s.rank > SHAPE_MAX_RANK) return false;
    int64_t product = 1;
    bool empty = false;
    for (int32_t i = 0; i < s.rank; i++) {
        if (s.dim[i] < 0) return false;
        if (s.dim[i] == 0) empty = true;
        else if (__builtin_mul_overflow(product, s.dim[i], &product)) return false;
    }
    *count = empty ? 0 : product;
    return true;
}

bool shape_equal(shape a, shape b)
{
    if (a.rank != b.rank) return false;
    for (int32_t i = 0; i < a.rank; i++)
        if (a.dim[i] != b.dim[i]) return false;
    return true;
}

void shape_text(shape s, char text[128])
{
    int used = snprintf(text, 128, "[");
    for (int32_t i = 0; i < s.rank && i < SHAPE_MAX_RANK; i++) /* 6 numbers of at most 20 digits: cut at the end */
        if (used < 127)
            used += snprintf(text + used, (size_t)(128 - used), "%s%" PRId64, i ? ", " : "", s.dim[i]);
    if (used > 126) used = 126;
    snprintf(text + used, (size_t)(128 - used), "]");
}
