#!/usr/bin/env bash
# The command line: exit codes, messages, completion, man page, JSON.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
graft=${OUT:-build}/graft
dir=$tap_dir

# ---- commands and options that do not exist
says 2 "no command" "$graft"
says 0 "usage: graft COMMAND" "$graft" --help
says 0 "usage: graft COMMAND" "$graft" help
says 0 "usage: graft train" "$graft" help train
says 0 "train.epochs=80" "$graft" train --help
says 2 "unknown command trian; did you mean train?" "$graft" trian
says 2 "unknown command zebra; \`graft --help\` lists all" "$graft" zebra
says 2 "unknown option --verbos; did you mean --verbose?" "$graft" doctor --verbos
says 2 "unknown option -ptx; did you mean -pth?" "$graft" prune -ptx 0.1
says 2 "unknown option -x; \`graft export --help\` lists all" "$graft" export -x
says 2 "-pth needs a value: -pth NUMBER" "$graft" prune model -pth
says 2 "-pth needs a value: -pth NUMBER" "$graft" prune model -pth -nf 3
says 2 "--json takes no value" "$graft" doctor --json=yes
says 2 "unexpected argument x" "$graft" doctor x
says 2 "too few arguments: expected FILE" "$graft" inspect
says 2 "this command reads no spec" "$graft" doctor train.epochs=3
says 2 "expected a command in front of --json" "$graft" --json doctor

# ---- specs
cat >"$dir/typos.ini" <<'INI'
# three lines are fine
[model]
arch = resnet19

[trian]
seed = 3
[train]
epoch = 10
batch_size = lots
    patience = 0
epochs
output = "runs
[schedule]
type = cosinus
milestones = 0.5 0.4
INI
"$graft" spec --check "$dir/typos.ini" data.format=zip >"$dir/said" 2>&1
ok "check: exit code 2" test $? = 2
expect() { ok "check reports line $1: $2" grep -qF -- "typos.ini:$1: $2" "$dir/said"; }
expect 3 "model.arch = resnet19: unknown network; did you mean resnet1"
expect 5 "[trian]: unknown section; did you mean [train]?"
expect 8 "train.epoch = 10: unknown key; did you mean train.epochs?"
expect 9 "train.batch_size = lots: expected auto or an integer from 0 to 65536 (default 32)"
expect 10 "train.patience = 0: expected an integer from 1 to 100000 (default 10)"
expect 11 "epochs: expected [section] or key = value: there is no ="
expect 12 "the closing quote is missing"
expect 14 "schedule.type = cosinus: expected one of"
expect 15 "schedule.milestones = 0.5 0.4: expected ascending numbers"
ok "check reports the override" grep -qF "command line: data.format = zip: expected one of" "$dir/said"
ok "check reports nothing else" test "$(grep -c 'typos.ini:\|command line:' "$dir/said")" = 10
ok "check goes through the file in order" sh -c 'grep -o "ini:[0-9]*" "$0" | cut -d: -f2 | sort -nc' "$dir/said"
ok "check counts" grep -qF "10 mistakes in the spec" "$dir/said"
says 9 "no-such.ini: cannot open" "$graft" spec --check "$dir/no-such.ini"
says 2 "did you mean train.epochs?" "$graft" train epochs=3
says 2 "unknown network; did you mean resnet50?" "$graft" spec resnet5O
says 2 "expected one of: graft spec NETWORK" "$graft" spec
echo mine >"$dir/kept.ini"
says 2 "kept.ini exists; --force overwrites it" "$graft" spec resnet18 -o "$dir/kept.ini"
ok "and is as it was" grep -qx mine "$dir/kept.ini"
ok "--force overwrites" "$graft" spec resnet18 -o "$dir/kept.ini" --force
says 2 "expected one of: graft spec NETWORK" "$graft" spec resnet18 --show /dev/null

for network in resnet10 resnet18 resnet34 resnet50 resnet101; do
    "$graft" spec $network >"$dir/$network.ini" 2>"$dir/error"
    says 0 "no mistakes" "$graft" spec --check "$dir/$network.ini"
    ok "spec $network names the network" grep -qx "arch = $network" "$dir/$network.ini"
done
"$graft" spec resnet18 "train.output=my runs ; x" train.epochs=7 -o "$dir/mine.ini"
ok "spec with overrides, to a file" grep -qxF 'output = "my runs ; x"' "$dir/mine.ini"
"$graft" spec --show "$dir/mine.ini" train.epochs=9 >"$dir/shown"
ok "show: value and origin of an override" grep -qE '^epochs = 9 +; command line$' "$dir/shown"
ok "show: value and origin from a file" grep -qE "^output = \"my runs ; x\" +; .*mine.ini:[0-9]+\$" "$dir/shown"
"$graft" spec --show /dev/null >"$dir/shown"
ok "show: origin of a default" grep -qE '^seed = 42 +; default$' "$dir/shown"
says 0 "no mistakes" "$graft" spec --check "$dir/shown"

# ---- TLT's prune flags set the same options as the spec
says 2 "prune.equalization = sum: expected one of union" "$graft" prune model -eq sum
says 2 "prune.min_filters = 0: expected an integer from 1" "$graft" prune model -nf 0
says 2 "prune.normalizer = l3: expected one of max, l2, off" "$graft" prune model -n L3

