#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/disguise.h"
#include "core/graph/model.h"
#include "core/graph/safetensors_format.h"

/* ---------------------------------------------------------------------------------------------------- one tensor */

static bool type_from_file(const char *name, dtype *type)
{
    if (name && strcmp(name, "BOOL") == 0) {
        *type = DTYPE_U8;
        return true;
    }
    for (int i = 0; name && i < DTYPE_COUNT; i++)
        if (strcmp(name, safetensors_type_name[i]) == 0) {
            *type = (dtype)i;
            return true;
        }
    return false;
}

static status read_shape(const safetensors *st, safetensor *t, const json *dims, int64_t *count)
{
    if (!dims || dims->type != JSON_ARRAY) return FAIL(E_MODEL, "%s: %s: shape is no list", st->what, t->name);
    if (dims->count > SHAPE_MAX_RANK)
        return FAIL(E_MODEL, "%s: %s has %" PRId64 " dimensions: at most %d are supported", st->what, t->name,
            dims->count, SHAPE_MAX_RANK);
    t->shape.rank = (int32_t)dims->count;
    for (int32_t i = 0; i < t->shape.rank; i++)
        if (!json_int(json_at(dims, i), &t->shape.dim[i]) || t->shape.dim[i] < 0)
            return FAIL(E_MODEL, "%s: %s: shape holds something that is no size", st->what, t->name);
    if (!shape_count_checked(t->shape, count) || *count > INT64_MAX / 8)
        return FAIL(E_MODEL, "%s: %s: shape overflows", st->what, t->name);
    return OK;
}

static status read_tensor(
    const safetensors *st, safetensor *t, const json *entry, const uint8_t *data, int64_t data_bytes)
{
    int64_t count, begin, end;
    const json *offsets = json_get(entry, "data_offsets");
    const char *type = json_string(json_get(entry, "dtype"));
    if (!entry || entry->type != JSON_OBJECT || entry->count != 3)
        return FAIL(E_MODEL, "%s: %s: expected dtype, shape and data_offsets", st->what, t->name);
    if (!type_from_file(type, &t->type))
        return FAIL(E_MODEL, "%s: %s has type %s: expected F64, F32, F16, BF16, I64, I32, I8, U8 or BOOL", st->what,
            t->name, type ? type : "(none)");
    TRY(read_shape(st, t, json_get(entry, "shape"), &count));
    if (!offsets || offsets->count != 2 || !json_int(json_at(offsets, 0), &begin) ||
        !json_int(json_at(offsets, 1), &end))
        return FAIL(E_MODEL, "%s: %s: data_offsets are no pair of numbers", st->what, t->name);
    if (begin < 0 || end < begin || end > data_bytes)
        return FAIL(E_MODEL,
            "%s: %s: bytes %" PRId64 " to %" PRId64 " lie outside the %" PRId64
            " of the file: it is cut off or damaged",
            st->what, t->name, begin, end, data_bytes);
    if (end - begin != count * (int64_t)dtype_bytes(t->type))
        return FAIL(E_MODEL, "%s: %s: %" PRId64 " bytes do not fit its shape and type", st->what, t->name,
            end - begin);
    t->data = data + begin;
    t->bytes = (size_t)(end - begin);
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- the header */

static status read_metadata(safetensors *st, const json *meta)
{
    if (meta->type == JSON_NULL) return OK;
    if (meta->type != JSON_OBJECT) return FAIL(E_MODEL, "%s: __metadata__ is no object", st->what);
    if (meta->count > SAFETENSORS_MAX_METADATA)
        return FAIL(E_MODEL, "%s: __metadata__ has %" PRId64 " entries: at most %d are read", st->what, meta->count,
            SAFETENSORS_MAX_METADATA);
    st->meta_key = ARENA_ARRAY(&st->memory, const char *, meta->count);
    st->meta_value = ARENA_ARRAY(&st->memory, const char *, meta->count);
    if (!st->meta_key || !st->meta_value) return E_MEMORY;
    for (int64_t i = 0; i < meta->count; i++) {
        st->meta_key[i] = meta->keys[i];
        st->meta_value[i] = json_string(meta->items[i]);
        if (!st->meta_value[i]) return FAIL(E_MODEL, "%s: metadata %s is no string", st->what, meta->keys[i]);
    }
    st->meta_count = meta->count;
    return OK;
}

static int by_data(const void *a, const void *b)
{
    const safetensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1; /* empty ones first: they end where they begin */
    return strcmp(x->name, y->name);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const safetensor *const *)a)->name, (*(const safetensor *const *)b)->name);
}

