#!/usr/bin/env bash
# A small ResNet pretrained on caltech101, then taken to three other sets: what transfer is worth when the pretraining is small too.
# Usage: OUT=build GRAFT_SHARED=../shared bench/pretrain.sh [SET...]      table in bench/results/pretrain.txt; done runs are not repeated
#
# ResNet-10 of half width at 96x96, so that it takes minutes on a CPU: 48 epochs on the 1515 images of caltech101. Rows:
#     scratch     random weights, 40 epochs (cifar10: 10)
#     finetuned   transfer.enable=false: random last layer, all layers at once, as many epochs, a lower rate
#     blocks      the same with model.freeze_blocks="0 1 2"
#     frozen      the last layer alone (train.epochs=0)
#     default     model.pretrained and nothing else
# All but the last two share augmentation, label smoothing and averaging of weights, so that scratch lacks nothing but the start.
set -u
cd "$(dirname "$0")/.." || exit 1
out=${OUT:-build} shared=${GRAFT_SHARED:-../shared} results=${RESULTS:-bench/results/pretrain.txt}
export OMP_WAIT_POLICY=passive
work=$out/pretrain
mkdir -p "$work" bench/results
network="model.arch=resnet10 model.width=0.5 model.input_width=96 model.input_height=96"
run="train.batch_size=32 train.eval_period=1000 train.regularizer_weight=2.5e-4 optimizer.nesterov=true train.label_smoothing=0.1
    train.ema_decay=0.99 augment.random_resized_crop=true augment.hue_max=10 augment.saturation_max=0.3 augment.contrast_max=0.2
    augment.brightness_max=0.1"
area="augment.crop_area=0.25 1"
[ -f "$results" ] || echo "set          start        correct          commit" >"$results"

train() { # SET ROW word...
    local folder=$work/$1-$2 set=$1 row=$2 part=val
    [ "$set" = cifar10 ] && part=test # its val is a split of the training part
    shift 2
    [ -f "$folder/done" ] && return
    [ -f "$folder/trained" ] || "$out/graft" train $network data.root="$shared/data/$set" data.cache="$work" train.output="$folder" \
        train.top_k=1 --overwrite "$@" >"$folder.log" 2>&1 || { echo "$set $row failed: $folder.log" >&2 && return 1; }
    touch "$folder/trained"
    "$out/graft" evaluate "$folder/last.safetensors" data.root="$shared/data/$set" --part $part --json 2>/dev/null | python3 -c '
import json, sys
e = json.load(sys.stdin)["evaluation"]
print("%-12s %-12s %4d of %4d  %5.1f %%  %s" % (sys.argv[1], sys.argv[2], round(e["images"] * e["accuracy_top1"]), e["images"],
                                                100 * e["accuracy_top1"], sys.argv[3]))' "$set" "$row" "$(git rev-parse --short HEAD 2>/dev/null)" >>"$results" &&
        touch "$folder/done"
}

train caltech101 scratch $run "$area" train.epochs=48 schedule.learning_rate=0.1 || exit 1
pretrained=model.pretrained=$work/caltech101-scratch/last.safetensors
for set in ${*:-hymenoptera pets37 cifar10}; do
    epochs=40
    [ $set = cifar10 ] && epochs=10
    words="$run train.epochs=$epochs"
    train $set scratch $words "$area" schedule.learning_rate=0.05
    train $set finetuned $words "$area" schedule.learning_rate=0.02 "$pretrained" transfer.enable=false
    train $set blocks $words "$area" schedule.learning_rate=0.02 "$pretrained" transfer.enable=false "model.freeze_blocks=0 1 2"
    train $set frozen "$pretrained" train.epochs=0
    train $set default "$pretrained" train.eval_period=1000
done
