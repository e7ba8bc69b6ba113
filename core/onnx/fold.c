/* What follows from constants alone: the shape arithmetic that exporters leave in front of Reshape and Resize, and
 * weights stored as integers behind DequantizeLinear. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/onnx/import.h"

enum { MAX_ELEMENTS = 1 << 20 }; /* of shape arithmetic; weights may be larger, but only as large as they are */

static status new_tensor(onnx_call *c, dtype type, shape s, onnx_tensor **t)
{
    int64_t count, given = 0;
    for (int32_t i = 0; i < c->in_count; i++)
        if (c->in[i] && c->in[i]->constant) given += shape_count(c->in[i]->constant->shape);
    if (!shape_count_checked(s, &count) || (count > MAX_ELEMENTS && count > given))
        return onnx_fail(c, "it would make a constant of more than %d elements", MAX_ELEMENTS);
    *t = ARENA_NEW(c->memory, onnx_tensor);
    if (!*t) return FAIL_MEMORY(sizeof **t);
    **t = (onnx_tensor){.name = "", .type = type, .shape = s};
    (*t)->data = arena_alloc_array(c->memory, count, dtype_bytes(type));
    return (*t)->data ? OK : FAIL_MEMORY(count * 8);
}

static status fold_constant(onnx_call *c)
{
    const onnx_attribute *a;
    onnx_tensor *t;
    if ((a = onnx_find(c, "value")) && a->kind == ONNX_TENSOR) return onnx_put_const(c, a->tensor);
    if ((a = onnx_find(c, "value_float")) && a->kind == ONNX_FLOAT) {
        TRY(new_tensor(c, DTYPE_F32, (shape){0}, &t));
        *(float *)t->data = a->f;
    } else if ((a = onnx_find(c, "value_int")) && a->kind == ONNX_INT) {
        TRY(new_tensor(c, DTYPE_I64, (shape){0}, &t));
        *(int64_t *)t->data = a->i;
    } else if ((a = onnx_find(c, "value_ints")) && a->kind == ONNX_INTS) {
        TRY(new_tensor(c, DTYPE_I64, shape_1(a->count), &t));
        if (a->count) memcpy(t->data, a->ints, (size_t)a->count * 8);
    } else if ((a = onnx_find(c, "value_floats")) && a->kind == ONNX_FLOATS) {
        TRY(new_tensor(c, DTYPE_F32, shape_1(a->count), &t));
        if (a->count) memcpy(t->data, a->floats, (size_t)a->count * 4);
    } else {
        return onnx_fail(c, "no value, or one of texts or of a sparse tensor");
    }
    return onnx_put_const(c, t);
}

