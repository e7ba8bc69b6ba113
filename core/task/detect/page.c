#include "core/task/detect/detect.h"

#include <inttypes.h>

static void put_classes(page *p, const detect_score *s, const class_average *a)
{
    fputs("<h2>Classes</h2><table><tr><th>class</th><th>AP %</th><th>AP@[.5:.95] %</th><th>precision %</th>"
          "<th>recall %</th><th>objects</th><th>detections</th></tr>\n",
        p->stream);
    for (int64_t k = 0; k < s->setting->class_count; k++) {
        fputs("<tr><th>", p->stream);
        page_text(p, s->setting->class_name[k]);
        fputs("</th>", p->stream);
        page_percent(p, a[k].average_precision);
        page_percent(p, detect_coco_precision(&a[k]));
        page_percent(p, a[k].precision);
        page_percent(p, a[k].recall);
        fprintf(p->stream, "<td>%" PRId64 "</td><td>%" PRId64 "</td></tr>\n", a[k].objects, a[k].detections);
    }
    fprintf(p->stream, "</table><p>Precision and recall are those of scores of at least %g.</p>\n",
        s->setting->spec->infer.threshold);
}

static void put_poor(page *p, const detect_score *s)
{
    if (s->poor_count == 0) return;
    fputs("<h2>Images with most mistakes</h2><p>White: what is there. Coloured: what was found.</p><div class=\"w\">\n",
        p->stream);
    for (int64_t i = 0; i < s->poor_count; i++) {
        const poor_image *q = &s->poor[i];
        fputs("<figure>", p->stream);
        page_objects(p, s->setting, q->sample_index, q->object, q->object_count);
        fprintf(p->stream, "<figcaption>%" PRId64 " mistake%s<br/><small>", q->mistakes, q->mistakes == 1 ? "" : "s");
        page_text(p, s->setting->data->samples[q->sample_index].name);
        fputs("</small></figcaption></figure>\n", p->stream);
    }
    fputs("</div>\n", p->stream);
}

void detect_score_page(const task_score *score, page *p)
{
    const detect_score *s = detect_score_of_const(score);
    const class_average *a = detect_averages(s);
    double coco[COCO_FIGURES];
    detect_coco_figures(s, a, coco);
    fprintf(p->stream, "<p>%" PRId64 " images: mAP %.2f %% at IoU %g.</p>\n", s->images,
        100 * detect_mean_average(s, a), s->setting->spec->evaluate.iou);
    fputs("<table><tr>", p->stream);
    for (int i = 0; i < COCO_FIGURES; i++) fprintf(p->stream, "<th>%s %%</th>", coco_figure_name[i]);
    fputs("</tr><tr>", p->stream);
    for (int i = 0; i < COCO_FIGURES; i++) page_percent(p, coco[i]);
    fputs("</tr></table><p>COCO's figures: AP over IoU 0.5 to 0.95, at 0.5 and 0.75, of small, medium and large "
          "objects; recall of at most 1, 10 and 100 detections, and of small, medium and large objects.</p>\n",
        p->stream);
    put_classes(p, s, a);
    put_poor(p, s);
}
