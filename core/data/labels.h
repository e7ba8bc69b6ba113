/* labels.h: what a batch holds beside its images. A task says which tensors these are and fills them
 * (core/task/task.h); the loader knows no task, only how much memory a row takes and whom to call.
 *
 *     static void write(const label_source *l, const label_view *v, void *const row[LABEL_MAX]) { ... }
 *     label_source l = {.field = {{"targets", DTYPE_F32, {1, {10}}}}, .field_count = 1, .classes = 10, .write = write};
 *     loader_options o = {.labels = &l, ...};
 *
 * A source is immutable and outlives its loaders; its functions are called from many threads at once.
 */
#ifndef GRAFT_DATA_LABELS_H
#define GRAFT_DATA_LABELS_H

#include "core/base/dtype.h"
#include "core/data/dataset.h"
#include "core/tensor/preprocess.h"
#include "core/tensor/shape.h"

enum { LABEL_MAX = 4 };

/* Values of a box's class that are no class, in labels of detection: real rows come first, then rows of BOX_NONE. */
enum { BOX_NONE = -1, BOX_IGNORE = -2 };

typedef struct label_field {
    const char *input; /* the graph's input that it feeds */
    dtype type;
    shape each;        /* of one image */
} label_field;

/* One image, as a label source sees it. */
typedef struct label_view {
    const sample *sample;
    int32_t width, height;   /* of the source image */
    /* [9], row vectors: [x y 1] * to_input moves a pixel position of the source into the network's input */
    const float *to_input;
    const preprocess *input; /* its size */
} label_view;

typedef struct label_source {
    label_field field[LABEL_MAX];
    int32_t field_count;
    int64_t classes;
    int64_t capacity;    /* boxes per image, a constant of the data set; 0: no boxes */
    float least_visible; /* a box that keeps less of its area in the input becomes BOX_IGNORE */
    /* Why a sample cannot be learnt from, as the end of a sentence ("has no class to train on"); NULL: it can. */
    const char *(*refuse)(const struct label_source *l, const sample *s);
    /* Fills one image's rows; row[k]: field k, [field[k].each]. */
    void (*write)(const struct label_source *l, const label_view *v, void *const row[LABEL_MAX]);
    /* Mixes the rows of a batch as its images were mixed (mixup.h); all[k]: field k, [n,
     * field[k].each]. NULL: they cannot be mixed. */
    void (*mix)(const struct label_source *l, void *const all[LABEL_MAX], int64_t n, double lambda);
} label_source;

#endif
