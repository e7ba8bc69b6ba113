#!/usr/bin/env bash
# A detector from boxes in label files to an INT8 engine: trained, resumed, judged, pruned, retrained, exported, and asked what it finds.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
case ${OUT:-build} in /*) graft=$OUT/graft ;; *) graft=$PWD/${OUT:-build}/graft ;; esac
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
python3 tests/e2e/make_boxes.py "$tap_dir/data" 160 32
python3 tests/e2e/make_shapes.py "$tap_dir/shapes" 4 2
root=$PWD voc_map=$PWD/tests/e2e/voc_map.py
cd "$tap_dir" || exit 1

net="model.arch=ssd_resnet10 model.width=0.25 ssd.extra_channels=32 model.input_width=96 model.input_height=96"
run="train.batch_size=8 train.threads=1 data.threads=1 train.device=cpu -q"
train() { "$graft" train $net $run data.root=data optimizer.type=adamw schedule.learning_rate=0.003 "$@"; }
evaluate() { "$graft" evaluate "$@" data.root=data train.threads=1 -q; }
number() { python3 -c "import json,sys; v=json.load(open('$1'))
for k in sys.argv[1].split('.'): v=v[int(k)] if k.isdigit() else v[k]
print(v)" "$2"; }
above() { python3 -c "import sys; a,b=map(float,sys.argv[1:]); print(a,b); sys.exit(not a>b)" "$1" "$2"; }

# ---------------------------------------------------------------------------------------------- training
ok "a detector is trained" train train.output=run train.epochs=40 train.eval_period=20
evaluate run/best.safetensors --json >best.json
ok "it finds more than 80 % at IoU 0.5" above "$(number best.json evaluation.map)" 0.8
ok "the log has its terms" grep -q "train/loss_box,.*train/loss_class,.*train/positives,.*val/map" run/log.csv
ok "the report shows images with boxes" grep -q "Images with most mistakes" run/report.html
says 0 "mAP" evaluate run/best.safetensors

"$graft" infer run/best.safetensors data/val/images -t 0 -q --json train.threads=1 >all.json
same() { python3 -c "import sys; a,b=map(float,sys.argv[1:]); print(a,b); sys.exit(abs(a-b)>1e-5)" "$1" "$2"; }
ok "mAP is Pascal VOC's" same "$(number best.json evaluation.map)" "$(python3 "$voc_map" all.json)"
evaluate run/best.safetensors --json evaluate.average_precision=sample evaluate.iou=0.7 >sample.json
ok "at eleven recalls and another IoU, too" same "$(number sample.json evaluation.map)" "$(python3 "$voc_map" all.json 0.7 sample)"

steady="schedule.type=constant schedule.warmup=0" # the same rate however long the run is
ok "one of two epochs, stopped" train train.output=parts train.epochs=1 $steady
ok "one more" train train.output=parts train.epochs=2 $steady --resume
ok "two in one go" train train.output=once train.epochs=2 $steady
same_tensors() { python3 -c "
import struct, sys
def tensors(path):
    data = open(path, 'rb').read()
    return data[8 + struct.unpack('<Q', data[:8])[0]:]
assert tensors(sys.argv[1]) == tensors(sys.argv[2])" "$1" "$2"; }
ok "resumed and whole runs have the same tensors" same_tensors parts/last.safetensors once/last.safetensors
ok "the data set is packed" "$graft" convert data -o packed -q
ok "a run on it" train data.root=packed train.output=from_packed train.epochs=2 $steady
ok "packed and loose files give the same tensors" same_tensors from_packed/last.safetensors once/last.safetensors
ok "two ranks" train --ranks=2 train.output=ranks train.epochs=2 train.batch_size=4 data.threads=1
evaluate ranks/last.safetensors --json >ranks.json
ok "ranks judge together as one judges alone" python3 - <<'P'
import csv, json
rows = [r for r in csv.DictReader(open("ranks/log.csv")) if r["val/map"]]
assert abs(float(rows[-1]["val/map"]) - json.load(open("ranks.json"))["evaluation"]["map"]) < 1e-6, rows[-1]
P

# ---------------------------------------------------------------------------------------------- pruned
ok "it is pruned" "$graft" prune run/best.safetensors -o pruned.safetensors prune.target=params:0.6 -q
ok "and retrained" "$graft" train -e pruned.safetensors.retrain.ini train.output=retrained train.epochs=20 train.eval_period=20 -q
evaluate retrained/best.safetensors --json >retrained.json
ok "it has fewer parameters" above "$(number best.json parameters)" "$(number retrained.json parameters)"
ok "retraining brings back most of the mAP" above "$(number retrained.json evaluation.map)" 0.7

# ---------------------------------------------------------------------------------------------- engines
ok "an f32 engine" "$graft" export run/best.safetensors -o f32.engine -q
ok "an INT8 engine" "$graft" export run/best.safetensors -o int8.engine -p int8 export.max_drop=5 -q
for kind in f32 int8; do evaluate $kind.engine --json >$kind.json; done
ok "f32 has the model's mAP" python3 -c "
import json
a, b = (json.load(open(f))['evaluation']['map'] for f in ('best.json', 'f32.json'))
assert abs(a - b) < 1e-3, (a, b)"
ok "INT8 loses at most 5 points" above "$(number int8.json evaluation.map)" "$(python3 -c "print($(number best.json evaluation.map) - 0.05)")"
says 4 "node 'ssd' (ssd_head) cannot be written as ONNX" "$graft" export run/best.safetensors --format onnx -o no.onnx

# ---------------------------------------------------------------------------------------------- what it finds
ok "infer" "$graft" infer int8.engine data/val/images -o found -t 0.3 -q
"$graft" infer int8.engine data/val/images -t 0.3 -q --json >found.json
ok "boxes lie where the labels say" python3 - <<'P'
import json
def overlap(a, b):
    w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(w, 0) * max(h, 0)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
hits = total = 0
for image in json.load(open("found.json"))["predictions"]:
    labels = open(image["path"].replace("images", "labels").replace(".ppm", ".txt")).read().splitlines()
    for line in labels:
        words = line.split()
        truth = list(map(float, words[4:8]))
        total += 1
        hits += any(o["class"] == words[0] and overlap(o["box"], truth) >= 0.5 for o in image["objects"])
    for o in image["objects"]:
        assert o["confidence"] >= 0.3 and 0 <= o["box"][0] < o["box"][2] <= 96 and 0 <= o["box"][1] < o["box"][3] <= 72, o
print(hits, total)
assert hits > 0.7 * total
P
ok "a table with boxes" grep -q "^path,class,confidence,x0,y0,x1,y1$" found/result.csv
ok "a picture of each image" test "$(ls found/annotated | wc -l)" = 32
ok "a contact sheet" test -s found/predictions.png

if [ -z "${SAN:-}" ] && [ -s "${graft%/*}/libgraft.so" ]; then
    ok "compile the example" ${CC:-gcc} -Wall -Wextra -Werror "$root/docs/example.c" -I"$root/export" "-L${graft%/*}" -lgraft \
        "-Wl,-rpath,${graft%/*}" -o example
    ok "the C API finds what infer finds" bash -c "diff <(./example int8.engine data/val/images/003.ppm 0.2) \
        <('$graft' infer int8.engine data/val/images/003.ppm -t 0.2 -q | sed 's/^[^ ]* *//; s/  */ /g; s/\] /]\n/g')"
