/* check.c: one case: inputs, expected values, comparing. */
#include "tests/check/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------ drawing */

int64_t check_size(rng *r, int64_t max)
{
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17, 23, 31, 32, 33, 47, 63, 64, 65, 96, 127,
        128, 129, 255, 256, 257, 511, 1000, 1023, 1024, 1025, 4097, 16384, 33000, 70001};
    int32_t count = 0;
    while (count < (int32_t)(sizeof sizes / sizeof sizes[0]) && sizes[count] <= max) count++;
    return sizes[rng_below(r, (uint32_t)count)];
}

dtype check_float_type(rng *r)
{
    static const dtype types[] = {DTYPE_F32, DTYPE_F32, DTYPE_F16, DTYPE_BF16};
    return types[rng_below(r, 4)];
}

activation check_activation(rng *r, bool recoverable)
{
    static const activation all[] = {ACT_NONE, ACT_RELU, ACT_RELU6, ACT_LEAKY, ACT_CLIP, ACT_SIGMOID, ACT_SWISH};
    return all[rng_below(r, recoverable ? 5 : 7)];
}

bool check_chance(rng *r, uint32_t one_in)
{
    return rng_below(r, one_in) == 0;
}

dtype check_param(dtype type)
{
    return type == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

static bool is_float(dtype type)
{
    return type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16 || type == DTYPE_F64;
}

static double integer_value(rng *r, dtype type, check_pattern pattern)
{
    double low = type == DTYPE_I8   ? -128
                 : type == DTYPE_U8 ? 0
                                    : -100000,
           high = type == DTYPE_I8   ? 127
                  : type == DTYPE_U8 ? 255
                                     : 100000;
    if (pattern == PATTERN_LARGE) return check_chance(r, 3) ? low : high;
    return low + (double)rng_below(r, (uint32_t)(high - low + 1));
}

static double float_value(rng *r, dtype type, check_pattern pattern)
{
    double x = 2 * rng_uniform_double(r) - 1;
    switch (pattern) {
    case PATTERN_LARGE: return x * (type == DTYPE_F16 ? 0x1p7 : 0x1p55);
    case PATTERN_DENORMAL: return x * (type == DTYPE_F16 ? 0x1p-14 : 0x1p-126);
    case PATTERN_INFINITE: return check_chance(r, 8) ? (x > 0 ? INFINITY : -INFINITY) : x;
    default: return check_chance(r, 16) ? 0 : check_chance(r, 4) ? 8 * x : x; /* some exact zeros, some beyond 6 */
    }
}

static void fill_tensor(rng *r, const check_tensor *t, void *data, check_pattern pattern)
{
    double equal = is_float(t->type) ? 0.75 : 17;
    for (int64_t i = 0; i < t->count; i++) {
        double x;
        if (t->low < t->high) x = t->low + (t->high - t->low) * rng_uniform_double(r);
        else if (pattern == PATTERN_ZEROS) x = 0;
        else if (pattern == PATTERN_EQUAL) x = equal;
        else x = is_float(t->type) ? float_value(r, t->type, pattern) : integer_value(r, t->type, pattern);
        dtype_store(data, t->type, i, x);
    }
}

/* ------------------------------------------------------------------------------------------------ expected values */

const kernel *check_reference(kernel_op op)
{
    const kernel *last = NULL;
    for (const kernel *const *v = kernel_variants(op); *v; v++) last = *v;
    return last;
}

size_t check_tensor_bytes(const check_tensor *t)
{
    return (size_t)t->count * dtype_bytes(t->type);
}

/* One tensor as another type, its absolute values if asked. */
static void *converted(arena *a, const check_tensor *to, const check_tensor *from, const void *data, bool absolute)
{
    if (!to->count) return NULL;
    char *copy = arena_alloc(a, check_tensor_bytes(to));
    if (!copy) BUG("out of memory");
    if (!data) return copy;
    if (to->type == from->type) memcpy(copy, data, check_tensor_bytes(to));
    for (int64_t i = 0; i < to->count && (to->type != from->type || (absolute && is_float(to->type))); i++) {
        double x = dtype_load(data, from->type, i);
        dtype_store(copy, to->type, i, absolute ? fabs(x) : x);
    }
    return copy;
}

/* The descriptor with f64 tensors; with `absolute` without activations and with absolute scales. */
static check_desc derived_desc(kernel_op op, const check_desc *desc, bool widen, bool absolute)
{
    check_desc d = *desc;
    for (const desc_field *f = kernel_desc_fields(op); f->name; f++) {
        for (int32_t i = 0; i < f->count; i++) {
            char *at = (char *)&d + f->offset + (size_t)i * desc_field_bytes(f->kind);
            dtype type = DTYPE_F64;
            activation none = ACT_NONE;
            if (f->kind == FIELD_DTYPE && widen) memcpy(at, &type, sizeof type);
            if (f->kind == FIELD_ACTIVATION && absolute) memcpy(at, &none, sizeof none);
            if (f->kind == FIELD_F32 && absolute) *(float *)at = fabsf(*(float *)at);
        }
    }
    return d;
}

static bool reference_run(check_case *c, const check_desc *desc, bool absolute, check_tensors *t, check_data *result)
{
    const kernel *k = check_reference(c->op);
    const char *why = k->refuse ? k->refuse(desc) : NULL;
    if (why) {
        FAIL(E_INTERNAL, "%s refuses: %s", k->name, why);
        return false;
    }
    *t = (check_tensors){0};
    c->family->tensors(c->op, desc, t);
    kernel_call call = {.desc = desc};
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++)
        call.in[i] = converted(&c->memory, &t->in[i], &c->tensors.in[i], c->start.in[i], absolute);
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++)
        call.out[i] = result->out[i] = converted(&c->memory, &t->out[i], &c->tensors.out[i], c->start.out[i], absolute);
    size_t scratch = k->scratch_bytes ? k->scratch_bytes(desc, NULL) : 0;
    call.scratch = scratch ? malloc(scratch) : NULL;
    status s = k->run(&call);
    free(call.scratch);
    return s == OK;
}

