#!/usr/bin/env bash
# Post-training quantisation by each calibrator against quantisation-aware training: MobileNet v2 on Fashion-MNIST (Debian package
# dataset-fashion-mnist), all layers in INT8, measured on the 10,000 test images. About six minutes on 2 cores.
#
#     bench/qat.sh [FOLDER]          writes FOLDER (build/qat), prints the table of bench/results/qat.txt
set -eu
cd "$(dirname "$0")/.."
graft=${OUT:-build}/graft folder=${1:-${OUT:-build}/qat}
source_folder=$(dirname "$(dpkg -L dataset-fashion-mnist | grep train-images | head -n 1)")
mkdir -p "$folder"
cat >"$folder/spec.ini" <<INI
[model]
arch = mobilenet_v2
width = 0.25
input_width = 48
input_height = 48
channels = 1
dropout = 0
[data]
root = $folder/fashion
preprocess = custom
mean = 72.94
std = 90.02
resize = stretch
[train]
epochs = 3
batch_size = 128
[schedule]
learning_rate = 0.1
[export]
max_drop = 100
min_int8 = 0
check_images = 6000
INI
train() { # name, overrides
    local name=$1
    shift
    "$graft" train -e "$folder/spec.ini" train.output="$folder/$name" --overwrite -q "$@" >/dev/null 2>&1
}
fine_tune() { # name, overrides: an epoch more, statistics of batch normalisation kept
    train "$@" model.pretrained="$folder/float/last.safetensors" model.load_graph=true model.freeze_bn=true train.epochs=1 \
        schedule.learning_rate=0.005 schedule.warmup=0
}
row() { # label, file
    "$graft" evaluate "$2" -e "$folder/spec.ini" --part test --json -q |
        tr ',{' '\n\n' | awk -F: -v label="$1" '/"accuracy_top1"/ { printf "%-44s %7.2f %%\n", label, 100 * $2; exit }'
}
int8() { # label, model, overrides
    "$graft" export "$2" -e "$folder/spec.ini" -o "$folder/one.engine" -f export.precision=int8 "${@:3}" >/dev/null 2>&1
    row "$1" "$folder/one.engine"
}
[ -d "$folder/fashion" ] || "$graft" convert "$source_folder" -e "$folder/spec.ini" -o "$folder/fashion" -q
train float
fine_tune more
fine_tune qat qat.enable=true
printf 'top-1 on 10,000 test images, every layer in INT8, commit %s\n' "$(git rev-parse --short HEAD)"
row "f32, 3 epochs" "$folder/float/last.safetensors"
for method in entropy minmax percentile mse; do
    int8 "INT8 calibrated by $method" "$folder/float/last.safetensors" export.calibrator=$method
done
row "f32, 1 epoch of fine-tuning more" "$folder/more/last.safetensors"
for method in entropy minmax percentile mse; do
    int8 "INT8 of it, calibrated by $method" "$folder/more/last.safetensors" export.calibrator=$method
done
int8 "INT8 after 1 epoch quantisation-aware" "$folder/qat/last.safetensors"
row "the same model, fake-quantised" "$folder/qat/last.safetensors"
