/* channels.h: which channels hang together. Private to prune/. */
#ifndef GRAFT_PRUNE_CHANNELS_H
#define GRAFT_PRUNE_CHANNELS_H

#include "core/graph/graph.h"
#include "prune/images.h"
#include "prune/prune.h"

/* One node whose output channels are rows of a weight: what can be scored. */
typedef struct prunable {
    node_id node;
    edge_id weight; /* rows: dimension 0 */
    int64_t rows;
} prunable;

typedef struct channel_map {
    arena memory;
    const graph *g;
    int64_t *first;      /* [edge_count]: first element of the edge's channels (activations) or rows (parameters) */
    int64_t *column;     /* [edge_count]: first element of a weight's columns (taps x input channels), or -1      */
    int64_t *columns;    /* [edge_count]: how many                                                                */
    int64_t *parent;     /* [element_count]: union-find                                                           */
    const char **pinned; /* [element_count], by root: why the class must stay; NULL: free                         */
    int32_t *group;      /* [element_count], by root; -1: no filter in the class                                  */
    int64_t element_count;
    prunable *prunables; /* [prunable_count], graph order */
    int64_t prunable_count;
    int32_t group_count;
} channel_map;

status channel_map_init(channel_map *m, const graph *g, const char *const *excluded, int64_t excluded_count);
void channel_map_free(channel_map *m);
int64_t channel_root(channel_map *m, int64_t element);

/* score[root], merged over a class's layers; in m's arena. */
status score_channels(channel_map *m, const prune_options *options, double **score);
/* The same for SCORE_OBS, from images (surgeon.c). */
status score_surgeon(channel_map *m, const prune_options *options, const prune_images *images, double **score);
/* keep[root] of every class. */
status choose_kept(channel_map *m, const double *score, double threshold, const prune_options *options, bool *keep);
/* The graph without the classes that keep lets go. */
status cut_channels(graph *dst, channel_map *m, const bool *keep);
/* kept[count]: channels of the node's first output that stay. */
status kept_channels(int64_t *kept, int64_t count, channel_map *m, const bool *keep, const char *node_name);
/* Weights, biases and running means of that graph for the least error against the whole one (reconstruct.c). error:
 * mean over layers of the square error as part of the variance, before and after each layer's fit. */
status reconstruct(graph *cut, channel_map *m, const bool *keep, const prune_options *options,
    const prune_images *images, double *error);
/* Gradient descent on all weights of that graph towards what the whole one computes (imitate.c). error: mean over what
 * is compared of the square error as part of the variance, before and after; never more after. */
status imitate(graph *cut, channel_map *m, const bool *keep, const prune_options *options, const prune_images *images,
    double *error);

#endif
