#!/usr/bin/env bash
# Data path against a PyTorch DataLoader doing the same on one core: the runs alternate, the medians of ROUNDS (default 5) are
# compared. Usage: OUT=build bench/data.sh [FOLDER ...]; target: ratio at least 2. Keeps the table in bench/results/data.txt.
set -u
cd "$(dirname "$0")/.." || exit 1
out=${OUT:-build} shared=${GRAFT_SHARED:-../shared} rounds=${ROUNDS:-5} seconds=${SECONDS_EACH:-3}
[ $# -gt 0 ] || set -- "$shared/data/hymenoptera" "$shared/data/caltech101"
one_core() { if command -v taskset >/dev/null; then taskset -c 0 "$@"; else "$@"; fi; }
median() { sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
table=$out/bench-data.txt
exec > >(tee "$table")
echo "Images per second on one core: JPEG to a normalised random crop of 224 x 224. Ratio above 1: graft is faster."
echo "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), commit $(git rev-parse --short HEAD 2>/dev/null), torch" \
    "$(/usr/bin/python3 -c 'import torch; print(torch.__version__)')"
printf '%-24s %14s %14s %8s\n' "decode+crop+flip+norm" "graft img/s" "torch img/s" ratio
for folder in "$@"; do
    [ -d "$folder" ] || { echo "$folder is not there: skipped"; continue; }
    ours="" theirs=""
    for _ in $(seq "$rounds"); do
        a=$(one_core "$out/bench-data" "$folder" 1 "$seconds" | awk '{print $2}') || exit 1
        b=$(one_core /usr/bin/python3 bench/peer_dataloader.py "$folder" "$seconds" | awk '{print $2}') || exit 1
        ours="$ours$a
" theirs="$theirs$b
"
    done
    a=$(printf '%s' "$ours" | median) b=$(printf '%s' "$theirs" | median)
    printf '%-24s %14.1f %14.1f %8.2f\n' "$(basename "$folder")" "$a" "$b" "$(awk -v a="$a" -v b="$b" 'BEGIN {print a / b}')"
done
mkdir -p bench/results
cp "$table" bench/results/data.txt
