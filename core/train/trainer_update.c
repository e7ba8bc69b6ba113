#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/train/schedule.h"
#include "core/train/trainer_parts.h"

static status receive_batch(trainer *t, train_window *w)
{
    step_result r;
    TRY(step_io_receive(&t->io, &r));
    for (int32_t i = 0; i < TERM_MAX; i++) w->term[i] += r.term[i];
    w->images += r.n;
    w->replaced += r.replaced;
    w->batches++;
    return OK;
}

/* Forward and backward of train.accumulate batches. What batch i gave is read while batch i + 1 is computed, that of
 * the last one (finish_batches) while the weights are updated. */
static status run_batches(trainer *t, train_window *w)
{
    int64_t count = t->spec.train.accumulate;
    for (int64_t i = 0; i < count; i++) {
        TRY(step_io_feed(&t->io));
        TRY(plan_enqueue(t->plan));
        TRY(step_io_send(&t->io));
        if (i > 0) TRY(receive_batch(t, w));
        if (i + 1 < count) TRY(step_io_prefetch(&t->io));
    }
    return OK;
}

/* Whether `failed` means that the data have gone since lint, or since this session's first batch. */
bool trainer_data_have_gone(const trainer *t, status failed, const loader *l)
{
    return failed == E_DATA && loader_is_lost(l) && (t->spec.data.lint || t->session_images > 0);
}

static status finish_batches(trainer *t, train_window *w)
{
    if (t->progress.step + 1 < t->total_steps) {
        status result = step_io_prefetch(&t->io);
        /* That the next batch cannot be made is no failure of this update. */
        if (trainer_data_have_gone(t, result, t->loader)) {
            t->data_lost = true;
            snprintf(t->data_text, sizeof t->data_text, "%s", status_message());
        } else {
            TRY(result);
        }
    }
    return receive_batch(t, w);
}

/* Sums of one update join those since the last row. */
static void merge(train_window *sum, const train_window *w)
{
    for (int32_t i = 0; i < TERM_MAX; i++) sum->term[i] += w->term[i];
    sum->penalty_sum += w->penalty_sum;
    sum->norm_sum += w->norm_sum;
    sum->batches += w->batches;
    sum->images += w->images;
    sum->updates += w->updates;
    sum->replaced += w->replaced;
}

/* What all ranks have seen: their sums are equal from here on, and a checkpoint's hold for every rank. */
static status sum_window(trainer *t, train_window *w)
{
    double sums[4 + TERM_MAX] = {(double)w->batches, (double)w->images, (double)w->replaced, t->data_lost};
    if (t->comm.world < 2) return OK;
    memcpy(sums + 4, w->term, sizeof w->term);
    TRY(comm_all_reduce_host(&t->comm, sums, 4 + TERM_MAX));
    w->batches = (int64_t)sums[0];
    w->images = (int64_t)sums[1];
    w->replaced = (int64_t)sums[2];
    t->data_lost = sums[3] > 0;
    memcpy(w->term, sums + 4, sizeof w->term);
    return OK;
}

static status refuse_update(trainer *t, const step_state *result)
{
    train_progress *p = &t->progress;
    p->bad_total++;
    p->bad_run++;
    TRY(step_io_drop(&t->io));
    trainer_explain_bad_step(t, result);
    int64_t next = (p->step + 1) * t->spec.train.accumulate;
    TRY(loader_seek(t->loader, next / t->batches_per_epoch, next % t->batches_per_epoch));
    if (p->bad_run < t->spec.train.max_bad_steps) return OK;
    return FAIL(E_DIVERGED,
        "%" PRId64 " updates in a row had NaN or Inf (step %" PRId64
        "): training has diverged. Weights are those of the last good "
        "update; checkpoints in %s. Lower schedule.learning_rate, lengthen schedule.warmup or set train.clip_norm",
        p->bad_run, p->step + 1, t->folder);
}

