#include "core/ops/op.h"

#include <math.h>
#include <string.h>

const op *const op_table[] = {
#define OP(name) &op_##name,
#include "core/ops/ops.def"
    NULL,
};

const op *op_find(const char *name)
{
    for (int32_t i = 0; op_table[i]; i++)
        if (strcmp(op_table[i]->name, name) == 0) return op_table[i];
    return NULL;
}

static double field_value(const op_field *f, const char *attr, int32_t i)
{
    const char *base = attr + f->offset;
    switch (f->type) {
    case FIELD_INT32: return ((const int32_t *)(const void *)base)[i];
    case FIELD_INT64: return (double)((const int64_t *)(const void *)base)[i];
    case FIELD_FLOAT: return (double)((const float *)(const void *)base)[i];
    case FIELD_BOOL: return ((const bool *)(const void *)base)[i];
    case FIELD_ENUM: return ((const int *)(const void *)base)[i];
    }
    return NAN;
}

status op_check_attr(const op *o, const void *attr, const char *node_name)
{
    for (const op_field *f = o->fields; f && f->name; f++) {
        double low = f->min, high = f->max;
        if (f->type == FIELD_ENUM)
            for (high = -1; f->choices[(int)high + 1];) high++;
        if (f->type == FIELD_BOOL) high = 1;
        for (int32_t i = 0; i < f->count; i++) {
            double value = field_value(f, attr, i);
            if (!(value >= low && value <= high))
                return FAIL(E_MODEL, "node '%s' (%s): %s = %g, expected %g to %g", node_name, o->name, f->name, value,
                    low, high);
        }
    }
    return OK;
}
