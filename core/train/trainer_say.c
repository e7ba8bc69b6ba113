#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/train/report.h"
#include "core/train/schedule.h"
#include "core/train/trainer_parts.h"

/* A term as it is logged: its mean over the batches, or a part of the images. */
double trainer_term_value(const trainer *t, const train_window *w, int32_t i)
{
    return w->term[i] / (double)(t->graph.terms.item[i].counted ? w->images : w->batches);
}

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
            figure_text(&shown, w->batches > 0 ? trainer_term_value(t, w, i) : NAN, value));
    }
}

void trainer_show_progress(const trainer *t)
{
    const train_progress *p = &t->progress;
    const train_window *w = shown_window(t);
    if (w->batches == 0 || !(w->seconds > 0)) return;
    char eta[32], terms[256];
    double rate = (double)w->images / w->seconds;
    double images_left =
        (double)((t->total_steps - p->step) * t->spec.train.accumulate * t->spec.train.batch_size * t->comm.world);
    format_duration(images_left / rate, eta);
    print_terms(t, w, "  ", terms, sizeof terms);
    log_progress(t->log, false,
        "epoch %" PRId64 "/%" PRId64 "  step %" PRId64 "/%" PRId64
        "  %.0f images/s%s  lr %.3g  data wait %.0f %%  ETA %s",
        (trainer_epochs_at(t, p->step - 1) + 1), t->spec.train.epochs, p->step, t->total_steps, rate, terms,
        schedule_rate(&t->spec.schedule, p->step - 1, t->total_steps, t->comm.world),
        100 * w->wait_seconds / w->seconds, eta);
}

void trainer_say_epoch(const trainer *t, bool evaluated, bool better)
{
    char terms[256], figures[256] = "", spent[32];
    print_terms(t, &t->last_window, " ", terms, sizeof terms);
    if (evaluated) evaluation_print_line(&t->evaluation, figures, sizeof figures);
    format_duration(t->progress.seconds, spent);
    log_progress(t->log, true, "epoch %" PRId64 "/%" PRId64 "  %s  train:%s%s%s%s",
        trainer_epochs_at(t, t->progress.step), t->spec.train.epochs, spent, terms, evaluated ? "  val:" : "", figures,
        better ? "  (best)" : "");
}

status trainer_write_report(trainer *t)
{
    if (t->comm.rank != 0) return OK;
    t->report_time = clock_seconds();
    const report_data r = {.records = &t->records,
        .evaluation = t->evaluated ? &t->evaluation : NULL,
        .terms = &t->graph.terms,
        .figure = t->evaluation.figure,
        .figure_count = t->evaluation.figure_count,
        .spec = &t->spec,
        .spec_text = t->options->spec_text,
        .progress = &t->progress,
        .total_steps = t->total_steps,
        .parameters = t->summary->parameters};
    return report_write(t->summary->report_path, &r);
}
