/* Files of other programs: tensors, and the network where it can be told. */
#include <inttypes.h>
#include <string.h>

#include "cli/inspect.h"
#include "core/base/text.h"
#include "core/onnx/onnx.h"
#include "models/import/darknet.h"
#include "models/import/match.h"
#include "models/models.h"

/* ----------------------------------------------------------------------------------------------- tensors with names */

static void list_tensors(cli_context *c, const weights *w)
{
    int64_t elements = 0;
    bool all = cli_is_given(c, "--layers") || w->kind == WEIGHTS_SAFETENSORS;
    json_key(&c->result, "tensors");
    json_begin_array(&c->result);
    for (int64_t i = 0; i < w->count; i++) {
        const safetensor *t = &w->tensors[i];
        char text[128];
        shape_text(t->shape, text);
        elements += shape_count(t->shape);
        if (all) cli_print(c, "%-48s %-5s %s\n", text_printable(&c->memory, t->name), dtype_name(t->type), text);
        json_begin_object(&c->result);
        inspect_put_text(c, "name", t->name);
        inspect_put_text(c, "type", dtype_name(t->type));
        inspect_put_text(c, "shape", text);
        json_end_object(&c->result);
    }
    json_end_array(&c->result);
    cli_print(c, "elements      %" PRId64 " in %" PRId64 " tensors\n", elements, w->count);
    inspect_put_int(c, "elements", elements);
}

/* The network that the names fit: nothing is said when none does. */
static status print_match(cli_context *c, weights *w, const char *path)
{
    config guess;
    weights_match m;
    graph g = {0};
    TRY(config_init(&guess));
    status result = weights_adopt_metadata(w, &guess);
    if (result == OK && weights_match_network(w, &guess, &m) != OK) {
        cli_print(c, "network       none of Graft's: %s\n", status_message());
        config_free(&guess);
        return OK;
    }
    if (result == OK) result = config_finish(&guess);
    if (result == OK) result = models_build(&g, &guess.spec, m.classes > 0 ? m.classes : 1);
    if (result == OK) {
        if (*m.note) cli_print(c, "              %s\n", text_printable(&c->memory, m.note));
        if (*w->prefix) cli_print(c, "prefix        %s\n", text_printable(&c->memory, w->prefix));
        if (*m.head_note) cli_print(c, "              %s\n", text_printable(&c->memory, m.head_note));
        cli_print(c, "fits          %s: %" PRId64 " of its %" PRId64 " tensors by name%s%s, %" PRId64 " classes\n",
            guess.spec.model.arch, m.matched, m.wanted, *m.names ? ", names of " : "", m.names, m.classes);
        inspect_put_text(c, "arch", guess.spec.model.arch);
        inspect_put_int(c, "class_count", m.classes);
        result = inspect_graph(c, &g, path_base(path), false);
        graph_free(&g);
    }
    config_free(&guess);
    return result;
}

static status inspect_named(cli_context *c, const char *path)
{
    weights w;
    TRY(weights_open(&w, path, cli_value(c, "--weights")));
    cli_print(c, "%s: %s, %" PRId64 " tensors\n", text_printable(&c->memory, path), weights_kind_name(w.kind), w.count);
    if (w.group_count > 1)
        cli_print(c, "weights       %s\n",
            text_printable(&c->memory, weights_list_groups(&c->memory, w.groups, w.group_count)));
    if (*w.note) cli_print(c, "              %s\n", text_printable(&c->memory, w.note));
    inspect_put_text(c, "kind", w.kind == WEIGHTS_PYTORCH ? "pytorch" : "safetensors");
    list_tensors(c, &w);
    json_key(&c->result, "metadata");
    json_begin_object(&c->result);
    for (int64_t i = 0; i < w.st.meta_count; i++) {
        cli_print(c, "%s = %.200s\n", text_printable(&c->memory, w.st.meta_key[i]),
            text_printable(&c->memory, w.st.meta_value[i]));
        inspect_put_text(c, w.st.meta_key[i], w.st.meta_value[i]);
    }
    json_end_object(&c->result);
    status result = print_match(c, &w, path);
    weights_close(&w);
    return result;
}

/* ------------------------------------------------------------------------------------------------ ONNX */

static status inspect_onnx(cli_context *c, const char *path)
{
    model m;
    onnx_report r;
    onnx_options o = {.preprocess = {.channels = 3, .width = 224, .height = 224, .std = {1, 1, 1}, .crop_fraction = 1}};
    TRY(onnx_image_size(path, &o.preprocess.width, &o.preprocess.height, &o.preprocess.channels));
    if (o.preprocess.width == 0) o.preprocess.width = 224;
    if (o.preprocess.height == 0) o.preprocess.height = 224;
    if (o.preprocess.channels == 0) o.preprocess.channels = 3;
    TRY(onnx_import(&m, path, &o, &r));
    cli_print(c, "%s: ONNX, opset %" PRId64 ", %" PRId64 " nodes%s%s\n", text_printable(&c->memory, path), r.opset,
        r.nodes, *r.producer ? ", made by " : "", text_printable(&c->memory, r.producer));
    inspect_put_text(c, "kind", "onnx");
    inspect_put_text(c, "producer", r.producer);
    inspect_put_int(c, "opset", r.opset);
    for (int64_t i = 0; i < r.note_count; i++)
        cli_print(c, "note          %s\n", text_printable(&c->memory, r.note[i]));
    if (m.class_count) {
        inspect_classes(c, m.class_name, m.class_count);
        inspect_preprocess(c, &m.preprocess);
    }
    status result = inspect_graph(c, &m.graph, path_base(path), false);
    onnx_report_free(&r);
    model_free(&m);
    return result;
}

/* ------------------------------------------------------------------------------------------------ darknet */

static status inspect_darknet(cli_context *c, const char *path)
{
    int32_t version[3];
    uint64_t seen = 0;
    const char *cfg_path = cli_value(c, "--cfg");
    file_map map;
    TRY(file_map_open(&map, path));
    memcpy(version, map.data, sizeof version);
    size_t header = sizeof version + (version[0] * 10 + version[1] >= 2 ? 8 : 4);
    if (map.bytes >= header) memcpy(&seen, map.data + sizeof version, header - sizeof version);
    int64_t numbers = map.bytes >= header ? (int64_t)((map.bytes - header) / 4) : 0;
    file_map_close(&map);
    cli_print(c, "%s: darknet weights %d.%d.%d, %llu images seen, %" PRId64 " numbers\n",
        text_printable(&c->memory, path), version[0], version[1], version[2], (unsigned long long)seen, numbers);
    inspect_put_text(c, "kind", "darknet");
    inspect_put_int(c, "elements", numbers);
    if (!cfg_path) {
        cli_print(c, "network       not in the file: name its --cfg\n");
        return OK;
    }
    darknet_cfg cfg;
    graph g;
    TRY(darknet_cfg_read(&cfg, cfg_path));
    status result = darknet_build(&g, &cfg, (float)DARKNET_EPSILON_OF(DARKNET_EPSILON_INSIDE));
    darknet_cfg_free(&cfg);
    TRY(result);
    result = darknet_load(&g, path, DARKNET_EPSILON_INSIDE);
    if (result == OK) result = inspect_graph(c, &g, path_base(path), false);
    graph_free(&g);
    return result;
}

status inspect_foreign(cli_context *c, const char *path, weights_kind kind)
{
    switch (kind) {
    case WEIGHTS_ONNX: return inspect_onnx(c, path);
    case WEIGHTS_DARKNET: return inspect_darknet(c, path);
    default: return inspect_named(c, path);
    }
}
