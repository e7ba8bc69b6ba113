#include "core/train/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/utf8.h"

enum { PLOT_WIDTH = 560, PLOT_HEIGHT = 220, PLOT_LEFT = 56, PLOT_BOTTOM = 24, PLOT_TOP = 10, MATRIX_MAX = 40, THUMB = 96, MAX_MARKED = 60 };

/* ------------------------------------------------------------------------------------------------ text */

/* A page is UTF-8, names of files are what they are. */
static void put_escaped(FILE *f, const char *text)
{
    uint32_t character = 0;
    for (size_t length; *text; text += length) {
        length = utf8_character(text, &character);
        if (*text == '<') fputs("&lt;", f);
        else if (*text == '>') fputs("&gt;", f);
        else if (*text == '&') fputs("&amp;", f);
        else if (*text == '"') fputs("&quot;", f);
        else if (*text != '\n' && (length == 0 || utf8_is_control(character)))
            fprintf(f, "\\x%02x", (unsigned char)*text), length = 1;
        else fwrite(text, 1, length, f);
    }
}

static void put_base64(FILE *f, const uint8_t *data, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < bytes; i += 3) {
        size_t left = bytes - i;
        uint32_t v = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) | (left > 2 ? data[i + 2] : 0);
        fputc(digits[v >> 18], f);
        fputc(digits[v >> 12 & 63], f);
        fputc(left > 1 ? digits[v >> 6 & 63] : '=', f);
        fputc(left > 2 ? digits[v & 63] : '=', f);
    }
}

static void put_percent(FILE *f, double v)
{
    if (isnan(v)) fputs("<td>-</td>", f);
    else fprintf(f, "<td>%.2f</td>", 100 * v);
}

/* ------------------------------------------------------------------------------------------------ curves */

typedef struct curve {
    record_column column;
    const char *colour, *label;
} curve;

typedef struct axes {
    double x_max, y_min, y_max; /* y: multiples of y_step */
    double x_step, y_step;
} axes;

/* 1, 2 or 5 times a power of ten: at most `most` of them make up `range`. */
static double tick_step(double range, int most)
{
    double power = pow(10, floor(log10(range / most))), parts = range / most / power;
    return power * (parts <= 1 ? 1 : parts <= 2 ? 2 : parts <= 5 ? 5 : 10);
}

static bool find_range(const records *r, const curve *c, int count, axes *a)
{
    bool any = false;
    *a = (axes){.y_min = INFINITY, .y_max = -INFINITY};
    for (int64_t i = 0; i < r->count; i++) {
        a->x_max = fmax(a->x_max, r->rows[i].epoch);
        for (int k = 0; k < count; k++) {
            double v = r->rows[i].value[c[k].column];
            if (!isfinite(v)) continue;
            any = true;
            a->y_min = fmin(a->y_min, v);
            a->y_max = fmax(a->y_max, v);
        }
    }
    if (any && a->y_max - a->y_min < 1e-12) {
        a->y_max += 0.5 * fabs(a->y_max) + 1e-6;
        a->y_min -= 0.5 * fabs(a->y_min) + 1e-6;
    }
    if (!any || a->x_max <= 0) return false;
    a->x_step = tick_step(a->x_max, 8);
    a->y_step = tick_step(a->y_max - a->y_min, 5);
    a->y_min = floor(a->y_min / a->y_step) * a->y_step;
    a->y_max = ceil(a->y_max / a->y_step) * a->y_step;
    return true;
}

static double plot_x(const axes *a, double x)
{
    return PLOT_LEFT + x / a->x_max * (PLOT_WIDTH - PLOT_LEFT - 10);
}

static double plot_y(const axes *a, double y)
{
    return PLOT_TOP + (a->y_max - y) / (a->y_max - a->y_min) * (PLOT_HEIGHT - PLOT_TOP - PLOT_BOTTOM);
}

static void put_grid(FILE *f, const axes *a)
{
    int64_t low = llround(a->y_min / a->y_step), high = llround(a->y_max / a->y_step);
    for (int64_t i = low; i <= high; i++) {
        double value = (double)i * a->y_step, y = plot_y(a, value);
        fprintf(f, "<line class=\"g\" x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\"/>", PLOT_LEFT, y, PLOT_WIDTH - 10, y);
        fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n", PLOT_LEFT - 4, y + 4, value);
    }
    for (int64_t i = 0; (double)i * a->x_step <= a->x_max * (1 + 1e-9); i++)
        fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n", plot_x(a, (double)i * a->x_step), PLOT_HEIGHT - 6,
            (double)i * a->x_step);
}

