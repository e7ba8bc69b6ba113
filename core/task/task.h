/* task.h: what a network is for, as a row of functions. Training, evaluation, pruning and the commands ask a
 * task and never which one it is.
 *
 * A task knows which labels a batch holds (labels.h), what is minimised, how outputs are judged, and how a judgement is
 * printed. Its files stand in a folder of its own (core/task/classify), with the same names in each.
 *
 *     task_setting t = {
 *         .task = &task_classification, .spec = &spec, .class_name = names, .class_count = 10, .preprocess = &p};
 *     label_source labels;
 *     TRY(t.task->labels(&labels, &t));
 *     task_score *s;
 *     TRY(t.task->score_create(&s, &t, 0));
 *     TRY(t.task->score_add(s, batch, output));
 *     double value[FIGURE_MAX];
 *     t.task->score_values(s, value);
 *     t.task->score_destroy(s);
 */
#ifndef GRAFT_TASK_TASK_H
#define GRAFT_TASK_TASK_H

#include <stdio.h>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/config/spec.h"
#include "core/data/labels.h"
#include "core/data/loader.h"
#include "core/device/device.h"
#include "core/dist/comm.h"
#include "core/graph/model.h"
#include "core/ops/terms.h"
#include "core/task/page.h"

/* What every function may look at; outlives what is made from it. */
typedef struct task_setting {
    const struct task *task;
    const spec *spec;
    const char *const *class_name; /* [class_count] */
    int64_t class_count;
    const preprocess *preprocess;
    const dataset *data;           /* being learnt or judged; NULL: none */
    bool sigmoid;                  /* scores become probabilities each by itself, not by softmax */
} task_setting;

/* A figure of merit. Figure 0 is the criterion, what the best model is chosen by: greater is better. */
enum { FIGURE_MAX = 16 };
typedef struct figure {
    char tag[32];   /* in CSV and TensorBoard: "val/accuracy_top1" */
    char label[24]; /* in lines and tables: "top-1"                */
    bool percent;   /* a part of 1, shown in per cent              */
} figure;

/* One thing in one image. */
typedef struct found_object {
    int32_t class_index;
    float score;
    float box[4];                     /* x0 y0 x1 y1, pixels of the image as decoded; the whole image without boxes */
    const uint8_t *mask;              /* [mask_height, mask_width] of the box, or NULL */
    int32_t mask_width, mask_height;
} found_object;
typedef struct prediction {           /* best first */
    const found_object *object;              /* [count] */
    int64_t count;
} prediction;

/* An image as it went into the network, for turning results back into its pixels. */
typedef struct image_frame {
    int32_t width, height;  /* as decoded */
    const float *to_input;  /* [9], as label_view.to_input */
} image_frame;

/* One of the network's outputs on the host. */
typedef struct task_output {
    const float *value; /* [images, each] */
    int64_t each;
} task_output;

typedef struct task_score task_score; /* the sums of one evaluation; a task's own */

typedef int task_stop_fn(void *context); /* the signal that asks to stop, or 0 */

/* The training images, for a task that fits a fresh last layer before the first update. */
typedef struct head_images {
    const dataset *data;    /* the training part             */
    const char *const *bad; /* lint_report.reason, or NULL   */
    int64_t batch_size;
    task_stop_fn *stop;     /* asked after every batch; may be NULL */
    void *stop_context;
    logger *log;
} head_images;

typedef struct task {
    const char *name;    /* in model and engine files */
    bool has_boxes, has_masks; /* of what is found: columns and drawing */
    bool running_values; /* score_values costs nothing in the middle of a run: progress lines show the criterion */
    int32_t watched;     /* the figure that early stopping watches, smaller is better; 0: minus the criterion */

    /* labels.c: E_DATA when t->data, a training part, holds nothing to learn from; oddities are warned of. */
    status (*check_data)(const task_setting *t, logger *log);
    /* Which labels a batch holds. */
    status (*labels)(label_source *l, const task_setting *t);

    /* loss.c: appends the loss and what else is reported to a training graph, from the labels' inputs, which
     * it makes. grad_scale multiplies gradients, as does the value of edge loss_scale (EDGE_NONE: none). The
     * terms become outputs by the caller. */
    status (*add_loss)(graph *g, const task_setting *t, double grad_scale, edge_id loss_scale, loss_terms *terms);

    /* head.c: the layer whose rows are the classes. */
    /* other rows, freshly initialised; E_MODEL when there is no such layer */
    status (*fresh_head)(graph *g, int64_t classes, uint64_t seed);
    /* whether a parameter belongs to that layer of an output */
    bool (*is_head)(const graph *g, int32_t output, const char *name);
    /* Class i of the network becomes the one that was class place[i]. */
    status (*order_head)(graph *g, const int64_t *place);
    /* fit.c: fits it to features of the training images. *fitted false: it keeps its values, and
     * the log says why. NULL: never. */
    status (*fit_head)(model *m, const task_setting *t, const head_images *images, device *dev, bool *fitted);

    /* outputs.c: E_MODEL, with `what`, unless the outputs of a network in evaluation mode are this task's. */
    status (*check)(const graph *g, int64_t class_count, const char *what);
    /* Gives the nodes that decide what is found the limits of the spec, where these are stricter than the network's own
     * or replace them. Before a plan is made. NULL: there are none. */
    status (*set_limits)(graph *g, const spec_infer *limits);
    /* What was found in image i of the outputs, in memory of `a`: of classes the most probable infer.top_k. */
    status (*predict)(
        const task_setting *t, const task_output *output, int64_t i, const image_frame *frame, arena *a, prediction *p);

    /* score.c: judging. */
    int32_t (*figures)(const task_setting *t, figure f[FIGURE_MAX]); /* how many */
    /* worst: how many of the worst mistakes are kept */
    status (*score_create)(task_score **s, const task_setting *t, int64_t worst);
    void (*score_destroy)(task_score *s);                                         /* accepts NULL */
    void (*score_reset)(task_score *s);
    /* The batch's real images; output[k]: output k of the network. Ground truth is t->data's. */
    status (*score_add)(task_score *s, const batch *b, const task_output *output);
    /* over the ranks, when all have added theirs */
    status (*score_merge)(task_score *s, comm *c);
    void (*score_values)(const task_score *s, double value[FIGURE_MAX]);          /* NaN: nothing was there to judge */

    /* text.c: tables for a terminal, rows of classes folded above max_rows; members of an open JSON object. */
    status (*score_print)(const task_score *s, FILE *stream, int64_t max_rows);
    void (*score_write)(const task_score *s, json_writer *w);

    /* page.c: a section of report.html. */
    void (*score_page)(const task_score *s, page *p);
} task;

extern const task task_classification, task_detection;

const task *task_find(const char *name); /* NULL or "": classification; NULL: unknown */
/* What a model or engine file is for, by the name in it. E_MODEL, with `what`, when this build knows no such task. */
status task_of_file(const task **t, const char *name, const char *what);

/* The name of a task as files have it: "" for classification, which goes without saying. */
const char *task_file_name(const task *t);

/* A value as lines show it: "91.02 %", "0.2795", or "-" for NaN. */
const char *figure_text(const figure *f, double value, char text[24]);
/* A part of 1 in per cent, as tables show it: "91.02", or "-" for NaN. */
const char *percent_text(double part, char text[16]);
/* The numbers of the values from the smallest to the greatest, equal ones in their order, NaN last: what tables of many
 * classes list. order: [count]. */
void order_ascending(int64_t *order, const double *value, int64_t count);

#endif
