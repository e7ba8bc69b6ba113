#!/usr/bin/env bash
# Training steps against the better of PyTorch's two layouts (Debian's PyTorch): the three programs take turns, ROUNDS (3) times; the
# medians are compared. Usage: OUT=build bench/train.sh [NETWORK...]      default: resnet18 resnet50
# Keeps the table in bench/results/train.txt when it is complete.
set -u
cd "$(dirname "$0")/.." || exit 1
out=${OUT:-build} seconds=${SECONDS_EACH:-6} rounds=${ROUNDS:-3}
median() { sort -n | awk '{v[NR] = $1} END {print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2}'; }
milliseconds() { sed -nE 's/.* ([0-9.]+) ms.*/\1/p'; }
table=$out/bench-train.txt
{
    echo "Milliseconds per training step (median), 224x224, $(nproc) threads. Ratio above 1: graft is faster than the better layout."
    echo "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), commit $(git rev-parse --short HEAD 2>/dev/null), torch" \
        "$(/usr/bin/python3 -c 'import torch; print(torch.__version__)')"
    printf '%-10s %5s %10s %12s %12s %8s\n' network batch graft torch-nchw torch-nhwc ratio
} >"$table"
for network in ${*:-resnet18 resnet50}; do
    for batch in 16 1; do
        ours="" nchw="" nhwc=""
        for _ in $(seq "$rounds"); do
            ours+="$("$out/bench-train" "$network" 224 $batch "$seconds" | milliseconds) "
            nchw+="$(/usr/bin/python3 bench/peer_torch_train.py "$network" $batch nchw "$seconds" | milliseconds) "
            nhwc+="$(/usr/bin/python3 bench/peer_torch_train.py "$network" $batch nhwc "$seconds" | milliseconds) "
        done
        a=$(tr ' ' '\n' <<<"${ours% }" | median) b=$(tr ' ' '\n' <<<"${nchw% }" | median) c=$(tr ' ' '\n' <<<"${nhwc% }" | median)
        printf '%-10s %5s %10s %12s %12s %8s\n' "$network" $batch "$a" "$b" "$c" \
            "$(awk -v a="$a" -v b="$b" -v c="$c" 'BEGIN { best = b < c ? b : c; if (a > 0 && best > 0) printf "%.2f", best / a; else print "-" }')" \
            >>"$table"
    done
done
cat "$table"
mkdir -p bench/results
if [ $# = 0 ]; then cp "$table" bench/results/train.txt; fi
