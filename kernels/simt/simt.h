/* simt.h: what device code compiled for the CPU calls: the runtime under common.cuh, ptx.h and include/cuda_runtime.h.
 *
 * Kernels run on the CPU, one fibre per thread of a block, blocks spread over OS threads (docs/SIMT.md). A thread runs
 * until it waits: at a barrier of its block, or at a warp-wide operation until the 32 lanes have arrived. What is wrong
 * with a kernel (a barrier that not all reach, a write past an array) ends the launch with E_DEVICE and a text that
 * names kernel, block and thread.
 */
#ifndef GRAFT_SIMT_SIMT_H
#define GRAFT_SIMT_SIMT_H

#include <cuda_runtime_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A place in a source: what std::source_location::current() points to. */
typedef struct simt_site {
    const char *file, *function;
    unsigned line, column;
} simt_site;

/* Runs body(closure) once per thread, now or, while the stream is captured, when the graph is launched: the closure is
 * then copied. `kernel` names it in reports. */
status simt_launch_closure(void (*body)(const void *closure), const void *closure, size_t closure_bytes,
    const void *kernel, dim3 grid, dim3 block, size_t shared_bytes, void *stream);

/* The block's array of that key, uninitialised, the same for all its threads; 128-byte aligned, between guard bands. */
void *simt_shared(const void *key, size_t bytes, const char *name);
void *simt_shared_dynamic(void);

/* Waits until every thread of the block is here; all must come from the same line. */
void simt_barrier(const simt_site *site);

/* Waits until the 32 lanes of the warp are here with the same `combine`; then combine(arguments, lanes) has been called
 * once. Lanes that the block does not have are NULL. */
typedef void simt_combine(void *const arguments[32]);
void simt_collective(simt_combine *combine, const char *name, void *argument, const simt_site *site);

/* Ends the launch with this text. */
void simt_fault(const simt_site *site, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* Faults unless the imaginary GPU is of that architecture or later. */
void simt_needs(int32_t sm, const char *what, const simt_site *site);

/* cp.async: takes effect in the wait, oldest group first. */
void simt_cp_async(void *shared, const void *global, int32_t bytes, bool valid, const simt_site *site);
void simt_cp_async_commit(void);
void simt_cp_async_wait(int32_t pending);

/* --------------------------------------------------------------------------------------------- warp-wide operations */

/* Arguments of the combine functions below, one per lane. */
typedef struct simt_exchange {
    uint64_t value;   /* in: this lane's; out: the source lane's */
    int32_t source;   /* lane */
} simt_exchange;
typedef struct simt_vote {
    uint32_t value;   /* in: 0 or 1; out: a bit per lane */
} simt_vote;
typedef struct simt_ldmatrix {
    uint32_t *fragments;
    const void *row;
} simt_ldmatrix;
typedef struct simt_mma {
    void *d;
    const uint32_t *a, *b;
} simt_mma;

void simt_combine_exchange(void *const arguments[32]);
void simt_combine_vote(void *const arguments[32]);
void simt_combine_nothing(void *const arguments[32]);
void simt_combine_ldmatrix_x2(void *const arguments[32]);
void simt_combine_ldmatrix_x4(void *const arguments[32]);
void simt_combine_ldmatrix_x2_trans(void *const arguments[32]);
void simt_combine_ldmatrix_x4_trans(void *const arguments[32]);
void simt_combine_mma_f16_k16(void *const arguments[32]);
void simt_combine_mma_bf16_k16(void *const arguments[32]);
void simt_combine_mma_tf32_k8(void *const arguments[32]);
void simt_combine_mma_f16_k8(void *const arguments[32]);
void simt_combine_mma_s8_k32(void *const arguments[32]);
void simt_combine_mma_u8s8_k32(void *const arguments[32]);
void simt_combine_mma_s8_k16(void *const arguments[32]);

#ifdef __cplusplus
}

#include <source_location>

/* Default argument of everything that waits: the caller's line. */
typedef std::source_location simt_here;
static_assert(sizeof(simt_here) == sizeof(const simt_site *), "a source location is a pointer to its record");
#define SIMT_HERE simt_here at = std::source_location::current()

static inline const simt_site *simt_site_of(simt_here at)
{
    return __builtin_bit_cast(const simt_site *, at);
}

static inline void __syncthreads(SIMT_HERE)
{
    simt_barrier(simt_site_of(at));
}

template <typename Body>
static inline status simt_launch(
    Body body, const void *kernel, dim3 grid, dim3 block, size_t shared_bytes, void *stream)
{
    static_assert(__is_trivially_copyable(Body), "kernel arguments are plain data");
    auto call = [](const void *closure) { (*(const Body *)closure)(); };
    return simt_launch_closure(call, &body, sizeof body, kernel, grid, block, shared_bytes, stream);
}
#endif
#endif
