#!/usr/bin/env bash
# Ten minutes of fuzzing per parser, from another seed each time.
FUZZ_SECONDS=${FUZZ_SECONDS:-600} FUZZ_SEED=0 exec bash tests/fuzz/test_fuzz.sh
