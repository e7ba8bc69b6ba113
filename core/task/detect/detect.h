/* detect.h: the functions of detection's row, by file. Private to core/task/detect. */
#ifndef GRAFT_TASK_DETECT_DETECT_H
#define GRAFT_TASK_DETECT_DETECT_H

#include "core/task/detect/average_precision.h"
#include "core/task/task.h"

/* A detection, a row of the network's output [capacity, 6]: x0 y0 x1 y1 score class.
 * The list ends at a class below 0. */
enum { DETECTION_SIZE = 6, DETECTION_SCORE = 4, DETECTION_CLASS = 5 };

/* What one class has come to. */
typedef struct class_average {
    double average_precision;
    double precision, recall; /* of detections whose score is at least infer.threshold */
    int64_t objects, detections; /* to be found; of any score */
    coco_class coco;
} class_average;

/* An image with its mistakes, for the report. */
typedef struct poor_image {
    /* objects that nothing of infer.threshold has found, and false detections above it */
    int64_t sample_index, mistakes;
    found_object *object;           /* [object_count] above infer.threshold, in pixels of the image */
    int64_t object_count;
} poor_image;

typedef struct detect_score {
    const task_setting *setting;
    int64_t images;
    ranked_detection *ranked;          /* [ranked_count], as they came until score_merge or a reader ranks them */
    coco_detection *coco;              /* [ranked_capacity], memory of detect_averages */
    int64_t ranked_count, ranked_capacity;
    int64_t *objects;                  /* [class_count] to be found */
    int64_t (*coco_objects)[COCO_AREAS]; /* [class_count] the same by area */
    class_average *average;            /* [class_count], made by detect_averages */
    poor_image *poor;                  /* [poor_count], most mistakes first */
    int64_t poor_count, poor_capacity;
} detect_score;

/* A score is a detect_score here. */
static inline detect_score *detect_score_of(task_score *s) { return (detect_score *)s; }
static inline const detect_score *detect_score_of_const(const task_score *s) { return (const detect_score *)s; }

/* labels.c */
status detect_check_data(const task_setting *t, logger *log);
status detect_labels(label_source *l, const task_setting *t);
/* loss.c */
status detect_add_loss(graph *g, const task_setting *t, double grad_scale, edge_id loss_scale, loss_terms *terms);
/* head.c */
status detect_fresh_head(graph *g, int64_t classes, uint64_t seed);
bool detect_is_head(const graph *g, int32_t output, const char *name);
status detect_order_head(graph *g, const int64_t *place);
/* The node that makes the output: one that says which inputs are its predictions. NODE_NONE: there is none. */
node_id detect_head(const graph *g, int32_t output);
/* An attribute of a node by its name in model files, for reading and writing; NULL: it has none of this type. */
int64_t *detect_attr_int64(const node *n, const char *name);
float *detect_attr_float(const node *n, const char *name);
/* outputs.c */
status detect_check(const graph *g, int64_t class_count, const char *what);
status detect_set_limits(graph *g, const spec_infer *limits);
status detect_predict(
    const task_setting *t, const task_output *output, int64_t i, const image_frame *frame, arena *a, prediction *p);
/* Image i's detections of at least `threshold` that its frame can place, in pixels of the
 * image: at most `most`; how many. */
int64_t detect_objects(
    const float *rows, int64_t most, float threshold, int64_t classes, const image_frame *frame, found_object *object);
/* score.c */
int32_t detect_figures(const task_setting *t, figure f[FIGURE_MAX]);
status detect_score_create(task_score **s, const task_setting *t, int64_t worst);
void detect_score_destroy(task_score *s);
void detect_score_reset(task_score *s);
status detect_score_add(task_score *s, const batch *b, const task_output *output);
status detect_score_merge(task_score *s, comm *c);
/* Every class, from the ranked detections. */
const class_average *detect_averages(const detect_score *s);
/* The means over the classes: the figure of evaluate.iou, and COCO's. */
double detect_mean_average(const detect_score *s, const class_average *a);
double detect_coco_precision(const class_average *a); /* of one class, over IoU 0.5 to 0.95 */
void detect_coco_figures(const detect_score *s, const class_average *a, double coco[COCO_FIGURES]);
void detect_score_values(const task_score *s, double value[FIGURE_MAX]);
/* text.c */
status detect_score_print(const task_score *s, FILE *stream, int64_t max_rows);
void detect_score_write(const task_score *s, json_writer *w);
/* page.c */
void detect_score_page(const task_score *s, page *p);

#endif