status trainer_set_loss_scale(trainer *t, plan *p)
{
    float scale = (float)t->progress.loss_scale;
    t->optimiser.loss_scale = scale;
    return t->graph.loss_scale == EDGE_NONE ? OK : plan_set_input(p, t->graph.loss_scale, &scale, sizeof scale);
}

/* Loss scale, then: did the update count, was it the scale's fault, or is something wrong? */
static status judge_update(trainer *t, train_window *w)
{
    train_progress *p = &t->progress;
    loss_scale_change change = loss_scale_update(p, &t->spec.train, t->last_result.finite);
    if (change != LOSS_SCALE_KEPT) {
        log_verbose(t->log, "step %" PRId64 ": loss scale %g", p->step + 1, p->loss_scale);
        TRY(trainer_set_loss_scale(t, t->plan));
    }
    if (change == LOSS_SCALE_LOWERED) return OK;
    if (!t->last_result.finite) return refuse_update(t, &t->last_result);
    w->penalty_sum = t->last_result.penalty;
    w->norm_sum = t->last_result.grad_norm;
    w->updates = 1;
    p->applied++;
    p->bad_run = 0;
    merge(&p->window, w);
    return optimiser_average_state(&t->optimiser);
}

int64_t trainer_epochs_at(const trainer *t, int64_t step)
{
    if (step >= t->total_steps) return t->spec.train.epochs;
    return step * t->spec.train.accumulate / t->batches_per_epoch;
}

/* Images that lint found good and that could not be read now. */
void trainer_count_replaced(trainer *t, int64_t replaced, int64_t *sum, const dataset *data, const char *what)
{
    double allowed = t->spec.data.max_bad_fraction;
    t->progress.replaced += replaced;
    *sum += replaced;
    if (t->data_lost || (double)*sum <= allowed * (double)data->count) return;
    t->data_lost = true;
    snprintf(t->data_text, sizeof t->data_text,
        "%" PRId64 " of %" PRId64 " %s images could not be read and others took their place (data.max_bad_fraction "
        "allows %.3g %%)",
        *sum, data->count, what, 100 * allowed);
}

/* A batch that cannot be made within an update: what the update has done so far is undone. Ranks in their collectives
 * cannot be told but by leaving. */
static status give_up_update(trainer *t, status failed)
{
    if (!trainer_data_have_gone(t, failed, t->loader)) return failed;
    snprintf(t->data_text, sizeof t->data_text, "%s", status_message());
    if (t->comm.world > 1)
        return FAIL(E_TEMPORARY,
            "the data have gone: %s; when they are back, --resume goes on from the last checkpoint", t->data_text);
    t->data_lost = true;
    return optimiser_restore_state(&t->optimiser);
}

status trainer_update(trainer *t)
{
    train_progress *p = &t->progress;
    double start = clock_seconds(), waited = loader_wait_seconds(t->loader);
    train_window w = {0};
    TRY(optimiser_begin(&t->optimiser));
    status fed = run_batches(t, &w);
    if (fed != OK) return give_up_update(t, fed);
    double rate = schedule_rate(&t->spec.schedule, p->step, t->total_steps, t->comm.world);
    TRY(optimiser_step(&t->optimiser, &t->comm, rate, p->applied + 1));
    TRY(finish_batches(t, &w));
    TRY(sum_window(t, &w));
    TRY(optimiser_result(&t->optimiser, &t->last_result));
    status result = judge_update(t, &w);
    p->step++;
    p->closed = false;
    trainer_count_replaced(t, w.replaced, &t->epoch_replaced, &t->train_data, "training");
    if (trainer_epochs_at(t, p->step) > trainer_epochs_at(t, p->step - 1)) t->epoch_replaced = 0;
    double seconds = clock_seconds() - start;
    p->window.seconds += seconds;
    p->window.wait_seconds += loader_wait_seconds(t->loader) - waited;
    t->session_train_seconds += seconds;
    t->session_images += w.images;
    return result;
}
