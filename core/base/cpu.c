#include "core/base/cpu.h"

#include <stdlib.h>
#include <string.h>

status cpu_isa_limit(cpu_isa *limit)
{
    static const char *const names[] = {"base", "avx2", "avx512"};
    const char *name = getenv("GRAFT_CPU_ISA");
    *limit = CPU_ISA_AVX512;
    if (!name || !*name) return OK;
    for (int i = CPU_ISA_BASE; i <= CPU_ISA_AVX512; i++) {
        *limit = (cpu_isa)i;
        if (strcmp(name, names[i]) == 0) return OK;
    }
    *limit = CPU_ISA_BASE;
    return FAIL(E_USAGE, "GRAFT_CPU_ISA=%.32s in the environment: expected base, avx2 or avx512, or unset it", name);
}

bool cpu_isa_allowed(cpu_isa isa)
{
    cpu_isa limit;
    (void)cpu_isa_limit(&limit); /* opening the device has said what is wrong */
    return isa <= limit;
}

bool cpu_isa_supported(cpu_isa isa)
{
    bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
              __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
              __builtin_cpu_supports("avx512cd");
    return isa == CPU_ISA_AVX512 ? v4 : isa == CPU_ISA_AVX2 ? v3 : true;
}

cpu_isa cpu_isa_widest(void)
{
    int isa = CPU_ISA_AVX512;
    while (isa > CPU_ISA_BASE && !(cpu_isa_allowed((cpu_isa)isa) && cpu_isa_supported((cpu_isa)isa))) isa--;
    return (cpu_isa)isa;
}

const char *cpu_isa_title(cpu_isa isa)
{
    static const char *const titles[] = {"SSE2", "AVX2", "AVX-512"};
    return titles[isa];
}
