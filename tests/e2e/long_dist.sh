#!/usr/bin/env bash
# test_dist.sh with the CUDA kernels of every target.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
if [ "$(make -s print-HAVE_NVCC)" = 0 ]; then skip "a bundle with CUDA" "no nvcc"; tap_end; exit; fi
TEST_DIST_CUDA=1 exec bash tests/e2e/test_dist.sh
