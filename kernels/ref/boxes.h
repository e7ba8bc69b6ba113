/* boxes.h: geometry that the box kernels share. Internal to kernels/ref. */
#ifndef GRAFT_KERNELS_REF_BOXES_H
#define GRAFT_KERNELS_REF_BOXES_H

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

#endif
