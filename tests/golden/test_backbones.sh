#!/usr/bin/env bash
# Our networks against independent ones, weights copied. Needs Debian's python3-torch and python3-torchvision.
cd "$(dirname "$0")/../.." || exit 1
tool=${OUT:-build}/tests-golden/golden_run
python=/usr/bin/python3
"$python" -c 'import torch, torchvision' 2>/dev/null || { echo "ok 1 - torchvision # SKIP no python3-torchvision"; exit 0; }
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
# With each instruction set that this machine has, or with the one that is asked for.
[ -n "${GRAFT_CPU_ISA:-}" ] || export GRAFT_GOLDEN_ISAS="$(tests/check/isas.sh)"
"$python" tests/golden/backbones.py "$tool" "$folder" $GRAFT_GOLDEN_CASES
