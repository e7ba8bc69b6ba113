/* shape.h: dimensions of a tensor. Dense, last dimension fastest; images are [n, h, w, c]. */
#ifndef GRAFT_TENSOR_SHAPE_H
#define GRAFT_TENSOR_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

enum { SHAPE_MAX_RANK = 6 };

typedef struct shape {
    int32_t rank; /* 0: a scalar */
    int64_t dim[SHAPE_MAX_RANK];
} shape;

static inline shape shape_1(int64_t a) { return (shape){1, {a}}; }
static inline shape shape_2(int64_t a, int64_t b) { return (shape){2, {a, b}}; }
static inline shape shape_4(int64_t n, int64_t h, int64_t w, int64_t c) { return (shape){4, {n, h, w, c}}; }

int64_t shape_count(shape s);                          /* elements; 1 for a scalar                   */
bool shape_count_checked(shape s, int64_t *count);     /* false on negative dimensions or overflow   */
bool shape_equal(shape a, shape b);
void shape_text(shape s, char text[128]);              /* "[16, 224, 224, 3]" */

#endif
