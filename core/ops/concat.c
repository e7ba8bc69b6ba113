#include "core/graph/transform.h"
#include "core/ops/infer.h"

_Static_assert((int)CONCAT_MAX == (int)NODE_MAX_IN, "a node's inputs fit one kernel");

static const op_field fields[] = {
    {"out_scale", FIELD_FLOAT, offsetof(concat_attr, out_scale), 1, 0, FLOAT_LIMIT, NULL},
    FIELDS_END,
};

static status infer(graph *g, node *n)
{
    const concat_attr *a = n->attr;
    const edge *first = infer_in(g, n, 0);
    shape s = first->shape;
    dtype type = first->type;
    bool integer = type == DTYPE_I8 || type == DTYPE_U8;
    if (!integer) TRY(infer_is_float(g, n, 0));
    TRY(infer_rank(g, n, 0, 1, SHAPE_MAX_RANK));
    s.dim[s.rank - 1] = 0;
    for (int32_t i = 0; i < n->in_count; i++) {
        const edge *x = infer_in(g, n, i);
        if (!x) return infer_fail(n, "input %d is missing", i);
        shape want = s;
        int64_t channels = x->shape.rank == s.rank ? x->shape.dim[s.rank - 1] : 0;
        want.dim[s.rank - 1] = channels;
        TRY(infer_is(g, n, i, type, want));
        if (integer && !(x->scale > 0.0f)) return infer_fail(n, "input %d needs a scale above 0", i);
        s.dim[s.rank - 1] += channels; /* at most 8 values of 31 bits */
    }
    TRY(infer_out(g, n, 0, type, s));
    return integer ? infer_out_scale(g, n, 0, a->out_scale) : OK;
}

static status describe(const graph *g, const node *n, kernel_binding *b)
{
    const concat_attr *a = n->attr;
    concat_desc *d = &b->desc.concat;
    const edge *out = &g->edges[n->out[0]];
    b->op = OP_CONCAT;
    d->rows = shape_count(out->shape) / out->shape.dim[out->shape.rank - 1];
    d->inputs = n->in_count;
    d->type = out->type;
    for (int32_t i = 0; i < n->in_count; i++) {
        const edge *x = infer_in(g, n, i);
        d->channels[i] = x->shape.dim[x->shape.rank - 1];
        d->scale[i] = dtype_is_float(x->type) ? 1.0f : x->scale / a->out_scale;
        b->in[i] = n->in[i];
    }
    b->out[0] = n->out[0];
    return OK;
}

/* Input i gets its channels back: a pad that crops what the others gave. */
static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    shape s = a->g->edges[n->out[0]].shape;
    int32_t last = s.rank - 1;
    int64_t offset = 0;
    for (int32_t i = 0; i < n->in_count; i++) {
        int64_t channels = a->g->edges[n->in[i]].shape.dim[last];
        if (autodiff_wants(a, n->in[i])) {
            pad_attr crop = {.value = 0.0f};
            char suffix[16] = {'d', (char)('0' + i), 0};
            crop.before[last] = -offset;
            crop.after[last] = offset + channels - s.dim[last];
            edge_id out[] = {EDGE_NEW};
            TRY(autodiff_node(a, n, &op_pad, suffix, &crop, dout, 1, out));
            TRY(autodiff_add(a, n->in[i], out[0]));
        }
        offset += channels;
    }
    return OK;
}

const op op_concat = {.name = "concat",
    .attr_bytes = sizeof(concat_attr),
    .fields = fields,
    .in_min = 1,
    .in_max = CONCAT_MAX,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_CONCAT,
    .quant = QUANT_RESCALE,
    .inplace_in = -1,
    .narrow_in = 0xff,
    .infer = infer,
    .describe = describe,
    .gradient = gradient,
    .onnx = &concat_onnx};
