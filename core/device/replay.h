/* replay.h: work that is enqueued again and again with the same arguments: captured once (a CUDA graph) and
 * launched as one from then on, where the device can. Elsewhere, and with GRAFT_NO_GRAPH=1 in the
 * environment, it is enqueued every time.
 *
 *     status work(void *context);                      // enqueues on dev->stream; allocates nothing, waits for nothing
 *     replay r;
 *     replay_init(&r, dev);
 *     TRY(replay_run(&r, work, context));              // the first run is direct: kernels load and set themselves up
 *     replay_free(&r);
 *
 * What changes from run to run must lie in memory that the work reads.
 */
#ifndef GRAFT_DEVICE_REPLAY_H
#define GRAFT_DEVICE_REPLAY_H

#include "core/device/device.h"

typedef status replay_work(void *context);

typedef struct replay {
    device *dev;
    void *captured;
    int64_t runs;
    bool off;
} replay;

void replay_init(replay *r, device *dev);
status replay_run(replay *r, replay_work *work, void *context);
void replay_free(replay *r); /* accepts a zeroed struct */

#endif
