/* comm_single.h: the world of one process. */
#ifndef GRAFT_DIST_COMM_SINGLE_H
#define GRAFT_DIST_COMM_SINGLE_H

#include "core/dist/comm.h"

void comm_single_init(comm *c); /* rank 0 of 1; cannot fail */

#endif
