/* The ops' rows: shapes against PyTorch's, hostile nodes refused, and whatever is accepted has
 * a kernel, forward and backward. */
#include <math.h>

#include "core/ops/terms.h"
#include "tests/unit/graph_fixture.h"

static shape shape_of(const fixture *f, edge_id e)
{
    return f->g.edges[e].shape;
}

/* x is [2, 11, 13, 6]; expected: torch.nn.functional.conv2d on (2, 6, 11, 13) with weight (4, 6
 * / groups, 3, 5), PyTorch 1.13. */
static void conv2d_shapes_are_pytorchs(void **state)
{
    (void)state;
    struct {
        int32_t stride[2], pad[2], dilation[2], groups;
        int64_t oh, ow;
    } cases[] = {{{1, 1}, {0, 0}, {1, 1}, 1, 9, 9}, {{2, 3}, {1, 2}, {1, 1}, 1, 6, 5},
        {{2, 2}, {2, 2}, {2, 2}, 2, 6, 5}, {{1, 2}, {3, 0}, {3, 1}, 1, 11, 5}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture f;
        fixture_init(&f, DTYPE_F32);
        edge_id x = graph_input(&f.g, "x", DTYPE_F32, shape_4(2, 11, 13, 6));
        edge_id w = fx_values(&f, "w", EDGE_PARAM, DTYPE_F32, shape_4(4, 3, 5, 6 / cases[i].groups), -1, 1);
        conv2d_attr a = {
            .groups = cases[i].groups, .pad = {cases[i].pad[0], cases[i].pad[1], cases[i].pad[0], cases[i].pad[1]}};
        memcpy(a.stride, cases[i].stride, sizeof a.stride);
        memcpy(a.dilation, cases[i].dilation, sizeof a.dilation);
        edge_id y = fx_two(&f, &op_conv2d, "y", &a, x, w);
        assert_true(shape_equal(shape_of(&f, y), shape_4(2, cases[i].oh, cases[i].ow, 4)));
        graph_free(&f.g);
    }
}

/* Expected: torch.nn.functional.max_pool2d on (2, 6, 11, 13). */
static void pool_shapes_are_pytorchs(void **state)
{
    (void)state;
    struct {
        int32_t kernel, stride, pad;
        bool ceil_mode;
        int64_t oh, ow;
    } cases[] = {{3, 2, 1, false, 6, 7}, {3, 2, 1, true, 6, 7}, {2, 2, 0, false, 5, 6}, {2, 2, 0, true, 6, 7},
        {5, 3, 2, true, 5, 5}, {2, 3, 1, true, 4, 5}};
    fixture f;
    fixture_init(&f, DTYPE_F32);
    edge_id x = graph_input(&f.g, "x", DTYPE_F32, shape_4(2, 11, 13, 6));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t k = cases[i].kernel, s = cases[i].stride, p = cases[i].pad;
        pool_attr a = {
            .kind = POOL_MAX, .kernel = {k, k}, .stride = {s, s}, .pad = {p, p, p, p}, .ceil_mode = cases[i].ceil_mode};
        assert_true(
            shape_equal(shape_of(&f, fx_one(&f, &op_pool, "p", &a, x)), shape_4(2, cases[i].oh, cases[i].ow, 6)));
    }
    edge_id y = fx_one(&f, &op_pool, "a", &(pool_attr){.kind = POOL_AVERAGE, .adaptive = {3, 4}}, x);
    assert_true(shape_equal(shape_of(&f, y), shape_4(2, 3, 4, 6)));
    y = fx_one(&f, &op_pool, "g", &(pool_attr){.kind = POOL_MAX, .global = true}, x);
    assert_true(shape_equal(shape_of(&f, y), shape_4(2, 1, 1, 6)));
    graph_free(&f.g);
}

