#!/usr/bin/env bash
# Our detectors against torchvision's, weights copied: three minutes. Needs Debian's python3-torch and python3-torchvision.
. "$(dirname "$0")/backbones.sh"
"$python" tests/golden/detectors.py "$tool" "$folder"
