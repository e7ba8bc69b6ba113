/* isa.h: kernels/cpu sources are compiled once per instruction set (Makefile: CPU_ISAS) with CPU_ISA defined to
 * its name; each compilation defines its own variants, listed by KERNEL_CPU in kernels.def, and a CPU refuses
 * those it cannot run. So all loops, the parallel ones too, are vectorised for the set, and the harness checks all
 * of them. Private to kernels/cpu.
 *
 *     static const char *refuse(const void *desc)
 *     {
 *         const act_desc *d = desc;
 *         return d->type == DTYPE_F32 ? CPU_REFUSE() : "f32 only";
 *     }
 *     CPU_KERNEL(act_forward, OP_ACT_FORWARD, .refuse = refuse, .run = run);
 *
 * Loops over elements are marked `omp simd`, not `restrict`: dst may be exactly src. Work is split into pieces that
 * depend on the shape only, and partial results are combined in order: the bits do not depend on the number of threads.
 */
#ifndef GRAFT_CPU_ISA_H
#define GRAFT_CPU_ISA_H

#include "core/base/cpu.h"
#include "kernels/kernels.h"

/* NULL if this CPU and GRAFT_CPU_ISA allow `isa`; else why not. */
const char *cpu_isa_refuse(cpu_isa isa);

#ifdef CPU_ISA
#if defined CPU_ISA_avx512
#define CPU_REFUSE() cpu_isa_refuse(CPU_ISA_AVX512)
#elif defined CPU_ISA_avx2
#define CPU_REFUSE() cpu_isa_refuse(CPU_ISA_AVX2)
#else
#define CPU_REFUSE() cpu_isa_refuse(CPU_ISA_BASE)
#endif
#define CPU_JOIN_(stem, isa) stem##_##isa
#define CPU_JOIN(stem, isa) CPU_JOIN_(stem, isa)
#define CPU_TEXT_(isa) #isa
#define CPU_TEXT(isa) CPU_TEXT_(isa)

/* Defines the variant `stem`__cpu_ISA, or for CPU_KERNEL_AS `stem`__cpu_technique_ISA. */
#define CPU_KERNEL_AS(stem, technique, kernel_op, ...)                                                                 \
    const kernel CPU_JOIN(stem##__cpu_##technique, CPU_ISA) = {                                                        \
        .op = (kernel_op), .backend = BACKEND_CPU, .name = #stem "__cpu_" #technique "_" CPU_TEXT(CPU_ISA), __VA_ARGS__}
#define CPU_KERNEL(stem, kernel_op, ...)                                                                               \
    const kernel CPU_JOIN(stem##__cpu, CPU_ISA) = {                                                                    \
        .op = (kernel_op), .backend = BACKEND_CPU, .name = #stem "__cpu_" CPU_TEXT(CPU_ISA), __VA_ARGS__}
#endif

/* One piece of an elementwise loop: large enough to pay for handing it out, small enough to balance. */
enum { CPU_CHUNK = 16384 };

/* Below this many elements a loop runs in the calling thread. */
enum { CPU_SERIAL = 32768 };

static inline int64_t cpu_chunks(int64_t count)
{
    return (count + CPU_CHUNK - 1) / CPU_CHUNK;
}

static inline int64_t cpu_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* act(x), folded to a few instructions where `act` is a constant. Not for the exponential ones. NaN stays NaN. */
static inline float cpu_activate(float x, activation act, float alpha, float beta)
{
    switch (act) {
    case ACT_RELU: return x < 0.0f ? 0.0f : x;
    case ACT_RELU6: return x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x;
    case ACT_LEAKY: return x > 0.0f ? x : alpha * x;
    case ACT_CLIP: return x < alpha ? alpha : x > beta ? beta : x;
    default: return x;
    }
}

/* g * act'(x), for x the input or, of those that bn_desc allows, the output of the activation. */
static inline float cpu_activate_gradient(float g, float x, activation act, float alpha, float beta)
{
    switch (act) {
    case ACT_RELU: return x > 0.0f ? g : 0.0f;
    case ACT_RELU6: return x > 0.0f && x < 6.0f ? g : 0.0f;
    case ACT_LEAKY: return x > 0.0f ? g : alpha * g;
    case ACT_CLIP: return x > alpha && x < beta ? g : 0.0f;
    default: return g;
    }
}

/* Rounds half to even and saturates to [low, high], both within int16. NaN gives 0. Plain arithmetic, so that it
 * vectorises: adding 1.5 * 2^23 leaves the integer in the low bits of the sum. */
static inline int32_t cpu_round(float x, float low, float high)
{
    const float magic = 12582912.0f;
    x = x == x ? x : 0.0f;
    x = x < low ? low : x;
    x = x > high ? high : x;
    return (int32_t)((x + magic) - magic);
}

/* Expands CASE(act) for every activation that needs no exponential. */
#define CPU_ACT_CASES(CASE) CASE(ACT_NONE) CASE(ACT_RELU) CASE(ACT_RELU6) CASE(ACT_LEAKY) CASE(ACT_CLIP)

static inline bool cpu_act_is_simple(activation act)
{
    return act != ACT_SIGMOID && act != ACT_SWISH;
}

#endif
