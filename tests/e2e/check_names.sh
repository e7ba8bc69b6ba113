#!/usr/bin/env bash
# Names as people and programs write them: byte order marks, blanks, other encodings, control characters, numbers.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
case ${OUT:-build} in /*) graft=$OUT/graft ;; *) graft=$PWD/${OUT:-build}/graft ;; esac
export OMP_NUM_THREADS=1 LC_ALL=C
net="model.arch=resnet10 model.stem=small model.width=0.25 model.input_width=16 model.input_height=16 data.resize=stretch"
small="$net train.epochs=1 train.batch_size=8 train.threads=1 -q"
python3 tests/e2e/make_shapes.py "$tap_dir/shapes" 8 4
cd "$tap_dir" || exit 1
score() { "$graft" evaluate "$@" train.threads=1; }
train() { "$graft" train "$@" $small --overwrite train.output=run; }
model=run/best.safetensors
# No control character but line breaks; in files also UTF-8.
clean() { ! grep -aqP '[^\n -~\x80-\xff]|\xe2\x80\xae' "$@"; }
clean_file() { clean "$@" && iconv -f UTF-8 -t UTF-8 "$@" >/dev/null; }

# Lists from Windows: a byte order mark, CR LF.
train -d shapes >/dev/null 2>&1
"$graft" export $model --format safetensors -o plain.safetensors >/dev/null
import() { "$graft" import plain.safetensors -o imported.st -f $net "$@"; }
printf '\xef\xbb\xbfdisc\r\nsquare\r\n stripes \r\n\r\n' >bom.txt
ok "import with such a list" import --classes bom.txt
says 0 "scored all 12 images" score imported.st -d shapes/val
printf 'disc\rsquare\rstripes\r' >mac.txt
ok "lines that end with CR" import --classes mac.txt
says 0 "classes       3: disc, square, stripes" "$graft" inspect imported.st
printf '\xef\xbb\xbfid,name\r\n1,disc\r\n2, square\r\n3,"stripes" \r\n' >bom.csv
ok "a table of names" import --classes bom.csv
says 0 "scored all 12 images" score imported.st -d shapes/val
iconv -f UTF-8 -t UTF-16 mac.txt >utf16.txt
says 3 "UTF-16: save it as UTF-8" import --classes utf16.txt
printf 'disc\nDisc\nstripes\n' >alike.txt
says 0 'classes "Disc" and "disc" differ only in case or blanks' import --classes alike.txt

# Numbered classes: by number, or in order with a warning.
printf 'class 0\nclass 1\nclass 2\n' >numbers.txt
import --classes numbers.txt >/dev/null 2>&1
mkdir numbers && cp -r shapes/val/disc numbers/002
cp -r shapes/val/square numbers/1 && cp -r shapes/val/stripes numbers/00
top1() { score "$@" --json 2>/dev/null | python3 -c '
import json, sys
print(json.load(sys.stdin)["evaluation"]["accuracy_top1"])'; }
says 0 "scored all 12 images" score imported.st -d numbers
ok "without a warning" sh -c '! grep -q warning "$0"' "$tap_dir/said"
says 0 '"class 0" is "disc", "class 1" is "square", "class 2" is "stripes"' score imported.st -d shapes/val
by_order=$(top1 imported.st -d shapes/val)
ok "the order is the network's own ($by_order)" test "$by_order" = "$(top1 $model -d shapes/val)"
mkdir turned && cp -r shapes/val/disc turned/0 && cp -r shapes/val/square turned/1 && cp -r shapes/val/stripes turned/2
ok "numbers are taken by value" test "$(top1 imported.st -d turned)" = "$by_order"
rm -r turned/1
says 0 "has 2 of the 3 classes" score imported.st -d turned
says 0 '"class 2" is "stripes"' "$graft" prune imported.st -o pruned.st -d shapes -pth 0.5 -q
mkdir two && cp -r shapes/val/disc shapes/val/square two
says 3 'class "disc" of two is not among the 3 of imported.st' score imported.st -d two
mkdir capital && for c in disc square stripes; do cp -r shapes/val/$c "capital/${c^}"; done
says 3 'which has "disc": rename one of them' score $model -d capital

# A last layer that is kept follows the order of the data set's classes.
loss() { score "$@" --json 2>/dev/null | python3 -c '
import json, sys
print("%.3f" % json.load(sys.stdin)["evaluation"]["loss"])'; }
printf 'stripes\ndisc\nsquare\n' >turned.txt
import --classes turned.txt >/dev/null 2>&1
turned=$(loss imported.st -d shapes)
ok "another order of the rows is another network ($turned)" test "$turned" != "$(loss $model -d shapes)"
says 0 "its last layer follows the data set's" "$graft" train -d shapes ${small% -q} train.output=kept model.pretrained=imported.st \
    model.load_graph=true model.freeze_bn=true schedule.learning_rate=1e-9
ok "the network is the same" test "$turned" = "$(loss kept/last.safetensors -d shapes)"

# Tables: blanks that are not quoted are no part of a field.
mkdir table && cp -r shapes/train table
(cd table && { printf '\xef\xbb\xbfpath,label\r\n'
    for c in disc square stripes; do
        printf "train/$c/00.ppm,$c\r\ntrain/$c/01.ppm, $c\r\n"
        printf "\ttrain/$c/02.ppm ,$c \r\n \"train/$c/03.ppm\" , \"$c\" \r\n"
    done; } >labels.csv)
ok "blanks around fields" train -d table/labels.csv -q
says 0 "classes       3: disc, square, stripes" "$graft" inspect $model
printf 'train/disc/04.ppm,Disc\ntrain/disc/05.ppm," disc"\n' >>table/labels.csv
says 0 'classes " disc" and "Disc" differ only in case or blanks' train -d table/labels.csv
says 0 'classes "Disc" and "disc" differ only in case or blanks' train -d table/labels.csv

# Folders in another encoding, with control characters, under a path of that kind: from training to export.
root=$(printf 'm\xe9dia') odd=$(printf 'caf\xe9') control=$(printf 'a\n\033[31mb') bidi=$(printf 'x\xe2\x80\xaey')
mkdir "$root" && for part in train val; do
    mkdir "$root/$part"
    cp -r shapes/$part/disc "$root/$part/$odd" && cp -r shapes/$part/square "$root/$part/$control"
    cp -r shapes/$part/stripes "$root/$part/$bidi"
done
ok "train" train -d "$root"
says 0 "scored 12 of 36 images: the val part" score $model
ok "what evaluate says is clean" clean "$tap_dir/said"
ok "evaluate on the path" score $model -d "$root/val"
ok "resume" "$graft" train -d "$root" $small train.output=run train.epochs=2 --resume
ok "prune" "$graft" prune $model -o pruned2.st -pth 0.5 -f
ok "what it says is clean" clean "$tap_dir/output"
ok "retrain" "$graft" train -e pruned2.st.retrain.ini -q train.output=again train.epochs=1 train.threads=1 --overwrite
for format in engine labels nvinfer ncnn trtcache onnx; do
    precision=int8 && [ $format = engine ] && precision=f32
    ok "export $format" "$graft" export pruned2.st --format $format -p $precision -o out.$format -f export.calibrator=minmax \
        export.max_drop=100
    ok "what it says is clean" clean "$tap_dir/output"
done
mv out.nvinfer out.nvinfer.txt 2>/dev/null
ok "files of lines are clean" clean_file out.labels out.ncnn out.trtcache run/log.csv run/report.html \
    ./*.labels.txt ./*.nvinfer.txt
ok "one line a class" test "$(wc -l <out.labels)" = 3
ok "the names, escaped" sh -c 'printf "%s\n" "a\\x0a\\x1b[31mb" "caf\\xe9" "x\\xe2\\x80\\xaey" | cmp - "$0"' out.labels
says 0 "caf\\xe9" "$graft" infer out.engine "$root/val/$control" -o predicted
ok "what infer says is clean" clean "$tap_dir/said"
ok "its table is clean" clean_file predicted/result.csv
ok "a line for each of 4 images" test "$(wc -l <predicted/result.csv)" = 5
cp -r shapes/val/disc "$root/val/caf\\xe9"
says 3 'two classes are called "caf\xe9"' train -d "$root/val"
rm -r "$root/val/caf\\xe9"
printf 'broken' >"$root/val/$control/z.ppm"
says 3 "1 of 37 images can't be read" "$graft" convert "$root" --lint
ok "what lint says is clean" clean "$tap_dir/said"
tap_end
