#!/usr/bin/env bash
# `make demo-detect`: a detector from pictures with boxes to an INT8 engine. The pictures are drawn here (draw_signs.py), because
# Debian ships none; a small RetinaNet is trained, pruned, retrained and exported. The test pictures are looked at once, at the end.
# Every number in the table is read from the commands' --json output.
set -eu
cd "$(dirname "$0")/.."
graft=${OUT:-build}/graft
demo=${DEMO:-demo-detect}
spec=configs/signs.ini
start=$(date +%s)

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
if [ ! -t 1 ] || [ -n "${NO_COLOR:-}" ]; then say() { printf '\n== %s\n' "$*"; }; fi
run() { echo "\$ graft $*"; "$graft" "$@"; }
# First value of a member, of whatever depth: member FILE NAME
member() { tr ',{' '\n\n' <"$1" | sed -n 's/.*"'"$2"'": *\([-0-9.eE+]*\).*/\1/p' | head -n 1; }

rm -rf "$demo"
mkdir -p "$demo"

say "1. Draw signs, labelled as KITTI does, and pack them"
python3 configs/draw_signs.py "$demo/drawn"
run convert "$demo/drawn" -o "$demo/signs"

say "2. Train"
run train -e $spec data.root="$demo/signs" train.output="$demo/train"

say "3. Prune half of the multiply-adds away"
run prune "$demo/train/best.safetensors" -e $spec data.root="$demo/signs" -o "$demo/pruned.safetensors"

say "4. Retrain"
run train -e "$demo/pruned.safetensors.retrain.ini" train.output="$demo/retrain" train.epochs=10

say "5. Export engines, f32 and INT8"
best=$demo/retrain/best.safetensors
run export "$best" -o "$demo/f32.engine" export.precision=f32
run export "$best" -e $spec data.root="$demo/signs" -o "$demo/int8.engine" export.precision=int8

say "6. Measure on the test pictures"
row() { # name, file
    "$graft" evaluate "$2" -e $spec data.root="$demo/signs" --part test --json -q >"$demo/$1.json"
    awk -v name="$1" -v map="$(member "$demo/$1.json" map)" -v params="$(member "$demo/$1.json" parameters)" \
        -v macs="$(member "$demo/$1.json" macs)" -v bytes="$(member "$demo/$1.json" bytes)" \
        -v speed="$(member "$demo/$1.json" images_per_second)" \
        'BEGIN { printf "%-14s %7.2f %% %12d %9.2f %10d %10.0f\n", name, 100 * map, params, 2e-6 * macs, bytes, speed }'
}
printf '%-14s %9s %12s %9s %10s %10s\n' stage mAP@0.5 parameters MFLOPs bytes images/s | tee "$demo/table.txt"
{
    row trained "$demo/train/best.safetensors"
    row pruned "$demo/pruned.safetensors"
    row retrained "$best"
    row engine-f32 "$demo/f32.engine"
    row engine-int8 "$demo/int8.engine"
} | tee -a "$demo/table.txt"

say "7. Look at what it finds"
run infer "$demo/int8.engine" "$demo/signs#test" -o "$demo/predictions" -q >"$demo/predictions.txt"

printf '\nThe table is in %s/table.txt, the pictures in %s/predictions, the report in %s/train/report.html. %d seconds.\n' \
    "$demo" "$demo" "$demo" $(($(date +%s) - start))
