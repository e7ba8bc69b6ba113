#include "core/device/replay.h"

#include <stdlib.h>
#include <string.h>

void replay_init(replay *r, device *dev)
{
    const char *no = getenv("GRAFT_NO_GRAPH");
    *r = (replay){.dev = dev, .off = !dev->api->capture_begin || (no && *no && strcmp(no, "0") != 0)};
}

void replay_free(replay *r)
{
    if (r->captured) r->dev->api->capture_destroy(r->dev, r->captured);
    *r = (replay){0};
}

/* Nothing has run if this fails. */
static status capture(replay *r, replay_work *work, void *context)
{
    device *dev = r->dev;
    TRY(dev->api->capture_begin(dev, dev->stream));
    status result = work(context);
    if (result == OK) return dev->api->capture_end(dev, dev->stream, &r->captured);
    (void)dev->api->capture_end(dev, dev->stream, NULL);
    return result;
}

status replay_run(replay *r, replay_work *work, void *context)
{
    if (!r->off && r->runs > 0 && !r->captured && capture(r, work, context) != OK) {
        log_verbose(r->dev->log, "not captured, launched piece by piece instead: %s", status_message());
        r->off = true;
    }
    r->runs++;
    if (r->captured) return r->dev->api->capture_run(r->dev, r->captured, r->dev->stream);
    return work(context);
}
