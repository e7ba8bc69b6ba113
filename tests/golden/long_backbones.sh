#!/usr/bin/env bash
# All networks of test_backbones.sh, with each instruction set that this machine has (half an hour on two cores).
. "$(dirname "$0")/backbones.sh"
GRAFT_GOLDEN_ISAS=$isas "$python" tests/golden/backbones.py "$tool" "$folder"