static void movement_shapes(void **state)
{
    (void)state;
    fixture f;
    fixture_init(&f, DTYPE_F32);
    edge_id x = graph_input(&f.g, "x", DTYPE_F32, shape_4(2, 5, 7, 6));
    edge_id y =
        fx_one(&f, &op_slice, "s", &(slice_attr){.begin = {0, 1, 0, 2}, .size = {0, 0, 3, 0}, .step = {0, 3, 2, 1}}, x);
    assert_true(shape_equal(shape_of(&f, y), shape_4(2, 2, 3, 4)));
    y = fx_one(&f, &op_pad, "p", &(pad_attr){.before = {0, 2, -1, 0}, .after = {1, 0, -2, 3}}, x);
    assert_true(shape_equal(shape_of(&f, y), shape_4(3, 7, 4, 9)));
    y = fx_one(&f, &op_transpose, "t", &(transpose_attr){{3, 0, 2, 1}}, x);
    assert_true(shape_equal(shape_of(&f, y), shape_4(6, 2, 7, 5)));
    y = fx_one(&f, &op_reshape, "r", &(reshape_attr){.rank = 3, .dim = {-1, 35, 6}}, x);
    assert_true(shape_equal(shape_of(&f, y), (shape){3, {2, 35, 6}}));
    y = fx_one(&f, &op_flatten, "f", NULL, x);
    assert_true(shape_equal(shape_of(&f, y), shape_2(2, 210)));
    y = fx_two(&f, &op_concat, "c", &(concat_attr){0}, x, x);
    assert_true(shape_equal(shape_of(&f, y), shape_4(2, 5, 7, 12)));
    y = fx_one(&f, &op_resize, "z", &(resize_attr){.height = 9, .factor = 3}, x);
    assert_true(shape_equal(shape_of(&f, y), shape_4(2, 9, 21, 6)));
    graph_free(&f.g);
}

/* Integers: scales travel with edges, and an add's descriptor holds input scale / output scale. */
static void integer_scales(void **state)
{
    (void)state;
    fixture f;
    kernel_binding b = {.weight_in = -1};
    fixture_init(&f, DTYPE_F32);
    edge_id x = graph_input(&f.g, "x", DTYPE_F32, shape_4(1, 4, 4, 8));
    edge_id q = fx_one(&f, &op_quantise, "q", &(quantise_attr){0.5f}, x);
    assert_int_equal(f.g.edges[q].type, DTYPE_I8);
    assert_true(f.g.edges[q].scale == 0.5f);
    edge_id p = fx_one(&f, &op_pool, "p", &(pool_attr){.kind = POOL_MAX, .kernel = {2, 2}, .stride = {2, 2}}, q);
    assert_true(f.g.edges[p].scale == 0.5f && f.g.edges[p].type == DTYPE_I8);
    edge_id w = fx_values(&f, "w", EDGE_PARAM, DTYPE_I8, shape_4(8, 1, 1, 8), -100, 100);
    edge_id scale = fx_values(&f, "s", EDGE_CONST, DTYPE_F32, shape_1(8), 0.001, 0.002);
    conv2d_attr conv = {
        .stride = {1, 1}, .dilation = {1, 1}, .groups = 1, .out_type = DTYPE_I8, .out_scale = 0.25f, .add_scale = 2.0f};
    edge_id c = fx_node(&f, &op_conv2d, "c", &conv, 5, (edge_id[]){p, w, EDGE_NONE, p, scale});
    assert_true(f.g.edges[c].scale == 0.25f && f.g.edges[c].type == DTYPE_I8);
    edge_id sum = fx_two(&f, &op_add, "sum", &(binary_attr){.out_scale = 1.0f}, p, c);
    GOOD(op_add.describe(&f.g, &f.g.nodes[f.g.edges[sum].producer], &b));
    assert_true(b.desc.binary.a_scale == 0.5f && b.desc.binary.b_scale == 0.25f && b.desc.binary.type == DTYPE_I8);
    edge_id y = fx_one(&f, &op_dequantise, "d", &(quantise_attr){1.0f}, sum);
    assert_int_equal(f.g.edges[y].type, DTYPE_F32);
    assert_true(f.g.edges[y].scale == 0.0f);
    edge_id out;
    assert_int_equal(graph_add(&f.g, &op_dequantise, "e", &(quantise_attr){2.0f}, &sum, 1, 0, &out), E_MODEL);
    assert_int_equal(
        graph_add(&f.g, &op_activation, "s", &(activation_attr){.act = ACT_SIGMOID}, &sum, 1, 0, &out), E_MODEL);
    conv.out_scale = 0.0f;
    assert_int_equal(graph_add(&f.g, &op_conv2d, "n", &conv, (edge_id[]){p, w}, 2, 0, &out), E_MODEL);
    conv.out_type = DTYPE_F32;
    GOOD(graph_add(&f.g, &op_conv2d, "n", &conv, (edge_id[]){p, w}, 2, 0, &out));
    assert_int_equal(f.g.edges[out].type, DTYPE_F32);
    graph_free(&f.g);
}

