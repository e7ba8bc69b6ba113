#!/usr/bin/env bash
# Accuracy of starting from pretrained weights, on the data sets and weights of $GRAFT_SHARED (default ../shared): docs/TRANSFER.md.
# Usage: OUT=build bench/transfer.sh [JOB...]      JOB: NETWORK/SET/VARIANT/SEED; default: the table of the page
# A job that is done is skipped, so an interrupted run goes on where it was. Each appends a line to bench/results/transfer.txt; the
# predictions behind it stay in $OUT/transfer, where bench/transfer_table.py pairs them image by image.
#
#     textbook   the last layer alone, every feature standardised, one view of each image
#     frozen     the last layer alone, as transfer.probe fits it
#     default    graft train with model.pretrained and nothing else
#     plain      transfer.enable=false: all layers at once from a random last layer, 12 epochs at rate 0.005
#     scratch    no pretrained weights, 12 epochs at rate 0.01
#     int8       the engine of `default`, calibrated on training images
#     pruned     `default` cut to half its FLOPs and retrained by the spec that graft prune writes
set -u
cd "$(dirname "$0")/.." || exit 1
out=${OUT:-build} shared=${GRAFT_SHARED:-../shared} results=${RESULTS:-bench/results/transfer.txt}
export OMP_WAIT_POLICY=passive
work=$out/transfer
mkdir -p "$work" bench/results

network_words() { # NETWORK: the words of the spec that choose it
    case $1 in
    mobilenet_v2) echo "model.arch=mobilenet_v2 model.padding=same" ;;
    *) echo "model.arch=$1" ;;
    esac
}
weights() {
    case $1 in
    mobilenet_v2) echo "$shared/weights/mobilenet_v2_tf.safetensors" ;;
    *) echo "$shared/weights/$1.safetensors" ;;
    esac
}
train() { # FOLDER SET SEED word...
    local folder=$1 set=$2 seed=$3
    shift 3
    "$out/graft" train data.root="$shared/data/$set" data.cache="$work" train.output="$folder" train.seed="$seed" train.eval_period=1000 "$@" \
        --overwrite >"$folder.log" 2>&1
}
# The spec that graft prune writes has the data and the network of the run in it.
prune_and_retrain() { # FOLDER MODEL
    "$out/graft" prune "$2" -f -o "$1/pruned.safetensors" --target flops:0.5 >"$1.prune.log" 2>&1 || return 1
    "$out/graft" train -e "$1/pruned.safetensors.retrain.ini" train.output="$1" train.eval_period=1000 --overwrite >"$1.log" 2>&1
}
make_model() { # NETWORK SET VARIANT SEED FOLDER: prints the model or engine to judge
    local words pretrained base=$work/$1-$2-default-$4/last.safetensors
    words=$(network_words "$1") pretrained=model.pretrained=$(weights "$1")
    mkdir -p "$5"
    case $3 in
    textbook) train "$5" "$2" "$4" $words "$pretrained" train.epochs=0 transfer.probe_scale=each transfer.probe_mirror=false transfer.probe_crops= transfer.probe_stretch=false \
        data.crop_fraction=0.875 ;;
    frozen) train "$5" "$2" "$4" $words "$pretrained" train.epochs=0 ;;
    default) train "$5" "$2" "$4" $words "$pretrained" ;;
    plain) train "$5" "$2" "$4" $words "$pretrained" transfer.enable=false train.epochs=12 train.batch_size=16 schedule.learning_rate=0.005 ;;
    scratch) train "$5" "$2" "$4" $words train.epochs=12 train.batch_size=16 schedule.learning_rate=0.01 ;;
    int8) "$out/graft" export "$base" -o "$5/int8.engine" export.precision=int8 >"$5.log" 2>&1 && echo "$5/int8.engine" && return ;;
    pruned) prune_and_retrain "$5" "$base" ;;
    *) echo "no variant $3" >&2 && return 1 ;;
    esac || return 1
    echo "$5/last.safetensors"
}
run_job() { # NETWORK SET VARIANT SEED
    local folder=$work/$1-$2-$3-$4 model start line
    [ -f "$folder/predictions.csv" ] && return
    start=$(date +%s)
    model=$(make_model "$1" "$2" "$3" "$4" "$folder") || { echo "$1/$2/$3/$4 failed: $folder.log" >&2 && return; }
    "$out/graft" infer "$model" "$shared/data/$2/val" -o "$folder" infer.top_k=1 infer.annotate=false >"$folder.infer.log" 2>&1 || return
    line=$(bench/transfer_table.py --count "$folder/result.csv")
    mv "$folder/result.csv" "$folder/predictions.csv"
    printf '%-14s %-12s %-9s %4s %9s %6ss  commit %s\n' "$1" "$2" "$3" "$4" "$line" $(($(date +%s) - start)) \
        "$(git rev-parse --short HEAD 2>/dev/null)" >>"$results"
}
jobs() {
    local network set seed
    for set in pets37 hymenoptera caltech101; do
        for network in squeezenet1_1 mobilenet_v2; do
            echo "$network/$set/textbook/1" "$network/$set/frozen/1"
            for seed in 1 2 3; do echo "$network/$set/default/$seed"; done
            echo "$network/$set/int8/1" "$network/$set/pruned/1" "$network/$set/plain/1" "$network/$set/scratch/1"
        done
    done
}
[ -f "$results" ] || echo "network        set          variant   seed   correct   time" >"$results"
for job in ${*:-$(jobs)}; do
    IFS=/ read -r network set variant seed <<<"$job"
    run_job "$network" "$set" "$variant" "$seed"
done