static void put_curve(FILE *f, const records *r, const curve *c, const axes *a)
{
    int64_t points = 0;
    fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"1.6\" points=\"", c->colour);
    for (int64_t i = 0; i < r->count; i++) {
        double v = r->rows[i].value[c->column];
        if (!isfinite(v)) continue;
        fprintf(f, "%.1f,%.1f ", plot_x(a, r->rows[i].epoch), plot_y(a, v));
        points++;
    }
    fputs("\"/>\n", f);
    for (int64_t i = 0; i < r->count && points <= MAX_MARKED; i++) { /* one evaluation is a point, not a line */
        double v = r->rows[i].value[c->column];
        if (!isfinite(v)) continue;
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\" fill=\"%s\"/>\n", plot_x(a, r->rows[i].epoch), plot_y(a, v), c->colour);
    }
}

static void put_plot(FILE *f, const records *r, const char *title, const curve *c, int count)
{
    axes a;
    if (!find_range(r, c, count, &a)) return;
    fprintf(f, "<figure><figcaption>%s", title);
    for (int k = 0; k < count && c[k].label[0]; k++) fprintf(f, " <b style=\"color:%s\">%s</b>", c[k].colour, c[k].label);
    fprintf(f, "</figcaption><svg width=\"%d\" height=\"%d\" role=\"img\">\n", PLOT_WIDTH, PLOT_HEIGHT);
    put_grid(f, &a);
    for (int k = 0; k < count; k++) put_curve(f, r, &c[k], &a);
    fputs("</svg></figure>\n", f);
}

static void put_plots(FILE *f, const records *r)
{
    static const curve loss[] = {{RECORD_TRAIN_LOSS, "#c33", "train"}, {RECORD_VAL_LOSS, "#06c", "val"}};
    static const curve accuracy[] = {{RECORD_TRAIN_ACCURACY, "#c33", "train"}, {RECORD_VAL_ACCURACY, "#06c", "val top-1"},
        {RECORD_VAL_TOP_K, "#6ad", "val top-k"}};
    static const curve rate[] = {{RECORD_RATE, "#393", ""}};
    static const curve speed[] = {{RECORD_IMAGES_PER_SECOND, "#849", ""}};
    static const curve norm[] = {{RECORD_GRAD_NORM, "#a60", ""}};
    put_plot(f, r, "Loss by epoch:", loss, 2);
    put_plot(f, r, "Accuracy by epoch:", accuracy, 3);
    put_plot(f, r, "Learning rate", rate, 1);
    put_plot(f, r, "Norm of the gradient", norm, 1);
    put_plot(f, r, "Images per second", speed, 1);
}

/* ------------------------------------------------------------------------------------------------ evaluation */

static void put_class_row(FILE *f, const char *name, const class_metrics *c)
{
    fputs("<tr><th>", f);
    put_escaped(f, name);
    fputs("</th>", f);
    put_percent(f, c->precision);
    put_percent(f, c->recall);
    put_percent(f, c->f1);
    fprintf(f, "<td>%lld</td></tr>\n", (long long)c->support);
}

static void put_classes(FILE *f, const metrics *m, const char *const *class_name)
{
    fputs("<h2>Classes</h2><table><tr><th>class</th><th>precision %</th><th>recall %</th><th>F1 %</th><th>images</th></tr>\n", f);
    for (int64_t c = 0; c < m->classes; c++) {
        class_metrics one = metrics_class(m, c);
        put_class_row(f, class_name[c], &one);
    }
    class_metrics macro = metrics_macro(m), weighted = metrics_weighted(m);
    put_class_row(f, "macro mean", &macro);
    put_class_row(f, "weighted mean", &weighted);
    fputs("</table>\n", f);
}

static void put_matrix(FILE *f, const metrics *m, const char *const *class_name)
{
    if (!m->confusion || m->classes > MATRIX_MAX) return;
    fputs("<h2>Confusion matrix</h2><p>Rows: true class. Columns: prediction.</p><table class=\"m\"><tr><th></th>", f);
    for (int64_t c = 0; c < m->classes; c++) {
        fputs("<th>", f);
        put_escaped(f, class_name[c]);
        fputs("</th>", f);
    }
    fputs("</tr>\n", f);
    for (int64_t t = 0; t < m->classes; t++) {
        fputs("<tr><th>", f);
        put_escaped(f, class_name[t]);
        fputs("</th>", f);
        for (int64_t p = 0; p < m->classes; p++) {
            int64_t n = m->confusion[t * m->classes + p];
            double part = m->support[t] > 0 ? (double)n / (double)m->support[t] : 0;
            fprintf(f, "<td style=\"background:rgba(%s,%.3f)\">%lld</td>", t == p ? "40,140,60" : "200,40,40", part, (long long)n);
        }
        fputs("</tr>\n", f);
    }
    fputs("</table>\n", f);
}

