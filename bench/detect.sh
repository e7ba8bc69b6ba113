#!/usr/bin/env bash
# What detectors reach on the small sets of $GRAFT_SHARED (default ../shared), from box labels to INT8: trained, pruned to 60 % of the products,
# retrained, exported. From pretrained weights where there are any.
# Usage: OUT=build bench/detect.sh [NETWORK/SET...]      default: all
# A stage that is done is skipped, so an interrupted run goes on where it was; rows are appended to bench/results/detect.txt.
set -u
cd "$(dirname "$0")/.." || exit 1
out=${OUT:-build} shared=${GRAFT_SHARED:-../shared} results=${RESULTS:-bench/results/detect.txt}
graft=${GRAFT:-$out/graft} work=$out/detect
export OMP_WAIT_POLICY=passive
mkdir -p "$work" bench/results
[ -s "$results" ] || printf '%-24s %-14s %-9s %7s %7s %10s %9s %9s\n' network set stage mAP AP parameters MMACs time >"$results"

network_words() { # NETWORK
    case $1 in
    *_mobilenet_v2) echo "model.pretrained=$shared/weights/mobilenet_v2_tf.safetensors train.epochs=40" ;;
    *_squeezenet1_1) echo "model.pretrained=$shared/weights/squeezenet1_1.safetensors train.epochs=40" ;;
    *) echo "train.epochs=60" ;;
    esac
}
row() { # NETWORK SET STAGE FILE SECONDS
    local numbers
    numbers=$("$graft" evaluate "$4" data.root="$shared/data/$2" --part val -q --json |
        python3 -c "import json, sys; r = json.load(sys.stdin); print(100 * r['evaluation']['map'], 100 * r['evaluation']['coco']['AP'], r['parameters'], r['macs'] / 1e6)")
    printf '%-24s %-14s %-9s %7.2f %7.2f %10d %9.1f %8ss  commit %s\n' "$1" "$2" "$3" $numbers "$5" "$(git rev-parse --short HEAD 2>/dev/null)" >>"$results"
}
stage() { # NETWORK SET STAGE FILE COMMAND...: makes FILE and its row, unless it is there
    local network=$1 set=$2 name=$3 file=$4 start
    shift 4
    [ -s "$file" ] && return
    start=$(date +%s)
    "$@" >"$file.log" 2>&1 || { echo "$network/$set/$name failed: $file.log" >&2 && return 1; }
    row "$network" "$set" "$name" "$file" $(($(date +%s) - start))
}
run_job() { # NETWORK SET
    local w=$work/$1-$2 words
    words=$(network_words "$1")
    stage "$1" "$2" trained "$w/best.safetensors" "$graft" train model.arch="$1" $words data.root="$shared/data/$2" data.cache="$work" \
        train.output="$w" train.eval_period=5 --overwrite || return
    stage "$1" "$2" int8 "$w/int8.engine" "$graft" export "$w/best.safetensors" -p int8 -o "$w/int8.engine" export.max_drop=5
    stage "$1" "$2" pruned "$w/pruned.safetensors" "$graft" prune "$w/best.safetensors" -f -o "$w/pruned.safetensors" --target flops:0.6 prune.images=256 prune.imitate_epochs=12 || return
    stage "$1" "$2" retrained "$w/retrained/best.safetensors" "$graft" train -e "$w/pruned.safetensors.retrain.ini" \
        train.output="$w/retrained" train.epochs=15 train.eval_period=5 --overwrite || return
    stage "$1" "$2" int8 "$w/retrained/int8.engine" "$graft" export "$w/retrained/best.safetensors" -p int8 -o "$w/retrained/int8.engine" export.max_drop=5
}
[ $# -gt 0 ] || set -- ssd_mobilenet_v2/raccoon_kitti ssd_squeezenet1_1/raccoon_kitti ssd_mobilenet_v2/fruit ssd_squeezenet1_1/fruit \
    ssd_resnet10/raccoon_kitti ssd_resnet10/fruit
for job in "$@"; do
    mkdir -p "$work/${job/\//-}/retrained"
    run_job "${job%/*}" "${job#*/}"
done
