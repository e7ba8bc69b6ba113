/* Darknet's cfg and weights. Layout and header: docs/FORMATS.md; expected numbers are closed forms.
 * tests/e2e/test_import.sh compares whole networks with Debian's darknet. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit_test.h"

#include <math.h>

#include "core/base/file.h"
#include "core/ops/op.h"
#include "models/import/darknet.h"

static const char net[] = "[net]\nwidth=8\nheight = 6\nchannels=3\nlearning_rate=0.1\npolicy=poly\n\n";
static const char small[] =
    "# comment\n[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\nstride=1\npad=1\nactivation=leaky\n"
    "[maxpool]\nsize=2\nstride=2\n"
    "[convolutional]\nfilters=4\nsize=1\nactivation=relu\n"
    "[shortcut]\nfrom=-2\nactivation=linear\n"
    "[route]\nlayers=-1, 1\n"
    "[upsample]\nstride=2\n"
    "[avgpool]\n"
    "[connected]\noutput=5\nactivation=linear\n"
    "[softmax]\ngroups=1\n";

static status build(graph *g, const char *text)
{
    darknet_cfg cfg;
    char whole[4096];
    snprintf(whole, sizeof whole, "%s%s", net, text);
    status result = darknet_cfg_parse(&cfg, whole, strlen(whole), "x.cfg");
    if (result == OK) result = darknet_build(g, &cfg, 1e-5f);
    darknet_cfg_free(&cfg);
    return result;
}

static void test_graph(void **state)
{
    (void)state;
    graph g;
    assert_int_equal(build(&g, small), OK);
    assert_true(shape_equal(g.edges[g.inputs[0]].shape, shape_4(1, 6, 8, 3)));
    assert_true(shape_equal(g.edges[g.outputs[0]].shape, shape_2(1, 5)));
    const node *pool = &g.nodes[graph_find_node(&g, "layers.1")], *route = &g.nodes[graph_find_node(&g, "layers.4")];
    assert_true(shape_equal(g.edges[pool->out[0]].shape, shape_4(1, 3, 4, 4)));
    assert_true(shape_equal(g.edges[route->out[0]].shape, shape_4(1, 3, 4, 8)));
    const node *up = &g.nodes[graph_find_node(&g, "layers.5")];
    assert_true(shape_equal(g.edges[up->out[0]].shape, shape_4(1, 6, 8, 8)));
    /* conv 4*3*9, norm 2*4; conv 4*4 + 4; connected 5*8 + 5 */
    assert_int_equal(graph_param_count(&g), 108 + 8 + 20 + 45);
    assert_int_equal(graph_check(&g), OK);
    graph_free(&g);
}

/* Windows of darknet: (side + padding - size) / stride + 1 with padding size - 1, half of it (rounded down) in front.
 */
static void test_maxpool(void **state)
{
    (void)state;
    static const struct { const char *text; int64_t height, width; int32_t before, after; } cases[] = {
        {"[maxpool]\nsize=2\nstride=1\n", 6, 8, 0, 1}, {"[maxpool]\nsize=3\nstride=2\n", 3, 4, 1, 1},
        {"[maxpool]\nsize=3\nstride=2\npadding=0\n", 2, 3, 0, 0}, {"[maxpool]\nsize=4\nstride=2\n", 3, 4, 1, 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[256];
        graph g;
        snprintf(text, sizeof text, "%s[avgpool]\n", cases[i].text);
        assert_int_equal(build(&g, text), OK);
        const node *n = &g.nodes[graph_find_node(&g, "layers.0")];
        const pool_attr *a = n->attr;
        assert_true(shape_equal(g.edges[n->out[0]].shape, shape_4(1, cases[i].height, cases[i].width, 3)));
        assert_int_equal(a->pad[0], cases[i].before);
        assert_int_equal(a->pad[2], cases[i].after);
        graph_free(&g);
    }
}

static void test_cfg_refuses(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"[yolo]\n", "x.cfg:8: [yolo] is not supported"},
        {"[convolutional]\nfilters=4\nxnor=1\n", "x.cfg:10: xnor = 1 is not supported"},
        {"[convolutional]\nfilters=0\n", "x.cfg:9: filters = 0: expected a number from 1"},
        {"[convolutional]\nfilters=4x\n", "x.cfg:9: filters = 4x"},
        {"[convolutional]\nactivation=mish\n", "x.cfg:9: activation = mish"},
        {"[convolutional]\nfilters=4\ngroups=2\nactivation=linear\n", "x.cfg:8: groups = 2 does not divide"},
        {"[convolutional]\nfilters=1000000\nsize=64\nactivation=linear\n", "more than 536870912 weights"},
        {"[route]\nlayers=1\n", "x.cfg:9: layer 1: expected an earlier layer"},
        {"[route]\nlayers=-1\n", "x.cfg:9: layer -1"},
        {"[shortcut]\n", "x.cfg:8: [shortcut] needs from"},
        {"[maxpool]\nsize=2\nstride=2\n[avgpool]\n[shortcut]\nfrom=-2\n", "x.cfg:13: layer -2 has another shape"},
        {"[connected]\noutput=3\n[maxpool]\n", "x.cfg:10: [maxpool] behind a connected layer"},
        {"[convolutional]\nfilters=4\nactivation=linear\n",
            "its output is 8 x 6 x 4: this is no classification network"},
        {"filters\n", "x.cfg:8: filters: expected key=value or [section]"},
        {"[avgpool\n", "x.cfg:8: [avgpool: expected [section]"},
        {"", "x.cfg: no layers"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        graph g;
        assert_int_equal(build(&g, bad[i][0]), E_MODEL);
        if (!strstr(status_message(), bad[i][1])) fail_msg("\"%s\" does not say \"%s\"", status_message(), bad[i][1]);
    }
    darknet_cfg cfg;
    assert_int_equal(darknet_cfg_parse(&cfg, "a=1\n", 4, "x.cfg"), E_MODEL);
    assert_non_null(strstr(status_message(), "stands before the first"));
    assert_int_equal(darknet_cfg_parse(&cfg, "[net]\nwidth=8\n[avgpool]\n", 24, "x.cfg"), E_MODEL);
    assert_non_null(strstr(status_message(), "[net] has no height"));
}

