#include "core/graph/transform.h"
#include "core/ops/infer.h"
#include "core/ops/internal.h"

/* The model's batchnorm is lowered (transform.h) into the steps of kernels.h:
 *     training             bn_stats, bn_finalise, bn_apply
 *     frozen, evaluation   bn_coef, bn_apply
 * Its gradient belongs to bn_apply: whether the statistics depend on x shows in who made the coefficients. */

enum { X, GAMMA, BETA, RUNNING_MEAN, RUNNING_VAR, ADD }; /* of batchnorm */
enum { APPLY_X, APPLY_COEF, APPLY_ADD };

#define FIELDS(type, at)                                                                                               \
    {"epsilon", FIELD_FLOAT, (at) + offsetof(batchnorm_attr, epsilon), 1, 0, FLOAT_LIMIT, NULL},                       \
    {"momentum", FIELD_FLOAT, (at) + offsetof(batchnorm_attr, momentum), 1, 0, 1, NULL},                               \
    {"frozen", FIELD_BOOL, (at) + offsetof(batchnorm_attr, frozen), 1, 0, 1, NULL},                                    \
    FIELDS_ACTIVATION(type)

static const op_field fields[] = {FIELDS(batchnorm_attr, 0), FIELDS_END};

static status check_activation(const node *n, const batchnorm_attr *a)
{
    if (activation_recoverable(a->act, a->alpha)) return OK;
    return infer_fail(n, "activation %s (alpha %g) cannot be fused: its slope does not follow from its value",
        activation_names[a->act], (double)a->alpha);
}

static status infer(graph *g, node *n)
{
    TRY(check_activation(n, n->attr));
    TRY(infer_is_float(g, n, X));
    TRY(infer_rank(g, n, X, 2, 4));
    const edge *x = infer_in(g, n, X);
    dtype type = x->type;
    shape s = x->shape;
    for (int32_t i = GAMMA; i <= RUNNING_VAR; i++) TRY(infer_is_vector(g, n, i, param_type(type), s.dim[s.rank - 1]));
    TRY(infer_is(g, n, ADD, type, s));
    return infer_out(g, n, 0, type, s);
}

/* ---------------------------------------------------------------------------------------------------- lowering */

static status step_node(graph *g, const node *n, const op *o, const char *suffix, const bn_step_attr *a,
    const edge_id *in, int32_t in_count, edge_id *out)
{
    char *name;
    TRY_ALLOC(name, arena_printf(&g->memory, "%s/%s", n->name, suffix));
    return graph_add_to(g, o, name, a, in, in_count, n->block, out);
}

static status lower(graph_builder *b, const node *n)
{
    const batchnorm_attr *attr = n->attr;
    graph *g = b->dst;
    edge_id in[6] = {EDGE_NONE, EDGE_NONE, EDGE_NONE, EDGE_NONE, EDGE_NONE, EDGE_NONE};
    for (int32_t i = 0; i < n->in_count; i++)
        if (n->in[i] != EDGE_NONE) TRY(builder_edge(b, n->in[i], &in[i]));
    shape s = g->edges[in[X]].shape;
    bn_step_attr a = {
        .bn = *attr, .count = (double)(shape_count(s) / s.dim[s.rank - 1]), .has_add = in[ADD] != EDGE_NONE};
    edge_id out[4] = {EDGE_NEW, EDGE_NEW, in[RUNNING_MEAN], in[RUNNING_VAR]};
    if (b->training && !attr->frozen) {
        edge_id stats[1] = {EDGE_NEW};
        TRY(step_node(g, n, &op_bn_stats, "stats", &a, in, 1, stats));
        TRY(step_node(g, n, &op_bn_finalise, "finalise", &a, (edge_id[]){stats[0], in[GAMMA], in[BETA]}, 3, out));
    } else {
        if (attr->frozen) g->edges[in[GAMMA]].frozen = g->edges[in[BETA]].frozen = true;
        TRY(step_node(g, n, &op_bn_coef, "coef", &a, &in[GAMMA], 4, out));
    }
    edge_id dst[1] = {EDGE_NEW};
    TRY(graph_add_to(g, &op_bn_apply, n->name, &a, (edge_id[]){in[X], out[0], in[ADD]}, 3, n->block, dst));
    b->map[n->out[0]] = dst[0];
    return OK;
}

const op op_batchnorm = {.name = "batchnorm",
    .attr_bytes = sizeof(batchnorm_attr),
    .fields = fields,
    .in_min = 5,
    .in_max = 6,
    .out_min = 1,
    .out_count = 1,
    .coupling = COUPLE_SAME,
    .quant = QUANT_FLOAT,
    .inplace_in = -1,
    .infer = infer,
    .lower = lower,
    .onnx = &batchnorm_onnx};

/* ---------------------------------------------------------------------------------------------------- steps forward */

