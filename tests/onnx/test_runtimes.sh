#!/usr/bin/env bash
# ONNX files in both directions against other programs: python3-onnx's checker, OpenCV's dnn, PyTorch, and onnxruntime where `make peers` has
# installed it. Real networks are read, evaluated and written where the shared weights are.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
graft=$PWD/$OUT/graft run=$OUT/tests-onnx/network_run peers=bench/.venv/bin/python dir=$tap_dir/onnx
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive one=train.threads=1
mkdir -p "$dir"
if ! /usr/bin/python3 -c 'import onnx, cv2, torchvision' 2>/dev/null; then
    skip "ONNX and other runtimes" "python3-onnx, python3-opencv or python3-torchvision is not installed"
    tap_end
    exit
fi
have_peers=$("$peers" -c 'import onnxruntime, onnx; print(1)' 2>/dev/null)
[ -n "$have_peers" ] || skip "onnxruntime" "bench/.venv has no onnxruntime: make peers"
# The lines of a script that speaks TAP itself: "ok - name".
compare() {
    "$@" >"$tap_dir/lines" 2>"$tap_dir/errors"
    local code=$?
    while read -r line; do
        case "$line" in
        "ok - "*) tap_line ok "${line#ok - }" ;;
        "not ok - "*) tap_failed=$((tap_failed + 1)) && tap_line "not ok" "${line#not ok - }" ;;
        "#"*) echo "$line" ;;
        esac
    done <"$tap_dir/lines"
    if [ $code = 0 ] || grep -q '^not ok' "$tap_dir/lines"; then return; fi
    tap_failed=$((tap_failed + 1)) && tap_line "not ok" "$*"
    tail -n 5 "$tap_dir/errors" | sed 's/^/# /'
}
scripts() { compare /usr/bin/python3 tests/onnx/runtimes.py "$@"; }
peer_scripts() { [ -z "$have_peers" ] || compare "$peers" tests/onnx/runtimes.py "$@"; }

# Written: networks of random weights, batch-norm inside and not, relu6, concatenation, both orders of channels.
for arch in resnet10 resnet50 mobilenet_v2 squeezenet1_1; do
    ok "$arch is written and read" "$run" make $arch "$dir/$arch"
    scripts check "$dir/$arch"/{f32,inside,int8,int8_inside}.onnx
    scripts opencv "$dir/$arch"
    scripts back "$dir/$arch"
    peer_scripts onnxruntime "$dir/$arch"
done

