#include "kernels/cpu/isa.h"

#include <stdlib.h>
#include <string.h>

/* The widest set that GRAFT_ISA allows: for checking the narrower ones, and for results that must not change with the CPU. */
static cpu_isa allowed(void)
{
    const char *name = getenv("GRAFT_ISA");
    if (name && strcmp(name, "base") == 0) return CPU_ISA_BASE;
    if (name && strcmp(name, "avx2") == 0) return CPU_ISA_AVX2;
    return CPU_ISA_AVX512;
}

const char *cpu_isa_refuse(cpu_isa isa)
{
    if (isa > allowed()) return "GRAFT_ISA forbids it";
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
    if (isa == CPU_ISA_AVX512 && !v4) return "no AVX-512";
    if (isa == CPU_ISA_AVX2 && !v3) return "no AVX2";
    return NULL;
}
