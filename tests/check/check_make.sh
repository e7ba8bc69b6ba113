#!/usr/bin/env bash
# The Makefile uses all processors unless it is told how many, and each target installs what it needs and no more.
. tests/tap.sh
unset MAKELEVEL MAKEFLAGS GNUMAKEFLAGS MFLAGS
work=$tap_dir
cpus=$(nproc)
same() { ok "$1" diff <(echo "$2") <(echo "$3"); }

# jobs WHAT.. : the -j that recipes see
jobs() { env "$@" CUDA=0 print-MAKEFLAGS 2>/dev/null | tr ' ' '\n' | grep -- '^-j' || echo none; }
same "all processors by default" "$(jobs make)" "-j$cpus"
same "-j3 is obeyed" "$(jobs make -j3)" -j3
same "-j1 is obeyed" "$(jobs make -j1)" -j1
same "--jobs=3 is obeyed" "$(jobs make --jobs=3)" -j3
same "MAKEFLAGS=-j3 is obeyed" "$(jobs MAKEFLAGS=-j3 make)" -j3
same "so is that of the make above" "$(printf 'all:\n\t+@$(MAKE) -C %s CUDA=0 print-MAKEFLAGS\n' "$PWD" | make -j3 -f - 2>/dev/null | grep -o -- '-j[0-9]*' | head -n 1)" -j3
same "speed is measured one at a time" "$(jobs make bench-nothing)" none

# On a machine that has no package at all.
mkdir "$work/bin"
printf '#!/bin/sh\nexit 1\n' >"$work/bin/dpkg-query"
printf '#!/bin/sh\necho "$@" >>"%s"\n' "$work/asked" >"$work/bin/apt-get"
printf '#!/bin/sh\n[ "$1" = -u ] && echo 0\n' >"$work/bin/id"
chmod +x "$work"/bin/*
wants() { : >"$work/asked"; PATH="$work/bin:$PATH" tests/deps.sh "$1" >/dev/null; grep install "$work/asked" | tr ' ' '\n'; }
wants build >"$work/build"
wants demo >"$work/demo"
wants test >"$work/test"
for p in gcc libc6-dev make libdnnl-dev libonnx-dev protobuf-c-compiler; do
    grep -qx "$p" "$work/build" || echo "$p"
done >"$work/lacking"
same "the build's packages" "$(cat "$work/lacking")" ""
same "the build wants no tests' package" "$(grep -E 'torch|opencv|darknet|clang|cmocka|testdata|python|graphviz' "$work/demo")" ""
same "the demo wants the data set beside" "$(grep -vxFf "$work/build" "$work/demo")" dataset-fashion-mnist
same "the tests want all of it" "$(grep -vxFf "$work/test" "$work/demo")" ""
for p in python3-torch python3-opencv darknet clang libcmocka-dev libonnx-testdata; do
    grep -qx "$p" "$work/test" || echo "$p"
done >"$work/lacking"
same "and the oracles" "$(cat "$work/lacking")" ""
tests/deps.sh everything >/dev/null 2>&1
same "another word is refused" $? 2
tap_end
