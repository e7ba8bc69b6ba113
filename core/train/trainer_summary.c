#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/train/trainer_parts.h"

/* Of a column, in the last row that has one. */
static double last_value(const records *r, int32_t column)
{
    for (int64_t i = r->count - 1; i >= 0 && column >= 0; i--)
        if (!isnan(r->rows[i].value[column])) return r->rows[i].value[column];
    return NAN;
}

void trainer_finish_summary(trainer *t)
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
    if (s->figure_count > 0)
        put_tagged(w, "best_", s->figure[0].tag + strcspn(s->figure[0].tag, "/") + 1, s->best_criterion);
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
