/* plan_internal.h: what plan.c, executor.c and param_store.c share. */
#ifndef GRAFT_GRAPH_PLAN_INTERNAL_H
#define GRAFT_GRAPH_PLAN_INTERNAL_H

#include "core/device/replay.h"
#include "core/graph/liveness.h"
#include "core/graph/plan.h"
#include "core/ops/op.h"

/* ------------------------------------------------------------------------------------------------ param store */

enum { BLOCK_WEIGHTS, BLOCK_STATE, BLOCK_OTHER, BLOCK_COUNT };

typedef struct store_entry {
    const char *name;
    shape shape;
    dtype type;
    int32_t block;
    int64_t offset_bytes, bytes;
    bool frozen;
} store_entry;

/* Where a graph's parameters and state go; nothing is allocated on the device. */
typedef struct store_layout {
    store_entry *entries;   /* [count], graph order                  */
    int64_t count;
    const store_entry **by_name; /* [count], sorted                  */
    param_info *info;       /* [segments]: BLOCK_WEIGHTS             */
    int32_t segments;
    dtype type;             /* of BLOCK_WEIGHTS and BLOCK_STATE      */
    int64_t bytes[BLOCK_COUNT];
} store_layout;

status store_layout_make(store_layout *l, arena *a, const graph *g);
const store_entry *store_layout_find(const store_layout *l, const char *name); /* NULL if unknown */

/* The entry of a parameter or state edge. E_INTERNAL: unknown name, another shape or type. */
status param_store_entry(const param_store *s, const edge *e, const store_entry **entry);
void *param_store_data(const param_store *s, const store_entry *e);
void *param_store_gradient(const param_store *s, const store_entry *e); /* NULL: no gradients */
const store_layout *param_store_layout(const param_store *s);
/* Rises when trainable weights may have changed, or (uploads) when any may have. */
uint64_t param_store_version(const param_store *s, bool frozen);

/* ------------------------------------------------------------------------------------------------ plan */

typedef enum pack_when { PACK_NONE, PACK_ONCE, PACK_FROZEN, PACK_TRAINED, PACK_ALWAYS } pack_when;

typedef struct plan_step {
    node_id node;
    const kernel *kernel; /* NULL: a sum over ranks */
    kernel_binding binding;
    kernel_call call;
    size_t scratch_bytes, packed_bytes;
    int64_t packed_offset;
    int32_t scratch_block; /* index of its live_block */
    pack_when pack;
    uint64_t packed_version; /* 0: never packed */
    double seconds;
} plan_step;

/* Trained weights as 16-bit products read them: one cast for all, into a block of the layout of the
 * store's, whenever they have changed. */
typedef struct plan_narrow {
    int64_t first, count;  /* elements of the store's weights; count 0: no weight is cast */
    dtype type;
    cast_desc desc;
    const kernel *kernel;
    kernel_call call;
    uint64_t version;      /* of the weights that were cast; 0: none yet          */
    int64_t *offset_bytes; /* [edge_count] in the block; -1: not a cast weight    */
    buffer block;
} plan_narrow;

struct plan {
    arena memory;
    graph graph; /* structure only, in `memory`: no values, not for graph_free */
    device *dev;
    param_store *store;
    bool owns_store, keep_activations, profile;
    const plan_sums *sums;
    replay all, repack;   /* every kernel's run; packing of trained weights */
    void *begin, *end;    /* events, for a profile on a device that has them */
    plan_narrow narrow;
    plan_step *steps;
    node_id first_node, end_node; /* its part of the graph */
    int64_t step_count, runs;
    const char **variant;  /* [step_count]                        */
    int32_t *edge_block;   /* [edge_count] live_block, or -1      */
    edge_id *edge_root;    /* [edge_count] whose memory it shares */
    void **edge_data;      /* [edge_count] device, or NULL        */
    live_block *blocks;
    int64_t block_count;
    buffer activations, packed, constants;
    plan_memory use;
    plan_profile_row *rows; /* [step_count] */
};

int64_t plan_edge_bytes(const graph *g, edge_id e);
/* Finds the casts of trained weights: these nodes get no step. After edge ids are fixed, before steps are made. */
status plan_narrow_find(plan *p, const store_layout *l, const plan_options *o);
int64_t plan_narrow_bytes(const plan *p);
bool plan_narrow_has(const plan *p, edge_id e); /* whether e is one of the cast weights */
status plan_narrow_allocate(plan *p);           /* the block, and where its edges lie: needs the store */
void plan_narrow_free(plan *p);
status plan_narrow_run(plan *p);                /* enqueues the cast; nothing to do without such weights */
/* Storage of inputs, activations and scratch; sets edge_root, edge_block, blocks. */
status plan_place_edges(plan *p);

#endif
