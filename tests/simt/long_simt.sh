#!/usr/bin/env bash
# test_simt.sh's checks with more descriptors, and the whole runtime and all kernels under AddressSanitizer, which is told of every change of
# fibres.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
make_simt() { env -u OUT -u BUILD -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s -j2 SIMT=1 "$@"; }
ok "make SIMT=1 simt-tests" make_simt simt-tests
ok "make SIMT=1 SAN=address kernelcheck" make_simt SAN=address simt-plain-tests
tests=$PWD/$(make_simt print-OUT)/tests address=$PWD/$(make_simt SAN=address print-OUT)/tests
export OMP_WAIT_POLICY=passive

says 1 "AddressSanitizer: use-after-poison" "$address/simt_faults" store_past_shared
says 1 "AddressSanitizer: use-after-poison" "$address/simt_faults" store_past_global
ok "twins under AddressSanitizer" "$address/simt_twins"
ok "runtime under AddressSanitizer" "$address/simt_runtime"
for sm in 75 80 90; do
    GRAFT_SIMT_SM=$sm ok "all variants as sm_$sm" "$tests/kernelcheck" --backend=cuda --count=200 --seed=1
    GRAFT_SIMT_SM=$sm ok "all variants as sm_$sm, watched" "$tests/kernelcheck-watched" --backend=cuda --count=60 --seed=${sm}000
    GRAFT_SIMT_SM=$sm ok "all variants as sm_$sm under AddressSanitizer" "$address/kernelcheck" --backend=cuda --count=40 --seed=${sm}000
done
for order in 1 2 3 4; do
    GRAFT_SIMT_ORDER=$order ok "all variants in random order $order" "$tests/kernelcheck" --backend=cuda --count=40 --seed=${order}000
done
tap_end