static const op_field step_fields[] = {FIELDS(batchnorm_attr, offsetof(bn_step_attr, bn)), FIELDS_END};

static void set_desc(bn_desc *d, const node *n, shape s, dtype type)
{
    const bn_step_attr *a = n->attr;
    d->channels = s.dim[s.rank - 1];
    d->rows = shape_count(s) / d->channels;
    d->count = a->count;
    d->type = type;
    d->epsilon = a->bn.epsilon, d->momentum = a->bn.momentum;
    d->act = a->bn.act, d->alpha = a->bn.alpha, d->beta = a->bn.beta;
    d->has_add = a->has_add;
    d->frozen = a->bn.frozen;
}

/* Steps on [c] only: rows are what the statistics cover. */
static void set_vector_desc(bn_desc *d, const node *n, int64_t channels, dtype type)
{
    const bn_step_attr *a = n->attr;
    set_desc(d, n, shape_2((int64_t)a->count, channels), type);
}

static status infer_stats(graph *g, node *n)
{
    TRY(infer_is_float(g, n, 0));
    TRY(infer_rank(g, n, 0, 2, 4));
    shape s = infer_in(g, n, 0)->shape;
    return infer_out(g, n, 0, DTYPE_F64, shape_2(2, s.dim[s.rank - 1]));
}

static status describe_stats(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_BN_STATS;
    set_desc(&b->desc.bn, n, g->edges[n->in[0]].shape, g->edges[n->in[0]].type);
    b->in[0] = n->in[0];
    b->out[0] = n->out[0];
    return OK;
}

static status infer_finalise(graph *g, node *n)
{
    TRY(infer_rank(g, n, 1, 1, 1));
    const edge *gamma = infer_in(g, n, 1);
    dtype type = gamma->type;
    int64_t c = gamma->shape.dim[0];
    TRY(infer_is(g, n, 0, DTYPE_F64, shape_2(2, c)));
    TRY(infer_is_vector(g, n, 2, type, c));
    TRY(infer_out(g, n, 0, type, shape_2(2, c)));
    TRY(infer_out(g, n, 1, type, shape_2(2, c)));
    TRY(infer_out(g, n, 2, type, shape_1(c)));
    return infer_out(g, n, 3, type, shape_1(c));
}

static status describe_finalise(const graph *g, const node *n, kernel_binding *b)
{
    /* Only here, because other ranks may have more. */
    if (((const bn_step_attr *)n->attr)->count < 2.0)
        return infer_fail(n, "training needs at least 2 values per channel, here is 1");
    b->op = OP_BN_FINALISE;
    set_vector_desc(&b->desc.bn, n, g->edges[n->in[1]].shape.dim[0], g->edges[n->in[1]].type);
    for (int32_t i = 0; i < 3; i++) b->in[i] = n->in[i];
    for (int32_t i = 0; i < 4; i++) b->out[i] = n->out[i];
    return OK;
}

static status infer_coef(graph *g, node *n)
{
    TRY(infer_rank(g, n, 0, 1, 1));
    const edge *gamma = infer_in(g, n, 0);
    dtype type = gamma->type;
    int64_t c = gamma->shape.dim[0];
    for (int32_t i = 1; i < 4; i++) TRY(infer_is_vector(g, n, i, type, c));
    TRY(infer_out(g, n, 0, type, shape_2(2, c)));
    return infer_out(g, n, 1, type, shape_2(2, c));
}

static status describe_coef(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_BN_COEF;
    set_vector_desc(&b->desc.bn, n, g->edges[n->in[0]].shape.dim[0], g->edges[n->in[0]].type);
    b->desc.bn.frozen = true;
    for (int32_t i = 0; i < 4; i++) b->in[i] = n->in[i];
    for (int32_t i = 0; i < 2; i++) b->out[i] = n->out[i];
    return OK;
}

static status infer_apply(graph *g, node *n)
{
    const bn_step_attr *a = n->attr;
    TRY(check_activation(n, &a->bn));
    TRY(infer_is_float(g, n, APPLY_X));
    TRY(infer_rank(g, n, APPLY_X, 2, 4));
    const edge *x = infer_in(g, n, APPLY_X);
    dtype type = x->type;
    shape s = x->shape;
    TRY(infer_is(g, n, APPLY_COEF, param_type(type), shape_2(2, s.dim[s.rank - 1])));
    TRY(infer_is(g, n, APPLY_ADD, type, s));
    return infer_out(g, n, 0, type, s);
}

