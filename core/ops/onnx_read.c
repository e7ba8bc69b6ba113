#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/ops/infer.h"
#include "core/ops/onnx.h"

status onnx_fail(const onnx_call *c, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return FAIL(E_MODEL, "node '%s' (%s): %s", c->name, c->type, text);
}

/* ---------------------------------------------------------------------------------------------------- attributes */

const onnx_attribute *onnx_find(onnx_call *c, const char *name)
{
    for (int32_t i = 0; i < c->attribute_count; i++) {
        if (strcmp(c->attributes[i].name, name) != 0) continue;
        c->attributes[i].used = true;
        return &c->attributes[i];
    }
    return NULL;
}

static status find_kind(onnx_call *c, const char *name, onnx_attribute_kind kind, const onnx_attribute **found)
{
    static const char *const kind_names[] = {
        "an integer", "a float", "a text", "integers", "floats", "a tensor", "of another kind"};
    *found = onnx_find(c, name);
    if (!*found || (*found)->kind == kind) return OK;
    return onnx_fail(c, "attribute %s is %s, expected %s", name, kind_names[(*found)->kind], kind_names[kind]);
}

status onnx_int(onnx_call *c, const char *name, int64_t absent, int64_t *value)
{
    const onnx_attribute *a;
    TRY(find_kind(c, name, ONNX_INT, &a));
    *value = a ? a->i : absent;
    return OK;
}

status onnx_float(onnx_call *c, const char *name, float absent, float *value)
{
    const onnx_attribute *a;
    TRY(find_kind(c, name, ONNX_FLOAT, &a));
    *value = a ? a->f : absent;
    return OK;
}

status onnx_text(onnx_call *c, const char *name, const char *absent, const char **value)
{
    const onnx_attribute *a;
    TRY(find_kind(c, name, ONNX_TEXT, &a));
    *value = a ? a->text : absent;
    return OK;
}

