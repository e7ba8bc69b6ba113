#!/usr/bin/env bash
# A graft with CUDA on a machine that cannot run it: no driver, a driver that is too old, one that sees no GPU, one that does not start. Each has
# its message and exit code 5, and device = auto says why it takes the CPU. The drivers are made here (cuda_driver.c).
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
graft=$OUT/graft
if ! "$graft" --version | grep -q 'CUDA kernels for'; then skip "messages of absent and old drivers" "built without CUDA"; tap_end; exit; fi
mkdir -p "$tap_dir/none" "$tap_dir/driver"
: >"$tap_dir/none/libcuda.so.1" # found before any that is installed, and no library
gcc -shared -fPIC -Wl,-soname,libcuda.so.1 tests/e2e/cuda_driver.c -o "$tap_dir/driver/libcuda.so.1" || exit 1
python3 tests/e2e/make_colours.py "$tap_dir/data"
with() { # FOLDER [VARIABLE=VALUE]... COMMAND...
    local folder=$1
    shift
    env LD_LIBRARY_PATH="$tap_dir/$folder" OMP_NUM_THREADS=1 "$@"
}
train() { # DEVICE: arguments of a run of a few steps
    rm -rf "$tap_dir/run"
    echo train data.root="$tap_dir/data" model.arch=resnet10 model.stem=small model.width=0.25 model.input_width=16 model.input_height=16 \
        data.resize=stretch train.epochs=1 train.batch_size=8 train.output="$tap_dir/run" train.device="$1"
}

# shellcheck disable=SC2046
{
    says 5 "no NVIDIA driver is installed (libcuda.so.1 was not found): install one, or use device = cpu" with none "$graft" $(train cuda)
    says 0 "no GPU: no NVIDIA driver is installed" with none "$graft" $(train auto)
    says 0 "gpu        none: no NVIDIA driver" with none "$graft" doctor
    says 0 "Everything runs on the CPU" with none "$graft" doctor
    says 5 "the NVIDIA driver is too old: it speaks CUDA 11.4, this graft was built with CUDA" with driver FAKE_VERSION=11040 "$graft" $(train cuda)
    says 0 "no GPU: the NVIDIA driver is too old" with driver FAKE_VERSION=11040 "$graft" $(train auto)
    says 0 "A GPU is there, but it cannot be used (the NVIDIA driver is too old: it speaks CUDA 11.4" \
        with driver FAKE_INIT=0 FAKE_VERSION=11040 "$graft" doctor
    says 5 "sees no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use device = cpu" with driver "$graft" $(train cuda)
    says 0 "sees no GPU" with driver "$graft" $(train auto)
    says 5 "does not start: " with driver FAKE_INIT=803 "$graft" bench "$tap_dir/run/last.safetensors" --device cuda
    says 0 "gpu        none: a driver is there, but no GPU" with driver "$graft" doctor
    says 5 "does not start: " with driver FAKE_INIT=999 "$graft" $(train cuda)
}
tap_end
