#!/usr/bin/env bash
# From a trained model to engines: export, calibrate, evaluate, infer, and a program that uses the C API.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
OUT=${OUT:-build}
graft=$PWD/$OUT/graft work=$tap_dir/work
# One thread: tiny layers gain nothing from two, and lose much when other tests run beside them.
export OMP_NUM_THREADS=1 one=train.threads=1
mkdir -p "$work"

python3 tests/e2e/make_shapes.py "$work/shapes"

ok "train" "$graft" train data.root="$work/shapes" model.arch=resnet10 model.stem=small model.width=0.25 model.input_width=32 \
    model.input_height=32 data.resize=stretch train.epochs=12 train.batch_size=16 train.output="$work/run" schedule.learning_rate=0.05 \
    schedule.min_learning_rate=1e-4 train.regularizer_weight=1e-4 train.checkpoint_period=1000 $one
model=$work/run/best.safetensors
[ -f "$model" ] || { tap_line "not ok" "a model to export"; tap_end; exit 1; }

# What the model's spec says of a rate that a constant one has not is nobody's mistake; what the command line says is.
says 0 "pruning ratio" "$graft" prune $one "$model" -pth 0.5 --dry-run schedule.type=constant
says 2 "schedule.min_learning_rate = 0.001: would be ignored" "$graft" prune $one "$model" -pth 0.5 --dry-run schedule.type=constant \
    schedule.min_learning_rate=0.001