static status describe_apply(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_BN_APPLY;
    set_desc(&b->desc.bn, n, g->edges[n->in[APPLY_X]].shape, g->edges[n->in[APPLY_X]].type);
    for (int32_t i = 0; i < 3; i++) b->in[i] = n->in[i];
    b->out[0] = n->out[0];
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- gradient */

/* What the gradient of one bn_apply needs to know. */
typedef struct bn_gradient {
    const node *n;
    bn_step_attr attr;
    edge_id ddst, x, dst; /* dst: EDGE_NONE without activation */
    edge_id gamma, saved, dgamma, dbeta;
    bool wants_x, wants_add;
} bn_gradient;

static status gather(autodiff *a, const node *n, edge_id ddst, bn_gradient *b)
{
    const graph *g = a->g;
    node_id producer = g->edges[n->in[APPLY_COEF]].producer;
    if (producer == NODE_NONE) return FAIL(E_INTERNAL, "node '%s': coefficients are constant: no gradient", n->name);
    const node *coef = &g->nodes[producer];
    bool frozen = coef->op == &op_bn_coef;
    edge_id beta = frozen ? coef->in[1] : coef->in[2];
    const bn_step_attr *attr = n->attr;
    *b = (bn_gradient){.n = n, .attr = *attr, .ddst = ddst, .x = n->in[APPLY_X], .saved = coef->out[1]};
    b->attr.bn.frozen = frozen;
    b->dst = b->attr.bn.act == ACT_NONE ? EDGE_NONE : n->out[0];
    b->gamma = frozen ? coef->in[0] : coef->in[1];
    b->wants_x = autodiff_wants(a, b->x);
    b->wants_add = autodiff_wants(a, n->in[APPLY_ADD]);
    TRY(autodiff_param_grad(a, b->gamma, &b->dgamma));
    return autodiff_param_grad(a, beta, &b->dbeta);
}

/* Statistics and coefficients: dgamma and dbeta come out here. */
static status reduce(autodiff *a, const bn_gradient *b, edge_id *grad_coef)
{
    edge_id stats[1] = {EDGE_NONE}, out[3] = {EDGE_NEW, b->dgamma, b->dbeta};
    bool trains = b->dgamma != EDGE_NONE || b->dbeta != EDGE_NONE;
    if (trains || !b->attr.bn.frozen) {
        stats[0] = EDGE_NEW;
        TRY(autodiff_node(
            a, b->n, &op_bn_grad_stats, "grad_stats", &b->attr, (edge_id[]){b->ddst, b->x, b->dst}, 3, stats));
    }
    TRY(autodiff_node(
        a, b->n, &op_bn_grad_finalise, "grad_finalise", &b->attr, (edge_id[]){b->saved, b->gamma, stats[0]}, 3, out));
    *grad_coef = out[0];
    return OK;
}

static status gradient(autodiff *a, const node *n, const edge_id *dout)
{
    bn_gradient b;
    edge_id grad_coef = EDGE_NONE, add = n->in[APPLY_ADD];
    TRY(gather(a, n, dout[0], &b));
    if (b.wants_x || b.dgamma != EDGE_NONE || b.dbeta != EDGE_NONE) TRY(reduce(a, &b, &grad_coef));
    bool no_activation = b.attr.bn.act == ACT_NONE;
    if (b.wants_x) {
        edge_id out[2] = {EDGE_NEW, b.wants_add && !no_activation ? EDGE_NEW : EDGE_NONE};
        TRY(autodiff_node(
            a, n, &op_bn_grad_apply, "grad_apply", &b.attr, (edge_id[]){b.ddst, b.x, grad_coef, b.dst}, 4, out));
        TRY(autodiff_add(a, b.x, out[0]));
        if (b.wants_add) TRY(autodiff_add(a, add, no_activation ? b.ddst : out[1]));
    } else if (b.wants_add) {
        edge_id out[1] = {b.ddst};
        activation_attr act = {b.attr.bn.act, b.attr.bn.alpha, b.attr.bn.beta};
        if (!no_activation) {
            out[0] = EDGE_NEW;
            TRY(autodiff_node(a, n, &op_act_backward, "dact", &act, (edge_id[]){b.ddst, b.dst}, 2, out));
        }
        TRY(autodiff_add(a, add, out[0]));
    }
    return OK;
}

static status infer_grad_stats(graph *g, node *n)
{
    TRY(infer_is_float(g, n, 0));
    TRY(infer_rank(g, n, 0, 2, 4));
    const edge *ddst = infer_in(g, n, 0);
    shape s = ddst->shape;
    TRY(infer_is(g, n, 1, ddst->type, s));
    TRY(infer_is(g, n, 2, ddst->type, s));
    TRY(infer_is(g, n, 3, param_type(ddst->type), shape_2(2, s.dim[s.rank - 1])));
    return infer_out(g, n, 0, DTYPE_F64, shape_2(2, s.dim[s.rank - 1]));
}

static status describe_grad_stats(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_BN_GRAD_STATS;
    set_desc(&b->desc.bn, n, g->edges[n->in[0]].shape, g->edges[n->in[0]].type);
    for (int32_t i = 0; i < n->in_count; i++) b->in[i] = n->in[i];
    b->out[0] = n->out[0];
    b->desc.bn.recompute = infer_in(g, n, 3) != NULL;
    return OK;
}

static status infer_grad_finalise(graph *g, node *n)
{
    const bn_step_attr *a = n->attr;
    TRY(infer_rank(g, n, 1, 1, 1));
    const edge *gamma = infer_in(g, n, 1);
    dtype type = gamma->type;
    int64_t c = gamma->shape.dim[0];
    TRY(infer_is(g, n, 0, type, shape_2(2, c)));
    TRY(infer_is(g, n, 2, DTYPE_F64, shape_2(2, c)));
    if (n->in[2] == EDGE_NONE && !(a->bn.frozen && n->out[1] == EDGE_NONE && n->out[2] == EDGE_NONE))
        return infer_fail(n, "statistics are missing");
    TRY(infer_out(g, n, 0, type, shape_2(3, c)));
    TRY(infer_out(g, n, 1, type, shape_1(c)));
    return infer_out(g, n, 2, type, shape_1(c));
}

static status describe_grad_finalise(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_BN_GRAD_FINALISE;
    set_vector_desc(&b->desc.bn, n, g->edges[n->in[1]].shape.dim[0], g->edges[n->in[1]].type);
    b->in[0] = n->in[2];
    b->in[1] = n->in[1];
    b->in[2] = n->in[0];
    for (int32_t i = 0; i < 3; i++) b->out[i] = n->out[i];
    return OK;
}

static status infer_grad_apply(graph *g, node *n)
{
    TRY(infer_is_float(g, n, 0));
    TRY(infer_rank(g, n, 0, 2, 4));
    const edge *ddst = infer_in(g, n, 0);
    dtype type = ddst->type;
    shape s = ddst->shape;
    TRY(infer_is(g, n, 1, type, s));
    TRY(infer_is(g, n, 2, param_type(type), shape_2(3, s.dim[s.rank - 1])));
    TRY(infer_is(g, n, 3, type, s));
    TRY(infer_is(g, n, 4, param_type(type), shape_2(2, s.dim[s.rank - 1])));
    TRY(infer_out(g, n, 0, type, s));
    return infer_out(g, n, 1, type, s);
}

static status describe_grad_apply(const graph *g, const node *n, kernel_binding *b)
{
    b->op = OP_BN_GRAD_APPLY;
    set_desc(&b->desc.bn, n, g->edges[n->in[0]].shape, g->edges[n->in[0]].type);
    b->in[0] = n->in[0];
    b->in[1] = n->in[1];
    b->in[2] = n->in[3];
    b->in[3] = n->in[2];
    if (infer_in(g, n, 4)) b->in[4] = n->in[4], b->desc.bn.recompute = true;
    b->out[0] = n->out[0];
    b->out[1] = n->out[1];
    return OK;
}

#define STEP \
    .attr_bytes = sizeof(bn_step_attr), .fields = step_fields, .internal = true, \
    .coupling = COUPLE_SAME, .inplace_in = -1
const op op_bn_stats = {.name = "bn_stats",
    STEP,
    .narrow_in = 1,
    .in_min = 1,
    .in_max = 1,
    .out_min = 1,
    .out_count = 1,
    .infer = infer_stats,
    .describe = describe_stats};
const op op_bn_finalise = {.name = "bn_finalise",
    STEP,
    .in_min = 3,
    .in_max = 3,
    .out_min = 2,
    .out_count = 4,
    .infer = infer_finalise,
    .describe = describe_finalise};
const op op_bn_coef = {.name = "bn_coef",
    STEP,
    .in_min = 4,
    .in_max = 4,
    .out_min = 2,
    .out_count = 2,
    .infer = infer_coef,
    .describe = describe_coef};
const op op_bn_apply = {.name = "bn_apply",
    STEP,
    .narrow_in = 1 << APPLY_X | 1 << APPLY_ADD,
    .in_min = 2,
    .in_max = 3,
    .out_min = 1,
    .out_count = 1,
    .infer = infer_apply,
    .describe = describe_apply,
    .gradient = gradient};
const op op_bn_grad_stats = {.name = "bn_grad_stats", STEP, .in_min = 2, .in_max = 4, .out_min = 1, .out_count = 1,
    .infer = infer_grad_stats, .describe = describe_grad_stats};
const op op_bn_grad_finalise = {.name = "bn_grad_finalise",
    STEP,
    .in_min = 2,
    .in_max = 3,
    .out_min = 1,
    .out_count = 3,
    .infer = infer_grad_finalise,
    .describe = describe_grad_finalise};
const op op_bn_grad_apply = {.name = "bn_grad_apply", STEP, .in_min = 3, .in_max = 5, .out_min = 1, .out_count = 2,
    .infer = infer_grad_apply, .describe = describe_grad_apply};
