#!/usr/bin/env bash
# Makes bench/shapes/NETWORK-TYPE.txt: what a training step of NETWORK asks of the kernels, each once with its count.
#     bench/shapes.sh resnet50 32 bf16 >bench/shapes/resnet50-bf16.txt
set -eu
network=${1:?} batch=${2:?} precision=${3:?}
echo "# One training step of $network, 224x224, batch $batch, $precision: OP DESCRIPTOR COUNT (bench/shapes.sh)."
"${OUT:-build}/bench-train" "$network" 224 "$batch" 0 --plan train.precision="$precision" 2>&1 | grep -E '^[a-z0-9_]+ [^ ]+ -> ' |
    awk '{ key = $1 " " $2; if (!(key in count)) order[++n] = key; count[key]++ } END { for (i = 1; i <= n; i++) print order[i], count[order[i]] }'
