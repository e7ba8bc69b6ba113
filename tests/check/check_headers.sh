#!/usr/bin/env bash
# Every usage example in a header compiles against that header: header_examples.py extracts them, header_examples.txt
# declares what they leave open. The check itself is tried on headers that lie.
cd "$(dirname "$0")/../.." || exit 1
. tests/tap.sh
command -v python3 >/dev/null || { skip "examples of headers" "python3 is not installed"; tap_end; exit; }
examples() { python3 tests/check/header_examples.py tests/check/header_examples.txt "$@"; }

ok "every example of every header compiles" examples

# header LINE: a header in the form of ours, whose line 3 is LINE.
header() {
    cat >"$tap_dir/lie.h" <<END
/* lie.h: an example of an example.
 *
$1
 */
#include "core/base/json.h"
static inline status twice(int x, int *y) { *y = 2 * x; return OK; }
END
}
header ' *     int y; TRY(twice(1, &y)); use(y);'
ok "an example that is right" examples "$tap_dir/lie.h"
header ' *     TRY(thrice(1, NULL));'
says 1 "lie.h:3:" examples "$tap_dir/lie.h"
header ' *     TRY(twice(1));'
says 1 "lie.h:3:" examples "$tap_dir/lie.h"
header ' *     TRY(twice(nobody_declared_this, NULL));'
says 1 "lie.h:3:" examples "$tap_dir/lie.h"
header ' *     double y; TRY(twice(1, &y));'
says 1 "lie.h:3:" examples "$tap_dir/lie.h"
header ' *  TRY(twice(1, NULL));'
says 1 "lie.h:3: an example that is not indented" examples "$tap_dir/lie.h"
header ' * It has no example.'
says 0 "0 examples in 0 headers" examples "$tap_dir/lie.h"
tap_end