# Read: what PyTorch writes.
ok "PyTorch writes networks" /usr/bin/python3 tests/onnx/torch_models.py "$dir" shufflenet_v2_x0_5 mobilenet_v3_small
networks=()
for file in "$dir"/*.onnx; do
    name=${file%.onnx}
    "$run" scores "$file" "$name.image" "$name.out" && "$run" rewrite "$file" "$name.again.onnx" && networks+=("$name")
done
ok "all of them are read" test ${#networks[@]} = 5
scripts torch "${networks[@]}"
scripts check "${networks[@]/%/.again.onnx}"
ok "a batch-norm that no layer takes in runs in an engine" "$graft" import "$dir/odd_13.onnx" -o "$dir/odd.safetensors" &&
    ok "as the network does" "$graft" export "$dir/odd.safetensors" -o "$dir/odd.engine" $one &&
    "$run" scores "$dir/odd.engine" "$dir/odd_13.image" "$dir/odd_13.out"
scripts torch "$dir/odd_13"
peer_scripts rewritten "${networks[@]}"

# Refused, and why.
cases=/usr/share/libonnx-testdata/data/node
if [ -d $cases ]; then
    says 4 "operators that are not supported: node 'y' (Erf)" "$graft" import $cases/test_erf/model.onnx -o "$dir/none.safetensors"
    says 4 "its input is no image of 4 dimensions" "$graft" import $cases/test_abs/model.onnx -o "$dir/none.safetensors"
else
    skip "refusals" "libonnx-testdata is not installed"
fi
head -c 3000 "$dir/resnet10/f32.onnx" >"$dir/cut.onnx"
says 4 "truncated, or no ONNX file" "$graft" import "$dir/cut.onnx" -o "$dir/none.safetensors"
says 2 "takes images of 64x64x3" "$graft" import "$dir/resnet10/f32.onnx" -o "$dir/none.safetensors" model.input_width=80
ok "what is refused leaves no file" test ! -e "$dir/none.safetensors"

# Real networks: the top-1 that their README states, and INT8 by onnxruntime.
weights=$GRAFT_SHARED/weights data=$GRAFT_SHARED/data
top1() { # MODEL OPTIONS...
    "$graft" evaluate $one "$@" --json 2>/dev/null | /usr/bin/python3 -c '
import json, sys
print(round(100 * json.load(sys.stdin)["evaluation"]["accuracy_top1"], 2))'; }
cifar=$data/cifar10/cifar-10-batches-bin
if [ -f "$weights/cifar10_resnet20_bn.onnx" ] && [ -d "$cifar" ]; then
    cifar_options=(data.root="$cifar" data.format=cifar data.cache="$dir" $one)
    for kind in bn folded; do
        ok "import ResNet-20, $kind" "$graft" import "$weights/cifar10_resnet20_$kind.onnx" -o "$dir/$kind.safetensors" --classes "$cifar/batches.meta.txt"
        found=$(top1 "$dir/$kind.safetensors" "${cifar_options[@]}" --part test)
        ok "ResNet-20, $kind: top-1 $found on CIFAR-10's sample, expected 81.8" test "$found" = 81.8
    done
    for format in onnx engine; do
        ok "export it as INT8 $format" "$graft" export "$dir/bn.safetensors" -p int8 --format $format -o "$dir/r20.$format" --cache "$dir/r20.cal" \
            "${cifar_options[@]}" export.calibrator=entropy export.calibration_images=256 export.check_images=100 export.max_drop=100
    done
    ok "the cache's tensors are the file's" /usr/bin/python3 - "$dir/r20.cal" "$dir/r20.onnx" <<'PYTHON'
import struct, sys
import onnx, onnx.numpy_helper
model = onnx.load(sys.argv[2])
scales = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
quantised = {n.input[0]: float(scales[n.input[1]]) for n in model.graph.node if n.op_type == "QuantizeLinear"}
cache = {}
for line in open(sys.argv[1], encoding="utf-8").read().splitlines()[1:]:
    name, bits = line.rsplit(": ", 1)
    cache[name] = struct.unpack("!f", bytes.fromhex(bits))[0]
assert len(quantised) > 15 and all(cache[n] == s for n, s in quantised.items()), set(quantised) - set(cache)
PYTHON
    /usr/bin/python3 - "$cifar/test_batch.bin" "$dir/images" <<'PYTHON'
import sys
import numpy as np
records = np.fromfile(sys.argv[1], np.uint8).reshape(-1, 3073)
pixels = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1).astype(np.float32)
((pixels - np.float32([123.675, 116.28, 103.53])) / np.float32([58.395, 57.12, 57.375])).astype("<f4").tofile(sys.argv[2])
PYTHON
    ok "the engine's scores" "$run" scores "$dir/r20.engine" "$dir/images" "$dir/engine.scores"
    peer_scripts agree "$dir/r20.onnx" "$dir/images" "$dir/engine.scores"
else
    skip "CIFAR-10 networks" "no weights/cifar10_resnet20_bn.onnx and data/cifar10 in GRAFT_SHARED"
fi
images=$data/imagenet_samples
if [ -f "$weights/squeezenet1_1_fp16.onnx" ] && [ -d "$images" ]; then
    ok "import SqueezeNet in f16, BGR" "$graft" import "$weights/squeezenet1_1_fp16.onnx" -o "$dir/squeezenet.safetensors" \
        --classes "$images/classes.csv:wnid" data.preprocess=caffe
    found=$(top1 "$dir/squeezenet.safetensors" --part all -d "$images/labels.csv" data.cache="$dir")
    ok "SqueezeNet: top-1 $found on 200 pictures, at least 66.5" /usr/bin/python3 -c "import sys; sys.exit(not $found >= 66.5)"
    ok "prune it" "$graft" prune "$dir/squeezenet.safetensors" -o "$dir/pruned.safetensors" prune.target=flops:0.5 prune.reestimate_batches=0 $one
    ok "and write it" "$graft" export "$dir/pruned.safetensors" --format onnx -o "$dir/pruned.onnx" $one
    scripts check "$dir/pruned.onnx"
else
    skip "SqueezeNet" "no weights/squeezenet1_1_fp16.onnx and data/imagenet_samples in GRAFT_SHARED"
fi
tap_end
