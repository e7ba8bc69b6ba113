#!/usr/bin/env bash
# graft export --format: what other programs read out of the files.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
graft=${OUT:-build}/graft
dir=$tap_dir
files() { /usr/bin/python3 tests/e2e/export_files.py "$@"; }
has() { /usr/bin/python3 -c "import $1" 2>/dev/null; }

if ! has torch || ! has torchvision; then
    skip "export formats" "python3-torch or python3-torchvision is not installed"
    tap_end
    exit
fi
ok "make the files" files make "$dir"
ok "a model of 64 x 64" "$graft" import "$dir/deploy.pth" -o "$dir/model.st" -d "$dir/set" model.input_width=64 model.input_height=64 \
    data.resize=stretch data.crop_fraction=1

ok "safetensors" "$graft" export "$dir/model.st" --format safetensors -o "$dir/plain.safetensors"
ok "torchvision takes them, strictly" files strict "$dir/plain.safetensors" "$dir/deploy.pth"
ok "no graph is in them" sh -c '! grep -aq graft.graph "$0"' "$dir/plain.safetensors"
ok "and graft again" "$graft" import "$dir/plain.safetensors" -o "$dir/back.st"
ok "its classes came back" sh -c '"$0" inspect "$1" | grep -q "classes       2: cat, dog"' "$graft" "$dir/back.st"
ok "the same preprocessing came back" sh -c '
    for f in model back; do "$0" inspect "$1/$f.st" | grep "^input" | sed "s/stretch/shorter side, centre crop/" >"$1/$f.input"; done
    cmp "$1/model.input" "$1/back.input"' "$graft" "$dir"

cp "$dir/deploy.pth" "$dir/caffe.pth"
"$graft" import "$dir/caffe.pth" -o "$dir/caffe.st" data.preprocess=caffe >/dev/null 2>&1
"$graft" export "$dir/caffe.st" --format safetensors -o "$dir/bgr.safetensors" >/dev/null
says 0 "data.preprocess = caffe (the file's metadata)" "$graft" import "$dir/bgr.safetensors" -o "$dir/bgr.st"
printf 'file,class\nset/val/dog/1.png,dog\nset/val/dog/2.png,dog\n' >"$dir/some.csv"
says 0 "2 images  loss" "$graft" evaluate "$dir/model.st" --part all -d "$dir/some.csv"
printf 'set/val/dog/1.png,cow\n' >"$dir/cow.csv"
says 3 'class "cow" of' "$graft" evaluate "$dir/model.st" --part all -d "$dir/cow.csv"

ok "labels" "$graft" export "$dir/model.st" --format labels -o "$dir/names.txt"
ok "one a line" sh -c 'printf "cat\ndog\n" | cmp - "$0"' "$dir/names.txt"

ok "nvinfer, f32" "$graft" export "$dir/model.st" --format nvinfer -o "$dir/deploy.nvinfer.txt"
ok "labels in one line" sh -c 'printf "cat;dog\n" | cmp - "$0"' "$dir/deploy.labels.txt"
says 2 "deploy.onnx exists; --force" "$graft" export "$dir/model.st" --format nvinfer -o "$dir/deploy"
if has cv2; then
    "$graft" infer "$dir/model.st" "$dir/photo.png" -k 2 --json >"$dir/infer.json"
    ok "nvinfer's arithmetic gives graft's probabilities" files nvinfer "$dir/deploy.nvinfer.txt" "$dir/photo.png" "$dir/infer.json"
else skip "nvinfer's arithmetic" "python3-opencv is not installed"; fi

ok "nvinfer, INT8" "$graft" export "$dir/model.st" --format nvinfer -p int8 -o "$dir/int8.nvinfer.txt" export.calibrator=minmax
ok "its cache is named" grep -qx "int8-calib-file=int8.cal" "$dir/int8.nvinfer.txt"
ok "its input's scale is that of nvinfer's y" files calibrated "$dir/int8.nvinfer.txt" "$dir/set/train"
ok "its mode" grep -qx "network-mode=1" "$dir/int8.nvinfer.txt"
ok "calibration cache" "$graft" export "$dir/model.st" --format trtcache -o "$dir/model.cal" export.calibrator=minmax
ok "ncnn table" "$graft" export "$dir/model.st" --format ncnn -o "$dir/model.table" export.calibrator=minmax export.max_drop=100
ok "ncnn's scales by their definition" files ncnn "$dir/model.table" "$dir/deploy.pth" "$dir/model.cal"
ok "a layer kept in float is a comment" "$graft" export "$dir/model.st" --format ncnn -o "$dir/kept.table" export.max_drop=100 \
    export.calibrator=minmax export.float_layers=features.0
ok "both of its lines" test "$(grep -c '^#features.0' "$dir/kept.table")" = 2
"$graft" export "$dir/model.st" -p int8 -o "$dir/model.engine" export.calibrator=minmax export.max_drop=100 >/dev/null 2>&1
says 0 "40 nodes, 723522 parameters" "$graft" inspect "$dir/model.engine" --graph "$dir/engine.dot"
ok "integer layers are green" test "$(grep -c d9f2d9 "$dir/engine.dot")" -ge 26
if has onnx; then ok "the cache's names are ONNX tensors" files cache "$dir/int8.cal" "$dir/int8.onnx"
else skip "the cache's names are ONNX tensors" "python3-onnx is not installed"; fi

says 0 "deploy.pth: 52 loaded, 0 missing, 0 unexpected" "$graft" train model.arch=squeezenet1_1 model.pretrained="$dir/deploy.pth" \
    data.root="$dir/set" model.input_width=64 model.input_height=64 train.epochs=1 train.batch_size=4 train.output="$dir/run"

/usr/bin/python3 tests/e2e/import_files.py make "$dir" >/dev/null 2>&1
ok "a darknet network" "$graft" import "$dir/net.weights" --cfg "$dir/net.cfg" -o "$dir/net.st"
ok "darknet" "$graft" export "$dir/net.st" --format darknet -o "$dir/out.weights"
ok "the weights come back to the byte" cmp "$dir/out.weights" "$dir/net.weights"
if [ -e /usr/lib/darknet/libdarknet.so ]; then
    ok "darknet reads both" files darknet "$dir/out.cfg" "$dir/out.weights" "$dir/net.png" "$dir/net.scores"
else skip "darknet reads both" "darknet is not installed"; fi
says 4 "darknet divides pixels by 255" "$graft" export "$dir/model.st" --format darknet -o "$dir/sq.weights"
tap_end
