#include "export/ncnn.h"

#include <math.h>
#include <string.h>

#include "core/base/file.h"
#include "core/ops/op.h"
#include "export/quantise.h"

static bool stays_float(const engine *e, const char *layer)
{
    for (int64_t i = 0; i < e->layer_count; i++)
        if (strcmp(e->layers[i].name, layer) == 0) return !e->layers[i].integer;
    return true;
}

static status put_weights(file_writer *w, const graph *g, const node *n, bool comment)
{
    const edge *weight = &g->edges[n->in[1]];
    int64_t rows = weight->shape.dim[0], count = shape_count(weight->shape) / rows;
    const float *value = weight->data;
    TRY(file_writer_printf(w, "%s%s_param_0", comment ? "#" : "", n->name));
    for (int64_t o = 0; o < rows; o++) {
        float greatest = 0;
        for (int64_t i = 0; i < count; i++) greatest = fmaxf(greatest, fabsf(value[o * count + i]));
        TRY(file_writer_printf(w, " %.9g", greatest > 0 ? 127.0 / (double)greatest : 1.0));
    }
    return file_writer_printf(w, "\n");
}

static status put_lines(file_writer *w, const graph *g, const export_scales *s, const engine *e)
{
    for (int pass = 0; pass < 2; pass++)
        for (node_id i = 0; i < g->node_count; i++) {
            const node *n = &g->nodes[i];
            if (!quantise_is_layer(g, i)) continue;
            const cache_entry *input = cache_find(&s->table, g->edges[n->in[0]].name);
            bool comment = stays_float(e, n->name) || !input;
            if (pass == 0) TRY(put_weights(w, g, n, comment));
            else if (input)
                TRY(file_writer_printf(w, "%s%s %.9g\n", comment ? "#" : "", n->name, 1.0 / (double)input->scale));
        }
    return OK;
}

status ncnn_write_table(const char *path, const model *m, const export_scales *s, const engine *e)
{
    graph g;
    file_writer w = {0};
    TRY(export_float_graph(&g, &m->graph));
    status result = OK;
    TRY_OUT(file_writer_open(&w, path));
    TRY_OUT(put_lines(&w, &g, s, e));
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    graph_free(&g);
    return result;
}
