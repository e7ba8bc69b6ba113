#include <inttypes.h>
#include <math.h>

#include "core/data/augment.h"
#include "core/ops/op.h"
#include "core/task/detect/detect.h"

status detect_check(const graph *g, int64_t class_count, const char *what)
{
    node_id head = detect_head(g, 0);
    if (head == NODE_NONE) return FAIL(E_MODEL, "%s: the network does not end in a detector's head", what);
    const edge *e = &g->edges[g->outputs[0]];
    if (e->type != DTYPE_F32 || e->shape.rank != 3 || e->shape.dim[2] != DETECTION_SIZE)
        return FAIL(E_MODEL, "%s: the network must give f32 detections [n, most, %d]", what, DETECTION_SIZE);
    const int64_t *classes = detect_attr_int64(&g->nodes[head], "classes");
    if (classes && class_count > 0 && *classes != class_count)
        return FAIL(E_MODEL, "%s: the head finds %" PRId64 " classes, there are %" PRId64 " names", what, *classes,
            class_count);
    return OK;
}

/* Scores below infer.threshold need no suppression. */
status detect_set_limits(graph *g, const spec_infer *limits)
{
    node_id head = detect_head(g, 0);
    if (head == NODE_NONE) return OK;
    float *threshold = detect_attr_float(&g->nodes[head], "threshold"),
          *iou = detect_attr_float(&g->nodes[head], "iou");
    if (threshold) *threshold = fmaxf(*threshold, (float)limits->threshold);
    if (iou && limits->nms_iou > 0) *iou = (float)limits->nms_iou;
    return OK;
}

/* The smallest upright box around the four corners, moved and clipped to the image; false
 * where nothing of it is inside. */
static bool place_box(float to[4], const float box[4], const float from_input[9], const image_frame *frame)
{
    const float limit[2] = {(float)frame->width, (float)frame->height};
    float low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < 4; i++) {
        float p[2];
        matrix_apply(from_input, box[i & 1 ? 2 : 0], box[i & 2 ? 3 : 1], &p[0], &p[1]);
        for (int k = 0; k < 2; k++) {
            low[k] = fminf(low[k], p[k]);
            high[k] = fmaxf(high[k], p[k]);
        }
    }
    for (int k = 0; k < 2; k++) {
        to[k] = fminf(fmaxf(low[k], 0), limit[k]);
        to[2 + k] = fminf(fmaxf(high[k], 0), limit[k]);
    }
    return to[2] > to[0] && to[3] > to[1];
}

int64_t detect_objects(
    const float *rows, int64_t most, float threshold, int64_t classes, const image_frame *frame, found_object *object)
{
    float from_input[9];
    int64_t count = 0;
    if (!matrix_invert(from_input, frame->to_input)) return 0;
    for (int64_t i = 0; i < most; i++, rows += DETECTION_SIZE) {
        int32_t c = (int32_t)rows[DETECTION_CLASS];
        found_object f = {.class_index = c, .score = rows[DETECTION_SCORE]};
        if (c < 0 || c >= classes) break;
        if (f.score >= threshold && place_box(f.box, rows, from_input, frame)) object[count++] = f;
    }
    return count;
}

status detect_predict(
    const task_setting *t, const task_output *output, int64_t i, const image_frame *frame, arena *a, prediction *p)
{
    int64_t most = output[0].each / DETECTION_SIZE;
    const float *rows = output[0].value + i * output[0].each;
    found_object *object;
    TRY_ALLOC(object, ARENA_ARRAY(a, found_object, most));
    *p = (prediction){
        object, detect_objects(rows, most, (float)t->spec->infer.threshold, t->class_count, frame, object)};
    return OK;
}