static int64_t clamp(int64_t value, int64_t low, int64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static status fold_shape(onnx_call *c)
{
    onnx_value *v;
    onnx_tensor *t;
    int64_t start, end;
    TRY(onnx_need(c, 0, &v));
    int64_t rank = v->shape.rank;
    TRY(onnx_int(c, "start", 0, &start));
    TRY(onnx_int(c, "end", rank, &end));
    start = clamp(start < 0 ? start + rank : start, 0, rank);
    end = clamp(end < 0 ? end + rank : end, start, rank);
    TRY(new_tensor(c, DTYPE_I64, shape_1(end - start), &t));
    for (int64_t i = start; i < end; i++) ((int64_t *)t->data)[i - start] = v->shape.dim[i];
    return onnx_put_const(c, t);
}

static status fold_constant_of_shape(onnx_call *c)
{
    const int64_t *dim;
    int64_t rank;
    onnx_tensor *t;
    const onnx_attribute *a = onnx_find(c, "value");
    TRY(onnx_const_ints(c, 0, SHAPE_MAX_RANK, &dim, &rank));
    shape s = {.rank = (int32_t)rank};
    for (int64_t i = 0; i < rank; i++) s.dim[i] = dim[i];
    if (a && (a->kind != ONNX_TENSOR || shape_count(a->tensor->shape) != 1))
        return onnx_fail(c, "value is no tensor of one element");
    TRY(new_tensor(c, a ? a->tensor->type : DTYPE_F32, s, &t));
    size_t size = dtype_bytes(t->type);
    for (int64_t i = 0; a && i < shape_count(s); i++) memcpy((char *)t->data + (size_t)i * size, a->tensor->data, size);
    return onnx_put_const(c, t);
}

/* [outer, size, inner] around an axis. */
static void split_at(shape s, int32_t axis, int64_t *outer, int64_t *inner)
{
    *outer = *inner = 1;
    for (int32_t i = 0; i < axis; i++) *outer *= s.dim[i];
    for (int32_t i = axis + 1; i < s.rank; i++) *inner *= s.dim[i];
}

static status fold_gather(onnx_call *c)
{
    const onnx_tensor *from = c->in[0]->constant, *which = c->in[1]->constant;
    const int64_t *index;
    int64_t given, count, outer, inner;
    int32_t axis;
    onnx_tensor *t;
    TRY(onnx_int(c, "axis", 0, &given));
    TRY(onnx_axis(c, given, from->shape.rank, &axis));
    TRY(onnx_const_ints(c, 1, MAX_ELEMENTS, &index, &count));
    if (which->shape.rank > 1) return onnx_fail(c, "indices of %d dimensions", which->shape.rank);
    shape s = {.rank = 0};
    for (int32_t i = 0; i < from->shape.rank; i++) {
        if (i != axis) s.dim[s.rank++] = from->shape.dim[i];
        else if (which->shape.rank == 1) s.dim[s.rank++] = count;
    }
    split_at(from->shape, axis, &outer, &inner);
    TRY(new_tensor(c, from->type, s, &t));
    size_t row = (size_t)inner * dtype_bytes(t->type);
    int64_t size = from->shape.dim[axis];
    for (int64_t o = 0; o < outer; o++) {
        for (int64_t k = 0; k < count; k++) {
            int64_t at = index[k] < 0 ? index[k] + size : index[k];
            if (at < 0 || at >= size) return onnx_fail(c, "index %" PRId64 " of %" PRId64, index[k], size);
            memcpy((char *)t->data + (size_t)(o * count + k) * row,
                (const char *)from->data + (size_t)(o * size + at) * row, row);
        }
    }
    return onnx_put_const(c, t);
}

static status fold_concat(onnx_call *c)
{
    const onnx_tensor *first = c->in[0]->constant;
    int64_t given, outer, inner, at = 0;
    int32_t axis;
    onnx_tensor *t;
    TRY(onnx_int(c, "axis", 0, &given));
    TRY(onnx_axis(c, given, first->shape.rank, &axis));
    shape s = first->shape;
    s.dim[axis] = 0;
    for (int32_t i = 0; i < c->in_count; i++) {
        const onnx_tensor *p = c->in[i]->constant;
        c->in_used |= UINT64_C(1) << i;
        if (p->type != first->type || p->shape.rank != s.rank)
            return onnx_fail(c, "input %d does not fit the others", i);
        for (int32_t d = 0; d < s.rank; d++)
            if (d != axis && p->shape.dim[d] != s.dim[d]) return onnx_fail(c, "input %d does not fit the others", i);
        s.dim[axis] += p->shape.dim[axis];
    }
    split_at(s, axis, &outer, &inner);
    TRY(new_tensor(c, first->type, s, &t));
    size_t size = (size_t)inner * dtype_bytes(t->type);
    for (int32_t i = 0; i < c->in_count; i++) {
        const onnx_tensor *p = c->in[i]->constant;
        size_t part = (size_t)p->shape.dim[axis] * size;
        for (int64_t o = 0; part && o < outer; o++)
            memcpy((char *)t->data + (size_t)(o * s.dim[axis] + at) * size, (const char *)p->data + (size_t)o * part,
                part);
        at += p->shape.dim[axis];
    }
    return onnx_put_const(c, t);
}

/* dst[i...] = src[base + sum of i * stride]. */
static void copy_strided(onnx_tensor *dst, const onnx_tensor *src, int64_t base, const int64_t *stride)
{
    int64_t at[SHAPE_MAX_RANK] = {0}, count = shape_count(dst->shape), from = base;
    size_t size = dtype_bytes(dst->type);
    for (int64_t i = 0; i < count; i++) {
        memcpy((char *)dst->data + (size_t)i * size, (const char *)src->data + (size_t)from * size, size);
        for (int32_t d = dst->shape.rank - 1; d >= 0; d--) {
            from += stride[d];
            if (++at[d] < dst->shape.dim[d]) break;
            from -= stride[d] * at[d];
            at[d] = 0;
        }
    }
}

static void dense_strides(shape s, int64_t *stride)
{
    int64_t product = 1;
    for (int32_t i = s.rank - 1; i >= 0; i--) stride[i] = product, product *= s.dim[i];
}

static status fold_slice(onnx_call *c)
{
    const onnx_tensor *from = c->in[0]->constant;
    onnx_slice cut;
    int64_t stride[SHAPE_MAX_RANK], base = 0;
    bool seen[SHAPE_MAX_RANK] = {false};
    onnx_tensor *t;
    TRY(onnx_slice_read(c, &cut));
    shape s = from->shape;
    dense_strides(s, stride);
    for (int64_t i = 0; i < cut.count; i++) {
        int32_t axis;
        TRY(onnx_axis(c, cut.axes ? cut.axes[i] : i, s.rank, &axis));
        if (seen[axis]) return onnx_fail(c, "axis %d twice", axis);
        seen[axis] = true;
        int64_t by = cut.step ? cut.step[i] : 1, size = from->shape.dim[axis], start = cut.start[i], end = cut.end[i];
        if (by == 0 || by > MAX_ELEMENTS || by < -MAX_ELEMENTS) return onnx_fail(c, "a step of %" PRId64, by);
        int64_t back = by < 0; /* backward the ends are one lower */
        int64_t first = clamp(start < 0 ? start + size : start, 0, size - back);
        int64_t last = clamp(end < 0 ? end + size : end, -back, size - back);
        int64_t span = back ? first - last : last - first, stride_by = back ? -by : by;
        s.dim[axis] = span > 0 && size > 0 ? (span + stride_by - 1) / stride_by : 0;
        base += first * stride[axis];
        stride[axis] *= by;
    }
    TRY(new_tensor(c, from->type, s, &t));
    copy_strided(t, from, base, stride);
    return onnx_put_const(c, t);
}

static status fold_transpose(onnx_call *c)
{
    const onnx_tensor *from = c->in[0]->constant;
    const int64_t *perm;
    int64_t count, dense[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK];
    shape s = from->shape;
    onnx_tensor *t;
    TRY(onnx_ints(c, "perm", &perm, &count));
    if (count && count != s.rank) return onnx_fail(c, "perm has %" PRId64 " entries for %d dimensions", count, s.rank);
    dense_strides(s, dense);
    for (int32_t i = 0; i < s.rank; i++) {
        int64_t p = count ? perm[i] : s.rank - 1 - i;
        if (p < 0 || p >= s.rank) return onnx_fail(c, "perm is no permutation");
        for (int32_t k = 0; count && k < i; k++)
            if (perm[k] == p) return onnx_fail(c, "perm is no permutation");
        s.dim[i] = from->shape.dim[p];
        stride[i] = dense[p];
    }
    TRY(new_tensor(c, from->type, s, &t));
    copy_strided(t, from, 0, stride);
    return onnx_put_const(c, t);
}

static status cast_to(onnx_call *c, dtype type, bool truth)
{
    const onnx_tensor *from = c->in[0]->constant;
    onnx_tensor *t;
    TRY(new_tensor(c, type, from->shape, &t));
    bool truncates = dtype_epsilon(type) == 0, integers = from->type == DTYPE_I64 && type == DTYPE_I64;
    for (int64_t k = 0; k < shape_count(t->shape); k++) {
        double value = dtype_load(from->data, from->type, k);
        if (integers) ((int64_t *)t->data)[k] = ((const int64_t *)from->data)[k];
        else dtype_store(t->data, type, k, truth ? value != 0 : truncates ? trunc(value) : value);
    }
    return onnx_put_const(c, t);
}

static status fold_cast(onnx_call *c)
{
    static const struct { int64_t onnx; dtype type; } types[] = {{1, DTYPE_F32}, {2, DTYPE_U8}, {3, DTYPE_I8},
        {6, DTYPE_I32}, {7, DTYPE_I64}, {9, DTYPE_U8}, {10, DTYPE_F16}, {11, DTYPE_F64}, {16, DTYPE_BF16}};
    int64_t to, saturate;
    const char *round_mode;
    TRY(onnx_int(c, "to", 0, &to));
    TRY(onnx_int(c, "saturate", 1, &saturate)); /* both of floats of 8 bits, which are refused */
    TRY(onnx_text(c, "round_mode", "up", &round_mode));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].onnx == to) return cast_to(c, types[i].type, to == 9);
    return onnx_fail(c, "to ONNX type %" PRId64, to);
}

