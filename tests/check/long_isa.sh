#!/usr/bin/env bash
# All tests, with each instruction set below this machine's widest.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
sets=
[ -n "${GRAFT_CPU_ISA:-}" ] || sets=$(tests/check/isas.sh narrower)
[ -n "$sets" ] || skip "narrower instruction sets" "none, or GRAFT_CPU_ISA is set"
for isa in $sets; do ok "GRAFT_CPU_ISA=$isa: every test" env GRAFT_CPU_ISA="$isa" tests/run.sh test; done
tap_end
