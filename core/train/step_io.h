/* step_io.h: what goes into a training step and what comes out of it, without holding up the device.
 *
 * Where copies overlap with computing (a GPU), the next batch travels on a stream of its own into a second
 * set of inputs while the step runs, and results are read from pinned memory when they have arrived. On the
 * CPU a batch is copied when it is fed; prefetching only waits until it is there, so that data that have gone
 * are noticed between two steps.
 *
 *     step_io io;
 *     TRY_OUT(step_io_init(&io, dev, plan, &trainable, loader, NULL));
 *     TRY_OUT(step_io_feed(&io));                // the next batch is the plan's input
 *     TRY_OUT(plan_enqueue(plan));
 *     TRY_OUT(step_io_send(&io));                // its terms are on their way
 *     TRY_OUT(step_io_prefetch(&io));            // one more batch will be wanted: it begins to travel
 *     TRY_OUT(step_io_receive(&io, &r));         // waits for that step
 * out:
 *     step_io_free(&io);
 *
 * At most two sends may wait for their receive; they are received in order.
 */
#ifndef GRAFT_TRAIN_STEP_IO_H
#define GRAFT_TRAIN_STEP_IO_H

#include "core/data/loader.h"
#include "core/device/device.h"
#include "core/graph/plan.h"
#include "core/train/train_graph.h"
#include "kernels/kernels.h"

enum { STEP_INPUTS = 2 + LABEL_MAX, STEP_SLOTS = 2 };

/* Of one batch: the values of trainable.terms. */
typedef struct step_result {
    double term[TERM_MAX];
    int64_t n, replaced; /* replaced: as in the batch */
} step_result;

typedef struct step_slot {
    double *term; /* [TERM_MAX], pinned */
    void *event;  /* they have arrived  */
    int64_t replaced;
} step_slot;

typedef struct step_io {
    device *dev;
    plan *plan;
    loader *loader;
    edge_id input[STEP_INPUTS];   /* image, sample_keys, labels; EDGE_NONE: absent */
    size_t bytes[STEP_INPUTS];
    loss_terms terms;
    int64_t n;
    step_slot slot[STEP_SLOTS];
    int64_t fed, sent, received;  /* batches; slot of batch i: i % STEP_SLOTS */
    /* Where copies overlap: */
    bool overlapped;
    void *copy_stream, *arrived, *taken; /* events: the staged batch is there; has been taken */
    buffer staged;                /* inputs one behind the other, then the pictures' table */
    const batch *next;            /* staged, under way, or on the CPU fetched; NULL: none */
    /* Where the device warps raw pictures: */
    const kernel *warp;           /* NULL: the loader does */
    image_warp_desc warp_desc;
    image_source *table;          /* [n], pinned; read by the copy stream until `arrived` */
} step_io;

/* raw: how the loader's raw pictures become the network's input; NULL: they are finished. Raw needs a device
 * where copies overlap (E_USAGE). */
status step_io_init(step_io *io, device *dev, plan *p, const trainable *g, loader *l, const preprocess *raw);
void step_io_free(step_io *io); /* accepts a zeroed struct */
status step_io_feed(step_io *io);
status step_io_send(step_io *io);
status step_io_prefetch(step_io *io);
status step_io_receive(step_io *io, step_result *r);
/* Makes a batch of the loader the input of another plan of the same inputs, and waits.
 * Not while one is fetched ahead. */
status step_io_set_inputs(step_io *io, plan *p, const batch *b);
/* Forgets the batch that was fetched ahead: before the loader is sent elsewhere. */
status step_io_drop(step_io *io);

/* Bytes on the device beside the plan. */
int64_t step_io_bytes(const device *dev, const trainable *g);

#endif