/* A sample that cannot be decoded gets no picture: the report never fails for it. */
static void put_thumbnail(FILE *f, const report_data *r, int64_t index)
{
    image whole = {0}, small = {0};
    uint8_t *png = NULL;
    size_t bytes = 0;
    const decode_options o = {.channels = (int32_t)r->spec->model.channels, .max_pixels = r->spec->data.max_pixels,
        .exif = r->spec->data.exif, .min_width = THUMB, .min_height = THUMB};
    if (index >= 0 && index < r->val_data->count && dataset_decode(r->val_data, index, &o, &whole) == OK) {
        int32_t longer = whole.width > whole.height ? whole.width : whole.height;
        int32_t w = (int32_t)((int64_t)whole.width * THUMB / longer), h = (int32_t)((int64_t)whole.height * THUMB / longer);
        if (image_resize(&small, &whole, NULL, w > 0 ? w : 1, h > 0 ? h : 1, INTERPOLATION_BILINEAR) == OK &&
            image_encode_png(&small, &png, &bytes) == OK) {
            fputs("<img alt=\"\" src=\"data:image/png;base64,", f);
            put_base64(f, png, bytes);
            fputs("\"/>", f);
        }
    }
    free(png);
    image_free(&small);
    image_free(&whole);
}

static void put_mistakes(FILE *f, const report_data *r)
{
    const evaluation *e = r->evaluation;
    if (e->worst_count == 0) return;
    fputs("<h2>Worst mistakes</h2><div class=\"w\">\n", f);
    for (int64_t i = 0; i < e->worst_count; i++) {
        const mistake *m = &e->worst[i];
        fputs("<figure>", f);
        put_thumbnail(f, r, m->sample_index);
        fputs("<figcaption>", f);
        put_escaped(f, r->class_name[m->label]);
        fputs(" taken for <b>", f);
        put_escaped(f, r->class_name[m->predicted]);
        fprintf(f, "</b> (%.1f %%)<br/><small>", 100 * (double)m->probability);
        if (m->sample_index >= 0 && m->sample_index < r->val_data->count) put_escaped(f, r->val_data->samples[m->sample_index].name);
        fputs("</small></figcaption></figure>\n", f);
    }
    fputs("</div>\n", f);
}

/* ------------------------------------------------------------------------------------------------ page */

static void put_head(FILE *f, const report_data *r)
{
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>Graft run</title><style>\n"
          "body{font:14px/1.4 system-ui,sans-serif;margin:2em;max-width:1240px;color:#222;background:#fff}\n"
          "figure{display:inline-block;margin:0 1em 1em 0;vertical-align:top}figcaption{margin-bottom:4px}\n"
          "svg{background:#fafafa}svg text{font-size:10px;fill:#666}.g{stroke:#e3e3e3}\n"
          "table{border-collapse:collapse}td,th{padding:2px 8px;text-align:right;font-weight:normal}th:first-child{text-align:left}\n"
          ".m td{min-width:2.5em}.w figure{width:160px}.w img{image-rendering:auto}small{color:#777;overflow-wrap:anywhere}\n"
          "pre{background:#f6f6f6;padding:1em;overflow:auto}</style></head><body>\n<h1>", f);
    put_escaped(f, r->spec->model.arch);
    fputs(" on ", f);
    put_escaped(f, r->spec->data.root[0] ? r->spec->data.root : r->spec->data.train);
    const train_progress *p = r->progress;
    char spent[32];
    format_duration(p->seconds, spent);
    fprintf(f, "</h1>\n<p>Step %lld of %lld, %s, %lld parameters, batch %lld, seed %lld", (long long)p->step, (long long)r->total_steps,
        spent, (long long)r->parameters, (long long)p->batch_size, (long long)p->seed);
    if (p->best_step >= 0)
        fprintf(f, "; best top-1 %.2f %% at step %lld", 100 * p->best_accuracy, (long long)p->best_step);
    if (p->bad_total > 0) fprintf(f, "; <b>%lld updates refused (NaN or Inf)</b>", (long long)p->bad_total);
    fputs(".</p>\n", f);
}

static void put_page(FILE *f, const report_data *r)
{
    put_head(f, r);
    put_plots(f, r->records);
    if (r->evaluation) {
        const metrics *m = &r->evaluation->metrics;
        fprintf(f, "<h2>Last evaluation</h2><p>%lld images: loss %.4f, top-1 %.2f %%, top-%lld %.2f %%.</p>\n", (long long)m->count,
            metrics_loss(m), 100 * metrics_accuracy(m), (long long)m->top_k, 100 * metrics_accuracy_top_k(m));
        put_matrix(f, m, r->class_name);
        put_classes(f, m, r->class_name);
        put_mistakes(f, r);
    }
    fputs("<h2>Spec</h2><pre>", f);
    put_escaped(f, r->spec_text ? r->spec_text : "");
    fputs("</pre></body></html>\n", f);
}

status report_write(const char *path, const report_data *r)
{
    file_writer w;
    TRY(file_writer_open(&w, path));
    put_page(w.stream, r);
    status result = file_writer_commit(&w);
    file_writer_abort(&w);
    return result;
}
