#!/usr/bin/env bash
# Lists registers, shared memory and spills of every CUDA kernel for every target, from what ptxas said: spills.sh FOLDER, where FOLDER is
# $(CUDA_OBJECTS) of the Makefile. Fails on a spill that tests/check/spills.txt does not explain: lines "FILE KERNEL TARGET BYTES reason",
# where KERNEL is part of the demangled name, TARGET one of sm_NN or *, BYTES the most that is explained.
cd "$(dirname "$0")/../.." || exit 1
shopt -s nullglob
logs=("$1"/kernels/cuda/*.ptxas)
[ ${#logs[@]} -gt 0 ] || { echo "no CUDA kernels in $1"; exit 1; }
for log in "${logs[@]}"; do
    awk -v file="$(basename "$log" .ptxas)" '
        /Compiling entry function/ { split($0, part, "\047"); kernel = part[2]; target = part[4]; spilled = 0 }
        /bytes spill stores/ { for (i = 1; i <= NF; i++) if ($(i + 2) == "spill") spilled += $i }
        /Used [0-9]+ registers/ {
            shared = 0
            for (i = 1; i <= NF; i++) {
                if ($i == "Used") registers = $(i + 1)
                if ($(i + 1) == "bytes" && $(i + 2) ~ /^smem/) shared = $i
            }
            if (kernel != "") print file, kernel, target, registers, shared, spilled
            kernel = ""
        }' "$log"
done | c++filt -p | sed -E 's/\(anonymous namespace\):://g' | awk -v explained=tests/check/spills.txt '
    BEGIN { while ((getline line < explained) > 0) if (line !~ /^#/ && line != "") why[++whys] = line }
    {
        file = $1; n = NF; name = $2
        for (i = 3; i <= n - 4; i++) name = name " " $i
        target = $(n - 3); spilled = $n
        note = ""
        if (spilled > 0) {
            note = "UNEXPLAINED"
            for (i = 1; i <= whys; i++) {
                split(why[i], w, " ")
                if (w[1] == file && index(name, w[2]) && (w[3] == "*" || w[3] == target) && spilled <= w[4]) note = "explained"
            }
            if (note == "UNEXPLAINED") bad++
        }
        printf "%-14s %-7s %3d registers %6d shared %5d spilled  %s %s\n", file, target, $(n - 2), $(n - 1), spilled, name, note
        count++
    }
    END {
        printf "%d kernels (of all targets), %d with unexplained spills\n", count, bad
        exit count == 0 || bad > 0
    }'
