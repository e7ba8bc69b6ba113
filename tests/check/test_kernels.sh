#!/usr/bin/env bash
# Every kernel variant on 400 descriptors per op, and every refusal of the CPU's: a reason that no descriptor meets is a failure. Those of the
# CUDA kernels: tests/simt/test_simt.sh.
set -u
failed=0
[ -n "${ONLY_REFUSALS:-}" ] || "$OUT/tests/kernelcheck" --count=400 --seed=1000 || failed=1

"$OUT/tests/kernelcheck" --refusals --count=6000 >"$OUT/refusals-met"
# What only another machine or another build can meet.
elsewhere='^(no VNNI|no AVX512_BF16|oneDNN has no CPU engine|no memory for oneDNN|.*(AVX|GRAFT_CPU_ISA|this CPU).*|unknown|f32 only here|avx512[a-z]+)$'
n=1000
while read -r verdict file text; do
    n=$((n + 1))
    if [ "$verdict" = met ]; then echo "ok $n - $file refuses: $text"
    elif [[ $text =~ $elsewhere ]]; then echo "ok $n - $file refuses: $text # SKIP needs another machine"
    else echo "not ok $n - $file never refuses: $text" && failed=1
    fi
done < <(tests/check/refusals.sh "$OUT/refusals-met" kernels/ref/*.c kernels/cpu/*.c)
exit $failed
