/* classify.h: the functions of classification's row, by file. Private to core/task/classify. */
#ifndef GRAFT_TASK_CLASSIFY_CLASSIFY_H
#define GRAFT_TASK_CLASSIFY_CLASSIFY_H

#include "core/task/classify/metrics.h"
#include "core/task/task.h"

/* A wrong prediction, for the report. */
typedef struct mistake {
    int64_t sample_index;
    int32_t label, predicted;
    float probability; /* of the predicted class, softmax */
    double loss;
} mistake;

typedef struct class_score {
    const task_setting *setting;
    metrics metrics;
    arena memory;
    int32_t *label;      /* [label_capacity], of the batch being added */
    int64_t label_capacity;
    mistake *worst;      /* [worst_count], greatest loss first */
    int64_t worst_count, worst_capacity;
} class_score;

/* A score is a class_score here. */
static inline class_score *class_score_of(task_score *s) { return (class_score *)s; }
static inline const class_score *class_score_of_const(const task_score *s) { return (const class_score *)s; }

/* labels.c */
status classify_check_data(const task_setting *t, logger *log);
status classify_labels(label_source *l, const task_setting *t);
/* loss.c */
status classify_add_loss(graph *g, const task_setting *t, double grad_scale, edge_id loss_scale, loss_terms *terms);
/* head.c */
status classify_fresh_head(graph *g, int64_t classes, uint64_t seed);
bool classify_is_head(const graph *g, int32_t output, const char *name);
status classify_order_head(graph *g, const int64_t *place);
/* fit.c */
status classify_fit_head(model *m, const task_setting *t, const head_images *images, device *dev, bool *fitted);
/* outputs.c */
status classify_check(const graph *g, int64_t class_count, const char *what);
status classify_predict(
    const task_setting *t, const task_output *output, int64_t i, const image_frame *frame, arena *a, prediction *p);
/* score.c */
int32_t classify_figures(const task_setting *t, figure f[FIGURE_MAX]);
status classify_score_create(task_score **s, const task_setting *t, int64_t worst);
void classify_score_destroy(task_score *s);
void classify_score_reset(task_score *s);
status classify_score_add(task_score *s, const batch *b, const task_output *output);
status classify_score_merge(task_score *s, comm *c);
void classify_score_values(const task_score *s, double value[FIGURE_MAX]);
/* text.c */
status classify_score_print(const task_score *s, FILE *stream, int64_t max_rows);
void classify_score_write(const task_score *s, json_writer *w);
/* page.c */
void classify_score_page(const task_score *s, page *p);

#endif
