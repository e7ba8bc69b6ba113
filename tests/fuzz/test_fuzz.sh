#!/usr/bin/env bash
# libFuzzer on every tests/fuzz/fuzz_*.c, with AddressSanitizer (leaks too) and UndefinedBehaviorSanitizer: FUZZ_SECONDS (15) each, from FUZZ_SEED (1;
# 0: another one each time). Graft is built again for it, by clang, without oneDNN and OpenMP. A crash leaves its input in $OUT/fuzz/artifacts.
set -u
seconds=${FUZZ_SECONDS:-15} seed=${FUZZ_SEED:-1}
work=$OUT/fuzz
n=0 failed=0
tap() { n=$((n + 1)); echo "$1 $n - $2"; [ "$1" = ok ] || failed=1; }
if ! command -v clang >/dev/null || ! echo 'int LLVMFuzzerTestOneInput(const char*d,unsigned long n){return 0*n*!d;}' |
    clang -x c - -fsanitize=fuzzer,address -o /dev/null 2>/dev/null; then
    echo "ok 1 - fuzzing # SKIP clang with libFuzzer is not installed (clang, libclang-rt-14-dev)"
    exit 0
fi
mkdir -p "$work/artifacts" "$work/seeds"
/usr/bin/python3 tests/fuzz/seeds.py "$work/seeds" || exit 1
sanitizers=address,undefined
make() { CFLAGS="-Wno-pass-failed -fno-sanitize-recover=undefined" command make -s -j"$(nproc)" CC=clang OPT=-O1 CUDA=0 ONEDNN=0 OPENMP=0 \
    SAN=$sanitizers,fuzzer-no-link OUT="$work/build" OBJ="$work/build/obj" "$@"; }
if ! make "$work/build/libgraft-all.a" >"$work/build.log" 2>&1; then
    tail -n 20 "$work/build.log"
    tap "not ok" "build for fuzzing"
    exit 1
fi
libraries=$(make print-LDLIBS) || exit 1

fuzz() { # source
    local name seeds artifact
    name=$(basename "$1" .c)
    seeds=$work/seeds/$name
    artifact=$work/artifacts/$name-
    mkdir -p "$seeds"
    # shellcheck disable=SC2086
    clang -std=c11 -O1 -g -I. -D_GNU_SOURCE -fsanitize=fuzzer,$sanitizers -fno-sanitize-recover=undefined "$1" "$work/build/libgraft-all.a" \
        $libraries -o "$work/$name" >"$work/$name.log" 2>&1 || return 1
    FUZZ_SEEDS=$seeds "$work/$name" "$seeds" -seed="$seed" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 \
        -artifact_prefix="$artifact" >>"$work/$name.log" 2>&1
}

export -f fuzz
export work sanitizers seconds seed libraries
# Two at a time: one per processor of a small machine.
printf '%s\n' tests/fuzz/fuzz_*.c | xargs -P "$(nproc)" -I{} bash -c 'fuzz {}; echo "$? {}"' >"$work/codes"
while read -r code source; do
    name=$(basename "$source" .c)
    runs=$(grep -o 'Done [0-9]* runs' "$work/$name.log" | grep -o '[0-9]*')
    if [ "$code" = 0 ] && [ "${runs:-0}" -gt 0 ]; then
        tap ok "$name: $runs inputs in $seconds s"
    else
        grep -vE '^#[0-9]' "$work/$name.log" | tail -n 25 | sed 's/^/# /'
        tap "not ok" "$name"
    fi
done < <(sort -k2 "$work/codes")
exit $failed
