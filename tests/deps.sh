#!/usr/bin/env bash
# Installs the Debian packages that are missing. Usage: tests/deps.sh [build|demo|demo-detect|test]
#   build  what make needs
#   demo   build, and the images that make demo trains on
#   demo-detect  build, and what draws the pictures of make demo-detect
#   test   demo, and what the tests compare with (PyTorch, OpenCV, darknet, ONNX's own cases) or run (clang's fuzzer): the default
set -u
build="gcc libc6-dev make libinih-dev libstb-dev libjpeg62-turbo-dev libpng-dev libgif-dev libwebp-dev libtiff-dev libheif-dev
libyajl-dev libxxhash-dev zlib1g-dev libdnnl-dev protobuf-c-compiler libprotobuf-c-dev libonnx-dev libexpat1-dev libyaml-dev"
demo="dataset-fashion-mnist"
test="g++ pkg-config libcmocka-dev python3 python3-torch python3-torchvision python3-numpy python3-pil python3-onnx
python3-opencv libonnx-testdata clang libclang-rt-14-dev darknet graphviz"
case ${1:-test} in
    build) packages=$build ;;
    demo) packages="$build $demo" ;;
    demo-detect) packages="$build python3" ;;
    test) packages="$build $demo $test" ;;
    *) echo "$0: $1: expected build, demo, demo-detect or test" >&2; exit 2 ;;
esac
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
