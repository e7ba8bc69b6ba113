#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/graph/transform.h"
#include "core/onnx/import.h"

void onnx_report_free(onnx_report *r)
{
    arena_free(&r->memory);
    *r = (onnx_report){0};
}

enum { MAX_NOTES = 32 };

static status note(onnx_report *r, const char *text)
{
    if (!r->note) r->note = ARENA_ARRAY(&r->memory, const char *, MAX_NOTES);
    if (!r->note || !text) return FAIL_MEMORY(256);
    if (r->note_count < MAX_NOTES) r->note[r->note_count++] = text;
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- ends */

/* What classifiers end with after their scores is left out: losses and predictions add it themselves. */
static status find_logits(onnx_import_state *s, onnx_report *r, onnx_value **logits)
{
    *logits = s->outputs[0];
    for (;;) {
        const onnx_call *c = onnx_import_producer(s, *logits);
        if (!c || (strcmp(c->type, "Softmax") != 0 && strcmp(c->type, "Sigmoid") != 0)) break;
        TRY(note(r, arena_printf(&r->memory, "%s '%s' at the end is left out: the model gives its input, the scores",
                        c->type, c->name)));
        *logits = c->in[0];
    }
    for (int64_t i = 1; i < s->f->output_count; i++)
        TRY(note(r, arena_printf(&r->memory, "output '%s' is left out: only the first, '%s', is kept",
                        s->f->outputs[i].name, s->f->outputs[0].name)));
    return OK;
}

static status put_output(onnx_import_state *s, onnx_value *v)
{
    onnx_value flat = {.name = "logits", .edge = EDGE_NONE};
    onnx_call c = {.type = "output", .name = "logits", .g = s->g, .memory = &s->memory, .out = {&flat}, .out_count = 1};
    edge_id e;
    shape have = v->shape;
    char text[128];
    shape_text(have, text);
    bool image = have.rank == 4 && have.dim[2] == 1 && have.dim[3] == 1;
    int64_t batch = s->g->input_count ? s->g->edges[s->g->inputs[0]].shape.dim[0] : 1;
    if ((!image && have.rank != 2) || have.dim[0] != batch)
        return FAIL(E_MODEL, "%s: its output is %s: no image classifier, which gives [1, classes]", s->f->what, text);
    if (image) {
        TRY(onnx_reshape(&c, v, shape_2(have.dim[0], have.dim[1])));
        v = &flat;
    }
    TRY(onnx_plain(&c, v, &e));
    return graph_output(s->g, e);
}

/* A file may be for a batch of another size, which its reshapes name: 1 here. */
static status single_batch(onnx_import_state *s)
{
    status result = graph_resize_batch(s->g, 1);
    if (result == OK || result == E_MODEL) return result;
    return FAIL(E_MODEL, "%s: with a batch of 1: %s", s->f->what, status_message());
}

static status name_input(onnx_import_state *s)
{
    graph *g = s->g;
    edge_id image = EDGE_NONE;
    for (int32_t i = 0; i < g->input_count; i++) {
        if (g->edges[g->inputs[i]].type == DTYPE_I64) continue; /* dropout's keys */
        if (image != EDGE_NONE) return FAIL(E_MODEL, "%s: more than one input: no image classifier", s->f->what);
        image = g->inputs[i];
    }
    shape in = image == EDGE_NONE ? (shape){0} : g->edges[image].shape;
    if (in.rank != 4 || (in.dim[3] != 1 && in.dim[3] != 3))
        return FAIL(E_MODEL, "%s: its input is no image of 1 or 3 channels", s->f->what);
    edge_id other = graph_find_edge(g, "image");
    if (other != EDGE_NONE && other != image) g->edges[other].name = arena_strdup(&g->memory, "image.parameter");
    g->edges[image].name = arena_strdup(&g->memory, "image");
    return g->edges[image].name ? OK : FAIL_MEMORY(16);
}

/* Freezing units: the stem up to stride 2, then one per halving of the image; -1 once nothing is left of it. */
static void number_blocks(graph *g)
{
    int64_t height = g->edges[g->inputs[0]].shape.dim[1];
    int32_t reached = 0;
    for (node_id n = 0; n < g->node_count; n++) {
        shape s = g->edges[g->nodes[n].out[0]].shape;
        bool image = s.rank == 4 && s.dim[1] * s.dim[2] > 1;
        int32_t halvings = 0;
        for (int64_t h = image ? s.dim[1] : height; h * 2 <= height; h *= 2) halvings++;
        if (halvings - 1 > reached) reached = halvings - 1;
        g->nodes[n].block = image && reached >= 0 ? reached : -1;
        if (!image && s.rank == 4 && n + 1 < g->node_count && reached > 0) g->nodes[n].block = reached;
    }
}

/* --------------------------------------------------------------------------------------- what lies beside the graph */

static const char *find_meta(const onnx_file *f, const char *key)
{
    for (int64_t i = 0; i < f->meta_count; i++)
        if (strcmp(f->meta_key[i], key) == 0) return f->meta_value[i];
    return NULL;
}

static status read_meta(const onnx_file *f, arena *a, const char *key, json **root)
{
    const char *text = find_meta(f, key);
    *root = NULL;
    return text ? json_parse(a, text, strlen(text), f->what, root) : OK;
}

static status read_classes(model *m, const onnx_file *f, arena *a, int64_t logits)
{
    json *list;
    TRY(read_meta(f, a, "graft.classes", &list));
    if (!list || list->type != JSON_ARRAY || list->count != logits) return OK;
    const char **names = ARENA_ARRAY(a, const char *, logits);
    if (!names) return FAIL_MEMORY(logits * sizeof *names);
    for (int64_t i = 0; i < logits; i++)
        if (!(names[i] = json_string(json_at(list, i)))) return OK;
    return model_set_classes(m, names, logits);
}

static status read_preprocess(model *m, const onnx_file *f, arena *a, const onnx_options *o, onnx_report *r)
{
    json *object;
    shape in = m->graph.edges[m->graph.inputs[0]].shape;
    TRY(read_meta(f, a, "graft.preprocess", &object));
    m->preprocess = o->preprocess;
    if (object && !o->force) TRY(preprocess_read(&m->preprocess, object));
    else
        TRY(note(r, arena_strdup(&r->memory,
                        "the file does not say how its images are prepared: as the options do (data.preprocess)")));
    preprocess *p = &m->preprocess;
    p->height = (int32_t)in.dim[1], p->width = (int32_t)in.dim[2], p->channels = (int32_t)in.dim[3];
    p->bgr = p->bgr && p->channels == 3;
    return OK;
}

static status write_info(model *m, const onnx_file *f)
{
    json_writer w = {0};
    const char *text;
    size_t bytes;
    json_begin_object(&w);
    json_key(&w, "source"), json_put_string(&w, path_base(f->what));
    json_key(&w, "format"), json_put_string(&w, "onnx");
    json_key(&w, "producer"), json_put_string(&w, f->producer);
    json_key(&w, "opset"), json_put_int(&w, f->opset);
    json_end_object(&w);
    status result = json_writer_finish(&w, &text, &bytes);
    if (result == OK) m->info_json = arena_strdup(&m->memory, text);
    m->spec_text = "";
    json_writer_free(&w);
    return result == OK && !m->info_json ? FAIL_MEMORY(256) : result;
}

/* ---------------------------------------------------------------------------------------------------- public */

static status import_graph(graph *to, const onnx_file *f, const onnx_options *o, onnx_report *r)
{
    graph whole = {.node_count = 0};
    onnx_import_state s = {.g = &whole, .f = f, .height = o->preprocess.height, .width = o->preprocess.width};
    onnx_value *logits;
    status result = OK;
    TRY_OUT(graph_init(&whole));
    TRY_OUT(onnx_import_nodes(&s));
    if (f->output_count < 1) TRY_OUT(FAIL(E_MODEL, "%s: it has no output", f->what));
    TRY_OUT(find_logits(&s, r, &logits));
    TRY_OUT(put_output(&s, logits));
    TRY_OUT(single_batch(&s));
    TRY_OUT(name_input(&s));
    number_blocks(&whole);
    TRY_OUT(pass_remove_dead(to, &whole));
out:
    onnx_import_free(&s);
    graph_free(&whole);
    return result;
}

static status import_model(model *m, const onnx_file *f, const onnx_options *o, onnx_report *r)
{
    arena a = {0};
    status result = OK;
    r->opset = f->opset;
    r->nodes = f->node_count;
    r->producer = arena_strdup(&r->memory, f->producer);
    if (!r->producer) return FAIL_MEMORY(64);
    if (f->external_tensors)
        TRY(note(r, arena_printf(&r->memory, "values of %" PRId64 " tensors come from '%s'%s beside it",
            f->external_tensors, f->external_name, f->external_files > 1 ? " and other files" : "")));
    TRY(import_graph(&m->graph, f, o, r));
    r->parameters = graph_param_count(&m->graph);
    shape out = m->graph.edges[m->graph.outputs[0]].shape;
    TRY_OUT(read_classes(m, f, &a, out.dim[1]));
    TRY_OUT(read_preprocess(m, f, &a, o, r));
    TRY_OUT(write_info(m, f));
out:
    arena_free(&a);
    return result;
}

status onnx_import_bytes(
    model *m, const uint8_t *bytes, size_t count, const char *what, const onnx_options *o, onnx_report *report)
{
    onnx_file f = {.what = NULL};
    status result = OK;
    *m = (model){.graph = {.node_count = 0}};
    *report = (onnx_report){.opset = 0};
    TRY_OUT(onnx_file_read(&f, &(onnx_source){.bytes = bytes, .count = count, .what = what, .folder = o->folder}));
    TRY_OUT(import_model(m, &f, o, report));
    m->file_hash = f.hash;
out:
    onnx_file_free(&f);
    if (result == OK) return OK;
    model_free(m);
    onnx_report_free(report);
    return result;
}

/* Into memory: a mapped file that somebody cuts meanwhile would end the program. */
static status read_file(arena *a, const char *path, uint8_t **bytes, size_t *count)
{
    file_input r;
    status result = OK;
    TRY(file_input_open(&r, path));
    if (r.bytes > INT_MAX)
        TRY_OUT(FAIL(E_MODEL, "%s: %" PRId64 " bytes, protobuf files end at 2 GiB", path, r.bytes));
    *count = (size_t)r.bytes;
    *bytes = arena_alloc(a, *count);
    if (!*bytes) TRY_OUT(FAIL_MEMORY(*count));
    TRY_OUT(file_input_read(&r, 0, *bytes, *count));
out:
    file_input_close(&r);
    return result;
}

static const char *folder_of(arena *a, const char *path)
{
    const char *base = path_base(path);
    return base == path ? "." : arena_strndup(a, path, (size_t)(base - path));
}

status onnx_import(model *m, const char *path, const onnx_options *o, onnx_report *report)
{
    arena a = {0};
    uint8_t *bytes;
    size_t count;
    onnx_options here = *o;
    *m = (model){.graph = {.node_count = 0}};
    *report = (onnx_report){.opset = 0};
    status result = read_file(&a, path, &bytes, &count);
    if (result == OK && !(here.folder = folder_of(&a, path))) result = FAIL_MEMORY(strlen(path));
    if (result == OK) result = onnx_import_bytes(m, bytes, count, path, &here, report);
    arena_free(&a);
    return result;
}

status onnx_image_size(const char *path, int32_t *width, int32_t *height, int32_t *channels)
{
    arena a = {0};
    uint8_t *bytes;
    size_t count;
    onnx_file f = {.what = NULL};
    const onnx_port *image = NULL;
    status result = OK;
    TRY_OUT(read_file(&a, path, &bytes, &count));
    TRY_OUT(onnx_file_read(&f, &(onnx_source){.bytes = bytes, .count = count, .what = path, .names_only = true}));
    for (int64_t i = 0; i < f.input_count && !image; i++) {
        bool constant = false;
        for (int64_t k = 0; k < f.tensor_count && !constant; k++)
            constant = strcmp(f.tensors[k].name, f.inputs[i].name) == 0;
        if (!constant) image = &f.inputs[i];
    }
    if (!image || !image->has_shape || image->rank != 4)
        TRY_OUT(FAIL(E_MODEL, "%s: its input is no image of 4 dimensions", path));
    bool last = onnx_is_channels_last((shape){4, {1, image->dim[1], image->dim[2], image->dim[3]}});
    int64_t size[3] = {image->dim[last ? 2 : 3], image->dim[last ? 1 : 2], image->dim[last ? 3 : 1]};
    *width = size[0] > 0 ? (int32_t)size[0] : 0;
    *height = size[1] > 0 ? (int32_t)size[1] : 0;
    *channels = size[2] > 0 ? (int32_t)size[2] : 0;
out:
    onnx_file_free(&f);
    arena_free(&a);
    return result;
}
