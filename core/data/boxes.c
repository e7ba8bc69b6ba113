#include "core/data/boxes.h"

#include <math.h>
#include <string.h>

typedef struct point {
    double x, y;
} point;

/* The rectangle [0, width] x [0, height], the hull of what was found in it so far, and signed areas. */
typedef struct cut {
    double width, height;
    point low, high;
    double area, area_inside; /* of the polygon, and of its part in the rectangle */
} cut;

/* ------------------------------------------------------------------------------------------------ labels */

box_fault box_clip(label_box *b, int32_t width, int32_t height)
{
    if (!isfinite(b->x0) || !isfinite(b->y0) || !isfinite(b->x1) || !isfinite(b->y1)) return BOX_NOT_FINITE;
    if (b->x0 > b->x1 || b->y0 > b->y1) return BOX_REVERSED;
    if (b->x1 - b->x0 <= 1 || b->y1 - b->y0 <= 1) return BOX_EMPTY;
    float right = (float)width, bottom = (float)height;
    if (b->x0 >= right || b->y0 >= bottom || b->x1 <= 0 || b->y1 <= 0) return BOX_OUTSIDE;
    bool crosses = b->x0 < -1 || b->y0 < -1 || b->x1 > right + 1 || b->y1 > bottom + 1;
    b->x0 = fmaxf(b->x0, 0);
    b->y0 = fmaxf(b->y0, 0);
    b->x1 = fminf(b->x1, right);
    b->y1 = fminf(b->y1, bottom);
    return crosses ? BOX_CROSSES_EDGE : BOX_FINE;
}

const char *box_fault_text(box_fault fault)
{
    static const char *const text[] = {"", "reaches outside the image: clipped", "is outside the image: dropped",
        "is at most one pixel wide or high: dropped", "is reversed: dropped",
        "has a number that is not finite: dropped"};
    return text[fault];
}

/* ------------------------------------------------------------------------------------------------ moving */

static bool move_point(point *to, double x, double y, const float m[9])
{
    double w = x * m[2] + y * m[5] + m[8];
    *to = (point){(x * m[0] + y * m[3] + m[6]) / w, (x * m[1] + y * m[4] + m[7]) / w};
    return w > 0 && isfinite(to->x) && isfinite(to->y);
}

static void extend_hull(cut *c, double x, double y)
{
    c->low = (point){fmin(c->low.x, x), fmin(c->low.y, y)};
    c->high = (point){fmax(c->high.x, x), fmax(c->high.y, y)};
}

/* Narrows the part [*from, *to] of a segment, `start` + t * `step`, to where it lies between 0 and `limit`. */
static bool narrow(double *from, double *to, double start, double step, double limit)
{
    if (step == 0) return start >= 0 && start <= limit;
    double a = (0 - start) / step, b = (limit - start) / step;
    *from = fmax(*from, fmin(a, b));
    *to = fmin(*to, fmax(a, b));
    return *from <= *to;
}

static double clamped(double x, double limit) { return fmin(fmax(x, 0), limit); }

/* The integral of clamped() from 0 to x. */
static double clamped_integral(double x, double limit)
{
    double inside = clamped(x, limit);
    return inside * inside / 2 + (x > limit ? limit * (x - limit) : 0);
}

/* Green's theorem: the area of a polygon is the sum over its edges of the integral of x dy, and the area of its part in
 * the rectangle is the same sum with x clamped to the rectangle and y taken within it. That is exact for any polygon
 * and needs no clipped copy of it. */
static double area_under(const cut *c, point a, point b)
{
    double from = 0, to = 1, dx = b.x - a.x, dy = b.y - a.y;
    if (dy == 0 || !narrow(&from, &to, a.y, dy, c->height)) return 0;
    double x0 = a.x + from * dx, x1 = a.x + to * dx, rise = (to - from) * dy;
    if (fabs(x1 - x0) < 1e-6 * (1 + c->width)) return rise * clamped((x0 + x1) / 2, c->width);
    return rise * (clamped_integral(x1, c->width) - clamped_integral(x0, c->width)) / (x1 - x0);
}

