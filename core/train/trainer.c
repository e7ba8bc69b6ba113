#include "core/train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <string.h>

#include "core/train/checkpoint.h"
#include "core/train/schedule.h"
#include "core/train/trainer_parts.h"

static const double REPORT_PERIOD_SECONDS = 60;

/* ------------------------------------------------------------------------------------------------ epochs and rows */

static bool epoch_ends(const trainer *t)
{
    return t->progress.step > 0 && trainer_epochs_at(t, t->progress.step) > trainer_epochs_at(t, t->progress.step - 1);
}

static bool evaluation_is_due(const trainer *t)
{
    int64_t step = t->progress.step, period = t->spec.train.eval_period;
    if (!t->eval_plan) return false;
    if (step == 0) return true; /* a fitted last layer */
    return step >= t->total_steps || trainer_epochs_at(t, step) / period > trainer_epochs_at(t, step - 1) / period;
}

static status add_row(trainer *t, bool evaluated)
{
    double v[RECORD_MAX];
    train_progress *p = &t->progress;
    train_window *w = &p->window;
    const record_columns *c = &t->records.columns;
    records_clear(v);
    for (int32_t i = 0; i < TERM_MAX; i++)
        if (w->batches > 0 && c->term[i] >= 0) v[c->term[i]] = trainer_term_value(t, w, i);
    if (w->batches > 0) {
        v[c->penalty] = w->penalty_sum / (double)w->updates;
        v[c->grad_norm] = w->norm_sum / (double)w->updates;
    }
    if (w->seconds > 0) {
        v[c->images_per_second] = (double)w->images / w->seconds;
        v[c->data_wait] = w->wait_seconds / w->seconds;
    }
    v[c->replaced] = (double)w->replaced;
    if (p->step > 0) v[c->rate] = schedule_rate(&t->spec.schedule, p->step - 1, t->total_steps, t->comm.world);
    for (int32_t i = 0; evaluated && i < t->evaluation.figure_count; i++) v[c->figure[i]] = t->evaluation.value[i];
    t->last_window = *w;
    *w = (train_window){0};
    double epoch = (double)(p->step * t->spec.train.accumulate) / (double)t->batches_per_epoch;
    return t->comm.rank == 0 ? records_add(&t->records, p->step, epoch, p->seconds, v) : OK;
}

/* Without train.sync_bn ranks have running statistics of their own; rank 0's are what is evaluated and saved. */
static status share_statistics(trainer *t)
{
    int64_t count;
    float *state = param_store_state(t->store, &count);
    if (t->comm.world < 2 || t->spec.train.sync_bn) return OK;
    return comm_broadcast(&t->comm, state, count * (int64_t)sizeof(float), 0, t->dev->stream);
}

/* A validation without its images says nothing: it is done again when they are back. */
static status judge_evaluation_data(trainer *t, status result)
{
    int64_t replaced = 0;
    if (trainer_data_have_gone(t, result, t->eval_loader)) {
        snprintf(t->data_text, sizeof t->data_text, "%s", status_message());
        t->data_lost = t->comm.world < 2; /* others are in their collectives */
    } else if (result == OK) {
        t->progress.window.replaced += t->evaluation.replaced;
        trainer_count_replaced(t, t->evaluation.replaced, &replaced, &t->val_data, "validation");
        if (!t->data_lost) return OK;
    } else {
        return result;
    }
    t->evaluated = false;
    return FAIL(E_TEMPORARY,
        "the validation data have gone: %s; when they are back, --resume goes on from the last checkpoint",
        t->data_text);
}

static status evaluate(trainer *t)
{
    evaluation_options o = {.run = plan_predict,
        .context = t->eval_plan,
        .stop = trainer_asked_to_stop,
        .stop_context = t,
        .what = "val",
        .total = t->val_data.count,
        .log = t->log,
        .comm = &t->comm};
    TRY(share_statistics(t));
    TRY(optimiser_swap_ema(&t->optimiser));
    status result = evaluation_run(&t->evaluation, t->eval_loader, &o);
    TRY(optimiser_swap_ema(&t->optimiser));
    t->evaluated = result == OK;
    return judge_evaluation_data(t, result);
}

/* A NaN is never better. */
static bool judge(trainer *t)
{
    train_progress *p = &t->progress;
    double watched = evaluation_watched(&t->evaluation), criterion = t->evaluation.value[0];
    bool better = criterion > p->best_criterion || (criterion == p->best_criterion && watched < p->best_watched);
    if (isnan(watched)) better = false;
    if (better) {
        p->best_criterion = criterion;
        p->best_watched = watched;
        p->best_step = p->step;
    }
    if (watched < p->stop_watched - t->spec.train.min_delta || (isinf(p->stop_watched) && !isnan(watched))) {
        p->stop_watched = watched;
        p->stop_waited = 0;
    } else {
        p->stop_waited++;
    }
    if (t->spec.train.early_stopping && p->stop_waited >= t->spec.train.patience) p->stopped = true;
    return better;
}

