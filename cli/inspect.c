/* What is in a file: a Graft model, an engine, any safetensors file. */
#include <string.h>

#include "cli/cli.h"
#include "core/graph/model.h"
#include "core/ops/op.h"
#include "export/engine.h"

static const cli_option options[] = {
    {"--layers", NULL, NULL, .help = "list every layer"},
    {.name = NULL},
};

static void put_text(cli_context *c, const char *key, const char *value)
{
    json_key(&c->result, key);
    json_put_string(&c->result, value);
}

static void put_int(cli_context *c, const char *key, int64_t value)
{
    json_key(&c->result, key);
    json_put_int(&c->result, value);
}

static int64_t node_params(const graph *g, const node *n)
{
    int64_t count = 0;
    for (int32_t k = 0; k < n->in_count; k++)
        if (n->in[k] != EDGE_NONE && g->edges[n->in[k]].kind == EDGE_PARAM) count += shape_count(g->edges[n->in[k]].shape);
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
        cli_print(c, "%-32s %-12s %-22s %12lld %12.3f\n", n->name, n->op->name, text, (long long)params, 1e-6 * (double)macs);
        json_begin_object(&c->result);
        put_text(c, "name", n->name);
        put_text(c, "op", n->op->name);
        put_text(c, "type", dtype_name(out->type));
        put_text(c, "output", text);
        put_int(c, "parameters", params);
        put_int(c, "macs", macs);
        json_end_object(&c->result);
    }
    json_end_array(&c->result);
}

static void print_classes(cli_context *c, const char *const *name, int64_t count)
{
    enum { SHOWN = 12 };
    cli_print(c, "classes       %lld:", (long long)count);
    for (int64_t i = 0; i < count && i < SHOWN; i++) cli_print(c, "%s %s", i ? "," : "", name[i]);
    cli_print(c, "%s\n", count > SHOWN ? ", ..." : "");
    json_key(&c->result, "classes");
    json_begin_array(&c->result);
    for (int64_t i = 0; i < count; i++) json_put_string(&c->result, name[i]);
    json_end_array(&c->result);
}

static void print_preprocess(cli_context *c, const preprocess *p)
{
    static const char *const resizes[] = {"shorter side, centre crop", "stretch", "letterbox"};
    cli_print(c, "input         %d x %d x %d%s, %s, mean", p->width, p->height, p->channels, p->bgr ? " BGR" : "", resizes[p->resize]);
    for (int32_t k = 0; k < p->channels; k++) cli_print(c, " %g", p->mean[k]);
    cli_print(c, ", deviation");
    for (int32_t k = 0; k < p->channels; k++) cli_print(c, " %g", p->std[k]);
    cli_print(c, "\n");
    json_key(&c->result, "preprocess");
    preprocess_write(p, &c->result);
}

static status print_graph(cli_context *c, const graph *g)
{
    int64_t params = graph_param_count(g), macs = graph_macs(g);
    cli_print(c, "network       %lld nodes, %lld parameters, %.3f MMACs per image\n", (long long)g->node_count, (long long)params,
              1e-6 * (double)macs);
    put_int(c, "nodes", g->node_count);
    put_int(c, "parameters", params);
    put_int(c, "macs", macs);
    if (cli_is_given(c, "--layers") || c->json) list_layers(c, g);
    return OK;
}

static status inspect_model(cli_context *c, const char *path)
{
    model m;
    char hash[33];
    TRY(model_load(&m, path));
    hash128_hex(m.file_hash, hash);
    cli_print(c, "%s: Graft model\nhash          %s\n", path, hash);
    put_text(c, "kind", "model");
    put_text(c, "hash", hash);
    print_classes(c, m.class_name, m.class_count);
    print_preprocess(c, &m.preprocess);
    status result = print_graph(c, &m.graph);
    cli_print(c, "provenance    %.400s%s\n", m.info_json, strlen(m.info_json) > 400 ? " ..." : "");
    put_text(c, "info", m.info_json);
    put_text(c, "spec", m.spec_text);
    model_free(&m);
    return result;
}

