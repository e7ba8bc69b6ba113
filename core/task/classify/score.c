#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/task/classify/classify.h"

/* top-1 first: the criterion; then the loss; the top k where that says more. */
int32_t classify_figures(const task_setting *t, figure f[FIGURE_MAX])
{
    int64_t k = t->spec->train.top_k < t->class_count ? t->spec->train.top_k : t->class_count;
    f[0] = (figure){"val/accuracy_top1", "top-1", true};
    f[1] = (figure){"val/loss", "loss", false};
    f[2] = (figure){.percent = true};
    snprintf(f[2].tag, sizeof f[2].tag, "val/accuracy_top%" PRId64, k);
    snprintf(f[2].label, sizeof f[2].label, "top-%" PRId64, k);
    return k > 1 ? 3 : 2;
}

void classify_score_values(const task_score *score, double value[FIGURE_MAX])
{
    const metrics *m = &class_score_of_const(score)->metrics;
    value[0] = metrics_accuracy(m);
    value[1] = metrics_loss(m);
    value[2] = metrics_accuracy_top_k(m);
}

static status init(class_score *s, const task_setting *t, int64_t worst)
{
    TRY(metrics_init(&s->metrics, t->class_count, t->spec->train.top_k, t->spec->train.loss));
    s->worst = ARENA_ARRAY(&s->memory, mistake, worst);
    return s->worst ? OK : FAIL_MEMORY(worst * sizeof *s->worst);
}

status classify_score_create(task_score **out, const task_setting *t, int64_t worst)
{
    *out = NULL;
    class_score *s = calloc(1, sizeof *s);
    if (!s) return FAIL_MEMORY(sizeof *s);
    s->setting = t;
    s->worst_capacity = worst;
    status result = init(s, t, worst);
    if (result != OK) classify_score_destroy((task_score *)s);
    else *out = (task_score *)s;
    return result;
}

void classify_score_destroy(task_score *score)
{
    class_score *s = class_score_of(score);
    if (!s) return;
    metrics_free(&s->metrics);
    arena_free(&s->memory);
    free(s->label);
    free(s);
}

void classify_score_reset(task_score *score)
{
    class_score *s = class_score_of(score);
    metrics_reset(&s->metrics);
    s->worst_count = 0;
}

static float softmax_of(const float *logits, int64_t classes, int32_t c)
{
    double sum = 0;
    for (int64_t i = 0; i < classes; i++) sum += exp((double)logits[i] - (double)logits[c]);
    return (float)(1 / sum);
}

/* Insertion into a short list; an equal loss stands behind, so that the order is that of the samples. */
static void keep_mistake(class_score *s, const mistake *m)
{
    int64_t at = s->worst_count;
    while (at > 0 && m->loss > s->worst[at - 1].loss) at--;
    if (at == s->worst_capacity) return;
    if (s->worst_count < s->worst_capacity) s->worst_count++;
    memmove(s->worst + at + 1, s->worst + at, (size_t)(s->worst_count - 1 - at) * sizeof *m);
    s->worst[at] = *m;
}

static void keep_mistakes(class_score *s, const batch *b, const float *logits)
{
    int64_t classes = s->metrics.classes;
    for (int64_t i = 0; i < b->count && s->worst_capacity > 0; i++) {
        if (s->label[i] < 0 || s->label[i] >= classes) continue;
        const float *row = logits + i * classes;
        mistake m = {.sample_index = b->sample_index[i], .label = s->label[i]};
        m.loss = metrics_row(row, classes, m.label, s->metrics.loss, &m.predicted, NULL);
        if (m.predicted == m.label || m.predicted < 0) continue;
        m.probability = softmax_of(row, classes, m.predicted);
        keep_mistake(s, &m);
    }
}

static status copy_labels(class_score *s, const batch *b)
{
    if (b->count > s->label_capacity) {
        int32_t *grown = realloc(s->label, (size_t)b->n * sizeof *grown);
        if (!grown) return FAIL_MEMORY(b->n * sizeof *grown);
        s->label = grown;
        s->label_capacity = b->n;
    }
    for (int64_t i = 0; i < b->count; i++) s->label[i] = s->setting->data->samples[b->sample_index[i]].class_index;
    return OK;
}

status classify_score_add(task_score *score, const batch *b, const task_output *output)
{
    class_score *s = class_score_of(score);
    TRY(copy_labels(s, b));
    metrics_add(&s->metrics, output[0].value, s->label, b->count);
    keep_mistakes(s, b, output[0].value);
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

status classify_score_merge(task_score *score, comm *c)
{
    metrics *m = &class_score_of(score)->metrics;
    int64_t count = 4 + 3 * m->classes + (m->confusion ? m->classes * m->classes : 0);
    double *sums = malloc((size_t)count * sizeof *sums);
    if (!sums) return FAIL_MEMORY(count * sizeof *sums);
    all_sums(m, sums, false);
    status result = comm_all_reduce_host(c, sums, count);
    if (result == OK) all_sums(m, sums, true);
    free(sums);
    return result;
}
