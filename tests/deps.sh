#!/usr/bin/env bash
# Installs the Debian packages that the build, the demo and the tests need, if any is missing.
set -u
packages="gcc g++ make pkg-config libinih-dev libstb-dev libjpeg62-turbo-dev libpng-dev libgif-dev libwebp-dev libtiff-dev libheif-dev
libyajl-dev libxxhash-dev
zlib1g-dev libdnnl-dev libcmocka-dev dataset-fashion-mnist python3 python3-torch python3-torchvision python3-numpy
python3-pil clang libclang-rt-14-dev protobuf-c-compiler libprotobuf-c-dev libonnx-dev libonnx-testdata python3-onnx
python3-opencv darknet graphviz"
missing=""
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
echo "installing:$missing"
run=""
if [ "$(id -u)" != 0 ]; then
    run=sudo
    command -v sudo >/dev/null || { echo "run as root or install sudo, or: apt-get install$missing" >&2; exit 1; }
fi
export DEBIAN_FRONTEND=noninteractive
$run apt-get update -qq && $run apt-get install -y -qq --no-install-recommends $missing >/dev/null
