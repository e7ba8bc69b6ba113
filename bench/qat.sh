#!/usr/bin/env bash
# Post-training quantisation by each calibrator against quantisation-aware training: MobileNet v2 on Fashion-MNIST (Debian package
# dataset-fashion-mnist), all layers in INT8, measured on the 10,000 test images. Two networks: one that calibration quantises
# well, and a very narrow one trained in a hurry, which it does not. About ten minutes on 2 cores.
#
#     bench/qat.sh [FOLDER [NETWORK]]     writes FOLDER (build/qat), prints the tables of bench/results/qat.txt; NETWORK: quarter or sixteenth
#
# RESUME=1 keeps what an earlier run has trained.
set -eu
cd "$(dirname "$0")/.."
graft=${OUT:-build}/graft folder=${1:-${OUT:-build}/qat} only=${2:-} source_folder=/usr/share/datasets/fashion-mnist
[ -n "${RESUME:-}" ] || rm -rf "$folder"
mkdir -p "$folder/test"
export OMP_WAIT_POLICY=passive
cat >"$folder/spec.ini" <<INI
[model]
arch = mobilenet_v2
channels = 1
dropout = 0
[data]
root = $folder/fashion
preprocess = custom
mean = 72.94
std = 90.02
resize = stretch
[train]
batch_size = 128
[export]
max_drop = 100
min_int8 = 0
check_images = 100
INI
[ -d "$folder/fashion" ] || "$graft" convert "$source_folder" -e "$folder/spec.ini" -o "$folder/fashion" -q
/usr/bin/python3 - "$source_folder" "$folder/test" <<'PYTHON'
import gzip, os, sys
def read(name):
    path = os.path.join(sys.argv[1], name)
    return open(path, "rb").read() if os.path.exists(path) else gzip.open(path + ".gz").read()
pixels, labels = read("t10k-images-idx3-ubyte")[16:], read("t10k-labels-idx1-ubyte")[8:]
for i, label in enumerate(labels):
    with open(f"{sys.argv[2]}/{i:05d}_{label}.pgm", "wb") as f:
        f.write(b"P5 28 28 255\n" + pixels[i * 784:(i + 1) * 784])
PYTHON

train() { # name, overrides
    local name=$1
    shift
    [ ! -e "$dir/$name/last.safetensors" ] || return 0
    "$graft" train -e "$folder/spec.ini" train.output="$dir/$name" -q "$@" >"$dir/$name.log" 2>&1
}
fine_tune() { train "$@" model.pretrained="$dir/float/last.safetensors" model.load_graph=true train.epochs=1 schedule.warmup=0; }
row() { # label, file, name: accuracy; $dir/NAME.right gets a line per image, 1 or 0
    "$graft" infer "$2" "$folder/test" -k 1 --json -q | /usr/bin/python3 -c '
import json, sys
for p in json.load(sys.stdin)["predictions"]:
    print(int(p["path"].split("_")[-1][0] == p["class"]))' >"$dir/$3.right"
    awk -v label="$1" '{ sum += $1 } END { printf "%-44s %7.2f %%\n", label, 100 * sum / NR }' "$dir/$3.right"
}
int8() { # label, model, name, overrides
    "$graft" export "$2" -e "$folder/spec.ini" -o "$dir/one.engine" -f export.precision=int8 "${@:4}" >/dev/null 2>&1
    row "$1" "$dir/one.engine" "$3"
}
# The images that one of two engines gets right: McNemar's exact test.
compare() {
    /usr/bin/python3 - "$dir/$1.right" "$dir/$2.right" <<'PYTHON'
import math, sys
a, b = ([line.strip() == "1" for line in open(path)] for path in sys.argv[1:])
won, lost = sum(x and not y for x, y in zip(a, b)), sum(y and not x for x, y in zip(a, b))
n, k = won + lost, min(won, lost)
log_term = lambda i: math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2)
p = min(1.0, 2 * sum(math.exp(log_term(i)) for i in range(k + 1)))
print(f"only the former is right on {won}, only the latter on {lost}: McNemar's p = {p:.1e}")
PYTHON
}
best_of() { grep -c 1 "$dir"/"$1"_*.right | sort -t: -k2 -n | tail -1 | sed 's|.*/\(.*\)\.right:.*|\1|'; }

network() { # name, title, overrides of the float training; $tuning: of every fine-tuning
    local name=$1 title=$2 method best
    [ -z "$only" ] || [ "$only" = "$name" ] || return 0
    shift 2
    dir=$folder/$name
    mkdir -p "$dir"
    train float "$@"
    fine_tune more $tuning
    fine_tune qat qat.enable=true $tuning
    printf '%s\n' "$title"
    row "f32" "$dir/float/last.safetensors" float
    for method in entropy minmax percentile mse; do
        int8 "INT8 calibrated by $method" "$dir/float/last.safetensors" float_$method export.calibrator=$method
    done
    int8 "INT8 calibrated by auto, the default" "$dir/float/last.safetensors" auto export.calibrator=auto export.check_images=6000
    row "f32, 1 epoch of fine-tuning more" "$dir/more/last.safetensors" more
    for method in entropy minmax percentile mse; do
        int8 "INT8 of it, calibrated by $method" "$dir/more/last.safetensors" more_$method export.calibrator=$method
    done
    row "1 epoch quantisation-aware, fake-quantised" "$dir/qat/last.safetensors" fake
    int8 "INT8 engine of it" "$dir/qat/last.safetensors" qat
    for best in "$(best_of float)" "$(best_of more)"; do printf 'the engine against %s: %s\n' "$best" "$(compare qat "$best")"; done
}
printf 'top-1 on 10,000 test images, every layer in INT8, commit %s\n\n' "$(git rev-parse --short HEAD)"
tuning="model.freeze_bn=true schedule.learning_rate=0.005"
network quarter "MobileNet v2, width 0.25, 48x48, 3 epochs at a rate of 0.1" model.width=0.25 model.input_width=48 model.input_height=48 train.epochs=3 \
    schedule.learning_rate=0.1
tuning="train.regularizer=none schedule.learning_rate=0.005"
network sixteenth "
MobileNet v2, width 0.0625, 32x32, 3 epochs at a rate of 0.1, no penalty on weights" model.width=0.0625 model.input_width=32 model.input_height=32 \
    train.epochs=3 schedule.learning_rate=0.1 train.regularizer=none
