#include "export/runner.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "core/graph/transform.h"

enum { KEPT = 2 };

struct runner {
    graph *g;
    graph wide; /* g in f32, where the device is slow in 16 bits; else empty */
    device *dev;
    int64_t max_batch;
    plan *plan[KEPT]; /* the latest first */
    int64_t batch[KEPT];
};

shape runner_input(const runner *r)
{
    shape s = r->g->edges[r->g->inputs[0]].shape;
    s.dim[0] = 1;
    return s;
}

int64_t runner_classes(const runner *r)
{
    return r->g->edges[r->g->outputs[0]].shape.dim[1];
}

int64_t runner_max_batch(const runner *r)
{
    return r->max_batch;
}

static status check_graph(const graph *g)
{
    if (g->input_count < 1 || g->output_count < 1) return FAIL(E_MODEL, "the network needs an input and an output");
    const edge *in = &g->edges[g->inputs[0]], *out = &g->edges[g->outputs[0]];
    if (g->input_count != 1 || in->type != DTYPE_F32 || in->shape.rank != 4)
        return FAIL(E_MODEL, "the network must take one f32 image [n, h, w, c]");
    if (out->type != DTYPE_F32 || out->shape.rank != 2)
        return FAIL(E_MODEL, "the network must give f32 scores [n, classes]");
    return OK;
}

status runner_create(runner **r, graph *g, device *dev, int64_t max_batch)
{
    TRY(check_graph(g));
    if (max_batch < 1) return FAIL(E_USAGE, "batch size %" PRId64 ": expected 1 or more", max_batch);
    *r = calloc(1, sizeof **r);
    if (!*r) return FAIL_MEMORY(sizeof **r);
    (*r)->g = g;
    (*r)->dev = dev;
    (*r)->max_batch = max_batch;
    if (dev->api->narrow_floats || !graph_has_narrow_floats(g)) return OK;
    (*r)->g = &(*r)->wide;
    status result = pass_widen(&(*r)->wide, g);
    if (result != OK) {
        free(*r);
        *r = NULL;
    }
    return result;
}

void runner_destroy(runner *r)
{
    if (!r) return;
    for (int i = 0; i < KEPT; i++) plan_destroy(r->plan[i]);
    graph_free(&r->wide);
    free(r);
}

static void swap_plans(runner *r)
{
    plan *p = r->plan[0];
    int64_t batch = r->batch[0];
    r->plan[0] = r->plan[1];
    r->batch[0] = r->batch[1];
    r->plan[1] = p;
    r->batch[1] = batch;
}

status runner_plan(runner *r, int64_t batch, plan **p)
{
    if (r->plan[0] && r->batch[0] == batch) return *p = r->plan[0], OK;
    swap_plans(r);
    if (r->plan[0] && r->batch[0] == batch) return *p = r->plan[0], OK;
    shape s = runner_input(r);
    s.dim[0] = batch;
    plan_destroy(r->plan[0]);
    r->plan[0] = NULL;
    TRY(graph_resize(r->g, r->g->inputs[0], s));
    TRY(plan_create(&r->plan[0], r->g, r->dev, &(plan_options){0}));
    r->batch[0] = batch;
    *p = r->plan[0];
    return OK;
}

status runner_run(runner *r, float *scores, const float *images, int64_t n)
{
    int64_t size = shape_count(runner_input(r)), classes = runner_classes(r);
    for (int64_t done = 0; done < n;) {
        int64_t batch = n - done < r->max_batch ? n - done : r->max_batch;
        plan *p;
        TRY(runner_plan(r, batch, &p));
        TRY(plan_set_input(p, r->g->inputs[0], images + done * size, (size_t)(batch * size) * sizeof *images));
        TRY(plan_run(p));
        TRY(plan_get(p, r->g->outputs[0], scores + done * classes, (size_t)(batch * classes) * sizeof *scores));
        done += batch;
    }
    return OK;
}

static void softmax(float *row, int64_t classes)
{
    double top = row[0], sum = 0;
    for (int64_t c = 1; c < classes; c++) top = fmax(top, row[c]);
    for (int64_t c = 0; c < classes; c++) sum += exp(row[c] - top);
    for (int64_t c = 0; c < classes; c++) row[c] = (float)(exp(row[c] - top) / sum);
}

void scores_to_probabilities(float *scores, int64_t n, int64_t classes, bool sigmoid)
{
    for (int64_t i = 0; i < n; i++) {
        float *row = scores + i * classes;
        if (!sigmoid) softmax(row, classes);
        for (int64_t c = 0; sigmoid && c < classes; c++) row[c] = (float)(1 / (1 + exp(-(double)row[c])));
    }
}
