#!/usr/bin/env bash
# What this machine's widest instructions would hide: convolutions, refusals, training and INT8 with each narrower set, and that oneDNN, by its own
# word, is limited alike. All tests with each: tests/check/long_isa.sh.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
tool=$OUT/tests/kernelcheck

[ -z "${GRAFT_CPU_ISA:-}" ] || { skip "narrower instruction sets" "GRAFT_CPU_ISA is set"; tap_end; exit; }
says 2 "GRAFT_CPU_ISA=sse9 in the environment: expected base, avx2 or avx512" env GRAFT_CPU_ISA=sse9 "$OUT/graft" doctor

said_of() { # PATTERN: oneDNN names its instructions in the first lines, and the code that it generates in each
    ONEDNN_VERBOSE=2 "$tool" --only=conv2d_forward__cpu_dnnl --count=40 | grep ^onednn_verbose | grep -qiE "$1"
}
is_limited() { said_of 'jit' && ! said_of "$1"; }
sets=$(tests/check/isas.sh narrower)
[ -n "$sets" ] || skip "narrower instruction sets" "this CPU has the base alone"
for isa in $sets; do
    export GRAFT_CPU_ISA=$isa
    wider='avx512|vnni'
    [ "$isa" = avx2 ] || wider='avx2|avx512|vnni'
    if "$OUT/graft" --version | grep -q "^oneDNN not"; then skip "$isa: oneDNN" "it is not built in"
    else ok "$isa: oneDNN generates nothing wider" is_limited "$wider"
    fi
    ok "$isa: convolutions" "$tool" --only=conv2d --backend=cpu --count=100
    ok "$isa: every refusal is met" env ONLY_REFUSALS=1 tests/check/test_kernels.sh
    for test in test_train_run test_export_int8 test_export_engine test_prune; do ok "$isa: $test" "$OUT/tests/$test"; done
done
tap_end
