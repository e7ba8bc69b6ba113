#include "core/onnx/external.h"

#include <inttypes.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ONNX_EXTERNAL_MAX_BYTES (INT64_C(8) << 30)

static status fail(const onnx_external *e, const char *tensor)
{
    return FAIL(E_MODEL, "%s: values of tensor '%s': %s", e->what, tensor, status_message());
}

/* Opens the file unless it is the one that is open. */
static status open_file(onnx_external *e, const char *tensor, const char *location)
{
    const char *name = strncmp(location, "./", 2) == 0 ? location + 2 : location;
    if (e->current && strcmp(e->current, name) == 0) return OK;
    file_input_close(&e->input);
    e->current = NULL;
    if (file_input_open_beside(&e->input, e->folder, name) != OK)
        return FAIL(E_MODEL, "%s: values of tensor '%s': %s; they must lie in a file beside the model", e->what, tensor,
            status_message());
    for (int64_t i = 0; i < e->file_count && !e->current; i++)
        if (strcmp(e->name[i], name) == 0) e->current = e->name[i];
    if (e->current) return OK;
    if (e->file_count == ONNX_EXTERNAL_MAX_FILES)
        return FAIL(E_MODEL, "%s: values in more than %d files: save the model with all of them in one", e->what,
            ONNX_EXTERNAL_MAX_FILES);
    TRY(array_reserve((void **)&e->name, &e->name_capacity, e->file_count + 1, sizeof *e->name));
    if (!(e->current = strdup(name))) return FAIL_MEMORY(strlen(name));
    e->name[e->file_count++] = e->current;
    e->file_bytes += e->input.bytes < ONNX_EXTERNAL_MAX_BYTES ? e->input.bytes : ONNX_EXTERNAL_MAX_BYTES;
    return OK;
}

/* A decimal number and nothing else. */
static bool read_number(const char *text, int64_t *value)
{
    char *end;
    if (*text < '0' || *text > '9') return false;
    errno = 0;
    long long number = strtoll(text, &end, 10);
    *value = number;
    return errno == 0 && *end == 0;
}

status onnx_external_find(onnx_external *e, const char *tensor, const onnx_place *p, size_t bytes, int64_t *offset)
{
    int64_t length;
    *offset = 0;
    if (!p->location)
        return FAIL(E_MODEL, "%s: tensor '%s' lies in another file, whose name (location) is missing", e->what, tensor);
    TRY(open_file(e, tensor, p->location));
    if (p->offset && !read_number(p->offset, offset))
        return FAIL(E_MODEL, "%s: tensor '%s': offset = %s, expected a number of bytes", e->what, tensor, p->offset);
    if (p->length && !read_number(p->length, &length))
        return FAIL(E_MODEL, "%s: tensor '%s': length = %s, expected a number of bytes", e->what, tensor, p->length);
    if (p->length && (uint64_t)length != bytes)
        return FAIL(E_MODEL, "%s: tensor '%s': length = %s, its dimensions say %zu", e->what, tensor, p->length, bytes);
    if (*offset > e->input.bytes || bytes > (uint64_t)(e->input.bytes - *offset))
        return FAIL(E_MODEL,
            "%s: tensor '%s': %zu bytes from byte %" PRId64 " of '%s', which has %" PRId64 ": truncated?", e->what,
            tensor, bytes, *offset, e->current, e->input.bytes);
    if (bytes > (uint64_t)(ONNX_EXTERNAL_MAX_BYTES - e->bytes))
        return FAIL(E_MODEL, "%s: more than %" PRId64 " GiB in other files", e->what,
            (ONNX_EXTERNAL_MAX_BYTES >> 30));
    if ((int64_t)bytes > ONNX_EXTERNAL_MAX_READS * e->file_bytes - e->bytes)
        return FAIL(E_MODEL, "%s: tensor '%s': the same bytes are read again and again, in all over %d times the files",
            e->what, tensor, ONNX_EXTERNAL_MAX_READS);
    e->bytes += (int64_t)bytes;
    return OK;
}

status onnx_external_read(onnx_external *e, const char *tensor, int64_t offset, void *to, size_t bytes)
{
    if (file_input_read(&e->input, offset, to, bytes) != OK) return fail(e, tensor);
    hash128 both[2] = {e->hash, hash128_of(to, bytes)};
    e->hash = hash128_of(both, sizeof both);
    e->tensors++;
    return OK;
}

void onnx_external_close(onnx_external *e)
{
    file_input_close(&e->input);
    for (int64_t i = 0; i < e->file_count; i++) free((void *)(uintptr_t)e->name[i]);
    free(e->name);
    *e = (onnx_external){.folder = NULL};
}
