#include "core/train/prepare.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/data/classes.h"
#include "core/graph/init.h"
#include "core/ops/op.h"

enum { LIST_SHOWN = 6 };

static void list_names(logger *l, const char *what, const char *const *names, int64_t count)
{
    for (int64_t i = 0; i < count && i < LIST_SHOWN; i++) log_info(l, "    %s: %s", what, names[i]);
    if (count > LIST_SHOWN) log_info(l, "    %s: ... and %" PRId64 " more", what, (count - LIST_SHOWN));
}

static void print_report(logger *l, const char *path, const transfer_report *r)
{
    log_info(l,
        "pretrained %s: %" PRId64 " loaded, %" PRId64 " missing, %" PRId64 " unexpected, %" PRId64 " of another shape",
        path, r->loaded_count, r->missing_count, r->unexpected_count, r->reshaped_count);
    if (r->note && *r->note) log_info(l, "    %s", r->note);
    list_names(l, "missing (stays freshly initialised)", r->missing, r->missing_count);
    list_names(l, "unexpected (not used)", r->unexpected, r->unexpected_count);
    list_names(l, "another shape (stays freshly initialised)", r->reshaped, r->reshaped_count);
    if (r->advice) log_warn(l, "%s: most of the network does not fit: %s", path, r->advice);
}

/* Does the weight of the layer that makes output 0 come from the file? */
static bool head_is_loaded(const graph *g, const task *t, const transfer_report *r)
{
    for (int64_t i = 0; i < r->loaded_count; i++)
        if (t->is_head(g, 0, r->loaded[i]) && g->edges[graph_find_edge(g, r->loaded[i])].shape.rank > 1) return true;
    return false;
}

static status fit_input(graph *g, const spec_model *o, const char *path)
{
    edge_id input = graph_find_edge(g, "image");
    if (input == EDGE_NONE) return FAIL(E_MODEL, "%s: the graph has no input \"image\"", path);
    shape s = g->edges[input].shape;
    if (s.dim[3] != o->channels)
        return FAIL(E_USAGE, "model.channels = %" PRId64 ", but the network in %s takes %" PRId64, o->channels, path,
            s.dim[3]);
    return graph_resize(g, input, shape_4(1, o->input_height, o->input_width, o->channels));
}

static status load_network(model *m, const task_setting *t, logger *l, bool *fresh_head)
{
    const spec *s = t->spec;
    int64_t class_count = t->class_count;
    const char *path = s->model.pretrained;
    TRY(model_load(m, path));
    TRY(fit_input(&m->graph, &s->model, path));
    const task *made_for;
    int64_t had = m->class_count;
    TRY(task_of_file(&made_for, m->task, path));
    if (made_for != t->task)
        return FAIL(E_USAGE,
            "model.pretrained = %s: its network is for %s, the spec's for %s: choose model.arch and model.head as the "
            "file has them, or a file of weights without a network",
            path, made_for->name, t->task->name);
    log_info(l, "network and weights from %s (model.arch = %s is not used)", path, s->model.arch);
    *fresh_head = had != class_count;
    if (!*fresh_head) return OK;
    log_info(l, "%s knows %" PRId64 " classes, the data set has %" PRId64 ": the last layer starts afresh", path, had,
        class_count);
    return t->task->fresh_head(&m->graph, class_count, (uint64_t)s->train.seed);
}

static bool is_of_head(const graph *g, const task *t, const char *name)
{
    for (int32_t output = 0; output < g->output_count; output++)
        if (t->is_head(g, output, name)) return true;
    return false;
}

/* Is a layer before the head of another shape? That is what pruning does. */
static bool backbone_differs(const graph *g, const task *t, const transfer_report *r)
{
    for (int64_t i = 0; i < r->reshaped_count; i++) {
        char name[512]; /* a report's line begins with it */
        snprintf(name, sizeof name, "%.*s", (int)strcspn(r->reshaped[i], ":"), r->reshaped[i]);
        if (!is_of_head(g, t, name)) return true;
    }
    return false;
}

static bool has_graph(const char *path)
{
    safetensors st;
    if (safetensors_open(&st, path) != OK) return false;
    bool found = safetensors_meta(&st, "graft.graph") != NULL;
    safetensors_close(&st);
    return found;
}