else
    skip "the C API's example" "this build's library needs sanitizers or other switches"
fi

# ---------------------------------------------------------------------------------------------- torchvision's names
tiny="model.arch=retinanet_resnet18 retinanet.form=torchvision retinanet.channels=16 retinanet.subnet_layers=4 model.width=0.25 \
    model.input_width=64 model.input_height=64 data.root=data train.epochs=1"
"$graft" train $tiny train.output=pyramid $run >/dev/null 2>&1
/usr/bin/python3 - <<'P'
import json, struct
data = open("pyramid/last.safetensors", "rb").read()
size = struct.unpack("<Q", data[:8])[0]
header = json.loads(data[8:8 + size])
def name(k):
    return k if k.startswith("head.") else "backbone." + k if k.startswith("fpn.") else "backbone.body." + k
text = json.dumps({name(k): v for k, v in header.items() if k != "__metadata__"}).encode()
open("named.safetensors", "wb").write(struct.pack("<Q", len(text)) + text + data[8 + size:])
P
says 0 "136 loaded, 0 missing, 1 unexpected" "$graft" train $tiny train.output=again model.pretrained=named.safetensors ${run% -q} # its anchors

# ---------------------------------------------------------------------------------------------- other formats
cp -r data planted
lines=$(wc -l <planted/val/labels/000.txt)
echo "disc 0 0 0 -5 3 20 20 0 0 0 0 0 0 0" >>planted/val/labels/000.txt
echo "disc 0 0 0 9 9 9.5 20 0 0 0 0 0 0 0" >>planted/val/labels/000.txt
tail -n 1 planted/val/labels/001.txt >>planted/val/labels/001.txt
"$graft" convert planted --lint --json -q >lint.json
ok "lint lists the planted boxes, by file and line" python3 - "$lines" "$(wc -l <planted/val/labels/001.txt)" <<'P'
import json, sys
r, lines, doubled = json.load(open("lint.json")), int(sys.argv[1]), int(sys.argv[2])
found = [(b["part"], b["file"].rsplit("/", 1)[1], b["line"], b["dropped"], b["doubled"]) for b in r["boxes"]]
assert found == [("val", "000.txt", lines + 1, False, False), ("val", "000.txt", lines + 2, True, False),
                 ("val", "001.txt", doubled, False, True)], r["boxes"]
