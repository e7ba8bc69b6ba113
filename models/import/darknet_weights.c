#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/graph/model_layout.h"
#include "core/ops/op.h"
#include "models/import/darknet.h"

enum { VERSION_BYTES = 12, TRANSPOSED = 1000 };
#define SMALLEST_EPSILON 1e-12
#define CURRENT_EPSILON 1e-5

/* ---------------------------------------------------------------------------------------------- layers with numbers */

/* A convolution or linear layer and the batch normalisation that reads it. */
typedef struct numbers {
    const char *name;
    bool linear;
    edge_id weight, bias;                      /* bias: EDGE_NONE if there is none   */
    edge_id scale, shift, mean, variance;      /* EDGE_NONE: no batch normalisation  */
    float epsilon;
} numbers;

static const node *batchnorm_of(const graph *g, const node *n)
{
    for (node_id i = 0; i < g->node_count; i++)
        if (g->nodes[i].op == &op_batchnorm && g->nodes[i].in[0] == n->out[0]) return &g->nodes[i];
    return NULL;
}

static bool find_numbers(const graph *g, node_id i, numbers *x)
{
    const node *n = &g->nodes[i];
    if (n->op != &op_conv2d && n->op != &op_linear) return false;
    const node *bn = batchnorm_of(g, n);
    *x = (numbers){n->name, n->op == &op_linear, n->in[1], n->in_count > 2 ? n->in[2] : EDGE_NONE, EDGE_NONE, EDGE_NONE,
        EDGE_NONE, EDGE_NONE, 0};
    if (!bn) return true;
    x->scale = bn->in[1], x->shift = bn->in[2], x->mean = bn->in[3], x->variance = bn->in[4];
    x->epsilon = ((const batchnorm_attr *)bn->attr)->epsilon;
    return true;
}

/* The edges of a layer in the file's order; EDGE_NONE: not there. */
enum { PARTS = 6 };
static void order_parts(const numbers *x, edge_id part[PARTS])
{
    bool normalised = x->scale != EDGE_NONE;
    edge_id convolution[PARTS] = {
        normalised ? x->shift : x->bias, x->scale, x->mean, x->variance, x->weight, EDGE_NONE};
    edge_id connected[PARTS] = {normalised ? x->shift : x->bias, x->weight, x->scale, x->mean, x->variance, EDGE_NONE};
    memcpy(part, x->linear ? connected : convolution, sizeof convolution);
}

/* ------------------------------------------------------------------------------------------------ reading */

typedef struct reader {
    const uint8_t *next, *end, *begin;
    const char *what;
    bool transposed;
    darknet_epsilon form;
} reader;

static status read_header(reader *r)
{
    int32_t v[3];
    size_t bytes = (size_t)(r->end - r->next);
    if (bytes < VERSION_BYTES + 4) return FAIL(E_MODEL, "%s: %zu bytes are too few for a darknet file", r->what, bytes);
    memcpy(v, r->next, sizeof v);
    if (v[0] < 0 || v[1] < 0 || v[0] > TRANSPOSED + 1 || v[1] > TRANSPOSED + 9 || v[0] + v[1] == 0)
        return FAIL(E_MODEL, "%s: version %d.%d.%d: this is no darknet file", r->what, v[0], v[1], v[2]);
    r->transposed = v[0] > TRANSPOSED || v[1] > TRANSPOSED;
    size_t seen = v[0] * 10 + v[1] >= 2 ? 8 : 4;
    if (bytes < VERSION_BYTES + seen)
        return FAIL(E_MODEL, "%s: %zu bytes are too few for a darknet file", r->what, bytes);
    r->next += VERSION_BYTES + seen;
    return OK;
}

static void transpose(float *values, const edge *e, const float *from)
{
    int64_t outputs = e->shape.dim[0], inputs = shape_count(e->shape) / outputs;
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t i = 0; i < inputs; i++) values[o * inputs + i] = from[i * outputs + o];
}

static status read_values(reader *r, const numbers *x, edge *e)
{
    size_t bytes = (size_t)shape_count(e->shape) * sizeof(float);
    if (bytes > (size_t)(r->end - r->next))
        return FAIL(E_MODEL,
            "%s: too short for this network: %s needs bytes %" PRId64 " to %" PRId64 ", the file has %" PRId64, r->what,
            e->name, (r->next - r->begin), (r->next - r->begin) + bytes, (r->end - r->begin));
    bool turned = r->transposed && x->linear && e->layout == LAYOUT_LINEAR;
    float *as_stored = malloc(2 * bytes + 1), *values = as_stored;
    if (!as_stored) return FAIL_MEMORY(2 * bytes);
    memcpy(as_stored, r->next, bytes);
    if (turned) transpose(values = as_stored + bytes / sizeof(float), e, as_stored);
    layout_from_file(e, e->data, values);
    free(as_stored);
    r->next += bytes;
    return OK;
}

