#!/usr/bin/env bash
# test_nvcc.sh for every target of a release.
cd "$(dirname "$0")/../.." || exit 1
TEST_CUDA_ARCHS=$(make -s print-CUDA_ARCHS) TEST_CUDA_PTX=$(make -s print-CUDA_PTX) exec bash tests/check/test_nvcc.sh
