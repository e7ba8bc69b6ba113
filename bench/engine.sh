#!/usr/bin/env bash
# Engines against PyTorch eager (Debian's) and onnxruntime (bench/.venv, by `make peers`), all in one run on one machine: they take turns, ROUNDS
# (3) times; the medians are compared.
# Usage: OUT=build bench/engine.sh [NETWORK...]      default: resnet18 resnet50
# Keeps the table in bench/results/engine.txt when it is complete.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-build} threads=$(nproc) seconds=${SECONDS_EACH:-2} rounds=${ROUNDS:-3}
networks=${*:-resnet18 resnet50}
work=$OUT/bench-engine.tmp
mkdir -p "$work" bench/results
torch=""
for python in /usr/bin/python3 python3; do
    [ -z "$torch" ] && "$python" -c 'import torchvision' 2>/dev/null && torch=$python
done
ort=bench/.venv/bin/python
[ -x $ort ] || { ort=""; echo "no onnxruntime: make peers"; }
[ -n "$torch" ] || echo "no PyTorch: make deps"

# field TEXT LABEL: milliseconds of the line that has LABEL
field() { sed -nE "s/.* $2 .*batch [0-9]+ +([0-9.]+) ms.*/\1/p" <<<"$1" | sort -n | head -1; }
median() { sort -n | awk '{v[NR] = $1} END {if (NR) print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { if (a > 0 && b > 0) printf "%.2f", a / b; else printf "-" }'; }

table=$work/table.txt
{
    echo "Milliseconds per batch (median), 224x224, $threads threads. Ratios above 1: graft is faster."
    echo "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), VNNI $(grep -qE 'avx512_vnni|avx_vnni' /proc/cpuinfo && echo yes || echo no)," \
        "commit $(git rev-parse --short HEAD 2>/dev/null), torch ${torch:+$($torch -c 'import torch; print(torch.__version__)')}," \
        "onnxruntime ${ort:+$($ort -c 'import onnxruntime; print(onnxruntime.__version__)')}"
    printf '%-10s %5s %9s %9s %9s %9s %9s %9s %10s %10s %10s\n' network batch f32 int8 torch ort-f32 ort-int8 int8/f32 f32/torch f32/ort int8/ort
} >"$table"
for network in $networks; do
    [ -z "$torch" ] || [ -f "$work/$network.onnx" ] || $torch bench/peer_torch.py "$network" 1 --onnx "$work/$network.onnx"
    for batch in 16 1; do
        rm -f "$work"/*.ms
        for _ in $(seq "$rounds"); do
            ours=$("$OUT/bench-engine" "$network" $batch --threads "$threads" --seconds "$seconds")
            eager=$([ -z "$torch" ] || $torch bench/peer_torch.py "$network" $batch --threads "$threads" --seconds "$seconds")
            runtime=$([ -z "$ort" ] || $ort bench/peer_onnxruntime.py "$work/$network.onnx" $batch --threads "$threads" --seconds "$seconds")
            printf '%s\n' "$ours" "$eager" "$runtime"
            field "$ours" f32 >>"$work/f32.ms"
            field "$ours" int8 >>"$work/int8.ms"
            field "$eager" "$network" >>"$work/torch.ms" # the better of its layouts
            field "$runtime" f32 >>"$work/ort-f32.ms"
            field "$runtime" 'int8-[su]8' >>"$work/ort-int8.ms" # of its two kinds
        done
        read -r f32 int8 pt of oi < <(for what in f32 int8 torch ort-f32 ort-int8; do median <"$work/$what.ms" | grep . || echo 0; done | tr '\n' ' ')
        printf '%-10s %5s %9s %9s %9s %9s %9s %9s %10s %10s %10s\n' "$network" $batch "$f32" "$int8" "$pt" "$of" "$oi" \
            "$(ratio "$f32" "$int8")" "$(ratio "$pt" "$f32")" "$(ratio "$of" "$f32")" "$(ratio "$oi" "$int8")" >>"$table"
    done
done
cat "$table"
if [ -n "$torch" ] && [ -n "$ort" ] && [ $# = 0 ]; then cp "$table" bench/results/engine.txt; fi
