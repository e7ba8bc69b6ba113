#include "models/import/weights.h"

#include <inttypes.h>
#include <string.h>

#include "core/base/disguise.h"
#include "models/import/zip.h"

const char *weights_kind_name(weights_kind kind)
{
    static const char *const names[] = {
        "Graft model", "safetensors", "PyTorch", "ONNX", "darknet weights", "Graft engine"};
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
    return m->bytes > 4 && m->data[0] == 0x08 && m->data[1] >= 1 && m->data[1] < 32 && (m->data[2] & 7) != 7 &&
           m->data[2] >= 0x10 && m->data[2] <= 0xca;
}

/* Three version numbers; darknet's own are 0.1.0 to 0.2.5. A transposed file has 1000 and more added. */
static bool is_darknet(const file_map *m)
{
    int32_t version[3];
    if (m->bytes < 20 || m->file_bytes % 4) return false;
    memcpy(version, m->data, sizeof version);
    return version[0] >= 0 && version[0] <= 1001 && version[1] >= 0 && version[1] <= 1009 &&
           version[0] + version[1] > 0 && version[2] >= 0 && version[2] <= 100;
}

static status detect(const file_map *m, const char *path, weights_kind *kind)
{
    if (begins(m, 0, "GRAFTENG", 8)) *kind = WEIGHTS_ENGINE;
    else if (zip_is_zip(m->data, m->bytes)) *kind = WEIGHTS_PYTORCH;
    else if (is_safetensors(m)) *kind = WEIGHTS_SAFETENSORS;
    else if (is_onnx(m)) *kind = WEIGHTS_ONNX;
    else if (is_darknet(m)) *kind = WEIGHTS_DARKNET;
    else {
        const char *known = disguise_of(m->data, m->bytes);
        return FAIL(E_MODEL, "%s: %s", path,
            known ? known
                  : "none of the known kinds: model or engine of Graft, safetensors, PyTorch (ZIP form), ONNX, darknet "
                    "weights");
    }
    return OK;
}