static status read_layer(reader *r, graph *g, const numbers *x)
{
    edge_id part[PARTS];
    if (x->scale != EDGE_NONE && x->bias != EDGE_NONE)
        return FAIL(
            E_MODEL, "%s: %s has a bias and a batch normalisation: darknet has no such layer", r->what, x->name);
    if (x->scale == EDGE_NONE && x->bias == EDGE_NONE)
        return FAIL(
            E_MODEL, "%s: %s has neither bias nor batch normalisation: darknet has no such layer", r->what, x->name);
    if (g->edges[x->weight].type != DTYPE_F32) return FAIL(E_MODEL, "%s: %s has no float weights", r->what, x->name);
    order_parts(x, part);
    for (int i = 0; i < PARTS; i++)
        if (part[i] != EDGE_NONE) TRY(read_values(r, x, &g->edges[part[i]]));
    if (x->variance == EDGE_NONE || r->form == DARKNET_EPSILON_INSIDE) return OK;
    edge *e = &g->edges[x->variance];
    for (int64_t i = 0; i < shape_count(e->shape); i++) {
        double root = sqrt((double)((float *)e->data)[i]) + 1e-6;
        ((float *)e->data)[i] = (float)(root * root - SMALLEST_EPSILON);
    }
    return OK;
}

status darknet_read(graph *g, const uint8_t *bytes, size_t count, const char *what, darknet_epsilon form)
{
    reader r = {.begin = bytes, .next = bytes, .end = bytes + count, .what = what, .form = form};
    numbers x;
    TRY(read_header(&r));
    for (node_id i = 0; i < g->node_count; i++)
        if (find_numbers(g, i, &x)) TRY(read_layer(&r, g, &x));
    if (r.next != r.end)
        return FAIL(E_MODEL, "%s: %" PRId64 " bytes are left behind the last layer: made for another network", what,
            (r.end - r.next));
    return OK;
}

status darknet_load(graph *g, const char *path, darknet_epsilon form)
{
    file_map map;
    TRY(file_map_open(&map, path));
    status result = darknet_read(g, map.data, map.bytes, path, form);
    file_map_close(&map);
    return result;
}

/* ------------------------------------------------------------------------------------------------ writing */

static status write_values(file_writer *w, const numbers *x, const edge *e, const char *path)
{
    int64_t count = shape_count(e->shape);
    float *values = malloc((size_t)count * sizeof *values);
    status result = OK;
    if (!values) return FAIL_MEMORY((size_t)count * sizeof *values);
    layout_to_file(e, values, e->data);
    bool variance = e->kind == EDGE_STATE && strstr(e->name, "running_var");
    for (int64_t i = 0; variance && i < count; i++) {
        values[i] = (float)((double)values[i] + x->epsilon - CURRENT_EPSILON);
        if (values[i] < 0)
            TRY_OUT(FAIL(E_MODEL, "%s: %s: variance %g with epsilon %g cannot be told with darknet's epsilon of %g",
                path, e->name, (double)values[i], (double)x->epsilon, CURRENT_EPSILON));
    }
    result = file_writer_write(w, values, (size_t)count * sizeof *values);
out:
    free(values);
    return result;
}

static status write_layer(file_writer *w, const graph *g, const numbers *x, const char *path)
{
    edge_id part[PARTS];
    if ((x->scale != EDGE_NONE) == (x->bias != EDGE_NONE))
        return FAIL(E_MODEL, "%s: %s needs either a bias or a batch normalisation: darknet knows no other layer", path,
            x->name);
    if (g->edges[x->weight].type != DTYPE_F32) return FAIL(E_MODEL, "%s: %s has no float weights", path, x->name);
    order_parts(x, part);
    for (int i = 0; i < PARTS; i++)
        if (part[i] != EDGE_NONE) TRY(write_values(w, x, &g->edges[part[i]], path));
    return OK;
}

status darknet_save(const graph *g, const char *path)
{
    static const int32_t header[5] = {0, 2, 5, 0, 0}; /* version, no images seen */
    file_writer w = {0};
    numbers x;
    status result = OK;
    TRY(file_writer_open(&w, path));
    TRY_OUT(file_writer_write(&w, header, sizeof header));
    for (node_id i = 0; i < g->node_count; i++)
        if (find_numbers(g, i, &x)) TRY_OUT(write_layer(&w, g, &x, path));
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}
