/* images.h: training images in memory, and a network that is run over all of them layer by layer. Private to prune/.
 *
 * A walk stands in front of node `at`. What the nodes before it made and later ones read is stored for every image (if
 * the memory that it may take allows), so that going on costs each node one run. A leg is the part from there to a
 * node, with the edges one wants to see:
 *
 *     TRY_OUT(walk_leg(&w, until, wanted, wanted_count));
 *     for (int64_t b = 0; b < images->batches; b++) {
 *         TRY_OUT(walk_run(&w, b));
 *         TRY_OUT(walk_get(&w, 0, values));     // the first wanted edge
 *     }
 *     TRY_OUT(walk_arrive(&w));                 // at = until + 1 if its values were stored
 */
#ifndef GRAFT_PRUNE_IMAGES_H
#define GRAFT_PRUNE_IMAGES_H

#include "core/graph/plan.h"
#include "core/graph/transform.h"
#include "prune/prune.h"

typedef struct prune_images {
    float *values;         /* [batches, each]                  */
    int64_t batches, each; /* each: elements of one batch      */
} prune_images;

/* Reads all that data has. each_image: elements of one image. E_DATA: nothing there. */
status prune_images_read(prune_images *x, const prune_data *data, int64_t each_image);
void prune_images_free(prune_images *x);
static inline const float *prune_images_batch(const prune_images *x, int64_t b) { return x->values + b * x->each; }

typedef struct walk {
    graph g;                 /* for inference, of the batch's size; weights may change between legs */
    device *dev;
    const prune_images *images;
    int64_t budget;          /* bytes that stored values may take                            */
    node_id at;
    node_id *last_read;      /* [edge_count]; NODE_NONE: by nobody                           */
    float ***stored;         /* [edge_count]: [batches] values, or NULL                      */
    arena memory;
    /* the leg */
    node_id until;
    bool keeps;              /* it stores what is alive behind it                            */
    graph part;
    plan *plan;
    edge_id wanted[GRAPH_MAX_OUTPUTS], alive[GRAPH_MAX_OUTPUTS], fed[GRAPH_MAX_INPUTS];
    int32_t wanted_count, alive_count, fed_count;
    int32_t slot[GRAPH_MAX_OUTPUTS]; /* of wanted[k] among the part's outputs; -1: it is stored  */
    int64_t batch;           /* that ran last                                                */
} walk;

/* w->g: a copy of g for inference. */
status walk_init(walk *w, const graph *g, const prune_images *images, int64_t batch, device *dev, int64_t budget);
void walk_free(walk *w); /* accepts a zeroed one */

/* until may be at - 1: then every wanted edge is stored or an input. */
status walk_leg(walk *w, node_id until, const edge_id *wanted, int32_t wanted_count);
status walk_run(walk *w, int64_t b);
status walk_get(walk *w, int32_t k, float *values); /* wanted[k] of the last batch */
status walk_arrive(walk *w);

/* Pixels of each image that are looked at, of `area`: enough for rows_per_input rows of data for
 * every input of a layer, 4 to 49. */
int64_t prune_pixels(const prune_images *x, int64_t batch, int64_t inputs, int64_t area, int64_t rows_per_input);

/* What the layer reads whose scores are the output; the output itself if no layer with weights comes first. */
edge_id features_behind(const graph *g, edge_id output);
/* passes[count] ([edge_count], caller's): inputs of layers that nothing else passes by, front to back: all that comes
 * behind is computed from each of them. */
status find_passes(const graph *g, edge_id *passes, int32_t *count);
/* Parameters and state of `from`, by name; those that dst does not have are passed over. */
void copy_values(graph *dst, const graph *from);

#endif