/* To the type of another value; what is computed is of floats. */
static status fold_cast_like(onnx_call *c)
{
    onnx_value *like;
    int64_t saturate;
    const char *round_mode;
    TRY(onnx_need(c, 1, &like));
    TRY(onnx_int(c, "saturate", 1, &saturate));
    TRY(onnx_text(c, "round_mode", "up", &round_mode));
    if (like->constant && like->constant->type == DTYPE_U8) return onnx_fail(c, "to bytes or truth values");
    return cast_to(c, like->constant ? like->constant->type : DTYPE_F32, false);
}

/* Repeated along dimensions of 1, by numpy's rule. */
static status fold_expand(onnx_call *c)
{
    const onnx_tensor *from = c->in[0]->constant;
    const int64_t *dim;
    int64_t rank, dense[SHAPE_MAX_RANK], stride[SHAPE_MAX_RANK];
    onnx_tensor *t;
    TRY(onnx_const_ints(c, 1, SHAPE_MAX_RANK, &dim, &rank));
    shape s = {.rank = rank > from->shape.rank ? (int32_t)rank : from->shape.rank};
    dense_strides(from->shape, dense);
    for (int32_t i = 0; i < s.rank; i++) {
        int32_t own = i - (s.rank - from->shape.rank), asked = i - (s.rank - (int32_t)rank);
        int64_t have = own < 0 ? 1 : from->shape.dim[own], want = asked < 0 ? 1 : dim[asked];
        if (have != want && have != 1 && want != 1)
            return onnx_fail(c, "dimension %d of %" PRId64 " cannot become %" PRId64, i, have, want);
        s.dim[i] = have == 1 ? want : have;
        stride[i] = have == 1 ? 0 : dense[own];
    }
    TRY(new_tensor(c, from->type, s, &t));
    copy_strided(t, from, 0, stride);
    return onnx_put_const(c, t);
}