static void add_edge(cut *c, point a, point b)
{
    double from = 0, to = 1, dx = b.x - a.x, dy = b.y - a.y;
    c->area += (a.x + b.x) / 2 * dy;
    c->area_inside += area_under(c, a, b);
    if (!narrow(&from, &to, a.x, dx, c->width) || !narrow(&from, &to, a.y, dy, c->height)) return;
    extend_hull(c, clamped(a.x + from * dx, c->width), clamped(a.y + from * dy, c->height));
    extend_hull(c, clamped(a.x + to * dx, c->width), clamped(a.y + to * dy, c->height));
}

/* Does the ray from a corner of the rectangle towards greater x cross the edge? An odd number of crossings: the corner
 * is inside. */
static bool crosses(point corner, point a, point b)
{
    if ((a.y > corner.y) == (b.y > corner.y)) return false;
    return a.x + (corner.y - a.y) / (b.y - a.y) * (b.x - a.x) > corner.x;
}

/* Point i of the object in the source image. */
static point source_point(const label_box *b, const float *polygon, int32_t i)
{
    if (b->polygon_count > 0) {
        const float *p = polygon + 2 * ((int64_t)b->polygon_first + i);
        return (point){p[0], p[1]};
    }
    return (point){i == 1 || i == 2 ? b->x1 : b->x0, i >= 2 ? b->y1 : b->y0};
}

static bool cut_object(cut *c, const label_box *b, const float *polygon, const float m[9])
{
    const point corner[4] = {{0, 0}, {c->width, 0}, {0, c->height}, {c->width, c->height}};
    bool inside[4] = {false};
    int32_t count = b->polygon_count > 0 ? b->polygon_count : 4;
    point first, last, next;
    for (int32_t i = 0; i < count; i++) {
        point p = source_point(b, polygon, i);
        if (!move_point(&next, p.x, p.y, m)) return false;
        if (i == 0) first = next;
        else add_edge(c, last, next);
        for (int k = 0; k < 4 && i > 0; k++) inside[k] ^= crosses(corner[k], last, next);
        last = next;
    }
    add_edge(c, last, first);
    for (int k = 0; k < 4; k++)
        if (inside[k] ^ crosses(corner[k], last, first)) extend_hull(c, corner[k].x, corner[k].y);
    return true;
}

moved_box box_move(
    const label_box *b, const float *polygon, const float m[9], int32_t width, int32_t height, float least_visible)
{
    const moved_box dropped = {.class_index = BOX_NONE};
    cut c = {.width = width, .height = height, .low = {INFINITY, INFINITY}, .high = {-INFINITY, -INFINITY}};
    if (!cut_object(&c, b, polygon, m)) return dropped;
    moved_box to = {(float)c.low.x, (float)c.low.y, (float)c.high.x, (float)c.high.y, b->class_index, 0};
    if (!(to.x1 - to.x0 >= 1 && to.y1 - to.y0 >= 1 && c.area != 0)) return dropped;
    to.visible = (float)fmin(fmax(c.area_inside / c.area, 0), 1);
    if (b->ignore || b->class_index < 0 || to.visible < least_visible) to.class_index = BOX_IGNORE;
    return to;
}

int64_t boxes_move(float (*box)[4], int32_t *box_class, int64_t capacity, const label_view *v, float least_visible)
{
    const sample *s = v->sample;
    int64_t count = 0;
    for (int ignored = 0; ignored < 2; ignored++)
        for (int64_t i = 0; i < s->box_count && count < capacity; i++) {
            label_box b = s->box[i];
            if (box_clip(&b, v->width, v->height) >= BOX_OUTSIDE) continue;
            moved_box to = box_move(&b, s->polygon, v->to_input, v->input->width, v->input->height, least_visible);
            if (to.class_index == BOX_NONE || (to.class_index == BOX_IGNORE) != (ignored == 1)) continue;
            memcpy(box[count], (const float[4]){to.x0, to.y0, to.x1, to.y1}, sizeof box[count]);
            box_class[count++] = to.class_index;
        }
    return count;
}
