#!/usr/bin/env bash
# Runs the tests of a level and counts. Usage: OUT=build tests/run.sh check|test|long [name pattern]
#
# A test speaks TAP: "ok 1 - name", "not ok 2 - name", "ok 3 - name # SKIP why". What runs:
#   check   $OUT/tests/test_* (cmocka programs) and tests/*/check_*.sh     under a minute
#   test    check, and tests/*/test_*.sh
#   long    test, and tests/*/long_*.sh
# Scripts get OUT and GRAFT_SHARED (default ../shared; tests skip with a message when data is not there).
set -u
cd "$(dirname "$0")/.." || exit 1
level=${1:-check} pattern=${2:-}
export OUT=${OUT:-build} GRAFT_SHARED=${GRAFT_SHARED:-../shared} CMOCKA_MESSAGE_OUTPUT=TAP GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}
# A request for too much memory must fail under a sanitizer as it fails elsewhere.
export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1} TSAN_OPTIONS=${TSAN_OPTIONS:-allocator_may_return_null=1}
logs=$OUT/test-logs${GRAFT_CPU_ISA:+-$GRAFT_CPU_ISA} # each instruction set its own
mkdir -p "$logs"

suites=$(ls "$OUT"/tests/test_* tests/*/check_*.sh 2>/dev/null | grep -v '\.d$')
[ "$level" = check ] || suites="$suites $(ls tests/*/test_*.sh 2>/dev/null)"
[ "$level" = long ] && suites="$suites $(ls tests/*/long_*.sh 2>/dev/null)"

passed=0 failed=0 skipped=0 broken=""
for suite in $suites; do
    case "$suite" in *"$pattern"*) ;; *) continue ;; esac
    name=$(basename "$suite" .sh)
    log=$logs/$name.log
    start=$(date +%s)
    case "$suite" in *.sh) bash "$suite" >"$log" 2>&1 ;; *) "$suite" >"$log" 2>&1 ;; esac
    code=$?
    sed -i -E 's/^not (ok [0-9]+ # SKIP)/\1/' "$log" # cmocka 1.1.5 writes a skipped test so
    skip=$(grep -ciE '^ok .*# *skip' "$log")
    good=$(($(grep -cE '^ok ' "$log") - skip))
    bad=$(grep -cE '^not ok ' "$log")
    # A program that dies, or says nothing, has failed whatever it counted.
    if [ "$bad" = 0 ] && { [ $code != 0 ] || [ $((good + skip)) = 0 ]; }; then bad=1; fi
    passed=$((passed + good)) failed=$((failed + bad)) skipped=$((skipped + skip))
    printf '%-44s %5d passed %3d failed %3d skipped  %4ds\n' "$name" "$good" "$bad" "$skip" $(($(date +%s) - start))
    grep -iE '^ok .*# *skip' "$log" | sed 's/^/    /' | head -3
    if [ "$bad" != 0 ]; then
        broken="$broken $name"
        { grep -vE '^ok ' "$log" | tail -n 40; } | sed 's/^/    /'
    fi
done
[ -z "$broken" ] || echo "failed:$broken (logs in $logs)"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
