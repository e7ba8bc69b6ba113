/* evaluator.h: a validation pass. Who predicts is a callback, so that a model in training, a model file and an engine
 * are judged by the same code, and what a judgement is belongs to the task.
 *
 *     evaluation e;
 *     TRY(evaluation_init(&e, &setting, &graph, worst));
 *     const evaluation_options o = {.run = plan_predict, .context = plan, .what = "val", .total = data.count};
 *     TRY(evaluation_run(&e, loader, &o));
 *     printf("%g\n", e.value[0]);
 *     evaluation_free(&e);
 *
 * The last batch is padded by the loader; only its real samples count. Samples are judged in data-set order whatever
 * the batch size, so the sums have the same bits for every batch size that gives the same outputs.
 */
#ifndef GRAFT_TASK_EVALUATOR_H
#define GRAFT_TASK_EVALUATOR_H

#include "core/graph/plan.h"
#include "core/task/task.h"

/* Runs the network on the batch's images: output[k] is output k, [b->n, ...] f32, on the host. */
typedef status evaluator_run_fn(void *context, const batch *b, float *const *output);

typedef struct evaluation {
    task_setting setting;               /* data: what is judged */
    task_score *score;
    figure figure[FIGURE_MAX];          /* [figure_count] */
    int32_t figure_count;
    int32_t order[FIGURE_MAX];          /* in which figures are shown and logged: the watched one first */
    double value[FIGURE_MAX];           /* of the last run */
    int64_t images;                     /* judged by the last run, by all ranks */
    int64_t replaced;                   /* of these: could not be read, others took their place and are judged twice */
    double seconds;                     /* of the last run */
    double wait_seconds;                /* of it, waiting for data */
    float *output[GRAPH_MAX_OUTPUTS];   /* [rows, each[k]] */
    int64_t each[GRAPH_MAX_OUTPUTS], rows;
    int32_t output_count;
} evaluation;

/* g: the network whose outputs are judged, at any batch size; it may go afterwards. worst: how many
 * of the worst mistakes are kept. */
status evaluation_init(evaluation *e, const task_setting *t, const graph *g, int64_t worst);
void evaluation_free(evaluation *e); /* accepts a zeroed one */

/* Resets e and goes once through `l`, an evaluation loader over setting.data, from its start. stop:
 * returns non-zero to break off with E_INTERRUPTED, or NULL. what: for the progress line, e.g. "val".
 * comm: judged over all ranks; NULL: alone. */
typedef struct evaluation_options {
    evaluator_run_fn *run;
    void *context;
    task_stop_fn *stop;
    void *stop_context;
    const char *what;
    int64_t total; /* samples, for the progress line */
    logger *log;
    comm *comm;
} evaluation_options;
status evaluation_run(evaluation *e, loader *l, const evaluation_options *options);

/* Goes once through e->setting.data, in order; loader options from the spec. o.total is set. E_DATA when a sample
 * cannot be judged or there is none. */
status evaluate_dataset(evaluation *e, int64_t batch_size, evaluation_options o);

/* An evaluator_run_fn; context: a plan of a graph in evaluation mode, whose input "image" has the batch's size. */
status plan_predict(void *plan, const batch *b, float *const *output);

/* Tables as text: the task's, class rows folded above max_rows. */
status evaluation_print(const evaluation *e, FILE *stream, int64_t max_rows);
/* " LABEL VALUE" of all figures, in order. */
void evaluation_print_line(const evaluation *e, char *text, size_t capacity);

/* What early stopping watches: smaller is better; NaN is never better. */
double evaluation_watched(const evaluation *e);

/* One JSON object: the task's members, images_per_second. */
void evaluation_write(const evaluation *e, json_writer *w);

#endif
