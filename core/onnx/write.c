#include <stdlib.h>
#include <string.h>

#include "core/onnx/file.h"
#include "core/onnx/onnx.h"

typedef struct writer {
    onnx_sink sink;
    const onnx_about *about;
    const char *input;   /* name of the file's input */
    preprocess remaining; /* what is still to be done outside */
    float scale[3];      /* folded into the weights  */
} writer;

/* --------------------------------------------------------------------------------------------- preprocessing inside */

/* Whether every reader of the image is a float convolution that sums over its channels. */
static bool can_fold(const graph *g, edge_id image)
{
    for (node_id n = 0; n < g->node_count; n++) {
        const node *p = &g->nodes[n];
        for (int32_t i = 0; i < p->in_count; i++) {
            if (p->in[i] != image) continue;
            if (p->op != &op_conv2d || i != 0 || ((const conv2d_attr *)p->attr)->groups != 1) return false;
        }
    }
    for (int32_t i = 0; i < g->output_count; i++)
        if (g->outputs[i] == image) return false;
    return true;
}

/* The channels of the file's input, red first, as the network counts them: a convolution of ones and
 * zeros, which every reader knows. */
static status reverse_node(writer *w, const char **name)
{
    static const float turn[] = {0, 0, 1, 0, 1, 0, 1, 0, 0};
    onnx_sink *s = &w->sink;
    const char *in[2] = {*name}, *out;
    onnx_out_node *n;
    TRY(onnx_const_out(s, *name, "order", DTYPE_F32, shape_4(3, 3, 1, 1), turn, &in[1]));
    TRY(onnx_name(s, *name, "reversed", &out));
    TRY(onnx_node_out(s, "Conv", in, 2, out, &n));
    onnx_attr_ints(s, n, "kernel_shape", (int64_t[]){1, 1}, 2);
    *name = out;
    return OK;
}

/* One value per channel: NAME/part from NAME. */
static status channel_node(writer *w, const char *type, const char *constant, const char *part, const float *values,
    int32_t channels, const char **name)
{
    onnx_sink *s = &w->sink;
    const char *in[2] = {*name}, *out;
    onnx_out_node *n;
    TRY(onnx_const_out(s, *name, constant, DTYPE_F32, (shape){3, {channels, 1, 1}}, values, &in[1]));
    TRY(onnx_name(s, *name, part, &out));
    TRY(onnx_node_out(s, type, in, 2, out, &n));
    *name = out;
    return OK;
}

