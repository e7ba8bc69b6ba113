#include "core/data/box_statistics.h"

#include <math.h>

const double box_size_from[BOX_SIZES] = {0, 8, 16, 32, 64, 96, 192, 384};
const double box_aspect_from[BOX_ASPECTS] = {0, 0.25, 0.5, 0.8, 1.25, 2, 4};

static int place_of(const double *from, int count, double value)
{
    int k = 0;
    while (k + 1 < count && value >= from[k + 1]) k++;
    return k;
}

static void add_sample(box_statistics *s, const sample *im, int64_t *last_image, int64_t index)
{
    int64_t found = 0;
    for (int64_t k = 0; k < im->box_count; k++) {
        const label_box *b = &im->box[k];
        class_statistics *c = b->class_index >= 0 ? &s->of_class[b->class_index] : NULL;
        if (b->ignore || b->crowd || !c) {
            s->ignored++;
            if (c) c->ignored++;
            continue;
        }
        found++;
        c->boxes++;
        c->images += last_image[b->class_index] != index;
        last_image[b->class_index] = index;
        double width = (double)b->x1 - (double)b->x0, height = (double)b->y1 - (double)b->y0;
        if (!(isfinite(width) && isfinite(height) && width > 0 && height > 0)) continue;
        s->size[place_of(box_size_from, BOX_SIZES, sqrt(width * height))]++;
        s->aspect[place_of(box_aspect_from, BOX_ASPECTS, width / height)]++;
    }
    s->boxes += found;
    s->empty_images += found == 0;
    if (found > s->most) s->most = found;
}

status box_statistics_make(box_statistics *s, arena *a, const dataset *ds)
{
    int64_t *last_image;
    *s = (box_statistics){.images = ds->count};
    TRY_ALLOC(s->of_class, ARENA_ARRAY(a, class_statistics, ds->class_count + 1));
    TRY_ALLOC(last_image, ARENA_ARRAY(a, int64_t, ds->class_count + 1));
    for (int64_t k = 0; k < ds->class_count; k++) {
        s->of_class[k] = (class_statistics){0};
        last_image[k] = -1;
    }
    for (int64_t i = 0; i < ds->count; i++) add_sample(s, &ds->samples[i], last_image, i);
    return OK;
}
