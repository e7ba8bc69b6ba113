#include "core/data/augment.h"

#include <math.h>
#include <string.h>

#include "core/data/image.h"

static const double pi = 3.14159265358979323846;

void matrix_multiply(float *out, const float *a, const float *b, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        for (int32_t j = 0; j < n; j++) {
            double sum = 0;
            for (int32_t k = 0; k < n; k++) sum += (double)a[i * n + k] * b[k * n + j];
            out[i * n + j] = (float)sum;
        }
}

void matrix_apply(const float m[9], float x, float y, float *out_x, float *out_y)
{
    double w = (double)x * m[2] + (double)y * m[5] + m[8];
    *out_x = (float)(((double)x * m[0] + (double)y * m[3] + m[6]) / w);
    *out_y = (float)(((double)x * m[1] + (double)y * m[4] + m[7]) / w);
}

/* Matrices are composed in double; only the finished ones are floats. */
typedef struct matrix {
    double v[9];
} matrix;

static matrix then(matrix a, matrix b)
{
    matrix m = {{0}};
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 3; k++) m.v[i * 3 + j] += a.v[i * 3 + k] * b.v[k * 3 + j];
    return m;
}

static matrix scale_by(double x, double y) { return (matrix){{x, 0, 0, 0, y, 0, 0, 0, 1}}; }
static matrix move_by(double x, double y) { return (matrix){{1, 0, 0, 0, 1, 0, x, y, 1}}; }

static bool invert(matrix *out, matrix m)
{
    const double *v = m.v;
    double c0 = v[4] * v[8] - v[5] * v[7], c1 = v[5] * v[6] - v[3] * v[8], c2 = v[3] * v[7] - v[4] * v[6];
    double det = v[0] * c0 + v[1] * c1 + v[2] * c2;
    if (!(fabs(det) > 1e-30)) return false;
    matrix adjoint = {{c0, v[2] * v[7] - v[1] * v[8], v[1] * v[5] - v[2] * v[4], c1, v[0] * v[8] - v[2] * v[6],
        v[2] * v[3] - v[0] * v[5], c2, v[1] * v[6] - v[0] * v[7], v[0] * v[4] - v[1] * v[3]}};
    for (int i = 0; i < 9; i++) out->v[i] = adjoint.v[i] / det;
    return true;
}

bool matrix_invert(float out[9], const float m[9])
{
    matrix a, inverse;
    for (int i = 0; i < 9; i++) a.v[i] = m[i];
    if (!invert(&inverse, a)) return false;
    for (int i = 0; i < 9; i++) out[i] = (float)inverse.v[i];
    return true;
}

static matrix spatial_matrix(const augment_params *p, double width, double height)
{
    double sx = p->width / ((double)p->box[2] - p->box[0]), sy = p->height / ((double)p->box[3] - p->box[1]);
    matrix m = then(then(move_by(-p->box[0], -p->box[1]), scale_by(sx, sy)), move_by(p->x, p->y));
    if (p->hflip) m = then(m, (matrix){{-1, 0, 0, 0, 1, 0, width, 0, 1}});
    if (p->vflip) m = then(m, (matrix){{1, 0, 0, 0, -1, 0, 0, height, 1}});
    if (p->rotate != 0 || p->shear != 0) {
        double c = cos(p->rotate), s = sin(p->rotate);
        /* x' = x cos - y sin, y' = x sin + y cos; then x' = x + tan(shear) y. */
        matrix turn = then((matrix){{c, s, 0, -s, c, 0, 0, 0, 1}}, (matrix){{1, 0, 0, tan(p->shear), 1, 0, 0, 0, 1}});
        m = then(then(then(m, move_by(-width / 2, -height / 2)), turn), move_by(width / 2, height / 2));
    }
    m = then(then(m, move_by(-p->zoom_x, -p->zoom_y)), scale_by(p->zoom, p->zoom));
    return then(m, move_by(p->shift_x, p->shift_y));
}

/* TLT's matrices in row-vector form: luma, and the chroma plane's cosine and sine parts. */
static void color_matrix(float color[16], const augment_params *p)
{
    static const double luma[3] = {0.299, 0.587, 0.114};
    static const double m1[9] = {0.701, -0.299, -0.299, -0.587, 0.413, -0.587, -0.114, -0.114, 0.886};
    static const double m2[9] = {0.168, -0.328, 1.25, 0.330, 0.035, -1.05, -0.497, 0.292, -0.203};
    double a = p->saturation * cos(p->hue), b = p->saturation * sin(p->hue), gain = 1.0 + p->contrast;
    memset(color, 0, 16 * sizeof *color);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++)
            color[i * 4 + j] = (float)((luma[i] + a * m1[i * 3 + j] + b * m2[i * 3 + j]) * gain);
    for (int j = 0; j < 3; j++) color[12 + j] = (float)(p->color_shift[j] - p->contrast * p->contrast_center);
    color[15] = 1;
}

void augment_build(augmentation *a, int32_t width, int32_t height)
{
    const augment_params *p = &a->params;
    matrix forward = spatial_matrix(p, width, height), inverse;
    if (!invert(&inverse, forward)) BUG("the augmentation of a sample has no inverse");
    for (int i = 0; i < 9; i++) {
        a->forward[i] = (float)forward.v[i];
        a->inverse[i] = (float)inverse.v[i];
    }
    a->has_color = p->hue != 0 || p->saturation != 1 || p->contrast != 0 || p->color_shift[0] != 0 ||
                   p->color_shift[1] != 0 || p->color_shift[2] != 0;
    color_matrix(a->color, p);
}