static void list_engine_layers(cli_context *c, const engine *e)
{
    cli_print(c, "\n%-32s %-9s %-5s %11s %11s %9s %9s\n", "layer", "op", "type", "in scale", "out scale", "SQNR dB", "MMACs");
    json_key(&c->result, "engine_layers");
    json_begin_array(&c->result);
    for (int64_t i = 0; i < e->layer_count; i++) {
        const engine_layer *l = &e->layers[i];
        cli_print(c, "%-32s %-9s %-5s %11.4g %11.4g %9.1f %9.3f %s\n", l->name, l->op, engine_layer_precision(e, l), l->in_scale,
                  l->out_scale, l->sqnr_db, 1e-6 * (double)l->macs, l->reason);
        json_begin_object(&c->result);
        put_text(c, "name", l->name);
        put_text(c, "precision", engine_layer_precision(e, l));
        json_key(&c->result, "sqnr_db");
        json_put_number(&c->result, l->sqnr_db);
        put_int(c, "macs", l->macs);
        put_text(c, "reason", l->reason);
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
    cli_print(c, "%s: %s engine\nmade from     %s (%s)\n", path, engine_precision_name(e.precision), e.source_name, source);
    put_text(c, "kind", "engine");
    put_text(c, "source", e.source_name);
    put_text(c, "source_hash", source);
    if (e.precision == ENGINE_INT8) {
        cli_print(c, "calibration   %s, %lld images; %.1f %% of the multiply-adds are INT8\n", e.calibrator,
                  (long long)e.calibration_images, 100 * engine_integer_part(&e));
        if (e.score >= 0)
            cli_print(c, "check         %.2f in f32, %.2f in INT8, %lld images\n", e.float_score, e.score, (long long)e.check_images);
    }
    print_classes(c, e.class_name, e.class_count);
    print_preprocess(c, &e.preprocess);
    status result = print_graph(c, &e.graph);
    list_engine_layers(c, &e);
    engine_free(&e);
    return result;
}

static status inspect_safetensors(cli_context *c, const char *path)
{
    safetensors st;
    TRY(safetensors_open(&st, path));
    cli_print(c, "%s: safetensors, %lld tensors\n", path, (long long)st.count);
    put_text(c, "kind", "safetensors");
    json_key(&c->result, "tensors");
    json_begin_array(&c->result);
    for (int64_t i = 0; i < st.count; i++) {
        char text[128];
        shape_text(st.tensors[i].shape, text);
        cli_print(c, "%-48s %-5s %s\n", st.tensors[i].name, dtype_name(st.tensors[i].type), text);
        json_begin_object(&c->result);
        put_text(c, "name", st.tensors[i].name);
        put_text(c, "type", dtype_name(st.tensors[i].type));
        put_text(c, "shape", text);
        json_end_object(&c->result);
    }
    json_end_array(&c->result);
    for (int64_t i = 0; i < st.meta_count; i++) cli_print(c, "%s = %.200s\n", st.meta_key[i], st.meta_value[i]);
    safetensors_close(&st);
    return OK;
}

static bool is_graft_model(const char *path)
{
    safetensors st;
    if (safetensors_open(&st, path) != OK) return true; /* model_load says what is wrong with it */
    bool graft = safetensors_meta(&st, "graft.version") != NULL;
    safetensors_close(&st);
    return graft;
}

static status run(cli_context *c)
{
    const char *path = c->arguments[0];
    if (!file_exists(path)) return FAIL(E_IO, "%s: no such file", path);
    if (engine_is_engine(path)) return inspect_engine(c, path);
    return is_graft_model(path) ? inspect_model(c, path) : inspect_safetensors(c, path);
}

const cli_command command_inspect = {
    .name = "inspect",
    .summary = "say what is in a model, engine or safetensors file",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .options = options,
    .run = run,
};
