#!/usr/bin/env bash
# Weight files as training programs and failed downloads leave them: prefixes, heads, averages, widths, refusals, and files made to hang a reader.
# weight_files.py writes them with Python's own library; what must be in the model are the numbers it wrote.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
graft=${OUT:-build}/graft
files=$tap_dir/files out=$tap_dir/out.safetensors

if ! python3 -c '' 2>/dev/null; then
    skip "weight files" "python3 is not installed"
    tap_end
    exit
fi
ok "write the files" python3 tests/e2e/weight_files.py "$files"

import() { "$graft" import "$files/$1" -o "$out" -f "${@:2}"; }
# Does the model have the tensors of plain.safetensors, to the bit?
plain() { python3 - "$files/plain.safetensors" "$out" <<'PY'
import json, struct, sys
def read(path):
    data = open(path, "rb").read()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {k: (e["shape"], data[8 + length + e["data_offsets"][0]:8 + length + e["data_offsets"][1]]) for k, e in header.items()}
want, have = read(sys.argv[1]), read(sys.argv[2])
wrong = [k for k in want if have.get(k) != want[k]]
sys.exit("other numbers: %s" % wrong[:3] if wrong else 0)
PY
}
takes() { # FILE TEXT OPTIONS...: the import says TEXT and makes the network with plain.safetensors' numbers
    says 0 "$2" import "$1" "${@:3}"
    ok "$1 ${*:3}: its numbers" plain
}

# ---- prefixes
takes plain.safetensors "62 loaded, 0 missing, 0 unexpected"
takes encoder.pth "my_encoder. is taken off the names"
takes deep.pth "_orig_mod.module.net.trunk. is taken off the names"
takes beside.ckpt "62 loaded, 0 missing, 3 unexpected"
for name in criterion.weight proj.0.weight t; do says 0 "unexpected (not used): $name" import beside.ckpt; done
takes beside.safetensors "unexpected (not used): rpn.head.conv.weight"
says 0 "student.* is taken; --weights teacher takes the others" import two.safetensors
takes two.safetensors "62 loaded" --weights teacher
takes two.safetensors "62 loaded" --weights teacher.
says 0 "prefix        model." "$graft" inspect "$files/beside.ckpt"

# ---- the last layer
takes head1.pth "62 loaded, 0 missing, 0 unexpected"
takes head_deep.pth "62 loaded, 0 missing, 0 unexpected"
says 4 "its last layer fc is more than one layer (fc.0.bias, fc.0.weight, fc.3.bias, fc.3.weight)" import head_many.pth

# ---- averages of weights
takes ema_timm.pth "state_dict_ema is taken, the average of the weights over the training (EMA); --weights state_dict takes the raw ones"
takes ema_torchvision.pth "model_ema is taken"
takes ema_inside.pth "ema_model.module.* is taken, the average"
takes ema_root.pth "--weights . takes the raw ones"
takes ema_part.pth "ema is not taken: an average of the weights (EMA) of 38 tensors, of the 62 here"
takes schema.pth "62 loaded"
says 0 "state_dict (62 tensors), state_dict_ema (62 tensors)" "$graft" inspect "$files/ema_timm.pth"
for case in "ema_timm.pth state_dict" "ema_inside.pth model" "ema_root.pth ." "pair.pth discriminator"; do
    set -- $case
    says 0 "62 loaded" import "$1" --weights "$2"
    ok "$case: not the average" sh -c '! "$@"' - plain
done
takes pair.pth "62 loaded" --weights generator
says 4 "generator (62 tensors), discriminator (62 tensors); --weights NAME chooses" import pair.pth
says 2 "it has state_dict (62 tensors), state_dict_ema (62 tensors)" import ema_timm.pth --weights none
says 2 "names begin with student, teacher" import two.safetensors --weights none

says 2 "is darknet weights" import tiny.weights --weights none
says 2 "is darknet weights" "$graft" inspect "$files/tiny.weights" --weights none

# ---- widths
says 0 "62 loaded, 0 missing, 0 unexpected, 0 of another shape" import wide.pth
says 4 "all fit with model.width=0.0625" import plain.safetensors model.width=0.5
says 0 "62 loaded" import plain.safetensors model.width=0.0625

# ---- what is no weights for us
says 4 "other.pth: no network here has such tensors" import other.pth
says 4 "The file has transformer.h.0.attn.weight, transformer.h.0.mlp.weight, wte" import other.pth
says 4 "has conv1.weight, bn1.weight, bn1.bias" import other.pth
says 4 "its keys are epoch, config" import nothing.pth
takes null.safetensors "62 loaded"
takes empty_metadata.safetensors "62 loaded"
for case in "lfs:a git-lfs pointer, not the file itself" "page:a web page, not the file itself" "refused:a storage server's refusal" \
    "answer:a server's answer in JSON" "empty:an empty file" "zeros:begins with nothing but zeros" "xz:compressed by xz" "npz:NumPy's .npz"; do
    file=${case%%:*}.safetensors
    says 4 "$file: ${case#*:}" import "$file"
    says 4 "$file: ${case#*:}" "$graft" inspect "$files/$file"
    [ "$file" = npz.safetensors ] || says 4 "$file: ${case#*:}" "$graft" evaluate "$files/$file"
done
says 4 "page.safetensors: a web page" import tiny.weights --cfg "$files/page.safetensors"

# ---- control characters
clean() { # no byte that a terminal obeys, no line that the file wrote
    "$@" >"$tap_dir/shown" 2>&1
    ! LC_ALL=C grep -qP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]' "$tap_dir/shown" && ! grep -q '^wrote fine' "$tap_dir/shown"
}
for file in evil.safetensors evil.pth evil_other.pth evil_keys.pth; do
    ok "import $file shows no control characters" clean import "$file"
    ok "inspect $file shows no control characters" clean "$graft" inspect "$files/$file" --layers
    ok "inspect $file --json shows none" clean "$graft" inspect "$files/$file" --json
    ok "--weights of $file shows none" clean import "$file" --weights none
done

odd=$files/$'odd\nwrote fine \e[1m.pth'
cp "$files/ema_timm.pth" "$odd"
ok "a file's own name shows no control characters" clean "$graft" inspect "$odd"
ok "nor when it is imported" clean "$graft" import "$odd"

# ---- work beyond the file's size: half a gigabyte of addresses and ten seconds of processor time are a hundred times what is needed
bounded() { (ulimit -v 600000 -t 10 && exec "$@"); }
for case in "bomb_self.pth:no dictionary of tensors" "bomb_layers.pth:no dictionary of tensors" "bomb_keys.pth:no dictionary of tensors" "bomb_values.pth:more than 524288 values" \
    "bomb_lists.pth:holds no dictionary" "bomb_names.pth:a tensor's name of 512 bytes or more" "twins.pth:two tensors are called a" "bomb_tensors.pth:at most 16384 are read" "bomb_metadata.safetensors:at most 4096 are read" \
    "bomb_many.safetensors:at most 16384 are read" "bomb_json.safetensors:more than 262144 values" "most.safetensors:no network here"; do
    file=${case%%:*}
    says 4 "${case#*:}" bounded "$graft" import "$files/$file" -o "$out" -f
    [ "$file" = most.safetensors ] || says 4 "${case#*:}" bounded "$graft" inspect "$files/$file"
done
tap_end
