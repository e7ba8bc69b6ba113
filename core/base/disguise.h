/* disguise.h: files that are not what their names promise. A download that failed leaves a web page, a clone without
 * git-lfs a pointer, a copy that stopped an empty file; and every framework has its own format. Whoever refuses a file
 * as "not of this format" asks here first.
 *
 *     const char *known = disguise_of(bytes, count);
 *     return FAIL(E_MODEL, "%s: %s", path, known ? known : "no safetensors file");
 */
#ifndef GRAFT_BASE_DISGUISE_H
#define GRAFT_BASE_DISGUISE_H

#include <stddef.h>
#include <stdint.h>

/* What the file is and what to do about it: "a git-lfs pointer, not the file itself: ...". NULL: nothing that is known.
 * Looks at the first bytes alone, 1024 at most (of a compressed or binary format, at its mark). */
const char *disguise_of(const uint8_t *bytes, size_t count);

#endif
