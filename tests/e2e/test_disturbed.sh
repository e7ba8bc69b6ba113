#!/usr/bin/env bash
# Commands whose surroundings misbehave: a second run in the same folder, a stopped rank, data that vanish, a full disk, damaged files.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
work=$tap_dir/work
graft=$PWD/${OUT:-build}/graft
mkdir -p "$work"
export OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive

python3 tests/e2e/make_colours.py "$work/data"

run() { # FOLDER words...; how=exec: in the place of the shell that runs it, so that signals for $! reach it
    local folder=$1
    shift
    ${how:-} "$graft" train data.root="$work/data" model.arch=resnet10 model.stem=small model.width=0.25 model.input_width=16 model.input_height=16 \
        data.resize=stretch train.epochs=2 train.batch_size=4 train.threads=1 train.device=cpu data.threads=1 schedule.learning_rate=0.02 \
        train.output="$work/$folder" "$@"
}
started() { # FOLDER: until its first checkpoint
    for _ in $(seq 600); do [ -e "$work/$1/last.state" ] && return; sleep 0.05; done
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
tap_end
