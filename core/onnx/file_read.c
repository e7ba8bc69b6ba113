#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/onnx/external.h"
#include "core/onnx/file.h"
#include "onnx.pb-c.h"

/* ---------------------------------------------------------------------------------------------------- bytes */

/* Walks the encoded message before anything is allocated: protobuf-c's decoder recurses as deep as the bytes say. */
static bool read_varint(const uint8_t **at, const uint8_t *end, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 70 && *at < end; shift += 7) {
        uint8_t byte = *(*at)++;
        if (shift < 64) *value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return true;
    }
    return false;
}

static status check_message(
    const ProtobufCMessageDescriptor *type, const uint8_t *at, const uint8_t *end, int depth, const char *what)
{
    if (depth > ONNX_FILE_MAX_DEPTH)
        return FAIL(E_MODEL, "%s: messages are nested deeper than %d", what, ONNX_FILE_MAX_DEPTH);
    while (at < end) {
        uint64_t key, length;
        if (!read_varint(&at, end, &key)) return FAIL(E_MODEL, "%s: no ONNX file: a field's number is cut off", what);
        switch (key & 7) {
        case 0:
            if (!read_varint(&at, end, &length)) return FAIL(E_MODEL, "%s: no ONNX file: a number is cut off", what);
            continue;
        case 1: length = 8; break;
        case 5: length = 4; break;
        case 2:
            if (!read_varint(&at, end, &length)) return FAIL(E_MODEL, "%s: no ONNX file: a length is cut off", what);
            break;
        default: return FAIL(E_MODEL, "%s: no ONNX file: wire type %d", what, (int)(key & 7));
        }
        if (length > (uint64_t)(end - at))
            return FAIL(E_MODEL, "%s: truncated, or no ONNX file: %llu bytes wanted, %" PRId64 " are left", what,
                (unsigned long long)length, (end - at));
        const ProtobufCFieldDescriptor *field =
            key >> 3 <= UINT_MAX ? protobuf_c_message_descriptor_get_field(type, (unsigned)(key >> 3)) : NULL;
        if ((key & 7) == 2 && field && field->type == PROTOBUF_C_TYPE_MESSAGE)
            TRY(check_message(field->descriptor, at, at + length, depth + 1, what));
        at += length;
    }
    return OK;
}

typedef struct budget {
    size_t left;
    bool exceeded;
} budget;

static void *take(void *context, size_t bytes)
{
    budget *b = context;
    b->exceeded = b->exceeded || bytes > b->left;
    if (b->exceeded) return NULL;
    b->left -= bytes;
    return malloc(bytes ? bytes : 1);
}

static void give_back(void *context, void *memory)
{
    (void)context;
    free(memory);
}

static status unpack(ProtobufCMessage **m, const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t count,
    budget *b, const char *what)
{
    if (count > INT_MAX) return FAIL(E_MODEL, "%s: %zu bytes, protobuf files end at 2 GiB", what, count);
    TRY(check_message(type, bytes, bytes + count, 0, what));
    *b = (budget){.left = 4 * count + (64u << 20)};
    ProtobufCAllocator allocator = {.alloc = take, .free = give_back, .allocator_data = b};
    *m = protobuf_c_message_unpack(type, &allocator, count, bytes);
    if (*m) return OK;
    if (b->exceeded) return FAIL(E_MODEL, "%s: decoding %zu bytes would take more than 4 times that", what, count);
    return FAIL(E_MODEL, "%s: no ONNX file: protobuf does not decode it", what);
}

/* ---------------------------------------------------------------------------------------------------- tensors */

static bool tensor_dtype(int32_t onnx, dtype *type)
{
    switch (onnx) {
    case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT: *type = DTYPE_F32; return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16: *type = DTYPE_F16; return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16: *type = DTYPE_BF16; return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE: *type = DTYPE_F64; return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT8: *type = DTYPE_I8; return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__UINT8:
    case ONNX__TENSOR_PROTO__DATA_TYPE__BOOL: *type = DTYPE_U8; return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT32: *type = DTYPE_I32; return true;
    case ONNX__TENSOR_PROTO__DATA_TYPE__INT64: *type = DTYPE_I64; return true;
    default: return false;
    }
}

