#!/usr/bin/env bash
# The bundle of `make dist` in an empty root that holds the C library and nothing else: pack, train, export, infer, and a program that uses the
# library. long_dist.sh does the same with the CUDA kernels of every target.
set -u
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
if [ "$(id -u)" != 0 ] || ! chroot / true 2>/dev/null; then skip "a bundle in an empty root" "chroot needs root"; tap_end; exit; fi
folder=$PWD/${OUT:-build}/bundle${TEST_DIST_CUDA:+-cuda}
make_dist() {
    env -u OUT -u BUILD -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -s -j2 dist BUILD="$folder" DIST="$folder" DIST_CUDA="${TEST_DIST_CUDA:-0}" \
        CUDA_ALL_OBJECTS="$(make -s CUDA_ARCHS=all print-CUDA_OBJECTS)" "$@"
}
# Without optimisation of what is no kernel: the test is about files and symbols.
if [ -n "${TEST_DIST_CUDA:-}" ]; then ok "make dist" make_dist; else ok "make dist" make_dist OPT=-O0; fi
tarball=$(ls "$folder"/graft-*.tar.gz 2>/dev/null | head -n 1)
[ -f "$tarball" ] || { tap_line "not ok" "a tarball"; tap_end; exit 1; }

root=$tap_dir/root
mkdir -p "$root"/{lib64,lib/x86_64-linux-gnu,opt,tmp,data,proc/self}
cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
for library in libc.so.6 libm.so.6 libpthread.so.0 libdl.so.2 librt.so.1; do cp -L "/lib/x86_64-linux-gnu/$library" "$root/lib/x86_64-linux-gnu/"; done
ok "unpacks" tar -C "$root/opt" -xzf "$tarball"
bundle=$(ls "$root/opt" | head -n 1)
bare() { env -i OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive "$(command -v chroot)" "$root" "$@"; }
# The loader learns what $ORIGIN is from /proc/self/exe; of /proc there is no more than that.
inside() {
    local program=/opt/$bundle/bin/$1
    shift
    ln -sfn "$program" "$root/proc/self/exe"
    bare "$program" "$@"
}
python3 tests/e2e/make_colours.py "$root/data"

says 0 "Everything runs on the CPU" inside graft doctor
says 0 "use it as data.root" inside graft convert /data -o /tmp/packed
says 0 "finished: step 6 of 6" inside graft train data.root=/tmp/packed model.arch=resnet10 model.stem=small model.width=0.25 model.input_width=16 \
    model.input_height=16 data.resize=stretch train.epochs=1 train.batch_size=8 train.threads=1 data.threads=1 train.output=/tmp/run
says 5 "use device = cpu" inside graft evaluate /tmp/run/last.safetensors data.root=/tmp/packed --device cuda
says 0 "int8.engine" inside graft export /tmp/run/last.safetensors -p int8 data.root=/tmp/packed -o /tmp/int8.engine export.calibration_images=24
says 0 "class0" inside graft infer /tmp/int8.engine /data/val/class0
says 0 " - add__cpu_base: " inside kernelcheck --only=add --count=5
ok "a program builds against it" gcc -I"$root/opt/$bundle/include" docs/example.c -L"$root/opt/$bundle/lib" -lgraft -Wl,-rpath-link,"$root/opt/$bundle/lib" \
    -Wl,-rpath,"/opt/$bundle/lib" -o "$root/opt/example"
ok "and runs" bare /opt/example /tmp/int8.engine /data/val/class0/00.ppm
ok "licences of what is packed" test "$(ls "$root/opt/$bundle/licenses" | wc -l)" -ge 6
tap_end
