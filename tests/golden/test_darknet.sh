#!/usr/bin/env bash
# Our DarkNets against Debian's darknet. Needs python3-torch and darknet.
cd "$(dirname "$0")/../.." || exit 1
python=/usr/bin/python3
"$python" -c 'import torch' 2>/dev/null && [ -e /usr/lib/darknet/libdarknet.so ] || { echo "ok 1 - darknet # SKIP no darknet or no python3-torch"; exit 0; }
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
"$python" tests/golden/darknet.py "${OUT:-build}/graft" "${OUT:-build}/tests-golden/golden_run" "$folder" 2>"$folder/log" || { sed 's/^/# /' "$folder/log" | tail -20; exit 1; }
