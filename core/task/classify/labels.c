#include <string.h>

#include "core/data/mixup.h"
#include "core/task/classify/classify.h"

/* One field: "targets" f32 [classes], 1 at the image's class; mixed images have two
 * classes, and rows still sum to 1. */

static const char *refuse(const label_source *l, const sample *s)
{
    (void)l;
    return s->class_index >= 0 ? NULL : "has no class to train on";
}

static void write(const label_source *l, const label_view *v, void *const row[LABEL_MAX])
{
    float *targets = row[0];
    memset(targets, 0, (size_t)l->classes * sizeof *targets);
    if (v->sample->class_index >= 0) targets[v->sample->class_index] = 1;
}

static void mix(const label_source *l, void *const all[LABEL_MAX], int64_t n, double lambda)
{
    mixup_rows(all[0], n, l->classes, lambda);
}

static void warn_of_empty_classes(const dataset *ds, logger *log)
{
    for (int64_t k = 0; k < ds->class_count; k++) {
        bool any = false;
        for (int64_t i = 0; i < ds->count && !any; i++) any = ds->samples[i].class_index == k;
        if (!any)
            log_warn(log, "%s: class \"%s\" has no training images: the network cannot learn it", ds->path,
                ds->class_name[k]);
    }
}

status classify_check_data(const task_setting *t, logger *log)
{
    const dataset *ds = t->data;
    TRY(dataset_refuse_boxes(ds));
    if (ds->class_count < 2)
        return FAIL(E_DATA, "%s: \"%s\" is its only class; a classifier needs at least two", ds->path,
            ds->class_count ? ds->class_name[0] : "");
    warn_of_empty_classes(ds, log);
    return OK;
}

status classify_labels(label_source *l, const task_setting *t)
{
    *l = (label_source){.field = {{"targets", DTYPE_F32, shape_1(t->class_count)}},
        .field_count = 1,
        .classes = t->class_count,
        .refuse = refuse,
        .write = write,
        .mix = mix};
    return OK;
}