# ---- JSON
json() { python3 -m json.tool "$1"; }
"$graft" spec --check "$dir/typos.ini" --json >"$dir/out.json" 2>/dev/null
ok "JSON of a failed check" json "$dir/out.json"
ok "JSON: every mistake with line, key, value and nearest" python3 - "$dir/out.json" <<'PY'
import json, sys
result = json.load(open(sys.argv[1]))
assert result["status"] == "error" and result["code"] == 2, result
errors = {e["line"]: e for e in result["errors"]}
assert len(result["errors"]) == 9, result
assert errors[8]["key"] == "epoch" and errors[8]["value"] == "10" and errors[8]["nearest"] == "train.epochs", errors
assert errors[10]["expected"] == "an integer from 1 to 100000" and errors[10]["nearest"] is None, errors
PY
"$graft" trian --json >"$dir/out.json" 2>/dev/null
ok "JSON of an unknown command" python3 -c "
import json
r = json.load(open('$dir/out.json'))
assert r['code'] == 2 and 'did you mean train' in r['errors'][0]['text'], r"
for words in "doctor" "spec resnet18" "spec --show /dev/null" "spec --check /dev/null" "completion bash" man "--version"; do
    # shellcheck disable=SC2086
    "$graft" $words --json >"$dir/out.json"
    ok "JSON of $words" python3 -c "
import json
r = json.load(open('$dir/out.json'))
assert r['status'] == 'ok' and r['code'] == 0, r"
done
"$graft" doctor --json >"$dir/out.json"
ok "doctor knows processors, memory and a verdict" python3 -c "
import json, os
r = json.load(open('$dir/out.json'))
assert r['cpus'] == len(os.sched_getaffinity(0)) and r['memory_bytes'] > 1e8 and len(r['verdict']) > 20, r"
ok "doctor knows whether oneDNN is built in" python3 -c "
import json
r = json.load(open('$dir/out.json'))
built_in = b'libdnnl.so' in open('$graft', 'rb').read()
assert (r['onednn'] is not None) == built_in and ('dnnl' in r['kernel_f32']) == built_in, r"
says 0 "memory" "$graft" doctor
says 0 "Graft 0." "$graft" --version
says 9 "cannot write to stdout" bash -c "'$graft' doctor >/dev/full"
says 9 "Bad file descriptor" bash -c "'$graft' spec resnet18 --log-file '$dir/closed.log' >&-"
ok "a file does not take the place of a closed stdout" test ! -s "$dir/closed.log"
says 9 "No space left on device" bash -c "'$graft' spec resnet18 >/dev/full"

# ---- logs
"$graft" doctor --log-file "$dir/no/such/folder/log" >/dev/null 2>"$dir/said"
ok "an unwritable log file is E_IO" test $? = 9

# ---- completion and man page: every command, option and key is there
"$graft" completion bash >"$dir/completion"
ok "completion is bash" bash -n "$dir/completion"
says 2 "expected bash" "$graft" completion fish
"$graft" man >"$dir/graft.1"
commands="train evaluate infer prune export calibrate convert anchors import inspect spec doctor bench"
for command in $commands; do "$graft" "$command" --help; done >"$dir/helps"
ok "every section is in some command's help" sh -c '
    for section in $(sed -n "s/^\.SS \[\(.*\)\]$/\1/p" "$0"); do grep -q "^\[$section\] " "$1" || { echo "$section"; exit 1; }; done
    test -n "$section"' "$dir/graft.1" "$dir/helps"
missing() { # FILE: commands, options and keys that it lacks
    for command in $commands; do
        grep -qw "$command" "$1" || echo "command $command"
        "$graft" "$command" --help | grep -oE '^  (-[a-z]+, )?--[a-z-]+' | tr -d ' ' | tr ',' '\n' | while read -r option; do
            sed 's/\\-/-/g' "$1" | grep -qE -- "(^|[^a-z-])$option([^a-z-]|\$)" || echo "option $option"
        done
    done
    "$graft" spec resnet18 | grep -oE '^[a-z0-9_]+ =' | tr -d ' =' | while read -r key; do
        grep -qE "(^|[^a-z_])$key([^a-z_]|\$)" "$1" || echo "key $key"
    done
}
ok "completion lists all commands, options and keys" test -z "$(missing "$dir/completion")"
ok "man page lists all commands, options and keys" test -z "$(missing "$dir/graft.1")"
# shellcheck disable=SC2317 # compopt is called by _graft
complete_words() { # WORDS...: what bash would offer for the last one
    # shellcheck disable=SC1091
    ( . "$dir/completion"; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }; _graft; printf '%s\n' "${COMPREPLY[@]}" )
}
ok "completes a command" test "$(complete_words graft eva)" = evaluate
ok "completes an option's value" test "$(complete_words graft export --format on)" = onnx
ok "completes a file behind an option" test "$(cd "$dir" && complete_words graft export -o kept)" = kept.ini
ok "completes an option" test "$(complete_words graft prune --excl)" = --excluded-layers
ok "completes a key" test "$(complete_words graft train train.epo)" = train.epochs=
ok "completes a choice" test "$(complete_words graft train train.precision = bf)" = bf16
ok "completes a network" test "$(complete_words graft spec resnet101)" = resnet101
if command -v man >/dev/null; then
    man --warnings -l "$dir/graft.1" >"$dir/page" 2>"$dir/warnings"
    ok "the man page renders" grep -q "EXIT STATUS" "$dir/page"
    ok "without warnings" test ! -s "$dir/warnings"
else
    skip "the man page renders" "man is not installed"
fi
tap_end