static status fold_floor(onnx_call *c)
{
    const onnx_tensor *from = c->in[0]->constant;
    onnx_tensor *t;
    TRY(new_tensor(c, from->type, from->shape, &t));
    bool up = strcmp(c->type, "Ceil") == 0;
    for (int64_t i = 0; i < shape_count(t->shape); i++) {
        double value = dtype_load(from->data, from->type, i);
        dtype_store(t->data, t->type, i, up ? ceil(value) : floor(value));
    }
    return onnx_put_const(c, t);
}

/* Equal shapes, or one side a single element. Integers within 53 bits, as dimensions are. */
static status fold_arithmetic(onnx_call *c)
{
    const onnx_tensor *a = c->in[0]->constant, *b = c->in[1]->constant;
    int64_t na = shape_count(a->shape), nb = shape_count(b->shape);
    onnx_tensor *t;
    if (a->type != b->type || (na != nb && na != 1 && nb != 1))
        return onnx_fail(c, "constants of different type or size");
    bool like_a = na == nb ? a->shape.rank >= b->shape.rank : nb == 1;
    TRY(new_tensor(c, a->type, like_a ? a->shape : b->shape, &t));
    bool integers = dtype_epsilon(t->type) == 0;
    for (int64_t i = 0; i < shape_count(t->shape); i++) {
        double x = dtype_load(a->data, a->type, na == 1 ? 0 : i), y = dtype_load(b->data, b->type, nb == 1 ? 0 : i),
               r = 0;
        if (integers && *c->type == 'D' && y == 0) return onnx_fail(c, "division by 0");
        switch (*c->type) {
        case 'A': r = x + y; break;
        case 'S': r = x - y; break;
        case 'M': r = x * y; break;
        default: r = integers ? trunc(x / y) : x / y; break;
        }
        if (integers && fabs(r) > 9.0e15) return onnx_fail(c, "an integer above 2^53");
        dtype_store(t->data, t->type, i, r);
    }
    return onnx_put_const(c, t);
}

