/* export.h: from a model to an engine.
 *
 * Float: drop what only training needs, fold batch normalisation into the convolutions, fuse residual and activation,
 * fold constants. INT8 on top of it: calibrate, quantise, measure; while the drop on images that were not used to
 * calibrate is beyond max_drop, the layers that lose most go back to float.
 *
 *     export_options o = {.calibrator = CALIBRATOR_ENTROPY, .max_drop = 1, .data = &data, .dev = dev, ...};
 *     TRY_OUT(export_calibrate(&scales, &m, &o, 0));          // or export_read_scales: a TensorRT calibration cache
 *     TRY_OUT(export_int8(&e, &m, &scales, &o));           // or export_float
 *     TRY_OUT(engine_save(&e, "model.int8.engine"));
 */
#ifndef GRAFT_EXPORT_EXPORT_H
#define GRAFT_EXPORT_EXPORT_H

#include <stdio.h>

#include "core/graph/model.h"
#include "export/cache.h"
#include "export/calibrate.h"
#include "export/engine.h"

/* Points (0 to 100, more is better) of a graph "image in, scores out" on the check images. */
typedef status export_score_fn(void *context, graph *g, double *points);

typedef struct export_options {
    spec_calibrator calibrator;
    double percentile;
    bool power_of_two;               /* scales of activations are powers of two, see quantise.h              */
    double max_drop;                 /* points                                                              */
    double min_integer;              /* part of the multiply-adds that must stay INT8; E_GATE below         */
    const char *const *float_layers; /* [float_layer_count] names; a trailing * matches any rest            */
    int64_t float_layer_count;
    bool sigmoid;                    /* how scores become probabilities                                     */
    const char *source_name;         /* the model file's base name                                          */
    bool half;                       /* export_float: activations and weights in f16                        */
    device *dev;
    const calibration_data *data;    /* calibration images; also what the noise of layers is measured on    */
    export_score_fn *score;          /* NULL: nothing is measured, no layer falls back                      */
    void *score_context;
    int64_t check_images;            /* what score looks at; for the record                                 */
    logger *log;
} export_options;

/* One scale per tensor, and where it comes from. */
typedef struct export_scales {
    calibration_cache table;
    const char *calibrator; /* "entropy", ..., "cache" or "qat" */
    int64_t images;         /* 0: unknown                */
} export_scales;

/* The graph that both precisions start from, and the fastest way to run a model as it is.
 * dst is initialised by the call. */
status export_float_graph(graph *dst, const graph *model_graph);

/* Calibrates; auto tries all methods and keeps the one with the best score, of equals the one with the least noise in
 * the result. s is initialised by the call. version: of the cache's first line. */
status export_calibrate(export_scales *s, const model *m, const export_options *o, int64_t version);
/* From a calibration cache. E_MODEL lists the tensors that it lacks; tensors that the model lacks are warned about. */
status export_read_scales(export_scales *s, const model *m, const char *path, logger *log);
status export_write_scales(const export_scales *s, const char *path);
void export_scales_free(export_scales *s); /* accepts a zeroed one */

/* e is initialised by the calls. E_USAGE: a float layer that does not exist. E_GATE: max_drop cannot be held with
 * min_integer of the products in INT8. */
status export_float(engine *e, const model *m, const export_options *o);
status export_int8(engine *e, const model *m, const export_scales *s, const export_options *o);

/* Totals for people, behind a table of the layers if `layers`. */
void export_print(const engine *e, FILE *stream, bool layers);

#endif