status onnx_ints(onnx_call *c, const char *name, const int64_t **values, int64_t *count)
{
    const onnx_attribute *a;
    TRY(find_kind(c, name, ONNX_INTS, &a));
    *values = a ? a->ints : NULL;
    *count = a ? a->count : 0;
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- inputs */

bool onnx_has(onnx_call *c, int32_t i)
{
    if (i >= c->in_count || !c->in[i]) return false;
    c->in_used |= UINT64_C(1) << i;
    return true;
}

status onnx_need(onnx_call *c, int32_t i, onnx_value **v)
{
    *v = onnx_has(c, i) ? c->in[i] : NULL;
    return *v ? OK : onnx_fail(c, "input %d is missing", i);
}

status onnx_axis(const onnx_call *c, int64_t given, int32_t rank, int32_t *axis)
{
    int64_t from_front = given < 0 ? given + rank : given;
    if (from_front < 0 || from_front >= rank) return onnx_fail(c, "axis %" PRId64 " of %d dimensions", given, rank);
    *axis = (int32_t)from_front;
    return OK;
}

static status need_constant(onnx_call *c, int32_t i, const onnx_tensor **t)
{
    onnx_value *v;
    TRY(onnx_need(c, i, &v));
    *t = v->constant;
    return *t ? OK : onnx_fail(c, "input %d, '%s', is computed: it must be a constant", i, v->name);
}

status onnx_const_ints(onnx_call *c, int32_t i, int64_t most, const int64_t **values, int64_t *count)
{
    const onnx_tensor *t;
    TRY(need_constant(c, i, &t));
    *count = shape_count(t->shape);
    if (t->type != DTYPE_I64 && t->type != DTYPE_I32)
        return onnx_fail(c, "input %d is %s, expected integers", i, dtype_name(t->type));
    if (*count > most)
        return onnx_fail(c, "input %d has %" PRId64 " values, expected at most %" PRId64, i, *count, most);
    int64_t *copy;
    TRY_ALLOC(copy, ARENA_ARRAY(c->memory, int64_t, *count));
    for (int64_t k = 0; k < *count; k++)
        copy[k] = t->type == DTYPE_I64 ? ((const int64_t *)t->data)[k] : ((const int32_t *)t->data)[k];
    *values = copy;
    return OK;
}

status onnx_const_scalar(onnx_call *c, int32_t i, double *value)
{
    const onnx_tensor *t;
    TRY(need_constant(c, i, &t));
    if (shape_count(t->shape) != 1)
        return onnx_fail(c, "input %d has %" PRId64 " values, expected 1", i, shape_count(t->shape));
    *value = dtype_load(t->data, t->type, 0);
    return OK;
}

status onnx_axes(onnx_call *c, const char *name, int32_t i, const int64_t **values, int64_t *count)
{
    TRY(onnx_ints(c, name, values, count));
    if (!onnx_has(c, i)) return OK;
    if (onnx_find(c, name)) return onnx_fail(c, "%s as an attribute and as input %d", name, i);
    return onnx_const_ints(c, i, SHAPE_MAX_RANK, values, count);
}

status onnx_floats(onnx_call *c, int32_t i, const float **values, shape *s)
{
    const onnx_tensor *t;
    TRY(need_constant(c, i, &t));
    int64_t count = shape_count(t->shape);
    *s = t->shape;
    *values = t->data;
    if (t->type == DTYPE_F32) return OK;
    if (!dtype_is_float(t->type)) return onnx_fail(c, "input %d is %s, expected floats", i, dtype_name(t->type));
    float *copy;
    TRY_ALLOC(copy, ARENA_ARRAY(c->memory, float, count));
    for (int64_t k = 0; k < count; k++) copy[k] = (float)dtype_load(t->data, t->type, k);
    *values = copy;
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- parameters */

/* Values are equal: the same parameter, read twice. */
static bool same_values(const edge *e, edge_kind kind, param_layout layout, shape s, const float *values)
{
    return e->kind == kind && e->layout == layout && shape_equal(e->shape, s) &&
           memcmp(e->data, values, (size_t)shape_count(s) * 4) == 0;
}

static bool fits_as_name(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < 32 || name[i] == 127) return false;
    return length > 0 && length < 200;
}

status onnx_param(onnx_call *c, const char *name, const char *suffix, edge_kind kind, param_layout layout, shape s,
    const float *values, edge_id *e)
{
    int64_t count;
    if (!shape_count_checked(s, &count) || count < 1) return onnx_fail(c, "%s is empty", suffix);
    if (!name || !fits_as_name(name)) name = arena_printf(c->memory, "%s.%s", c->name, suffix);
    const char *base = name;
    for (int32_t copy = 2; name; copy++) {
        *e = graph_find_edge(c->g, name);
        if (*e == EDGE_NONE) break;
        if (same_values(&c->g->edges[*e], kind, layout, s, values)) return OK;
        name = arena_printf(c->memory, "%s.%d", base, copy);
    }
    if (!name) return E_MEMORY;
    *e = graph_edge(c->g, name, kind, DTYPE_F32, s);
    if (*e == EDGE_NONE) return onnx_fail(c, "%s: %s", suffix, status_message());
    c->g->edges[*e].layout = layout;
    memcpy(c->g->edges[*e].data, values, (size_t)count * 4);
    return OK;
}

status onnx_vector(onnx_call *c, int32_t i, const char *suffix, edge_kind kind, int64_t count, edge_id *e)
{
    const float *values;
    shape s;
    TRY(onnx_floats(c, i, &values, &s));
    if (shape_count(s) != count)
        return onnx_fail(c, "%s (input %d) has %" PRId64 " values, expected %" PRId64, suffix, i, shape_count(s),
            count);
    return onnx_param(c, c->in[i]->name, suffix, kind, LAYOUT_PLAIN, shape_1(count), values, e);
}
