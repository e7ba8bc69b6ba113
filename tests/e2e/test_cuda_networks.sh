#!/usr/bin/env bash
# Every network of models.def and every detector of detectors.def once forward and backward with the CUDA backend, compiled for the CPU
# (make SIMT=1), against the CPU backend.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
work=$tap_dir/work
build() { env -u OUT -u BUILD -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s -j2 SIMT=1 "$@"; }
ok "make SIMT=1" build all
graft=$PWD/$(build print-OUT)/graft
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
python3 tests/e2e/make_shapes.py "$work/shapes" 2 1

# One step on a batch of all six images: the loss tells of the forward pass, the gradient's norm of the backward one, the loss on the validation
# images of the update. A loss has been through at most 1000 roundings in a row (ResNet-101: convolution, norm, addition of 101 layers), 2^-24
# each; in gradients batch norms over 24 values magnify them, and a ReLU that flips shows: a hundredth is still far from what a kernel that
# computes something else would make of it.
near() { # FOLDER FOLDER COLUMNS
    python3 - "$work/$1/log.csv" "$work/$2/log.csv" $3 <<'PYTHON'
import csv, sys
a, b = (list(csv.DictReader(open(p))) for p in sys.argv[1:3])
assert len(a) == len(b) == 1, (len(a), len(b))
for key in sys.argv[3:]:
    most = 0.01 if key == "train/grad_norm" else 1000 * 2 ** -24
    u, v = float(a[0][key]), float(b[0][key])
    assert v > 0 and abs(u - v) <= most * v, (key, u, v)
PYTHON
}

for arch in $(sed -nE 's/^MODEL\(([a-z0-9_]+),.*/\1/p' models/models.def); do
    for device in cpu cuda; do
        ok "$arch, $device: a step" "$graft" train data.root="$work/shapes" model.arch="$arch" model.width=0.25 model.input_width=64 \
            model.input_height=64 data.resize=stretch train.epochs=1 train.batch_size=6 train.threads=1 data.threads=1 \
            train.output="$work/$arch.$device" train.device=$device
    done
    ok "$arch: the same numbers" near "$arch.cuda" "$arch.cpu" "train/loss train/grad_norm val/loss"
done

# A detector's step matches, loses and differentiates; judging its validation images decodes and suppresses.
python3 tests/e2e/make_boxes.py "$work/boxes" 6 2
for head in $(sed -nE 's/^DETECTOR\(([a-z0-9_]+),.*/\1/p' models/detectors/detectors.def); do
    for device in cpu cuda; do
        ok "$head, $device: a step" "$graft" train data.root="$work/boxes" model.arch="${head}_resnet10" model.width=0.25 model.input_width=96 \
            model.input_height=96 train.epochs=1 train.batch_size=6 train.threads=1 data.threads=1 train.output="$work/$head.$device" \
            train.device=$device
    done
    ok "$head: the same numbers" near "$head.cuda" "$head.cpu" "train/loss train/loss_box train/loss_class train/positives train/grad_norm"
done
tap_end
