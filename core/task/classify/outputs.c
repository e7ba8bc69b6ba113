#include <inttypes.h>
#include <string.h>

#include "core/task/classify/classify.h"
#include "core/task/probability.h"

status classify_check(const graph *g, int64_t class_count, const char *what)
{
    if (g->output_count < 1) return FAIL(E_MODEL, "%s: the network has no output", what);
    const edge *scores = &g->edges[g->outputs[0]];
    if (scores->type != DTYPE_F32 || scores->shape.rank != 2)
        return FAIL(E_MODEL, "%s: the network must give f32 scores [n, classes]", what);
    if (class_count > 0 && scores->shape.dim[1] != class_count)
        return FAIL(E_MODEL, "%s: %" PRId64 " scores for %" PRId64 " classes", what, scores->shape.dim[1], class_count);
    return OK;
}

/* The next best class behind those that are taken, the first of equals first. */
static int32_t next_best(const float *probability, int64_t classes, const found_object *taken, int64_t count)
{
    int32_t best = -1;
    for (int32_t c = 0; c < classes; c++) {
        bool is_taken = false;
        for (int64_t k = 0; k < count && !is_taken; k++) is_taken = taken[k].class_index == c;
        if (!is_taken && (best < 0 || probability[c] > probability[best])) best = c;
    }
    return best;
}

status classify_predict(
    const task_setting *t, const task_output *output, int64_t i, const image_frame *frame, arena *a, prediction *p)
{
    int64_t classes = t->class_count, most = t->spec->infer.top_k < classes ? t->spec->infer.top_k : classes;
    float *probability;
    found_object *object;
    TRY_ALLOC(probability, ARENA_ARRAY(a, float, classes));
    TRY_ALLOC(object, ARENA_ARRAY(a, found_object, most));
    memcpy(probability, output[0].value + i * classes, (size_t)classes * sizeof *probability);
    scores_to_probabilities(probability, 1, classes, t->sigmoid);
    for (int64_t k = 0; k < most; k++) {
        int32_t c = next_best(probability, classes, object, k);
        object[k] = (found_object){
            .class_index = c, .score = probability[c], .box = {0, 0, (float)frame->width, (float)frame->height}};
    }
    *p = (prediction){object, most};
    return OK;
}
