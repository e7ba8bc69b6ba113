#!/usr/bin/env bash
# One table of all networks: size, engines and PyTorch on one CPU thread at 224x224, part of the products in INT8, and what INT8 costs a
# network that was trained. Usage: OUT=build bench/backbones.sh [NETWORK...]
# Speed is images per second of processor time in the shortest run: on one thread, and on a machine that others use too, that is the nearest to what
# the network reaches alone. The drop is measured on
# 2000 test images of Fashion-MNIST that neither trained nor calibrated: networks of a quarter of the width, 32x32 pixels, EPOCHS on 6000 images.
# RESUME=1 keeps what an earlier run has measured. PARTS=drop measures that alone, which needs no idle machine. Keeps the table in
# bench/results/backbones.txt when it is of all networks.
set -u
cd "$(dirname "$0")/.." || exit 1
OUT=${OUT:-build} seconds=${SECONDS_EACH:-2} epochs=${EPOCHS:-6} source=/usr/share/datasets/fashion-mnist
networks=${*:-$(sed -nE 's/^MODEL\(([a-z0-9_]+),.*/\1/p' models/models.def)}
parts=${PARTS:-speed drop} work=$OUT/bench-backbones.tmp python=/usr/bin/python3
export OMP_WAIT_POLICY=passive
[ -n "${RESUME:-}" ] || rm -rf "$work"
mkdir -p "$work/fashion" bench/results

# The first 6000 training images and the first 2000 test images, as IDX files.
$python - $source "$work/fashion" <<'PYTHON'
import gzip, os, struct, sys
def read(name):
    path = os.path.join(sys.argv[1], name)
    return open(path, "rb").read() if os.path.exists(path) else gzip.open(path + ".gz").read()
for part, count in (("train", 6000), ("t10k", 2000)):
    for kind, header, each in (("images-idx3", 16, 784), ("labels-idx1", 8, 1)):
        data = read(f"{part}-{kind}-ubyte")
        with open(os.path.join(sys.argv[2], f"{part}-{kind}-ubyte"), "wb") as f:
            f.write(data[:4] + struct.pack(">i", count) + data[8:header + count * each])
PYTHON

accuracy() { "$OUT/graft" evaluate "$1" --json data.root="$work/fashion" train.threads=1 2>/dev/null | $python -c 'import json, sys; print("%.2f" % (100 * json.load(sys.stdin)["evaluation"]["accuracy_top1"]))'; }
per_second() { sed -nE "s/.*$2.*shortest ([0-9.]+) images.*/\1/p" <<<"$1" | sort -n | tail -1; }

# Trains, exports to INT8 with a fixed calibrator (entropy) on 512 training images and no fallback allowed: prints f32, INT8, drop.
drop() {
    local folder=$work/$1 f32 int8
    "$OUT/graft" train data.root="$work/fashion" data.format=idx data.preprocess=custom data.mean=72.9 data.std=90 data.resize=stretch \
        model.arch="$1" model.width=0.25 model.channels=1 model.input_width=32 model.input_height=32 model.dropout=0 augment.enable=false \
        train.epochs="$epochs" train.batch_size=32 train.threads=1 data.threads=1 optimizer.type=adam schedule.learning_rate=0.002 \
        train.output="$folder" >"$folder.log" 2>&1
    "$OUT/graft" export "$folder/last.safetensors" -p int8 -o "$folder/int8.engine" train.threads=1 export.calibrator="${CALIBRATOR:-mse}" \
        export.max_drop=100 export.check_images=100 >>"$folder.log" 2>&1
    f32=$(accuracy "$folder/last.safetensors") int8=$(accuracy "$folder/int8.engine")
    printf '%8s %8s %6s' "$f32" "$int8" "$(awk -v a="$f32" -v b="$int8" 'BEGIN { printf "%.2f", a - b }')"
}

table=$work/table.txt
{
    echo "Images per second of one thread's processor time, batches of two 224x224 images (PyTorch 16), full width; top-1 in per cent on 2000 test images of Fashion-MNIST"
    echo "(width 0.25, 32x32, $epochs epochs on 6000 images; INT8 calibrated on 512 of them, calibrator ${CALIBRATOR:-mse}, no layer left in f32)."
    echo "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -1), $(nproc) processors, VNNI $(grep -qE 'avx512_vnni|avx_vnni' /proc/cpuinfo && echo yes || echo no)," \
        "load average $(cut -d' ' -f1 /proc/loadavg), commit $(git rev-parse --short HEAD 2>/dev/null), torch $($python -c 'import torch; print(torch.__version__)')"
    printf '%-14s %11s %7s %8s %8s %8s %9s %9s %8s %8s %6s\n' network parameters GMACs f32/s int8/s torch/s f32/torch '% in int8' f32 int8 drop
} >"$table"
# PyTorch on one thread uses oneDNN for 1x1 convolutions only from 16 images on: batches of 16, against two of ours.
speed() {
    local ours peer parameters giga f32 int8 torch part
    ours=$("$OUT/bench-engine" "$1" 2 --threads 1 --processor --seconds "$seconds")
    peer=$($python bench/peer_torch.py "$1" 16 --threads 1 --processor --seconds "$seconds")
    read -r _ _ parameters _ giga _ <<<"$ours"
    f32=$(per_second "$ours" ' f32 ') int8=$(per_second "$ours" ' int8 ') torch=$(per_second "$peer" torch)
    part=$(sed -nE 's/.* int8 .* ([0-9.]+) % of MACs.*/\1/p' <<<"$ours")
    printf '%-14s %11s %7s %8s %8s %8s %9s %9s' "$1" "$parameters" "$giga" "$f32" "$int8" "$torch" \
        "$(awk -v a="$f32" -v b="$torch" 'BEGIN { printf "%.2f", a / b }')" "$part"
}
for network in $networks; do
    for part in $parts; do
        [ -s "$work/$network.$part" ] || { $part "$network" >"$work/part.$network" && mv "$work/part.$network" "$work/$network.$part"; }
    done
    if [ "$parts" = drop ]; then printf '%-14s%s\n' "$network" "$(cat "$work/$network.drop")"
    else echo "$(cat "$work/$network.speed") $(cat "$work/$network.drop")" | tee -a "$table"; fi
done
[ "$parts" != drop ] || exit 0
echo "load average at the end: $(cut -d' ' -f1 /proc/loadavg)" >>"$table"
[ $# != 0 ] || cp "$table" bench/results/backbones.txt
