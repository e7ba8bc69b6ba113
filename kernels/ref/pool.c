/* pool.c: window and adaptive pooling. */
#include "kernels/ref/ref.h"

#include <math.h>
#include <string.h>

/* Input rows (or columns) first .. end - 1 under output o, and how many the average divides by. */
typedef struct span {
    int64_t first, end, divisor;
} span;

static span span_of(const pool_desc *d, bool vertical, int64_t o)
{
    int64_t in = vertical ? d->ih : d->iw, out = vertical ? d->oh : d->ow;
    int32_t window = vertical ? d->kh : d->kw, stride = vertical ? d->sh : d->sw;
    int32_t before = vertical ? d->pt : d->pl, after = vertical ? d->pb : d->pr;
    span s;
    if (d->adaptive) {
        s.first = o * in / out;
        s.end = ((o + 1) * in + out - 1) / out;
        s.divisor = s.end - s.first;
        return s;
    }
    s.first = o * stride - before;
    s.end = s.first + window;
    if (s.end > in + after) s.end = in + after;
    s.divisor = s.end - s.first;
    if (s.first < 0) s.first = 0;
    if (s.end > in) s.end = in;
    if (!d->count_include_pad) s.divisor = s.end - s.first;
    return s;
}

static const char *pool_refuse(const void *desc)
{
    const pool_desc *d = desc;
    int64_t src[] = {d->n, d->ih, d->iw, d->c}, dst[] = {d->n, d->oh, d->ow, d->c};
    int64_t window[] = {d->kh, d->kw, d->sh, d->sw};
    if (!ref_dims_ok(src, 4) || !ref_dims_ok(dst, 4)) return "a dimension below 1 or a tensor too large";
    if (d->kind != POOL_MAX && d->kind != POOL_AVERAGE) return "unknown kind of pooling";
    if (d->ih * d->iw > INT32_MAX) return "positions do not fit the i32 index";
    if (d->adaptive) return NULL;
    if (!ref_dims_ok(window, 4)) return "a window or stride below 1";
    if (d->pt < 0 || d->pl < 0 || d->pb < 0 || d->pr < 0) return "a negative pad";
    if (d->pt >= d->kh || d->pl >= d->kw || (d->oh - 1) * d->sh >= d->ih + d->pt ||
        (d->ow - 1) * d->sw >= d->iw + d->pl)
        return "a window lies in the padding";
    return NULL;
}

static const char *forward_refuse(const void *desc)
{
    const pool_desc *d = desc;
    if (!ref_is_float(d->type) && !ref_is_i8(d->type)) return "the type is neither float nor i8, u8";
    return pool_refuse(desc);
}

static const char *backward_refuse(const void *desc)
{
    const pool_desc *d = desc;
    if (!ref_is_float(d->type)) return "the type is no float";
    return pool_refuse(desc);
}

static void max_at(const kernel_call *call, int64_t n, span y, span x, int64_t c, int64_t to)
{
    const pool_desc *d = call->desc;
    int64_t at = y.first * d->iw + x.first;
    double best = dtype_load(call->in[0], d->type, (n * d->ih * d->iw + at) * d->c + c);
    for (int64_t iy = y.first; iy < y.end; iy++)
        for (int64_t ix = x.first; ix < x.end; ix++) {
            double value = dtype_load(call->in[0], d->type, ((n * d->ih + iy) * d->iw + ix) * d->c + c);
            if (!(value > best) && value == value) continue; /* NaN wins */
            best = value;
            at = iy * d->iw + ix;
        }
    dtype_store(call->out[0], d->type, to, best);
    if (call->out[1]) ((int32_t *)call->out[1])[to] = (int32_t)at;
}

static void average_at(const kernel_call *call, int64_t n, span y, span x, int64_t c, int64_t to)
{
    const pool_desc *d = call->desc;
    int64_t divisor = y.divisor * x.divisor;
    double sum = 0;
    for (int64_t iy = y.first; iy < y.end; iy++)
        for (int64_t ix = x.first; ix < x.end; ix++)
            sum += dtype_load(call->in[0], d->type, ((n * d->ih + iy) * d->iw + ix) * d->c + c);
    if (ref_is_float(d->type)) dtype_store(call->out[0], d->type, to, sum / (double)divisor);
    else ref_store_f32(call->out[0], d->type, to, (float)sum / (float)divisor);
}

static status forward_run(const kernel_call *call)
{
    const pool_desc *d = call->desc;
    int64_t to = 0;
    for (int64_t n = 0; n < d->n; n++)
        for (int64_t oy = 0; oy < d->oh; oy++)
            for (int64_t ox = 0; ox < d->ow; ox++) {
                span y = span_of(d, true, oy), x = span_of(d, false, ox);
                for (int64_t c = 0; c < d->c; c++, to++) {
                    if (d->kind == POOL_MAX) max_at(call, n, y, x, c, to);
                    else average_at(call, n, y, x, c, to);
                }
            }
    return OK;
}

static size_t backward_scratch(const void *desc, const void *state)
{
    const pool_desc *d = desc;
    (void)state;
    return (size_t)(d->ih * d->iw * d->c) * sizeof(double);
}

static void average_gradient(const pool_desc *d, double *image, span y, span x, int64_t c, double g)
{
    double share = g / (double)(y.divisor * x.divisor);
    for (int64_t iy = y.first; iy < y.end; iy++)
        for (int64_t ix = x.first; ix < x.end; ix++) image[(iy * d->iw + ix) * d->c + c] += share;
}

static status backward_run(const kernel_call *call)
{
    const pool_desc *d = call->desc;
    int64_t from = 0, size = d->ih * d->iw * d->c;
    double *image = call->scratch;
    for (int64_t n = 0; n < d->n; n++) {
        memset(image, 0, (size_t)size * sizeof(double));
        for (int64_t oy = 0; oy < d->oh; oy++)
            for (int64_t ox = 0; ox < d->ow; ox++) {
                span y = span_of(d, true, oy), x = span_of(d, false, ox);
                for (int64_t c = 0; c < d->c; c++, from++) {
                    double g = dtype_load(call->in[0], d->type, from);
                    if (d->kind == POOL_MAX) image[((const int32_t *)call->in[1])[from] * d->c + c] += g;
                    else average_gradient(d, image, y, x, c, g);
                }
            }
        ref_store(call->out[0], d->type, n * size, image, size);
    }
    return OK;
}

const kernel pool_forward__ref_direct = {
    .op = OP_POOL_FORWARD,
    .backend = BACKEND_REF,
    .name = "pool_forward__ref_direct",
    .refuse = forward_refuse,
    .run = forward_run,
};
const kernel pool_backward__ref_direct = {
    .op = OP_POOL_BACKWARD,
    .backend = BACKEND_REF,
    .name = "pool_backward__ref_direct",
    .refuse = backward_refuse,
    .scratch_bytes = backward_scratch,
    .run = backward_run,
};