static float draw_cut(rng *r, double greatest)
{
    return rng_truncated_normal(r, (float)(greatest / 2), (float)greatest);
}

static float draw_between(rng *r, double low, double high) { return rng_uniform_in(r, (float)low, (float)high); }

static void draw_color(augment_params *p, const spec_augment *s, rng *r)
{
    p->hue = draw_cut(r, s->hue_max * pi / 180);
    p->saturation = s->saturation_max > 0 ? 1 + draw_between(r, -s->saturation_max, s->saturation_max) : 1;
    p->contrast = draw_cut(r, s->contrast_max);
    p->contrast_center = (float)s->contrast_center;
    float brightness = draw_cut(r, s->brightness_max);
    for (int c = 0; c < 3; c++)
        p->color_shift[c] = brightness + draw_cut(r, 2 * s->color_shift_stddev);
}

/* A crop of random area and aspect (Szegedy and others, "Going deeper with convolutions", section 6), as torchvision
 * draws it: ten tries, then the centre with the nearest allowed aspect. */
static void draw_crop(augment_params *p, const spec_augment *s, double w, double h, rng *r)
{
    double area_low = 0.08, area_high = 1, low = 0.75, high = 4.0 / 3.0;
    if (s->crop_area.count >= 2) area_low = s->crop_area.value[0], area_high = s->crop_area.value[1];
    if (s->crop_aspect.count >= 2) low = s->crop_aspect.value[0], high = s->crop_aspect.value[1];
    double crop_w = 0, crop_h = 0, x = 0, y = 0;
    for (int attempt = 0; attempt < 10; attempt++) {
        double area = w * h * draw_between(r, area_low, area_high), aspect = exp(draw_between(r, log(low), log(high)));
        crop_w = rint(sqrt(area * aspect));
        crop_h = rint(sqrt(area / aspect));
        if (crop_w < 1 || crop_h < 1 || crop_w > w || crop_h > h) {
            crop_w = 0;
            continue;
        }
        x = rng_below(r, (uint32_t)(w - crop_w) + 1);
        y = rng_below(r, (uint32_t)(h - crop_h) + 1);
        break;
    }
    if (crop_w == 0) {
        crop_w = w / h > high ? fmax(1, rint(h * high)) : w;
        crop_h = w / h < low ? fmax(1, rint(w / low)) : h;
        x = floor((w - crop_w) / 2);
        y = floor((h - crop_h) / 2);
    }
    p->box[0] = (float)x, p->box[1] = (float)y;
    p->box[2] = (float)(x + crop_w), p->box[3] = (float)(y + crop_h);
}

static int32_t draw_shift(rng *r, int64_t greatest)
{
    return greatest > 0 ? (int32_t)rng_below(r, (uint32_t)(2 * greatest + 1)) - (int32_t)greatest : 0;
}

void augment_draw(
    augmentation *a, const spec_augment *augment, const preprocess *pre, int32_t src_width, int32_t src_height, rng *r)
{
    *a = (augmentation){0};
    augment_params *p = &a->params;
    image_placement place = image_place(src_width, src_height, pre);
    memcpy(p->box, place.box, sizeof p->box);
    p->x = place.x, p->y = place.y, p->width = place.width, p->height = place.height;
    p->zoom = p->saturation = 1;
    if (place.width != pre->width || place.height != pre->height) a->fill = IMAGE_BORDER;
    if (augment->enable) {
        p->hflip = rng_uniform(r) < augment->hflip;
        p->vflip = rng_uniform(r) < augment->vflip;
        if (augment->rotate_max > 0)
            p->rotate = draw_between(r, -augment->rotate_max, augment->rotate_max) * (float)(pi / 180);
        if (augment->shear_max > 0)
            p->shear = draw_between(r, -augment->shear_max, augment->shear_max) * (float)(pi / 180);
        if (augment->zoom_min != 1 || augment->zoom_max != 1) {
            p->zoom = draw_between(r, augment->zoom_min, augment->zoom_max);
            /* Below 1 the picture is smaller than the input: the range of the corner is then negative. */
            float room_x = (float)pre->width - (float)pre->width / p->zoom,
                  room_y = (float)pre->height - (float)pre->height / p->zoom;
            p->zoom_x = rng_uniform(r) * room_x;
            p->zoom_y = rng_uniform(r) * room_y;
        }
        p->shift_x = (float)(draw_shift(r, augment->translate_max_x) + draw_shift(r, augment->pad_crop));
        p->shift_y = (float)(draw_shift(r, augment->translate_max_y) + draw_shift(r, augment->pad_crop));
        draw_color(p, augment, r);
        if (augment->random_resized_crop) {
            draw_crop(p, augment, src_width, src_height, r);
            p->x = p->y = 0, p->width = pre->width, p->height = pre->height;
            a->fill = 0;
        }
    }
    augment_build(a, pre->width, pre->height);
}

void augment_least_size(const augmentation *a, int32_t src_width, int32_t src_height, int32_t *width, int32_t *height)
{
    const augment_params *p = &a->params;
    double zoom = p->zoom > 1 ? p->zoom : 1;
    double fx = p->width * zoom / ((double)p->box[2] - p->box[0]),
           fy = p->height * zoom / ((double)p->box[3] - p->box[1]);
    *width = (int32_t)fmin(src_width, ceil(src_width * fx));
    *height = (int32_t)fmin(src_height, ceil(src_height * fy));
}
