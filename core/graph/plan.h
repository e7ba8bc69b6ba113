/* plan.h: from a graph to memory offsets and chosen kernels, and the executor that runs it.
 *
 * A plan is made for one graph with static shapes on one device. Parameters, state, constants and
 * gradients are one block each and stay; activations and scratch share one block at offsets from their
 * liveness. plan_run allocates nothing.
 *
 *     plan *p;
 *     TRY(plan_create(&p, &g, dev, &(plan_options){.store = store}));
 *     TRY(plan_set_input(p, image, host_pixels, bytes));
 *     TRY(plan_run(p));
 *     TRY(plan_get(p, logits, host, bytes));
 *     plan_destroy(p);
 */
#ifndef GRAFT_GRAPH_PLAN_H
#define GRAFT_GRAPH_PLAN_H

#include "core/device/device.h"
#include "core/graph/graph.h"

/* Parameters, state and gradients of a model on the device, shared by its plans (training, evaluation) and found by
 * edge name. Parameters stand in graph order in one flat f32 block, each at a multiple of 64 bytes; gradients in a
 * second of the same layout. (The blocks of an f64 graph, for gradient checks, hold f64. Parameters of other types, an
 * engine's i8 weights, stand apart and are no segments.) Gradients are zero at the start; whoever updates the weights
 * zeroes them again (OP_OPTIMISER does in passing). */
typedef struct param_store param_store;
typedef struct param_info {
    const char *name;
    int64_t offset, count; /* elements in the flat blocks */
    shape shape;
    bool frozen;
} param_info;

status param_store_create(param_store **s, const graph *g, device *dev, bool with_gradients); /* values are uploaded */
void param_store_destroy(param_store *s);
/* edge.data to the device, by name; packed copies go stale */
status param_store_upload(param_store *s, const graph *g);
/* device to edge.data, by name: parameters and state */
status param_store_download(param_store *s, graph *g);
/* device, [param_store_count] */
float *param_store_weights(param_store *s);
/* device, [param_store_count] */
float *param_store_gradients(param_store *s);
/* elements, padding included */
int64_t param_store_count(const param_store *s);
/* tensors */
int32_t param_store_segments(const param_store *s);
const param_info *param_store_info(const param_store *s, int32_t i);
/* Device: all STATE edges (running statistics) in one f32 block, graph order, so that a rejected step can be
 * undone and a checkpoint can keep it. */
float *param_store_state(param_store *s, int64_t *count);
/* weights were written: packed copies are stale */
void param_store_changed(param_store *s);

typedef struct plan plan;

/* Who sums over the ranks of a training (core/dist/comm.h), for graphs that pass_sync_batchnorm has made. */
typedef struct plan_sums {
    status (*sum)(void *context, void *data, int64_t count, dtype type, void *stream); /* in place, device memory */
    void *context;
    bool captures; /* may stand in a captured step */
} plan_sums;

typedef struct plan_options {
    const plan_sums *sums;       /* NULL: the graph sums over no ranks; outlives the plan               */
    param_store *store;          /* NULL: the plan makes its own from the graph                         */
    const char *const *variants; /* kernel names to prefer, by kernel node, or NULL: a checkpoint's choice */
    int64_t variant_count;
    bool reference;              /* reference kernels only: checks                                      */
    bool keep_activations;       /* no reuse of memory: every edge can be read afterwards               */
    bool profile;                /* time every node                                                     */
    int64_t memory_limit;        /* bytes the plan may take; 0: what the device has free                */
    node_id first,
        end; /* nodes [first, end) alone, end 0: to the last. What they read of earlier nodes is written before each
                                    run, what later nodes read is there after it: both at plan_edge_data */
} plan_options;

/* Copies what it needs of g; edge ids of g stay valid for the plan. E_MEMORY: the table of plan_measure, the bytes
 * free, and about how large a batch fits (exactly: graph_resize and plan_measure until it does). With GRAFT_VERBOSE=1
 * in the environment the choice of every kernel and the refusals go to stderr. One thread at a time may use a plan. */
status plan_create(plan **p, const graph *g, device *dev, const plan_options *options);
void plan_destroy(plan *p); /* accepts NULL */
const graph *plan_graph(const plan *p);

/* An input keeps its value until it is set again. */
status plan_set_input(plan *p, edge_id input, const void *host, size_t bytes);
status plan_run(plan *p); /* waits for the device */
/* the same without waiting; on a GPU as one captured graph from the second time on (GRAFT_NO_GRAPH=1: never) */
status plan_enqueue(plan *p);
/* Outputs, inputs, parameters, state, gradients; with keep_activations every edge. */
status plan_get(plan *p, edge_id e, void *host, size_t bytes);
void *plan_edge_data(plan *p, edge_id e);                      /* device pointer; NULL if it has none       */

/* params, state and gradients are counted in every plan that shares a store. */
typedef struct plan_memory {
    int64_t param_bytes, state_bytes, grad_bytes, const_bytes;
    int64_t activation_bytes; /* inputs too; activations and scratch are one block                        */
    int64_t scratch_bytes;    /* what scratch adds to it: the rest of scratch lies in gaps                */
    int64_t packed_bytes;     /* and weights in 16 bits                                                   */
    int64_t total_bytes;
    int64_t activation_sum_bytes;   /* without reuse                                                      */
    int64_t activation_bound_bytes; /* what is alive at the worst moment: no assignment can take less     */
} plan_memory;
/* What plan_create would allocate, without doing so. */
status plan_measure(const graph *g, device *dev, const plan_options *options, plan_memory *m);
const plan_memory *plan_memory_use(const plan *p);

/* Names of the chosen kernels, by kernel node ("rank_sum": no kernel, a sum over ranks). */
int64_t plan_variants(const plan *p, const char *const **names);
/* Kernel and descriptor of kernel node i, valid as long as the plan; NULL: a sum over ranks. */
const kernel *plan_kernel(const plan *p, int64_t i, const void **desc);
/* First edge that holds a NaN or Inf: inputs, parameters, then what the nodes wrote in execution order (needs
 * keep_activations); EDGE_NONE: none. */
status plan_find_nonfinite(plan *p, edge_id *e);

typedef struct plan_profile_row {
    const char *node, *op, *kernel;
    double milliseconds, flops, bytes; /* of one run; milliseconds: mean of all runs but the first */
} plan_profile_row;
int64_t plan_profile(const plan *p, const plan_profile_row **rows);

#endif
