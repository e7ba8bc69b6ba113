#include "export/export.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/graph/transform.h"
#include "export/export_steps.h"
#include "export/noise.h"
#include "export/quantise.h"

status export_float_graph(graph *dst, const graph *model_graph)
{
    static pass_fn *const passes[] = {pass_remove_fake_quant, pass_fold_batchnorm, pass_replace_batchnorm,
        pass_fuse_epilogues, pass_fold_constants, pass_remove_dead};
    *dst = (graph){0};
    status result = pass_inference(dst, model_graph);
    for (size_t i = 0; result == OK && i < sizeof passes / sizeof *passes; i++) result = graph_apply(dst, passes[i]);
    if (result != OK) graph_free(dst);
    return result;
}

/* ------------------------------------------------------------------------------------------------ scales */

status export_score(const export_options *o, graph *g, double *points)
{
    TRY(o->score(o->score_context, g, points));
    shape s = g->edges[g->inputs[0]].shape;
    s.dim[0] = 1;
    return graph_resize(g, g->inputs[0], s); /* scoring may have changed the batch */
}

status export_fill_table(
    export_scales *s, const graph *g, const float *scale, const char *method, const char *algorithm, int64_t version)
{
    calibration_cache *t = &s->table;
    t->version = version;
    t->algorithm = algorithm;
    s->calibrator = method;
    t->entries = ARENA_ARRAY(&t->memory, cache_entry, g->edge_count);
    if (!t->entries) return FAIL_MEMORY(g->edge_count * sizeof *t->entries);
    for (edge_id e = 0; e < g->edge_count; e++) {
        if (scale[e] <= 0) continue;
        const char *name = arena_strdup(&t->memory, g->edges[e].name);
        if (!name) return FAIL_MEMORY(64);
        t->entries[t->count++] = (cache_entry){name, scale[e]};
    }
    return OK;
}

/* Score (0 without a callback) and noise of the network with these scales. */
static status try_scales(const graph *g, const float *scale, const export_options *o, double *points, double *db)
{
    graph q;
    TRY(quantise_graph(&q, g, scale, NULL));
    *points = 0;
    status result = noise_network(db, g, &q, o->dev, o->data);
    if (result == OK && o->score) result = export_score(o, &q, points);
    graph_free(&q);
    return result;
}

/* One scale per tensor that needs one, 0 for the rest. */
static void find_scales(
    const graph *g, const calibration *c, spec_calibrator method, const export_options *o, float *scale)
{
    calibration_scales(c, method, o->percentile, scale);
    quantise_share_scales(g, scale);
    if (o->power_of_two) quantise_round_scales(g, scale);
}

/* The score of a method, and the reason where it is low: a tensor of which it keeps less than half the range. */
static void log_method(const export_options *o, const graph *g, const calibration *c, const float *scale,
    spec_calibrator m, double points, double db)
{
    edge_id e;
    char reason[256] = "";
    double kept = calibration_least_kept(c, scale, &e);
    if (e != EDGE_NONE && kept < 0.5)
        snprintf(reason, sizeof reason, "  (keeps %.0f %% of the range of %s: see docs/QAT.md)", 100 * kept,
            g->edges[e].name);
    log_info(o->log, "calibrator %-10s  score %.2f  result %.1f dB%s", calibrator_name(m), points, db, reason);
}

/* scale: of the best method. */
static status choose_method(
    const graph *g, const calibration *c, const export_options *o, float *scale, spec_calibrator *method)
{
    double best_points = -1, best_db = 0;
    for (spec_calibrator m = CALIBRATOR_ENTROPY; m < CALIBRATOR_AUTO; m++) {
        double points, db;
        find_scales(g, c, m, o, scale);
        TRY(try_scales(g, scale, o, &points, &db));
        log_method(o, g, c, scale, m, points, db);
        if (points < best_points || (points == best_points && db <= best_db)) continue;
        best_points = points, best_db = db, *method = m;
    }
    log_info(o->log, "calibrator %s is taken: the best of these", calibrator_name(*method));
    return OK;
}

static status calibrate(export_scales *s, const graph *g, const export_options *o, int64_t version)
{
    calibration c = {0};
    arena a = {0};
    spec_calibrator method = o->calibrator;
    status result = OK;
    float *scale = ARENA_ARRAY(&a, float, g->edge_count);
    if (!scale) TRY_OUT(FAIL_MEMORY(g->edge_count * sizeof *scale));
    TRY_OUT(calibration_run(&c, g, o->dev, o->data));
    if (method == CALIBRATOR_AUTO) TRY_OUT(choose_method(g, &c, o, scale, &method));
    find_scales(g, &c, method, o, scale);
    s->images = c.images;
    TRY_OUT(export_fill_table(s, g, scale, calibrator_name(method),
        method == CALIBRATOR_MINMAX ? "MinMaxCalibration" : "EntropyCalibration2", version));
out:
    calibration_free(&c);
    arena_free(&a);
    return result;
}

status export_calibrate(export_scales *s, const model *m, const export_options *o, int64_t version)
{
    graph g;
    *s = (export_scales){0};
    TRY(export_float_graph(&g, &m->graph));
    status result = calibrate(s, &g, o, version);
    graph_free(&g);
    if (result != OK) export_scales_free(s);
    return result;
}

