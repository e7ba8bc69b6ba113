#!/usr/bin/env bash
# The CUDA kernels on the CPU (docs/SIMT.md): the runtime itself with planted faults, then every CUDA variant of kernels.def against the
# reference: as each generation of GPU, in random orders of the threads, and with every access watched.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
make_simt() { env -u OUT -u BUILD -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s -j2 SIMT=1 "$@"; }
ok "make SIMT=1 simt-tests" make_simt simt-tests
tests=$PWD/$(make_simt print-OUT)/tests
export OMP_WAIT_POLICY=passive

ok "twins of ptx.cuh against the manual's formulas" "$tests/simt_twins"
ok "twins, watched" "$tests/simt_twins-watched"
ok "planted faults that need no watching; the same bits in any order without them" "$tests/simt_faults"
ok "planted faults, watched" "$tests/simt_faults-watched" --watched
ok "the runtime's API: memory, graphs, host threads" "$tests/simt_runtime"
ok "the runtime's API, watched" "$tests/simt_runtime-watched"
GRAFT_SIMT_ORDER=1 ok "twins in a random order" "$tests/simt_twins"

# Reasons for refusing a descriptor, as two generations of GPU give them, and no GPU.
for gpu in GRAFT_SIMT_SM=75 GRAFT_SIMT_SM=80 GRAFT_SIMT_DEVICES=0; do
    env $gpu "$tests/kernelcheck" --backend=cuda --refusals --count=6000
done >"$tap_dir/met"
never_met() { tests/check/refusals.sh "$tap_dir/met" kernels/cuda/*.cu kernels/cuda/*.cuh | grep '^never'; }
ok "every reason for refusing is met: $(wc -l <"$tap_dir/met")" test -z "$(never_met)"

# A failure prints the command that repeats it; the environment is in the name.
variants() { # NAME PROGRAM ARGUMENTS...
    local name=$1
    shift
    "$@" --backend=cuda >"$tap_dir/variants" 2>&1
    local code=$?
    [ $code = 0 ] || grep -v '^ok' "$tap_dir/variants" | sed 's/^not ok [0-9]* /# failed /'
    ok "$name: $(grep -c '^ok.*accepted' "$tap_dir/variants") variants run, $(grep -c '^ok.*SKIP' "$tap_dir/variants") refuse all" test $code = 0
}
for sm in 75 80 90; do GRAFT_SIMT_SM=$sm variants "as sm_$sm" "$tests/kernelcheck" --count=30 --seed=${sm}00; done
for sm in 75 80; do GRAFT_SIMT_SM=$sm variants "watched, as sm_$sm" "$tests/kernelcheck-watched" --count=10 --seed=${sm}00; done
for order in 1 2; do GRAFT_SIMT_ORDER=$order variants "in random order $order" "$tests/kernelcheck" --count=8 --seed=${order}000; done
GRAFT_SIMT_THREADS=1 variants "on one OS thread" "$tests/kernelcheck" --count=5 --seed=5000
tap_end
