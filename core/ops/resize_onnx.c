#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/ops/infer.h"
#include "core/ops/onnx.h"

/* ---------------------------------------------------------------------------------------------------- reading */

enum { LONGEST_SIDE = 1 << 16 };
static const char *const coordinate_names[] = {"half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners",
    "half_pixel_symmetric", NULL};
static const char *const nearest_names[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", NULL};
static const char *const policy_names[] = {"stretch", "not_larger", "not_smaller", NULL};
enum { HALF_PIXEL, PYTORCH_HALF_PIXEL, ASYMMETRIC, ALIGN_CORNERS, HALF_PIXEL_SYMMETRIC };
enum { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL };
enum { STRETCH, NOT_LARGER, NOT_SMALLER };

/* One axis of the file's rule: where output o reads. */
typedef struct axis_rule {
    int coordinates, nearest;
    int64_t in, out;
    double scale;
} axis_rule;

static double source_position(const axis_rule *r, int64_t o)
{
    switch (r->coordinates) {
    case ASYMMETRIC: return (double)o / r->scale;
    case ALIGN_CORNERS: /* the length that the scale gives, whole or not */
        return r->out > 1 ? (double)o * (double)(r->in - 1) / ((double)r->in * r->scale - 1) : 0;
    case PYTORCH_HALF_PIXEL:
        if (r->out == 1) return 0;
        break;
    case HALF_PIXEL_SYMMETRIC: /* what rounding the length down leaves over is split between both ends */
        return (double)r->in / 2 * (1 - (double)r->out / ((double)r->in * r->scale)) +
            ((double)o + 0.5) / r->scale - 0.5;
    }
    return ((double)o + 0.5) / r->scale - 0.5;
}

static double clamp(double value, double high) { return value < 0 ? 0 : value > high ? high : value; }

static int64_t nearest_index(const axis_rule *r, int64_t o)
{
    double at = source_position(r, o), index;
    switch (r->nearest) {
    case FLOOR: index = floor(at); break;
    case CEIL: index = ceil(at); break;
    case PREFER_CEIL: index = floor(at + 0.5); break;
    default: index = ceil(at - 0.5); break;
    }
    return (int64_t)clamp(index, (double)(r->in - 1));
}

/* Whether our rule (kernels.h) reads the same places. */
static bool same_as_ours(const axis_rule *r, bool bilinear, bool corners)
{
    double last = (double)(r->in - 1), ours;
    for (int64_t o = 0; o < r->out; o++) {
        if (!bilinear && nearest_index(r, o) != o * r->in / r->out) return false;
        if (!bilinear) continue;
        if (corners) ours = r->out > 1 ? (double)o * last / (double)(r->out - 1) : 0;
        else ours = ((double)o + 0.5) * (double)r->in / (double)r->out - 0.5;
        if (fabs(clamp(source_position(r, o), last) - clamp(ours, last)) > 1e-6 * (double)r->in) return false;
    }
    return true;
}

/* Scales or sizes as the file has them. */
typedef struct wanted_sizes {
    const float *scales;  /* one of both */
    const int64_t *sizes;
    int64_t count;
    int32_t axis[SHAPE_MAX_RANK]; /* [count] of which dimension; all of them before opset 18 */
    int policy;                   /* of sizes, since opset 18                                */
} wanted_sizes;

/* The scale that all dimensions share where the aspect ratio is kept. */
static double shared_scale(const onnx_value *v, const wanted_sizes *w)
{
    double shared = 0;
    for (int64_t k = 0; k < w->count; k++) {
        double scale = (double)w->sizes[k] / (double)v->shape.dim[w->axis[k]];
        if (k == 0 || (w->policy == NOT_LARGER ? scale < shared : scale > shared)) shared = scale;
    }
    return shared;
}

/* The new size of every dimension: as it is where nothing is said. */
static status new_sizes(const onnx_call *c, const onnx_value *v, const wanted_sizes *w, axis_rule *rule)
{
    bool stretch = w->policy == STRETCH;
    double shared = stretch ? 0 : shared_scale(v, w);
    for (int32_t i = 0; i < v->shape.rank; i++) rule[i].in = rule[i].out = v->shape.dim[i], rule[i].scale = 1;
    for (int64_t k = 0; k < w->count; k++) {
        axis_rule *r = &rule[w->axis[k]];
        double in = (double)r->in, scale = stretch && w->sizes ? (double)w->sizes[k] / in : shared;
        if (w->scales) scale = (double)w->scales[k];
        double out = w->scales ? floor(in * scale) : stretch ? (double)w->sizes[k] : floor(in * scale + 0.5);
        if (!(scale > 0) || !(out >= 1 && out <= LONGEST_SIDE))
            return onnx_fail(c, "dimension %d becomes %g", w->axis[k], out);
        r->out = (int64_t)out, r->scale = scale;
    }
    return OK;
}

static status read_name(onnx_call *c, const char *attribute, const char *const *names, int absent, int *value)
{
    const char *text;
    TRY(onnx_text(c, attribute, names[absent], &text));
    for (*value = 0; names[*value]; ++*value)
        if (strcmp(names[*value], text) == 0) return OK;
    return onnx_fail(c, "%s = %s", attribute, text);
}

static status read_axes(onnx_call *c, const onnx_value *v, wanted_sizes *w)
{
    const int64_t *axes;
    int64_t count;
    bool seen[SHAPE_MAX_RANK] = {false};
    TRY(onnx_ints(c, "axes", &axes, &count));
    int64_t expected = count ? count : v->shape.rank;
    if (w->count != expected)
        return onnx_fail(c, "%" PRId64 " scales or sizes, expected %" PRId64, w->count, expected);
    for (int64_t k = 0; k < w->count; k++) {
        TRY(onnx_axis(c, count ? axes[k] : k, v->shape.rank, &w->axis[k]));
        if (seen[w->axis[k]]) return onnx_fail(c, "axis %d twice", w->axis[k]);
        seen[w->axis[k]] = true;
    }
    return OK;
}

/* Which input scales and sizes are depends on the opset. */
static status read_sizes(onnx_call *c, const onnx_value *v, wanted_sizes *w)
{
    bool upsample = strcmp(c->type, "Upsample") == 0;
    int32_t at = c->opset >= 11 && !upsample ? 2 : 1;
    const onnx_attribute *a = onnx_find(c, "scales");
    shape s;
    if (at == 2) (void)onnx_has(c, 1); /* roi, of a mode that is refused */
    TRY(read_name(c, "keep_aspect_ratio_policy", policy_names, STRETCH, &w->policy));
    if (a && a->kind == ONNX_FLOATS) {
        w->scales = a->floats, w->count = a->count;
    } else if (onnx_has(c, at) && shape_count(c->in[at]->shape) > 0) {
        TRY(onnx_floats(c, at, &w->scales, &s));
        w->count = shape_count(s);
    } else {
        TRY(onnx_const_ints(c, 3, SHAPE_MAX_RANK, &w->sizes, &w->count));
    }
    if (w->scales) w->policy = STRETCH; /* it is about sizes */
    return read_axes(c, v, w);
}

static status read_rule(onnx_call *c, axis_rule *r, bool *bilinear)
{
    const char *mode;
    bool old = strcmp(c->type, "Upsample") == 0 || c->opset < 11;
    TRY(onnx_text(c, "mode", "nearest", &mode));
    *bilinear = strcmp(mode, "linear") == 0 || strcmp(mode, "bilinear") == 0;
    if (!*bilinear && strcmp(mode, "nearest") != 0) return onnx_fail(c, "mode = %s, expected nearest or linear", mode);
    TRY(read_name(
        c, "coordinate_transformation_mode", coordinate_names, old ? ASYMMETRIC : HALF_PIXEL, &r->coordinates));
    TRY(read_name(c, "nearest_mode", nearest_names, old ? FLOOR : PREFER_FLOOR, &r->nearest));
    (void)onnx_find(c, "cubic_coeff_a"); /* of modes that are refused */
    (void)onnx_find(c, "extrapolation_value");
    (void)onnx_find(c, "exclude_outside");
    return OK;
}

static status read_resize(onnx_call *c)
{
    onnx_value *v;
    axis_rule rule[4] = {{.in = 0}};
    wanted_sizes wanted = {.count = 0};
    int64_t antialias;
    bool bilinear;
    edge_id x, y;
    TRY(onnx_need(c, 0, &v));
    TRY(onnx_image(c, v, &x));
    TRY(read_rule(c, &rule[0], &bilinear));
    TRY(onnx_int(c, "antialias", 0, &antialias));
    TRY(read_sizes(c, v, &wanted));
    TRY(new_sizes(c, v, &wanted, rule));
    bool corners = bilinear && rule[0].coordinates == ALIGN_CORNERS;
    for (int32_t i = 0; i < 4; i++) {
        rule[i].coordinates = rule[0].coordinates, rule[i].nearest = rule[0].nearest;
        if (antialias && bilinear && rule[i].scale < 1)
            return onnx_fail(c, "antialias = 1 where dimension %d shrinks", i);
        if (i < 2 && rule[i].out != rule[i].in)
            return onnx_fail(c, "dimension %d is resized: only height and width can be", i);
        if (i >= 2 && !same_as_ours(&rule[i], bilinear, corners))
            return onnx_fail(c, "%s with %s%s%s from %" PRId64 " to %" PRId64 " reads other pixels than ours",
                bilinear ? "linear" : "nearest", coordinate_names[rule[i].coordinates], bilinear ? "" : ", ",
                bilinear ? "" : nearest_names[rule[i].nearest], rule[i].in, rule[i].out);
    }
    resize_attr a = {.bilinear = bilinear, .align_corners = corners};
    int64_t factor = rule[2].out / rule[2].in;
    if (factor * rule[2].in == rule[2].out && factor * rule[3].in == rule[3].out) a.factor = (int32_t)factor;
    else a.height = (int32_t)rule[2].out, a.width = (int32_t)rule[3].out;
    TRY(onnx_node(c, &op_resize, NULL, &a, &x, 1, &y));
    return onnx_put_image(c, y);
}

/* ---------------------------------------------------------------------------------------------------- writing */


/* A factor whose product with the size, rounded down, is the new size. */
static float factor_of(int64_t from, int64_t to)
{
    float factor = (float)to / (float)from;
    while ((int64_t)floor((double)from * (double)factor) < to) factor = nextafterf(factor, INFINITY);
    return factor;
}

/* Factors, so that the batch stays open. */
static status write(onnx_sink *s, const node *n)
{
    const resize_attr *a = n->attr;
    shape from = s->g->edges[n->in[0]].shape, to = s->g->edges[n->out[0]].shape;
    float scales[4] = {1, 1, factor_of(from.dim[1], to.dim[1]), factor_of(from.dim[2], to.dim[2])};
    const char *x, *factors;
    onnx_out_node *o;
    TRY(onnx_read_name(s, n->in[0], &x));
    TRY(onnx_const_out(s, n->name, "scales", DTYPE_F32, shape_1(4), scales, &factors));
    TRY(onnx_node_out(s, "Resize", (const char *[]){x, "", factors}, 3, s->g->edges[n->out[0]].name, &o));
    onnx_attr_text(o, "mode", a->bilinear ? "linear" : "nearest");
    onnx_attr_text(o, "coordinate_transformation_mode",
        !a->bilinear       ? "asymmetric"
        : a->align_corners ? "align_corners"
                           : "half_pixel");
    if (!a->bilinear) onnx_attr_text(o, "nearest_mode", "floor");
    onnx_made(s, n);
    return OK;
}

const op_onnx resize_onnx = {
    .read = {{"Resize", read_resize}, {"Upsample", read_resize}, {NULL, NULL}}, .write = write};
