/* Running a plan: nothing here allocates while a step runs. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/plan_internal.h"

static status check_bytes(const plan *p, edge_id e, size_t bytes)
{
    const graph *g = &p->graph;
    if (e < 0 || e >= g->edge_count) return FAIL(E_INTERNAL, "edge %d of %" PRId64, e, g->edge_count);
    if ((int64_t)bytes == plan_edge_bytes(g, e)) return OK;
    char text[128];
    shape_text(g->edges[e].shape, text);
    return FAIL(E_INTERNAL, "%s is %s %s: expected %" PRId64 " bytes, got %zu", g->edges[e].name,
        dtype_name(g->edges[e].type), text, plan_edge_bytes(g, e), bytes);
}

status plan_set_input(plan *p, edge_id input, const void *host, size_t bytes)
{
    TRY(check_bytes(p, input, bytes));
    if (p->graph.edges[input].kind != EDGE_INPUT) return FAIL(E_INTERNAL, "%s is no input", p->graph.edges[input].name);
    return device_upload(p->dev, p->edge_data[input], host, bytes);
}

static bool readable(const plan *p, edge_id e)
{
    const graph *g = &p->graph;
    if (g->edges[e].kind != EDGE_ACTIVATION || p->keep_activations) return true;
    for (int32_t i = 0; i < g->output_count; i++)
        if (g->outputs[i] == e) return true;
    return false;
}

status plan_get(plan *p, edge_id e, void *host, size_t bytes)
{
    TRY(check_bytes(p, e, bytes));
    if (!readable(p, e))
        return FAIL(E_INTERNAL, "%s is no output: its memory was used again (keep_activations keeps it)",
            p->graph.edges[e].name);
    return device_download(p->dev, host, p->edge_data[e], bytes);
}

void *plan_edge_data(plan *p, edge_id e) { return e >= 0 && e < p->graph.edge_count ? p->edge_data[e] : NULL; }

/* 0: always. */
static uint64_t wanted_version(const plan *p, pack_when when)
{
    switch (when) {
    case PACK_ONCE: return 1;
    case PACK_FROZEN: return param_store_version(p->store, true);
    case PACK_TRAINED: return param_store_version(p->store, false);
    default: return 0;
    }
}

static const char *kernel_name(const plan_step *s)
{
    return s->kernel ? s->kernel->name : "rank_sum";
}

static status failed(const plan *p, const plan_step *s, status code)
{
    return FAIL(code, "%s (%s): %s", p->graph.nodes[s->node].name, kernel_name(s), status_message());
}

static status pack_step(plan *p, plan_step *s)
{
    status result = s->kernel->pack(&s->call);
    return result == OK ? OK : failed(p, s, result);
}

static status pack_trained(void *plan_)
{
    plan *p = plan_;
    TRY(plan_narrow_run(p));
    for (int64_t i = 0; i < p->step_count; i++)
        if (p->steps[i].pack == PACK_TRAINED) TRY(pack_step(p, &p->steps[i]));
    return OK;
}

/* Weights that have changed since they were packed. Trained ones all change together, in every step of a training. */
static status pack_stale(plan *p)
{
    uint64_t version = wanted_version(p, PACK_TRAINED);
    bool trained = p->narrow.count > 0 && p->narrow.version != version;
    p->narrow.version = version;
    for (int64_t i = 0; i < p->step_count; i++) {
        plan_step *s = &p->steps[i];
        version = wanted_version(p, s->pack);
        if (s->pack == PACK_NONE || s->pack == PACK_ALWAYS || s->packed_version == version) continue;
        if (s->pack == PACK_TRAINED) trained = true;
        else TRY(pack_step(p, s));
        s->packed_version = version;
    }
    return trained ? replay_run(&p->repack, pack_trained, p) : OK;
}

static status sum_over_ranks(const plan *p, const plan_step *s)
{
    const edge *e = &p->graph.edges[s->binding.out[0]];
    void *sum = s->call.out[0];
    size_t bytes = (size_t)plan_edge_bytes(&p->graph, s->binding.out[0]);
    if (sum != s->call.in[0]) TRY(p->dev->api->copy(p->dev, sum, s->call.in[0], bytes, p->dev->stream));
    return p->sums->sum(p->sums->context, sum, shape_count(e->shape), e->type, p->dev->stream);
}

