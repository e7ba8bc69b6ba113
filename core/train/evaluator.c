#include "core/train/evaluator.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

status evaluation_init(evaluation *e, int64_t classes, int64_t top_k, spec_loss loss, int64_t worst)
{
    *e = (evaluation){.worst_capacity = worst};
    TRY(metrics_init(&e->metrics, classes, top_k, loss));
    e->worst = ARENA_ARRAY(&e->memory, mistake, worst);
    if (!e->worst) {
        evaluation_free(e);
        return FAIL_MEMORY(worst * sizeof(mistake));
    }
    return OK;
}

void evaluation_free(evaluation *e)
{
    metrics_free(&e->metrics);
    free(e->logits);
    arena_free(&e->memory);
    *e = (evaluation){0};
}

static float softmax_of(const float *logits, int64_t classes, int32_t c)
{
    double sum = 0;
    for (int64_t i = 0; i < classes; i++) sum += exp((double)logits[i] - (double)logits[c]);
    return (float)(1 / sum);
}

/* Insertion into a short list; an equal loss stands behind, so that the order is that of the samples. */
static void keep_mistake(evaluation *e, const mistake *m)
{
    int64_t at = e->worst_count;
    while (at > 0 && m->loss > e->worst[at - 1].loss) at--;
    if (at == e->worst_capacity) return;
    if (e->worst_count < e->worst_capacity) e->worst_count++;
    memmove(e->worst + at + 1, e->worst + at, (size_t)(e->worst_count - 1 - at) * sizeof *m);
    e->worst[at] = *m;
}

static void look_for_mistakes(evaluation *e, const batch *b)
{
    int64_t classes = e->metrics.classes;
    for (int64_t i = 0; i < b->count && e->worst_capacity > 0; i++) {
        if (b->labels[i] < 0 || b->labels[i] >= classes) continue;
        const float *row = e->logits + i * classes;
        mistake m = {.sample_index = b->sample_index[i], .label = b->labels[i]};
        m.loss = metrics_row(row, classes, m.label, e->metrics.loss, &m.predicted, NULL);
        if (m.predicted == m.label || m.predicted < 0) continue;
        m.probability = softmax_of(row, classes, m.predicted);
        keep_mistake(e, &m);
    }
}

static status grow_logits(evaluation *e, int64_t rows)
{
    if (rows <= e->logits_rows) return OK;
    float *grown = realloc(e->logits, (size_t)rows * (size_t)e->metrics.classes * sizeof *grown);
    if (!grown) return FAIL_MEMORY(rows * e->metrics.classes * sizeof *grown);
    e->logits = grown;
    e->logits_rows = rows;
    return OK;
}

static void add_counts(double *sums, int64_t *values, int64_t count, int64_t *at, bool back)
{
    for (int64_t i = 0; i < count; i++, (*at)++) {
        if (back) values[i] = (int64_t)sums[*at];
        else sums[*at] = (double)values[i];
    }
}

/* Counts are exact in double up to 2^53. */
static void all_sums(metrics *m, double *sums, bool back)
{
    int64_t at = 0;
    if (back) m->loss_sum = sums[at++];
    else sums[at++] = m->loss_sum;
    add_counts(sums, &m->count, 1, &at, back);
    add_counts(sums, &m->correct, 1, &at, back);
    add_counts(sums, &m->correct_top_k, 1, &at, back);
    add_counts(sums, m->support, m->classes, &at, back);
    add_counts(sums, m->predicted, m->classes, &at, back);
    add_counts(sums, m->hit, m->classes, &at, back);
    if (m->confusion) add_counts(sums, m->confusion, m->classes * m->classes, &at, back);
}

static status sum_over_ranks(metrics *m, int64_t *replaced, comm *c)
{
    if (!c || c->world < 2) return OK;
    double lost = (double)*replaced;
    TRY(comm_all_reduce_host(c, &lost, 1));
    *replaced = (int64_t)lost;
    int64_t count = 4 + 3 * m->classes + (m->confusion ? m->classes * m->classes : 0);
    double *sums = malloc((size_t)count * sizeof *sums);
    if (!sums) return FAIL_MEMORY(count * sizeof *sums);
    all_sums(m, sums, false);
    status result = comm_all_reduce_host(c, sums, count);
    if (result == OK) all_sums(m, sums, true);
    free(sums);
    return result;
}

static void show_progress(const evaluation *e, const evaluation_options *o, double seconds)
{
    if (e->metrics.count == 0) return;
    double rate = seconds > 0 ? (double)e->metrics.count / seconds : 0;
    log_progress(o->log, false, "%s %lld/%lld  %.0f images/s  loss %.4f  top-1 %.2f %%", o->what, (long long)e->metrics.count,
        (long long)o->total, rate, metrics_loss(&e->metrics), 100 * metrics_accuracy(&e->metrics));
}

status evaluation_run(evaluation *e, loader *l, const evaluation_options *o)
{
    double start = clock_seconds(), waited = loader_wait_seconds(l);
    metrics_reset(&e->metrics);
    e->worst_count = 0;
    e->replaced = 0;
    TRY(loader_seek(l, 0, 0));
    for (;;) {
        const batch *b;
        TRY(loader_next(l, &b));
        if (!b) break;
        if (o->stop && o->stop(o->stop_context)) return FAIL(E_INTERRUPTED, "stopped by a signal");
        TRY(grow_logits(e, b->n));
        TRY(o->predict(o->context, b, e->logits));
        metrics_add(&e->metrics, e->logits, b->labels, b->count);
        e->replaced += b->replaced;
        look_for_mistakes(e, b);
        show_progress(e, o, clock_seconds() - start);
    }
    e->seconds = clock_seconds() - start;
    e->wait_seconds = loader_wait_seconds(l) - waited;
    return sum_over_ranks(&e->metrics, &e->replaced, o->comm);
}

status plan_predict(void *predictor, const batch *b, float *logits)
{
    const plan_predictor *p = predictor;
    const graph *g = &p->graph->graph;
    size_t image_bytes = (size_t)shape_count(g->edges[p->graph->image].shape) * sizeof(float);
    size_t logit_bytes = (size_t)shape_count(g->edges[p->graph->logits].shape) * sizeof(float);
    if (b->n != g->edges[p->graph->image].shape.dim[0]) BUG("batch of %lld for another plan", (long long)b->n);
    TRY(plan_set_input(p->plan, p->graph->image, b->images, image_bytes));
    TRY(plan_run(p->plan));
    return plan_get(p->plan, p->graph->logits, logits, logit_bytes);
}
