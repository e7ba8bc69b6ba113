/* probe.h: what this machine has, asked at run time. Nothing here is needed to build: libraries are found by the
 * dynamic linker, so that one program runs with and without them.
 *
 *     probe p;
 *     probe_machine(&p);                 // never fails: what is not there is said by an empty text or 0
 *     printf("%s\n", p.cpu_model);
 */
#ifndef GRAFT_CLI_PROBE_H
#define GRAFT_CLI_PROBE_H

#include <stdbool.h>
#include <stdint.h>

enum { PROBE_GPUS = 16 };

typedef struct probe {
    char cpu_model[128];
    char isa[64];                  /* "AVX-512", "AVX2", "SSE2": of the CPU, as far as GRAFT_CPU_ISA allows */
    bool vnni;                     /* 8-bit dot products, likewise: INT8 engines are fast */
    int32_t cpus;                  /* that this process may use */
    int64_t memory_bytes, memory_free_bytes;
    char onednn[32];               /* version; "" if the program was built without */
    char cuda_driver[32];          /* newest CUDA the driver speaks, "12.4"; "" without driver */
    char cuda_problem[160];        /* why there is no usable GPU; "" if there is one */
    int32_t gpu_count;
    char gpu_name[PROBE_GPUS][128];
    int64_t gpu_bytes[PROBE_GPUS];
    char nccl[32], mpi[160];       /* versions; "" if not found */
} probe;

void probe_machine(probe *p);

#endif
