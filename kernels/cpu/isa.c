#include "kernels/cpu/isa.h"

const char *cpu_isa_refuse(cpu_isa isa)
{
    if (!cpu_isa_allowed(isa)) return "GRAFT_CPU_ISA forbids it";
    if (!cpu_isa_supported(isa)) return isa == CPU_ISA_AVX512 ? "no AVX-512" : "no AVX2";
    return NULL;
}
