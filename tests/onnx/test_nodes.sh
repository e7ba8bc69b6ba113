#!/usr/bin/env bash
# ONNX's own test cases for every operator that Graft has a rule for; see node_cases.c.
cd "$(dirname "$0")/../.." || exit 1
data=/usr/share/libonnx-testdata/data
if [ ! -d $data/node ]; then
    echo "ok 1 - ONNX's test cases # SKIP libonnx-testdata is not installed"
    exit 0
fi
exec "$OUT/tests-onnx/node_cases" tests/onnx/node_skipped.txt $data/node $data/pytorch-converted $data/pytorch-operator $data/simple
