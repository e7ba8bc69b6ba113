#!/usr/bin/env bash
# `make dist` ends here: packs what $OUT holds into a folder that runs wherever it is unpacked, and that into $DIST/*.tar.gz. The shared
# libraries that the programs need go with them, found through $ORIGIN; the C library, the driver, NCCL and MPI stay the machine's.
set -eu
cd "$(dirname "$0")/.."
out=${OUT:?} dist=${DIST:-dist} newest_glibc=2.34 largest_mb=60
version=$(sed -n 's/.*GRAFT_VERSION "\(.*\)".*/\1/p' core/base/version.h)
name=graft-$version-linux-$(uname -m)
folder=$out/$name
own='linux-vdso|ld-linux-x86-64|libc|libm|libpthread|libdl|librt' # of the C library
die() { echo "make dist: $*" >&2; exit 1; }

rm -rf "$folder"
mkdir -p "$folder"/{bin,lib,include,bench,licenses}
install "$out/graft" "$out/tests/kernelcheck" "$out/bench-train" "$folder/bin/"
install -m 644 "$out/libgraft.so" "$out/libgraft-all.so" "$folder/lib/"
install -m 644 export/graft.h "$folder/include/"
cp -r configs "$folder/"
cp -r bench/gpu.sh bench/shapes "$folder/bench/"
cp LICENSE README.md "$folder/"
git rev-parse HEAD >"$folder/COMMIT" 2>/dev/null || echo unknown >"$folder/COMMIT"

ldd "$folder"/bin/* "$folder"/lib/libgraft*.so | awk '$2 == "=>" { print $1, $3 }' | sort -u |
    grep -vE "^(($own)\.|libgraft)" | while read -r soname path; do
        [ -f "$path" ] || die "$soname is not found"
        install -m 644 "$path" "$folder/lib/$soname"
        package=$(dpkg -S "$(readlink -f "$path")" 2>/dev/null || dpkg -S "*/$(basename "$(readlink -f "$path")")" 2>/dev/null) || continue
        package=${package%%:*}
        [ ! -f "/usr/share/doc/$package/copyright" ] || cp -L "/usr/share/doc/$package/copyright" "$folder/licenses/$package"
    done
cp -L /usr/share/doc/libexpat1/copyright "$folder/licenses/libexpat1" # linked in
strip --strip-debug "$folder"/bin/* "$folder"/lib/*

for file in "$folder"/bin/* "$folder"/lib/*; do
    needed=$(objdump -T "$file" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -V | tail -n 1)
    [ "$(printf '%s\n' "$needed" $newest_glibc | sort -V | tail -n 1)" = $newest_glibc ] ||
        die "$(basename "$file") needs glibc $needed, allowed is $newest_glibc: $(objdump -T "$file" | grep -F "GLIBC_$needed" | awk '{print $NF}' | tr '\n' ' ')"
    if objdump -p "$file" | grep -E 'NEEDED +(libstdc\+\+|libdnnl|libcuda|libnccl|libmpi)'; then die "$(basename "$file") must not need that"; fi
done

mkdir -p "$dist"
tar -C "$out" --owner=0 --group=0 --sort=name --mtime="@$(git log -1 --format=%ct 2>/dev/null || echo 0)" -cf - "$name" | gzip -9n >"$dist/$name.tar.gz"
bytes=$(stat -c %s "$dist/$name.tar.gz")
[ "$bytes" -lt $((largest_mb << 20)) ] || die "$dist/$name.tar.gz has $bytes bytes, allowed are $largest_mb MiB"
printf '%s/%s.tar.gz  %d KiB\n' "$dist" "$name" $((bytes >> 10))
