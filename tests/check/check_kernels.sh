#!/usr/bin/env bash
# Every kernel variant on a few descriptors per op, and the planted mutants.
"$OUT/tests/kernelcheck" --count=40 || exit 1
"$OUT/tests/kernelcheck" --mutants --count=400 || exit 1
