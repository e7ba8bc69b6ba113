#include <inttypes.h>

#include "core/task/classify/classify.h"
#include "core/base/utf8.h"

enum { MATRIX_MAX_CLASSES = 20 };

static void print_row(FILE *stream, const char *name, const class_metrics *c)
{
    char a[16], b[16], d[16];
    fputs("  ", stream);
    utf8_print_column(stream, name, 24);
    fprintf(stream, " %9s %9s %9s %9" PRId64 "\n", percent_text(c->precision, a), percent_text(c->recall, b),
        percent_text(c->f1, d), c->support);
}

static void print_matrix(FILE *stream, const metrics *m, const char *const *class_name)
{
    fprintf(stream, "\nconfusion (rows: true, columns: predicted)\n  %-16s", "");
    for (int64_t c = 0; c < m->classes; c++) fprintf(stream, " %6" PRId64, c);
    fputc('\n', stream);
    for (int64_t t = 0; t < m->classes; t++) {
        fprintf(stream, "  %2" PRId64 " ", t);
        utf8_print_column(stream, class_name[t], 13);
        for (int64_t p = 0; p < m->classes; p++) fprintf(stream, " %6" PRId64, m->confusion[t * m->classes + p]);
        fputc('\n', stream);
    }
}

static status print_weakest(FILE *stream, const metrics *m, const char *const *class_name, int64_t rows)
{
    arena memory = {0};
    double *f1 = ARENA_ARRAY(&memory, double, m->classes);
    int64_t *order = ARENA_ARRAY(&memory, int64_t, m->classes);
    if (!f1 || !order) {
        arena_free(&memory);
        return FAIL_MEMORY(m->classes * 16);
    }
    for (int64_t c = 0; c < m->classes; c++) f1[c] = metrics_class(m, c).f1;
    order_ascending(order, f1, m->classes);
    for (int64_t i = 0; i < rows; i++) {
        class_metrics one = metrics_class(m, order[i]);
        print_row(stream, class_name[order[i]], &one);
    }
    fprintf(stream, "  (the %" PRId64 " weakest of %" PRId64 " classes by F1)\n", rows, m->classes);
    arena_free(&memory);
    return OK;
}

status classify_score_print(const task_score *score, FILE *stream, int64_t max_rows)
{
    const class_score *own = class_score_of_const(score);
    const metrics *m = &own->metrics;
    const char *const *class_name = own->setting->class_name;
    char top1[16], top_k[16];
    char loss[24] = "-";
    if (m->count > 0) snprintf(loss, sizeof loss, "%.4f", metrics_loss(m));
    fprintf(stream, "%" PRId64 " images  loss %s  top-1 %s %%  top-%" PRId64 " %s %%\n\n", m->count, loss,
        percent_text(metrics_accuracy(m), top1), m->top_k, percent_text(metrics_accuracy_top_k(m), top_k));
    fprintf(stream, "  %-24s %9s %9s %9s %9s\n", "class", "precision", "recall", "F1", "support");
    if (m->classes > max_rows) TRY(print_weakest(stream, m, class_name, max_rows));
    for (int64_t c = 0; c < m->classes && m->classes <= max_rows; c++) {
        class_metrics one = metrics_class(m, c);
        print_row(stream, class_name[c], &one);
    }
    class_metrics macro = metrics_macro(m), weighted = metrics_weighted(m);
    print_row(stream, "macro mean", &macro);
    print_row(stream, "weighted mean", &weighted);
    if (m->confusion && m->classes <= MATRIX_MAX_CLASSES) print_matrix(stream, m, class_name);
    return OK;
}

static void put(json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_number(w, value);
}

static void put_class(json_writer *w, const class_metrics *c, const char *name)
{
    json_begin_object(w);
    if (name) {
        json_key(w, "name");
        json_put_string(w, name);
    }
    put(w, "precision", c->precision);
    put(w, "recall", c->recall);
    put(w, "f1", c->f1);
    json_key(w, "support");
    json_put_int(w, c->support);
    json_end_object(w);
}

void classify_score_write(const task_score *score, json_writer *w)
{
    const class_score *own = class_score_of_const(score);
    const metrics *m = &own->metrics;
    class_metrics macro = metrics_macro(m), weighted = metrics_weighted(m);
    char key[32];
    json_key(w, "images");
    json_put_int(w, m->count);
    put(w, "loss", metrics_loss(m));
    put(w, "accuracy_top1", metrics_accuracy(m));
    snprintf(key, sizeof key, "accuracy_top%" PRId64, m->top_k);
    if (m->top_k != 1) put(w, key, metrics_accuracy_top_k(m));
    json_key(w, "macro");
    put_class(w, &macro, NULL);
    json_key(w, "weighted");
    put_class(w, &weighted, NULL);
    json_key(w, "classes");
    json_begin_array(w);
    for (int64_t c = 0; c < m->classes; c++) {
        class_metrics one = metrics_class(m, c);
        put_class(w, &one, own->setting->class_name[c]);
    }
    json_end_array(w);
    if (m->confusion) {
        json_key(w, "confusion");
        json_begin_array(w);
        for (int64_t t = 0; t < m->classes; t++) {
            json_begin_array(w);
            for (int64_t p = 0; p < m->classes; p++) json_put_int(w, m->confusion[t * m->classes + p]);
            json_end_array(w);
        }
        json_end_array(w);
    }
}
