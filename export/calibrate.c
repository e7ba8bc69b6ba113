#include "export/calibrate.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/plan.h"
#include "export/quantise.h"

enum { LANES = 4 };        /* histograms in turn: equal neighbours must not wait for each other's increment */
#define AMAX_ZERO 1e-30f   /* below: counts as always zero */

/* One wanted tensor during the passes. */
typedef struct probe {
    edge_id edge;
    int64_t count;     /* values per image            */
    const float *data; /* of the present image        */
    float *copy;       /* where data is downloaded to */
    bool broken;       /* NaN or infinity, or beyond the first pass's range */
} probe;

typedef struct collector {
    calibration *result;
    const graph *g;
    plan *plan;
    int32_t threads;
    probe *probes;
    int64_t probe_count;
} collector;

static status collector_init(collector *c, calibration *result, const graph *g, device *dev)
{
    arena *a = &result->memory;
    bool *wanted = ARENA_ARRAY(a, bool, g->edge_count);
    *c = (collector){.result = result, .g = g, .threads = dev->threads > 0 ? dev->threads : 1};
    result->edge_count = g->edge_count;
    result->range = ARENA_ARRAY(a, tensor_range, g->edge_count);
    c->probes = ARENA_ARRAY(a, probe, g->edge_count);
    if (!wanted || !result->range || !c->probes) return FAIL_MEMORY(g->edge_count * sizeof(probe));
    TRY(quantise_wanted(g, wanted));
    for (edge_id e = 0; e < g->edge_count; e++) {
        if (!wanted[e]) continue;
        probe *p = &c->probes[c->probe_count++];
        *p = (probe){.edge = e, .count = shape_count(g->edges[e].shape)};
        result->range[e].bin = ARENA_ARRAY(a, int64_t, CALIBRATION_BINS);
        if (e != g->inputs[0]) p->copy = ARENA_ARRAY(a, float, p->count);
        if (!result->range[e].bin || (e != g->inputs[0] && !p->copy)) return FAIL_MEMORY(p->count * sizeof(float));
    }
    return plan_create(&c->plan, g, dev, &(plan_options){.keep_activations = true});
}

static status run_image(collector *c, const float *image)
{
    edge_id input = c->g->inputs[0];
    TRY(plan_set_input(c->plan, input, image, (size_t)shape_count(c->g->edges[input].shape) * sizeof *image));
    TRY(plan_run(c->plan));
    for (int64_t i = 0; i < c->probe_count; i++) {
        probe *p = &c->probes[i];
        p->data = p->edge == input ? image : p->copy;
        if (p->edge != input) TRY(plan_get(c->plan, p->edge, p->copy, (size_t)p->count * sizeof *p->copy));
    }
    return OK;
}

static void find_amax(probe *p, tensor_range *r)
{
    float amax = 0;
    bool broken = false;
    for (int64_t i = 0; i < p->count; i++) {
        float x = fabsf(p->data[i]);
        amax = x > amax ? x : amax;
        broken |= !(x <= FLT_MAX);
    }
    if (amax > r->amax) r->amax = amax;
    r->count += p->count;
    p->broken = broken;
}

static void fill_bins(probe *p, tensor_range *r)
{
    uint32_t part[LANES][CALIBRATION_BINS] = {{0}};
    bool zero = r->amax <= AMAX_ZERO, beyond = false;
    float factor = zero ? 0 : (float)CALIBRATION_BINS / r->amax;
    for (int64_t i = 0; i < p->count; i++) {
        float x = fabsf(p->data[i]);
        float t = x * factor;
        beyond |= x > r->amax;
        part[i % LANES][t < CALIBRATION_BINS - 1 ? (int32_t)t : CALIBRATION_BINS - 1]++;
    }
    for (int64_t b = 0; b < CALIBRATION_BINS; b++) {
        for (int lane = 0; lane < LANES; lane++) r->bin[b] += part[lane][b];
    }
    p->broken = beyond;
}

/* One pass over all images. */
static status pass(collector *c, const calibration_data *data, bool second)
{
    int64_t size = shape_count(c->g->edges[c->g->inputs[0]].shape), images = 0;
    TRY(data->rewind(data->context));
    for (;;) {
        const float *batch;
        int64_t count = 0;
        TRY(data->next(data->context, &batch, &count));
        if (count == 0) break;
        for (int64_t k = 0; k < count; k++, images++) {
            TRY(run_image(c, batch + k * size));
#pragma omp parallel for schedule(dynamic) num_threads(c->threads)
            for (int64_t i = 0; i < c->probe_count; i++) {
                probe *p = &c->probes[i];
                (second ? fill_bins : find_amax)(p, &c->result->range[p->edge]);
            }
            for (int64_t i = 0; i < c->probe_count; i++) {
                if (!c->probes[i].broken) continue;
                const char *name = c->g->edges[c->probes[i].edge].name;
                if (second)
                    return FAIL(
                        E_DATA, "calibration: the second pass gave other images (tensor %s left its range)", name);
                return FAIL(E_MODEL, "calibration: tensor %s holds NaN or infinity for image %" PRId64, name, images);
            }
        }
    }
    if (second && images != c->result->images)
        return FAIL(E_DATA, "calibration: %" PRId64 " images in the first pass, %" PRId64 " in the second",
            c->result->images, images);
    c->result->images = images;
    return images ? OK : FAIL(E_DATA, "calibration: no images");
}

status calibration_run(calibration *c, const graph *g, device *dev, const calibration_data *data)
{
    collector worker = {0};
    status result = OK;
    *c = (calibration){0};
    TRY_OUT(collector_init(&worker, c, g, dev));
    TRY_OUT(pass(&worker, data, false));
    TRY_OUT(pass(&worker, data, true));
    for (int64_t e = 0; e < c->edge_count; e++) {
        if (c->range[e].amax <= AMAX_ZERO) c->range[e].amax = 0;
    }
out:
    plan_destroy(worker.plan);
    if (result != OK) calibration_free(c);
    return result;
}

void calibration_free(calibration *c)
{
    arena_free(&c->memory);
    *c = (calibration){0};
}
