#include <inttypes.h>

#include "core/base/utf8.h"
#include "core/task/detect/detect.h"

static void print_row(FILE *stream, const char *name, const class_average *a)
{
    char ap[16], coco[16], precision[16], recall[16];
    fputs("  ", stream);
    utf8_print_column(stream, name, 24);
    fprintf(stream, " %9s %9s %9s %9s %9" PRId64 " %11" PRId64 "\n", percent_text(a->average_precision, ap),
        percent_text(detect_coco_precision(a), coco), percent_text(a->precision, precision),
        percent_text(a->recall, recall), a->objects, a->detections);
}

static status print_weakest(FILE *stream, const detect_score *s, const class_average *a, int64_t rows)
{
    arena memory = {0};
    int64_t classes = s->setting->class_count, *order = ARENA_ARRAY(&memory, int64_t, classes);
    double *value = ARENA_ARRAY(&memory, double, classes);
    if (!value || !order) {
        arena_free(&memory);
        return FAIL_MEMORY(classes * 16);
    }
    for (int64_t k = 0; k < classes; k++) value[k] = a[k].average_precision;
    order_ascending(order, value, classes);
    for (int64_t i = 0; i < rows; i++) print_row(stream, s->setting->class_name[order[i]], &a[order[i]]);
    fprintf(stream, "  (the %" PRId64 " weakest of %" PRId64 " classes by average precision)\n", rows, classes);
    arena_free(&memory);
    return OK;
}

status detect_score_print(const task_score *score, FILE *stream, int64_t max_rows)
{
    const detect_score *s = detect_score_of_const(score);
    const spec *o = s->setting->spec;
    const class_average *a = detect_averages(s);
    double coco[COCO_FIGURES];
    char text[16];
    detect_coco_figures(s, a, coco);
    fprintf(stream, "%" PRId64 " images  mAP %s %% (IoU %g, %s)\n", s->images,
        percent_text(detect_mean_average(s, a), text), o->evaluate.iou,
        o->evaluate.average_precision == AVERAGE_PRECISION_SAMPLE ? "11 points" : "area");
    fputs("COCO ", stream);
    for (int i = 0; i < COCO_FIGURES; i++)
        fprintf(stream, " %s %s%s", coco_figure_name[i], percent_text(coco[i], text), i == 5 ? "\n     " : "");
    fputs("\n\n", stream);
    fprintf(stream, "  %-24s %9s %9s %9s %9s %9s %11s\n", "class", "AP", "AP COCO", "precision", "recall", "objects",
        "detections");
    if (s->setting->class_count > max_rows) TRY(print_weakest(stream, s, a, max_rows));
    for (int64_t k = 0; k < s->setting->class_count && s->setting->class_count <= max_rows; k++)
        print_row(stream, s->setting->class_name[k], &a[k]);
    fprintf(stream, "  (in per cent; precision and recall: of scores of at least infer.threshold = %g)\n",
        o->infer.threshold);
    return OK;
}

static void put(json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_number(w, value);
}

void detect_score_write(const task_score *score, json_writer *w)
{
    const detect_score *s = detect_score_of_const(score);
    const class_average *a = detect_averages(s);
    double coco[COCO_FIGURES];
    detect_coco_figures(s, a, coco);
    json_key(w, "images"), json_put_int(w, s->images);
    put(w, "map", detect_mean_average(s, a));
    json_key(w, "coco");
    json_begin_object(w);
    for (int i = 0; i < COCO_FIGURES; i++) put(w, coco_figure_name[i], coco[i]);
    json_end_object(w);
    put(w, "iou", s->setting->spec->evaluate.iou);
    put(w, "threshold", s->setting->spec->infer.threshold);
    json_key(w, "classes");
    json_begin_array(w);
    for (int64_t k = 0; k < s->setting->class_count; k++) {
        json_begin_object(w);
        json_key(w, "name"), json_put_string(w, s->setting->class_name[k]);
        put(w, "average_precision", a[k].average_precision);
        put(w, "coco_average_precision", detect_coco_precision(&a[k]));
        put(w, "precision", a[k].precision);
        put(w, "recall", a[k].recall);
        json_key(w, "objects"), json_put_int(w, a[k].objects);
        json_key(w, "detections"), json_put_int(w, a[k].detections);
        json_end_object(w);
    }
    json_end_array(w);
}