/* Pixels minus mean; the deviation is left to the weights if they can take it. */
static status put_preprocess(writer *w)
{
    const preprocess *p = w->about->preprocess;
    const graph *g = w->sink.g;
    const char *name = w->input;
    int32_t channels = p->channels;
    float mean[3];
    bool fold = can_fold(g, g->inputs[0]);
    if (p->bgr && !fold) TRY(reverse_node(w, &name));
    for (int32_t c = 0; c < channels; c++) {
        mean[c] = p->mean[p->bgr && fold ? channels - 1 - c : c];
        w->scale[c] = 1 / p->std[c];
    }
    TRY(channel_node(w, "Sub", "mean", "centred", mean, channels, &name));
    if (!fold) TRY(channel_node(w, "Div", "deviation", "normalised", p->std, channels, &name));
    w->sink.name[g->inputs[0]] = name;
    w->sink.input_scale = fold ? w->scale : NULL;
    w->sink.input_reversed = fold && p->bgr;
    w->remaining.bgr = false;
    for (int32_t c = 0; c < 3; c++) w->remaining.mean[c] = 0, w->remaining.std[c] = 1;
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- the walk */

static status sink_init(onnx_sink *s, const graph *g)
{
    *s = (onnx_sink){.g = g};
    s->name = ARENA_ARRAY(&s->memory, const char *, g->edge_count);
    s->dequantised = ARENA_ARRAY(&s->memory, const char *, g->edge_count);
    s->flat = ARENA_ARRAY(&s->memory, shape, g->edge_count);
    return s->name && s->dequantised && s->flat ? OK : FAIL_MEMORY(g->edge_count * sizeof(shape));
}

static void sink_free(onnx_sink *s)
{
    free(s->nodes);
    free(s->tensors);
    arena_free(&s->memory);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Every tensor is made once: names of edges and of parts never meet, or the file would be invalid. */
static status check_names(onnx_sink *s)
{
    int64_t count = 0;
    const char **all = ARENA_ARRAY(&s->memory, const char *, s->node_count + s->tensor_count);
    if (!all) return FAIL_MEMORY((s->node_count + s->tensor_count) * 8);
    for (int64_t i = 0; i < s->node_count; i++) all[count++] = s->nodes[i].out;
    for (int64_t i = 0; i < s->tensor_count; i++) all[count++] = s->tensors[i].name;
    qsort(all, (size_t)count, sizeof *all, compare_names);
    for (int64_t i = 1; i < count; i++)
        if (strcmp(all[i - 1], all[i]) == 0)
            return FAIL(E_MODEL, "the ONNX file would have two tensors called '%s'", all[i]);
    return OK;
}

static onnx_port port_of(const char *name, shape s)
{
    s = onnx_out_shape(s);
    onnx_port p = {.name = name, .is_float = true, .has_shape = true, .rank = s.rank};
    memcpy(p.dim, s.dim, sizeof p.dim);
    if (p.rank > 0) p.dim[0] = -1;
    return p;
}

/* The output keeps its name whatever it is an alias of. */
static status name_output(writer *w)
{
    const graph *g = w->sink.g;
    const char *made, *name = g->edges[g->outputs[0]].name;
    onnx_out_node *n;
    TRY(onnx_ordered_name(&w->sink, g->outputs[0], &made));
    if (strcmp(made, name) == 0) return OK;
    for (int64_t i = 0; i < w->sink.node_count; i++)
        if (strcmp(w->sink.nodes[i].out, name) == 0) return OK;
    return onnx_node_out(&w->sink, "Identity", &made, 1, name, &n);
}

static status walk(writer *w)
{
    const graph *g = w->sink.g;
    if (g->input_count != 1 || g->output_count != 1)
        return FAIL(E_MODEL, "a graph of %d inputs and %d outputs cannot be written as ONNX: expected one of each",
            g->input_count, g->output_count);
    w->sink.name[g->inputs[0]] = w->input;
    if (w->about->preprocess_inside) TRY(put_preprocess(w));
    for (node_id n = 0; n < g->node_count; n++) {
        const node *p = &g->nodes[n];
        if (!p->op->onnx || !p->op->onnx->write)
            return onnx_write_fail(p, "ONNX has no such operator, or Graft no rule for it");
        TRY(p->op->onnx->write(&w->sink, p));
    }
    TRY(name_output(w));
    return check_names(&w->sink);
}

enum { META_ENTRIES = 4 };

static status save(writer *w, const char *path, hash128 *file_hash)
{
    const graph *g = w->sink.g;
    const onnx_about *about = w->about;
    json_writer classes = {0}, prepare = {0};
    const char *class_text, *prepare_text;
    size_t bytes;
    status result = OK;
    json_begin_array(&classes);
    for (int64_t i = 0; i < about->class_count; i++) json_put_string(&classes, about->class_name[i]);
    json_end_array(&classes);
    preprocess_write(&w->remaining, &prepare);
    TRY_OUT(json_writer_finish(&classes, &class_text, &bytes));
    TRY_OUT(json_writer_finish(&prepare, &prepare_text, &bytes));
    const char *const meta[2 * META_ENTRIES] = {"graft.version", "1", "graft.classes", class_text, "graft.preprocess",
        prepare_text, "graft.info", about->info_json ? about->info_json : "{}"};
    onnx_port input = port_of(w->input, g->edges[g->inputs[0]].shape);
    onnx_port output = port_of(g->edges[g->outputs[0]].name, g->edges[g->outputs[0]].shape);
    onnx_out_file f = {.sink = &w->sink, .input = &input, .output = &output, .meta = meta, .meta_count = META_ENTRIES};
    TRY_OUT(onnx_file_write(&f, path, file_hash));
out:
    json_writer_free(&classes);
    json_writer_free(&prepare);
    return result;
}

status onnx_write(const graph *g, const onnx_about *about, const char *path, hash128 *file_hash)
{
    writer w = {.about = about, .remaining = *about->preprocess};
    status result = sink_init(&w.sink, g);
    if (result == OK) w.input = g->edges[g->inputs[0]].name;
    if (result == OK) result = walk(&w);
    if (result == OK) result = save(&w, path, file_hash);
    sink_free(&w.sink);
    return result;
}
