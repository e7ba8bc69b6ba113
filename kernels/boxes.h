/* boxes.h: geometry that the box kernels of the CPU share. Internal to kernels/ref and kernels/cpu. */
#ifndef GRAFT_KERNELS_BOXES_H
#define GRAFT_KERNELS_BOXES_H

#include <math.h>
#include <stdbool.h>

/* Area that two boxes (x0 y0 x1 y1) have in common; 0 without any. */
static inline float box_common(const float *a, const float *b)
{
    float x0 = a[0] > b[0] ? a[0] : b[0], y0 = a[1] > b[1] ? a[1] : b[1];
    float x1 = a[2] < b[2] ? a[2] : b[2], y1 = a[3] < b[3] ? a[3] : b[3];
    float width = x1 - x0, height = y1 - y0;
    return width > 0 && height > 0 ? width * height : 0;
}

static inline float box_area(const float *a) { return (a[2] - a[0]) * (a[3] - a[1]); }

/* As descriptors.def defines it. */
static inline float box_iou(const float *a, const float *b)
{
    float common = box_common(a, b), iou = common / (box_area(a) + box_area(b) - common);
    return common > 0 && iou > 0 ? iou : 0;
}

/* Offset i of a box from a prior, as OP_MULTIBOX_LOSS encodes it: x, y, width, height. */
static inline double box_offset(const float *prior, const float *box, const float *variance, int i)
{
    int low = i % 2, high = low + 2;
    double size = (double)prior[high] - (double)prior[low], other = (double)box[high] - (double)box[low];
    if (i >= 2) return log(other / size) / (double)variance[i];
    double apart = ((double)box[low] + (double)box[high]) / 2 - ((double)prior[low] + (double)prior[high]) / 2;
    return apart / (size * (double)variance[i]);
}

static inline float box_clipped(double x, float end) { return x < 0 ? 0 : x > (double)end ? end : (float)x; }

/* The box that four offsets stand for, box_offset undone, clipped to 0 .. width and 0 .. height. */
static inline void box_decode(
    const float *prior, const double offset[4], const float *variance, float width, float height, float box[4])
{
    for (int i = 0; i < 2; i++) {
        double size = (double)prior[2 + i] - (double)prior[i], centre = ((double)prior[i] + (double)prior[2 + i]) / 2;
        centre += offset[i] * (double)variance[i] * size;
        double half = size * exp(offset[2 + i] * (double)variance[2 + i]) / 2;
        box[i] = box_clipped(centre - half, i ? height : width);
        box[2 + i] = box_clipped(centre + half, i ? height : width);
    }
}

/* Smooth L1 of a difference, linear from beta on (0: everywhere); its slope. */
static inline double smooth_l1(double off, double beta, double *slope)
{
    bool near = fabs(off) < beta;
    *slope = near ? off / beta : off > 0 ? 1 : off < 0 ? -1 : off;
    return near ? 0.5 * off * off / beta : fabs(off) - 0.5 * beta;
}

#endif