assert (r["boxes_clipped"], r["boxes_dropped"], r["boxes_doubled"], r["bad_count"]) == (1, 1, 1, 0), r
P
for format in yolo coco; do
    ok "written as $format" "$graft" convert data --to $format -o as_$format --link -q
    "$graft" evaluate run/best.safetensors data.root=as_$format train.threads=1 -q --json >as_$format.json
    ok "$format gives the same mAP" same "$(number best.json evaluation.map)" "$(number as_$format.json evaluation.map)"
done
says 0 "square" "$graft" convert as_coco --statistics
says 2 "--to png: expected packed, kitti" "$graft" convert data --to png -o no

# ---------------------------------------------------------------------------------------------- what does not go together
says 3 "boxes, which a detector needs" train data.root=shapes train.output=no
says 3 "holds boxes (kitti), for detection" "$graft" train model.arch=resnet10 data.root=data train.output=no $run
says 2 "detect.nms_iou = 0.4: would be ignored: it needs a detector, another model.head than none" "$graft" train model.arch=resnet10 data.root=data detect.nms_iou=0.4
says 2 "ssd.clip_boxes = true: would be ignored: it needs model.head = ssd or dssd" "$graft" train model.arch=resnet10 data.root=data ssd.clip_boxes=true
says 2 "train.mixup = 0.2: would be ignored: it needs model.head = none" train train.mixup=0.2 train.output=no
says 2 "ssd.scales has 2 values: expected 7" train "ssd.scales=0.1 0.2" train.output=no
"$graft" train model.arch=resnet10 model.stem=small model.width=0.25 model.input_width=16 model.input_height=16 data.root=shapes train.epochs=1 train.output=class $run >/dev/null 2>&1
says 2 "is for classification" train model.load_graph=true model.pretrained=class/best.safetensors train.output=no
tap_end
