/* boxes.h: boxes and polygons of an image moved as its pixels are, clipped, and kept, ignored or dropped by what
 * remains visible.
 *
 * A point (x, y) in pixels of the source image goes to (u / w, v / w), where [u v w] = [x y 1] * m, m a row-major 3x3
 * matrix (augmentation.forward, batch.to_input). An object is its polygon or, where it has none, the four corners of
 * its box. After the move the object is a polygon P, the target is the rectangle R = [0, width] x [0, height], in
 * pixels of the target, and
 *
 *     box     = axis-aligned hull of the part of P in R
 *     visible = area of the part of P in R / area of P              (0 to 1)
 *     dropped where the hull is less than one pixel wide or high (nothing remains, too)
 *     ignored where visible < least_visible, or the label says so
 *     kept    otherwise
 *
 * The hull and the area are exact for any polygon that does not cross itself, concave ones too.
 *
 *     float box[100][4];
 *     int32_t box_class[100];
 *     int64_t count = boxes_move(box, box_class, 100, view, 0.3f);
 */
#ifndef GRAFT_DATA_BOXES_H
#define GRAFT_DATA_BOXES_H

#include "core/data/dataset.h"
#include "core/data/labels.h"

/* What is wrong with a label's box in an image. From BOX_OUTSIDE on nothing can be made of it. */
typedef enum box_fault {
    BOX_FINE,
    BOX_CROSSES_EDGE, /* more than a pixel of it lies outside the image: it is clipped */
    BOX_OUTSIDE,      /* wholly outside the image */
    BOX_EMPTY,        /* at most one pixel wide or high: VOC's xmin = xmax, too */
    BOX_REVERSED,     /* x0 > x1 or y0 > y1 */
    BOX_NOT_FINITE    /* NaN or an infinity among its numbers */
} box_fault;

/* Judges a box and clips it in place to the image; one that is BOX_OUTSIDE or worse is left as it is and is to be
 * dropped. An edge that lies at most one pixel outside is clipped without fault: tools count pixels from 0 or from 1.
 */
box_fault box_clip(label_box *b, int32_t width, int32_t height);
/* "reaches outside the image: clipped", "is empty: dropped"; "" for BOX_FINE. */
const char *box_fault_text(box_fault fault);

typedef struct moved_box {
    float x0, y0, x1, y1; /* pixels of the target, within it */
    int32_t class_index;  /* the class, or BOX_IGNORE; BOX_NONE: dropped, and the box is all zeros */
    float visible;        /* part of its area that is left, 0 to 1 */
} moved_box;

/* Moves a box that box_clip has seen; `polygon`: the sample's points [polygon_count, 2], may be NULL where the box has
 * none. A box with a point that m sends to infinity or behind the image (w <= 0) is dropped. */
moved_box box_move(
    const label_box *b, const float *polygon, const float m[9], int32_t width, int32_t height, float least_visible);

/* All boxes of an image in the network's input: clipped to the source image, moved by v->to_input; those that are
 * dropped are left out. Kept ones come first, then ignored ones (box_class BOX_IGNORE), each in the order of the
 * labels; at most `capacity`. Returns how many were written. */
int64_t boxes_move(float (*box)[4], int32_t *box_class, int64_t capacity, const label_view *v, float least_visible);

#endif