static status run_step(plan *p, plan_step *s)
{
    device_range_push(p->dev, p->graph.nodes[s->node].name);
    status result = s->pack == PACK_ALWAYS ? pack_step(p, s) : OK;
    if (result == OK && (result = s->kernel ? s->kernel->run(&s->call) : sum_over_ranks(p, s)) != OK)
        failed(p, s, result);
    device_range_pop(p->dev);
    return result;
}

static status run_steps(void *plan_)
{
    plan *p = plan_;
    for (int64_t i = 0; i < p->step_count; i++) TRY(run_step(p, &p->steps[i]));
    return OK;
}

/* Seconds that a step took. Where there are events, the device's own. */
static status time_step(plan *p, plan_step *s, double *seconds)
{
    device *dev = p->dev;
    double start = clock_seconds();
    float ms;
    if (p->begin) TRY(dev->api->event_record(dev, p->begin, dev->stream));
    TRY(run_step(p, s));
    if (p->begin) {
        TRY(dev->api->event_record(dev, p->end, dev->stream));
        TRY(dev->api->event_elapsed_ms(dev, p->begin, p->end, &ms));
    }
    TRY(device_sync(dev));
    *seconds = p->begin ? (double)ms * 1e-3 : clock_seconds() - start;
    return OK;
}

static status profile_steps(plan *p)
{
    for (int64_t i = 0; i < p->step_count; i++) {
        double seconds;
        TRY(time_step(p, &p->steps[i], &seconds));
        if (p->runs > 0) p->steps[i].seconds += seconds; /* the first run packs and touches memory for the first time */
    }
    return OK;
}

status plan_enqueue(plan *p)
{
    p->dev->api->enter(p->dev);
    TRY(pack_stale(p));
    TRY(p->profile ? profile_steps(p) : replay_run(&p->all, run_steps, p));
    p->runs++;
    return OK;
}

status plan_run(plan *p)
{
    TRY(plan_enqueue(p));
    return device_sync(p->dev);
}

static status holds_nonfinite(plan *p, edge_id e, void **host, int64_t *capacity, bool *found)
{
    const edge *d = &p->graph.edges[e];
    *found = false;
    if (d->type != DTYPE_F32 && d->type != DTYPE_F64 && d->type != DTYPE_F16 && d->type != DTYPE_BF16) return OK;
    int64_t bytes = plan_edge_bytes(&p->graph, e), count = shape_count(d->shape);
    TRY(array_reserve(host, capacity, bytes, 1));
    TRY(device_download(p->dev, *host, p->edge_data[e], (size_t)bytes));
    for (int64_t i = 0; i < count && !*found; i++) *found = !isfinite(dtype_load(*host, d->type, i));
    return OK;
}

status plan_find_nonfinite(plan *p, edge_id *e)
{
    const graph *g = &p->graph;
    *e = EDGE_NONE;
    if (!p->keep_activations) return FAIL(E_INTERNAL, "looking for NaN needs a plan that keeps its activations");
    void *host = NULL;
    int64_t capacity = 0;
    bool found = false;
    status result = OK;
    for (int kind = 0; kind < 2 && !found; kind++)
        for (edge_id i = 0; i < g->edge_count && !found; i++) {
            if (g->edges[i].kind != (kind ? EDGE_PARAM : EDGE_INPUT)) continue;
            TRY_OUT(holds_nonfinite(p, i, &host, &capacity, &found));
            if (found) *e = i;
        }
    for (node_id n = 0; n < g->node_count && !found; n++)
        for (int32_t i = 0; i < g->nodes[n].out_count && !found; i++) {
            edge_id out = g->nodes[n].out[i];
            if (out < 0) continue;
            TRY_OUT(holds_nonfinite(p, out, &host, &capacity, &found));
            if (found) *e = out;
        }
out:
    free(host);
    return result;
}

int64_t plan_profile(const plan *p, const plan_profile_row **rows)
{
    for (int64_t i = 0; i < p->step_count; i++) {
        const plan_step *s = &p->steps[i];
        const node *n = &p->graph.nodes[s->node];
        p->rows[i] = (plan_profile_row){.node = n->name,
            .op = n->op->name,
            .kernel = kernel_name(s),
            .milliseconds = p->runs > 1 ? s->seconds / (double)(p->runs - 1) * 1e3 : 0,
            .flops = s->kernel ? kernel_flops(s->binding.op, &s->binding.desc) : 0,
            .bytes = s->kernel ? kernel_bytes(s->binding.op, &s->binding.desc)
                               : 2 * (double)plan_edge_bytes(&p->graph, s->binding.out[0])};
    }
    *rows = p->rows;
    return p->step_count;
}