static bool type_is_float(int32_t onnx)
{
    dtype type;
    return tensor_dtype(onnx, &type) &&
           (type == DTYPE_F32 || type == DTYPE_F16 || type == DTYPE_BF16 || type == DTYPE_F64);
}

static status tensor_shape(shape *s, const Onnx__TensorProto *p, const char *what)
{
    if (p->n_dims > SHAPE_MAX_RANK)
        return FAIL(E_MODEL, "%s: tensor '%s' has %zu dimensions, expected at most %d", what, p->name, p->n_dims,
            SHAPE_MAX_RANK);
    *s = (shape){.rank = (int32_t)p->n_dims};
    int64_t count;
    for (int32_t i = 0; i < s->rank; i++) {
        s->dim[i] = p->dims[i];
        if (s->dim[i] < 0 || s->dim[i] > INT_MAX)
            return FAIL(E_MODEL, "%s: dimension %d of tensor '%s' is %" PRId64, what, i, p->name, s->dim[i]);
    }
    if (!shape_count_checked(*s, &count) || count > INT64_MAX / 8)
        return FAIL(E_MODEL, "%s: the dimensions of tensor '%s' overflow", what, p->name);
    return OK;
}

/* Numbers that stand in a field of their own type, one per element. */
static status copy_numbers(onnx_tensor *t, const Onnx__TensorProto *p, int64_t count, const char *what)
{
    size_t have = 0;
    switch (t->type) {
    case DTYPE_F32: have = p->n_float_data; break;
    case DTYPE_F64: have = p->n_double_data; break;
    case DTYPE_I64: have = p->n_int64_data; break;
    default: have = p->n_int32_data; break;
    }
    if (have != (size_t)count)
        return FAIL(
            E_MODEL, "%s: tensor '%s' holds %zu values, its dimensions say %" PRId64, what, t->name, have, count);
    for (int64_t i = 0; i < count; i++) {
        switch (t->type) {
        case DTYPE_F32: ((float *)t->data)[i] = p->float_data[i]; break;
        case DTYPE_F64: ((double *)t->data)[i] = p->double_data[i]; break;
        case DTYPE_I64: ((int64_t *)t->data)[i] = p->int64_data[i]; break;
        case DTYPE_I32: ((int32_t *)t->data)[i] = p->int32_data[i]; break;
        case DTYPE_F16:
        case DTYPE_BF16: ((uint16_t *)t->data)[i] = (uint16_t)p->int32_data[i]; break;
        default: ((uint8_t *)t->data)[i] = (uint8_t)p->int32_data[i]; break;
        }
    }
    return OK;
}

/* What reading the parts of a file needs. */
typedef struct parts {
    arena *memory;
    const char *what;
    onnx_external external;
    bool names_only;
} parts;

/* Keys that a loader writes for itself, or that are not needed to find the values, are known too: nothing is ignored
 * unseen. */
static status read_place(onnx_place *to, const Onnx__TensorProto *p, const char *what)
{
    *to = (onnx_place){.location = NULL};
    for (size_t i = 0; i < p->n_external_data; i++) {
        const char *key = p->external_data[i]->key ? p->external_data[i]->key : "", *value = p->external_data[i]->value;
        const char **slot = strcmp(key, "location") == 0 ? &to->location : strcmp(key, "offset") == 0 ? &to->offset :
            strcmp(key, "length") == 0 ? &to->length : NULL;
        if (!slot && strcmp(key, "checksum") == 0) continue; /* SHA-1, which protects from nobody */
        if (!slot || *slot || !value)
            return FAIL(E_MODEL, "%s: tensor '%s': external data with %s '%s'", what, p->name ? p->name : "",
                slot ? "twice, or without a value," : "the unknown key", key);
        *slot = value;
    }
    return OK;
}

static status read_external(onnx_tensor *t, parts *f, const Onnx__TensorProto *p, size_t bytes)
{
    onnx_place place;
    int64_t offset;
    size_t numbers = p->n_float_data + p->n_double_data + p->n_int64_data + p->n_int32_data;
    if (!f->external.folder)
        return FAIL(E_MODEL, "%s: tensor '%s' lies in another file: external data is not read here; save all in one",
            f->what, t->name);
    if (p->has_raw_data || numbers)
        return FAIL(E_MODEL, "%s: tensor '%s' has values both here and in another file", f->what, t->name);
    TRY(read_place(&place, p, f->what));
    TRY(onnx_external_find(&f->external, t->name, &place, bytes, &offset));
    t->data = arena_alloc(f->memory, bytes);
    if (!t->data) return FAIL_MEMORY(bytes);
    return onnx_external_read(&f->external, t->name, offset, t->data, bytes);
}

