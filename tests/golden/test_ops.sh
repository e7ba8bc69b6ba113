#!/usr/bin/env bash
# Reference kernels against PyTorch in float64. Needs Debian's python3-torch.
cd "$(dirname "$0")/../.." || exit 1
python=/usr/bin/python3
"$python" -c 'import torch' 2>/dev/null || { echo "ok 1 - ops # SKIP no python3-torch"; exit 0; }
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
"$python" tests/golden/ops.py "${OUT:-build}/tests-golden/kernel_run" "$folder"
