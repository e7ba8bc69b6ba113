#!/usr/bin/env bash
# The test cases of the newest onnx package, where `make peers` has installed it: what Graft reads gives the right
# values, all else is refused; see node_cases.c. Debian's (test_nodes.sh) end at opset 17.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
peers=$PWD/bench/.venv/bin/python dir=$tap_dir/newest
export OMP_NUM_THREADS=1
if ! "$peers" -c 'import onnx.backend.test.case.node; assert onnx.defs.onnx_opset_version() > 17' 2>/dev/null; then
    skip "the newest onnx's cases" "bench/.venv has no onnx of opset 18 or newer: make peers"
    tap_end
    exit
fi
newest=$("$peers" -c 'import onnx; print(onnx.defs.onnx_opset_version())')
known=$(sed -n 's/.*ONNX_NEWEST_OPSET = \([0-9]*\).*/\1/p' core/ops/onnx.h)
if [ "$newest" -gt "$known" ]; then
    skip "the newest onnx's cases" "the package knows opset $newest, Graft $known"
    tap_end
    exit
fi
ok "onnx writes its cases" "$peers" tests/onnx/newest_cases.py "$dir"
"$OUT/tests-onnx/node_cases" --read-or-refused "$dir" >"$tap_dir/cases" 2>&1
ok "what is read gives the right values" test $? = 0
passed=$(grep -c '^ok' "$tap_dir/cases")
ok "$passed of them are read, at least 200" test "$passed" -ge 200
tap_end
