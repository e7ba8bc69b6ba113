/* What is in a file: a Graft model, an engine, or what others write (inspect_foreign.c). */
#include "cli/inspect.h"

#include <inttypes.h>
#include <string.h>

#include "cli/draw.h"
#include "core/base/text.h"
#include "core/graph/plan.h"
#include "core/ops/op.h"
#include "export/engine.h"
#include "export/export.h"

static const cli_option options[] = {
    {"--layers", NULL, NULL, .help = "list every layer"},
    {"--graph", NULL, "FILE", .help = "draw the network: .svg, .png or .pdf by Graphviz, .dot without it"},
    {"--cfg", NULL, "FILE", .help = "darknet weights: the network's .cfg"},
    {"--weights", NULL, "NAME", .help = "PyTorch, safetensors: which of several weights, as for graft import"},
    {.name = NULL},
};

void inspect_put_text(cli_context *c, const char *key, const char *value)
{
    json_key(&c->result, key);
    json_put_string(&c->result, value);
}

void inspect_put_int(cli_context *c, const char *key, int64_t value)
{
    json_key(&c->result, key);
    json_put_int(&c->result, value);
}

/* Weights of an integer layer are constants of the graph: there, what a layer reads as weight and bias counts. */
static int64_t node_params(const graph *g, const node *n)
{
    int64_t count = 0;
    for (int32_t k = 0; k < n->in_count; k++) {
        if (n->in[k] == EDGE_NONE) continue;
        const edge *e = &g->edges[n->in[k]];
        bool constant = e->kind == EDGE_CONST && n->op->coupling == COUPLE_WEIGHT && (k == 1 || k == 2);
        if (e->kind == EDGE_PARAM || constant) count += shape_count(e->shape);
    }
    return count;
}

static int64_t count_params(const graph *g, bool is_engine)
{
    int64_t count = 0;
    if (!is_engine) return graph_param_count(g);
    for (node_id i = 0; i < g->node_count; i++) count += node_params(g, &g->nodes[i]);
    return count;
}

/* Parameters are counted where they are read: a shared one appears at each of its readers. */
static void list_layers(cli_context *c, const graph *g)
{
    cli_print(c, "\n%-32s %-12s %-22s %12s %12s\n", "layer", "op", "output", "parameters", "MMACs");
    json_key(&c->result, "layers");
    json_begin_array(&c->result);
    for (node_id i = 0; i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        const edge *out = &g->edges[n->out[0]];
        char text[128];
        shape_text(out->shape, text);
        int64_t params = node_params(g, n), macs = n->op->macs ? n->op->macs(g, n) : 0;
        cli_print(
            c, "%-32s %-12s %-22s %12" PRId64 " %12.3f\n", n->name, n->op->name, text, params, 1e-6 * (double)macs);
        json_begin_object(&c->result);
        inspect_put_text(c, "name", n->name);
        inspect_put_text(c, "op", n->op->name);
        inspect_put_text(c, "type", dtype_name(out->type));
        inspect_put_text(c, "output", text);
        inspect_put_int(c, "parameters", params);
        inspect_put_int(c, "macs", macs);
        json_end_object(&c->result);
    }
    json_end_array(&c->result);
}

void inspect_classes(cli_context *c, const char *const *name, int64_t count)
{
    enum { SHOWN = 12 };
    cli_print(c, "classes       %" PRId64 ":", count);
    for (int64_t i = 0; i < count && i < SHOWN; i++) cli_print(c, "%s %s", i ? "," : "", name[i]);
    cli_print(c, "%s\n", count > SHOWN ? ", ..." : "");
    json_key(&c->result, "classes");
    json_begin_array(&c->result);
    for (int64_t i = 0; i < count; i++) json_put_string(&c->result, name[i]);
    json_end_array(&c->result);
}

void inspect_preprocess(cli_context *c, const preprocess *p)
{
    static const char *const resizes[] = {"shorter side, centre crop", "stretch", "letterbox"};
    cli_print(c, "input         %d x %d x %d%s, %s", p->width, p->height, p->channels, p->bgr ? " BGR" : "",
        resizes[p->resize]);
    if (p->resize == RESIZE_CROP && p->crop_size > 0) cli_print(c, " of %d", p->crop_size);
    cli_print(c, ", mean");
    for (int32_t k = 0; k < p->channels; k++) cli_print(c, " %g", p->mean[k]);
    cli_print(c, ", deviation");
    for (int32_t k = 0; k < p->channels; k++) cli_print(c, " %g", p->std[k]);
    cli_print(c, "\n");
    json_key(&c->result, "preprocess");
    preprocess_write(p, &c->result);
}

/* What a plan for one image takes. An engine runs as it is; of anything else the fused network is
 * measured, as `graft infer` runs it. */
static status print_memory(cli_context *c, const graph *g, bool is_engine)
{
    device *dev = NULL;
    graph fused = {0};
    plan_memory m;
    char total[32], values[32], activations[32], apart[32];
    status result = OK;
    TRY(device_open(&dev, SPEC_DEVICE_CPU, 0, 1, NULL));
    if (!is_engine) TRY_OUT(export_float_graph(&fused, g));
    TRY_OUT(plan_measure(is_engine ? g : &fused, dev, &(plan_options){0}, &m));
    format_bytes((double)m.total_bytes, total);
    format_bytes((double)(m.param_bytes + m.state_bytes + m.const_bytes + m.packed_bytes), values);
    format_bytes((double)m.activation_bytes, activations);
    format_bytes((double)m.activation_sum_bytes, apart);
    cli_print(c, "memory        %s planned for one image: weights %s, activations %s (without reuse %s)\n", total,
        values, activations, apart);
    inspect_put_int(c, "memory", m.total_bytes);
    inspect_put_int(c, "activation_memory", m.activation_bytes);
out:
    graph_free(&fused);
    device_close(dev);
    return result;
}

