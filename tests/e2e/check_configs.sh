#!/usr/bin/env bash
# Every spec that is shipped reads without a mistake, and there is one per network.
n=0 failed=0
tap() { n=$((n + 1)); echo "$1 $n - $2"; [ "$1" = ok ] || failed=1; }
for spec in configs/*.ini; do
    if "$OUT/graft" spec --check "$spec" >/dev/null 2>"$OUT/check.err"; then tap ok "$spec"; else tap "not ok" "$spec"; sed 's/^/# /' "$OUT/check.err"; fi
done
for network in $(sed -nE 's/^MODEL\(([a-z0-9_]+),.*/\1/p' models/models.def); do
    if "$OUT/graft" spec "$network" | diff - "configs/$network.ini" >"$OUT/check.err"; then tap ok "$network has a spec, with every option"
    else tap "not ok" "graft spec $network >configs/$network.ini"; sed 's/^/# /' "$OUT/check.err" | head -20
    fi
done
for spec in $(sed -nE 's/^DETECTOR\(([a-z0-9_]+),.*/\1/p' models/detectors/detectors.def | sed 's,.*,configs/&_*.ini,'); do
    network=$(basename "$spec" .ini)
    if "$OUT/graft" spec "$network" | diff - "$spec" >"$OUT/check.err"; then tap ok "$network has a spec, with every option"
    else tap "not ok" "graft spec $network >configs/$network.ini"; sed 's/^/# /' "$OUT/check.err" | head -20
    fi
done
exit $failed
