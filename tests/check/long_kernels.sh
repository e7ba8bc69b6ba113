#!/usr/bin/env bash
# Every kernel variant on ten times as many descriptors, others each time.
exec "$OUT/tests/kernelcheck" --count=4000 --seed="$(date +%s)"
