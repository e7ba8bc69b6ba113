#!/usr/bin/env bash
# The CUDA kernels compile for real GPUs, without spills that nobody explains. long_nvcc.sh does the same for all targets.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
nvcc_make() {
    env -u OUT -u BUILD -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s -j2 CUDA=1 SIMT=0 SAN= ${TEST_CUDA_ARCHS:+CUDA_ARCHS="$TEST_CUDA_ARCHS"} "$@"
}
if [ "$(make -s print-HAVE_NVCC)" = 0 ]; then skip "kernels/cuda compiles" "no nvcc"; tap_end; exit; fi
old_ptx() { nvcc_make CUDA_ARCHS=75 CUDA_PTX=75 print-CUDA_PTX 2>&1 | grep -q "use CUDA_PTX=80 or more"; }
ok "PTX of sm_75, whose kernels would trap on later GPUs, is refused" old_ptx
targets="$(nvcc_make print-CUDA_ARCHS) $(nvcc_make print-CUDA_PTX)"
objects=$(nvcc_make print-CUDA_OBJECTS)
ok "kernels/cuda compiles for $targets" nvcc_make cuda-objects
ok "no unexplained spills" tests/check/spills.sh "$objects"
libraries() { # what the objects want from a C++ run-time library
    nm "$objects"/kernels/cuda/*.o | awk '$1 == "U" && $2 ~ /^(__cxa_|__gxx_|_Zn|_Zd|_ZSt|_ZNSt|_ZNKSt)/ { print $2 }' | sort -u
}
ok "no C++ run-time library is needed" test -z "$(libraries)"
tap_end
