#!/usr/bin/env bash
# Every build switch: it compiles without a warning and its quick tests pass.
. tests/tap.sh
builds() { # switches: `make check` in the folder that belongs to them
    env -u OUT -u BUILD -u MAKEFLAGS -u MAKELEVEL make --no-print-directory -j"$(nproc)" "$@" check
}
for switches in SAN=address SAN=undefined SAN=thread ONEDNN=0 CUDA=0 MPI=0 "ONEDNN=0 OPENMP=0" IMAGES=; do
    # shellcheck disable=SC2086
    ok "make check $switches" builds $switches
done
tap_end
