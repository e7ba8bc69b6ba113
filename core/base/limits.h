/* limits.h: whether the process would get memory and threads, asked before a library is called that ends the process
 * when it does not. oneDNN writes through pointers it has not checked, or throws through C, when memory ends; OpenMP's
 * run-time library exits when a thread cannot start. Limits are ulimit's (RLIMIT_AS, RLIMIT_DATA, RLIMIT_NPROC), a
 * control group's, or the machine's.
 *
 *     TRY(limits_check_memory(32 << 20, "oneDNN"));
 *     TRY(limits_check_threads(7));
 *
 * The answer holds until somebody else, in this process or outside, takes what was free. */
#ifndef GRAFT_BASE_LIMITS_H
#define GRAFT_BASE_LIMITS_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

/* E_MEMORY unless `bytes` of address space could be had now; touches none of it. `what`
 * names who needs them. About 2 us. */
status limits_check_memory(size_t bytes, const char *what);

/* E_MEMORY unless `count` threads with default stacks can run beside the present ones: starts them,
 * and ends them. About 10 us each. */
status limits_check_threads(int32_t count);

#endif
