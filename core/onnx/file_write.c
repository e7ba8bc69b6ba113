#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/base/version.h"
#include "core/onnx/file.h"
#include "onnx.pb-c.h"

enum { OPSET = 13, IR_VERSION = 7 };

/* Everything lives in one arena until the bytes are written; protobuf-c does not change what it packs. */
static char *text_of(const char *text) { return (char *)(uintptr_t)text; }

static int32_t onnx_type(dtype type)
{
    switch (type) {
    case DTYPE_F32: return ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    case DTYPE_F16: return ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16;
    case DTYPE_BF16: return ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16;
    case DTYPE_F64: return ONNX__TENSOR_PROTO__DATA_TYPE__DOUBLE;
    case DTYPE_I8: return ONNX__TENSOR_PROTO__DATA_TYPE__INT8;
    case DTYPE_U8: return ONNX__TENSOR_PROTO__DATA_TYPE__UINT8;
    case DTYPE_I32: return ONNX__TENSOR_PROTO__DATA_TYPE__INT32;
    default: return ONNX__TENSOR_PROTO__DATA_TYPE__INT64;
    }
}

/* [count] zeroed structures and as many pointers to them. */
#define LIST(a, count, type, init, list)                                                                               \
    do {                                                                                                               \
        type *items_ = ARENA_ARRAY(a, type, count);                                                                    \
        (list) = ARENA_ARRAY(a, type *, count);                                                                        \
        if (!items_ || !(list)) return FAIL_MEMORY((size_t)(count) * sizeof(type));                                    \
        for (int64_t i_ = 0; i_ < (int64_t)(count); i_++) init(&items_[i_]), (list)[i_] = &items_[i_];                 \
    } while (0)

static void put_tensor(Onnx__TensorProto *to, const onnx_tensor *from)
{
    to->name = text_of(from->name);
    to->has_data_type = true;
    to->data_type = onnx_type(from->type);
    to->n_dims = (size_t)from->shape.rank;
    to->dims = (int64_t *)(uintptr_t)from->shape.dim;
    to->has_raw_data = true;
    to->raw_data.len = (size_t)shape_count(from->shape) * dtype_bytes(from->type);
    to->raw_data.data = from->data;
}

static void put_attribute(Onnx__AttributeProto *to, const onnx_attribute *from)
{
    to->name = text_of(from->name);
    to->has_type = true;
    switch (from->kind) {
    case ONNX_INT:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
        to->has_i = true, to->i = from->i;
        break;
    case ONNX_FLOAT:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
        to->has_f = true, to->f = from->f;
        break;
    case ONNX_TEXT:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
        to->has_s = true, to->s.len = strlen(from->text), to->s.data = (uint8_t *)text_of(from->text);
        break;
    case ONNX_INTS:
        to->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
        to->n_ints = (size_t)from->count, to->ints = (int64_t *)(uintptr_t)from->ints;
        break;
    default: BUG("attribute %s of kind %d is never written", from->name, (int)from->kind);
    }
}

static status put_node(arena *a, Onnx__NodeProto *to, const onnx_out_node *from)
{
    to->op_type = text_of(from->type);
    to->name = text_of(from->name);
    to->n_input = (size_t)from->in_count;
    to->input = (char **)(uintptr_t)from->in;
    to->n_output = 1;
    to->output = (char **)(uintptr_t)&from->out;
    to->n_attribute = (size_t)from->attribute_count;
    LIST(a, from->attribute_count, Onnx__AttributeProto, onnx__attribute_proto__init, to->attribute);
    for (int32_t i = 0; i < from->attribute_count; i++) put_attribute(to->attribute[i], &from->attribute[i]);
    return OK;
}

