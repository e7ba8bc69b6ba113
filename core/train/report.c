#include "core/train/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"

enum { PLOT_WIDTH = 560, PLOT_HEIGHT = 220, PLOT_LEFT = 56, PLOT_BOTTOM = 24, PLOT_TOP = 10, MAX_MARKED = 60 };

/* ------------------------------------------------------------------------------------------------ curves */

typedef struct curve {
    int32_t column;
    const char *colour;
    char label[32];
} curve;

enum { CURVES_MAX = TERM_MAX + FIGURE_MAX };

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
        fprintf(f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>\n", plot_x(a, (double)i * a->x_step),
            PLOT_HEIGHT - 6, (double)i * a->x_step);
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
        fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.2\" fill=\"%s\"/>\n", plot_x(a, r->rows[i].epoch),
            plot_y(a, v), c->colour);
    }
}

static void put_plot(FILE *f, const records *r, const char *title, const curve *c, int count)
{
    axes a;
    if (!find_range(r, c, count, &a)) return;
    fprintf(f, "<figure><figcaption>%s", title);
    for (int k = 0; k < count && c[k].label[0]; k++)
        fprintf(f, " <b style=\"color:%s\">%s</b>", c[k].colour, c[k].label);
    fprintf(f, "</figcaption><svg width=\"%d\" height=\"%d\" role=\"img\">\n", PLOT_WIDTH, PLOT_HEIGHT);
    put_grid(f, &a);
    for (int k = 0; k < count; k++) put_curve(f, r, &c[k], &a);
    fputs("</svg></figure>\n", f);
}

static void add_curve(curve *c, int32_t *count, int32_t column, const char *what, const char *label, bool alone)
{
    static const char *const colours[] = {"#c33", "#06c", "#6ad", "#e90", "#393", "#849", "#a60", "#888"};
    if (column < 0) return;
    c[*count] = (curve){.column = column, .colour = colours[*count % 8]};
    snprintf(c[*count].label, sizeof c->label, alone ? "%s" : "%s %s", what, label);
    ++*count;
}

/* Terms and figures that are parts of all images in one plot, others in another. */
static void put_learning(FILE *f, const report_data *d, bool percent)
{
    const record_columns *columns = &d->records->columns;
    curve c[CURVES_MAX];
    int32_t count = 0, terms = 0, figures = 0;
    for (int32_t i = 0; i < d->terms->count; i++)
        terms += d->terms->item[i].counted == percent && columns->term[i] >= 0;
    for (int32_t i = 0; i < d->figure_count; i++) figures += d->figure[i].percent == percent;
    for (int32_t i = 0; i < d->terms->count; i++)
        if (d->terms->item[i].counted == percent)
            add_curve(c, &count, columns->term[i], "train", d->terms->item[i].tag, terms == 1);
    for (int32_t i = 0; i < d->figure_count; i++)
        if (d->figure[i].percent == percent)
            add_curve(c, &count, columns->figure[i], "val", d->figure[i].label, figures == 1);
    if (count > 0) put_plot(f, d->records, percent ? "Accuracy by epoch:" : "Loss by epoch:", c, count);
}

static void put_plots(FILE *f, const report_data *d)
{
    const record_columns *columns = &d->records->columns;
    const curve rate = {columns->rate, "#393", ""}, speed = {columns->images_per_second, "#849", ""},
                norm = {columns->grad_norm, "#a60", ""};
    put_learning(f, d, false);
    put_learning(f, d, true);
    put_plot(f, d->records, "Learning rate", &rate, 1);
    put_plot(f, d->records, "Norm of the gradient", &norm, 1);
    put_plot(f, d->records, "Images per second", &speed, 1);
}

/* ------------------------------------------------------------------------------------------------ page */

static void put_head(page *out, const report_data *r)
{
    FILE *f = out->stream;
    fputs("<!DOCTYPE html>\n"
          "<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>Graft run</title><style>\n"
          "body{font:14px/1.4 system-ui,sans-serif;margin:2em;max-width:1240px;color:#222;background:#fff}\n"
          "figure{display:inline-block;margin:0 1em 1em 0;vertical-align:top}"
          "figcaption{margin-bottom:4px}\n"
          "svg{background:#fafafa}"
          "svg text{font-size:10px;fill:#666}"
          ".g{stroke:#e3e3e3}\n"
          "table{border-collapse:collapse}"
          "td,th{padding:2px 8px;text-align:right;font-weight:normal}th:first-child{text-align:left}\n"
          ".m td{min-width:2.5em}"
          ".w figure{max-width:320px;min-width:160px}"
          ".w img{image-rendering:auto}"
          "small{color:#777;overflow-wrap:anywhere}\n"
          "pre{background:#f6f6f6;padding:1em;overflow:auto}</style></head><body>\n"
          "<h1>",
        f);
    page_text(out, r->spec->model.arch);
    fputs(" on ", f);
    page_text(out, r->spec->data.root[0] ? r->spec->data.root : r->spec->data.train);
    const train_progress *p = r->progress;
    char spent[32], best[24];
    format_duration(p->seconds, spent);
    fprintf(f,
        "</h1>\n<p>Step %" PRId64 " of %" PRId64 ", %s, %" PRId64 " parameters, batch %" PRId64 ", seed %" PRId64,
        p->step, r->total_steps, spent, r->parameters, p->batch_size, p->seed);
    if (p->best_step >= 0)
        fprintf(f, "; best %s %s at step %" PRId64, r->figure[0].label,
            figure_text(&r->figure[0], p->best_criterion, best), p->best_step);
    if (p->bad_total > 0) fprintf(f, "; <b>%" PRId64 " updates refused (NaN or Inf)</b>", p->bad_total);
    if (p->replaced > 0)
        fprintf(f,
            "; <b>%" PRId64
            " images could not be read although they could at the start, and others took their place</b>",
            p->replaced);
    fputs(".</p>\n", f);
}

static void put_page(page *out, const report_data *r)
{
    put_head(out, r);
    put_plots(out->stream, r);
    if (r->evaluation) {
        fputs("<h2>Last evaluation</h2>", out->stream);
        r->evaluation->setting.task->score_page(r->evaluation->score, out);
    }
    fputs("<h2>Spec</h2><pre>", out->stream);
    page_text(out, r->spec_text ? r->spec_text : "");
    fputs("</pre></body></html>\n", out->stream);
}

status report_write(const char *path, const report_data *r)
{
    file_writer w;
    TRY(file_writer_open(&w, path));
    page p = {.stream = w.stream, .spec = r->spec};
    put_page(&p, r);
    status result = file_writer_commit(&w);
    file_writer_abort(&w);
    return result;
}