/* Every byte of the data belongs to one tensor: nothing can hide in a gap. */
static status check_cover(const safetensors *st, const uint8_t *data, int64_t data_bytes)
{
    const uint8_t *next = data;
    for (int64_t i = 0; i < st->count; i++) {
        if (st->tensors[i].data != next)
            return FAIL(E_MODEL, "%s: %s: its bytes %s", st->what, st->tensors[i].name,
                st->tensors[i].data < next ? "overlap another tensor's" : "do not follow the tensor before it");
        next += st->tensors[i].bytes;
    }
    if (next != data + data_bytes)
        return FAIL(E_MODEL, "%s: %" PRId64 " bytes behind the last tensor", st->what,
            (int64_t)(data + data_bytes - next));
    return OK;
}

static status read_header(safetensors *st, const json *root, const uint8_t *data, int64_t data_bytes)
{
    if (root->type != JSON_OBJECT) return FAIL(E_MODEL, "%s: the header is no JSON object", st->what);
    if (root->count > SAFETENSORS_MAX_TENSORS + 1) /* __metadata__ */
        return FAIL(E_MODEL, "%s: %" PRId64 " tensors: at most %d are read", st->what, root->count,
            SAFETENSORS_MAX_TENSORS);
    st->tensors = ARENA_ARRAY(&st->memory, safetensor, root->count);
    st->by_name = ARENA_ARRAY(&st->memory, const safetensor *, root->count);
    if (!st->tensors || !st->by_name) return E_MEMORY;
    for (int64_t i = 0; i < root->count; i++) {
        if (strcmp(root->keys[i], "__metadata__") == 0) {
            TRY(read_metadata(st, root->items[i]));
            continue;
        }
        safetensor *t = &st->tensors[st->count++];
        t->name = root->keys[i];
        TRY(read_tensor(st, t, root->items[i], data, data_bytes));
    }
    if (st->count) qsort(st->tensors, (size_t)st->count, sizeof *st->tensors, by_data);
    TRY(check_cover(st, data, data_bytes));
    for (int64_t i = 0; i < st->count; i++) st->by_name[i] = &st->tensors[i];
    if (st->count) qsort(st->by_name, (size_t)st->count, sizeof *st->by_name, by_name);
    return OK;
}

enum { FRONT_BYTES = 1024 }; /* what disguise_of looks at */

/* Is there a header at all? What is none may be something that is known. The first front_bytes of count are at hand. */
static status find_header(const uint8_t *bytes, size_t front_bytes, size_t count, const char *what, uint64_t *length)
{
    const char *known = disguise_of(bytes, front_bytes);
    *length = 0;
    for (size_t i = 0; i < SAFETENSORS_LENGTH_BYTES && i < front_bytes; i++) *length |= (uint64_t)bytes[i] << (8 * i);
    bool fits = count >= SAFETENSORS_LENGTH_BYTES && *length >= 2 && *length <= SAFETENSORS_MAX_HEADER &&
                *length <= count - SAFETENSORS_LENGTH_BYTES;
    if (!fits && known) return FAIL(E_MODEL, "%s: %s", what, known);
    if (count < SAFETENSORS_LENGTH_BYTES)
        return FAIL(E_MODEL, "%s: %zu bytes are too few for a safetensors file", what, count);
    if (*length > SAFETENSORS_MAX_HEADER)
        return FAIL(E_MODEL, "%s: a header of %" PRIu64 " bytes: no safetensors file, or damaged (limit %d)", what,
            *length, SAFETENSORS_MAX_HEADER);
    if (*length > count - SAFETENSORS_LENGTH_BYTES)
        return FAIL(E_MODEL,
            "%s: the header's %" PRIu64 " bytes do not fit the file's %zu: it is cut off or no safetensors file", what,
            *length, count);
    if (!fits || bytes[SAFETENSORS_LENGTH_BYTES] != '{')
        return FAIL(E_MODEL, "%s: the header does not begin with '{'", what);
    return OK;
}

