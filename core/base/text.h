/* text.h: words and numbers as text. Independent of the locale, so that a host program's setlocale changes nothing.
 *
 *     double rate;
 *     if (!text_to_number("1e-3", &rate)) ...     // the whole text must be a number
 *     const char *near = text_nearest("epoch", (const char *[]){"epochs", "seed"}, 2);  // "epochs"
 */
#ifndef GRAFT_BASE_TEXT_H
#define GRAFT_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"

/* What may be shown of text that a file brought: a terminal obeys control characters, and a line break makes two lines
 * of one. Replaced by '?' are the control characters of ASCII (line breaks and tabs too) and of ISO 6429's upper half
 * (U+0080 to U+009F, as UTF-8 and as bare bytes), U+2028 and U+2029, which end a line, and the marks that turn the
 * direction of writing (U+202A to U+202E, U+2066 to U+2069). Other bytes stay, whatever their encoding is. The text
 * never grows.
 *
 *     cli_print(c, "%s: %" PRId64 " tensors\n", text_printable(&c->memory, name), count); */
void text_make_printable(char *text);
/* The same of text that is made of lines: '\n' stays. */
void text_make_lines_printable(char *text);
/* text itself when nothing has to be replaced, else a copy in a; "?" when out of memory. NULL gives "". */
const char *text_printable(arena *a, const char *text);

/* The whole text as a finite decimal number; blanks around it, hexadecimal, nan and inf are refused. */
bool text_to_number(const char *text, double *value);
/* The whole text as a decimal integer that fits. */
bool text_to_int(const char *text, int64_t *value);

/* Shortest text that reads back to the same double: "0.1", "1e-05", "3". NaN and infinities: "nan", "inf", "-inf". */
void number_text(double value, char text[32]);

/* Optimal string alignment distance: insertions, deletions, replacements, swaps of neighbours; case counts half.
 * In units of half an edit. Words longer than 63 bytes are compared by their first 63. */
int32_t text_distance(const char *a, const char *b);

/* The nearest of `words` if it is near enough to be meant (about a third of the letters wrong), else NULL. */
const char *text_nearest(const char *word, const char *const *words, int64_t count);

/* Is `word`, which is not empty, one of the words with one blank between them? */
bool text_has_word(const char *words, const char *word);

/* Length of the first line of text when it is broken at blanks and newlines to at most `columns`
 * bytes; a longer word stays whole.
 *
 *     for (; *text; text += strspn(text, " \n")) {
 *         size_t length = text_fold(text, 80);
 *         printf("%.*s\n", (int)length, text);
 *         text += length;
 *     } */
size_t text_fold(const char *text, size_t columns);

#endif
