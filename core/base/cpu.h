/* cpu.h: which instructions of this CPU the program may use.
 *
 * The widest set is that of the CPU, unless GRAFT_CPU_ISA=base|avx2|avx512 in the environment names a narrower one: for
 * checking what another machine would compute, and for results that must not change with the machine. oneDNN is limited
 * alike (kernels/cpu/dnnl_conv2d.h).
 *
 *     cpu_isa limit;
 *     TRY(cpu_isa_limit(&limit));            // refuses a word that is no set
 *     if (cpu_isa_widest() >= CPU_ISA_AVX2) ...
 */
#ifndef GRAFT_BASE_CPU_H
#define GRAFT_BASE_CPU_H

#include <stdbool.h>

#include "core/base/status.h"

/* Each set contains those before it. BASE: x86-64. AVX2: with FMA and BMI2. AVX512: with F, BW, CD, DQ and VL. */
typedef enum cpu_isa { CPU_ISA_BASE, CPU_ISA_AVX2, CPU_ISA_AVX512 } cpu_isa;

/* What GRAFT_CPU_ISA allows: all where it is not set or empty. E_USAGE where it names no set. */
status cpu_isa_limit(cpu_isa *limit);

bool cpu_isa_allowed(cpu_isa isa);    /* by GRAFT_CPU_ISA; a word that is no set allows the base alone */
bool cpu_isa_supported(cpu_isa isa);  /* by the CPU */
cpu_isa cpu_isa_widest(void);         /* that is allowed and supported */
const char *cpu_isa_title(cpu_isa isa); /* "SSE2", "AVX2", "AVX-512" */

#endif
