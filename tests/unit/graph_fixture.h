/* graph_fixture.h: small graphs for tests, in any float type, and a device to run them on with reference kernels.
 *
 *     fixture f;
 *     fixture_init(&f, DTYPE_F64);
 *     edge_id x = graph_input(&f.g, "x", f.type, shape_4(2, 5, 5, 3));
 *     x = fx_conv(&f, x, "conv", (fixture_conv){.oc = 4, .side = 3, .bias = true});
 * Everything asserts: a test goes no further than its first failure.
 */
#ifndef GRAFT_TESTS_GRAPH_FIXTURE_H
#define GRAFT_TESTS_GRAPH_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit_test.h"

#include "core/base/log.h"
#include "core/base/rng.h"
#include "core/device/device.h"
#include "core/graph/plan.h"
#include "core/graph/transform.h"

typedef struct fixture {
    graph g;
    dtype type;
    rng random;
    int32_t block;
} fixture;

static inline void fixture_init(fixture *f, dtype type)
{
    *f = (fixture){.type = type, .random = rng_make(20, RNG_TEST, 0)};
    GOOD(graph_init(&f->g));
}

static inline dtype fixture_vector_type(const fixture *f)
{
    return f->type == DTYPE_F64 ? DTYPE_F64 : DTYPE_F32;
}

/* A valued edge, uniform in [low, high). */
static inline edge_id fx_values(
    fixture *f, const char *name, edge_kind kind, dtype type, shape s, double low, double high)
{
    edge_id e = graph_edge(&f->g, name, kind, type, s);
    assert_int_not_equal(e, EDGE_NONE);
    for (int64_t i = 0; i < shape_count(s); i++)
        dtype_store(f->g.edges[e].data, type, i, low + (high - low) * rng_uniform_double(&f->random));
    return e;
}

static inline edge_id fx_node(
    fixture *f, const op *o, const char *name, const void *attr, int32_t count, const edge_id *in)
{
    edge_id out = EDGE_NONE;
    GOOD(graph_add(&f->g, o, name, attr, in, count, f->block, &out));
    return out;
}

static inline edge_id fx_one(fixture *f, const op *o, const char *name, const void *attr, edge_id x)
{
    return fx_node(f, o, name, attr, 1, &x);
}

static inline edge_id fx_two(fixture *f, const op *o, const char *name, const void *attr, edge_id a, edge_id b)
{
    return fx_node(f, o, name, attr, 2, (edge_id[]){a, b});
}

static inline edge_id fx_act(fixture *f, edge_id x, const char *name, activation act, float alpha, float beta)
{
    return fx_one(f, &op_activation, name, &(activation_attr){act, alpha, beta}, x);
}

static inline edge_id fx_add(fixture *f, edge_id a, edge_id b, const char *name)
{
    return fx_two(f, &op_add, name, &(binary_attr){0}, a, b);
}

typedef struct fixture_conv {
    int32_t oc, side, stride, pad, groups, dilation;
    bool bias;
} fixture_conv;

/* NAME.weight, NAME.bias. Zero stride, groups, dilation: 1. */
static inline edge_id fx_conv(fixture *f, edge_id x, const char *name, fixture_conv c)
{
    char text[96];
    conv2d_attr a = {.pad = {c.pad, c.pad, c.pad, c.pad}, .groups = c.groups ? c.groups : 1};
    a.stride[0] = a.stride[1] = c.stride ? c.stride : 1;
    a.dilation[0] = a.dilation[1] = c.dilation ? c.dilation : 1;
    int64_t ic = f->g.edges[x].shape.dim[3] / a.groups;
    snprintf(text, sizeof text, "%s.weight", name);
    edge_id w = fx_values(f, text, EDGE_PARAM, f->type, shape_4(c.oc, c.side, c.side, ic), -0.5, 0.5), bias = EDGE_NONE;
    f->g.edges[w].layout = LAYOUT_OIHW;
    snprintf(text, sizeof text, "%s.bias", name);
    if (c.bias) bias = fx_values(f, text, EDGE_PARAM, fixture_vector_type(f), shape_1(c.oc), -0.5, 0.5);
    return fx_node(f, &op_conv2d, name, &a, 3, (edge_id[]){x, w, bias});
}

