/* prune.h: structural pruning of any graph. Filters go, the network becomes smaller; no layer type
 * and no network is special here.
 *
 * Channels of all edges and rows and columns of all parameters are elements of one union-find. What an op couples
 * (op.h, `coupling`) is united, so a class of elements is a set of channels that live or die together through
 * residual adds, depthwise convolutions, concatenations, flattening and batch normalisation. Classes with the same
 * member layers form a group; a group is pruned by one keep rule. Semantics and defaults are those of TLT's
 * tlt-prune (threshold on normalised norms, equalisation, granularity, min_filters), and beyond it a target fraction
 * of parameters or multiply-adds.
 *
 *     prune_report report;
 *     graph small;
 *     TRY(prune_graph(&small, &report, &big, &(prune_options){.threshold = 0.3, .granularity = 8, .min_filters = 16}));
 *     use(report.layers, report.layer_count);
 *     prune_report_free(&report);
 */
#ifndef GRAFT_PRUNE_PRUNE_H
#define GRAFT_PRUNE_PRUNE_H

#include "core/base/log.h"
#include "core/graph/graph.h"
#include "core/graph/plan.h"

typedef enum prune_score { SCORE_L2, SCORE_L1, SCORE_OBS } prune_score;
typedef enum prune_normalizer { NORMALIZER_MAX, NORMALIZER_L2, NORMALIZER_OFF } prune_normalizer;
typedef enum prune_equalization {
    EQUALIZE_UNION, EQUALIZE_INTERSECTION, EQUALIZE_ARITHMETIC, EQUALIZE_GEOMETRIC
} prune_equalization;
typedef enum prune_target { TARGET_NONE, TARGET_PARAMS, TARGET_MACS } prune_target;

/* Next batch of images, f32 in the shape of the graph's image input; *done when there is no more. */
typedef status prune_next_batch(void *context, float *images, bool *done);

/* Training images, for what norms do not tell. All of them are held in memory. */
typedef struct prune_data {
    device *dev;
    prune_next_batch *next_batch;
    void *context;
    int64_t batch, batches; /* images of one batch, batches at most */
    logger *log;
} prune_data;

typedef struct prune_options {
    prune_score score;                /* norm of a filter's weights, bias not counted; or OBS (surgeon.c), needs data */
    prune_normalizer normalizer;      /* per layer, before coupled layers are merged                */
    prune_equalization equalization;  /* max, min, mean, geometric mean over coupled layers         */
    double threshold;                 /* a channel stays if its score is above (strictly)           */
    int64_t granularity, min_filters; /* kept: at least min_filters, rounded up to granularity, at most all */
    const char *const *excluded;      /* layer names; a trailing * matches any rest                 */
    int64_t excluded_count;
    prune_target target;              /* not NONE: the threshold is found by bisection              */
    double target_fraction;           /* of params or macs to keep, in (0, 1)                       */
    const prune_data *data;           /* NULL: none                                                 */
    /* weights of what is left are fitted to the outputs of src (reconstruct.c), needs data */
    bool reconstruct;
    /* then all weights learn to compute what src does (imitate.c): passes over the images, needs data */
    int64_t imitate_epochs;
    double ridge;                     /* of that fit, as part of the inputs' mean square; above 0   */
} prune_options;

typedef struct prune_layer {
    const char *name;
    int64_t channels_before, channels_after;
    int32_t group;          /* layers with the same number are pruned together                      */
    const char *kept_whole; /* why nothing may be taken ("network output", "excluded", ...), or NULL */
} prune_layer;

typedef struct prune_report {
    arena memory;
    prune_layer *layers; /* [layer_count], graph order: every node with filters of its own */
    int64_t layer_count;
    double threshold;    /* used, or found */
    /* reconstruction: mean over layers of the square error as part of the variance, before and after its fit */
    double error_before, error_after;
    /* imitation: of features, outputs and layers between, on images that it has not seen */
    double imitation_before, imitation_after;
    int64_t params_before, params_after, macs_before, macs_after;
} prune_report;

/* Initialises dst and report. E_USAGE: an excluded name that matches no layer; a target that can't
 * be reached (naming the least). */
status prune_graph(graph *dst, prune_report *report, const graph *src, const prune_options *options);
void prune_report_free(prune_report *report);

/* New running statistics for every batch normalisation: the mean of the batch statistics over `batches` batches,
 * forward in training mode; nothing else changes. g's batch must be what next_batch delivers (graph_resize). */
status prune_reestimate(graph *g, device *dev, prune_next_batch *next_batch, void *context, int64_t batches);

#endif