/* What a model file could get wrong about the end of a detector, and training before the labels' capacity is known. */
static void detector_heads(void **state)
{
    (void)state;
    const ssd_head_attr good = {.head = {.classes = 3,
                                    .capacity = 10,
                                    .top_k = 20,
                                    .iou = 0.5f,
                                    .variance = {1, 1, 1, 1},
                                    .width = 64,
                                    .height = 32,
                                    .positive = 0.5f,
                                    .negative = 0.4f}};
    ssd_head_attr classes = good, thresholds = good, variance = good, capacity = good;
    classes.head.classes = 4, thresholds.head.negative = 0.6f, variance.head.variance[2] = 0;
    capacity.head.capacity = 0;
    const ssd_head_attr *bad[] = {&classes, &thresholds, &variance, &capacity};
    fixture f;
    fixture_init(&f, DTYPE_F32);
    edge_id in[3] = {graph_input(&f.g, "location", DTYPE_F32, (shape){3, {2, 6, 4}}),
        graph_input(&f.g, "confidence", DTYPE_F32, (shape){3, {2, 6, 4}}),
        fx_values(&f, "priors", EDGE_CONST, DTYPE_F32, shape_2(6, 4), 0, 1)};
    edge_id out = fx_node(&f, &op_ssd_head, "head", &good, 3, in), few;
    assert_true(shape_equal(shape_of(&f, out), (shape){3, {2, 10, 6}}));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(graph_add(&f.g, &op_ssd_head, "bad", bad[i], in, 3, 0, &out), E_MODEL);
    few = fx_values(&f, "few", EDGE_CONST, DTYPE_F32, shape_2(5, 4), 0, 1);
    assert_int_equal(graph_add(&f.g, &op_ssd_head, "bad", &good, (edge_id[]){in[0], in[1], few}, 3, 0, &out), E_MODEL);
    loss_terms terms = {0};
    assert_int_equal(op_ssd_head.add_loss(&f.g, &f.g.nodes[0], 1, EDGE_NONE, &terms), E_INTERNAL);
    assert_int_equal(terms.count, 0);
    graph_free(&f.g);
}

static void table_rows_are_complete(void **state)
{
    (void)state;
    for (int32_t i = 0; op_table[i]; i++) {
        const op *o = op_table[i];
        assert_ptr_equal(op_find(o->name), o);
        assert_true(o->infer != NULL && !o->internal);
        assert_true(o->describe != NULL || o->alias || o->lower != NULL);
        assert_true(o->in_min >= 1 && o->in_max >= o->in_min && o->in_max <= NODE_MAX_IN);
        assert_true(o->out_min >= 1 && o->out_count >= o->out_min && o->out_count <= NODE_MAX_OUT);
        assert_true((o->attr_bytes > 0) == (o->fields != NULL));
        for (const op_field *f = o->fields; f && f->name; f++) {
            assert_true(f->offset < o->attr_bytes && f->count >= 1);
            assert_true((f->type == FIELD_ENUM) == (f->choices != NULL));
        }
    }
    assert_null(op_find("conv2d_dsrc")); /* internal: no file names it */
    assert_null(op_find(""));
}