status inspect_graph(cli_context *c, const graph *g, const char *title, bool is_engine)
{
    int64_t params = count_params(g, is_engine), macs = graph_macs(g);
    const char *picture = cli_value(c, "--graph");
    cli_print(c, "network       %" PRId64 " nodes, %" PRId64 " parameters, %.3f MMACs per image\n", g->node_count,
        params, 1e-6 * (double)macs);
    inspect_put_int(c, "nodes", g->node_count);
    inspect_put_int(c, "parameters", params);
    inspect_put_int(c, "macs", macs);
    TRY(print_memory(c, g, is_engine));
    if (cli_is_given(c, "--layers") || c->json) list_layers(c, g);
    if (!picture) return OK;
    TRY(draw_graph(g, title, picture));
    cli_print(c, "drew          %s\n", text_printable(&c->memory, picture));
    inspect_put_text(c, "graph", picture);
    return OK;
}

static status inspect_model(cli_context *c, const char *path)
{
    model m;
    char hash[33];
    TRY(model_load(&m, path));
    hash128_hex(m.file_hash, hash);
    cli_print(c, "%s: Graft model\nhash          %s\n", text_printable(&c->memory, path), hash);
    inspect_put_text(c, "kind", "model");
    inspect_put_text(c, "hash", hash);
    inspect_classes(c, m.class_name, m.class_count);
    inspect_preprocess(c, &m.preprocess);
    cli_print(c, "precision     f32\n");
    inspect_put_text(c, "precision", "f32");
    status result = inspect_graph(c, &m.graph, path_base(path), false);
    cli_print(c, "provenance    %.400s%s\n", text_printable(&c->memory, m.info_json),
        strlen(m.info_json) > 400 ? " ..." : "");
    inspect_put_text(c, "info", m.info_json);
    inspect_put_text(c, "spec", m.spec_text);
    model_free(&m);
    return result;
}

static void list_engine_layers(cli_context *c, const engine *e)
{
    cli_print(
        c, "\n%-32s %-9s %-5s %11s %11s %9s %9s\n", "layer", "op", "type", "in scale", "out scale", "SQNR dB", "MMACs");
    json_key(&c->result, "engine_layers");
    json_begin_array(&c->result);
    for (int64_t i = 0; i < e->layer_count; i++) {
        const engine_layer *l = &e->layers[i];
        cli_print(c, "%-32s %-9s %-5s %11.4g %11.4g %9.1f %9.3f%s%s\n", l->name, l->op, engine_layer_precision(e, l),
            l->in_scale, l->out_scale, l->sqnr_db, 1e-6 * (double)l->macs, *l->reason ? "  " : "", l->reason);
        json_begin_object(&c->result);
        inspect_put_text(c, "name", l->name);
        inspect_put_text(c, "precision", engine_layer_precision(e, l));
        json_key(&c->result, "sqnr_db");
        json_put_number(&c->result, l->sqnr_db);
        inspect_put_int(c, "macs", l->macs);
        inspect_put_text(c, "reason", l->reason);
        json_end_object(&c->result);
    }
    json_end_array(&c->result);
}

static status inspect_engine(cli_context *c, const char *path)
{
    engine e;
    char source[33];
    TRY(engine_load(&e, path));
    hash128_hex(e.source_hash, source);
    cli_print(c, "%s: %s engine\nmade from     %s (%s)\n", text_printable(&c->memory, path),
        engine_precision_name(e.precision), e.source_name, source);
    inspect_put_text(c, "kind", "engine");
    inspect_put_text(c, "source", e.source_name);
    inspect_put_text(c, "source_hash", source);
    if (e.precision == ENGINE_INT8) {
        cli_print(c, "calibration   %s, %" PRId64 " images; %.1f %% of the multiply-adds are INT8\n", e.calibrator,
                  e.calibration_images, 100 * engine_integer_part(&e));
        if (e.score >= 0)
            cli_print(c, "check         %.2f in f32, %.2f in INT8, %" PRId64 " images\n", e.float_score, e.score,
                e.check_images);
    }
    inspect_classes(c, e.class_name, e.class_count);
    inspect_preprocess(c, &e.preprocess);
    inspect_put_text(c, "precision", engine_precision_name(e.precision));
    status result = inspect_graph(c, &e.graph, path_base(path), true);
    list_engine_layers(c, &e);
    engine_free(&e);
    return result;
}

static status run(cli_context *c)
{
    const char *path = c->arguments[0];
    if (!file_exists(path)) return FAIL(E_IO, "%s: no such file", path);
    weights_kind kind;
    TRY(weights_detect(path, &kind));
    if (cli_is_given(c, "--weights") && kind != WEIGHTS_SAFETENSORS && kind != WEIGHTS_PYTORCH)
        return FAIL(E_USAGE, "--weights chooses among the tensors of a PyTorch or safetensors file; %s is %s", path,
            weights_kind_name(kind));
    if (kind == WEIGHTS_ENGINE) return inspect_engine(c, path);
    return kind == WEIGHTS_GRAFT ? inspect_model(c, path) : inspect_foreign(c, path, kind);
}

const cli_command command_inspect = {
    .name = "inspect",
    .summary = "say what is in a model, engine, ONNX, PyTorch, safetensors or darknet file",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .description = "Layers with shapes, parameters and multiply-adds; memory planned for one image; precision, "
                   "classes, preprocessing and where the file comes from. Of weights without a network, the network of "
                   "Graft's that their names fit.",
    .options = options,
    .run = run,
};
