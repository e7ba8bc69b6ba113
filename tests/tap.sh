# shellcheck shell=bash
# tap.sh: what test scripts share. Source it, call `ok` or `skip` per check, end with `tap_end`.
#
#     . tests/tap.sh
#     ok "files are equal" cmp a b              # runs the command; its output is shown when it fails
#     says 2 "unknown key" graft ...            # exit code and a text in the output, named by the text
#     skip "man page" "man is not installed"
#     tap_end
tap_count=0 tap_failed=0
tap_dir=$(mktemp -d) && trap 'rm -rf "$tap_dir"' EXIT

tap_line() { tap_count=$((tap_count + 1)); echo "$1 $tap_count - $2"; }
ok() {
    local name=$1
    shift
    if "$@" >"$tap_dir/output" 2>&1; then tap_line ok "$name"; return; fi
    tap_failed=$((tap_failed + 1))
    tap_line "not ok" "$name"
    sed 's/^/# /' "$tap_dir/output" | tail -n 20
}
# says CODE TEXT COMMAND...: the command exits with CODE and its output contains TEXT.
says() {
    local code=$1 text=$2 name
    shift 2
    "$@" >"$tap_dir/said" 2>&1
    local got=$?
    name="exit $code, says: $text"
    if [ $got = "$code" ] && grep -qF -- "$text" "$tap_dir/said"; then tap_line ok "$name"; return; fi
    tap_failed=$((tap_failed + 1))
    tap_line "not ok" "$name"
    echo "# exit $got: $*"
    sed 's/^/# /' "$tap_dir/said" | tail -n 20
}
skip() { tap_line ok "$1 # SKIP $2"; }
tap_end() {
    echo "1..$tap_count"
    [ $tap_failed = 0 ]
}
