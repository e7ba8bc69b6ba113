#include "core/base/utf8.h"

#include <string.h>

size_t utf8_character(const char *text, uint32_t *character)
{
    const unsigned char *s = (const unsigned char *)text;
    size_t length = s[0] < 0x80                   ? 1
                    : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
                    : (s[0] & 0xf0) == 0xe0       ? 3
                    : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
                                                  : 0;
    uint32_t value = length < 2 ? s[0] : s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        value = value << 6 | (s[i] & 0x3fu);
    }
    if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
        (s[0] == 0xf4 && s[1] > 0x8f))
        return 0;
    if (character) *character = value;
    return length;
}

bool utf8_is_control(uint32_t c)
{
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x2028 || c == 0x2029 || (c >= 0x202a && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069);
}

/* What stands for the *read bytes at `text`. */
static size_t escape(char dst[24], const char *text, size_t *read)
{
    uint32_t character = 0;
    size_t bytes = 0;
    *read = utf8_character(text, &character);
    if (*read && !utf8_is_control(character)) {
        memcpy(dst, text, *read);
        return *read;
    }
    if (*read == 0) *read = 1;
    for (size_t i = 0; i < *read; i++) bytes += (size_t)sprintf(dst + bytes, "\\x%02x", (unsigned char)text[i]);
    return bytes;
}

const char *utf8_escaped(arena *a, const char *text)
{
    char piece[24];
    size_t length = 0, read;
    for (const char *s = text; *s; s += read) length += escape(piece, s, &read);
    if (length == strlen(text)) return text;
    char *copy = arena_alloc(a, length + 1), *end = copy;
    for (const char *s = text; copy && *s; s += read) {
        size_t bytes = escape(piece, s, &read);
        memcpy(end, piece, bytes);
        end += bytes;
    }
    return copy;
}

uint32_t utf8_lower(uint32_t c)
{
    if (c >= 'A' && c <= 'Z') return c + 32;
    if ((c >= 0xc0 && c <= 0xde && c != 0xd7) || (c >= 0x391 && c <= 0x3a9) || (c >= 0x410 && c <= 0x42f))
        return c + 32;
    if (c >= 0x400 && c <= 0x40f) return c + 80;
    if ((c >= 0x100 && c <= 0x137) || (c >= 0x14a && c <= 0x177)) return c | 1;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e)) return c + (c & 1);
    return c;
}

bool utf8_is_blank(uint32_t c)
{
    return c == ' ' || c == '\t' || c == 0xa0 || (c >= 0x2000 && c <= 0x200b) || c == 0x202f || c == 0x3000 ||
           c == 0xfeff;
}

void utf8_print_column(FILE *stream, const char *text, int32_t columns)
{
    for (; columns > 0 && *text; columns--) {
        size_t length = utf8_character(text, NULL);
        if (length == 0) length = 1;
        fwrite(text, 1, length, stream);
        text += length;
    }
    fprintf(stream, "%*s", (int)columns, "");
}