static status read_tensor(onnx_tensor *t, parts *f, const Onnx__TensorProto *p)
{
    const char *name = p->name ? p->name : "", *what = f->what;
    *t = (onnx_tensor){.name = arena_strdup(f->memory, name)};
    if (!t->name) return FAIL_MEMORY(strlen(name));
    if (f->names_only) return OK;
    if (p->segment) return FAIL(E_MODEL, "%s: tensor '%s' is one segment of several", what, name);
    if (!tensor_dtype(p->data_type, &t->type))
        return FAIL(E_MODEL, "%s: tensor '%s' is of ONNX type %d, which is not read", what, name, p->data_type);
    TRY(tensor_shape(&t->shape, p, what));
    int64_t count = shape_count(t->shape);
    size_t bytes = (size_t)count * dtype_bytes(t->type);
    if (p->n_external_data || (p->has_data_location && p->data_location == ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL))
        return read_external(t, f, p, bytes);
    size_t given = p->has_raw_data ? p->raw_data.len : 0;
    if (p->has_raw_data && given != bytes)
        return FAIL(E_MODEL, "%s: tensor '%s' holds %zu bytes, its dimensions say %zu", what, name, given, bytes);
    size_t numbers = p->n_float_data + p->n_double_data + p->n_int64_data + p->n_int32_data;
    if (!p->has_raw_data && numbers != (size_t)count)
        return FAIL(
            E_MODEL, "%s: tensor '%s' holds %zu values, its dimensions say %" PRId64, what, name, numbers, count);
    t->data = arena_alloc(f->memory, bytes);
    if (!t->data) return FAIL_MEMORY(bytes);
    if (!p->has_raw_data) return copy_numbers(t, p, count, what);
    if (bytes) memcpy(t->data, p->raw_data.data, bytes);
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- nodes */

static status copy_text(const char **to, arena *a, const char *from)
{
    *to = from ? arena_strdup(a, from) : "";
    return *to ? OK : FAIL_MEMORY(strlen(from));
}

static status read_attribute(onnx_attribute *to, parts *f, const Onnx__AttributeProto *p)
{
    arena *a = f->memory;
    TRY(copy_text(&to->name, a, p->name));
    to->kind = ONNX_OTHER;
    /* Old files leave the type out: what is there says it. */
    if (p->t) {
        onnx_tensor *t = ARENA_NEW(a, onnx_tensor);
        if (!t) return FAIL_MEMORY(sizeof *t);
        to->kind = ONNX_TENSOR, to->tensor = t;
        return read_tensor(t, f, p->t);
    }
    if (p->g || p->sparse_tensor || p->tp || p->n_strings || p->n_tensors || p->n_graphs || p->n_sparse_tensors ||
        p->n_type_protos)
        return OK;
    if (p->n_ints || p->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS) {
        to->kind = ONNX_INTS, to->count = (int64_t)p->n_ints;
        to->ints = arena_memdup(a, p->ints, p->n_ints * sizeof *p->ints);
        return to->ints ? OK : FAIL_MEMORY(p->n_ints * sizeof *p->ints);
    }
    if (p->n_floats || p->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS) {
        to->kind = ONNX_FLOATS, to->count = (int64_t)p->n_floats;
        to->floats = arena_memdup(a, p->floats, p->n_floats * sizeof *p->floats);
        return to->floats ? OK : FAIL_MEMORY(p->n_floats * sizeof *p->floats);
    }
    if (p->has_s || p->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING) {
        to->kind = ONNX_TEXT;
        to->text = arena_strndup(a, p->s.data ? (const char *)p->s.data : "", p->s.len);
        return to->text ? OK : FAIL_MEMORY(p->s.len);
    }
    if (p->has_f || p->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT) to->kind = ONNX_FLOAT, to->f = p->f;
    else if (p->has_i || p->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT) to->kind = ONNX_INT, to->i = p->i;
    return OK;
}

static status copy_names(const char ***to, arena *a, char *const *from, size_t count)
{
    *to = ARENA_ARRAY(a, const char *, count);
    if (!*to) return FAIL_MEMORY(count * sizeof **to);
    for (size_t i = 0; i < count; i++) TRY(copy_text(&(*to)[i], a, from[i]));
    return OK;
}

static status read_node(onnx_file_node *to, parts *f, const Onnx__NodeProto *p)
{
    TRY(copy_text(&to->type, f->memory, p->op_type));
    TRY(copy_text(&to->name, f->memory, p->name));
    TRY(copy_text(&to->domain, f->memory, p->domain));
    if (p->n_input > ONNX_MAX_IN || p->n_output > ONNX_MAX_OUT || p->n_attribute > 64)
        return FAIL(E_MODEL,
            "%s: node '%s' (%s) has %zu inputs, %zu outputs, %zu attributes: at most %d, %d and 64 are read", f->what,
            to->name, to->type, p->n_input, p->n_output, p->n_attribute, ONNX_MAX_IN, ONNX_MAX_OUT);
    to->in_count = (int32_t)p->n_input, to->out_count = (int32_t)p->n_output,
    to->attribute_count = (int32_t)p->n_attribute;
    TRY(copy_names(&to->in, f->memory, p->input, p->n_input));
    TRY(copy_names(&to->out, f->memory, p->output, p->n_output));
    to->attributes = ARENA_ARRAY(f->memory, onnx_attribute, p->n_attribute);
    if (!to->attributes) return FAIL_MEMORY(p->n_attribute * sizeof *to->attributes);
    for (size_t i = 0; i < p->n_attribute; i++) TRY(read_attribute(&to->attributes[i], f, p->attribute[i]));
    return OK;
}

static status read_port(onnx_port *to, onnx_file *f, const Onnx__ValueInfoProto *p)
{
    TRY(copy_text(&to->name, &f->memory, p->name));
    if (!p->type) return OK;
    if (p->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE)
        return FAIL(E_MODEL, "%s: '%s' is no tensor", f->what, to->name);
    const Onnx__TypeProto__Tensor *t = p->type->tensor_type;
    to->is_float = type_is_float(t->elem_type);
    if (!t->shape) return OK;
    if (t->shape->n_dim > SHAPE_MAX_RANK)
        return FAIL(E_MODEL, "%s: '%s' has %zu dimensions, expected at most %d", f->what, to->name, t->shape->n_dim,
            SHAPE_MAX_RANK);
    to->has_shape = true;
    to->rank = (int32_t)t->shape->n_dim;
    for (int32_t i = 0; i < to->rank; i++) {
        const Onnx__TensorShapeProto__Dimension *d = t->shape->dim[i];
        bool known = d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        to->dim[i] = known && d->dim_value > 0 && d->dim_value <= INT_MAX ? d->dim_value : -1;
    }
    return OK;
}

static status read_ports(onnx_port **to, int64_t *count, onnx_file *f, Onnx__ValueInfoProto *const *from, size_t n)
{
    *to = ARENA_ARRAY(&f->memory, onnx_port, n);
    if (!*to) return FAIL_MEMORY(n * sizeof **to);
    for (*count = 0; *count < (int64_t)n; ++*count) TRY(read_port(&(*to)[*count], f, from[*count]));
    return OK;
}

static status read_head(onnx_file *f, const Onnx__ModelProto *p)
{
    const char *name = p->producer_name ? p->producer_name : "",
               *version = p->producer_version ? p->producer_version : "";
    f->producer = arena_printf(&f->memory, "%s%s%s", name, *name && *version ? " " : "", version);
    if (!f->producer) return FAIL_MEMORY(64);
    for (size_t i = 0; i < p->n_opset_import; i++) {
        const char *domain = p->opset_import[i]->domain;
        if (!domain || !*domain || strcmp(domain, "ai.onnx") == 0) f->opset = p->opset_import[i]->version;
    }
    f->meta_key = ARENA_ARRAY(&f->memory, const char *, p->n_metadata_props);
    f->meta_value = ARENA_ARRAY(&f->memory, const char *, p->n_metadata_props);
    if (!f->meta_key || !f->meta_value) return FAIL_MEMORY(p->n_metadata_props * sizeof *f->meta_key);
    for (; f->meta_count < (int64_t)p->n_metadata_props; f->meta_count++) {
        TRY(copy_text(&f->meta_key[f->meta_count], &f->memory, p->metadata_props[f->meta_count]->key));
        TRY(copy_text(&f->meta_value[f->meta_count], &f->memory, p->metadata_props[f->meta_count]->value));
    }
    return OK;
}

static status read_model(onnx_file *f, parts *of, const Onnx__ModelProto *p)
{
    TRY(read_head(f, p));
    const Onnx__GraphProto *g = p->graph;
    if (!g) return FAIL(E_MODEL, "%s: no ONNX file: it holds no graph", f->what);
    if (g->n_sparse_initializer) return FAIL(E_MODEL, "%s: sparse initialisers are not read", f->what);
    if (g->n_node > ONNX_FILE_MAX_NODES)
        return FAIL(E_MODEL, "%s: %zu nodes, at most %d are read", f->what, g->n_node, ONNX_FILE_MAX_NODES);
    f->tensors = ARENA_ARRAY(&f->memory, onnx_tensor, g->n_initializer);
    f->nodes = ARENA_ARRAY(&f->memory, onnx_file_node, g->n_node);
    if (!f->tensors || !f->nodes) return FAIL_MEMORY(g->n_node * sizeof *f->nodes);
    for (; f->tensor_count < (int64_t)g->n_initializer; f->tensor_count++)
        TRY(read_tensor(&f->tensors[f->tensor_count], of, g->initializer[f->tensor_count]));
    for (; !of->names_only && f->node_count < (int64_t)g->n_node; f->node_count++)
        TRY(read_node(&f->nodes[f->node_count], of, g->node[f->node_count]));
    TRY(read_ports(&f->inputs, &f->input_count, f, g->input, g->n_input));
    return read_ports(&f->outputs, &f->output_count, f, g->output, g->n_output);
}

/* ---------------------------------------------------------------------------------------------------- public */

/* What the model says about the files beside it, and the identity of all that was read. */
static status finish(onnx_file *f, const onnx_external *e, const onnx_source *from)
{
    f->external_tensors = e->tensors, f->external_files = e->file_count;
    if (e->file_count) TRY(copy_text(&f->external_name, &f->memory, e->name[0]));
    f->hash = hash128_of(from->bytes, from->count);
    if (e->tensors == 0) return OK;
    hash128 both[2] = {f->hash, e->hash};
    f->hash = hash128_of(both, sizeof both);
    return OK;
}

status onnx_file_read(onnx_file *f, const onnx_source *from)
{
    *f = (onnx_file){.what = from->what};
    ProtobufCMessage *m = NULL;
    budget b;
    parts p = {.memory = &f->memory, .what = from->what, .external = {.folder = from->folder, .what = from->what},
        .names_only = from->names_only};
    TRY(unpack(&m, &onnx__model_proto__descriptor, from->bytes, from->count, &b, from->what));
    status result = read_model(f, &p, (const Onnx__ModelProto *)m);
    if (result == OK) result = finish(f, &p.external, from);
    protobuf_c_message_free_unpacked(m, &(ProtobufCAllocator){.alloc = take, .free = give_back, .allocator_data = &b});
    onnx_external_close(&p.external);
    if (result != OK) onnx_file_free(f);
    return result;
}

void onnx_file_free(onnx_file *f)
{
    arena_free(&f->memory);
    *f = (onnx_file){0};
}

status onnx_tensor_read(onnx_tensor *t, arena *a, const uint8_t *bytes, size_t count, const char *what)
{
    ProtobufCMessage *m = NULL;
    budget b;
    TRY(unpack(&m, &onnx__tensor_proto__descriptor, bytes, count, &b, what));
    parts p = {.memory = a, .what = what, .external = {.what = what}};
    status result = read_tensor(t, &p, (const Onnx__TensorProto *)m);
    protobuf_c_message_free_unpacked(m, &(ProtobufCAllocator){.alloc = take, .free = give_back, .allocator_data = &b});
    return result;
}
