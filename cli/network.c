#include "cli/network.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/graph/transform.h"
#include "core/ops/op.h"
#include "export/export.h"

static status open_engine(network *n, const char *path)
{
    n->is_engine = true;
    TRY(engine_load(&n->engine, path));
    TRY(task_of_file(&n->task, n->engine.task, path));
    n->preprocess = &n->engine.preprocess;
    n->class_name = n->engine.class_name;
    n->class_count = n->engine.class_count;
    n->sigmoid = n->engine.sigmoid;
    n->file_hash = n->engine.file_hash;
    return OK;
}

/* The fastest form of a model; of one with fake quantisation the form that training has evaluated. */
static status runnable_graph(graph *dst, const graph *g)
{
    if (!graph_has_fake_quant(g)) return export_float_graph(dst, g);
    TRY(pass_inference(dst, g));
    return graph_apply(dst, pass_lower_inference);
}

static status open_model(network *n, const char *path)
{
    spec_loss loss;
    TRY(model_load(&n->model, path));
    TRY(task_of_file(&n->task, n->model.task, path));
    TRY(spec_text_loss(n->model.spec_text, &loss));
    TRY(runnable_graph(&n->graph, &n->model.graph));
    n->preprocess = &n->model.preprocess;
    n->class_name = n->model.class_name;
    n->class_count = n->model.class_count;
    n->sigmoid = loss == LOSS_SIGMOID;
    n->file_hash = n->model.file_hash;
    return OK;
}

status network_open(network *n, const char *path, const spec_infer *limits, device *dev, int64_t max_batch)
{
    *n = (network){0};
    status result = engine_is_engine(path) ? open_engine(n, path) : open_model(n, path);
    graph *g = n->is_engine ? &n->engine.graph : &n->graph;
    if (result == OK) result = n->task->check(g, n->class_count, path);
    if (result == OK && limits && n->task->set_limits) result = n->task->set_limits(g, limits);
    if (result == OK) result = runner_create(&n->runner, g, dev, max_batch);
    if (result != OK) network_close(n);
    return result;
}

void network_close(network *n)
{
    runner_destroy(n->runner);
    engine_free(&n->engine);
    graph_free(&n->graph);
    model_free(&n->model);
    *n = (network){0};
}

status network_check_source(const network *n, const char *engine_path, const char *model_path)
{
    hash128 hash;
    if (!n->is_engine || !model_path || !*model_path) return OK;
    TRY(hash128_of_file(model_path, &hash));
    return engine_check_source(&n->engine, hash, model_path, engine_path);
}

/* Layers may share what they read. */
static bool is_read_before(const graph *g, node_id end, edge_id e)
{
    for (node_id i = 0; i < end; i++)
        for (int32_t k = 1; k < g->nodes[i].in_count; k++)
            if (g->nodes[i].in[k] == e) return true;
    return false;
}

/* Integer weights are constants of an engine's graph, not parameters: there, what its layers
 * read as weight and bias counts. */
int64_t network_parameters(const network *n)
{
    if (!n->is_engine) return graph_param_count(&n->model.graph);
    const graph *g = &n->engine.graph;
    int64_t count = 0;
    for (node_id i = 0; i < g->node_count; i++) {
        const node *nd = &g->nodes[i];
        if (nd->op->coupling != COUPLE_WEIGHT) continue;
        for (int32_t k = 1; k <= 2 && k < nd->in_count; k++)
            if (nd->in[k] != EDGE_NONE && !is_read_before(g, i, nd->in[k]))
                count += shape_count(g->edges[nd->in[k]].shape);
    }
    return count;
}

status network_predict(void *context, const batch *b, float *const *output)
{
    const network *n = context;
    return runner_run(n->runner, output, b->images, b->n);
}

/* ----------------------------------------------------------------------------------------- what it was trained with */

/* Where the data set is, and what it looks like. */
static bool is_place(const option *o)
{
    return strcmp(o->section, "data") == 0 && text_has_word("root train val test format", o->key);
}

static const char model_spec[] = "the model's spec";

/* An option that the model's spec sets, but that is not read beside the options of the command line, goes back to its
 * default. */
static status drop_unread(config *c)
{
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        if (strcmp(c->origin_file[i], model_spec) != 0 || option_is_read(&c->spec, o->section, o->key)) continue;
        TRY(config_set(c, o->section, o->key, o->default_text, "default"));
    }
    return OK;
}

/* Paths in a file that came from anywhere would let it choose what is written and opened here. Where the data set is,
 * is only read, and said; a network that was trained from other weights has been trained from itself. */
static bool is_adopted(const option *o)
{
    return o->type != OPTION_PATH || is_place(o) ||
           (strcmp(o->section, "model") == 0 && strcmp(o->key, "pretrained") == 0);
}

static status adopt(cli_context *c, const config *from, const option *o, const char *model_path)
{
    const char *value = from->text[o - option_table];
    if (o->type == OPTION_PATH && *value && !is_place(o)) value = model_path;
    else if (o->type == OPTION_PATH && *value)
        log_info(&c->log, "%s.%s = %s (%s)", o->section, o->key, value, model_spec);
    return config_set(&c->config, o->section, o->key, value, model_spec);
}

status cli_adopt_spec(cli_context *c, const char *spec_text, const char *sections, const char *model_path)
{
    config from;
    bool other_data = false;
    for (int32_t i = 0; i < option_count; i++)
        other_data |=
            is_place(&option_table[i]) && config_is_set(&c->config, option_table[i].section, option_table[i].key);
    TRY(config_init(&from));
    status result = OK;
    TRY_OUT(config_read_text(&from, spec_text, strlen(spec_text), model_spec));
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        char name[128];
        snprintf(name, sizeof name, "%s.%s", o->section, o->key);
        if ((!text_has_word(sections, o->section) && !text_has_word(sections, name)) ||
            !config_is_set(&from, o->section, o->key))
            continue;
        if (config_is_set(&c->config, o->section, o->key) || (other_data && is_place(o))) continue;
        if (is_adopted(o)) TRY_OUT(adopt(c, &from, o, model_path));
    }
    TRY_OUT(drop_unread(&c->config));
out:
    config_free(&from);
    return result;
}

/* The same text, or two ways to one place. */
static bool same_place(const char *a, const char *b)
{
    if (strcmp(a, b) == 0) return true;
    char *real_a = realpath(a, NULL), *real_b = realpath(b, NULL);
    bool same = real_a && real_b && strcmp(real_a, real_b) == 0;
    free(real_a);
    free(real_b);
    return same;
}

status network_saw_data(const network *n, const spec_data *data, bool *saw)
{
    arena memory = {0};
    config from;
    json *info;
    *saw = false;
    if (n->is_engine) return OK;
    TRY(config_init(&from));
    status result = OK;
    TRY_OUT(json_parse(&memory, n->model.info_json, strlen(n->model.info_json), "graft.info", &info));
    TRY_OUT(config_read_text(&from, n->model.spec_text, strlen(n->model.spec_text), model_spec));
    *saw = !json_get(info, "imported") && same_place(from.spec.data.root, data->root) &&
           same_place(from.spec.data.train, data->train);
out:
    config_free(&from);
    arena_free(&memory);
    return result;
}

status spec_text_loss(const char *spec_text, spec_loss *loss)
{
    config from;
    TRY(config_init(&from));
    status result = config_read_text(&from, spec_text, strlen(spec_text), model_spec);
    *loss = from.spec.train.loss;
    config_free(&from);
    return result;
}
