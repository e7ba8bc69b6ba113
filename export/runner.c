#include "export/runner.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/graph/transform.h"
#include "export/slices.h"

enum { KEPT = 2 };

/* Of one batch size. */
typedef struct kept_plan {
    int64_t batch;
    slices slices;
    plan *front; /* nodes before slices.cut, on slices.images images; NULL: the batch is not cut */
    plan *plan;  /* the others, or all */
} kept_plan;

struct runner {
    graph *g;
    graph wide; /* g in f32, where the device is slow in 16 bits; else empty */
    device *dev;
    param_store *store;
    int64_t max_batch;
    kept_plan kept[KEPT]; /* the latest first */
    plan *whole;          /* runner_plan's */
    int64_t whole_batch;
};

shape runner_input(const runner *r)
{
    shape s = r->g->edges[r->g->inputs[0]].shape;
    s.dim[0] = 1;
    return s;
}

int32_t runner_outputs(const runner *r)
{
    return r->g->output_count;
}

shape runner_output(const runner *r, int32_t k)
{
    shape s = r->g->edges[r->g->outputs[k]].shape;
    s.dim[0] = 1;
    return s;
}

int64_t runner_max_batch(const runner *r)
{
    return r->max_batch;
}

static status check_graph(const graph *g)
{
    if (g->input_count < 1 || g->output_count < 1) return FAIL(E_MODEL, "the network needs an input and an output");
    const edge *in = &g->edges[g->inputs[0]];
    if (g->input_count != 1 || in->type != DTYPE_F32 || in->shape.rank != 4)
        return FAIL(E_MODEL, "the network must take one f32 image [n, h, w, c]");
    for (int32_t k = 0; k < g->output_count; k++) {
        const edge *out = &g->edges[g->outputs[k]];
        if (out->type != DTYPE_F32 || out->shape.rank < 2 || out->shape.dim[0] != in->shape.dim[0])
            return FAIL(E_MODEL, "output %d of the network must be f32 [n, ...]", (int)k);
    }
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
    status result = OK;
    if (!dev->api->narrow_floats && graph_has_narrow_floats(g)) {
        (*r)->g = &(*r)->wide;
        TRY_OUT(pass_widen(&(*r)->wide, g));
    }
    TRY_OUT(param_store_create(&(*r)->store, (*r)->g, dev, false));
    return OK;
out:
    runner_destroy(*r);
    *r = NULL;
    return result;
}

static void kept_plan_free(kept_plan *k)
{
    plan_destroy(k->front);
    plan_destroy(k->plan);
    *k = (kept_plan){0};
}

void runner_destroy(runner *r)
{
    if (!r) return;
    for (int i = 0; i < KEPT; i++) kept_plan_free(&r->kept[i]);
    plan_destroy(r->whole);
    param_store_destroy(r->store);
    graph_free(&r->wide);
    free(r);
}

static status set_batch(runner *r, int64_t batch)
{
    shape s = runner_input(r);
    s.dim[0] = batch;
    return graph_resize(r->g, r->g->inputs[0], s);
}

static status make_plans(kept_plan *k, runner *r, int64_t batch)
{
    TRY(set_batch(r, batch));
    TRY(slices_choose(&k->slices, r->g, r->dev->api->cache_bytes));
    TRY(plan_create(&k->plan, r->g, r->dev, &(plan_options){.store = r->store, .first = k->slices.cut}));
    k->batch = batch;
    if (k->slices.images == batch) return OK;
    TRY(set_batch(r, k->slices.images));
    return plan_create(&k->front, r->g, r->dev, &(plan_options){.store = r->store, .end = k->slices.cut});
}

static status plans_for(runner *r, int64_t batch, kept_plan **found)
{
    *found = &r->kept[0];
    for (int i = 0; i < KEPT; i++) {
        if (r->kept[i].batch != batch) continue;
        kept_plan k = r->kept[i];
        r->kept[i] = r->kept[0];
        r->kept[0] = k;
        return OK;
    }
    kept_plan_free(&r->kept[KEPT - 1]);
    r->kept[KEPT - 1] = r->kept[0];
    r->kept[0] = (kept_plan){0};
    status result = make_plans(&r->kept[0], r, batch);
    if (result != OK) kept_plan_free(&r->kept[0]);
    return result;
}

status runner_plan(runner *r, int64_t batch, plan **p)
{
    if (r->whole_batch != batch) {
        plan_destroy(r->whole);
        r->whole = NULL;
        r->whole_batch = 0;
        TRY(set_batch(r, batch));
        TRY(plan_create(&r->whole, r->g, r->dev, &(plan_options){.store = r->store}));
        r->whole_batch = batch;
    }
    *p = r->whole;
    return OK;
}

/* Leaves the edge where the batch is cut, of all images, in the plan of the rest. */
static status run_front(runner *r, const kept_plan *k, const float *images)
{
    const graph *g = plan_graph(k->front);
    int64_t m = k->slices.images, pixels = m * shape_count(runner_input(r));
    size_t bytes = (size_t)shape_count(g->edges[k->slices.edge].shape) * dtype_bytes(g->edges[k->slices.edge].type);
    char *all = plan_edge_data(k->plan, k->slices.edge);
    for (int64_t i = 0; i < k->batch / m; i++) {
        TRY(plan_set_input(k->front, g->inputs[0], images + i * pixels, (size_t)pixels * sizeof *images));
        TRY(plan_enqueue(k->front));
        TRY(r->dev->api->copy(
            r->dev, all + (size_t)i * bytes, plan_edge_data(k->front, k->slices.edge), bytes, r->dev->stream));
    }
    return OK;
}

static status run_batch(runner *r, float *const *output, int64_t done, const float *images, int64_t batch)
{
    kept_plan *k;
    TRY(plans_for(r, batch, &k));
    TRY(device_ready(r->dev)); /* the plan may be another thread's */
    if (k->front) TRY(run_front(r, k, images));
    else
        TRY(plan_set_input(
            k->plan, r->g->inputs[0], images, (size_t)(batch * shape_count(runner_input(r))) * sizeof *images));
    TRY(plan_run(k->plan));
    for (int32_t i = 0; i < runner_outputs(r); i++) {
        int64_t each = shape_count(runner_output(r, i));
        TRY(plan_get(k->plan, r->g->outputs[i], output[i] + done * each, (size_t)(batch * each) * sizeof *output[i]));
    }
    return OK;
}

status runner_run(runner *r, float *const *output, const float *images, int64_t n)
{
    int64_t size = shape_count(runner_input(r));
    for (int64_t done = 0; done < n;) {
        int64_t batch = n - done < r->max_batch ? n - done : r->max_batch;
        TRY(run_batch(r, output, done, images + done * size, batch));
        done += batch;
    }
    return OK;
}