/* ---------------------------------------------------------------------------------------------------- random nodes */

static int64_t draw(rng *r, int64_t low, int64_t high)
{
    return low + rng_below(r, (uint32_t)(high - low + 1));
}

/* Mostly small values, some at the ends of the range, a few outside of it. */
static double draw_value(rng *r, const op_field *f)
{
    int64_t kind = draw(r, 0, 59);
    if (kind == 0) return f->min;
    if (kind == 1) return f->max;
    if (kind == 2) return f->max * 2 + 1;
    if (kind == 3) return f->min - 1;
    if (f->type == FIELD_FLOAT) return rng_uniform_in(r, 0, 1);
    return (double)draw(r, 0, 3);
}

static void draw_attr(rng *r, const op *o, void *attr)
{
    for (const op_field *f = o->fields; f && f->name; f++) {
        char *at = (char *)attr + f->offset;
        for (int32_t i = 0; i < f->count; i++) {
            double v = draw_value(r, f);
            if (f->type == FIELD_INT32) ((int32_t *)(void *)at)[i] = (int32_t)fmin(fmax(v, INT32_MIN), INT32_MAX);
            if (f->type == FIELD_INT64) ((int64_t *)(void *)at)[i] = (int64_t)fmin(fmax(v, -9e18), 9e18);
            if (f->type == FIELD_FLOAT) ((float *)(void *)at)[i] = (float)v;
            if (f->type == FIELD_BOOL) ((bool *)(void *)at)[i] = draw(r, 0, 1);
            if (f->type == FIELD_ENUM)
                ((int *)(void *)at)[i] = (int)draw(r, draw(r, 0, 30) ? 0 : -1, draw(r, 0, 30) ? 1 : 9);
        }
    }
    if (o == &op_transpose && draw(r, 0, 3)) memcpy(((transpose_attr *)attr)->perm, (int32_t[]){2, 0, 1, 3, 0, 0}, 24);
    if (o == &op_reshape && draw(r, 0, 3))
        *(reshape_attr *)attr = (reshape_attr){.rank = 2, .dim = {-1, draw(r, 1, 50)}};
    if ((o == &op_pad || o == &op_slice) && draw(r, 0, 3)) { /* nothing beyond the fourth dimension */
        for (const op_field *f = o->fields; f->count > 1; f++) memset((char *)attr + f->offset + 32, 0, 16);
    }
    if (o == &op_batchnorm) ((batchnorm_attr *)attr)->frozen = true; /* one value per channel is fine then */
}

static shape draw_shape(rng *r, int32_t rank)
{
    shape s = {.rank = rank};
    for (int32_t i = 0; i < rank; i++) s.dim[i] = draw(r, 1, 6);
    return s;
}

