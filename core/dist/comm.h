/* comm.h: several processes that train one model. One process is world = 1 and the same code (comm_single.c); processes
 * of one machine share memory (comm_shm.c); NCCL and MPI are other files.
 *
 * Every rank calls the same collectives in the same order. Sums are taken in rank order, so results
 * depend on the world size only. */
#ifndef GRAFT_DIST_COMM_H
#define GRAFT_DIST_COMM_H

#include "core/base/dtype.h"
#include "core/base/status.h"
#include "core/device/device.h"

typedef struct comm {
    int32_t rank, world, local_rank;
    device *dev; /* whose memory `data` is; NULL: the host's */
    const struct comm_api *api;
    void *state;
} comm;

typedef struct comm_api {
    bool captures; /* collectives on a stream may be captured with the kernels around them */
    /* in place, device memory; f32, f64 */
    status (*all_reduce_sum)(comm *c, void *data, int64_t count, dtype type, void *stream);
    status (*broadcast)(comm *c, void *data, int64_t bytes, int32_t root, void *stream);    /* device memory */
    status (*all_reduce_host)(comm *c, double *values, int64_t count);                      /* metrics: sum */
    status (*barrier)(comm *c);
    void (*abort)(comm *c, const char *why);  /* ends every rank with E_TEMPORARY */
    void (*free)(comm *c);
} comm_api;

status comm_init(comm *c); /* from the launcher's environment; alone: world 1 */
void comm_use_device(comm *c, device *dev); /* from now on device memory is dev's */
void comm_free(comm *c);
status comm_all_reduce_sum(comm *c, void *data, int64_t count, dtype type, void *stream);
status comm_broadcast(comm *c, void *data, int64_t bytes, int32_t root, void *stream);
status comm_all_reduce_host(comm *c, double *values, int64_t count);
status comm_barrier(comm *c);

#endif
