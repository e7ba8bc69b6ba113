/* image.c: pictures of different sizes, turned, flipped, enlarged and shrunk, coloured
 * and grey, with what lies outside. */
#include "tests/check/check.h"

#include <math.h>

static void generate(rng *r, kernel_op op, check_desc *desc)
{
    image_warp_desc *d = &desc->image_warp;
    (void)op;
    d->n = 1 + rng_below(r, 5);
    d->height = check_size(r, 33);
    d->width = check_size(r, 65);
    d->channels = check_chance(r, 4) ? 1 : 3;
    d->dst_channels = d->channels + (int32_t)rng_below(r, (uint32_t)(5 - d->channels));
    d->bytes = 4000 + rng_below(r, 20000);
    d->type = check_float_type(r);
    d->bgr = check_chance(r, 3);
    for (int32_t c = 0; c < 3; c++) {
        d->mean[c] = rng_uniform_in(r, 0, 130);
        d->std[c] = rng_uniform_in(r, 0.5f, 130);
    }
}

static void tensors(kernel_op op, const check_desc *desc, check_tensors *t)
{
    const image_warp_desc *d = &desc->image_warp;
    (void)op;
    t->in[0] = (check_tensor){.type = DTYPE_U8, .count = d->bytes};
    t->in[1] = (check_tensor){.type = DTYPE_U8, .count = d->n * (int64_t)sizeof(image_source)};
    t->out[0] = (check_tensor){.type = d->type, .count = d->n * d->height * d->width * d->dst_channels, .terms = 64};
}

/* A map that shows more or less the whole picture, turned by some angle, sometimes seen from the side. */
static void draw_map(image_source *s, const image_warp_desc *d, rng *r)
{
    double angle = check_chance(r, 2) ? 0 : rng_uniform_in(r, -3, 3), flip = check_chance(r, 2) ? -1 : 1,
           zoom = rng_uniform_in(r, 0.3f, 1.5f);
    double fx = zoom * s->width / (double)d->width, fy = zoom * s->height / (double)d->height;
    double m[9] = {flip * fx * cos(angle), fy * sin(angle), 0, -flip * fx * sin(angle), fy * cos(angle), 0, 0, 0, 1};
    m[6] = s->width / 2.0 - m[0] * (double)d->width / 2 - m[3] * (double)d->height / 2;
    m[7] = s->height / 2.0 - m[1] * (double)d->width / 2 - m[4] * (double)d->height / 2;
    if (check_chance(r, 6)) m[2] = 0.3 / (double)d->width;
    for (int32_t i = 0; i < 9; i++) s->inverse[i] = (float)m[i];
    bool smooth = check_chance(r, 2);
    s->radius_x = smooth ? (float)fmax(1, sqrt(m[0] * m[0] + m[3] * m[3])) : 1;
    s->radius_y = smooth ? (float)fmax(1, sqrt(m[1] * m[1] + m[4] * m[4])) : 1;
}

static void prepare(check_case *c, rng *r)
{
    const image_warp_desc *d = &c->desc.image_warp;
    image_source *sources = c->start.in[1];
    for (int64_t i = 0; i < d->n; i++) {
        int64_t room = d->bytes / d->n;
        image_source s = {.offset = i * room};
        s.width = 1 + (int32_t)rng_below(r, 33);
        int64_t most = room / (s.width * d->channels);
        s.height = 1 + (int32_t)rng_below(r, (uint32_t)(most < 70 ? most : 70));
        draw_map(&s, d, r);
        s.fill = (float)rng_below(r, 256);
        s.has_color = check_chance(r, 2);
        for (int32_t k = 0; k < 16; k++) s.color[k] = rng_uniform_in(r, -0.5f, 0.5f) + (k % 5 == 0);
        sources[i] = s;
    }
}

/* Sums of what is added up: an average of 255s, through the colours, less the mean. */
static double magnitude(const check_case *c, int32_t out, int64_t i)
{
    const image_warp_desc *d = &c->desc.image_warp;
    const image_source *s = (const image_source *)c->start.in[1] + i / (d->height * d->width * d->dst_channels);
    int64_t channel = i % d->dst_channels;
    int32_t from = d->bgr && d->channels == 3 ? 2 - (int32_t)channel : (int32_t)channel;
    double gain = 1;
    (void)out;
    if (channel >= d->channels) return 0;
    if (s->has_color) gain = 0;
    for (int32_t row = 0; row < 4 && s->has_color; row++) gain += fabs((double)s->color[4 * row + from]);
    return (255 * gain + fabs((double)d->mean[channel])) / (double)d->std[channel];
}

/* Mutants: blue and red in the network's order are taken for each other; positions half a pixel off. */
static status swapped_run(const kernel_call *call)
{
    image_warp_desc d = *(const image_warp_desc *)call->desc;
    kernel_call other = *call;
    d.bgr = !d.bgr;
    other.desc = &d;
    return check_reference(OP_IMAGE_WARP)->run(&other);
}

static status corner_run(const kernel_call *call)
{
    image_source sources[8];
    const image_warp_desc *d = call->desc;
    kernel_call other = *call;
    for (int64_t i = 0; i < d->n; i++) {
        sources[i] = ((const image_source *)call->in[1])[i];
        sources[i].inverse[6] -= 0.5f * sources[i].inverse[0];
    }
    other.in[1] = sources;
    return check_reference(OP_IMAGE_WARP)->run(&other);
}

const check_family image_family = {
    .name = "image",
    .op = {OP_IMAGE_WARP},
    .op_count = 1,
    .generate = generate,
    .tensors = tensors,
    .prepare = prepare,
    .magnitude = magnitude,
    .mutant = {{.op = OP_IMAGE_WARP, .name = "red for blue", .run = swapped_run},
        {.op = OP_IMAGE_WARP, .name = "half a pixel off", .run = corner_run}},
};
