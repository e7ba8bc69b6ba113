#!/usr/bin/env bash
# test_nvcc.sh for every target of a release.
cd "$(dirname "$0")/../.." || exit 1
TEST_CUDA_ARCHS=all exec bash tests/check/test_nvcc.sh
