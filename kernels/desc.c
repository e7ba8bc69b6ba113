/* desc.c: descriptors as text and back. */
#include "kernels/desc.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which kind a type of descriptors.def is. */
#define KIND_int32_t FIELD_I32
#define KIND_int64_t FIELD_I64
#define KIND_uint64_t FIELD_U64
#define KIND__Bool FIELD_BOOL /* what <stdbool.h> makes of bool */
#define KIND_float FIELD_F32
#define KIND_double FIELD_F64
#define KIND_dtype FIELD_DTYPE
#define KIND_activation FIELD_ACTIVATION
#define KIND_conv2d_compute FIELD_COMPUTE
#define KIND_pool_kind FIELD_POOL
#define KIND_update_rule FIELD_UPDATE

/* NAME_fields(): the table of a descriptor. `described` is the descriptor's type, for its rows' offsets. */
#define DESCRIPTOR(name)                                                                                               \
    static const desc_field *name##_fields(void)                                                                       \
    {                                                                                                                  \
        typedef name##_desc described;                                                                                 \
        static const desc_field fields[] = {
#define TEXT(type, path, text, count, absent) {text, KIND_##type, count, offsetof(described, path), absent},
#define DESCRIPTOR_END                                                                                                 \
            {NULL, FIELD_I32, 0, 0, 0}                                                                                 \
        };                                                                                                             \
        return fields;                                                                                                 \
    }
#include "kernels/descriptors.def"

const desc_field *kernel_desc_fields(kernel_op op)
{
    switch (op) {
#define KERNEL_OP(upper, lower, descriptor, flops, bytes) case OP_##upper: return descriptor##_fields();
#include "kernels/descriptors.def"
    case KERNEL_OP_COUNT: break;
    }
    BUG("op %d of %d", (int)op, (int)KERNEL_OP_COUNT);
}

size_t desc_field_bytes(field_kind kind)
{
    switch (kind) {
    case FIELD_I32: return sizeof(int32_t);
    case FIELD_I64: return sizeof(int64_t);
    case FIELD_U64: return sizeof(uint64_t);
    case FIELD_BOOL: return sizeof(bool);
    case FIELD_F32: return sizeof(float);
    case FIELD_F64: return sizeof(double);
    case FIELD_DTYPE: return sizeof(dtype);
    case FIELD_ACTIVATION: return sizeof(activation);
    case FIELD_COMPUTE: return sizeof(conv2d_compute);
    case FIELD_POOL: return sizeof(pool_kind);
    case FIELD_UPDATE: return sizeof(update_rule);
    }
    BUG("field kind %d", (int)kind);
}

/* In the order of their enumerations; the first is what a zeroed descriptor holds. */
const char *const *desc_field_words(field_kind kind)
{
    static const char *const dtypes[] = {"f32", "f16", "bf16", "f64", "i8", "u8", "i32", "i64", NULL};
    static const char *const acts[] = {"none", "relu", "relu6", "leaky", "sigmoid", "swish", "clip", NULL};
    static const char *const computes[] = {"f32", "f16", "bf16", "tf32", NULL};
    static const char *const pools[] = {"max", "average", NULL};
    static const char *const rules[] = {"sgd", "adam", "adamw", "rmsprop", NULL};
    _Static_assert(sizeof(dtypes) / sizeof(dtypes[0]) == DTYPE_COUNT + 1, "a word per type");
    _Static_assert(sizeof(acts) / sizeof(acts[0]) == ACT_CLIP + 2, "a word per activation");
    switch (kind) {
    case FIELD_DTYPE: return dtypes;
    case FIELD_ACTIVATION: return acts;
    case FIELD_COMPUTE: return computes;
    case FIELD_POOL: return pools;
    case FIELD_UPDATE: return rules;
    default: return NULL;
    }
}

static bool glued(const desc_field *f)
{
    return f->count == 1 && (f->kind == FIELD_I32 || f->kind == FIELD_I64 || f->kind == FIELD_BOOL);
}

/* ------------------------------------------------------------------------------------------------ writing */

static void value_text(const void *at, field_kind kind, char text[64])
{
    const char *const *words = desc_field_words(kind);
    int32_t word = 0, count = 0;
    switch (kind) {
    case FIELD_I32: snprintf(text, 64, "%" PRId32, *(const int32_t *)at); return;
    case FIELD_I64: snprintf(text, 64, "%" PRId64, *(const int64_t *)at); return;
    case FIELD_U64: snprintf(text, 64, "%" PRIu64, *(const uint64_t *)at); return;
    case FIELD_BOOL: snprintf(text, 64, "%d", *(const bool *)at ? 1 : 0); return;
    case FIELD_F32: snprintf(text, 64, "%.9g", (double)*(const float *)at); return;
    case FIELD_F64: snprintf(text, 64, "%.17g", *(const double *)at); return;
    default: break;
    }
    memcpy(&word, at, sizeof word);
    while (words[count]) count++;
    if (word >= 0 && word < count) snprintf(text, 64, "%s", words[word]);
    else snprintf(text, 64, "#%" PRId32, word);
}

static void value_set_absent(void *at, const desc_field *f)
{
    int64_t i64 = f->absent;
    float f32 = (float)f->absent;
    double f64 = f->absent;
    bool b = f->absent != 0;
    const void *from = &f->absent;
    if (f->kind == FIELD_I64 || f->kind == FIELD_U64) from = &i64;
    if (f->kind == FIELD_F32) from = &f32;
    if (f->kind == FIELD_F64) from = &f64;
    if (f->kind == FIELD_BOOL) from = &b;
    memcpy(at, from, desc_field_bytes(f->kind));
}