/* ------------------------------------------------------------------------------------------------ between updates */

int trainer_asked_to_stop(void *trainer_)
{
    trainer *t = trainer_;
    int asked = t->options->stop ? t->options->stop(t->options->stop_context) : 0;
    double votes[2] = {asked != 0, asked == SIGTERM};
    if (t->comm.world < 2) return asked;
    if (comm_all_reduce_host(&t->comm, votes, 2) != OK || votes[0] == 0)
        return 0; /* a lost rank shows in the next sum */
    return votes[1] > 0 ? SIGTERM : SIGINT;
}

static bool checkpoint_is_due(const trainer *t, bool epoch_end)
{
    int64_t period = t->spec.train.checkpoint_period, step = t->progress.step;
    if (step >= t->total_steps || t->progress.stopped) return true;
    return period > 0 ? step % period == 0 : epoch_end;
}

/* Evaluation, log and checkpoint that belong to the update just done. A signal may end it before anything was recorded:
 * then it is done after resuming, because `closed` is still false. */
static status close_update(trainer *t)
{
    bool end = epoch_ends(t), due = evaluation_is_due(t), better = false;
    if (due) {
        TRY(evaluate(t));
        better = judge(t);
    }
    if (end || due || (t->progress.step > 0 && t->progress.step % t->row_period == 0)) TRY(add_row(t, due));
    t->progress.closed = true;
    if (end || due) trainer_say_epoch(t, due, better);
    if (better || checkpoint_is_due(t, end)) TRY(trainer_save(t));
    if (better && t->comm.rank == 0) TRY(checkpoint_mark_best(t->folder));
    if (due && clock_seconds() - t->report_time > REPORT_PERIOD_SECONDS) TRY(trainer_write_report(t));
    return OK;
}

static status stop_here(trainer *t, int signal_number)
{
    TRY(trainer_save(t));
    status code = signal_number == SIGTERM ? E_TERMINATED : E_INTERRUPTED;
    return FAIL(code, "stopped at step %" PRId64 " of %" PRId64 "; a checkpoint is saved in %s: go on with --resume",
        t->progress.step, t->total_steps, t->folder);
}

static status stop_without_data(trainer *t)
{
    char text[sizeof t->data_text];
    snprintf(text, sizeof text, "%s", t->data_text[0] ? t->data_text : "another rank could not read its images");
    TRY(step_io_drop(&t->io));
    TRY(trainer_save(t));
    return FAIL(E_TEMPORARY,
        "stopped at step %" PRId64 " of %" PRId64
        ", because images cannot be read any more: %s; a checkpoint is saved in %s: when "
        "they are back, go on with --resume",
        t->progress.step, t->total_steps, text, t->folder);
}

static status run(trainer *t)
{
    train_progress *p = &t->progress;
    double last = clock_seconds();
    while (!p->closed || (p->step < t->total_steps && !p->stopped)) {
        if (p->closed) TRY(trainer_update(t));
        double now = clock_seconds();
        p->seconds += now - last;
        last = now;
        int signal_number = trainer_asked_to_stop(t);
        if (t->data_lost) return stop_without_data(t);
        status result = signal_number ? E_INTERRUPTED : close_update(t);
        if (result == E_INTERRUPTED) return stop_here(t, signal_number ? signal_number : trainer_asked_to_stop(t));
        if (t->data_lost) return stop_without_data(t);
        TRY(result);
        trainer_show_progress(t);
        if (t->options->stop_at > 0 && p->step >= t->options->stop_at) break;
    }
    if (t->saved_step != p->step) TRY(trainer_save(t));
    return OK;
}

static status run_from_start_to_end(trainer *t)
{
    TRY(trainer_setup(t));
    TRY(run(t));
    /* A resumed run that had nothing left to do has no evaluation of its own to show. */
    if (!t->evaluated && t->eval_plan && t->progress.step >= t->total_steps) TRY(evaluate(t));
    return trainer_write_report(t);
}

status trainer_run(const trainer_options *options, trainer_summary *summary)
{
    trainer t = {.options = options, .summary = summary, .spec = *options->spec, .folder = options->spec->train.output,
        .log = options->log, .saved_step = -1};
    *summary = (trainer_summary){.best_criterion = NAN, .images_per_second = NAN, .best_step = -1};
    status result = run_from_start_to_end(&t);
    trainer_finish_summary(&t);
    trainer_teardown(&t);
    return result;
}