/* NAME.weight, NAME.bias, NAME.running_mean, NAME.running_var. */
static inline edge_id fx_batchnorm(fixture *f, edge_id x, const char *name, bool frozen)
{
    char text[96];
    const char *suffix[] = {"weight", "bias", "running_mean", "running_var"};
    shape s = f->g.edges[x].shape;
    edge_id in[5] = {x};
    for (int32_t i = 0; i < 4; i++) {
        snprintf(text, sizeof text, "%s.%s", name, suffix[i]);
        bool positive = i == 0 || i == 3;
        in[1 + i] = fx_values(f, text, i < 2 ? EDGE_PARAM : EDGE_STATE, fixture_vector_type(f),
            shape_1(s.dim[s.rank - 1]), positive ? 0.5 : -0.5, positive ? 1.5 : 0.5);
    }
    batchnorm_attr a = {.epsilon = 1e-5f, .momentum = 0.1f, .frozen = frozen};
    return fx_node(f, &op_batchnorm, name, &a, 5, in);
}

static inline edge_id fx_linear(fixture *f, edge_id x, const char *name, int64_t oc, bool bias)
{
    char text[96];
    shape s = f->g.edges[x].shape;
    shape ws = s.rank == 4 ? shape_4(oc, s.dim[1], s.dim[2], s.dim[3]) : shape_4(oc, 1, 1, s.dim[1]);
    edge_id in[3] = {x, EDGE_NONE, EDGE_NONE};
    snprintf(text, sizeof text, "%s.weight", name);
    in[1] = fx_values(f, text, EDGE_PARAM, f->type, ws, -0.5, 0.5);
    f->g.edges[in[1]].layout = LAYOUT_LINEAR;
    snprintf(text, sizeof text, "%s.bias", name);
    if (bias) in[2] = fx_values(f, text, EDGE_PARAM, fixture_vector_type(f), shape_1(oc), -0.5, 0.5);
    return fx_node(f, &op_linear, name, &(linear_attr){0}, 3, in);
}

/* ---------------------------------------------------------------------------------------------------- running */

typedef struct machine {
    logger log;
    device *dev;
} machine;

static inline void machine_init(machine *m)
{
    log_init(&m->log, stderr, LOG_WARN, 0);
    GOOD(device_open(&m->dev, SPEC_DEVICE_CPU, 0, 1, &m->log));
}

static inline void machine_free(machine *m)
{
    device_close(m->dev);
    log_free(&m->log);
}

/* Every edge stays readable. */
static inline plan *machine_plan(machine *m, const graph *g)
{
    plan *p = NULL;
    GOOD(plan_create(&p, g, m->dev, &(plan_options){.reference = true, .keep_activations = true}));
    return p;
}

static inline size_t edge_bytes(const graph *g, edge_id e)
{
    return (size_t)shape_count(g->edges[e].shape) * dtype_bytes(g->edges[e].type);
}

/* Fills input `e` of the plan with values that depend on its name only: plans of one network get the same. */
static inline void machine_input(plan *p, edge_id e, double low, double high)
{
    const edge *x = &plan_graph(p)->edges[e];
    uint64_t seed = 7;
    for (const char *c = x->name; *c; c++) seed = seed * 31 + (unsigned char)*c;
    rng r = rng_make(seed, RNG_TEST, 1);
    size_t bytes = edge_bytes(plan_graph(p), e);
    void *host = malloc(bytes);
    assert_non_null(host);
    for (int64_t i = 0; i < shape_count(x->shape); i++)
        dtype_store(host, x->type, i, low + (high - low) * rng_uniform_double(&r));
    GOOD(plan_set_input(p, e, host, bytes));
    free(host);
}

/* Edge e as doubles; the caller frees them. */
static inline double *machine_read(plan *p, edge_id e)
{
    const edge *x = &plan_graph(p)->edges[e];
    int64_t count = shape_count(x->shape);
    void *host = malloc(edge_bytes(plan_graph(p), e));
    double *values = malloc((size_t)count * sizeof *values);
    assert_true(host && values);
    GOOD(plan_get(p, e, host, edge_bytes(plan_graph(p), e)));
    for (int64_t i = 0; i < count; i++) values[i] = dtype_load(host, x->type, i);
    free(host);
    return values;
}

#endif