static bool is_typed(const check_case *c)
{
    return c->family->typed && c->family->typed(c->op, &c->desc);
}

static bool expect(check_case *c)
{
    bool typed = is_typed(c);
    check_desc desc = derived_desc(c->op, &c->desc, !typed, false), plain = derived_desc(c->op, &c->desc, !typed, true);
    if (!reference_run(c, &desc, false, &c->expected_tensors, &c->expected)) return false;
    check_tensors t;
    check_data absolute = {{0}};
    bool need = false;
    for (int32_t o = 0; o < KERNEL_MAX_OUT; o++)
        need = need || (c->tensors.out[o].count && is_float(c->tensors.out[o].type) && !c->tensors.out[o].exact);
    if (!need) return true;
    if (!reference_run(c, &plain, true, &t, &absolute)) return false;
    for (int32_t o = 0; o < KERNEL_MAX_OUT; o++) {
        const check_tensor *out = &c->tensors.out[o];
        if (!out->count || !is_float(out->type)) continue;
        double *m = c->magnitude.out[o] = ARENA_ARRAY(&c->memory, double, out->count);
        for (int64_t i = 0; i < out->count; i++) {
            m[i] = c->family->magnitude ? c->family->magnitude(c, o, i) : -1;
            if (m[i] >= 0) continue;
            m[i] = fabs(dtype_load(absolute.out[o], t.out[o].type, i));
            /* No less than the result: a sigmoid is one half where its terms are next to nothing. */
            double e = fabs(dtype_load(c->expected.out[o], c->expected_tensors.out[o].type, i));
            if (isfinite(e) && e > m[i]) m[i] = e;
        }
    }
    return true;
}

bool check_case_inputs(check_case *c, const check_family *family, kernel_op op, const check_desc *desc, uint64_t seed)
{
    rng r = rng_make(seed, RNG_TEST, 1000 + (uint64_t)op);
    c->family = family;
    c->op = op;
    c->desc = *desc;
    uint32_t draw = rng_below(&r, 12); /* half random, the rest one of each kind or so */
    c->pattern = draw < PATTERN_COUNT ? (check_pattern)draw : PATTERN_RANDOM;
    if (c->pattern == PATTERN_INFINITE && !family->allows) c->pattern = PATTERN_RANDOM;
    if (family->allows && !family->allows(op, desc, c->pattern)) c->pattern = PATTERN_RANDOM;
    family->tensors(op, desc, &c->tensors);
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++) {
        if (!c->tensors.in[i].count) continue;
        c->start.in[i] = arena_alloc(&c->memory, check_tensor_bytes(&c->tensors.in[i]));
        fill_tensor(&r, &c->tensors.in[i], c->start.in[i], c->pattern);
    }
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) {
        if (!c->tensors.out[i].count || !c->tensors.out[i].kept) continue;
        c->start.out[i] = arena_alloc(&c->memory, check_tensor_bytes(&c->tensors.out[i]));
        fill_tensor(&r, &c->tensors.out[i], c->start.out[i], PATTERN_RANDOM);
    }
    if (family->prepare) family->prepare(c, &r);
    return true;
}

bool check_case_init(check_case *c, const check_family *family, kernel_op op, const check_desc *desc, uint64_t seed)
{
    return check_case_inputs(c, family, op, desc, seed) && expect(c);
}

void check_case_free(check_case *c)
{
    arena_free(&c->memory);
}

/* ------------------------------------------------------------------------------------------------ comparing */

double tol_for(dtype type, int64_t terms, double magnitude, double value)
{
    enum { LAMBDA = 8 };
    double n = terms > 1 ? (double)terms : 1;
    double least = type == DTYPE_F16 ? 0x1p-24 : 0;
    return LAMBDA * 0x1p-24 * sqrt(n) * magnitude + dtype_epsilon(type) * fabs(value) + n * 0x1p-126 + least;
}

bool check_output(const check_case *c, int32_t o, const void *actual, char *why)
{
    const check_tensor *out = &c->tensors.out[o];
    dtype expected_type = c->expected_tensors.out[o].type;
    if (out->type == DTYPE_U8 && c->family->compare) return c->family->compare(c, o, actual, why);
    bool exact = out->exact || !is_float(out->type);
    for (int64_t i = 0; i < out->count; i++) {
        double y = dtype_load(actual, out->type, i), e = dtype_load(c->expected.out[o], expected_type, i);
        if (isnan(e) && isnan(y)) continue;
        char stored[8];
        dtype_store(stored, out->type, 0, e); /* what overflows in the type is infinite there */
        double rounded = dtype_load(stored, out->type, 0);
        if (y == rounded) continue;
        double tolerance = exact ? 0 : tol_for(out->type, out->terms, ((const double *)c->magnitude.out[o])[i], e);
        if (!exact && fabs(y - e) <= tolerance) continue;
        /* Just below and just above where a type overflows are neighbours. */
        if (!exact && isinf(y) && isfinite(e) && y * e > 0) {
            dtype_store(stored, out->type, 0, e + copysign(tolerance, e));
            if (isinf(dtype_load(stored, out->type, 0))) continue;
        }
        snprintf(why, 256, "out %d element %lld of %lld: %.9g, expected %.9g, error %.3g, tolerance %.3g", o,
            (long long)i, (long long)out->count, y, e, fabs(y - e), tolerance);
        return false;
    }
    return true;
}
