#!/usr/bin/env bash
# Idioms that have one spelling: 64-bit numbers are printed with PRId64 and its like, without casts; memory comes from core/base/arena.h,
# which knows how many bytes it could not have. In the folders that keep to it so far.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

# never WHAT PATTERN PATH...: no line of these files has it.
never() {
    local what=$1 pattern=$2 found
    shift 2
    found=$(git grep -nE "$pattern" -- "$@")
    ok "$what" test -z "$found"
    [ -z "$found" ] || while read -r line; do echo "# $line"; done <<<"$found"
}
folders=(core/base core/config core/graph core/ops kernels ':!kernels/simt/include')
never 'no %lld and no cast to long long' '%[0-9]*ll[dux]|\((unsigned )?long long\)' "${folders[@]}"
# kernels/simt stands for a driver's own allocations; .cu files are C++.
memory=('core/base/*.c' 'core/config/*.c' 'core/graph/*.c' 'core/ops/*.c' 'kernels/*.c' ':!kernels/simt' ':!core/base/arena.c')
never 'memory comes from arena.h' '\b(malloc|calloc|realloc|strdup|strndup|asprintf)\(' "${memory[@]}"
never 'nobody guesses how many bytes were missing' 'FAIL_MEMORY\(' "${memory[@]}"
tap_end