/* ------------------------------------------------------------------------------------------------ weights */

enum { FLOATS = 4 * 4 + 108 + 4 + 16 + 5 + 40, MOST = 24 + 4 * FLOATS };

/* Version, images seen, then 1, 2, 3, ... */
static size_t make_file(uint8_t *bytes, int32_t major, int32_t minor, size_t seen_bytes)
{
    int32_t version[3] = {major, minor, 0};
    memcpy(bytes, version, sizeof version);
    memset(bytes + 12, 0, seen_bytes);
    for (int i = 0; i < FLOATS; i++) {
        float value = (float)(i + 1);
        memcpy(bytes + 12 + seen_bytes + 4 * (size_t)i, &value, 4);
    }
    return 12 + seen_bytes + 4 * FLOATS;
}

static const float *values(const graph *g, const char *name)
{
    edge_id e = graph_find_edge(g, name);
    assert_int_not_equal(e, EDGE_NONE);
    return g->edges[e].data;
}

static void test_order(void **state)
{
    (void)state;
    static const struct {
        int32_t major, minor;
        size_t seen;
        bool transposed;
    } cases[] = {{0, 1, 4, false}, {0, 2, 8, false}, {0, 1001, 8, true}};
    for (size_t i = 0; i < 3; i++) {
        uint8_t bytes[MOST];
        graph g;
        assert_int_equal(build(&g, small), OK);
        size_t count = make_file(bytes, cases[i].major, cases[i].minor, cases[i].seen);
        assert_int_equal(darknet_read(&g, bytes, count, "x.weights", DARKNET_EPSILON_INSIDE), OK);
        assert_true(values(&g, "layers.0.bn.bias")[0] == 1);
        assert_true(values(&g, "layers.0.bn.weight")[0] == 5);
        assert_true(values(&g, "layers.0.bn.running_mean")[3] == 12);
        assert_true(values(&g, "layers.0.bn.running_var")[0] == 13);
        /* [oc, c, h, w] from 17 on; here [oc, h, w, c]: element (0, 0, 1, 2) is c = 2, h = 0, w = 1 */
        assert_true(values(&g, "layers.0.weight")[0] == 17);
        assert_true(values(&g, "layers.0.weight")[1 * 3 + 2] == 17 + 2 * 9 + 1);
        assert_true(values(&g, "layers.2.bias")[0] == 125);
        assert_true(values(&g, "layers.2.weight")[0] == 129);
        assert_true(values(&g, "layers.7.bias")[4] == 149);
        /* [out, in] from 150 on, or [in, out] */
        assert_true(
            values(&g, "layers.7.weight")[1 * 8 + 3] == (cases[i].transposed ? 150 + 3 * 5 + 1 : 150 + 1 * 8 + 3));
        graph_free(&g);
    }
}