accuracy() { "$graft" evaluate $one "$1" data.root="$work/shapes" --json 2>/dev/null | python3 -c '
import json, sys
print(json.load(sys.stdin)["evaluation"]["accuracy_top1"])'; }
near() { python3 -c "import sys; sys.exit(not abs($1 - $2) <= $3)"; }

ok "export f32" "$graft" export $one "$model" -o "$work/f32.engine"
ok "export int8" "$graft" export $one "$model" -p int8 -o "$work/int8.engine" --cache "$work/net.cal" export.calibration_images=90 export.check_images=0 export.calibrator=entropy
base=$(accuracy "$model") f32=$(accuracy "$work/f32.engine") int8=$(accuracy "$work/int8.engine")
ok "the model learnt something ($base)" near "$base" 1 0.3
ok "the f32 engine scores as the model ($f32)" near "$base" "$f32" 0.0001
ok "the int8 engine is within a point ($int8)" near "$base" "$int8" 0.0101
says 2 "--force" "$graft" export $one "$model" -o "$work/f32.engine"
ok "--force overwrites" "$graft" export $one "$model" -o "$work/f32.engine" --force
says 0 "layer1.0.conv1" "$graft" export $one "$model" -p int8 -o "$work/again.engine" --cache "$work/net.cal" export.check_images=0
says 2 "no layer is called layer9" "$graft" export $one "$model" -p int8 -o "$work/x.engine" export.float_layers=layer9
says 0 "float_layers" "$graft" export $one "$model" -p int8 -o "$work/mixed.engine" --cache "$work/net.cal" export.float_layers="conv1 layer2.*"
ok "no engine is left by a failed export" test ! -e "$work/x.engine"

# Powers of two: the bits of such a float have no fraction.
ok "powers of two" "$graft" export $one "$model" -p int8 -o "$work/two.engine" --cache "$work/two.cal" export.calibration_images=90 export.check_images=0 \
    export.calibrator=minmax export.power_of_two=true
ok "all scales are powers of two" bash -c "tail -n +2 '$work/two.cal' | grep -vqE '^[^:]+: [0-9a-f]{2}[08]00000$' && exit 1 || exit 0"
says 2 "export.power_of_two = true: the scale of" "$graft" export $one "$model" -p int8 -o "$work/x.engine" --cache "$work/net.cal" export.power_of_two=true

# Calibration caches.
ok "the cache's first line" grep -qx 'TRT-8601-EntropyCalibration2' "$work/net.cal"
ok "the cache's other lines" bash -c "tail -n +2 '$work/net.cal' | grep -vqE '^[^:]+: [0-9a-f]{8}$' && exit 1 || exit 0"
ok "calibrate alone" "$graft" calibrate $one "$model" -o "$work/alone.cal" export.calibration_images=90 export.calibrator=entropy
ok "gives the same bytes" cmp "$work/net.cal" "$work/alone.cal"
sed -i '/^layer1.0.conv1:/d' "$work/alone.cal" && echo "nobody: 3f800000" >>"$work/alone.cal"
says 4 "lacks 1 of this model's tensors: layer1.0.conv1" "$graft" export $one "$model" -p int8 -o "$work/x.engine" --cache "$work/alone.cal"
says 4 "tensor nobody is none of this model's" "$graft" export $one "$model" -p int8 -o "$work/x.engine" --cache "$work/alone.cal"

# Damage and staleness.
head -c 5000 "$work/int8.engine" >"$work/cut.engine"
says 4 "cut off" "$graft" infer $one "$work/cut.engine" "$work/shapes/val/disc/00.ppm"
says 4 "stale" "$graft" infer $one "$work/int8.engine" "$work/shapes/val/disc/00.ppm" --source "$work/run/last.state"
ok "the right source is accepted" "$graft" infer $one "$work/int8.engine" "$work/shapes/val/disc/00.ppm" --source "$model"

# Infer, and what the network has fixed.
says 0 "wrote" "$graft" infer $one "$work/int8.engine" "$work/shapes/val" -o "$work/predictions"
ok "a row per image" test "$(wc -l <"$work/predictions/result.csv")" = 121
ok "a contact sheet" bash -c "head -c 8 '$work/predictions/predictions.png' | od -An -tx1 | grep -q '89 50 4e 47'"
echo broken >"$work/broken.jpg"
says 3 "1 of 2 images could not be read" "$graft" infer $one "$model" "$work/broken.jpg" "$work/shapes/val/disc/00.ppm" -o "$work/some"
ok "every row has all columns" test "$(awk -F, '{ print NF }' "$work/some/result.csv" | sort -u | wc -l)" = 1
says 0 "data.preprocess is not what the network was trained with" "$graft" evaluate $one "$work/f32.engine" data.root="$work/shapes" data.preprocess=tf
says 0 "120 images  loss" "$graft" evaluate $one "$work/f32.engine" data.root="$work/shapes" data.preprocess=torch
ok "which is nothing to warn of" sh -c '! grep -q "is not what" "$0"' "$tap_dir/said"
says 4 "a training state of Graft" "$graft" inspect "$work/run/last.state"
ok "JSON" bash -c "'$graft' infer $one '$work/int8.engine' '$work/shapes/val/disc' --json | python3 -c '
import json, sys
p = json.load(sys.stdin)[\"predictions\"]
assert len(p) == 40 and all(0 < x[\"confidence\"] <= 1 and len(x[\"top\"]) == 3 for x in p)'"

# The C API.
if [ -z "${SAN:-}" ] && [[ $OUT != *-* ]]; then
    ok "compile the example" ${CC:-gcc} -Wall -Wextra -Werror docs/example.c -Iexport "-L$OUT" -lgraft "-Wl,-rpath,$PWD/$OUT" -o "$work/example"
    "$work/example" "$work/int8.engine" "$work/shapes/val/stripes/03.ppm" >"$work/example.txt" 2>&1
    said=$("$graft" infer $one "$work/int8.engine" "$work/shapes/val/stripes/03.ppm" infer.top_k=1 2>/dev/null | awk '{print $2, $3}')
    ok "the example says what infer says ($said)" test "$(cat "$work/example.txt")" = "$said"
    ok "the example refuses what is no engine" bash -c "! '$work/example' '$model' '$work/shapes/val/disc/00.ppm'"
    ok "only graft_ symbols are visible" bash -c "test \$(nm -D --defined-only '$OUT/libgraft.so' | awk '{print \$3}' | grep -vc '^graft_') = 0"
else
    skip "the C API's example" "this build's library needs sanitizers or other switches"
fi
tap_end
