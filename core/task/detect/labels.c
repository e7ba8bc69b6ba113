#include <inttypes.h>
#include <string.h>

#include "core/data/boxes.h"
#include "core/task/detect/detect.h"

/* Two fields: "boxes" f32 [capacity, 4], x0 y0 x1 y1 in pixels of the network's input, and "box_class" i32 [capacity]:
 * a class, BOX_IGNORE, or BOX_NONE from the end on. */
enum { BOXES, BOX_CLASS };

/* An image without objects teaches the background. */
static const char *refuse(const label_source *l, const sample *s)
{
    (void)l, (void)s;
    return NULL;
}

static void write(const label_source *l, const label_view *v, void *const row[LABEL_MAX])
{
    float (*box)[4] = row[BOXES];
    int32_t *box_class = row[BOX_CLASS];
    int64_t count = boxes_move(box, box_class, l->capacity, v, l->least_visible);
    for (int64_t i = count; i < l->capacity; i++) {
        memset(box[i], 0, sizeof box[i]);
        box_class[i] = BOX_NONE;
    }
}

static void warn_of_empty_classes(const dataset *ds, logger *log)
{
    for (int64_t k = 0; k < ds->class_count; k++) {
        bool any = false;
        for (int64_t i = 0; i < ds->count && !any; i++)
            for (int64_t b = 0; b < ds->samples[i].box_count && !any; b++)
                any = ds->samples[i].box[b].class_index == k && !ds->samples[i].box[b].ignore;
        if (!any)
            log_warn(log, "%s: class \"%s\" has no boxes to learn from: the network cannot learn it", ds->path,
                ds->class_name[k]);
    }
}

static status refuse_classes_of_images(const dataset *ds)
{
    if (ds->has_boxes) return OK;
    return FAIL(E_DATA,
        "%s: its images have a class each, but no boxes, which a detector needs: label them as KITTI or Pascal VOC "
        "do (docs/DATA.md), or train a classifier (model.head = none)",
        ds->path);
}

status detect_check_data(const task_setting *t, logger *log)
{
    const dataset *ds = t->data;
    int64_t most = 0, cut = 0;
    TRY(refuse_classes_of_images(ds));
    if (ds->class_count < 1) return FAIL(E_DATA, "%s: no label names a class", ds->path);
    for (int64_t i = 0; i < ds->count; i++) {
        most = ds->samples[i].box_count > most ? ds->samples[i].box_count : most;
        cut += ds->samples[i].box_count > t->spec->data.max_boxes;
    }
    if (most == 0) return FAIL(E_DATA, "%s: no image has a box to learn from", ds->path);
    if (cut > 0)
        log_warn(log,
            "%s: %" PRId64 " images have more than data.max_boxes = %" PRId64 " boxes, up to %" PRId64
            ": the rest is not learnt",
            ds->path, cut, t->spec->data.max_boxes, most);
    warn_of_empty_classes(ds, log);
    return OK;
}

status detect_labels(label_source *l, const task_setting *t)
{
    int64_t capacity = 1;
    TRY(refuse_classes_of_images(t->data));
    for (int64_t i = 0; i < t->data->count; i++)
        capacity = t->data->samples[i].box_count > capacity ? t->data->samples[i].box_count : capacity;
    if (capacity > t->spec->data.max_boxes) capacity = t->spec->data.max_boxes;
    *l = (label_source){
        .field = {{"boxes", DTYPE_F32, shape_2(capacity, 4)}, {"box_class", DTYPE_I32, shape_1(capacity)}},
        .field_count = 2,
        .classes = t->class_count,
        .capacity = capacity,
        .least_visible = (float)t->spec->data.least_visible,
        .refuse = refuse,
        .write = write};
    return OK;
}
