/* process.h: what the system says about a process of this machine. */
#ifndef GRAFT_BASE_PROCESS_H
#define GRAFT_BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct process_info {
    char state;          /* as /proc names it: 'R', 'S', 'D'; 'T' stopped, 't' stopped by a debugger, 'Z' ended */
    uint64_t start_tick; /* when it started, in clock ticks since the machine did: with the number, its identity */
} process_info;

/* false: there is no such process, or it cannot be seen. */
bool process_look(pid_t pid, process_info *info);

/* The machine's name, and the id of its present run (empty when the system does not tell). Bytes that
 * are not plain text become '?'. */
typedef struct machine_identity {
    char host[256], boot[64];
} machine_identity;
machine_identity machine_look(void);

#endif