/* Nothing fits: a few names that are there and a few that should be. */
static status refuse_weights(const spec *s, transfer_report *r)
{
    enum { SHOWN = 3 };
    const char *lists[2] = {"", ""}, *const *const names[] = {
                                         r->unexpected_count ? r->unexpected : r->reshaped, r->missing};
    const int64_t counts[] = {r->unexpected_count ? r->unexpected_count : r->reshaped_count, r->missing_count};
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < counts[k] && i < SHOWN && lists[k]; i++)
            lists[k] = arena_printf(&r->memory, "%s%s%.100s", lists[k], i ? ", " : "", names[k][i]);
    if (!lists[0] || !lists[1]) return FAIL_MEMORY(100);
    return FAIL(E_MODEL,
        "model.pretrained = %s: none of its %" PRId64 " tensors fits %s by name and shape; the file has %s%s%s%s%s%s",
        s->model.pretrained, (r->unexpected_count + r->reshaped_count), s->model.arch,
        *lists[0] ? lists[0] : "none", *lists[1] ? "; expected are " : "", lists[1], r->advice ? "; " : "",
        r->advice ? r->advice : "",
        has_graph(s->model.pretrained) ? "; model.load_graph = true takes the file's own network" : "");
}

static status build_and_transfer(
    model *m, const task_setting *t, model_builder_fn *build, model_transfer_fn *transfer, logger *l, bool *fresh_head)
{
    const spec *s = t->spec;
    const char *path = s->model.pretrained;
    TRY(build(&m->graph, s, t->class_count));
    init_params(&m->graph, (uint64_t)s->train.seed);
    if (!path[0]) return OK;
    transfer_report report;
    TRY((transfer ? transfer : model_transfer)(&m->graph, path, &report));
    if (backbone_differs(&m->graph, t->task, &report) && has_graph(path)) {
        log_info(l, "%s: %" PRId64 " tensors have another shape than in %s: taken for a pruned model", path,
            report.reshaped_count, s->model.arch);
        transfer_report_free(&report);
        model_free(m);
        return load_network(m, t, l, fresh_head);
    }
    status result = OK;
    *fresh_head = !head_is_loaded(&m->graph, t->task, &report);
    if (report.loaded_count == 0) result = refuse_weights(s, &report);
    else print_report(l, path, &report);
    transfer_report_free(&report);
    return result;
}

static bool same_preprocess(const preprocess *a, const preprocess *b)
{
    bool same = a->bgr == b->bgr && a->channels == b->channels;
    for (int c = 0; c < a->channels; c++) same = same && a->mean[c] == b->mean[c] && a->std[c] == b->std[c];
    return same;
}

/* The rows of the last layers as the data set counts its classes, where these are the model's in another order. */
static status order_heads(model *m, const task_setting *t, logger *l)
{
    arena memory = {0};
    status result = OK;
    bool moved = false;
    int64_t *place;
    TRY_ALLOC_OUT(place, ARENA_ARRAY(&memory, int64_t, t->class_count));
    if (class_places(place, t->class_name, t->class_count, m->class_name, t->class_count)) goto out; /* other classes */
    for (int64_t i = 0; i < t->class_count; i++) moved = moved || place[i] != i;
    if (moved) TRY_OUT(t->task->order_head(&m->graph, place));
    if (moved)
        log_info(l, "%s counts its classes in another order: its last layer follows the data set's",
            t->spec->model.pretrained);
out:
    arena_free(&memory);
    return result;
}

status prepare_model(
    model *m, const task_setting *t, model_builder_fn *build, model_transfer_fn *transfer, logger *l, bool *fresh_head)
{
    const spec *s = t->spec;
    *m = (model){0};
    *fresh_head = true;
    status result = OK;
    if (s->model.load_graph && !s->model.pretrained[0])
        return FAIL(E_USAGE, "model.load_graph = true needs model.pretrained, the model file to take the graph from");
    TRY_OUT(s->model.load_graph ? load_network(m, t, l, fresh_head)
                                : build_and_transfer(m, t, build, transfer, l, fresh_head));
    if (!*fresh_head && m->class_count == t->class_count) TRY_OUT(order_heads(m, t, l));
    preprocess wanted;
    TRY_OUT(preprocess_from_spec(&wanted, &s->model, &s->data));
    if (m->preprocess.channels > 0 && !same_preprocess(&m->preprocess, &wanted))
        log_warn(l, "data.preprocess = %s, as the spec says, is not what %s was trained with",
            option_choice("data", "preprocess", s->data.preprocess), s->model.pretrained);
    m->preprocess = wanted;
    m->task = task_file_name(t->task);
    TRY_OUT(model_set_classes(m, t->class_name, t->class_count));
    return OK;
out:
    model_free(m);
    return result;
}
