#!/usr/bin/env bash
# Our networks against independent ones, weights copied: one of each family here; long_backbones.sh has all of them.
# Needs Debian's python3-torch and python3-torchvision.
. "$(dirname "$0")/backbones.sh"
"$python" tests/golden/backbones.py "$tool" "$folder" \
    resnet10 resnet50 googlenet mobilenet_v1 mobilenet_v2 squeezenet1_1 || exit 1
# With each instruction set: one that has long sums in one chain, and one whose activations have a corner.
GRAFT_GOLDEN_ISAS=$isas "$python" tests/golden/backbones.py "$tool" "$folder" vgg19 darknet19
