#!/usr/bin/env bash
# Every network of models.def, narrow and on small images: train a few steps, prune to half the products, retrain, export f32 and INT8, evaluate.
# What the values are is tests/golden's business; here the pieces must fit for any network.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
OUT=${OUT:-build}
graft=$PWD/$OUT/graft work=$tap_dir/work
export OMP_NUM_THREADS=1
one="train.threads=1 data.threads=1"
python3 tests/e2e/make_shapes.py "$work/shapes" 16 8

# number FILE EXPRESSION: of the JSON object r in FILE.
number() { python3 -c "import json, sys; r = json.load(open(sys.argv[1])); print($2)" "$1"; }
holds() { python3 -c "import sys; sys.exit(not ($1))"; }
accuracy() { "$graft" evaluate $one "$1" data.root="$work/shapes" --json 2>/dev/null >"$work/evaluation.json"; number "$work/evaluation.json" 'r["evaluation"]["accuracy_top1"]'; }

run_network() {
    local arch=$1 folder=$work/$1
    mkdir -p "$folder"
    ok "$arch trains" "$graft" train $one data.root="$work/shapes" model.arch="$arch" model.width=0.25 model.input_width=64 \
        model.input_height=64 model.dropout=0.1 data.resize=stretch train.epochs=2 train.batch_size=16 train.output="$folder/run" \
        schedule.learning_rate=0.005 schedule.warmup=0
    "$graft" prune $one "$folder/run/last.safetensors" prune.target=flops:0.5 prune.granularity=1 prune.min_filters=2 \
        prune.reestimate_batches=2 prune.images=64 prune.imitate_epochs=12 -o "$folder/pruned.safetensors" --json >"$folder/prune.json" 2>"$folder/prune.log"
    local left; left=$(number "$folder/prune.json" 'r["macs"] / r["macs_before"]')
    ok "$arch prunes to half its products ($left)" holds "abs($left - 0.5) < 0.03"
    ok "$arch retrains" "$graft" train $one -e "$folder/pruned.safetensors.retrain.ini" train.epochs=1 train.output="$folder/retrain"
    local model=$folder/retrain/last.safetensors
    ok "$arch exports f32" "$graft" export $one "$model" -o "$folder/f32.engine"
    "$graft" export $one "$model" -p int8 -o "$folder/int8.engine" export.calibrator=minmax export.calibration_images=32 \
        export.check_images=0 export.max_drop=100 --json >"$folder/int8.json" 2>"$folder/int8.log"
    local part; part=$(number "$folder/int8.json" '(lambda l: sum(x["macs"] for x in l if x["precision"] == "int8") / sum(x["macs"] for x in l))(r["engine"]["layers"])')
    ok "$arch exports INT8, all of it ($part of the products)" holds "$part >= 0.95"
    local base f32
    base=$(accuracy "$model") f32=$(accuracy "$folder/f32.engine")
    ok "$arch: the f32 engine scores as the model ($base, $f32)" holds "abs($base - $f32) < 1e-4"
    ok "$arch: the INT8 engine is evaluated ($(accuracy "$folder/int8.engine"))" test -s "$work/evaluation.json"
    rm -rf "$folder"
}

for arch in ${GRAFT_NETWORKS:-$(sed -nE 's/^MODEL\(([a-z0-9_]+),.*/\1/p' models/models.def)}; do run_network "$arch"; done
tap_end
