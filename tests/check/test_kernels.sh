#!/usr/bin/env bash
# Every kernel variant on 400 descriptors per op, and every refusal: a reason that no descriptor meets is a failure.
set -u
failed=0
"$OUT/tests/kernelcheck" --count=400 --seed=1000 || failed=1

# The reasons in the sources: texts inside functions that return a reason.
sources=$(ls kernels/ref/*.c kernels/cpu/*.c)
"$OUT/tests/kernelcheck" --refusals --count=100 | grep -q __cuda_ && sources+=" $(ls kernels/cuda/*.cu)"
awk '
    /^(static )?const char \*[a-z0-9_]+\(/ { inside = 1 }
    /^}/ { inside = 0 }
    inside {
        line = $0
        while (match(line, /"[^"]*"/)) {
            text = substr(line, RSTART + 1, RLENGTH - 2)
            if (length(text) > 4) print FILENAME "\t" text
            line = substr(line, RSTART + RLENGTH)
        }
    }' $sources | sort -u >"$OUT/refusals-written"
"$OUT/tests/kernelcheck" --refusals --count=6000 | cut -f2 | sort -u >"$OUT/refusals-met"

# What only another machine or another build can meet.
elsewhere='^(no VNNI|no AVX512_BF16|oneDNN has no CPU engine|.*(AVX|GRAFT_ISA|this CPU|this GPU).*|unknown|f32 only here|avx512[a-z]+)$'
n=1000
while IFS=$'\t' read -r file text; do
    n=$((n + 1))
    if grep -qxF "$text" "$OUT/refusals-met"; then echo "ok $n - $file refuses: $text"
    elif [[ $text =~ $elsewhere ]]; then echo "ok $n - $file refuses: $text # SKIP needs another machine"
    else echo "not ok $n - $file never refuses: $text" && failed=1
    fi
done <"$OUT/refusals-written"
exit $failed
