/* runner.h: runs a graph "image in, tensors out" on any number of images.
 *
 * Plans of the last two batch sizes are kept. A call is cut into batches of at most max_batch, on the CPU the front of
 * the network into smaller ones (slices.h). One thread at a time.
 *
 *     runner *r;
 *     TRY(runner_create(&r, &g, dev, 16));
 *     TRY(runner_run(r, (float *const[]){scores}, images, n));
 *     runner_destroy(r);
 */
#ifndef GRAFT_EXPORT_RUNNER_H
#define GRAFT_EXPORT_RUNNER_H

#include "core/device/device.h"
#include "core/graph/plan.h"

typedef struct runner runner;

/* g stays the caller's, who does not touch it meanwhile: the runner changes its batch. Input 0 is f32 [1, h, w,
 * c], every output is f32 and has the batch in front; E_MODEL otherwise. A graph with 16-bit floats runs in f32
 * where the device is slow in these. */
status runner_create(runner **r, graph *g, device *dev, int64_t max_batch);
void runner_destroy(runner *r); /* accepts NULL */

/* output[k]: output k of all images, [n, ...]; images: [n, h, w, c], preprocessed. */
status runner_run(runner *r, float *const *output, const float *images, int64_t n);

shape runner_input(const runner *r);      /* [1, h, w, c] */
int32_t runner_outputs(const runner *r);
shape runner_output(const runner *r, int32_t k); /* [1, ...] */
int64_t runner_max_batch(const runner *r);

/* A plan of the whole graph, made if need be, beside those that run; for its choice of kernels. Valid until
 * the next call for another batch. */
status runner_plan(runner *r, int64_t batch, plan **p);

#endif
