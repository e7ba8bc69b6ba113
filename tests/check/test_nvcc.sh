#!/usr/bin/env bash
# The CUDA kernels compile for a real architecture, without spills that nobody explains. long_nvcc.sh does the same for all.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
archs=${TEST_CUDA_ARCHS:-80} ptx=${TEST_CUDA_PTX:-}
nvcc=$(make -s print-NVCC)
if [ ! -x "$nvcc" ]; then skip "kernels/cuda compiles for $archs $ptx" "no nvcc"; tap_end; exit; fi
if ! compgen -G 'kernels/cuda/*.cu' >/dev/null; then skip "kernels/cuda compiles" "there are no kernels yet"; tap_end; exit; fi
folder=$OUT
if [ -n "${TEST_CUDA_ARCHS:-}" ] || ! compgen -G "$OUT/obj/kernels/cuda/*.ptxas" >/dev/null; then # not compiled with the program
    nvcc_build() { env -u OUT -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s CUDA=1 SIMT=0 SAN= BUILD="$OUT/nvcc-${archs// /-}" CUDA_ARCHS="$archs" CUDA_PTX="$ptx" "$@"; }
    folder=$(nvcc_build print-OUT)
    ok "kernels/cuda compiles for $archs${ptx:+ +$ptx}" nvcc_build -j2 cuda-objects
fi
ok "no unexplained spills" env OUT="$folder" tests/check/spills.sh
libraries() { # what the objects want from a C++ run-time library
    nm "$folder"/obj/kernels/cuda/*.o | awk '$1 == "U" && $2 ~ /^(__cxa_|__gxx_|_Zn|_Zd|_ZSt|_ZNSt|_ZNKSt)/ { print $2 }' | sort -u
}
ok "no C++ run-time library is needed" test -z "$(libraries)"
tap_end
