#!/usr/bin/env bash
# What to run on a machine with a GPU, from a bundle (make dist) or a build: the harness on the device, compute-sanitizer on a small run,
# times, and training twice with the same bits. Writes one text file with GPU, driver and commit.
#
#     bench/gpu.sh [FILE]          default: gpu-NAME.txt beside this script, bench/results/gpu-NAME.txt in the repository
#
# GRAFT_BIN: folder of graft and kernelcheck. GRAFT_DATA: a data set as `graft train` takes it; without one, images are drawn here.
# COUNT: descriptors per op for the harness (400). LIGHT=1: fewer, and neither sanitizer nor times. NETWORK, WIDTH:
# what is trained (resnet18, 0.5).
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
bin=${GRAFT_BIN:-}
for folder in "$root/bin" "$root/build"; do [ -n "$bin" ] || [ ! -x "$folder/graft" ] || bin=$folder; done
[ -x "$bin/graft" ] || { echo "no graft found: set GRAFT_BIN" >&2; exit 2; }
kernelcheck=$bin/kernelcheck
[ -x "$kernelcheck" ] || kernelcheck=$bin/tests/kernelcheck
benchtrain=$bin/bench-train
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
count=${COUNT:-400} light=${LIGHT:-0}
[ "$light" = 0 ] || count=${COUNT:-60}

"$bin/graft" doctor --json >"$work/doctor.json" || exit 1
gpu=$(tr ',{[' '\n\n\n' <"$work/doctor.json" | sed -n 's/^ *"name": *"\(.*\)".*/\1/p' | head -n 1)
slug=$(printf '%s' "${gpu:-none}" | tr -c 'A-Za-z0-9\n' '-' | tr 'A-Z' 'a-z' | tr -s '-')
file=${1:-$here/gpu-$slug.txt}
[ -n "${1:-}" ] || [ ! -d "$here/results" ] || file=$here/results/gpu-$slug.txt
failed=0
say() { printf '\n== %s\n' "$*"; }
check() { # TEXT COMMAND...: runs it, says how it ended
    local text=$1
    shift
    if "$@" >"$work/output" 2>&1; then echo "ok   $text"; else echo "FAIL $text"; tail -n 40 "$work/output"; failed=1; fi
}

# Three classes of coloured noise, as PPM: enough to train something on a machine without data.
draw() {
    LC_ALL=C awk -v folder="$1" 'BEGIN {
        srand(5)
        for (part = 0; part < 2; part++) for (c = 0; c < 3; c++) {
            dir = folder "/" (part ? "val" : "train") "/class" c
            system("mkdir -p " dir)
            for (k = 0; k < (part ? 16 : 64); k++) {
                name = sprintf("%s/%03d.ppm", dir, k)
                printf "P6\n32 32\n255\n" >name
                for (i = 0; i < 1024; i++) for (ch = 0; ch < 3; ch++) printf "%c", 1 + int(rand() * 150) + (ch == c ? 100 : 0) >name
                close(name)
            }
        }
    }'
}
# Every column that the machine's speed has no part in.
losses() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) skip[i] = $i ~ /time|images|wait/ }
             { line = ""; for (i = 1; i <= NF; i++) if (!skip[i]) line = line $i ","; print line }' "$1/log.csv"
}
# The tensors of a model file without its metadata, which holds the name of the folder.
tensors() { tail -c "+$(($(od -An -tu8 -N8 "$1") + 9))" "$1"; }

run_all() {
    date -u '+%Y-%m-%d %H:%M UTC'
    echo "commit $(cat "$root/COMMIT" 2>/dev/null || git -C "$root" rev-parse HEAD 2>/dev/null || echo unknown)"
    nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit --format=csv,noheader 2>/dev/null
    "$bin/graft" doctor

    say "harness, $count descriptors per op"
    "$kernelcheck" --count="$count" --backend=cuda >"$work/harness" 2>&1
    code=$?
    grep __cuda_ "$work/harness"
    if [ $code = 0 ]; then echo "ok   every variant"; else echo "FAIL harness"; grep -A1 '^#' "$work/harness" | head -n 60; failed=1; fi

    if [ "$light" = 0 ] && command -v compute-sanitizer >/dev/null; then
        say "compute-sanitizer"
        for tool in memcheck racecheck; do
            check "$tool" compute-sanitizer --tool $tool --error-exitcode 9 "$kernelcheck" --count=4 --backend=cuda --seed=11
        done
    fi

    say "training on the GPU: the same bits twice, stop and resume, the CPU's losses"
    data=${GRAFT_DATA:-}
    [ -n "$data" ] || { data=$work/data; draw "$data"; }
    common=(data.root="$data" model.arch="${NETWORK:-resnet18}" model.stem=small model.width="${WIDTH:-0.5}" model.input_width=32 model.input_height=32
        data.resize=stretch train.epochs=2 train.batch_size=32 schedule.learning_rate=0.02)
    check "f32, first" "$bin/graft" train "${common[@]}" train.device=cuda train.output="$work/a"
    check "f32, second" "$bin/graft" train "${common[@]}" train.device=cuda train.output="$work/b"
    check "the same log" cmp <(losses "$work/a") <(losses "$work/b")
    check "the same weights" cmp <(tensors "$work/a/last.safetensors") <(tensors "$work/b/last.safetensors")
    GRAFT_NO_GRAPH=1 check "without CUDA graphs" "$bin/graft" train "${common[@]}" train.device=cuda train.output="$work/c"
    check "the same log" cmp <(losses "$work/a") <(losses "$work/c")
    check "f32 on the CPU" "$bin/graft" train "${common[@]}" train.device=cpu train.output="$work/cpu"
    for precision in tf32 bf16 f16; do
        check "$precision" "$bin/graft" train "${common[@]}" train.device=cuda train.precision=$precision train.output="$work/$precision"
    done
    for run in a cpu tf32 bf16 f16; do echo "-- $run"; losses "$work/$run" | tail -n 3; done
    check "export int8" "$bin/graft" export "$work/a/last.safetensors" -p int8 data.root="$data" -o "$work/int8.engine"
    check "export f32" "$bin/graft" export "$work/a/last.safetensors" -o "$work/f32.engine"
    for engine in f32 int8; do
        for device in cuda cpu; do
            echo "-- $engine engine on $device"
            "$bin/graft" evaluate "$work/$engine.engine" data.root="$data" train.device=$device | grep -iE 'top-1|loss' | head -n 2
        done
    done

    [ "$light" = 0 ] || { say "$([ $failed = 0 ] && echo "all is well" || echo "something FAILED")"; return $failed; }
    say "training steps"
    for network in resnet18 resnet50 mobilenet_v2; do
        for precision in tf32 bf16; do
            echo "-- $network $precision"
            "$benchtrain" $network 224 128 10 --profile train.device=cuda train.precision=$precision
        done
    done
    say "engines"
    "$bin/graft" bench "$work/f32.engine" "$work/int8.engine" --device cuda -b 64
    say "kernels"
    for shapes in "$here"/shapes/*.txt; do
        [ -f "$shapes" ] || continue
        echo "-- $(basename "$shapes" .txt)"
        "$kernelcheck" --bench --shapes="$shapes" | grep -E '^$|^[#a-z]|__cuda_'
    done
    say "$([ $failed = 0 ] && echo "all is well" || echo "something FAILED")"
    return $failed
}

run_all 2>&1 | tee "$file"
code=${PIPESTATUS[0]}
echo "written: $file"
exit "$code"
