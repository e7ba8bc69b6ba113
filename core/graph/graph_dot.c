#include "core/graph/graph_dot.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/graph/transform.h"

typedef struct writer {
    file_writer out;
    const graph *g;
    edge_uses uses;
    node_id *box; /* [node_count] first node of the box that a node stands in */
} writer;

/* Text inside a quoted label. */
static status put_text(writer *w, const char *text)
{
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') TRY(file_writer_printf(&w->out, "\\"));
        TRY(file_writer_printf(&w->out, "%c", (unsigned char)*text < ' ' ? ' ' : *text));
    }
    return OK;
}

/* Without the batch; "64" behind a global pool, "56x56x64" before it. */
static status put_shape(writer *w, shape s)
{
    for (int32_t i = s.rank > 1 ? 1 : 0; i < s.rank; i++)
        TRY(file_writer_printf(&w->out, "%s%" PRId64, i > (s.rank > 1) ? "x" : "", s.dim[i]));
    return OK;
}

static const op_field *find_field(const node *n, const char *name)
{
    for (const op_field *f = n->op->fields; f && f->name; f++)
        if (strcmp(f->name, name) == 0) return f;
    return NULL;
}

/* What tells one layer from another, of whatever attributes the op has. */
static status put_attributes(writer *w, const node *n)
{
    const op_field *f;
    const char *base = n->attr;
    if ((f = find_field(n, "kind")))
        TRY(file_writer_printf(&w->out, " %s", f->choices[*(const int32_t *)(base + f->offset)]));
    if ((f = find_field(n, "kernel")) && *(const int32_t *)(base + f->offset) > 0) {
        const int32_t *k = (const int32_t *)(base + f->offset);
        TRY(file_writer_printf(&w->out, " %dx%d", k[0], k[1]));
    }
    const edge *weight = n->in_count > 1 && n->in[1] != EDGE_NONE ? &w->g->edges[n->in[1]] : NULL;
    if (n->op->coupling == COUPLE_WEIGHT && weight && weight->shape.rank == 4)
        TRY(file_writer_printf(&w->out, " %" PRId64 "x%" PRId64 ", %" PRId64, weight->shape.dim[1],
            weight->shape.dim[2], weight->shape.dim[0]));
    if ((f = find_field(n, "stride")) && *(const int32_t *)(base + f->offset) > 1)
        TRY(file_writer_printf(&w->out, ", stride %d", *(const int32_t *)(base + f->offset)));
    if ((f = find_field(n, "groups")) && *(const int32_t *)(base + f->offset) > 1)
        TRY(file_writer_printf(&w->out, ", groups %d", *(const int32_t *)(base + f->offset)));
    if ((f = find_field(n, "act")) && *(const int32_t *)(base + f->offset) > 0)
        TRY(file_writer_printf(&w->out, " %s", f->choices[*(const int32_t *)(base + f->offset)]));
    return OK;
}

/* Does n merely continue the box before it? */
static bool continues(const writer *w, const node *n)
{
    const edge *x = n->in_count ? &w->g->edges[n->in[0]] : NULL;
    if (!x || x->kind != EDGE_ACTIVATION || w->uses.count[n->in[0]] != 1) return false;
    for (int32_t i = 1; i < n->in_count; i++) /* whatever else it reads are its own numbers */
        if (n->in[i] != EDGE_NONE && w->g->edges[n->in[i]].kind == EDGE_ACTIVATION) return false;
    return n->op->coupling == COUPLE_SAME ? shape_equal(x->shape, w->g->edges[n->out[0]].shape) : n->op->alias;
}

static const char *color(const graph *g, const node *n)
{
    for (int32_t i = 0; i < n->in_count; i++)
        if (n->in[i] != EDGE_NONE && g->edges[n->in[i]].type == DTYPE_I8) return "#d9f2d9";
    switch (n->op->coupling) {
    case COUPLE_WEIGHT: return "#dbe7f6";
    case COUPLE_CONCAT: return "#f6efd0";
    case COUPLE_SAME: return n->in_count > 1 ? "#f6efd0" : "#eeeeee";
    default: return "#eeeeee";
    }
}

