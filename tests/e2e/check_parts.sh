#!/usr/bin/env bash
# Data sets of which one part is there, parts under other names, and paths that name a part.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
case ${OUT:-build} in /*) graft=$OUT/graft ;; *) graft=$PWD/${OUT:-build}/graft ;; esac
export OMP_NUM_THREADS=1
net="model.arch=resnet10 model.stem=small model.width=0.25 model.input_width=16 model.input_height=16 data.resize=stretch"
small="$net train.epochs=1 train.batch_size=8 train.threads=1 -q"
python3 tests/e2e/make_shapes.py "$tap_dir/shapes" 8 4
cd "$tap_dir" || exit 1
score() { "$graft" evaluate "$@" train.threads=1; }
train() { "$graft" train "$@" $small --overwrite train.output=run; }
member() { python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }

ok "train" train -d shapes
model=run/best.safetensors

# One part in a folder.
mkdir only_test only_val only_train
cp -r shapes/val only_test/test
cp -r shapes/val only_val/valid
cp -r shapes/train only_train/train
says 0 "scored all 12 images" score $model -d only_test --part test
says 0 "scored all 12 images" score $model -d only_test
says 0 "scored all 12 images" score $model -d only_val
says 0 "scored all 12 images" score $model -d only_val --part val
says 0 "scored all 24 images" score $model -d only_train
says 0 "scored all 12 images" score $model -d only_test --part all
says 3 "has a test part, but no val part found" score $model -d only_test --part val
says 3 "has a test part, but no train part found" train -d only_test
says 0 '"part":"test","set_aside":false,"scored":12,"of":12' score $model -d only_test --json
says 0 "test        12 images" "$graft" convert only_test -o packed_test -q
says 0 "scored all 12 images" score $model -d packed_test
says 0 "0 of 12 images can't be read" "$graft" convert only_test --lint -q
"$graft" export $model --format safetensors -o plain.safetensors -q >/dev/null 2>&1
says 0 "3 classes" "$graft" import plain.safetensors -o imported.st -d only_test $net
rm -r only_test/test/disc
says 0 "scored all 8 images" score $model -d only_test
says 0 "has 2 of the 3 classes" score $model -d only_test

# Whole folders of classes: all of it, unless the network was trained on it.
says 0 "scored all 12 images" score $model -d shapes/val
says 0 "scored 12 of 36 images: the val part" score $model -d shapes
says 0 "scored 24 of 36 images: the train part" score $model -d shapes --part train
says 0 "scored 3 of 12 images: the val part, as training splits the images" score $model -d shapes/val --part val
train -d shapes/train >/dev/null 2>&1
says 0 "scored 3 of 24 images: the val part, as training splits the images" score $model
says 0 "scored 3 of 24 images: the val part, as training splits the images" score $model -d shapes/val/../train
says 0 "scored all 12 images" score $model -d shapes/val
says 0 "scored all 24 images" score $model -d shapes/train --part all
"$graft" export $model -o run/f32.engine -q >/dev/null 2>&1
says 0 "scored all 12 images" score run/f32.engine -d shapes/val

# Other names for a part, and folders that are none.
for name in val valid validation Valid; do
    mkdir "set_$name"
    cp -r shapes/train "set_$name/train"
    cp -r shapes/val "set_$name/$name"
    says 0 "scored 12 of 36 images: the val part" score $model -d "set_$name"
done
ok "valid/ is the validation part in training" train -d set_valid
says 0 "scored 12 of 36 images: the val part" score $model
says 0 "val         12 images" "$graft" convert set_valid -o packed -q
cp -r shapes/val set_val/holdout
says 3 "set_val/holdout: a folder of images beside" train -d set_val
says 3 "neither train, val (valid, validation) nor test" score $model -d set_val
rm -r set_val/holdout && mkdir set_val/notes && echo text >set_val/notes/read.me
ok "a folder without images is in nobody's way" train -d set_val
cp -r shapes/val set_val/valid
says 3 "set_val/valid: a second val part beside val" train -d set_val
mkdir loose && cp -r shapes/train loose/train && mkdir loose/val && cp shapes/val/disc/00.ppm loose/val
says 3 "loose/val: images without class folders" train -d loose
mv loose/val loose/test
ok "test images without classes are in nobody's way" train -d loose
mkdir -p flat/train flat/val && cp shapes/train/disc/* flat/train && cp shapes/val/disc/* flat/val
says 3 "flat/train: images without class folders" train -d flat
says 3 "flat/train: images without class folders" score $model -d flat
mkdir -p flat_test/test && cp shapes/val/disc/* flat_test/test
says 3 "flat_test/test: images without class folders" score $model -d flat_test
ok "they can be classified" "$graft" infer $model flat_test flat/val
cp -r shapes/train vehicles
mv vehicles/disc vehicles/train
ok "a class may be called train" train -d vehicles
train -d set_Valid >/dev/null 2>&1

# PATH#PART.
cp -r shapes/val set_valid/test && rm -r set_valid/test/disc/00.ppm
says 0 "scored 11 of 47 images: the test part" score $model -d set_valid#test
says 0 "scored 12 of 47 images: the val part" score $model -d set_valid#valid
says 0 "scored 24 of 47 images: the train part" score $model -d set_valid#train
says 0 "scored 12 of 36 images: the val part" score $model -d packed#val
says 0 "scored 11 of 47 images: the test part" score $model -d set_valid --part all
says 0 "scored 11 of 47 images: the test part" score $model -d set_valid#test --part all
says 0 "scored 12 of 36 images: the val part" score $model -d packed
says 3 "packed: no data set with a test part" score $model -d packed#test
says 0 "its test part, 11 of 47 images" "$graft" infer $model set_valid#test
says 0 "its test part, 11 of 47 images" "$graft" infer $model set_valid
ok "training on parts by name" train data.train=set_valid#train data.val=set_valid#test
says 0 "scored 11 of 35 images" score $model
mkdir apart && cp -r shapes/train apart/a && cp -r shapes/val apart/b
ok "training on parts apart" train data.train=apart/a data.val=apart/b
says 0 "scored 12 of 36 images: the val part" score $model
mv only_val 'name#test'
says 0 "scored all 12 images" score $model -d 'name#test'

# Tables.
(cd shapes && for i in val/*/*; do echo "$i,$(basename "$(dirname "$i")")"; done >labels.csv)
says 0 "scored all 12 images" score $model -d shapes/labels.csv
mkdir tables && cp shapes/labels.csv tables/valid.csv && cp -r shapes/val tables
rm -r shapes/val/*/0[0-2].ppm
says 0 "scored all 12 images" score $model -d tables
says 0 "scored all 12 images" score $model -d tables#val

# Records: test_batch.bin alone, in CIFAR's outer folder, and one IDX pair.
python3 - <<'PY'
import os, random, struct
random.seed(1)
os.makedirs("cifar/cifar-10-batches-bin")
os.makedirs("bare")
os.makedirs("idx")
def records(path, labels):
    with open(path, "wb") as f:
        for label in labels:
            f.write(bytes([label]) + bytes([40 * label + random.randrange(40) for _ in range(3072)]))
records("cifar/cifar-10-batches-bin/data_batch_1.bin", [0, 1, 2] * 4)
records("cifar/cifar-10-batches-bin/test_batch.bin", [0, 1, 2] * 2)
open("cifar/cifar-10-batches-bin/batches.meta.txt", "w").write("air\nbird\ncat\n\n")
records("bare/test_batch.bin", [0, 1] * 3)
def idx(prefix, labels):
    with open(f"idx/{prefix}-images-idx3-ubyte", "wb") as f:
        f.write(struct.pack(">4B3I", 0, 0, 8, 3, len(labels), 16, 16))
        f.write(bytes(80 * l for l in labels for _ in range(256)))
    with open(f"idx/{prefix}-labels-idx1-ubyte", "wb") as f:
        f.write(struct.pack(">4BI", 0, 0, 8, 1, len(labels)) + bytes(labels))
idx("train", [0, 1, 2] * 4)
idx("t10k", [1, 0] * 2)
PY
ok "train on CIFAR's outer folder" train -d cifar
says 0 "scored 6 of 18 images: the test part" score $model --part test
says 0 "scored 6 of 18 images: the test part" score $model -d cifar#test
says 0 "scored 6 of 18 images: the test part" score $model -d cifar/cifar-10-batches-bin#test
says 0 "scored all 6 images" score $model -d cifar/cifar-10-batches-bin/test_batch.bin
says 0 "scored all 6 images" score $model -d bare
says 0 "scored all 6 images" score $model -d bare --part test
says 0 '"air" is "0", "bird" is "1"' score $model -d bare
ok "train on IDX" train -d idx model.channels=1
says 0 "scored 4 of 16 images: the test part" score $model --part test
rm idx/train-*
says 0 "scored all 4 images" score $model -d idx
says 0 "scored all 4 images" score $model -d idx --part test
says 0 "scored all 4 images" score $model -d idx/t10k-images-idx3-ubyte
tap_end