/* Input `slot` of op o: usually what fits x, sometimes anything. */
static edge_id draw_input(fixture *f, const op *o, int32_t slot, edge_id x, const void *attr)
{
    rng *r = &f->random;
    char name[16];
    shape xs = shape_of(f, x), s = xs;
    int64_t c = xs.dim[xs.rank - 1];
    dtype type = f->type;
    edge_kind kind = EDGE_PARAM;
    bool vector = o == &op_batchnorm && slot < 5;
    if (o == &op_conv2d) {
        int32_t groups = ((const conv2d_attr *)attr)->groups;
        if (groups < 1 || groups > 8) groups = 1;
        if (slot == 1) s = shape_4(groups * draw(r, 1, 2), draw(r, 1, 3), draw(r, 1, 3), c >= groups ? c / groups : 1);
        if (slot >= 2) return EDGE_NONE;
    }
    if (o == &op_linear && slot == 1) s = shape_4(draw(r, 1, 5), 1, 1, shape_count(xs) / xs.dim[0]);
    if (o == &op_linear && slot > 1) return EDGE_NONE;
    if (o == &op_mul && draw(r, 0, 1)) s = shape_2(xs.dim[0], c);
    if (vector) s = shape_1(c), kind = slot > 2 ? EDGE_STATE : EDGE_PARAM;
    if (o == &op_dropout) s = shape_1(xs.dim[0]), type = DTYPE_I64, kind = EDGE_CONST;
    if (o == &op_softmax_ce || o == &op_sigmoid_bce) {
        if (slot == 3) return EDGE_NONE;
        if (slot == 2) s = shape_1(c);
        type = DTYPE_F32, kind = EDGE_CONST;
    }
    if (o == &op_ssd_head || o == &op_retinanet_head) {
        int64_t channels = ((const prior_head_attr *)attr)->classes + (o == &op_ssd_head);
        if (slot == 1) s = (shape){3, {xs.dim[0], xs.dim[1], channels}}, kind = EDGE_CONST;
        if (slot == 2) s = shape_2(xs.dim[1], 4), type = DTYPE_F32, kind = EDGE_CONST;
        if (xs.rank < 3) s = xs;
    }
    if (!draw(r, 0, 15)) s = draw_shape(r, (int32_t)draw(r, 0, 6));
    if (!draw(r, 0, 40)) type = (dtype)draw(r, 0, DTYPE_COUNT - 1);
    snprintf(name, sizeof name, "in%d", slot);
    return fx_values(f, name, kind, type, s, 0.1, 1);
}

/* Every node of g has a reference kernel that takes its descriptor. */
static void assert_kernels(const graph *g, node_id from)
{
    for (node_id i = from; i < g->node_count; i++) {
        const node *n = &g->nodes[i];
        if (n->op->alias || n->op->lower) continue;
        kernel_binding b;
        memset(&b, 0, sizeof b);
        b.weight_in = -1;
        for (int32_t k = 0; k < KERNEL_MAX_IN; k++) b.in[k] = EDGE_NONE;
        for (int32_t k = 0; k < KERNEL_MAX_OUT; k++) b.out[k] = EDGE_NONE;
        const kernel *k;
        GOOD(n->op->describe(g, n, &b));
        if (kernel_select(&k, b.op, BACKEND_REF, &b.desc, NULL, NULL) != OK)
            fail_msg("%s (%s): %s", n->name, n->op->name, status_message());
    }
}

/* A loss behind edge y; gradients of everything before it. */
static bool differentiate(fixture *f, edge_id y)
{
    graph lowered, *g = &f->g;
    int64_t count = shape_count(shape_of(f, y));
    edge_id loss = y;
    if (count != 1 || !g->nodes[g->edges[y].producer].op->gradient) {
        y = fx_one(f, &op_reshape, "flat", &(reshape_attr){.rank = 2, .dim = {1, count}}, y);
        edge_id targets = graph_input(g, "targets", DTYPE_F32, shape_2(1, count));
        loss = fx_two(f, &op_softmax_ce, "loss", &(loss_attr){.grad_scale = 1}, y, targets);
    }
    GOOD(graph_output(g, loss));
    GOOD(pass_lower(&lowered, g, true));
    edge_id dx;
    status s = graph_backward(&lowered, lowered.outputs, 1, lowered.inputs, 1, &dx);
    if (s != OK) assert_non_null(strstr(status_message(), "has no gradient")); /* a fused swish or sigmoid */
    if (s == OK) {
        GOOD(graph_check(&lowered));
        assert_int_not_equal(dx, EDGE_NONE);
        assert_kernels(&lowered, 0);
    }
    graph_free(&lowered);
    return s == OK;
}

