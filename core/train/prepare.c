#include "core/train/prepare.h"

#include <stdlib.h>
#include <string.h>

#include "core/data/classes.h"
#include "core/ops/op.h"
#include "core/train/head.h"
#include "core/train/init.h"

enum { LIST_SHOWN = 6 };

static void list_names(logger *l, const char *what, const char *const *names, int64_t count)
{
    for (int64_t i = 0; i < count && i < LIST_SHOWN; i++) log_info(l, "    %s: %s", what, names[i]);
    if (count > LIST_SHOWN) log_info(l, "    %s: ... and %lld more", what, (long long)(count - LIST_SHOWN));
}

static void print_report(logger *l, const char *path, const transfer_report *r)
{
    log_info(l, "pretrained %s: %lld loaded, %lld missing, %lld unexpected, %lld of another shape", path, (long long)r->loaded_count,
        (long long)r->missing_count, (long long)r->unexpected_count, (long long)r->reshaped_count);
    list_names(l, "missing (stays freshly initialised)", r->missing, r->missing_count);
    list_names(l, "unexpected (not used)", r->unexpected, r->unexpected_count);
    list_names(l, "another shape (stays freshly initialised)", r->reshaped, r->reshaped_count);
}

/* The layer that makes the classes of an output. */
static node_id head_of(const graph *g, int32_t output)
{
    head_info h;
    head_find(&h, g, output);
    return h.layer;
}

/* Does the weight of the layer that makes output 0 come from the file? */
static bool head_is_loaded(const graph *g, const transfer_report *r)
{
    head_info h;
    head_find(&h, g, 0);
    for (int64_t i = 0; h.layer != NODE_NONE && i < r->loaded_count; i++)
        if (strcmp(r->loaded[i], g->edges[h.weight].name) == 0) return true;
    return false;
}

static status resize_rows(graph *g, edge_id id, int64_t rows)
{
    edge *e = &g->edges[id];
    shape s = e->shape;
    s.dim[0] = rows;
    int64_t count;
    if (!shape_count_checked(s, &count)) return FAIL(E_MODEL, "%s: too large", e->name);
    void *data = arena_alloc_array(&g->memory, count, dtype_bytes(e->type));
    if (!data) return FAIL_MEMORY(count * sizeof(float));
    e->shape = s;
    e->data = data;
    return OK;
}

status prepare_fresh_head(graph *g, int64_t classes, uint64_t seed)
{
    for (int32_t k = 0; k < g->output_count; k++) {
        node_id head = head_of(g, k);
        if (head == NODE_NONE)
            return FAIL(E_MODEL, "the network ends in no linear layer or convolution: its classes cannot be changed");
        for (int32_t i = 1; i < g->nodes[head].in_count && i <= 2; i++)
            if (g->nodes[head].in[i] != EDGE_NONE) TRY(resize_rows(g, g->nodes[head].in[i], classes));
        init_node_params(g, head, seed);
    }
    edge_id input = graph_find_edge(g, "image");
    if (input == EDGE_NONE) return FAIL(E_MODEL, "the graph has no input \"image\"");
    return graph_resize(g, input, g->edges[input].shape);
}

static status fit_input(graph *g, const spec_model *o, const char *path)
{
    edge_id input = graph_find_edge(g, "image");
    if (input == EDGE_NONE) return FAIL(E_MODEL, "%s: the graph has no input \"image\"", path);
    shape s = g->edges[input].shape;
    if (s.dim[3] != o->channels)
        return FAIL(E_USAGE, "model.channels = %lld, but the network in %s takes %lld", (long long)o->channels, path,
            (long long)s.dim[3]);
    return graph_resize(g, input, shape_4(1, o->input_height, o->input_width, o->channels));
}

static status take_graph(model *m, const spec *s, int64_t class_count, logger *l, bool *fresh_head)
{
    const char *path = s->model.pretrained;
    TRY(model_load(m, path));
    TRY(fit_input(&m->graph, &s->model, path));
    int64_t had = m->graph.edges[m->graph.outputs[0]].shape.dim[1];
    log_info(l, "network and weights from %s (model.arch = %s is not used)", path, s->model.arch);
    *fresh_head = had != class_count;
    if (!*fresh_head) return OK;
    log_info(l, "%s knows %lld classes, the data set has %lld: the last layer starts afresh", path, (long long)had,
        (long long)class_count);
    return prepare_fresh_head(&m->graph, class_count, (uint64_t)s->train.seed);
}

/* Does the tensor called `name` (of that length) belong to a head? */
static bool is_of_head(const graph *g, const char *name, size_t length)
{
    for (int32_t output = 0; output < g->output_count; output++) {
        node_id head = head_of(g, output);
        for (int32_t k = 1; head != NODE_NONE && k < g->nodes[head].in_count; k++) {
            edge_id e = g->nodes[head].in[k];
            if (e != EDGE_NONE && strlen(g->edges[e].name) == length && strncmp(g->edges[e].name, name, length) == 0) return true;
        }
    }
    return false;
}