static void test_length(void **state)
{
    (void)state;
    uint8_t bytes[MOST + 4];
    graph g;
    assert_int_equal(build(&g, small), OK);
    size_t count = make_file(bytes, 0, 2, 8);
    for (size_t n = 0; n < count; n++)
        assert_int_equal(darknet_read(&g, bytes, n, "x.weights", DARKNET_EPSILON_INSIDE), E_MODEL);
    assert_non_null(strstr(status_message(), "x.weights: too short for this network: layers.7.weight"));
    memset(bytes + count, 0, 4);
    assert_int_equal(darknet_read(&g, bytes, count + 4, "x.weights", DARKNET_EPSILON_INSIDE), E_MODEL);
    assert_non_null(strstr(status_message(), "4 bytes are left"));
    int32_t other = 77777;
    memcpy(bytes, &other, 4);
    assert_int_equal(darknet_read(&g, bytes, count, "x.weights", DARKNET_EPSILON_INSIDE), E_MODEL);
    graph_free(&g);
}

/* 1 / sqrt(v' + 1e-12) must be 1 / (sqrt(v) + 1e-6), for tiny variances too. */
static void test_epsilon(void **state)
{
    (void)state;
    static const float variances[4] = {0, 1e-12f, 1e-7f, 2};
    uint8_t bytes[MOST];
    graph g;
    assert_int_equal(build(&g, small), OK);
    size_t count = make_file(bytes, 0, 2, 8);
    memcpy(bytes + 20 + 4 * 12, variances, sizeof variances);
    assert_int_equal(darknet_read(&g, bytes, count, "x.weights", DARKNET_EPSILON_OUTSIDE), OK);
    for (int i = 0; i < 4; i++) {
        double here = 1 / sqrt((double)values(&g, "layers.0.bn.running_var")[i] + 1e-12),
               there = 1 / (sqrt((double)variances[i]) + 1e-6);
        assert_true(fabs(here / there - 1) < 1e-6);
    }
    graph_free(&g);
}

static void test_round_trip(void **state)
{
    (void)state;
    uint8_t bytes[MOST];
    char path[] = "/tmp/graft-darknet-XXXXXX", cfg_path[64];
    graph g, again;
    arena a = {0};
    void *saved;
    size_t saved_bytes, count = make_file(bytes, 0, 2, 8);
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    snprintf(cfg_path, sizeof cfg_path, "%s.cfg", path);
    assert_int_equal(build(&g, small), OK);
    assert_int_equal(darknet_read(&g, bytes, count, "x.weights", DARKNET_EPSILON_INSIDE), OK);
    assert_int_equal(darknet_save(&g, path), OK);
    assert_int_equal(file_read_all(&a, path, 1 << 20, &saved, &saved_bytes), OK);
    assert_int_equal(saved_bytes, count);
    assert_memory_equal((char *)saved + 20, bytes + 20, count - 20);
    darknet_cfg cfg;
    assert_int_equal(darknet_cfg_save(&g, cfg_path), OK);
    assert_int_equal(darknet_cfg_read(&cfg, cfg_path), OK);
    assert_int_equal(darknet_build(&again, &cfg, 1e-5f), OK);
    assert_int_equal(again.node_count, g.node_count);
    for (node_id i = 0; i < g.node_count; i++) {
        const node *x = &g.nodes[i], *y = &again.nodes[i];
        assert_ptr_equal(x->op, y->op);
        if (x->op->attr_bytes) assert_memory_equal(x->attr, y->attr, x->op->attr_bytes);
        assert_true(shape_equal(g.edges[x->out[0]].shape, again.edges[y->out[0]].shape));
    }
    assert_int_equal(darknet_load(&again, path, DARKNET_EPSILON_INSIDE), OK);
    assert_memory_equal(values(&g, "layers.7.weight"), values(&again, "layers.7.weight"), 160);
    darknet_cfg_free(&cfg);
    graph_free(&again);
    graph_free(&g);
    arena_free(&a);
    unlink(path);
    unlink(cfg_path);
}

static void test_write_refuses(void **state)
{
    (void)state;
    graph g;
    pool_attr part = {.kind = POOL_AVERAGE, .kernel = {2, 2}, .stride = {2, 2}};
    assert_int_equal(graph_init(&g), OK);
    edge_id x = graph_input(&g, "image", DTYPE_F32, shape_4(1, 8, 8, 3));
    assert_int_equal(graph_add(&g, &op_pool, "half", &part, &x, 1, 0, &x), OK);
    assert_int_equal(graph_output(&g, x), OK);
    assert_int_equal(darknet_cfg_save(&g, "/tmp/graft-no-such.cfg"), E_MODEL);
    assert_non_null(strstr(status_message(), "half (pool) has no darknet layer: only the average of the whole map"));
    assert_int_not_equal(access("/tmp/graft-no-such.cfg", F_OK), 0);
    graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_graph),
        cmocka_unit_test(test_maxpool),
        cmocka_unit_test(test_cfg_refuses),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_epsilon),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_write_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