/* Which of the model's tensors the table lacks, and which of the table's the model lacks. */
static status compare_names(const export_scales *s, const graph *g, const char *path, logger *log)
{
    arena a = {0};
    const char *missing = "";
    int64_t missing_count = 0;
    bool *wanted = ARENA_ARRAY(&a, bool, g->edge_count);
    status result = wanted ? quantise_wanted(g, wanted) : FAIL_MEMORY(g->edge_count);
    for (edge_id e = 0; result == OK && missing && e < g->edge_count; e++) {
        if (!wanted[e] || cache_find(&s->table, g->edges[e].name)) continue;
        missing = arena_printf(&a, "%s%s%s", missing, missing_count++ ? ", " : "", g->edges[e].name);
    }
    for (int64_t i = 0; result == OK && i < s->table.count; i++) {
        bool known = false;
        for (edge_id e = 0; e < g->edge_count && !known; e++)
            known = wanted[e] && strcmp(g->edges[e].name, s->table.entries[i].name) == 0;
        if (!known) log_warn(log, "%s: tensor %s is none of this model's: left out", path, s->table.entries[i].name);
    }
    if (result == OK && missing_count)
        result = FAIL(E_MODEL, "%s lacks %" PRId64 " of this model's tensors: %s", path, missing_count,
            missing ? missing : "(no memory)");
    arena_free(&a);
    return result;
}

status export_read_scales(export_scales *s, const model *m, const char *path, logger *log)
{
    graph g;
    *s = (export_scales){.calibrator = "cache"};
    TRY(cache_read(&s->table, path));
    status result = export_float_graph(&g, &m->graph);
    if (result == OK) {
        result = compare_names(s, &g, path, log);
        graph_free(&g);
    }
    if (result != OK) export_scales_free(s);
    return result;
}

status export_write_scales(const export_scales *s, const char *path)
{
    return cache_write(path, s->table.version, s->table.algorithm, s->table.entries, s->table.count);
}

void export_scales_free(export_scales *s)
{
    cache_free(&s->table);
    *s = (export_scales){0};
}

/* ------------------------------------------------------------------------------------------------ float */

status export_describe(engine *e, const model *m, const graph *float_graph, const export_options *o)
{
    e->sigmoid = o->sigmoid;
    e->preprocess = m->preprocess;
    e->source_hash = m->file_hash;
    e->calibrator = "";
    e->task = arena_strdup(&e->memory, m->task ? m->task : "");
    e->float_score = e->score = -1;
    e->source_name = arena_strdup(&e->memory, o->source_name ? o->source_name : "");
    e->class_name = ARENA_ARRAY(&e->memory, const char *, m->class_count);
    e->layers = ARENA_ARRAY(&e->memory, engine_layer, float_graph->node_count);
    if (!e->task || !e->source_name || !e->class_name || !e->layers) return FAIL_MEMORY(4096);
    e->class_count = m->class_count;
    for (int64_t i = 0; i < m->class_count; i++) {
        if (!(e->class_name[i] = arena_strdup(&e->memory, m->class_name[i]))) return FAIL_MEMORY(64);
    }
    for (node_id n = 0; n < float_graph->node_count; n++) {
        const node *p = &float_graph->nodes[n];
        if (!quantise_is_layer(float_graph, n)) continue;
        engine_layer *l = &e->layers[e->layer_count++];
        *l = (engine_layer){.name = arena_strdup(&e->memory, p->name), .op = p->op->name, .reason = ""};
        if (!l->name) return FAIL_MEMORY(64);
        l->macs = p->op->macs ? p->op->macs(float_graph, p) : 0;
    }
    return OK;
}

/* Activations and weights in f16; biases, scores and sums stay f32. */
static status halve(graph *g)
{
    graph narrow = {0};
    TRY(graph_replace(g, &narrow, pass_precision(&narrow, g, DTYPE_F16, COMPUTE_F32)));
    TRY(graph_apply(g, pass_fold_constants));
    return graph_apply(g, pass_remove_dead);
}

status export_float(engine *e, const model *m, const export_options *o)
{
    *e = (engine){.precision = o->half ? ENGINE_F16 : ENGINE_F32};
    status result = export_float_graph(&e->graph, &m->graph);
    if (result == OK) result = export_describe(e, m, &e->graph, o);
    if (result == OK && o->half) result = halve(&e->graph);
    if (result == OK && o->score) {
        result = export_score(o, &e->graph, &e->float_score);
        e->score = e->float_score;
        e->check_images = o->check_images;
    }
    if (result != OK) engine_free(e);
    return result;
}

void export_print(const engine *e, FILE *stream, bool layers)
{
    if (layers)
        fprintf(stream, "%-28s %-9s %8s %12s %12s %9s\n", "layer", "precision", "SQNR dB", "input scale",
            "output scale", "MMACs");
    for (int64_t i = 0; layers && i < e->layer_count; i++) {
        const engine_layer *l = &e->layers[i];
        char sqnr[32] = "-", in[32] = "-", out[32] = "-";
        if (l->sqnr_db != 0) snprintf(sqnr, sizeof sqnr, "%.1f", l->sqnr_db);
        if (l->in_scale > 0) snprintf(in, sizeof in, "%.6g", (double)l->in_scale);
        if (l->out_scale > 0) snprintf(out, sizeof out, "%.6g", (double)l->out_scale);
        fprintf(stream, "%-28s %-9s %8s %12s %12s %9.1f%s%s\n", l->name, engine_layer_precision(e, l), sqnr, in, out,
                (double)l->macs * 1e-6, *l->reason ? "  " : "", l->reason);
    }
    if (e->precision == ENGINE_INT8)
        fprintf(stream, "%.1f %% of the multiply-adds in INT8", 100 * engine_integer_part(e));
    else fprintf(stream, "%" PRId64 " layers in %s", e->layer_count, engine_precision_name(e->precision));
    if (e->score >= 0) {
        fprintf(stream, "; score %.2f on %" PRId64 " check images", e->score, e->check_images);
        if (e->precision == ENGINE_INT8)
            fprintf(stream, ", f32 %.2f: drop %.2f", e->float_score, e->float_score - e->score);
    }
    fputc('\n', stream);
}
