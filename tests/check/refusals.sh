#!/usr/bin/env bash
# Which reasons for refusing a descriptor are ever met: refusals.sh LOG SOURCE... prints "met SOURCE: TEXT" or "never SOURCE: TEXT" for each text
# that a function of SOURCE gives as a reason; LOG holds what `kernelcheck --refusals` printed. Fails if one is never met.
awk '
    function texts(line,   text) {
        while (match(line, /"[^"]*"/)) {
            text = substr(line, RSTART + 1, RLENGTH - 2)
            if (length(text) > 4) print FILENAME "\t" text
            line = substr(line, RSTART + RLENGTH)
        }
    }
    /^static const char [A-Z_]+\[\] =/ { texts($0) }
    /^(static |inline )*const char \*[a-z0-9_]+\(/ { inside = 1 }
    inside { texts($0) }
    /}$/ && /^(static|})/ { inside = 0 }' "${@:2}" | sort -u | {
    failed=0
    while IFS=$'\t' read -r file text; do
        if cut -f2 "$1" | grep -qxF -- "$text"; then echo "met $file: $text"; else echo "never $file: $text" && failed=1; fi
    done
    exit $failed
}
