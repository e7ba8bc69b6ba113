/* export_steps.h: what export.c and int8.c share. Private to export/. */
#ifndef GRAFT_EXPORT_EXPORT_STEPS_H
#define GRAFT_EXPORT_EXPORT_STEPS_H

#include "export/export.h"

/* o->score with the graph's batch set back to 1. */
status export_score(const export_options *o, graph *g, double *points);

/* Fills everything of e but its graph and what measuring gives; e->layers: one entry per layer
 * of float_graph, in node order. */
status export_describe(engine *e, const model *m, const graph *float_graph, const export_options *o);

/* s->table: an entry per edge of g with a scale. s->calibrator takes `method`, a constant. */
status export_fill_table(
    export_scales *s, const graph *g, const float *scale, const char *method, const char *algorithm, int64_t version);

#endif
