# Sourced: where golden_run and PyTorch are, or a message that they are not; a folder that goes at the end.
cd "$(dirname "$0")/../.." || exit 1
tool=${OUT:-build}/tests-golden/golden_run
python=/usr/bin/python3
"$python" -c 'import torch, torchvision' 2>/dev/null || { echo "ok 1 - torchvision # SKIP no python3-torchvision"; exit 0; }
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
# Each instruction set that this machine has, or the one that is asked for.
isas=
[ -n "${GRAFT_CPU_ISA:-}" ] || isas=$(tests/check/isas.sh)
