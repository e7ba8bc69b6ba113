#include "core/task/classify/classify.h"

#include <inttypes.h>

enum { MATRIX_MAX = 40 };

static void put_class_row(page *p, const char *name, const class_metrics *c)
{
    fputs("<tr><th>", p->stream);
    page_text(p, name);
    fputs("</th>", p->stream);
    page_percent(p, c->precision);
    page_percent(p, c->recall);
    page_percent(p, c->f1);
    fprintf(p->stream, "<td>%" PRId64 "</td></tr>\n", c->support);
}

static void put_classes(page *p, const metrics *m, const char *const *class_name)
{
    fputs("<h2>Classes</h2><table><tr><th>class</th><th>precision %</th><th>recall %</th><th>F1 "
          "%</th><th>images</th></tr>\n",
        p->stream);
    for (int64_t c = 0; c < m->classes; c++) {
        class_metrics one = metrics_class(m, c);
        put_class_row(p, class_name[c], &one);
    }
    class_metrics macro = metrics_macro(m), weighted = metrics_weighted(m);
    put_class_row(p, "macro mean", &macro);
    put_class_row(p, "weighted mean", &weighted);
    fputs("</table>\n", p->stream);
}

static void put_matrix(page *p, const metrics *m, const char *const *class_name)
{
    if (!m->confusion || m->classes > MATRIX_MAX) return;
    fputs("<h2>Confusion matrix</h2><p>Rows: true class. Columns: prediction.</p><table class=\"m\"><tr><th></th>",
        p->stream);
    for (int64_t c = 0; c < m->classes; c++) {
        fputs("<th>", p->stream);
        page_text(p, class_name[c]);
        fputs("</th>", p->stream);
    }
    fputs("</tr>\n", p->stream);
    for (int64_t t = 0; t < m->classes; t++) {
        fputs("<tr><th>", p->stream);
        page_text(p, class_name[t]);
        fputs("</th>", p->stream);
        for (int64_t k = 0; k < m->classes; k++) {
            int64_t n = m->confusion[t * m->classes + k];
            double part = m->support[t] > 0 ? (double)n / (double)m->support[t] : 0;
            fprintf(p->stream, "<td style=\"background:rgba(%s,%.3f)\">%" PRId64 "</td>",
                t == k ? "40,140,60" : "200,40,40", part, n);
        }
        fputs("</tr>\n", p->stream);
    }
    fputs("</table>\n", p->stream);
}

static void put_mistakes(page *p, const class_score *s)
{
    const dataset *data = s->setting->data;
    const char *const *class_name = s->setting->class_name;
    if (s->worst_count == 0) return;
    fputs("<h2>Worst mistakes</h2><div class=\"w\">\n", p->stream);
    for (int64_t i = 0; i < s->worst_count; i++) {
        const mistake *m = &s->worst[i];
        fputs("<figure>", p->stream);
        page_thumbnail(p, data, m->sample_index);
        fputs("<figcaption>", p->stream);
        page_text(p, class_name[m->label]);
        fputs(" taken for <b>", p->stream);
        page_text(p, class_name[m->predicted]);
        fprintf(p->stream, "</b> (%.1f %%)<br/><small>", 100 * (double)m->probability);
        if (m->sample_index >= 0 && m->sample_index < data->count) page_text(p, data->samples[m->sample_index].name);
        fputs("</small></figcaption></figure>\n", p->stream);
    }
    fputs("</div>\n", p->stream);
}

void classify_score_page(const task_score *score, page *p)
{
    const class_score *s = class_score_of_const(score);
    const metrics *m = &s->metrics;
    fprintf(p->stream, "<p>%" PRId64 " images: loss %.4f, top-1 %.2f %%, top-%" PRId64 " %.2f %%.</p>\n", m->count,
        metrics_loss(m), 100 * metrics_accuracy(m), m->top_k, 100 * metrics_accuracy_top_k(m));
    put_matrix(p, m, s->setting->class_name);
    put_classes(p, m, s->setting->class_name);
    put_mistakes(p, s);
}