static bool value_is_absent(const void *at, const desc_field *f)
{
    char absent[8], now[64], then[64];
    value_set_absent(absent, f);
    value_text(at, f->kind, now);
    value_text(absent, f->kind, then);
    return strcmp(now, then) == 0;
}

status kernel_desc_format(kernel_op op, const void *desc, char *text, size_t capacity)
{
    size_t used = 0;
    bool comma = false;
    if (capacity) text[0] = 0;
    for (const desc_field *f = kernel_desc_fields(op); f->name; f++) {
        const char *at = (const char *)desc + f->offset;
        size_t size = desc_field_bytes(f->kind);
        int32_t last = f->count - 1;
        while (last >= 0 && value_is_absent(at + (size_t)last * size, f)) last--;
        if (last < 0) continue;
        char item[512], value[64];
        size_t n = (size_t)snprintf(item, sizeof item, "%s%s%s", (comma || !glued(f)) && used ? "," : "", f->name,
            glued(f) ? "" : "=");
        for (int32_t i = 0; i <= last; i++) {
            value_text(at + (size_t)i * size, f->kind, value);
            n += (size_t)snprintf(item + n, sizeof item - n, "%s%s", i ? ":" : "", value);
        }
        if (used + n + 1 > capacity)
            return FAIL(E_INTERNAL, "text of a %s descriptor needs more than %zu bytes", kernel_op_name(op), capacity);
        memcpy(text + used, item, n + 1);
        used += n;
        comma = !glued(f);
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ reading */

/* Reads one value and returns where it ends, NULL if it is none or out of range. */
static const char *value_read(const char *text, field_kind kind, void *at)
{
    char *end = NULL;
    const char *const *words = desc_field_words(kind);
    errno = 0;
    if (words) {
        int32_t best = -1;
        for (int32_t i = 0; words[i]; i++) /* the longest: relu6 before relu */
            if (strncmp(text, words[i], strlen(words[i])) == 0 && (best < 0 || strlen(words[i]) > strlen(words[best])))
                best = i;
        if (best < 0) return NULL;
        memcpy(at, &best, sizeof best);
        return text + strlen(words[best]);
    }
    if (kind == FIELD_F32 || kind == FIELD_F64) {
        float f32 = kind == FIELD_F32 ? strtof(text, &end) : 0;
        double f64 = kind == FIELD_F64 ? strtod(text, &end) : 0;
        if (end == text) return NULL; /* ERANGE is no error: denormals are values */
        memcpy(at, kind == FIELD_F32 ? (const void *)&f32 : (const void *)&f64, desc_field_bytes(kind));
        return end;
    }
    if (kind == FIELD_U64) {
        uint64_t u = isdigit((unsigned char)*text) ? strtoull(text, &end, 10) : 0;
        if (!end || errno) return NULL;
        memcpy(at, &u, sizeof u);
        return end;
    }
    int64_t v = strtoll(text, &end, 10);
    int32_t v32 = (int32_t)v;
    bool b = v == 1;
    if (end == text || errno) return NULL;
    if (kind == FIELD_I32 && v32 != v) return NULL;
    if (kind == FIELD_BOOL && v != 0 && v != 1) return NULL;
    memcpy(at, kind == FIELD_I64 ? (const void *)&v : kind == FIELD_I32 ? (const void *)&v32 : (const void *)&b,
        desc_field_bytes(kind));
    return end;
}

static status unknown_field(kernel_op op, const char *name, int32_t length)
{
    char known[512] = "";
    size_t used = 0;
    for (const desc_field *f = kernel_desc_fields(op); f->name && used + strlen(f->name) + 2 < sizeof known; f++)
        used += (size_t)snprintf(known + used, sizeof known - used, " %s", f->name);
    return FAIL(E_USAGE, "%s descriptor: no field \"%.*s\"; the fields are%s", kernel_op_name(op), length, name, known);
}

status kernel_desc_parse(kernel_op op, const char *text, void *desc)
{
    const desc_field *fields = kernel_desc_fields(op);
    uint64_t seen = 0;
    memset(desc, 0, kernel_desc_bytes(op));
    for (const desc_field *f = fields; f->name; f++)
        for (int32_t i = 0; i < f->count; i++)
            value_set_absent((char *)desc + f->offset + (size_t)i * desc_field_bytes(f->kind), f);
    for (const char *p = text; *p;) {
        if (*p == ',') {
            p++;
            continue;
        }
        int32_t length = 0;
        while (islower((unsigned char)p[length]) || p[length] == '_') length++;
        const desc_field *f = fields;
        while (f->name && !((int32_t)strlen(f->name) == length && strncmp(f->name, p, (size_t)length) == 0)) f++;
        if (!f->name) return unknown_field(op, p, length ? length : 1);
        if (seen >> (f - fields) & 1)
            return FAIL(E_USAGE, "%s descriptor: %s is given twice", kernel_op_name(op), f->name);
        seen |= UINT64_C(1) << (f - fields);
        p += length;
        if (*p == '=') p++;
        for (int32_t i = 0;; i++) {
            const char *end = i < f->count
                ? value_read(p, f->kind, (char *)desc + f->offset + (size_t)i * desc_field_bytes(f->kind)) : NULL;
            if (!end)
                return FAIL(E_USAGE, "%s descriptor: bad value or too many values for %s at \"%.24s\"",
                    kernel_op_name(op), f->name, p);
            p = end;
            if (*p != ':') break;
            p++;
        }
    }
    return OK;
}