static status detect_graft(const char *path, weights_kind *kind)
{
    safetensors st;
    TRY(safetensors_open(&st, path));
    if (safetensors_meta(&st, "graft.graph")) *kind = WEIGHTS_GRAFT;
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

const char *weights_list_groups(arena *a, const weights_group *groups, int64_t count)
{
    enum { LISTED = 6 };
    const char *list = "";
    for (int64_t i = 0; i < count && i < LISTED && list; i++)
        list = arena_printf(a, "%s%s%.100s (%" PRId64 " tensors)", list, i ? ", " : "",
            *groups[i].name ? groups[i].name : "the file itself", groups[i].tensors);
    if (list && count > LISTED) list = arena_printf(a, "%s and %" PRId64 " more", list, (count - LISTED));
    return list ? list : "";
}

status weights_take_prefix(weights *w, const char *prefix)
{
    size_t length = strlen(prefix);
    int64_t inside = 0, outside = w->outside_count;
    safetensor *in = ARENA_ARRAY(&w->memory, safetensor, w->count),
               *out = ARENA_ARRAY(&w->memory, safetensor, w->outside_count + w->count);
    const char *whole = arena_printf(&w->memory, "%s%s", w->prefix ? w->prefix : "", prefix);
    if (!in || !out || !whole) return FAIL_MEMORY((size_t)w->count * sizeof *in);
    if (outside) memcpy(out, w->outside, (size_t)outside * sizeof *out);
    for (int64_t i = 0; i < w->count; i++) {
        if (strncmp(w->tensors[i].name, prefix, length) == 0) {
            in[inside] = w->tensors[i];
            in[inside++].name += length;
        } else out[outside++] = w->tensors[i];
    }
    w->tensors = in, w->count = inside;
    w->outside = out, w->outside_count = outside;
    w->prefix = whole;
    return OK;
}

/* Beginnings of names, up to the first dot. */
static const char *list_beginnings(weights *w)
{
    enum { LISTED = 8 };
    const char *list = "";
    size_t length[LISTED];
    int64_t first[LISTED], found = 0;
    for (int64_t i = 0; i < w->count && found < LISTED; i++) {
        const char *name = w->tensors[i].name;
        size_t part = strcspn(name, ".");
        int64_t k = 0;
        while (k < found && (length[k] != part || strncmp(w->tensors[first[k]].name, name, part) != 0)) k++;
        if (k < found || !name[part]) continue;
        length[found] = part, first[found++] = i;
        list = arena_printf(&w->memory, "%s%s%.*s", list, *list ? ", " : "", part < 60 ? (int)part : 60, name);
        if (!list) return "";
    }
    return list;
}

/* `name` is the beginning of the names of tensors. */
static status choose_beginning(weights *w, const char *name)
{
    size_t length = strlen(name);
    w->whole_names = strcmp(name, ".") == 0;
    if (w->whole_names) return OK;
    const char *prefix = arena_printf(&w->memory, "%s%s", name, length && name[length - 1] == '.' ? "" : ".");
    if (!prefix) return FAIL_MEMORY(length);
    for (int64_t i = 0; i < w->count; i++)
        if (strncmp(w->tensors[i].name, prefix, strlen(prefix)) == 0) return weights_take_prefix(w, prefix);
    const char *beginnings = list_beginnings(w);
    return FAIL(E_USAGE, "%s: --weights %s: no dictionary of it and no tensor's name begins so; %s%s%s%s%s", w->what,
        name, w->group_count ? "it has " : "",
        w->group_count ? weights_list_groups(&w->memory, w->groups, w->group_count) : "",
        w->group_count && *beginnings ? "; " : "", *beginnings ? "names begin with " : "", beginnings);
}

static status open_safetensors(weights *w, const char *path)
{
    TRY(safetensors_open(&w->st, path));
    if (safetensors_meta(&w->st, "graft.checksums") || w->kind == WEIGHTS_GRAFT) TRY(safetensors_verify(&w->st));
    w->tensors = w->st.tensors;
    w->count = w->st.count;
    return OK;
}

static status open_pytorch(weights *w, const char *path, const char *name, bool *named)
{
    pytorch_weights p;
    TRY(file_map_open(&w->map, path));
    TRY(pytorch_read(&w->memory, w->map.data, w->map.bytes, path, name, &p));
    w->tensors = p.tensors, w->count = p.count;
    w->groups = p.groups, w->group_count = p.group_count, w->chosen = p.chosen;
    w->note = p.note;
    *named = p.named;
    return OK;
}

static status open_kind(weights *w, const char *path, const char *name)
{
    bool named = false;
    TRY(weights_detect(path, &w->kind));
    w->what = arena_strdup(&w->memory, path);
    if (!w->what) return FAIL_MEMORY(strlen(path));
    switch (w->kind) {
    case WEIGHTS_GRAFT:
    case WEIGHTS_SAFETENSORS:
        TRY(open_safetensors(w, path));
        break;
    case WEIGHTS_PYTORCH:
        TRY(open_pytorch(w, path, name, &named));
        break;
    case WEIGHTS_ONNX:
    case WEIGHTS_DARKNET:
    case WEIGHTS_ENGINE:
        return FAIL(E_MODEL,
            "%s: %s: its tensors have no names that could be matched; graft import makes a model of it", path,
            weights_kind_name(w->kind));
    }
    return name && !named ? choose_beginning(w, name) : OK;
}

static bool has_prefix(const char *name, const char *prefix) { return strncmp(name, prefix, strlen(prefix)) == 0; }

/* torchvision's detectors hold a backbone and a pyramid, "backbone.body.conv1" and "backbone.fpn...", beside their
 * heads: ours have these names without what stands in front. */
static status join_backbone(weights *w)
{
    static const char body[] = "backbone.body.", fpn[] = "backbone.fpn.", backbone[] = "backbone.";
    bool has_body = false, has_fpn = false;
    for (int64_t i = 0; i < w->count; i++) {
        has_body = has_body || has_prefix(w->tensors[i].name, body);
        has_fpn = has_fpn || has_prefix(w->tensors[i].name, fpn);
    }
    if (!has_body || !has_fpn) return OK;
    safetensor *renamed = ARENA_ARRAY(&w->memory, safetensor, w->count);
    if (!renamed) return FAIL_MEMORY((size_t)w->count * sizeof *renamed);
    for (int64_t i = 0; i < w->count; i++) {
        renamed[i] = w->tensors[i];
        if (has_prefix(renamed[i].name, body)) renamed[i].name += strlen(body);
        else if (has_prefix(renamed[i].name, fpn)) renamed[i].name += strlen(backbone);
    }
    w->tensors = renamed;
    return OK;
}

status weights_open(weights *w, const char *path, const char *name)
{
    *w = (weights){.prefix = "", .note = ""};
    status result = open_kind(w, path, name);
    if (result == OK) result = join_backbone(w);
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