static status put_box(writer *w, node_id first)
{
    const graph *g = w->g;
    TRY(file_writer_printf(&w->out, "  n%d [fillcolor=\"%s\" label=\"", first, color(g, &g->nodes[first])));
    TRY(put_text(w, g->nodes[first].name));
    for (node_id i = first; i < g->node_count; i++) {
        if (w->box[i] != first) continue;
        TRY(file_writer_printf(&w->out, "\\n%s", g->nodes[i].op->name));
        TRY(put_attributes(w, &g->nodes[i]));
    }
    return file_writer_printf(&w->out, "\"];\n");
}

static status put_arrow(writer *w, edge_id e, node_id to)
{
    const edge *x = &w->g->edges[e];
    if (x->kind != EDGE_ACTIVATION && x->kind != EDGE_INPUT) return OK;
    if (x->kind == EDGE_INPUT) TRY(file_writer_printf(&w->out, "  i%d -> n%d [label=\"", e, to));
    else TRY(file_writer_printf(&w->out, "  n%d -> n%d [label=\"", w->box[x->producer], to));
    TRY(put_shape(w, x->shape));
    return file_writer_printf(&w->out, "\"];\n");
}

/* Keys of a dropout inside a box are nobody's business here. */
static bool is_drawn(const writer *w, edge_id input)
{
    for (node_id i = 0; i < w->g->node_count; i++)
        for (int32_t k = 0; w->box[i] == i && k < w->g->nodes[i].in_count; k++)
            if (w->g->nodes[i].in[k] == input) return true;
    return false;
}

static status put_ends(writer *w)
{
    const graph *g = w->g;
    for (int32_t i = 0; i < g->input_count; i++) {
        if (!is_drawn(w, g->inputs[i])) continue;
        TRY(file_writer_printf(&w->out, "  i%d [shape=ellipse fillcolor=white label=\"", g->inputs[i]));
        TRY(put_text(w, g->edges[g->inputs[i]].name));
        TRY(file_writer_printf(&w->out, "\"];\n"));
    }
    for (int32_t i = 0; i < g->output_count; i++) {
        const edge *x = &g->edges[g->outputs[i]];
        TRY(file_writer_printf(&w->out, "  o%d [shape=ellipse fillcolor=white label=\"output %d\"];\n", i, i));
        if (x->kind != EDGE_ACTIVATION) continue;
        TRY(file_writer_printf(&w->out, "  n%d -> o%d [label=\"", w->box[x->producer], i));
        TRY(put_shape(w, x->shape));
        TRY(file_writer_printf(&w->out, "\"];\n"));
    }
    return OK;
}

static status put_graph(writer *w, const char *title)
{
    const graph *g = w->g;
    TRY(file_writer_printf(&w->out, "digraph network {\n  label=\""));
    TRY(put_text(w, title));
    TRY(file_writer_printf(&w->out, "\"; labelloc=t; fontname=\"Helvetica\"; nodesep=0.3; ranksep=0.35;\n"
        "  node [shape=box style=\"rounded,filled\" fontname=\"Helvetica\" fontsize=10 margin=\"0.12,0.06\"];\n"
        "  edge [fontname=\"Helvetica\" fontsize=8 arrowsize=0.6];\n"));
    for (node_id i = 0; i < g->node_count; i++)
        w->box[i] = continues(w, &g->nodes[i]) ? w->box[g->edges[g->nodes[i].in[0]].producer] : i;
    TRY(put_ends(w));
    for (node_id i = 0; i < g->node_count; i++) {
        if (w->box[i] != i) continue;
        TRY(put_box(w, i));
    }
    for (node_id i = 0; i < g->node_count; i++)
        for (int32_t k = 0; w->box[i] == i && k < g->nodes[i].in_count; k++)
            if (g->nodes[i].in[k] != EDGE_NONE) TRY(put_arrow(w, g->nodes[i].in[k], i));
    return file_writer_printf(&w->out, "}\n");
}

status graph_write_dot(const graph *g, const char *title, const char *path)
{
    writer w = {.g = g};
    TRY(edge_uses_init(&w.uses, g));
    status result = OK;
    TRY_ALLOC_OUT(w.box, heap_alloc_array(g->node_count + 1, sizeof *w.box));
    TRY_OUT(file_writer_open(&w.out, path));
    TRY_OUT(put_graph(&w, title));
    TRY_OUT(file_writer_commit(&w.out));
out:
    file_writer_abort(&w.out);
    free(w.box);
    edge_uses_free(&w.uses);
    return result;
}
