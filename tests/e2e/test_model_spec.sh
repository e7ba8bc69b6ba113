#!/usr/bin/env bash
# What a model's own spec may choose: how its network and images are, never where files go. The spec of a stranger's model is a stranger's text.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
graft=${OUT:-build}/graft
dir=$tap_dir

if ! python3 -c '' 2>/dev/null; then
    skip "a model's spec" "python3 is not installed"
    tap_end
    exit
fi
ok "write weights" python3 tests/e2e/weight_files.py "$dir/files"
ok "write images" python3 - "$dir/set;#1" <<'PY'
import os, struct, sys, zlib
def chunk(name, data): return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
for part, count in (("train", 6), ("val", 3)):
    for k, colour in enumerate((b"\xff\0\0", b"\0\xff\0", b"\0\0\xff")):
        folder = os.path.join(sys.argv[1], part, "class%d" % k)
        os.makedirs(folder)
        for i in range(count):
            row = b"\0" + colour * (32 - i) + bytes(3 * i)
            png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(row * 32)) + chunk(b"IEND", b"")
            open(os.path.join(folder, "%d.png" % i), "wb").write(png)
PY

# Every option that is a path, from the list itself: those that are not places of the data set point into $dir/evil.
paths=$("$graft" spec resnet10 2>/dev/null | awk -F' *[][=] *' '/^\[/ {section = $2} /^(output|cache|pretrained|model) *=/ {print section "." $1}')
evil=
for path in $paths; do
    case $path in *.model) ;; *) evil="$evil $path=$dir/evil/$path" ;; esac
done
ok "the options that are paths: $evil" sh -c 'for p in train.output data.cache model.pretrained prune.output export.output export.cache; do case "$0" in *"$p"*) ;; *) exit 1 ;; esac; done' "$evil"
ok "a model with a hostile spec" "$graft" import "$dir/files/plain.safetensors" -o "$dir/model.st" -d "$dir/set;#1" \
    model.input_width=32 model.input_height=32 train.threads=1 train.batch_size=4 data.lint=true $evil
"$graft" inspect "$dir/model.st" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["spec"])' >"$dir/spec.ini"
ok "its spec is hostile" test "$(grep -c "$dir/evil" "$dir/spec.ini")" -ge 4

# The place of the data set is read, and said; it may hold characters that a spec file quotes.
says 0 "data.root = $dir/set;#1 (the model's spec)" "$graft" evaluate "$dir/model.st"
says 0 "data.root = $dir/set;#1 (the model's spec)" "$graft" prune "$dir/model.st" -o "$dir/pruned.safetensors" -pth 0.1
ok "the retrain spec leads into no folder of the model's choice" sh -c '! grep -n evil "$0"' "$dir/pruned.safetensors.retrain.ini"
ok "it trains beside the pruned model" grep -qxF "output = $dir/pruned-retrain" "$dir/pruned.safetensors.retrain.ini"
ok "on the same data set" grep -qxF "root = \"$dir/set;#1\"" "$dir/pruned.safetensors.retrain.ini"
says 0 "wrote" "$graft" prune "$dir/model.st" -o "$dir/again.safetensors" -pth 0.1 train.output="$dir/mine"
ok "or where the user says" grep -qxF "output = $dir/mine-retrain" "$dir/again.safetensors.retrain.ini"
ok "retraining writes there" "$graft" train -e "$dir/pruned.safetensors.retrain.ini" train.epochs=1
ok "its checkpoint" test -s "$dir/pruned-retrain/last.safetensors"
says 0 "wrote $dir/model.int8.engine" "$graft" export "$dir/model.st" -o "$dir/model.int8.engine" -p int8 export.calibration_images=6
says 0 "wrote" "$graft" calibrate "$dir/model.st" export.cache="$dir/ranges.cache" export.calibration_images=6
"$graft" train -d "$dir/set;#1" model.pretrained="$dir/model.st" model.load_graph=true train.epochs=1 train.output="$dir/on" train.threads=1 >"$dir/log" 2>&1
ok "training goes on from it" test -s "$dir/on/last.safetensors"
ok "nothing was written where its spec says" test ! -e "$dir/evil"
says 2 "data" "$graft" evaluate "$dir/model.st" data.root=
tap_end
