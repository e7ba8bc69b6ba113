#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/model.h"
#include "core/graph/safetensors_format.h"

const char *const safetensors_type_name[DTYPE_COUNT] = {
    [DTYPE_F32] = "F32", [DTYPE_F16] = "F16", [DTYPE_BF16] = "BF16", [DTYPE_F64] = "F64",
    [DTYPE_I8] = "I8",   [DTYPE_U8] = "U8",   [DTYPE_I32] = "I32",   [DTYPE_I64] = "I64",
};

static const char zeros[] = "00000000000000000000000000000000";

static int by_size_and_name(const void *a, const void *b)
{
    const safetensor *x = *(const safetensor *const *)a, *y = *(const safetensor *const *)b;
    size_t p = dtype_bytes(x->type), q = dtype_bytes(y->type);
    if (p != q) return p > q ? -1 : 1;
    return strcmp(x->name, y->name);
}

static status check_tensors(const char *path, const safetensor *const *sorted, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        const safetensor *t = sorted[i];
        if (strcmp(t->name, "__metadata__") == 0 || strcmp(t->name, SAFETENSORS_SELF) == 0)
            return FAIL(E_MODEL, "%s: no tensor can be called %s", path, t->name);
        if (t->bytes != (size_t)shape_count(t->shape) * dtype_bytes(t->type))
            return FAIL(E_INTERNAL, "%s: %s has %zu bytes", path, t->name, t->bytes);
        for (int64_t k = i + 1; k < count && dtype_bytes(sorted[k]->type) == dtype_bytes(t->type); k++) {
            if (strcmp(t->name, sorted[k]->name) != 0) break;
            return FAIL(E_MODEL, "%s: two tensors are called %s", path, t->name);
        }
    }
    return OK;
}

static status checksums_text(json_writer *w, const safetensor *const *sorted, int64_t count, const char **text)
{
    char hex[33];
    size_t bytes;
    json_begin_object(w);
    json_key(w, SAFETENSORS_SELF);
    json_put_string(w, zeros);
    for (int64_t i = 0; i < count; i++) {
        hash128_hex(hash128_of(sorted[i]->data, sorted[i]->bytes), hex);
        json_key(w, sorted[i]->name);
        json_put_string(w, hex);
    }
    json_end_object(w);
    return json_writer_finish(w, text, &bytes);
}

static void put_entry(json_writer *w, const safetensor *t, int64_t *offset)
{
    json_key(w, t->name);
    json_begin_object(w);
    json_key(w, "dtype");
    json_put_string(w, safetensors_type_name[t->type]);
    json_key(w, "shape");
    json_begin_array(w);
    for (int32_t i = 0; i < t->shape.rank; i++) json_put_int(w, t->shape.dim[i]);
    json_end_array(w);
    json_key(w, "data_offsets");
    json_begin_array(w);
    json_put_int(w, *offset);
    *offset += (int64_t)t->bytes;
    json_put_int(w, *offset);
    json_end_array(w);
    json_end_object(w);
}

static void put_header(json_writer *w, const char *checksums, const safetensor *const *sorted, int64_t count,
    const char *const *meta, int64_t meta_count)
{
    int64_t offset = 0;
    json_begin_object(w);
    json_key(w, "__metadata__");
    json_begin_object(w);
    json_key(w, SAFETENSORS_CHECKSUMS);
    json_put_string(w, checksums);
    json_key(w, "format");
    json_put_string(w, "pt");
    for (int64_t i = 0; i < meta_count; i++) {
        json_key(w, meta[2 * i]);
        json_put_string(w, meta[2 * i + 1]);
    }
    json_end_object(w);
    for (int64_t i = 0; i < count; i++) put_entry(w, sorted[i], &offset);
    json_end_object(w);
}

/* Length, text, blanks to a multiple of 8; then its own checksum in place of the zeros. */
static status finish_header(
    arena *a, const char *path, const char *text, size_t bytes, uint8_t **header, size_t *header_bytes)
{
    size_t length = (bytes + 7) / 8 * 8;
    if (length > SAFETENSORS_MAX_HEADER)
        return FAIL(E_MODEL, "%s: a header of %zu bytes: the format allows %d", path, length, SAFETENSORS_MAX_HEADER);
    *header_bytes = SAFETENSORS_LENGTH_BYTES + length;
    uint8_t *h = *header = arena_alloc(a, *header_bytes);
    if (!h) return E_MEMORY;
    for (int i = 0; i < SAFETENSORS_LENGTH_BYTES; i++) h[i] = (uint8_t)(length >> (8 * i));
    memset(h + SAFETENSORS_LENGTH_BYTES, ' ', length);
    memcpy(h + SAFETENSORS_LENGTH_BYTES, text, bytes);
    uint8_t *mark = memmem(h, *header_bytes, SAFETENSORS_MARK, strlen(SAFETENSORS_MARK));
    if (!mark) BUG("a header without the place of its checksum");
    char hex[33];
    hash128_hex(hash128_of(h, *header_bytes), hex);
    memcpy(mark + strlen(SAFETENSORS_MARK), hex, 32);
    return OK;
}

static status write_file(const char *path, const uint8_t *header, size_t header_bytes, const safetensor *const *sorted,
    int64_t count, hash128 *file_hash)
{
    file_writer w = {0};
    status result = OK;
    TRY_OUT(file_writer_open(&w, path));
    TRY_OUT(file_writer_write(&w, header, header_bytes));
    for (int64_t i = 0; i < count; i++) TRY_OUT(file_writer_write(&w, sorted[i]->data, sorted[i]->bytes));
    if (file_hash) {
        /* Before the commit: afterwards the name may already belong to another process's file. */
        if (fflush(w.stream) != 0) TRY_OUT(FAIL(E_IO, "%s: cannot write: no space left?", path));
        TRY_OUT(hash128_of_file(w.temp_path, file_hash));
    }
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}

status safetensors_write(const char *path, const safetensor *tensors, int64_t count, const char *const *meta,
    int64_t meta_count, hash128 *file_hash)
{
    arena a = {0};
    json_writer sums = {0}, head = {0};
    status result = OK;
    const char *text;
    size_t bytes, header_bytes = 0;
    uint8_t *header = NULL;
    const safetensor **sorted;
    TRY_ALLOC_OUT(sorted, ARENA_ARRAY(&a, const safetensor *, count));
    for (int64_t i = 0; i < count; i++) sorted[i] = &tensors[i];
    if (count) qsort(sorted, (size_t)count, sizeof *sorted, by_size_and_name);
    TRY_OUT(check_tensors(path, sorted, count));
    TRY_OUT(checksums_text(&sums, sorted, count, &text));
    put_header(&head, text, sorted, count, meta, meta_count);
    TRY_OUT(json_writer_finish(&head, &text, &bytes));
    TRY_OUT(finish_header(&a, path, text, bytes, &header, &header_bytes));
    TRY_OUT(write_file(path, header, header_bytes, sorted, count, file_hash));
out:
    json_writer_free(&sums);
    json_writer_free(&head);
    arena_free(&a);
    return result;
}
