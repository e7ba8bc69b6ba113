/* anchors.h: what detectors with anchors share: boxes of every cell of several maps, and predictions in the same order.
 *
 *     anchor_map map = {.height = 40, .width = 40, .step_x = 8, .step_y = 8, .offset = 0.5};
 *     map.shape[map.count++] = (anchor_shape){32, 32};
 *     TRY(net_anchors(&n, &anchors, "ssd.anchors", &map, 1, false));
 *
 * Anchors are f32 [anchors, 4], x0 y0 x1 y1 in pixels of the network's input: maps in turn, their cells row by row, the
 * shapes of a cell in turn.
 */
#ifndef GRAFT_MODELS_ANCHORS_H
#define GRAFT_MODELS_ANCHORS_H

#include "models/parts/layers.h"

enum { ANCHOR_RATIOS_MAX = 16, ANCHOR_OCTAVES_MAX = 8, ANCHOR_SHAPES_MAX = 2 * ANCHOR_RATIOS_MAX * ANCHOR_OCTAVES_MAX };

typedef struct anchor_shape {
    double width, height; /* pixels of the input */
} anchor_shape;

typedef struct anchor_map {
    int64_t height, width;   /* cells */
    double step_x, step_y;   /* pixels of the input from cell to cell */
    double offset;           /* of the first centre, in steps */
    anchor_shape shape[ANCHOR_SHAPES_MAX];
    int32_t count;           /* of shapes */
} anchor_map;

/* The cells of feature map `e`, evenly over the input; centred; no shapes yet. */
anchor_map anchor_map_of(const net *n, edge_id e);

/* Appends a shape per octave (side * 2^(i / octaves)) of each aspect ratio, width / height; behind a ratio of 1, where
 * `square` is above 0, one more of sides `square`. */
void anchor_add_shapes(anchor_map *m, double side, double square, const float_list *ratios, int64_t octaves);

/* E_USAGE, naming section.key, unless there are `least` to `most` values, and with `ascending` each above the last. */
status anchor_check_list(const char *key, const float_list *values, int64_t least, int64_t most, bool ascending);

/* A constant of the graph. clip: anchors end at the input's edge. */
status net_anchors(net *n, edge_id *e, const char *name, const anchor_map *maps, int32_t count, bool clip);

/* Predictions [1, h, w, anchors of the map * each] of all maps become [1, anchors, each]. */
status net_anchor_rows(net *n, edge_id *all, const char *name, const edge_id *predictions, int32_t count, int64_t each);

/* What a head takes from the spec whatever detector it is; the rest is zero. */
prior_head_attr anchor_head(const spec *s, int64_t classes, const float_list *variances);

#endif
