#!/usr/bin/env bash
# Commands whose surroundings misbehave: a second run in the same folder, a stopped rank, data that vanish, a full disk, damaged files.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
. tests/e2e/small_run.sh

started() { # FOLDER: until its first checkpoint
    for _ in $(seq 2400); do [ -e "$work/$1/last.state" ] && return; sleep 0.05; done
    return 1
}

# One folder, two runs.
how=exec run shared train.epochs=5000 >"$work/first.txt" 2>&1 &
first=$!
ok "a run" started shared
says 2 "in use by process $first on $(hostname) since 2" run shared
says 2 "in use by process $first" run shared --overwrite
says 2 "in use by process $first" run shared --resume
says 2 "in use by process $first" run shared --overwrite --ranks=2
kill -TERM $first
wait $first
ok "goes on until it is stopped" test $? = 143
ok "and leaves no lock" test ! -e "$work/shared/graft.lock"
how=exec run shared train.epochs=5000 --resume >"$work/first.txt" 2>&1 &
first=$!
for _ in $(seq 600); do grep -q "resumed at" "$work/first.txt" && break; sleep 0.05; done
kill -KILL $first
wait $first 2>/dev/null
ok "a killed one leaves it" test -e "$work/shared/graft.lock"
says 0 "taking over the lock of process $first" run shared train.epochs=2 --overwrite

# A rank that is stopped, the first and the other one.
for victim in 0 1; do
    how=exec run "stopped$victim" --ranks=2 train.epochs=5000 >"$work/stopped.txt" 2>&1 &
    parent=$!
    ok "two ranks" started "stopped$victim"
    stopped=$parent
    [ $victim = 0 ] || stopped=$(ps -o pid= --ppid $parent | head -1)
    kill -STOP $stopped
    ended=no
    for _ in $(seq 600); do kill -0 $parent 2>/dev/null || { ended=yes; break; }; sleep 0.1; done
    kill -CONT $stopped 2>/dev/null
    [ $ended = yes ] || kill -KILL $parent
    wait $parent
    code=$?
    ok "rank $victim is stopped: the run ends by itself" test $ended = yes
    ok "with exit code 75" test $code = 75
    ok "which is said" grep -q "rank $victim of 2 (process *$stopped) was stopped for 20 s" "$work/stopped.txt"
    says 0 "resumed at step" run "stopped$victim" --ranks=2 --resume train.epochs=1
done

# Data that go: alone, and with two ranks, which agree.
for ranks in 1 2; do
    cp -r "$work/data" "$work/going"
    how=exec run "going$ranks" --ranks=$ranks data.root="$work/going" train.epochs=5000 >"$work/going.txt" 2>&1 &
    parent=$!
    ok "a run of $ranks" started "going$ranks"
    rm "$work/going"/train/*/1*
    wait $parent
    ok "stops with exit code 75" test $? = 75
    ok "says why" grep -qE "images can.*not be read|data have gone" "$work/going.txt"
    ok "and leaves a checkpoint" test -e "$work/going$ranks/last.state"
    rm -r "$work/going"
done

# A packed file that is cut off, or changed, under a run.
packed() { "$graft" convert "$work/data" -o "$work/$1"; }
for how_damaged in cut change; do
    packed "$how_damaged.packed" >"$work/pack.txt" 2>&1
    how=exec run "$how_damaged" data.root="$work/$how_damaged.packed" train.epochs=5000 >"$work/damaged.txt" 2>&1 &
    parent=$!
    ok "a run on a packed data set" started $how_damaged
    if [ $how_damaged = cut ]; then truncate -s 20000 "$work/cut.packed/data.pack"
    else printf changed | dd of="$work/change.packed/data.pack" bs=1 seek=2000 conv=notrunc 2>/dev/null; fi
    wait $parent
    ok "$how_damaged: exit code 3" test $? = 3
    ok "says: $how_damaged" grep -qE "cut off while it was in use|does not fit its checksum" "$work/damaged.txt"
done
packed ranks.packed >"$work/pack.txt" 2>&1
how=exec run ranks --ranks=2 data.root="$work/ranks.packed" train.epochs=5000 >"$work/damaged.txt" 2>&1 &
parent=$!
ok "two ranks on a packed data set" started ranks
truncate -s 20000 "$work/ranks.packed/data.pack"
wait $parent
ok "exit code 3, whichever rank finds out" test $? = 3
model=$work/shared/last.safetensors
for name in cut change; do
    says 3 "$name.packed/data.pack" run x data.root="$work/$name.packed"
    says 3 "$name.packed" "$graft" convert "$work/$name.packed" --lint
    says 3 "$name.packed/data.pack" "$graft" convert "$work/$name.packed" -o "$work/again"
    says 3 "$name.packed/data.pack" "$graft" evaluate "$model" -d "$work/$name.packed" --part train
    says 3 "$name.packed/data.pack" "$graft" export "$model" -o "$work/x.engine" --precision int8 -d "$work/$name.packed"
    says 3 "$([ $name = cut ] && echo cut.packed/data.pack || echo "1 of 48 images could not be read")" "$graft" infer "$model" "$work/$name.packed#train"
done

# A pipe instead of data.
mkfifo "$work/pipe"
printf '/dev/zero,a\n%s,b\n' "$work/pipe" >"$work/list.csv"
says 3 "2 of 2 images" timeout 60 "$graft" convert "$work/list.csv" --lint
says 3 "a pipe, socket or device" timeout 60 "$graft" infer "$model" "$work/pipe"

# A full disk: a small one, where this may be mounted.
mkdir "$work/small"
if mount -t tmpfs -o size=64k none "$work/small" 2>/dev/null; then
    says 9 "no space left" "$graft" convert "$work/data" -o "$work/small/packed"
    dd if=/dev/urandom of="$work/small/big" bs=1k count=40 2>/dev/null
    says 9 "No space left" "$graft" convert /usr/share/datasets/fashion-mnist -o "$work/small/other"
    umount "$work/small"
else
    skip "a full disk" "nothing may be mounted here"
fi
says 9 "File too large" bash -c "ulimit -f 8; exec '$graft' convert '$work/data' -o '$work/limited'"
ok "nothing half written is left" test -z "$(ls "$work/limited")"
tap_end
