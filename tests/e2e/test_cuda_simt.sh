#!/usr/bin/env bash
# device = cuda from end to end without a GPU: the CUDA backend compiled for the CPU (kernels/simt) trains, prunes, exports and runs engines,
# and agrees with the CPU backend.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
work=$tap_dir/work
mkdir -p "$work"
build() { env -u OUT -u BUILD -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s -j2 SIMT=1 "$@"; }
ok "make SIMT=1" build all
graft=$PWD/$(build print-OUT)/graft
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive
export XDG_CACHE_HOME=$work/cache # no table of tuned kernels but ours

python3 tests/e2e/make_colours.py "$work/data"

small=(model.arch=resnet10 model.stem=small model.width=0.25 model.input_width=16 model.input_height=16 data.resize=stretch train.epochs=2
    train.batch_size=8 train.threads=1 data.threads=1 schedule.learning_rate=0.02)
run() { # FOLDER overrides...; how=exec: in the place of the shell that runs it, so that signals for $! reach it
    local folder=$1
    shift
    ${how:-} "$graft" train data.root="$work/data" "${small[@]}" train.output="$work/$folder" "$@"
}
# Every column of a log that the machine's speed has no part in; the tensors of a model file without its metadata.
log() { awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) skip[i] = $i ~ /time|images|wait/ }
                 { line = ""; for (i = 1; i <= NF; i++) if (!skip[i]) line = line $i ","; print line }' "$work/$1/log.csv"; }
tensors() { tail -c "+$(($(od -An -tu8 -N8 "$1") + 9))" "$1"; }
same_run() { cmp <(log "$1") <(log "$2") && cmp <(tensors "$work/$1/last.safetensors") <(tensors "$work/$2/last.safetensors"); }
# Losses of two logs, row by row, differ by at most TOLERANCE times their size; FIRST: in the first row only.
losses_near() { # FOLDER FOLDER TOLERANCE [FIRST]
    python3 - "$work/$1/log.csv" "$work/$2/log.csv" "$3" "${4:-}" <<'PYTHON'
import csv, sys
a, b = (list(csv.DictReader(open(p))) for p in sys.argv[1:3])
assert len(a) == len(b) and len(a) > 10, (len(a), len(b))
for x, y in list(zip(a, b))[:1 if sys.argv[4] else None]:
    for key in ("train/loss", "val/loss"):
        if not x[key] and not y[key]: continue
        u, v = float(x[key]), float(y[key])
        assert abs(u - v) <= float(sys.argv[3]) * abs(v), (x["step"], key, u, v)
PYTHON
}

ok "train on the CPU" run cpu train.device=cpu
says 0 "device: SIMT" run cuda train.device=cuda
# 12 updates, each with about 120 results rounded to f32 one after the other, at worst 2^-24 each.
ok "losses are the CPU's within 12 * 120 * 2^-24" losses_near cuda cpu 8.6e-5
ok "a second run" run again train.device=cuda
ok "has the same bits" same_run cuda again
GRAFT_NO_GRAPH=1 ok "a run without captured graphs" run direct train.device=cuda
ok "has the same bits" same_run cuda direct

# A GPU each, the sums of ranks between kernels.
units=$(build print-OUT)/tests
ok "make unit tests" build "$units/test_graph_sync_batchnorm" "$units/test_graph_plan_narrow" "$units/test_graph_normalisation"
ok "batch normalisation over ranks is that of one" "$units/test_graph_sync_batchnorm"
ok "two ranks" env GRAFT_SIMT_DEVICES=2 "$graft" train data.root="$work/data" "${small[@]}" train.device=cuda train.output="$work/ranks" --ranks=2 \
    train.sync_bn=true train.batch_size=4 schedule.scale_with_world=false
ok "losses are those of one with the whole batch" losses_near ranks cuda 8.6e-5

# Augmented by the GPU, nothing is rounded to 8 bits on the way: pixels differ by at most 1.5 levels of about 125, 1.2 %, and a fresh network's
# logits by as much.
turned=(augment.rotate_max=20 augment.hue_max=20)
ok "turned and coloured on the CPU" run turned train.device=cpu "${turned[@]}"
ok "augmentation on the GPU" run warped train.device=cuda data.gpu_augment=true "${turned[@]}"
ok "the first losses are the CPU's within 1.2 %" losses_near warped turned 0.012 first
ok "a second run" run warped2 train.device=cuda data.gpu_augment=true data.threads=2 "${turned[@]}"
ok "has the same bits" same_run warped warped2
says 2 "needs a GPU" run no train.device=cpu data.gpu_augment=true
says 2 "does not go with train.mixup" run no train.device=cuda data.gpu_augment=true train.mixup=0.2

# Stopped by a signal somewhere and gone on with.
how=exec run parts train.device=cuda train.checkpoint_period=1 >"$work/parts.txt" 2>&1 &
stopped=$!
for _ in $(seq 600); do [ -e "$work/parts/last.state" ] && break; sleep 0.1; done
kill -TERM $stopped 2>/dev/null
wait $stopped
ok "stopped by a signal" test $? = 143
ok "resumed" run parts train.device=cuda train.checkpoint_period=1 --resume
ok "has the same bits" same_run cuda parts

ok "weights in 16 bits: one cast, the bits of one each" "$units/test_graph_plan_narrow"
# Roundings of 2^-8 and 2^-11, 120 of them one after the other and independent: sqrt(120) of one, times 4 against chance.
for precision in tf32:0.022 bf16:0.18 f16:0.022; do
    ok "train in ${precision%:*}" run "${precision%:*}" train.device=cuda train.precision="${precision%:*}"
    ok "its first loss is f32's within ${precision#*:}" losses_near "${precision%:*}" cpu "${precision#*:}" first
