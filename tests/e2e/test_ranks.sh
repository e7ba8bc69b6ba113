#!/usr/bin/env bash
# graft train --ranks: processes of one machine that train together. With batch normalisation over all of them, two ranks are one with twice the
# batch; the same bits every time, stopped and gone on with or not; a rank that is lost stops the others.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
. tests/e2e/small_run.sh
rm "$work/data/val/class0/00.ppm" # 23: no number of ranks divides them
log() { awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) skip[i] = $i ~ /time|images|wait/ }
                 { line = ""; for (i = 1; i <= NF; i++) if (!skip[i]) line = line $i ","; print line }' "$work/$1/log.csv"; }
tensors() { tail -c "+$(($(od -An -tu8 -N8 "$1") + 9))" "$1"; }
same_run() { cmp <(log "$1") <(log "$2") && cmp <(tensors "$work/$1/last.safetensors") <(tensors "$work/$2/last.safetensors"); }
losses_near() { # FOLDER FOLDER TOLERANCE
    python3 - "$work/$1/log.csv" "$work/$2/log.csv" "$3" <<'PYTHON'
import csv, sys
a, b = (list(csv.DictReader(open(p))) for p in sys.argv[1:3])
assert len(a) == len(b) and len(a) > 10, (len(a), len(b))
for x, y in zip(a, b):
    for key in ("train/loss", "train/accuracy", "val/loss", "val/accuracy_top1"):
        if key not in x: sys.exit(f"no {key}: {list(x)}")
        if not x[key] and not y[key]: continue
        u, v = float(x[key]), float(y[key])
        assert abs(u - v) <= float(sys.argv[3]) * abs(v), (x["step"], key, u, v)
PYTHON
}

ok "one rank, batches of 8" run one train.batch_size=8
says 0 "2 ranks, batches of 4 each, batch normalisation over all" run two --ranks=2 train.sync_bn=true
# As the CUDA backend's test: 12 updates, each with about 120 results rounded to f32 one after the other, at worst 2^-24 each.
ok "its losses are those of one rank within 12 * 120 * 2^-24" losses_near two one 8.6e-5
ok "so are those of four" run four --ranks=4 train.sync_bn=true train.batch_size=2
ok "within as much" losses_near four one 8.6e-5
ok "without train.sync_bn" run plain --ranks=2
# Statistics of 4 images are not those of 8.
losses_differ() { ! losses_near "$1" "$2" 0.001 2>/dev/null; }
ok "the losses are others" losses_differ plain one
ok "two ranks again" run again --ranks=2 train.sync_bn=true
ok "have the same bits" same_run two again

says 0 '"code":0' run json --ranks=2 train.epochs=1 --json
how=exec run stopped --ranks=2 train.sync_bn=true train.checkpoint_period=1 >"$work/stopped.txt" 2>&1 &
parent=$!
for _ in $(seq 600); do [ -e "$work/stopped/last.state" ] && break; sleep 0.05; done
kill -TERM $parent # one of the two: the other learns of it
wait $parent
ok "stopped by a signal to one rank" test $? = 143
ok "resumed" run stopped --ranks=2 train.sync_bn=true train.checkpoint_period=1 --resume
ok "has the same bits" same_run two stopped
says 2 "the run had 2 devices, now there are 1" run stopped train.sync_bn=true train.checkpoint_period=1 --resume

how=exec run lost --ranks=2 train.epochs=2000 train.sync_bn=true train.checkpoint_period=1 >"$work/lost.txt" 2>&1 &
parent=$!
for _ in $(seq 600); do [ -e "$work/lost/last.state" ] && break; sleep 0.05; done
kill -KILL "$(ps -o pid= --ppid $parent | head -1)"
wait $parent
ok "a lost rank: exit code 75" test $? = 75
ok "which is said" grep -q "rank 1 of 2 has ended" "$work/lost.txt"
says 2 "expected a number from 1 to 64" run x --ranks=0
says 2 "expected a number from 1 to 64" run x --ranks=two
tap_end