static status put_port(arena *a, Onnx__ValueInfoProto *to, const onnx_port *from)
{
    Onnx__TypeProto **type;
    Onnx__TypeProto__Tensor **tensor;
    Onnx__TensorShapeProto **dims;
    LIST(a, 1, Onnx__TypeProto, onnx__type_proto__init, type);
    LIST(a, 1, Onnx__TypeProto__Tensor, onnx__type_proto__tensor__init, tensor);
    LIST(a, 1, Onnx__TensorShapeProto, onnx__tensor_shape_proto__init, dims);
    LIST(a, from->rank, Onnx__TensorShapeProto__Dimension, onnx__tensor_shape_proto__dimension__init, dims[0]->dim);
    dims[0]->n_dim = (size_t)from->rank;
    for (int32_t i = 0; i < from->rank; i++) {
        Onnx__TensorShapeProto__Dimension *d = dims[0]->dim[i];
        d->value_case = from->dim[i] < 0 ? ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM
                                         : ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
        if (from->dim[i] < 0) d->dim_param = text_of("N");
        else d->dim_value = from->dim[i];
    }
    tensor[0]->has_elem_type = true;
    tensor[0]->elem_type = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT;
    tensor[0]->shape = dims[0];
    type[0]->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
    type[0]->tensor_type = tensor[0];
    to->name = text_of(from->name);
    to->type = type[0];
    return OK;
}

static status put_graph(arena *a, Onnx__GraphProto *to, const onnx_out_file *f)
{
    const onnx_sink *s = f->sink;
    to->name = text_of("graft");
    to->n_node = (size_t)s->node_count, to->n_initializer = (size_t)s->tensor_count;
    to->n_input = to->n_output = 1;
    LIST(a, s->node_count, Onnx__NodeProto, onnx__node_proto__init, to->node);
    LIST(a, s->tensor_count, Onnx__TensorProto, onnx__tensor_proto__init, to->initializer);
    LIST(a, 1, Onnx__ValueInfoProto, onnx__value_info_proto__init, to->input);
    LIST(a, 1, Onnx__ValueInfoProto, onnx__value_info_proto__init, to->output);
    for (int64_t i = 0; i < s->node_count; i++) TRY(put_node(a, to->node[i], &s->nodes[i]));
    for (int64_t i = 0; i < s->tensor_count; i++) put_tensor(to->initializer[i], &s->tensors[i]);
    TRY(put_port(a, to->input[0], f->input));
    return put_port(a, to->output[0], f->output);
}

static status put_model(arena *a, Onnx__ModelProto *to, const onnx_out_file *f)
{
    Onnx__GraphProto **g;
    LIST(a, 1, Onnx__GraphProto, onnx__graph_proto__init, g);
    LIST(a, 1, Onnx__OperatorSetIdProto, onnx__operator_set_id_proto__init, to->opset_import);
    LIST(a, f->meta_count, Onnx__StringStringEntryProto, onnx__string_string_entry_proto__init, to->metadata_props);
    to->has_ir_version = true, to->ir_version = IR_VERSION;
    to->producer_name = text_of("graft"), to->producer_version = text_of(GRAFT_VERSION);
    to->n_opset_import = 1;
    to->opset_import[0]->domain = text_of("");
    to->opset_import[0]->has_version = true, to->opset_import[0]->version = OPSET;
    to->n_metadata_props = (size_t)f->meta_count;
    for (int64_t i = 0; i < f->meta_count; i++) {
        to->metadata_props[i]->key = text_of(f->meta[2 * i]);
        to->metadata_props[i]->value = text_of(f->meta[2 * i + 1]);
    }
    to->graph = g[0];
    return put_graph(a, g[0], f);
}

status onnx_file_write(const onnx_out_file *f, const char *path, hash128 *file_hash)
{
    arena a = {0};
    Onnx__ModelProto m = ONNX__MODEL_PROTO__INIT;
    uint8_t *bytes = NULL;
    status result = put_model(&a, &m, f);
    size_t count = result == OK ? onnx__model_proto__get_packed_size(&m) : 0;
    if (result == OK && count > INT_MAX)
        result = FAIL(E_MODEL, "%s: %zu bytes, but an ONNX file ends at 2 GiB", path, count);
    if (result == OK && !(bytes = malloc(count))) result = FAIL_MEMORY(count);
    if (result == OK) {
        onnx__model_proto__pack(&m, bytes);
        if (file_hash) *file_hash = hash128_of(bytes, count);
        result = file_write_all(path, bytes, count);
    }
    free(bytes);
    arena_free(&a);
    return result;
}
