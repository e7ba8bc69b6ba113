/* utf8.h: names as UTF-8 that shows. Files and folders may be called anything, in any encoding; models, lists of
 * classes and tables hold text.
 *
 *     const char *name = utf8_escaped(&a, "caf\xe9\n");    // "caf\\xe9\\x0a"
 *     if (!name) return FAIL_MEMORY(64);
 */
#ifndef GRAFT_BASE_UTF8_H
#define GRAFT_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/arena.h"

/* Length of the sequence at `text` (RFC 3629) and the character it stands for; 0 when the bytes there are none.
 * character may be NULL. */
size_t utf8_character(const char *text, uint32_t *character);

/* Would a terminal or a format of lines act on the character instead of showing it? The control characters (U+0000 to
 * U+001F, U+007F to U+009F), the separators of lines and paragraphs, and the marks that turn the direction of writing.
 */
bool utf8_is_control(uint32_t character);

/* The name as one line of UTF-8: bytes that are none and control characters become \xHH, byte by byte, so that names
 * that differ still do. `text` itself where nothing changes, else memory of `a`. NULL: out of memory. */
const char *utf8_escaped(arena *a, const char *text);

/* The small letter of a capital one (Latin, Greek, Cyrillic), else the character; the same in every locale. */
uint32_t utf8_lower(uint32_t character);
bool utf8_is_blank(uint32_t character); /* of any width, 0 too */

/* At most `columns` characters of the text, filled up with blanks to that many. */
void utf8_print_column(FILE *stream, const char *text, int32_t columns);

#endif
