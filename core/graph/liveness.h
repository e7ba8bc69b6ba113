/* liveness.h: offsets for blocks of memory that live for a while. Blocks whose lives overlap get disjoint places.
 *
 *     live_block b[] = {{.bytes = 100, .first = 0, .last = 2}, {.bytes = 60, .first = 3, .last = 4}};
 *     live_result r;
 *     TRY(liveness_assign(b, 2, &r));    // b[1].offset == 0: b[0] is dead; r.end == 128
 */
#ifndef GRAFT_GRAPH_LIVENESS_H
#define GRAFT_GRAPH_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/base/status.h"

enum { LIVE_ALIGN = 64 };

typedef struct live_block {
    int64_t bytes;       /* 0: takes no place                                         */
    int32_t first, last; /* steps at which it is alive, both included; first <= last  */
    int64_t offset;      /* result: a multiple of LIVE_ALIGN                          */
    bool placed;         /* on entry: stays at `offset`, others go around it          */
} live_block;

typedef struct live_result {
    int64_t end;   /* first byte behind all blocks                                                             */
    int64_t bound; /* largest sum of the blocks alive at one step: no assignment can have a smaller end */
    int64_t sum;   /* all blocks one after the other                                                           */
} live_result;

/* Best fit in several orders, of which the tightest wins. Deterministic. */
status liveness_assign(live_block *blocks, int64_t count, live_result *r);

#endif