/* Is a layer before the head of another shape? That is what pruning does. */
static bool backbone_differs(const graph *g, const transfer_report *r)
{
    for (int64_t i = 0; i < r->reshaped_count; i++)
        if (!is_of_head(g, r->reshaped[i], strcspn(r->reshaped[i], ":"))) return true;
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

static status build_and_transfer(model *m, const spec *s, model_builder_fn *build, model_transfer_fn *transfer, int64_t class_count, logger *l,
    bool *fresh_head)
{
    const char *path = s->model.pretrained;
    TRY(build(&m->graph, &s->model, class_count));
    init_params(&m->graph, (uint64_t)s->train.seed);
    if (!path[0]) return OK;
    transfer_report report;
    TRY((transfer ? transfer : model_transfer)(&m->graph, path, &report));
    if (backbone_differs(&m->graph, &report) && has_graph(path)) {
        log_info(l, "%s: %lld tensors have another shape than in %s: taken for a pruned model", path, (long long)report.reshaped_count,
            s->model.arch);
        transfer_report_free(&report);
        model_free(m);
        return take_graph(m, s, class_count, l, fresh_head);
    }
    status result = OK;
    *fresh_head = !head_is_loaded(&m->graph, &report);
    if (report.loaded_count == 0)
        result = FAIL(E_MODEL, "model.pretrained = %s: none of its %lld tensors fits %s by name and shape%s", path,
            (long long)(report.unexpected_count + report.reshaped_count), s->model.arch,
            has_graph(path) ? "; model.load_graph = true takes the file's own network" : "");
    else print_report(l, path, &report);
    transfer_report_free(&report);
    return result;
}

static const char *const preprocess_names[] = {"torch", "caffe", "tf", "custom"};

static bool same_preprocess(const preprocess *a, const preprocess *b)
{
    bool same = a->bgr == b->bgr && a->channels == b->channels;
    for (int c = 0; c < a->channels; c++) same = same && a->mean[c] == b->mean[c] && a->std[c] == b->std[c];
    return same;
}

static status order_rows(edge *e, const int64_t *place)
{
    int64_t rows = e->shape.dim[0];
    size_t each = (size_t)(shape_count(e->shape) / rows) * dtype_bytes(e->type);
    uint8_t *copy = malloc((size_t)rows * each), *data = e->data;
    if (!copy) return FAIL_MEMORY((size_t)rows * each);
    memcpy(copy, data, (size_t)rows * each);
    for (int64_t i = 0; i < rows; i++) memcpy(data + (size_t)i * each, copy + (size_t)place[i] * each, each);
    free(copy);
    return OK;
}

/* The rows of the last layers as the data set counts its classes, where these are the model's in another order. */
static status order_heads(model *m, const char *const *class_name, int64_t class_count, const char *path, logger *l)
{
    arena memory = {0};
    status result = OK;
    bool moved = false;
    int64_t *place = ARENA_ARRAY(&memory, int64_t, class_count);
    if (!place) TRY_OUT(FAIL_MEMORY((size_t)class_count * sizeof *place));
    if (class_places(place, class_name, class_count, m->class_name, class_count)) goto out; /* other classes */
    for (int64_t i = 0; i < class_count; i++) moved = moved || place[i] != i;
    for (int32_t k = 0; k < m->graph.output_count && moved; k++) {
        node_id head = head_of(&m->graph, k);
        for (int32_t i = 1; head != NODE_NONE && i < m->graph.nodes[head].in_count && i <= 2; i++) {
            edge_id e = m->graph.nodes[head].in[i];
            if (e != EDGE_NONE && m->graph.edges[e].shape.dim[0] == class_count) TRY_OUT(order_rows(&m->graph.edges[e], place));
        }
    }
    if (moved) log_info(l, "%s counts its classes in another order: its last layer follows the data set's", path);
out:
    arena_free(&memory);
    return result;
}

status prepare_model(model *m, const spec *s, model_builder_fn *build, model_transfer_fn *transfer, const char *const *class_name,
    int64_t class_count, logger *l, bool *fresh_head)
{
    *m = (model){0};
    *fresh_head = true;
    status result = OK;
    if (s->model.load_graph && !s->model.pretrained[0])
        return FAIL(E_USAGE, "model.load_graph = true needs model.pretrained, the model file to take the graph from");
    TRY_OUT(s->model.load_graph ? take_graph(m, s, class_count, l, fresh_head)
                                : build_and_transfer(m, s, build, transfer, class_count, l, fresh_head));
    if (!*fresh_head && m->class_count == class_count) TRY_OUT(order_heads(m, class_name, class_count, s->model.pretrained, l));
    preprocess wanted;
    TRY_OUT(preprocess_from_spec(&wanted, &s->model, &s->data));
    if (m->preprocess.channels > 0 && !same_preprocess(&m->preprocess, &wanted))
        log_warn(l, "data.preprocess = %s, as the spec says, is not what %s was trained with", preprocess_names[s->data.preprocess], s->model.pretrained);
    m->preprocess = wanted;
    TRY_OUT(model_set_classes(m, class_name, class_count));
    return OK;
out:
    model_free(m);
    return result;
}
