#include "core/train/trainer.h"

#include <math.h>
#include <signal.h>
#include <string.h>

#include "core/train/checkpoint.h"
#include "core/train/report.h"
#include "core/train/schedule.h"
#include "core/train/trainer_parts.h"

static const double REPORT_PERIOD_SECONDS = 60;

/* ------------------------------------------------------------------------------------------------ one update */

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

/* Forward and backward of train.accumulate batches. What batch i gave is read while batch i + 1 is computed, that of the last one
 * (finish_batches) while the weights are updated. */
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
static bool data_have_gone(const trainer *t, status failed, const loader *l)
{
    return failed == E_DATA && loader_is_lost(l) && (t->spec.data.lint || t->session_images > 0);
}

static status finish_batches(trainer *t, train_window *w)
{
    if (t->progress.step + 1 < t->total_steps) {
        status result = step_io_prefetch(&t->io);
        /* That the next batch cannot be made is no failure of this update. */
        if (data_have_gone(t, result, t->loader)) {
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
    return FAIL(E_DIVERGED, "%lld updates in a row had NaN or Inf (step %lld): training has diverged. Weights are those of the last good "
        "update; checkpoints in %s. Lower schedule.learning_rate, lengthen schedule.warmup or set train.clip_norm",
        (long long)p->bad_run, (long long)p->step + 1, t->folder);
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
        log_verbose(t->log, "step %lld: loss scale %g", (long long)p->step + 1, p->loss_scale);
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

static int64_t epochs_at(const trainer *t, int64_t step)
{
    if (step >= t->total_steps) return t->spec.train.epochs;
    return step * t->spec.train.accumulate / t->batches_per_epoch;
}

/* Images that lint found good and that could not be read now. */
static void count_replaced(trainer *t, int64_t replaced, int64_t *sum, const dataset *data, const char *what)
{
    double allowed = t->spec.data.max_bad_fraction;
    t->progress.replaced += replaced;
    *sum += replaced;
    if (t->data_lost || (double)*sum <= allowed * (double)data->count) return;
    t->data_lost = true;
    snprintf(t->data_text, sizeof t->data_text, "%lld of %lld %s images could not be read and others took their place (data.max_bad_fraction "
        "allows %.3g %%)", (long long)*sum, (long long)data->count, what, 100 * allowed);
}

/* A batch that cannot be made within an update: what the update has done so far is undone. Ranks in their collectives cannot be told
 * but by leaving. */
static status give_up_update(trainer *t, status failed)
{
    if (!data_have_gone(t, failed, t->loader)) return failed;
    snprintf(t->data_text, sizeof t->data_text, "%s", status_message());
    if (t->comm.world > 1)
        return FAIL(E_TEMPORARY, "the data have gone: %s; when they are back, --resume goes on from the last checkpoint", t->data_text);
    t->data_lost = true;
    return optimiser_restore_state(&t->optimiser);
}

static status one_update(trainer *t)
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
    count_replaced(t, w.replaced, &t->epoch_replaced, &t->train_data, "training");
    if (epochs_at(t, p->step) > epochs_at(t, p->step - 1)) t->epoch_replaced = 0;
    double seconds = clock_seconds() - start;
    p->window.seconds += seconds;
    p->window.wait_seconds += loader_wait_seconds(t->loader) - waited;
    t->session_train_seconds += seconds;
    t->session_images += w.images;
    return result;
}

/* ------------------------------------------------------------------------------------------------ epochs and rows */

static bool epoch_ends(const trainer *t)
{
    return t->progress.step > 0 && epochs_at(t, t->progress.step) > epochs_at(t, t->progress.step - 1);
}

static bool evaluation_is_due(const trainer *t)
{
    int64_t step = t->progress.step, period = t->spec.train.eval_period;
    if (!t->eval_plan) return false;
    if (step == 0) return true; /* a fitted last layer */
    return step >= t->total_steps || epochs_at(t, step) / period > epochs_at(t, step - 1) / period;
}

/* A term as it is logged: its mean over the batches, or a part of the images. */
static double term_value(const trainer *t, const train_window *w, int32_t i)
{
    return w->term[i] / (double)(t->graph.terms.item[i].counted ? w->images : w->batches);
}

static status add_row(trainer *t, bool evaluated)
{
    double v[RECORD_MAX];
    train_progress *p = &t->progress;
    train_window *w = &p->window;
    const record_columns *c = &t->records.columns;
    records_clear(v);
    for (int32_t i = 0; i < TERM_MAX; i++)
        if (w->batches > 0 && c->term[i] >= 0) v[c->term[i]] = term_value(t, w, i);
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
    if (data_have_gone(t, result, t->eval_loader)) {
        snprintf(t->data_text, sizeof t->data_text, "%s", status_message());
        t->data_lost = t->comm.world < 2; /* others are in their collectives */
    } else if (result == OK) {
        t->progress.window.replaced += t->evaluation.replaced;
        count_replaced(t, t->evaluation.replaced, &replaced, &t->val_data, "validation");
        if (!t->data_lost) return OK;
    } else {
        return result;
    }
    t->evaluated = false;
    return FAIL(E_TEMPORARY, "the validation data have gone: %s; when they are back, --resume goes on from the last checkpoint", t->data_text);
}

static status evaluate(trainer *t)
{
    evaluation_options o = {.run = plan_predict, .context = t->eval_plan, .stop = trainer_asked_to_stop, .stop_context = t,
        .what = "val", .total = t->val_data.count, .log = t->log, .comm = &t->comm};
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

/* ------------------------------------------------------------------------------------------------ what is said */

static const train_window *shown_window(const trainer *t)
{
    return t->progress.window.batches > 0 ? &t->progress.window : &t->last_window;
}

/* Adds " LABEL VALUE" of every term that is shown, each behind `before`. */
static void print_terms(const trainer *t, const train_window *w, const char *before, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = 0;
    for (int32_t i = 0; i < t->graph.terms.count; i++) {
        const loss_term *term = &t->graph.terms.item[i];
        const figure shown = {.percent = term->counted};
        char value[24];
        if (!term->label || used >= capacity) continue;
        used += (size_t)snprintf(text + used, capacity - used, "%s%s %s", before, term->label,
            figure_text(&shown, w->batches > 0 ? term_value(t, w, i) : NAN, value));
    }
}

static void show_progress(const trainer *t)
{
    const train_progress *p = &t->progress;
    const train_window *w = shown_window(t);
    if (w->batches == 0 || !(w->seconds > 0)) return;
    char eta[32], terms[256];
    double rate = (double)w->images / w->seconds;
    double images_left = (double)((t->total_steps - p->step) * t->spec.train.accumulate * t->spec.train.batch_size * t->comm.world);
    format_duration(images_left / rate, eta);
    print_terms(t, w, "  ", terms, sizeof terms);
    log_progress(t->log, false, "epoch %lld/%lld  step %lld/%lld  %.0f images/s%s  lr %.3g  data wait %.0f %%  ETA %s",
        (long long)(epochs_at(t, p->step - 1) + 1), (long long)t->spec.train.epochs, (long long)p->step, (long long)t->total_steps, rate,
        terms, schedule_rate(&t->spec.schedule, p->step - 1, t->total_steps, t->comm.world), 100 * w->wait_seconds / w->seconds, eta);
}

static void say_epoch(const trainer *t, bool evaluated, bool better)
{
    char terms[256], figures[256] = "", spent[32];
    print_terms(t, &t->last_window, " ", terms, sizeof terms);
    if (evaluated) evaluation_print_line(&t->evaluation, figures, sizeof figures);
    format_duration(t->progress.seconds, spent);
    log_progress(t->log, true, "epoch %lld/%lld  %s  train:%s%s%s%s", (long long)epochs_at(t, t->progress.step),
        (long long)t->spec.train.epochs, spent, terms, evaluated ? "  val:" : "", figures, better ? "  (best)" : "");
}

static status write_report(trainer *t)
{
    if (t->comm.rank != 0) return OK;
    t->report_time = clock_seconds();
    const report_data r = {.records = &t->records, .evaluation = t->evaluated ? &t->evaluation : NULL, .terms = &t->graph.terms,
        .figure = t->evaluation.figure, .figure_count = t->evaluation.figure_count, .spec = &t->spec, .spec_text = t->options->spec_text, .progress = &t->progress,
        .total_steps = t->total_steps, .parameters = t->summary->parameters};
    return report_write(t->summary->report_path, &r);
}

/* ------------------------------------------------------------------------------------------------ between updates */

int trainer_asked_to_stop(void *trainer_)
{
    trainer *t = trainer_;
    int asked = t->options->stop ? t->options->stop(t->options->stop_context) : 0;
    double votes[2] = {asked != 0, asked == SIGTERM};
    if (t->comm.world < 2) return asked;
    if (comm_all_reduce_host(&t->comm, votes, 2) != OK || votes[0] == 0) return 0; /* a lost rank shows in the next sum */
    return votes[1] > 0 ? SIGTERM : SIGINT;
}

static bool checkpoint_is_due(const trainer *t, bool epoch_end)
{
    int64_t period = t->spec.train.checkpoint_period, step = t->progress.step;
    if (step >= t->total_steps || t->progress.stopped) return true;
    return period > 0 ? step % period == 0 : epoch_end;
}

/* Evaluation, log and checkpoint that belong to the update just done. A signal may end it before anything was recorded: then it is done
 * after resuming, because `closed` is still false. */
static status close_update(trainer *t)
{
    bool end = epoch_ends(t), due = evaluation_is_due(t), better = false;
    if (due) {
        TRY(evaluate(t));
        better = judge(t);
    }
    if (end || due || (t->progress.step > 0 && t->progress.step % t->row_period == 0)) TRY(add_row(t, due));
    t->progress.closed = true;
    if (end || due) say_epoch(t, due, better);
    if (better || checkpoint_is_due(t, end)) TRY(trainer_save(t));
    if (better && t->comm.rank == 0) TRY(checkpoint_mark_best(t->folder));
    if (due && clock_seconds() - t->report_time > REPORT_PERIOD_SECONDS) TRY(write_report(t));
    return OK;
}

static status stop_here(trainer *t, int signal_number)
{
    TRY(trainer_save(t));
    status code = signal_number == SIGTERM ? E_TERMINATED : E_INTERRUPTED;
    return FAIL(code, "stopped at step %lld of %lld; a checkpoint is saved in %s: go on with --resume", (long long)t->progress.step,
        (long long)t->total_steps, t->folder);
}

static status stop_without_data(trainer *t)
{
    char text[sizeof t->data_text];
    snprintf(text, sizeof text, "%s", t->data_text[0] ? t->data_text : "another rank could not read its images");
    TRY(step_io_drop(&t->io));
    TRY(trainer_save(t));
    return FAIL(E_TEMPORARY, "stopped at step %lld of %lld, because images cannot be read any more: %s; a checkpoint is saved in %s: when "
        "they are back, go on with --resume", (long long)t->progress.step, (long long)t->total_steps, text, t->folder);
}

static status run(trainer *t)
{
    train_progress *p = &t->progress;
    double last = clock_seconds();
    while (!p->closed || (p->step < t->total_steps && !p->stopped)) {
        if (p->closed) TRY(one_update(t));
        double now = clock_seconds();
        p->seconds += now - last;
        last = now;
        int signal_number = trainer_asked_to_stop(t);
        if (t->data_lost) return stop_without_data(t);
        status result = signal_number ? E_INTERRUPTED : close_update(t);
        if (result == E_INTERRUPTED) return stop_here(t, signal_number ? signal_number : trainer_asked_to_stop(t));
        if (t->data_lost) return stop_without_data(t);
        TRY(result);
        show_progress(t);
        if (t->options->stop_at > 0 && p->step >= t->options->stop_at) break;
    }
    if (t->saved_step != p->step) TRY(trainer_save(t));
    return OK;
}

/* Of a column, in the last row that has one. */
static double last_value(const records *r, int32_t column)
{
    for (int64_t i = r->count - 1; i >= 0 && column >= 0; i--)
        if (!isnan(r->rows[i].value[column])) return r->rows[i].value[column];
    return NAN;
}

static void finish_summary(trainer *t)
{
    trainer_summary *s = t->summary;
    const train_progress *p = &t->progress;
    s->step = p->step;
    s->bad_steps = p->bad_total;
    s->replaced_images = p->replaced;
    s->seconds = p->seconds;
    s->images_per_second = t->session_train_seconds > 0 ? (double)t->session_images / t->session_train_seconds : NAN;
    s->best_step = p->best_step;
    s->best_criterion = p->best_step >= 0 ? p->best_criterion : NAN;
    s->stopped_early = p->stopped;
    s->finished = p->stopped || (t->plan && p->step >= t->total_steps);
    for (int32_t k = 0; k < TERM_MAX; k++) s->term[k] = last_value(&t->records, t->records.columns.term[k]);
    for (int32_t k = 0; k < FIGURE_MAX; k++) s->value[k] = last_value(&t->records, t->records.columns.figure[k]);
}

static status run_from_start_to_end(trainer *t)
{
    TRY(trainer_setup(t));
    TRY(run(t));
    /* A resumed run that had nothing left to do has no evaluation of its own to show. */
    if (!t->evaluated && t->eval_plan && t->progress.step >= t->total_steps) TRY(evaluate(t));
    return write_report(t);
}

status trainer_run(const trainer_options *options, trainer_summary *summary)
{
    trainer t = {.options = options, .summary = summary, .spec = *options->spec, .folder = options->spec->train.output,
        .log = options->log, .saved_step = -1};
    *summary = (trainer_summary){.best_criterion = NAN, .images_per_second = NAN, .best_step = -1};
    status result = run_from_start_to_end(&t);
    finish_summary(&t);
    trainer_teardown(&t);
    return result;
}

static void put_int(json_writer *w, const char *key, int64_t value)
{
    json_key(w, key);
    json_put_int(w, value);
}

static void put_number(json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_number(w, value);
}

/* A tag as the name of a member: val/accuracy_top1 is val_accuracy_top1. */
static void put_tagged(json_writer *w, const char *before, const char *tag, double value)
{
    char key[64];
    snprintf(key, sizeof key, "%s%s", before, tag);
    for (char *c = key; *c; c++)
        if (*c == '/') *c = '_';
    put_number(w, key, value);
}

static void put_text(json_writer *w, const char *key, const char *value)
{
    json_key(w, key);
    json_put_string(w, value);
}

void trainer_summary_write(const trainer_summary *s, json_writer *w)
{
    json_begin_object(w);
    put_int(w, "step", s->step);
    put_int(w, "total_steps", s->total_steps);
    put_int(w, "epochs", s->epochs);
    put_int(w, "bad_steps", s->bad_steps);
    put_int(w, "replaced_images", s->replaced_images);
    put_int(w, "train_images", s->train_images);
    put_int(w, "val_images", s->val_images);
    put_int(w, "classes", s->classes);
    put_int(w, "batch_size", s->batch_size);
    put_int(w, "parameters", s->parameters);
    put_int(w, "peak_bytes", s->peak_bytes);
    put_number(w, "seconds", s->seconds);
    put_number(w, "images_per_second", s->images_per_second);
    for (int32_t k = 0; k < s->terms.count; k++)
        if (s->terms.item[k].tag) put_tagged(w, "train_", s->terms.item[k].tag, s->term[k]);
    for (int32_t k = 0; k < s->figure_count; k++) put_tagged(w, "", s->figure[s->order[k]].tag, s->value[s->order[k]]);
    if (s->figure_count > 0) put_tagged(w, "best_", s->figure[0].tag + strcspn(s->figure[0].tag, "/") + 1, s->best_criterion);
    put_int(w, "best_step", s->best_step);
    json_key(w, "stopped_early");
    json_put_bool(w, s->stopped_early);
    json_key(w, "finished");
    json_put_bool(w, s->finished);
    put_text(w, "model_hash", s->model_hash);
    put_text(w, "last", s->last_path);
    put_text(w, "best", s->best_step >= 0 ? s->best_path : NULL);
    put_text(w, "report", s->report_path);
    json_end_object(w);
}