/* Attributes of DequantizeLinear; every float type is f32 here. */
static status dequantise_attributes(onnx_call *c, int64_t *axis)
{
    int64_t block, type;
    TRY(onnx_int(c, "axis", 1, axis));
    TRY(onnx_int(c, "block_size", 0, &block));
    TRY(onnx_int(c, "output_dtype", 0, &type));
    if (block != 0) return onnx_fail(c, "block_size = %" PRId64 ": scales of blocks are not supported", block);
    if (type != 0 && type != 1 && type != 10 && type != 11 && type != 16)
        return onnx_fail(c, "output_dtype = %" PRId64 ", expected a float type", type);
    return OK;
}

/* Integers times a scale: one of the tensor, or one per entry of an axis. */
static status fold_dequantise(onnx_call *c)
{
    const onnx_tensor *from = c->in[0]->constant, *scale = c->in[1]->constant;
    const onnx_tensor *zero = onnx_has(c, 2) ? c->in[2]->constant : NULL;
    int64_t given, inner = 1, outer, scales = shape_count(scale->shape);
    onnx_tensor *t;
    int32_t axis = 0;
    TRY(dequantise_attributes(c, &given));
    if (scales > 1) {
        if (scale->shape.rank != 1) return onnx_fail(c, "scales of %d dimensions, expected 1", scale->shape.rank);
        TRY(onnx_axis(c, given, from->shape.rank, &axis));
        if (from->shape.dim[axis] != scales)
            return onnx_fail(c, "%" PRId64 " scales for dimension %d of %" PRId64, scales, axis, from->shape.dim[axis]);
        split_at(from->shape, axis, &outer, &inner);
    }
    if (scales < 1 || (zero && shape_count(zero->shape) != scales))
        return onnx_fail(c, "scale and zero point differ in size");
    TRY(new_tensor(c, DTYPE_F32, from->shape, &t));
    for (int64_t i = 0; i < shape_count(t->shape); i++) {
        int64_t k = i / inner % scales;
        double offset = zero ? dtype_load(zero->data, zero->type, k) : 0;
        ((float *)t->data)[i] =
            (float)(dtype_load(from->data, from->type, i) - offset) * (float)dtype_load(scale->data, scale->type, k);
    }
    return onnx_put_const(c, t);
}

typedef struct fold_rule {
    const char *type;
    int32_t least; /* inputs */
    status (*fold)(onnx_call *c);
} fold_rule;

static const fold_rule rules[] = {
    {"Shape", 1, fold_shape}, /* of computed values too */
    {"Constant", 0, fold_constant},
    {"ConstantOfShape", 1, fold_constant_of_shape},
    {"Gather", 2, fold_gather},
    {"Concat", 1, fold_concat},
    {"Slice", 1, fold_slice},
    {"Transpose", 1, fold_transpose},
    {"Cast", 1, fold_cast},
    {"Floor", 1, fold_floor},
    {"Ceil", 1, fold_floor},
    {"Add", 2, fold_arithmetic},
    {"Sub", 2, fold_arithmetic},
    {"Mul", 2, fold_arithmetic},
    {"Div", 2, fold_arithmetic},
    {"DequantizeLinear", 2, fold_dequantise},
    {"Expand", 1, fold_expand},
    {"CastLike", 1, fold_cast_like},
};

static const fold_rule *find_rule(const char *type)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (strcmp(rules[i].type, type) == 0) return &rules[i];
    return NULL;
}

bool onnx_folds(const char *type) { return find_rule(type) != NULL; }

status onnx_fold(onnx_call *c, bool *done)
{
    const fold_rule *r = find_rule(c->type);
    *done = false;
    if (!r) return OK;
    int32_t constants = r->fold == fold_shape ? 0 : r->fold == fold_cast_like ? 1 : c->in_count;
    for (int32_t i = 0; i < constants && i < c->in_count; i++)
        if (c->in[i] && !c->in[i]->constant) return OK;
    for (int32_t k = 0; k < c->in_count || k < r->least; k++) {
        bool given = k < c->in_count && c->in[k];
        if (!given && (k < r->least || r->fold == fold_concat)) return onnx_fail(c, "input %d is missing", k);
    }
    for (int32_t k = 0; k < r->least; k++) c->in_used |= UINT64_C(1) << k;
    *done = true;
    return r->fold(c);
}
