#include "core/task/evaluator.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

status evaluation_init(evaluation *e, const task_setting *t, const graph *g, int64_t worst)
{
    *e = (evaluation){.setting = *t, .output_count = g->output_count - g->auxiliary_count};
    for (int32_t k = 0; k < e->output_count; k++) {
        shape s = g->edges[g->outputs[k]].shape;
        e->each[k] = shape_count(s) / s.dim[0];
    }
    e->figure_count = t->task->figures(t, e->figure);
    int32_t watched = t->task->watched;
    for (int32_t k = 0; k < FIGURE_MAX; k++) {
        e->value[k] = NAN;
        e->order[k] = k == 0 ? watched : k <= watched ? k - 1 : k;
    }
    return t->task->score_create(&e->score, &e->setting, worst);
}

void evaluation_free(evaluation *e)
{
    if (e->score) e->setting.task->score_destroy(e->score);
    for (int32_t k = 0; k < e->output_count; k++) free(e->output[k]);
    *e = (evaluation){0};
}

static status grow_outputs(evaluation *e, int64_t rows)
{
    if (rows <= e->rows) return OK;
    for (int32_t k = 0; k < e->output_count; k++) {
        float *grown = realloc(e->output[k], (size_t)(rows * e->each[k]) * sizeof *grown);
        if (!grown) return FAIL_MEMORY(rows * e->each[k] * sizeof *grown);
        e->output[k] = grown;
    }
    e->rows = rows;
    return OK;
}

static size_t print_figure(
    const evaluation *e, int32_t i, double value, const char *before, char *text, size_t capacity)
{
    char number[24];
    int written =
        snprintf(text, capacity, "%s%s %s", before, e->figure[i].label, figure_text(&e->figure[i], value, number));
    return (size_t)written < capacity ? (size_t)written : capacity - 1;
}

void evaluation_print_line(const evaluation *e, char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = 0;
    for (int32_t k = 0; k < e->figure_count; k++)
        used += print_figure(e, e->order[k], e->value[e->order[k]], " ", text + used, capacity - used);
}

/* The watched figure and the criterion. */
static void print_shown(const evaluation *e, const double *value, const char *before, char *text, size_t capacity)
{
    int32_t watched = e->setting.task->watched;
    size_t used = watched > 0 ? print_figure(e, watched, value[watched], before, text, capacity) : 0;
    print_figure(e, 0, value[0], before, text + used, capacity - used);
}

double evaluation_watched(const evaluation *e)
{
    int32_t watched = e->setting.task->watched;
    return watched > 0 ? e->value[watched] : -e->value[0];
}

static void show_progress(const evaluation *e, const evaluation_options *o, double seconds)
{
    char text[160] = "";
    double value[FIGURE_MAX], rate = seconds > 0 ? (double)e->images / seconds : 0;
    if (e->images == 0) return;
    if (e->setting.task->running_values) {
        e->setting.task->score_values(e->score, value);
        print_shown(e, value, "  ", text, sizeof text);
    }
    log_progress(
        o->log, false, "%s %" PRId64 "/%" PRId64 "  %.0f images/s%s", o->what, e->images, o->total, rate, text);
}

static status merge(evaluation *e, comm *c)
{
    double sums[2] = {(double)e->images, (double)e->replaced};
    if (!c || c->world < 2) return OK;
    TRY(comm_all_reduce_host(c, sums, 2));
    e->images = (int64_t)sums[0];
    e->replaced = (int64_t)sums[1];
    return e->setting.task->score_merge(e->score, c);
}

status evaluation_run(evaluation *e, loader *l, const evaluation_options *o)
{
    const task *t = e->setting.task;
    task_output output[GRAPH_MAX_OUTPUTS];
    double start = clock_seconds(), waited = loader_wait_seconds(l);
    t->score_reset(e->score);
    e->images = e->replaced = 0;
    TRY(loader_seek(l, 0, 0));
    for (;;) {
        const batch *b;
        TRY(loader_next(l, &b));
        if (!b) break;
        if (o->stop && o->stop(o->stop_context)) return FAIL(E_INTERRUPTED, "stopped by a signal");
        TRY(grow_outputs(e, b->n));
        TRY(o->run(o->context, b, e->output));
        for (int32_t k = 0; k < e->output_count; k++) output[k] = (task_output){e->output[k], e->each[k]};
        TRY(t->score_add(e->score, b, output));
        e->images += b->count;
        e->replaced += b->replaced;
        show_progress(e, o, clock_seconds() - start);
    }
    e->seconds = clock_seconds() - start;
    e->wait_seconds = loader_wait_seconds(l) - waited;
    TRY(merge(e, o->comm));
    t->score_values(e->score, e->value);
    return OK;
}

status plan_predict(void *context, const batch *b, float *const *output)
{
    plan *p = context;
    const graph *g = plan_graph(p);
    edge_id input = graph_find_edge(g, "image");
    if (b->n != g->edges[input].shape.dim[0]) BUG("batch of %" PRId64 " for another plan", b->n);
    TRY(plan_set_input(p, input, b->images, (size_t)shape_count(g->edges[input].shape) * sizeof(float)));
    TRY(plan_run(p));
    for (int32_t k = 0; k < g->output_count - g->auxiliary_count; k++)
        TRY(plan_get(p, g->outputs[k], output[k], (size_t)shape_count(g->edges[g->outputs[k]].shape) * sizeof(float)));
    return OK;
}

status evaluation_print(const evaluation *e, FILE *stream, int64_t max_rows)
{
    if (e->replaced)
        fprintf(stream, "%" PRId64 " images could not be read, and others took their place\n", e->replaced);
    return e->setting.task->score_print(e->score, stream, max_rows);
}

void evaluation_write(const evaluation *e, json_writer *w)
{
    json_begin_object(w);
    e->setting.task->score_write(e->score, w);
    json_key(w, "replaced");
    json_put_int(w, e->replaced);
    json_key(w, "images_per_second");
    json_put_number(w, e->seconds > 0 ? (double)e->images / e->seconds : NAN);
    json_end_object(w);
}
