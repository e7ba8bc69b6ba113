#!/usr/bin/env bash
# Nobody asks which task a network is for: outside core/task and what belongs to one task (label readers, detectors), no file names a task's row
# or compares a task's name.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

elsewhere=(core cli export prune models kernels bench ':!core/task' ':!core/data/readers' ':!models/detectors')
found=$(git grep -nE '\btask_(classification|detection|segmentation)\b' -- "${elsewhere[@]}")
ok "no task's row is named outside core/task" test -z "$found"
[ -z "$found" ] || while read -r line; do echo "# $line"; done <<<"$found"
found=$(git grep -nE 'str(n|case|ncase)?cmp\([^;]*task' -- "${elsewhere[@]}")
ok "no task's name is compared outside core/task" test -z "$found"
[ -z "$found" ] || while read -r line; do echo "# $line"; done <<<"$found"
tap_end
