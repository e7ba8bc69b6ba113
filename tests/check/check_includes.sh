#!/usr/bin/env bash
# Who may include whom: the table of docs/ARCHITECTURE.md. A folder's own headers are always allowed.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh

includes() { # FOLDER: "file header" for every #include in it
    git ls-files -co --exclude-standard -- "$1" | grep -E '\.(c|h|cu|cuh|def)$' |
        xargs -r grep -HoE '^ *# *include *["<][^">]*[">]' | sed -E 's/^([^:]*):.*["<]([^">]*)[">]$/\1 \2/'
}
# may FOLDER PATTERN: every header of this repository that a file in FOLDER includes matches PATTERN.
ours='^(core|kernels|models|prune|export|cli|bench|tests)/'
may() {
    local wrong
    wrong=$(includes "$1" | awk -v own="^$1/" -v ours="$ours" -v fine="^($2)" '$2 ~ ours && $2 !~ own && $2 !~ fine')
    ok "$1 includes only what it may" test -z "$wrong"
    [ -z "$wrong" ] || while read -r file header; do echo "# $file includes $header"; done <<<"$wrong"
}
base='core/base/'
may core/base 'core/base/'
may kernels "$base|kernels/kernels\.(h|def)\$|kernels/desc\.h\$"
may kernels/ref "$base|kernels/(kernels|boxes)\.h\$"
may kernels/cpu "$base|kernels/(kernels|boxes)\.h\$"
may kernels/simt "$base"
may core/config "$base"
may core/device "$base|core/config/spec\.h\$|kernels/kernels\.h\$"
# tensor holds preprocess.h, which every model file carries: it reads the spec's [data].
may core/tensor "$base|core/device/|core/config/spec\.h\$"
may core/dist "$base|core/device/"
may core/ops "$base|core/tensor/|core/device/|core/graph/|kernels/kernels\.h\$"
may core/graph "$base|core/tensor/|core/device/|core/ops/|kernels/kernels\.h\$"
may core/onnx "$base|core/(graph|ops|tensor)/"
may core/data "$base|core/config/|core/tensor/"
may core/task "$base|core/(config|tensor|data|dist|graph|ops|device)/|kernels/kernels\.h\$"
may core/train 'core/|kernels/kernels\.h$'
may models "$base|core/(graph|onnx|ops|tensor|config)/"
may prune "$base|core/(graph|ops|tensor)/"
# export may also decode images: the C API takes files.
may export "$base|core/(graph|onnx|ops|tensor|device)/|core/data/image\.h\$|core/task/(probability|task)\.h\$|kernels/kernels\.h\$"

# only LIBRARY-HEADER-PATTERN FILE-PATTERN: outside these files nobody includes it.
only() {
    local wrong
    wrong=$(for folder in core kernels models prune export cli; do includes $folder; done |
        awk -v header="^$1" -v file="^($2)" '$2 ~ header && $1 !~ file')
    ok "$1 is included by $2 only" test -z "$wrong"
    [ -z "$wrong" ] || while read -r file header; do echo "# $file includes $header"; done <<<"$wrong"
}
only 'oneapi/' 'kernels/cpu/dnnl'
only 'yajl/' 'core/base/json(_stream)?\.c'
only 'expat' 'core/data/readers/voc\.c'
only 'yaml' 'core/data/readers/yolo\.c'
only 'xxhash' 'core/base/hash\.c'
only 'ini\.h' 'core/config/'
only '(jpeglib|jerror|stb)' 'core/data/'
only '(png\.h|gif_lib|webp/|tiffio|libheif)' 'core/data/image_(png_read|gif|webp|tiff|heif)\.c'
only 'zlib' 'core/data/|models/import/zip\.c'
only '(cuda|nvtx|nccl|cublas|cudnn)' 'kernels/(cuda|simt)/|core/device/device_cuda\.c|core/dist/comm_nccl\.c'
only '(protobuf-c|onnx\.pb-c)' 'core/onnx/file_(read|write)\.c'
only 'mpi\.h' 'core/dist/comm_mpi\.c'

wrong=$(git grep -nE '^ *# *(if|ifdef|ifndef|elif) .*(CUDA|DNNL|MPI|NCCL)' -- core models prune export cli)
ok "no conditional compilation for backends above kernels" test -z "$wrong"
[ -z "$wrong" ] || echo "# $wrong"
tap_end