static void whatever_is_accepted_has_kernels(void **state)
{
    (void)state;
    for (int32_t which = 0; op_table[which]; which++) {
        const op *o = op_table[which];
        int32_t accepted = 0, differentiated = 0;
        for (uint64_t round = 0; round < 600; round++) {
            fixture f;
            fixture_init(&f, round % 3 ? DTYPE_F32 : DTYPE_F64);
            f.random = rng_make(31 + (uint64_t)which, RNG_TEST, round);
            _Alignas(16) char attr[256] = {0};
            assert_true(o->attr_bytes <= sizeof attr);
            draw_attr(&f.random, o, attr);
            int32_t rank = (int32_t)draw(&f.random, 0, 9);
            bool flat = o == &op_linear || o == &op_softmax_ce || o == &op_sigmoid_bce;
            shape xs = draw_shape(&f.random, rank > 6 ? 4 : flat && rank > 0 ? 2 : rank > 1 ? 4 : rank);
            if (o == &op_ssd_head || o == &op_retinanet_head) {
                ((prior_head_attr *)(void *)attr)->classes = draw(&f.random, 1, 7); /* both attributes begin with it */
                if (rank > 0) xs = (shape){3, {draw(&f.random, 1, 3), draw(&f.random, 1, 6), 4}};
            }
            if (o == &op_reshape && xs.rank > 1 &&
                round % 2) { /* dimensions drawn at random hardly ever have the right product */
                int64_t rest = shape_count(xs) / xs.dim[0];
                *(reshape_attr *)(void *)attr =
                    (reshape_attr){.rank = 2, .dim = {round % 4 == 1 ? -1 : xs.dim[0], rest}};
            }
            dtype type = o == &op_dequantise      ? DTYPE_I8
                         : o == &op_quantise      ? DTYPE_F32
                         : draw(&f.random, 0, 20) ? f.type
                                                  : (dtype)draw(&f.random, 0, 7);
            edge_id in[NODE_MAX_IN], out;
            in[0] = graph_input(&f.g, "x", type, xs);
            if (o == &op_dequantise) f.g.edges[in[0]].scale = ((const quantise_attr *)(const void *)attr)->scale;
            int32_t count = (int32_t)draw(&f.random, o->in_min, o->in_max);
            if (xs.rank == 0) count = 1;
            for (int32_t i = 1; i < count; i++) in[i] = draw_input(&f, o, i, in[0], attr);
            if (graph_add(&f.g, o, "node", attr, in, count, 0, &out) == OK) {
                accepted++;
                GOOD(graph_check(&f.g));
                assert_kernels(&f.g, 0);
                bool continuous = dtype_is_float(f.g.edges[in[0]].type) && dtype_is_float(f.g.edges[out].type);
                if (continuous && shape_count(shape_of(&f, out)) < 100000 && o->internal == false &&
                    (o->gradient || o->lower))
                    differentiated += differentiate(&f, out);
            } else if (strncmp(status_message(), "node 'node'", 11) != 0 &&
                       strncmp(status_message(), "edge 'node", 10) != 0) {
                fail_msg("a refusal that names no node: %s", status_message());
            }
            graph_free(&f.g);
        }
        if (accepted < 20) fail_msg("%s: only %d nodes accepted: the test does not test", o->name, accepted);
        if ((o->gradient || o->lower) && differentiated < 10)
            fail_msg("%s: only %d gradients", o->name, differentiated);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conv2d_shapes_are_pytorchs),
        cmocka_unit_test(pool_shapes_are_pytorchs),
        cmocka_unit_test(movement_shapes),
        cmocka_unit_test(integer_scales),
        cmocka_unit_test(detector_heads),
        cmocka_unit_test(table_rows_are_complete),
        cmocka_unit_test(whatever_is_accepted_has_kernels),
    };
    return cmocka_run_group_tests_name("ops: shapes, refusals, kernels", tests, NULL, NULL);
}
