/* PyTorch's ZIP form: NAME/data.pkl describes the tensors, NAME/data/KEY holds the bytes of a storage. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "models/import/checkpoint.h"
#include "models/import/pickle.h"
#include "models/import/weights.h"
#include "models/import/zip.h"

/* One text may be the name of every tensor, however long it is: without a limit the work would grow faster than the
 * file. */
enum { MAX_NAME = 512 };

typedef struct reader {
    arena *memory;
    zip_archive zip;
    const char *what, *folder; /* "archive/" */
    safetensor *tensors;
    int64_t count;
    size_t copied, file_bytes; /* of strided views */
} reader;

/* ------------------------------------------------------------------------------------------------ one tensor */

static status read_dims(const reader *r, const char *name, const pickle_value *list, int32_t rank, int64_t *dims)
{
    if (list->count != rank || rank > SHAPE_MAX_RANK)
        return FAIL(E_MODEL, "%s: %s has %" PRId64 " dimensions and strides: at most %d of each are supported", r->what,
            name, list->count, SHAPE_MAX_RANK);
    for (int32_t i = 0; i < rank; i++) {
        if (list->items[i]->kind != PICKLE_INT || list->items[i]->integer < 0)
            return FAIL(E_MODEL, "%s: %s: a size or stride that is no number from 0 on", r->what, name);
        dims[i] = list->items[i]->integer;
    }
    return OK;
}

static bool is_contiguous(shape s, const int64_t *stride)
{
    int64_t expected = 1;
    for (int32_t i = s.rank - 1; i >= 0; i--) {
        if (s.dim[i] != 1 && stride[i] != expected) return false;
        expected *= s.dim[i];
    }
    return true;
}

/* Elements from the first to the last one that are touched; false when that overflows. */
static bool find_extent(shape s, const int64_t *stride, int64_t *extent)
{
    *extent = 1;
    for (int32_t i = 0; i < s.rank; i++) {
        int64_t step;
        if (__builtin_mul_overflow(s.dim[i] - 1, stride[i], &step) || __builtin_add_overflow(*extent, step, extent))
            return false;
    }
    return true;
}

static status copy_strided(reader *r, safetensor *t, const int64_t *stride, int64_t elements)
{
    size_t size = dtype_bytes(t->type), at = 0;
    int64_t index[SHAPE_MAX_RANK] = {0};
    /* Many views of one storage must not grow without limit. */
    r->copied += t->bytes;
    if (r->copied > 2 * r->file_bytes)
        return FAIL(E_MODEL, "%s: %s: the views take more than twice the file's bytes: refused", r->what, t->name);
    uint8_t *copy = arena_alloc(r->memory, t->bytes);
    if (!copy) return FAIL_MEMORY(t->bytes);
    for (int64_t i = 0; i < elements; i++, at += size) {
        int64_t from = 0;
        for (int32_t k = 0; k < t->shape.rank; k++) from += index[k] * stride[k];
        memcpy(copy + at, t->data + (size_t)from * size, size);
        for (int32_t k = t->shape.rank - 1; k >= 0 && ++index[k] == t->shape.dim[k]; k--) index[k] = 0;
    }
    t->data = copy;
    return OK;
}

static status find_storage(const reader *r, const char *name, const pickle_value *storage, const uint8_t **data)
{
    char path[MAX_NAME];
    if (strnlen(r->folder, MAX_NAME) + strnlen(storage->text, MAX_NAME) + 6 > sizeof path)
        return FAIL(E_MODEL, "%s: %s: the name of its storage is too long: with its folder at most %d bytes", r->what,
            name, MAX_NAME - 6);
    snprintf(path, sizeof path, "%sdata/%s", r->folder, storage->text);
    const zip_member *m = zip_find(&r->zip, path);
    if (!m) return FAIL(E_MODEL, "%s: %s: %s is not in the archive", r->what, name, path);
    if (storage->integer > INT64_MAX / 8 || m->bytes != (uint64_t)storage->integer * dtype_bytes(storage->type))
        return FAIL(E_MODEL, "%s: %s: %s has %zu bytes, not those of %" PRId64 " %s", r->what, name, path, m->bytes,
            storage->integer, dtype_name(storage->type));
    *data = m->data;
    return OK;
}