status safetensors_parse(safetensors *st, const uint8_t *bytes, size_t count, const char *what)
{
    *st = (safetensors){0};
    uint64_t length;
    TRY(find_header(bytes, count, count, what, &length));
    const uint8_t *text = bytes + SAFETENSORS_LENGTH_BYTES, *data = text + length;
    status result = OK;
    json *root;
    st->what = arena_strdup(&st->memory, what);
    st->header = bytes;
    st->header_bytes = SAFETENSORS_LENGTH_BYTES + (size_t)length;
    if (!st->what) TRY_OUT(E_MEMORY);
    TRY_OUT(json_parse(&st->memory, (const char *)text, (size_t)length, what, &root));
    TRY_OUT(read_header(st, root, data, (int64_t)(bytes + count - data)));
    return OK;
out:
    safetensors_close(st);
    return result;
}

status safetensors_open(safetensors *st, const char *path)
{
    *st = (safetensors){0};
    file_map map;
    uint64_t length;
    /* What is another kind of file is refused before memory is spent on the whole of it. */
    TRY(file_map_front(&map, path, FRONT_BYTES));
    status result = find_header(map.data, map.bytes, map.file_bytes, path, &length);
    file_map_close(&map);
    TRY(result);
    TRY(file_map_open(&map, path));
    result = safetensors_parse(st, map.data, map.bytes, path);
    if (result == OK) st->map = map;
    else file_map_close(&map);
    return result;
}

const safetensor *safetensors_find(const safetensors *st, const char *name)
{
    safetensor key = {.name = name};
    const safetensor *wanted = &key;
    const safetensor **found =
        st->count ? bsearch(&wanted, st->by_name, (size_t)st->count, sizeof wanted, by_name) : NULL;
    return found ? *found : NULL;
}

const char *safetensors_meta(const safetensors *st, const char *key)
{
    for (int64_t i = 0; i < st->meta_count; i++)
        if (strcmp(st->meta_key[i], key) == 0) return st->meta_value[i];
    return NULL;
}

void safetensors_close(safetensors *st)
{
    arena_free(&st->memory);
    file_map_close(&st->map);
    *st = (safetensors){0};
}

/* ---------------------------------------------------------------------------------------------------- checksums */

static status check_header(const safetensors *st, const json *sums)
{
    const char *stated = json_string(json_get(sums, SAFETENSORS_SELF));
    size_t mark = strlen(SAFETENSORS_MARK);
    const uint8_t *at = memmem(st->header, st->header_bytes, SAFETENSORS_MARK, mark);
    if (!stated || strlen(stated) != 32 || !at || (size_t)(st->header + st->header_bytes - at) < mark + 32)
        return FAIL(E_MODEL, "%s: the header has no checksum: the file is damaged", st->what);
    uint8_t *copy;
    TRY_ALLOC(copy, heap_alloc(st->header_bytes));
    memcpy(copy, st->header, st->header_bytes);
    memset(copy + (at - st->header) + mark, '0', 32);
    char actual[33];
    hash128_hex(hash128_of(copy, st->header_bytes), actual);
    free(copy);
    if (memcmp(at + mark, actual, 32) != 0 || strcmp(stated, actual) != 0)
        return FAIL(E_MODEL, "%s: the header does not match its checksum: the file is damaged", st->what);
    return OK;
}

status safetensors_verify(const safetensors *st)
{
    const char *text = safetensors_meta(st, SAFETENSORS_CHECKSUMS);
    if (!text) return FAIL(E_MODEL, "%s: has no checksums: not written by graft, or damaged", st->what);
    arena a = {0};
    json *sums;
    status result = OK;
    TRY_OUT(json_parse(&a, text, strlen(text), st->what, &sums));
    TRY_OUT(check_header(st, sums));
    if (sums->count != st->count + 1)
        TRY_OUT(FAIL(E_MODEL, "%s: %" PRId64 " tensors, %" PRId64 " checksums", st->what, st->count, sums->count - 1));
    /* The checksums stand in the order of the tensors; looking each one up would be quadratic. */
    for (int64_t i = 0; i < st->count; i++) {
        const safetensor *t = safetensors_find(st, sums->keys[i + 1]);
        const char *stated = json_string(sums->items[i + 1]);
        char actual[33];
        if (!t) TRY_OUT(FAIL(E_MODEL, "%s: a checksum for %s, which is not there", st->what, sums->keys[i + 1]));
        hash128_hex(hash128_of(t->data, t->bytes), actual);
        if (!stated || strcmp(stated, actual) != 0)
            TRY_OUT(FAIL(E_MODEL, "%s: %s does not match its checksum: the file is damaged", st->what, t->name));
    }
out:
    arena_free(&a);
    return result;
}
