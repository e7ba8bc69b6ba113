#!/usr/bin/env bash
# The instruction sets of this CPU, as words of GRAFT_CPU_ISA, widest first. "narrower": without the widest.
case $("$OUT/graft" doctor --json | tr -d ' \n') in
*'"isa":"AVX-512"'*) sets=(avx512 avx2 base) ;;
*'"isa":"AVX2"'*) sets=(avx2 base) ;;
*) sets=(base) ;;
esac
[ "${1:-}" = narrower ] && sets=("${sets[@]:1}")
echo "${sets[*]}"