static status read_tensor(reader *r, const char *name, const pickle_value *v, safetensor *t)
{
    const pickle_value *storage = v->items[0], *size = v->items[1];
    int64_t stride[SHAPE_MAX_RANK], elements, extent, last;
    const uint8_t *data = NULL;
    *t =
        (safetensor){.name = name, .type = storage->type, .shape.rank = (int32_t)(size->count < 99 ? size->count : 99)};
    TRY(read_dims(r, name, size, t->shape.rank, t->shape.dim));
    TRY(read_dims(r, name, v->items[2], t->shape.rank, stride));
    TRY(find_storage(r, name, storage, &data));
    if (!shape_count_checked(t->shape, &elements)) return FAIL(E_MODEL, "%s: %s: its shape overflows", r->what, name);
    t->data = data;
    if (elements == 0) return OK;
    if (v->integer < 0 || !find_extent(t->shape, stride, &extent) ||
        __builtin_add_overflow(v->integer, extent, &last) || last > storage->integer)
        return FAIL(
            E_MODEL, "%s: %s reaches beyond its storage of %" PRId64 " elements", r->what, name, storage->integer);
    if (elements > storage->integer)
        return FAIL(E_MODEL, "%s: %s repeats its elements (an expanded view): refused", r->what, name);
    t->data = data + (size_t)v->integer * dtype_bytes(t->type);
    t->bytes = (size_t)elements * dtype_bytes(t->type);
    return is_contiguous(t->shape, stride) ? OK : copy_strided(r, t, stride, elements);
}

/* ------------------------------------------------------------------------------------------------ one dictionary */

