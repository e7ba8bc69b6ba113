#!/usr/bin/env bash
# `make demo`: Graft's main job on real images. Fashion-MNIST (Debian package dataset-fashion-mnist) is packed, a small ResNet
# trained, pruned, retrained and exported as f32 and INT8 engines. Choices are made on a split of the training images; the
# 10,000 test images are looked at once, at the end. Every number in the table is read from the commands' --json output.
set -eu
cd "$(dirname "$0")/.."
graft=${OUT:-build}/graft
demo=${DEMO:-demo}
spec=configs/fashion_mnist.ini
start=$(date +%s)

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
if [ ! -t 1 ] || [ -n "${NO_COLOR:-}" ]; then say() { printf '\n== %s\n' "$*"; }; fi
run() { echo "\$ graft $*"; "$graft" "$@"; }
# First value of a member, of whatever depth: field accuracy_top1 < file.json
field() { sed -n 's/.*"'"$1"'": *\([-0-9.eE+]*\).*/\1/p' | head -n 1; }
member() { tr ',{' '\n\n' <"$1" | field "$2"; }

source_folder=$(dirname "$(dpkg -L dataset-fashion-mnist 2>/dev/null | grep train-images | head -n 1)")
if [ "$source_folder" = . ]; then
    echo "the Debian package dataset-fashion-mnist is not installed; make deps installs it" >&2
    exit 1
fi
rm -rf "$demo"
mkdir -p "$demo"

say "1. Pack the data set"
run convert "$source_folder" -e $spec -o "$demo/fashion"

say "2. Train"
run train -e $spec data.root="$demo/fashion" train.output="$demo/train"

say "3. Prune half of the parameters away"
run prune "$demo/train/best.safetensors" -e $spec data.root="$demo/fashion" -o "$demo/pruned.safetensors"

say "4. Retrain"
run train -e "$demo/pruned.safetensors.retrain.ini" train.output="$demo/retrain" train.epochs=2

say "5. Export engines, f32 and INT8"
best=$demo/retrain/best.safetensors
run export "$best" -o "$demo/f32.engine" export.precision=f32
run export "$best" -e $spec data.root="$demo/fashion" -o "$demo/int8.engine" export.precision=int8

say "6. Measure on the 10,000 test images"
row() { # name, file
    "$graft" evaluate "$2" -e $spec data.root="$demo/fashion" --part test --json -q >"$demo/$1.json"
    awk -v name="$1" -v top1="$(member "$demo/$1.json" accuracy_top1)" -v params="$(member "$demo/$1.json" parameters)" \
        -v macs="$(member "$demo/$1.json" macs)" -v bytes="$(member "$demo/$1.json" bytes)" \
        -v speed="$(member "$demo/$1.json" images_per_second)" \
        'BEGIN { printf "%-14s %7.2f %% %12d %9.2f %10d %10.0f\n", name, 100 * top1, params, 2e-6 * macs, bytes, speed }'
}
printf '%-14s %9s %12s %9s %10s %10s\n' stage top-1 parameters MFLOPs bytes images/s | tee "$demo/table.txt"
{
    row trained "$demo/train/best.safetensors"
    row pruned "$demo/pruned.safetensors"
    row retrained "$best"
    row engine-f32 "$demo/f32.engine"
    row engine-int8 "$demo/int8.engine"
} | tee -a "$demo/table.txt"

say "7. Look at predictions"
run infer "$demo/int8.engine" "$demo/fashion#test" -o "$demo/predictions" -q >"$demo/predictions.txt"

printf '\nThe table is in %s/table.txt, the pictures in %s/predictions, the report in %s/train/report.html. %d seconds.\n' \
    "$demo" "$demo" "$demo" $(($(date +%s) - start))
