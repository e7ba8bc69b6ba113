#include "core/task/classify/metrics.h"

#include <math.h>
#include <string.h>

status metrics_init(metrics *m, int64_t classes, int64_t top_k, spec_loss loss)
{
    *m = (metrics){.classes = classes, .top_k = top_k < classes ? top_k : classes, .loss = loss};
    bool whole = classes <= METRICS_MAX_CONFUSION;
    m->support = ARENA_ARRAY(&m->memory, int64_t, classes);
    m->predicted = ARENA_ARRAY(&m->memory, int64_t, classes);
    m->hit = ARENA_ARRAY(&m->memory, int64_t, classes);
    if (whole) m->confusion = ARENA_ARRAY(&m->memory, int64_t, classes * classes);
    if (!m->support || !m->predicted || !m->hit || (whole && !m->confusion)) {
        metrics_free(m);
        return FAIL_MEMORY(classes * sizeof(int64_t));
    }
    return OK;
}

void metrics_free(metrics *m)
{
    arena_free(&m->memory);
    *m = (metrics){0};
}

void metrics_reset(metrics *m)
{
    size_t row = (size_t)m->classes * sizeof(int64_t);
    m->count = m->correct = m->correct_top_k = 0;
    m->loss_sum = 0;
    memset(m->support, 0, row);
    memset(m->predicted, 0, row);
    memset(m->hit, 0, row);
    if (m->confusion) memset(m->confusion, 0, row * (size_t)m->classes);
}

static double softmax_loss(const float *x, int64_t classes, int32_t label, double largest)
{
    double sum = 0;
    for (int64_t c = 0; c < classes; c++) sum += exp((double)x[c] - largest);
    return log(sum) + largest - (double)x[label];
}

static double sigmoid_loss(const float *x, int64_t classes, int32_t label)
{
    double sum = 0;
    for (int64_t c = 0; c < classes; c++) {
        double v = x[c];
        sum += (v > 0 ? v : 0) + log1p(exp(-fabs(v))) - (c == label ? v : 0);
    }
    return sum / (double)classes;
}

double metrics_row(
    const float *logits, int64_t classes, int32_t label, spec_loss loss, int32_t *predicted, int64_t *rank)
{
    int64_t best = -1, before = 0;
    double own = logits[label];
    for (int64_t c = 0; c < classes; c++) {
        double v = logits[c];
        if (!isnan(v) && (best < 0 || v > (double)logits[best])) best = c;
        if (c != label && (v > own || isnan(own) || (v == own && c < label))) before++;
    }
    if (isnan(own)) before = classes;
    if (predicted) *predicted = best < 0 ? -1 : (int32_t)best;
    if (rank) *rank = before;
    if (loss == LOSS_SIGMOID) return sigmoid_loss(logits, classes, label);
    return softmax_loss(logits, classes, label, best < 0 ? 0 : (double)logits[best]);
}

void metrics_add(metrics *m, const float *logits, const int32_t *labels, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        int32_t label = labels[i], predicted;
        int64_t rank;
        if (label < 0 || label >= m->classes) continue;
        m->loss_sum += metrics_row(logits + i * m->classes, m->classes, label, m->loss, &predicted, &rank);
        m->count++;
        m->support[label]++;
        m->correct_top_k += rank < m->top_k;
        if (predicted < 0) continue;
        m->predicted[predicted]++;
        m->correct += predicted == label;
        m->hit[label] += predicted == label;
        if (m->confusion) m->confusion[label * m->classes + predicted]++;
    }
}

/* NaN for an empty mean. */
static double ratio(double a, double b)
{
    return b > 0 ? a / b : NAN;
}

double metrics_loss(const metrics *m)
{
    return ratio(m->loss_sum, (double)m->count);
}

double metrics_accuracy(const metrics *m)
{
    return ratio((double)m->correct, (double)m->count);
}

double metrics_accuracy_top_k(const metrics *m)
{
    return ratio((double)m->correct_top_k, (double)m->count);
}

class_metrics metrics_class(const metrics *m, int64_t c)
{
    double hit = (double)m->hit[c], predicted = (double)m->predicted[c], support = (double)m->support[c];
    return (class_metrics){.precision = ratio(hit, predicted), .recall = ratio(hit, support),
        .f1 = ratio(2 * hit, predicted + support), .support = m->support[c]};
}

static double or_zero(double v)
{
    return isnan(v) ? 0 : v;
}

static class_metrics mean(const metrics *m, bool weighted)
{
    class_metrics sum = {0};
    double weights = 0;
    for (int64_t c = 0; c < m->classes; c++) {
        if (m->support[c] == 0 && m->predicted[c] == 0) continue;
        class_metrics one = metrics_class(m, c);
        double weight = weighted ? (double)one.support : 1;
        sum.precision += weight * or_zero(one.precision);
        sum.recall += weight * or_zero(one.recall);
        sum.f1 += weight * or_zero(one.f1);
        sum.support += one.support;
        weights += weight;
    }
    return (class_metrics){
        ratio(sum.precision, weights), ratio(sum.recall, weights), ratio(sum.f1, weights), sum.support};
}

class_metrics metrics_macro(const metrics *m)
{
    return mean(m, false);
}

class_metrics metrics_weighted(const metrics *m)
{
    return mean(m, true);
}