static int by_name(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

/* Python would keep the last of two tensors under one name; torch.save writes no such file. */
static status refuse_twins(const reader *r)
{
    const char **names = malloc((size_t)(r->count + 1) * sizeof *names);
    if (!names) return FAIL_MEMORY((size_t)r->count * sizeof *names);
    const char *twice = NULL;
    for (int64_t i = 0; i < r->count; i++) names[i] = r->tensors[i].name;
    if (r->count) qsort(names, (size_t)r->count, sizeof *names, by_name);
    for (int64_t i = 1; i < r->count && !twice; i++)
        if (strcmp(names[i - 1], names[i]) == 0) twice = names[i];
    free(names);
    return twice ? FAIL(E_MODEL, "%s: two tensors are called %s", r->what, twice) : OK;
}

static status read_state(reader *r, const pickle_value *d, int64_t most)
{
    if (most > SAFETENSORS_MAX_TENSORS)
        return FAIL(
            E_MODEL, "%s: %" PRId64 " tensors: at most %d are read", r->what, most, SAFETENSORS_MAX_TENSORS);
    r->tensors = ARENA_ARRAY(r->memory, safetensor, most);
    if (!r->tensors) return FAIL_MEMORY((size_t)most * sizeof *r->tensors);
    for (int64_t i = 0; i < d->count; i += 2) {
        if (d->items[i]->kind != PICKLE_TEXT || d->items[i + 1]->kind != PICKLE_TENSOR) continue;
        if (strnlen(d->items[i]->text, MAX_NAME) == MAX_NAME)
            return FAIL(
                E_MODEL, "%s: a tensor's name of %d bytes or more: %.60s...", r->what, MAX_NAME, d->items[i]->text);
        TRY(read_tensor(r, d->items[i]->text, d->items[i + 1], &r->tensors[r->count]));
        r->count++;
    }
    return refuse_twins(r);
}

/* ------------------------------------------------------------------------------------------------ the archive */

static bool ends_with(const char *text, const char *suffix)
{
    size_t length = strlen(text), tail = strlen(suffix);
    return length >= tail && strcmp(text + length - tail, suffix) == 0;
}

static const zip_member *find_pickle(reader *r)
{
    for (int64_t i = 0; i < r->zip.count; i++) {
        const char *name = r->zip.members[i].name, *slash = strchr(name, '/');
        if (!slash || strcmp(slash, "/data.pkl") != 0) continue;
        r->folder = arena_strndup(r->memory, name, (size_t)(slash - name) + 1);
        return r->folder ? &r->zip.members[i] : NULL;
    }
    return NULL;
}

static status check_archive(const reader *r)
{
    for (int64_t i = 0; i < r->zip.count; i++) {
        const zip_member *m = &r->zip.members[i];
        if (ends_with(m->name, "/constants.pkl"))
            return FAIL(E_MODEL, "%s: TorchScript holds a program: refused; save model.state_dict() instead", r->what);
        if (m->compressed) continue;
        if (ends_with(m->name, "/byteorder") && (m->bytes != 6 || memcmp(m->data, "little", 6) != 0))
            return FAIL(E_MODEL, "%s: written on a machine of another byte order: refused", r->what);
    }
    for (int64_t i = 0; i < r->zip.count; i++)
        if (r->zip.members[i].compressed)
            return FAIL(E_MODEL,
                "%s: %s is compressed: torch.save stores its members as they are; unzip the file and zip it again with "
                "-0",
                r->what, r->zip.members[i].name);
    return OK;
}

static status find_note(arena *a, const checkpoint *c, const char **note)
{
    *note = "";
    if (c->raw < 0 && c->passed >= 0)
        *note = arena_printf(a,
            "%s is not taken: an average of the weights (EMA) of %" PRId64 " tensors, of the %" PRId64 " here",
            c->groups[c->passed].name, c->groups[c->passed].tensors, c->groups[c->chosen].tensors);
    if (c->raw < 0) return *note ? OK : FAIL_MEMORY(64);
    const char *raw = c->groups[c->raw].name;
    *note = arena_printf(a,
        "%s is taken, the average of the weights over the training (EMA); --weights %s takes the raw ones",
        c->groups[c->chosen].name, *raw ? raw : ".");
    return *note ? OK : FAIL_MEMORY(strlen(raw));
}

/* Other programs put other things into a ZIP. */
static status refuse_archive(const reader *r)
{
    static const struct { const char *suffix, *what; } known[] = {
        {".npy", "NumPy's .npz: save the arrays as safetensors"},
        {"model.weights.h5", "a Keras archive: save the weights as safetensors or export the network to ONNX"},
        {"[Content_Types].xml", "an Office document"},
    };
    for (int64_t i = 0; i < r->zip.count; i++)
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (ends_with(r->zip.members[i].name, known[k].suffix))
                return FAIL(E_MODEL, "%s: %s", r->what, known[k].what);
    return FAIL(E_MODEL,
        "%s: a ZIP archive without NAME/data.pkl: not written by torch.save; if weights are in it, unpack it", r->what);
}

status pytorch_read(
    arena *a, const uint8_t *bytes, size_t count, const char *what, const char *name, pytorch_weights *w)
{
    reader r = {.memory = a, .what = what, .file_bytes = count};
    const pickle_value *root;
    checkpoint c;
    *w = (pytorch_weights){.note = ""};
    TRY(zip_open(&r.zip, a, bytes, count, what));
    const zip_member *m = find_pickle(&r);
    if (!m) return refuse_archive(&r);
    TRY(check_archive(&r));
    TRY(pickle_read(a, m->data, m->bytes, what, &root));
    TRY(checkpoint_list(&c, a, root, what));
    TRY(checkpoint_choose(&c, name, what));
    TRY(read_state(&r, c.dictionary[c.chosen], c.groups[c.chosen].tensors));
    *w = (pytorch_weights){r.tensors, r.count, c.groups, c.count, c.chosen, c.named, NULL};
    return find_note(a, &c, &w->note);
}
