#include "core/dist/comm.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/base/text.h"
#include "core/dist/comm_shm.h"
#include "core/dist/comm_single.h"

/* What mpirun (Open MPI, MPICH), srun and torchrun tell their processes. srun sets SLURM_NTASKS for a lone `graft`
 * inside an allocation too, so it counts only with the step's own variable. */
static status launched_world(int64_t *world)
{
    static const char *const names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", "WORLD_SIZE"};
    *world = 1;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *text = getenv(names[i]);
        if (!text) continue;
        if (!text_to_int(text, world) || *world < 1)
            return FAIL(
                E_USAGE, "environment variable %s = %s: expected the number of processes, 1 or more", names[i], text);
        return OK;
    }
    return OK;
}

status comm_init(comm *c)
{
    *c = (comm){0};
    int64_t world;
    if (comm_shm_is_launched()) return comm_shm_init(c);
    TRY(launched_world(&world));
    if (world > 1)
        return FAIL(E_DEVICE,
            "started as one of %" PRId64
            " processes, but this graft was built without MPI: start it alone; on one machine "
            "`graft train --ranks=%" PRId64 "` starts as many",
            world, world);
    comm_single_init(c);
    return OK;
}

void comm_use_device(comm *c, device *dev)
{
    c->dev = dev;
}

void comm_free(comm *c)
{
    if (c->api) c->api->free(c);
    *c = (comm){0};
}

status comm_all_reduce_sum(comm *c, void *data, int64_t count, dtype type, void *stream)
{
    return c->api->all_reduce_sum(c, data, count, type, stream);
}

status comm_broadcast(comm *c, void *data, int64_t bytes, int32_t root, void *stream)
{
    return c->api->broadcast(c, data, bytes, root, stream);
}

status comm_all_reduce_host(comm *c, double *values, int64_t count)
{
    return c->api->all_reduce_host(c, values, count);
}

status comm_barrier(comm *c)
{
    return c->api->barrier(c);
}
