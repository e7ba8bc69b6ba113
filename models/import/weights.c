#include "models/import/weights.h"

#include <string.h>

#include "models/import/zip.h"

const char *weights_kind_name(weights_kind kind)
{
    static const char *const names[] = {"Graft model", "safetensors", "PyTorch", "ONNX", "darknet weights", "Graft engine"};
    return names[kind];
}

/* ------------------------------------------------------------------------------------------------ what is it? */

static bool begins(const file_map *m, size_t offset, const char *mark, size_t bytes)
{
    return m->bytes >= offset + bytes && memcmp(m->data + offset, mark, bytes) == 0;
}

/* The length of the header, then its brace. */
static bool is_safetensors(const file_map *m)
{
    uint64_t length = 0;
    for (int i = 0; m->bytes >= 10 && i < 8; i++) length |= (uint64_t)m->data[i] << (8 * i);
    return length >= 2 && length <= m->file_bytes - 8 && m->data[8] == '{';
}

/* A ModelProto begins with its ir_version (field 1, a small number), then another field of it. */
static bool is_onnx(const file_map *m)
{
    return m->bytes > 4 && m->data[0] == 0x08 && m->data[1] >= 1 && m->data[1] < 32 && (m->data[2] & 7) != 7 && m->data[2] >= 0x10 &&
        m->data[2] <= 0xca;
}

/* Three version numbers; darknet's own are 0.1.0 to 0.2.5. A transposed file has 1000 and more added. */
static bool is_darknet(const file_map *m)
{
    int32_t version[3];
    if (m->bytes < 20 || m->file_bytes % 4) return false;
    memcpy(version, m->data, sizeof version);
    return version[0] >= 0 && version[0] <= 1001 && version[1] >= 0 && version[1] <= 1009 && version[0] + version[1] > 0 &&
        version[2] >= 0 && version[2] <= 100;
}

static status refuse_known(const file_map *m, const char *path)
{
    static const struct { size_t offset, bytes; const char *mark, *what; } known[] = {
        {0, 2, "\x80\x02", "PyTorch's old form or a bare pickle: load it in PyTorch 1.6 or newer and torch.save() the state_dict again"},
        {0, 8, "\x89HDF\r\n\x1a\n", "HDF5 (Keras): save the weights as safetensors or export the network to ONNX"},
        {0, 2, "\x1f\x8b", "compressed by gzip: unpack it first"},
        {257, 5, "ustar", "a tar archive: unpack it first"},
        {4, 4, "TFL3", "TensorFlow Lite: export the network to ONNX"},
        {0, 8, "GRAFTSTA", "a training state of Graft: the network is in the .safetensors of the same name"},
        {0, 4, "TRT-", "a calibration cache: its scales are text; export.cache=FILE uses them"},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (begins(m, known[i].offset, known[i].mark, known[i].bytes)) return FAIL(E_MODEL, "%s: %s", path, known[i].what);
    return FAIL(E_MODEL, "%s: none of the known kinds: model or engine of Graft, safetensors, PyTorch (ZIP form), ONNX, darknet weights", path);
}

static status detect(const file_map *m, const char *path, weights_kind *kind)
{
    if (begins(m, 0, "GRAFTENG", 8)) *kind = WEIGHTS_ENGINE;
    else if (zip_is_zip(m->data, m->bytes)) *kind = WEIGHTS_PYTORCH;
    else if (is_safetensors(m)) *kind = WEIGHTS_SAFETENSORS;
    else if (is_onnx(m)) *kind = WEIGHTS_ONNX;
    else if (is_darknet(m)) *kind = WEIGHTS_DARKNET;
    else return refuse_known(m, path);
    return OK;
}

static status detect_graft(const char *path, weights_kind *kind)
{
    safetensors st;
    TRY(safetensors_open(&st, path));
    for (int64_t i = 0; i < st.meta_count; i++)
        if (strncmp(st.meta_key[i], "graft.", 6) == 0 && safetensors_meta(&st, "graft.graph")) *kind = WEIGHTS_GRAFT;
    safetensors_close(&st);
    return OK;
}

status weights_detect(const char *path, weights_kind *kind)
{
    enum { FRONT_BYTES = 4096 }; /* every mark lies in these */
    file_map map;
    TRY(file_map_front(&map, path, FRONT_BYTES));
    status result = detect(&map, path, kind);
    file_map_close(&map);
    return result == OK && *kind == WEIGHTS_SAFETENSORS ? detect_graft(path, kind) : result;
}

/* ------------------------------------------------------------------------------------------------ opening */

/* What wrappers put in front of every name: DataParallel, Lightning, torch.compile. */
static status drop_prefix(arena *a, safetensor *t, int64_t count)
{
    static const char *const wrappers[] = {"module.", "_orig_mod.", "model.", "backbone.", "network."};
    for (size_t k = 0; count && k < sizeof wrappers / sizeof *wrappers; k++) {
        size_t length = strlen(wrappers[k]);
        int64_t with = 0;
        while (with < count && strncmp(t[with].name, wrappers[k], length) == 0) with++;
        if (with < count) continue;
        for (int64_t i = 0; i < count; i++)
            if (!(t[i].name = arena_strdup(a, t[i].name + length))) return FAIL_MEMORY(length);
    }
    return OK;
}

static status open_safetensors(weights *w, const char *path)
{
    TRY(safetensors_open(&w->st, path));
    if (safetensors_meta(&w->st, "graft.checksums") || w->kind == WEIGHTS_GRAFT) TRY(safetensors_verify(&w->st));
    safetensor *copy = ARENA_ARRAY(&w->memory, safetensor, w->st.count);
    if (!copy) return FAIL_MEMORY((size_t)w->st.count * sizeof *copy);
    memcpy(copy, w->st.tensors, (size_t)w->st.count * sizeof *copy);
    w->tensors = copy;
    w->count = w->st.count;
    return drop_prefix(&w->memory, copy, w->count);
}

static status open_pytorch(weights *w, const char *path)
{
    safetensor *tensors;
    TRY(file_map_open(&w->map, path));
    TRY(pytorch_read(&w->memory, w->map.data, w->map.bytes, path, &tensors, &w->count));
    w->tensors = tensors;
    return drop_prefix(&w->memory, tensors, w->count);
}

status weights_open(weights *w, const char *path)
{
    *w = (weights){0};
    TRY(weights_detect(path, &w->kind));
    status result = OK;
    switch (w->kind) {
    case WEIGHTS_GRAFT:
    case WEIGHTS_SAFETENSORS:
        result = open_safetensors(w, path);
        break;
    case WEIGHTS_PYTORCH:
        result = open_pytorch(w, path);
        break;
    case WEIGHTS_ONNX:
    case WEIGHTS_DARKNET:
    case WEIGHTS_ENGINE:
        result = FAIL(E_MODEL, "%s: %s: its tensors have no names that could be matched; graft import makes a model of it", path, weights_kind_name(w->kind));
    }
    if (result != OK) weights_close(w);
    return result;
}

void weights_close(weights *w)
{
    safetensors_close(&w->st);
    file_map_close(&w->map);
    arena_free(&w->memory);
    *w = (weights){0};
}
