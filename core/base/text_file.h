/* text_file.h: text files as people have them. Editors and spreadsheets put a byte order mark in front and end lines
 * with CR LF; neither is part of what the file says.
 *
 *     char *text;
 *     size_t bytes;
 *     TRY(text_file_read(&a, "classes.txt", 1 << 20, E_DATA, &text, &bytes));    // lines end with \n
 */
#ifndef GRAFT_BASE_TEXT_FILE_H
#define GRAFT_BASE_TEXT_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/status.h"

/* Whole file into memory of `a`, without a byte order mark, every line's end (LF, CR LF, CR) a \n, with a 0 byte behind
 * it. Bytes beyond that may be any. `refused`: UTF-16 or a 0 byte. E_DATA: larger than max_bytes. E_IO. */
status text_file_read(arena *a, const char *path, int64_t max_bytes, status refused, char **text, size_t *bytes);

#endif
