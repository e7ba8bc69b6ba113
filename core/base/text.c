#include "core/base/text.h"

#include "core/base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_MAX = 63 };

/* strtod knows only the locale's decimal point: hand it that one. */
static double parse_number(const char *text, char **end, char buffer[64])
{
    const char *point = localeconv()->decimal_point;
    snprintf(buffer, 64, "%s", text);
    char *dot = strchr(buffer, '.');
    if (dot && point[0] != '.') *dot = point[1] ? ' ' : point[0]; /* no known locale has a longer one */
    return strtod(buffer, end);
}

bool text_to_number(const char *text, double *value)
{
    size_t length = strlen(text);
    if (length == 0 || length > 60 || strspn(text, "0123456789+-.eE") != length) return false;
    char buffer[64], *end;
    double number = parse_number(text, &end, buffer);
    if (end == buffer || *end || !isfinite(number)) return false;
    *value = number;
    return true;
}

bool text_to_int(const char *text, int64_t *value)
{
    size_t length = strlen(text), sign = text[0] == '-' || text[0] == '+';
    if (length == sign || strspn(text + sign, "0123456789") != length - sign) return false;
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    if (errno) return false;
    *value = number;
    return true;
}

void number_text(double value, char text[32])
{
    if (!isfinite(value)) {
        snprintf(text, 32, "%s", isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    /* 15 digits always survive the way there and back, 17 always suffice. */
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, 32, "%.*g", digits, value);
        if (strtod(text, NULL) == value) break;
    }
    for (char *c = text; *c; c++)
        if (!strchr("0123456789+-e", *c)) *c = '.';
}

/* Bytes of the character at s that must not be shown, 0 when it may be; *whole: bytes of the character. A byte that
 * begins none is shown unless a terminal that reads single bytes takes it for a control character. */
static size_t hidden_bytes(const char *s, size_t *whole)
{
    uint32_t character;
    *whole = utf8_character(s, &character);
    bool hidden = *whole ? utf8_is_control(character) : (unsigned char)*s < 0xa0;
    if (*whole == 0) *whole = 1;
    return hidden ? *whole : 0;
}

/* Writes at most as many bytes as it reads. */
static void make_printable(char *text, bool keep_lines)
{
    char *to = text;
    for (const char *s = text; *s;) {
        size_t whole = 1, hidden = *s == '\n' && keep_lines ? 0 : hidden_bytes(s, &whole);
        if (hidden) {
            *to++ = '?';
            s += hidden;
        }
        for (size_t i = 0; !hidden && i < whole; i++) *to++ = *s++;
    }
    *to = 0;
}

void text_make_printable(char *text) { make_printable(text, false); }

void text_make_lines_printable(char *text) { make_printable(text, true); }

const char *text_printable(arena *a, const char *text)
{
    size_t whole;
    if (!text) return "";
    const char *s = text;
    while (*s && hidden_bytes(s, &whole) == 0) s += whole;
    if (!*s) return text;
    char *copy = arena_strdup(a, text);
    if (!copy) return "?";
    text_make_printable(copy);
    return copy;
}

static int32_t replace_cost(char a, char b)
{
    if (a == b) return 0;
    return tolower((unsigned char)a) == tolower((unsigned char)b) ? 1 : 2;
}

static int32_t least(int32_t a, int32_t b)
{
    return a < b ? a : b;
}

int32_t text_distance(const char *a, const char *b)
{
    int32_t rows[3][WORD_MAX + 1] = {{0}};
    size_t m = strnlen(a, WORD_MAX), n = strnlen(b, WORD_MAX);
    for (size_t j = 0; j <= n; j++) rows[0][j] = 2 * (int32_t)j;
    for (size_t i = 1; i <= m; i++) {
        int32_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *two_above = rows[(i + 1) % 3];
        row[0] = 2 * (int32_t)i;
        for (size_t j = 1; j <= n; j++) {
            int32_t cost = above[j - 1] + replace_cost(a[i - 1], b[j - 1]);
            cost = least(cost, least(above[j], row[j - 1]) + 2);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                cost = least(cost, two_above[j - 2] + 2);
            row[j] = cost;
        }
    }
    return rows[m % 3][n];
}

const char *text_nearest(const char *word, const char *const *words, int64_t count)
{
    const char *best = NULL;
    int32_t best_distance = 0;
    for (int64_t i = 0; i < count; i++) {
        int32_t distance = text_distance(word, words[i]);
        if (!best || distance < best_distance) {
            best = words[i];
            best_distance = distance;
        }
    }
    if (!best) return NULL;
    size_t length = strnlen(word, WORD_MAX), longer = strnlen(best, WORD_MAX);
    if (length > longer) longer = length;
    int32_t allowed = 2 * (int32_t)(longer / 3 + 1);
    return best_distance <= allowed && best_distance < 2 * (int32_t)longer ? best : NULL;
}

size_t text_fold(const char *text, size_t columns)
{
    size_t whole = strcspn(text, "\n"), length = columns;
    if (whole <= columns) return whole;
    while (length > 0 && text[length] != ' ') length--;
    return length > 0 ? length : strcspn(text, " \n");
}

bool text_has_word(const char *words, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = words; (at = strstr(at, word)); at += length)
        if ((at == words || at[-1] == ' ') && (at[length] == 0 || at[length] == ' ')) return true;
    return false;
}
