#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/ops/op.h"
#include "core/train/trainer_parts.h"

enum { FILES_SHOWN = 8, EXPLAINED_IN_A_ROW = 3 };

/* What the replay found. */
typedef struct finding {
    char tensor[160];
    char files[2048];
    bool found;
} finding;

static bool row_is_bad(const uint8_t *data, dtype type, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (!isfinite(dtype_load(data, type, i))) return true;
    return false;
}

/* bad[i]: is row i of edge e not finite? Tensors that are not per image leave `bad` all false. */
static status find_rows(plan *p, edge_id id, const batch *b, bool *bad)
{
    const edge *e = &plan_graph(p)->edges[id];
    if (e->shape.rank < 2 || e->shape.dim[0] != b->n || e->kind == EDGE_PARAM || e->kind == EDGE_GRAD) return OK;
    size_t bytes = (size_t)shape_count(e->shape) * dtype_bytes(e->type), row = bytes / (size_t)b->n;
    uint8_t *data = malloc(bytes);
    if (!data) return FAIL_MEMORY(bytes);
    status result = plan_get(p, id, data, bytes);
    for (int64_t i = 0; result == OK && i < b->n; i++)
        bad[i] = row_is_bad(data + (size_t)i * row, e->type, shape_count(e->shape) / b->n);
    free(data);
    return result;
}

static void list_files(const trainer *t, const batch *b, const bool *bad, finding *f)
{
    int64_t count = 0, shown = 0;
    bool all = true;
    for (int64_t i = 0; i < b->n; i++) count += bad[i];
    all = count == 0;
    if (all) count = b->n;
    size_t used = (size_t)snprintf(f->files, sizeof f->files, "%s", "");
    for (int64_t i = 0; i < b->n && shown < FILES_SHOWN; i++) {
        if (!all && !bad[i]) continue;
        int n = snprintf(f->files + used, sizeof f->files - used, "\n        %.220s",
            t->train_data.samples[b->sample_index[i]].name);
        used = used + (size_t)n < sizeof f->files ? used + (size_t)n : sizeof f->files - 1;
        shown++;
    }
    if (count > shown)
        snprintf(f->files + used, sizeof f->files - used, "\n        ... and %" PRId64 " more", (count - shown));
}

static status run_batch(trainer *t, plan *p, const batch *b)
{
    TRY(trainer_set_loss_scale(t, p));
    TRY(step_io_set_inputs(&t->io, p, b));
    return plan_run(p);
}

static status inspect_plan(trainer *t, plan *p, const batch *b, finding *f)
{
    edge_id id;
    TRY(run_batch(t, p, b));
    TRY(plan_find_nonfinite(p, &id));
    if (id == EDGE_NONE) return OK;
    const graph *g = plan_graph(p);
    const edge *e = &g->edges[id];
    if (e->producer != NODE_NONE)
        snprintf(f->tensor, sizeof f->tensor, "the output of \"%.100s\" (%.30s)", g->nodes[e->producer].name,
            g->nodes[e->producer].op->name);
    else snprintf(f->tensor, sizeof f->tensor, "\"%.120s\"", e->name);
    bool *bad = calloc((size_t)b->n, sizeof *bad);
    if (!bad) return FAIL_MEMORY(b->n);
    status result = find_rows(p, id, b, bad);
    if (result == OK) list_files(t, b, bad, f);
    free(bad);
    f->found = result == OK;
    return result;
}

/* Runs the update's batches again without reusing memory, so that the first bad tensor can be read. The weights are
 * those of the first run, because the update was refused. */
static status run_again(trainer *t, finding *f)
{
    status result = OK;
    plan *p = NULL;
    int64_t first = t->progress.step * t->spec.train.accumulate, end = first + t->spec.train.accumulate;
    TRY_OUT(plan_create(&p, &t->graph.graph, t->dev, &(plan_options){.store = t->store, .keep_activations = true}));
    TRY_OUT(loader_seek(t->loader, first / t->batches_per_epoch, first % t->batches_per_epoch));
    for (int64_t i = first; i < end && !f->found; i++) {
        const batch *b;
        TRY_OUT(loader_next(t->loader, &b));
        TRY_OUT(inspect_plan(t, p, b, f));
    }
out:
    plan_destroy(p);
    return result;
}

void trainer_explain_bad_step(trainer *t, const step_state *r)
{
    int64_t step = t->progress.step + 1;
    if (t->progress.bad_run > EXPLAINED_IN_A_ROW) {
        log_warn(t->log, "step %" PRId64 ": NaN or Inf again (%" PRId64 " in a row); nothing was changed", step,
            t->progress.bad_run);
        return;
    }
    finding f = {0};
    status result = run_again(t, &f);
    /* The replay has added to gradients and statistics. */
    device *dev = t->dev;
    size_t bytes = (size_t)param_store_count(t->store) * sizeof(float);
    if (dev->api->zero(dev, param_store_gradients(t->store), bytes, dev->stream) != OK ||
        optimiser_restore_state(&t->optimiser) != OK)
        log_warn(t->log, "step %" PRId64 ": %s", step, status_message());
    const char *segment = r->bad_segment >= 0 && r->bad_segment < param_store_segments(t->store)
                              ? param_store_info(t->store, r->bad_segment)->name : "?";
    if (result != OK)
        log_warn(t->log,
            "step %" PRId64 ": NaN or Inf in the gradient of \"%s\"; nothing was changed (could not look closer: %s)",
            step, segment, status_message());
    else if (!f.found)
        log_warn(t->log,
            "step %" PRId64 ": NaN or Inf in the gradient of \"%s\", all activations are finite; nothing was changed",
            step, segment);
    else
        log_warn_lines(t->log, "step %" PRId64 ": NaN or Inf, first in %s; nothing was changed. Images:%s", step,
            f.tensor, f.files);
}