done
ok "f16 again" run f16again train.device=cuda train.precision=f16
ok "has the same bits" same_run f16 f16again
# A normalised activation that is made where it is read has the bits of one that is stored. On tensor cores a transform may change the tile, and
# with it the order of the statistics' sums.
ok "normalisation inside convolutions" "$units/test_graph_normalisation"
for precision in f32 bf16; do
    says 0 "and 4 transforms inside convolutions" run "read-$precision" train.device=cuda train.precision=$precision train.normalise_on_read=always
    says 0 "and 0 transforms inside convolutions" run "stored-$precision" train.device=cuda train.precision=$precision train.normalise_on_read=never
done
ok "f32: the same bits, normalised activations stored or not" same_run read-f32 stored-f32
ok "bf16: the first loss within 2^-8: a sum's last bit may turn a rounding" losses_near read-bf16 stored-bf16 0.0039 first
says 2 "CPU backend trains in f32 only" run x train.device=cpu train.precision=bf16

model=$work/cuda/best.safetensors
result() { # WHAT FILE DEVICE: a number of graft evaluate
    "$graft" evaluate "$2" data.root="$work/data" --device "$3" --json -q 2>/dev/null | python3 -c "
import json, sys
print(json.load(sys.stdin)['evaluation']['$1'])"
}
near() { python3 -c "import sys; sys.exit(not abs($1 - $2) <= $3 * max(1, abs($2)))"; }
ok "prune" "$graft" prune "$model" data.root="$work/data" -o "$work/pruned.safetensors" --device cuda
ok "export f32" "$graft" export "$work/pruned.safetensors" -o "$work/f32.engine" --device cuda
ok "export f16" "$graft" export "$work/pruned.safetensors" -p f16 -o "$work/f16.engine" --device cuda
ok "export int8, calibrated on the device" "$graft" export "$work/pruned.safetensors" -p int8 data.root="$work/data" -o "$work/int8.engine" \
    --device cuda export.calibration_images=24 export.check_images=24
for device in cuda cpu; do
    "$graft" calibrate "$work/pruned.safetensors" data.root="$work/data" --device $device export.calibration_images=24 -o "$work/$device.cal" >/dev/null 2>&1
done
# Scales as the bits of an f32; a value beside a bin's edge may move the threshold by one bin of at least 128.
ok "calibration gives the CPU's scales" python3 - "$work/cuda.cal" "$work/cpu.cal" <<'PYTHON'
import struct, sys
a, b = ({k: struct.unpack("!f", bytes.fromhex(v.strip()))[0] for k, v in (line.split(":") for line in list(open(p))[1:])} for p in sys.argv[1:])
assert a.keys() == b.keys() and len(a) > 5, (a.keys(), b.keys())
for k in a: assert abs(a[k] - b[k]) <= b[k] / 128, (k, a[k], b[k])
PYTHON
for file in "$model" "$work/pruned.safetensors" "$work/f32.engine"; do
    a=$(result loss "$file" cuda) b=$(result loss "$file" cpu)
    ok "$(basename "$file"): loss $a, on the CPU $b" near "$a" "$b" 1e-5
done
a=$(result loss "$work/f16.engine" cuda) b=$(result loss "$work/f32.engine" cpu)
ok "f16.engine: loss $a, f32 on the CPU $b" near "$a" "$b" 0.01 # about 30 roundings of 2^-11
a=$(result loss "$work/f16.engine" cpu)
ok "f16.engine on the CPU: loss $a" near "$a" "$b" 0.01
# Integers agree bit for bit; the last layer's floats and the softmax do not.
a=$(result loss "$work/int8.engine" cuda) b=$(result loss "$work/int8.engine" cpu)
ok "int8.engine: loss $a, on the CPU $b" near "$a" "$b" 1e-6
for device in cuda cpu; do "$graft" infer "$work/int8.engine" "$work/data/val" --device $device >"$work/$device.txt" 2>/dev/null; done
ok "infer says the same on both" cmp "$work/cuda.txt" "$work/cpu.txt"
says 0 "int8.engine" "$graft" bench "$work/f32.engine" "$work/int8.engine" --device cuda -b 2 --seconds 0.2

says 0 "convolutions tuned" "$graft" bench --tune "$work/int8.engine" --device cuda -b 2 --seconds 0.1
table=$(echo "$work"/cache/graft/tuning-*.txt)
ok "the table has a row per shape" test "$(grep -c '^conv2d_forward ' "$table")" -ge 5
says 0 "convolutions tuned" "$graft" bench --tune "$work/cuda/last.safetensors" --device cuda -b 2 --seconds 0.1 train.batch_size=2 train.precision=bf16
for op in forward dsrc dweight; do
    ok "conv2d_$op of the training step too" test "$(grep "^conv2d_$op " "$table" | grep -c bf16)" -ge 5
done
awk '/^conv2d/ { $3 = "conv2d_forward__cuda_direct" } 1' "$table" >"$work/table" && cp "$work/table" "$table"
GRAFT_VERBOSE=1 "$graft" bench "$work/int8.engine" --device cuda -b 2 --seconds 0.01 >"$work/choices" 2>&1
ok "plans obey it" test "$(grep -c '^conv2d_forward .*-> conv2d_forward__cuda_direct' "$work/choices")" -ge 5
says 5 "runs on the CPU" "$graft" bench --tune "$work/int8.engine" --device cpu
tap_end
