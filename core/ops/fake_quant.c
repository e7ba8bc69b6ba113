/* fake_quant: an engine's integers in training. A range belongs to the tensor and is a state like running
 * statistics; convolutions and linear layers that read a fake-quantised tensor have their weights fake-quantised
 * in lowering (quantised_weight). */
#include "core/graph/transform.h"

#include <inttypes.h>

#include "core/ops/infer.h"
#include "core/ops/internal.h"

enum { X, RANGE };

static const op_field fields[] = {
    {"momentum", FIELD_FLOAT, offsetof(fake_quant_attr, momentum), 1, 0, 1, NULL},
    {"narrow", FIELD_BOOL, offsetof(fake_quant_attr, narrow), 1, 0, 0, NULL},
    FIELDS_END,
};

static status check_type(const graph *g, const node *n, int32_t i)
{
    TRY(infer_is_float(g, n, i));
    return infer_in(g, n, i)->type == DTYPE_F64 ? infer_fail(n, "f64 is not quantised") : OK;
}

static status check_rows(const node *n, const edge *x, int64_t rows)
{
    if (rows == 1 || rows == x->shape.dim[0]) return OK;
    return infer_fail(n, "%" PRId64 " ranges, expected 1 or %" PRId64, rows, x->shape.dim[0]);
}

static void set_desc(const graph *g, const node *n, int32_t x, int64_t rows, kernel_binding *b)
{
    const fake_quant_attr *a = n->attr;
    const edge *e = infer_in(g, n, x);
    b->desc.fake_quant = (fake_quant_desc){.rows = rows,
        .count = shape_count(e->shape) / rows,
        .type = e->type,
        .momentum = a->momentum,
        .narrow = a->narrow};
}

static status infer(graph *g, node *n)
{
    TRY(check_type(g, n, X));
    TRY(infer_rank(g, n, RANGE, 1, 1));
    const edge *x = infer_in(g, n, X), *range = infer_in(g, n, RANGE);
    TRY(infer_is_vector(g, n, RANGE, DTYPE_F32, range->shape.dim[0]));
    TRY(check_rows(n, x, range->shape.dim[0]));
    return infer_out(g, n, 0, x->type, x->shape);
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_FAKE_QUANT;
    set_desc(g, n, X, infer_in(g, n, RANGE)->shape.dim[0], b);
    b->in[0] = n->in[X];
    b->in[1] = n->in[RANGE];
    b->out[0] = n->out[0];
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    edge_id out[] = {EDGE_NEW};
    if (!autodiff_wants(a, n->in[X])) return OK;
    TRY(autodiff_node(
        a, n, &op_fake_quant_backward, "dsrc", n->attr, (edge_id[]){dout[0], n->in[X], n->in[RANGE]}, 3, out));
    return autodiff_add(a, n->in[X], out[0]);
}

static status add_range(
    graph *g, const node *n, const char *suffix, const fake_quant_attr *attr, edge_id x, edge_id *range)
{
    char *name = arena_printf(&g->memory, "%s/%s", n->name, suffix);
    return name ? graph_add_to(g, &op_fake_quant_range, name, attr, &x, 1, n->block, range) : E_MEMORY;
}

/* In training the range follows the data before it is used; one that is no state is given and stays. */
static status lower(graph_builder *b, const node *n)
{
    edge_id x, range;
    if (b->training && b->src->edges[n->in[RANGE]].kind == EDGE_STATE) {
        TRY(builder_edge(b, n->in[X], &x));
        TRY(builder_edge(b, n->in[RANGE], &range));
        TRY(add_range(b->dst, n, "range", n->attr, x, &range));
    }
    return builder_copy(b, n);
}

const op op_fake_quant = {.name = "fake_quant",
    .attr_bytes = sizeof(fake_quant_attr),
    .fields = fields,
    .in_min = 2,
    .in_max = 2,
    .out_min = 1,
    .out_count = 1,
    .straight_through = true,
    .coupling = COUPLE_SAME,
    .inplace_in = -1,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .lower = lower};

/* ---------------------------------------------------------------------------------------------------- weights */

bool quantised_input(const graph *g, edge_id x)
{
    for (node_id p = g->edges[x].producer; p != NODE_NONE; p = g->edges[g->nodes[p].in[0]].producer) {
        const node *n = &g->nodes[p];
        if (n->op == &op_fake_quant) return true;
        if (!n->op->alias && n->op->quant != QUANT_PASS && n->op != &op_dropout) return false;
    }
    return false;
}

status quantised_weight(graph_builder *b, const node *n, edge_id weight, edge_id *image)
{
    const fake_quant_attr attr = {.momentum = 1, .narrow = true, .rows = b->src->edges[weight].shape.dim[0]};
    edge_id w, range = EDGE_NEW, out[] = {EDGE_NEW};
    TRY(builder_edge(b, weight, &w));
    TRY(add_range(b->dst, n, "weight_range", &attr, w, &range));
    char *name;
    TRY_ALLOC(name, arena_printf(&b->dst->memory, "%s/weight_image", n->name));
    TRY(graph_add_to(b->dst, &op_fake_quant, name, &attr, (edge_id[]){w, range}, 2, n->block, out));
    *image = out[0];
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- internal */

static status infer_range(graph *g, node *n)
{
    const fake_quant_attr *a = n->attr;
    int64_t rows = a->rows > 0 ? a->rows : 1;
    TRY(check_type(g, n, X));
    TRY(check_rows(n, infer_in(g, n, X), rows));
    return infer_out(g, n, 0, DTYPE_F32, shape_1(rows));
}

static status describe_range(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_FAKE_QUANT_RANGE;
    set_desc(g, n, X, g->edges[n->out[0]].shape.dim[0], b);
    b->in[0] = n->in[X];
    b->out[0] = n->out[0];
    return OK;
}

static status infer_backward(graph *g, node *n)
{
    TRY(check_type(g, n, 0));
    const edge *ddst = infer_in(g, n, 0);
    TRY(infer_is(g, n, 1, ddst->type, ddst->shape));
    TRY(infer_rank(g, n, 2, 1, 1));
    const edge *range = infer_in(g, n, 2);
    TRY(infer_is_vector(g, n, 2, DTYPE_F32, range->shape.dim[0]));
    TRY(check_rows(n, ddst, range->shape.dim[0]));
    return infer_out(g, n, 0, ddst->type, ddst->shape);
}

static status describe_backward(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_FAKE_QUANT_BACKWARD;
    set_desc(g, n, 0, infer_in(g, n, 2)->shape.dim[0], b);
    for (int32_t i = 0; i < 3; i++) b->in[i] = n->in[i];
    b->out[0] = n->out[0];
    return OK;
}

const op op_fake_quant_range = {.name = "fake_quant_range",
    .attr_bytes = sizeof(fake_quant_attr),
    .fields = fields,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_FIXED,
    .inplace_in = -1,
    .infer = infer_range,
    .describe = describe_range};
const op op_fake_quant_backward = {.name = "fake_quant_backward",
    .attr_bytes = sizeof(fake_quant_attr),
    .fields = fields,
    .in_min = 3,
    .in_max = 3,
    .out_min = 1,
    .out_count = 1,
    .internal = true,
    .coupling = COUPLE_FIXED,
    .inplace_in = 0,
    .infer = infer_backward,
    .describe = describe_backward};
