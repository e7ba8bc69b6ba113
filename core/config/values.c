/* Values of options: from text into struct spec and back. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/base/utf8.h"
#include "core/config/internal.h"

static const char SEPARATORS[] = " \t\n,";

static value_verdict parse_int(const option *o, const char *text, int64_t *value)
{
    int64_t number;
    if (o->zero_word && strcmp(text, o->zero_word) == 0) number = 0;
    else if (!text_to_int(text, &number)) return VALUE_WRONG;
    if ((double)number < o->min || (double)number > o->max) return VALUE_WRONG;
    *value = number;
    return VALUE_FINE;
}

static value_verdict parse_float(const option *o, const char *text, double *value)
{
    double number;
    if (!text_to_number(text, &number) || number < o->min || number > o->max) return VALUE_WRONG;
    *value = number;
    return VALUE_FINE;
}

static value_verdict parse_bool(const char *text, bool *value)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < 6; i++) {
        if (strcmp(text, words[i]) != 0) continue;
        *value = i % 2 != 0;
        return VALUE_FINE;
    }
    return VALUE_WRONG;
}

/* Cuts a copy of the text into words. */
static value_verdict split(const char *text, arena *a, text_list *list)
{
    int64_t count = 0;
    for (const char *s = text + strspn(text, SEPARATORS); *s; count++) {
        s += strcspn(s, SEPARATORS);
        s += strspn(s, SEPARATORS);
    }
    const char **words = ARENA_ARRAY(a, const char *, count);
    if (!words) return VALUE_NO_MEMORY;
    const char *s = text + strspn(text, SEPARATORS);
    for (int64_t i = 0; i < count; i++) {
        size_t length = strcspn(s, SEPARATORS);
        words[i] = arena_strndup(a, s, length);
        if (!words[i]) return VALUE_NO_MEMORY;
        s += length;
        s += strspn(s, SEPARATORS);
    }
    *list = (text_list){.value = words, .count = count};
    return VALUE_FINE;
}

static value_verdict parse_floats(const option *o, const char *text, arena *a, float_list *list)
{
    text_list words;
    value_verdict verdict = split(text, a, &words);
    if (verdict != VALUE_FINE) return verdict;
    double *numbers = ARENA_ARRAY(a, double, words.count);
    if (!numbers) return VALUE_NO_MEMORY;
    for (int64_t i = 0; i < words.count; i++)
        if (parse_float(o, words.value[i], &numbers[i]) != VALUE_FINE) return VALUE_WRONG;
    *list = (float_list){.value = numbers, .count = words.count};
    return VALUE_FINE;
}

value_verdict value_parse(const option *o, const char *text, spec *s, arena *a)
{
    /* A file cannot hold control characters, so no value may, or a dump would not read back. */
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < 0x20 && *c != '\t' && *c != '\n') || *c == 0x7f) return VALUE_WRONG;
    void *place = (char *)s + o->offset;
    switch (o->type) {
    case OPTION_INT: return parse_int(o, text, place);
    case OPTION_FLOAT: return parse_float(o, text, place);
    case OPTION_BOOL: return parse_bool(text, place);
    case OPTION_ENUM: return option_choice_find(o->section, o->key, text, place) ? VALUE_FINE : VALUE_WRONG;
    case OPTION_TEXT:
    case OPTION_PATH: {
        const char *copy = arena_strdup(a, text);
        if (!copy) return VALUE_NO_MEMORY;
        *(const char **)place = copy;
        return VALUE_FINE;
    }
    case OPTION_FLOATS: return parse_floats(o, text, a, place);
    case OPTION_TEXTS: return split(text, a, place);
    }
    return VALUE_WRONG;
}

static bool is_utf8(const char *text)
{
    for (size_t length; *text; text += length)
        if ((length = utf8_character(text, NULL)) == 0) return false;
    return true;
}

/* Quotes what a file would otherwise cut, trim or take for a comment, and what is no UTF-8: a spec is text, and travels
 * in files of models. */
char *value_quoted(const char *text, arena *a)
{
    size_t bytes = strlen(text), length;
    bool blank_ends = bytes && (strchr(" \t", text[0]) || strchr(" \t", text[bytes - 1]));
    if (!blank_ends && text[0] != '"' && !text[strcspn(text, ";#\n")] && is_utf8(text)) return arena_strdup(a, text);
    char *result = arena_alloc(a, 4 * bytes + 3), *end = result;
    if (!result) return NULL;
    *end++ = '"';
    for (const char *c = text; *c; c += length) {
        length = utf8_character(c, NULL);
        if (length == 0) {
            end += sprintf(end, "\\x%02x", (unsigned char)*c);
            length = 1;
            continue;
        }
        if (strchr("\\\"\n\t", *c)) *end++ = '\\';
        memcpy(end, c, length);
        if (*c == '\n' || *c == '\t') *end = *c == '\n' ? 'n' : 't';
        end += length;
    }
    *end++ = '"';
    *end = 0;
    return result;
}

static char *floats_text(const float_list *list, arena *a)
{
    char *text = arena_alloc(a, (size_t)list->count * 32 + 1), *end = text;
    if (!text) return NULL;
    for (int64_t i = 0; i < list->count; i++) {
        if (i) *end++ = ' ';
        number_text(list->value[i], end);
        end += strlen(end);
    }
    return text;
}

static char *texts_text(const text_list *list, arena *a)
{
    size_t bytes = 1;
    for (int64_t i = 0; i < list->count; i++) bytes += strlen(list->value[i]) + 1;
    char *text = arena_alloc(a, bytes), *end = text;
    if (!text) return NULL;
    for (int64_t i = 0; i < list->count; i++) {
        if (i) *end++ = ' ';
        size_t length = strlen(list->value[i]);
        memcpy(end, list->value[i], length);
        end += length;
    }
    return text;
}

char *value_text(const option *o, const spec *s, arena *a)
{
    const void *place = (const char *)s + o->offset;
    char number[32];
    switch (o->type) {
    case OPTION_INT: {
        int64_t value = *(const int64_t *)place;
        if (value == 0 && o->zero_word) return arena_strdup(a, o->zero_word);
        return arena_printf(a, "%" PRId64, value);
    }
    case OPTION_FLOAT:
        number_text(*(const double *)place, number);
        return arena_strdup(a, number);
    case OPTION_BOOL: return arena_strdup(a, *(const bool *)place ? "true" : "false");
    case OPTION_ENUM: return arena_strdup(a, option_choice(o->section, o->key, *(const int *)place));
    case OPTION_TEXT:
    case OPTION_PATH:
        return arena_strdup(a, *(const char *const *)place);
    case OPTION_FLOATS: return floats_text(place, a);
    case OPTION_TEXTS: return texts_text(place, a);
    }
    return NULL;
}
