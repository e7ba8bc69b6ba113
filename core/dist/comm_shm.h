/* comm_shm.h: ranks that are processes of one machine, over memory that they share. Needs nothing but Linux.
 *
 *     int32_t rank;
 *     TRY(comm_shm_launch(4, &rank));       // four processes return, ranks 0 to 3; rank 0 is the caller
 *     comm c;
 *     TRY(comm_init(&c));                   // finds the shared memory
 *     ...
 *     comm_free(&c);
 *     if (rank == 0) comm_shm_wait();       // for the other three; they end by exit or _exit
 *
 * A rank puts its part into its slot, waits for the others, and adds a share of all slots in rank order, in double
 * for floats of any size. Tensors of a device go through the host: not captured with kernels. A rank that dies,
 * leaves (comm_free) or stays stopped (SIGSTOP) for 20 s is noticed by those that wait for it: E_TEMPORARY. A stopped
 * one is then woken, and ends as well.
 */
#ifndef GRAFT_DIST_COMM_SHM_H
#define GRAFT_DIST_COMM_SHM_H

#include "core/dist/comm.h"

enum { COMM_SHM_MAX_RANKS = 64 };

/* Before threads, OpenMP and the device are in use: the processes are made by fork. world 1 to COMM_SHM_MAX_RANKS; 1
 * does nothing. Exactly `world` processes return OK, or only the caller returns, with a failure. */
status comm_shm_launch(int32_t world, int32_t *rank);
/* Waits for the processes that the caller has launched; E_TEMPORARY if one of them ended by a signal or
 * with another code than 0, or its code where that says that trying again is of no use (1 to 9). One that
 * stays stopped for 20 s is killed. */
status comm_shm_wait(void);

bool comm_shm_is_launched(void); /* whether this process is a rank of comm_shm_launch */
status comm_shm_init(comm *c);

#endif
