/* desc.h: the fields of each descriptor as a table. It drives the text form (desc.c) and the
 * mutation of descriptors in the checks.
 *
 * Text form: fields in the table's order, those with their default left out. An integer or bool follows its name
 * directly ("n2ic7kh3"); every other value is written ",name=value" and a comma precedes the field after it. Elements
 * of arrays are separated by ':', trailing defaults left out. Defaults are 0, f32, none and the first of every
 * enumeration, and 1 where 1 is neutral (strides, dilations, groups, steps, scales).
 *
 *     n2ih9iw9ic7oh9ow9oc5kh3kw3pt1pl1pb1pr1,src=bf16,weight=bf16,dst=bf16,bias1act=relu
 *
 * Internal to kernels/ and its checks.
 */
#ifndef GRAFT_KERNELS_DESC_H
#define GRAFT_KERNELS_DESC_H

#include "kernels/kernels.h"

typedef enum field_kind {
    FIELD_I32,
    FIELD_I64,
    FIELD_U64,
    FIELD_BOOL,
    FIELD_F32,
    FIELD_F64,
    FIELD_DTYPE,
    FIELD_ACTIVATION,
    FIELD_COMPUTE,
    FIELD_POOL,
    FIELD_UPDATE
} field_kind;

typedef struct desc_field {
    const char *name; /* letters and '_' only, so that a digit ends it */
    field_kind kind;
    int32_t count;    /* 1, or elements of an array */
    size_t offset;    /* in the descriptor */
    int32_t absent;   /* value when not written */
} desc_field;

/* Table of `op`'s descriptor, ended by a row whose name is NULL. */
const desc_field *kernel_desc_fields(kernel_op op);

size_t desc_field_bytes(field_kind kind);

/* Words of an enumeration, NULL-terminated and in its order; NULL for kinds that are numbers. */
const char *const *desc_field_words(field_kind kind);

#endif
