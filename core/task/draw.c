#include "core/task/draw.h"

#include <math.h>
#include <stdio.h>

#include "core/task/task.h"

/* Okabe and Ito's colours, which the colour-blind can tell apart, without black. */
static const uint8_t colours[][3] = {
    {230, 159, 0}, {86, 180, 233}, {0, 158, 115}, {240, 228, 66}, {0, 114, 178}, {213, 94, 0}, {204, 121, 167}};
enum { COLOURS = sizeof colours / sizeof *colours, TEXT_HEIGHT = 9 };

/* Grows with the picture, so that it is seen when the picture is shrunk. */
static int32_t line_width(const image *im)
{
    int32_t smaller = im->width < im->height ? im->width : im->height;
    return smaller / 200 + 1;
}

static int32_t pixel(double x, double scale) { return (int32_t)lround(fmin(fmax(x * scale, -1), 1 << 20)); }

static void draw_object(image *im, const found_object *f, const char *name, double scale)
{
    char text[96];
    const uint8_t *colour = colours[f->class_index % COLOURS];
    int32_t x0 = pixel(f->box[0], scale), y0 = pixel(f->box[1], scale), wide = line_width(im);
    image_draw_rect(im, x0, y0, pixel(f->box[2], scale), pixel(f->box[3], scale), colour, wide);
    snprintf(text, sizeof text, "%.80s %.0f", name, 100 * (double)f->score);
    int32_t above = y0 - TEXT_HEIGHT * wide;
    image_draw_text(im, x0, above >= 0 ? above : y0 + wide, text, colour, wide);
}

void draw_objects(image *im, const prediction *p, const char *const *class_name, double scale)
{
    for (int64_t i = p->count - 1; i >= 0; i--)
        draw_object(im, &p->object[i], class_name[p->object[i].class_index], scale);
}

void draw_labels(image *im, const sample *s, double scale)
{
    static const uint8_t white[3] = {255, 255, 255};
    for (int64_t i = 0; i < s->box_count; i++) {
        const label_box *b = &s->box[i];
        if (b->ignore) continue;
        image_draw_rect(im, pixel(b->x0, scale), pixel(b->y0, scale), pixel(b->x1, scale), pixel(b->y1, scale), white,
            line_width(im));
    }
}
