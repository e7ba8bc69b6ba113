#!/usr/bin/env bash
# No line of C, CUDA or their tables is longer than 120 columns (.clang-format). Strings of bytes that cannot be cut are listed by file.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
whole='tests/unit/test_data_image_bombs.c tests/unit/test_models_import_darknet.c tests/unit/test_models_import_pytorch.c'
for folder in kernels core models prune export cli bench tests docs; do
    long=$(git ls-files "$folder" | grep -E '\.(c|h|cu|cuh|def)$' | while read -r file; do
        [[ " $whole " == *" $file "* ]] || awk -v f="$file" 'length($0) > 120 { print f ":" NR ": " length($0) " columns" }' "$file"
    done)
    ok "$folder has no line of more than 120 columns" test -z "$long"
    [ -z "$long" ] || sed 's/^/# /' <<<"$long"
done
tap_end
