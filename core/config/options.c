#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/base/text.h"
#include "core/config/config.h"

#define SECTION_BEGIN(name, help, ...)
#define SECTION_END(name)
#define MAY_DIFFER true
#define CHOICES(...) (const char *const[]){__VA_ARGS__, NULL}
#define ROW(section, key, type, min, max, zero, def, help, ...) \
    {#section, #key, type, min, max, zero, NULL, def, help, offsetof(spec, section.key), __VA_ARGS__},
#define OPT_INT(section, key, min, max, def, ...) ROW(section, key, OPTION_INT, min, max, NULL, #def, __VA_ARGS__)
#define OPT_AUTO(section, key, max, def, ...) ROW(section, key, OPTION_INT, 0, max, "auto", #def, __VA_ARGS__)
#define OPT_FLOAT(section, key, min, max, def, ...) ROW(section, key, OPTION_FLOAT, min, max, NULL, #def, __VA_ARGS__)
#define OPT_BOOL(section, key, def, ...) ROW(section, key, OPTION_BOOL, 0, 1, NULL, #def, __VA_ARGS__)
#define OPT_TEXT(section, key, def, ...) ROW(section, key, OPTION_TEXT, 0, 0, NULL, def, __VA_ARGS__)
#define OPT_PATH(section, key, def, ...) ROW(section, key, OPTION_PATH, 0, 0, NULL, def, __VA_ARGS__)
#define OPT_ENUM(section, key, type, choices, def, help, ...) \
    {#section, #key, OPTION_ENUM, 0, 0, NULL, CHOICES choices, def, help, offsetof(spec, section.key), __VA_ARGS__},
#define OPT_FLOATS(section, key, min, max, def, ...) ROW(section, key, OPTION_FLOATS, min, max, NULL, def, __VA_ARGS__)
#define OPT_TEXTS(section, key, def, ...) ROW(section, key, OPTION_TEXTS, 0, 0, NULL, def, __VA_ARGS__)
const option option_table[] = {
#include "core/config/spec.def"
};
const int32_t option_count = sizeof option_table / sizeof *option_table;

/* Row numbers: the markers in front of and behind a section count for nothing. */
#define SECTION_BEGIN(name, help, ...) first_##name, before_##name = first_##name - 1,
#define SECTION_END(name) end_##name, last_##name = end_##name - 1,
#define OPTION(section, key) row_##section##_##key,
enum {
#include "core/config/spec.def"
};

#define SECTION_BEGIN(name, help, ...) {#name, help, first_##name, end_##name - first_##name, __VA_ARGS__},
#define SECTION_END(name)
#define OPTION(section, key)
const option_section option_sections[] = {
#include "core/config/spec.def"
};
const int32_t option_section_count = sizeof option_sections / sizeof *option_sections;

/* Values are read and written through an int: every enum must have that size. */
#define SECTION_BEGIN(name, help, ...)
#define SECTION_END(name)
#define OPTION(section, key)
#define OPT_ENUM(section, key, type, ...) _Static_assert(sizeof(type) == sizeof(int), #type);
#include "core/config/spec.def"

static const option_section *section_find(const char *name)
{
    for (int32_t i = 0; i < option_section_count; i++)
        if (strcmp(option_sections[i].name, name) == 0) return &option_sections[i];
    return NULL;
}

const option *option_find(const char *section, const char *key)
{
    const option_section *s = section_find(section);
    for (int32_t i = 0; s && i < s->count; i++)
        if (strcmp(option_table[s->first + i].key, key) == 0) return &option_table[s->first + i];
    return NULL;
}

bool option_may_differ(const option *o)
{
    return o->may_differ || section_find(o->section)->may_differ;
}

static const option *enum_find(const char *section, const char *key)
{
    const option *o = option_find(section, key);
    if (!o || o->type != OPTION_ENUM) BUG("%s.%s is no option with choices", section, key);
    return o;
}

int32_t option_choice_count(const option *o)
{
    int32_t count = 0;
    while (o->choices[count]) count++;
    return count;
}

const char *const *option_choices(const char *section, const char *key)
{
    return enum_find(section, key)->choices;
}

const char *option_choice(const char *section, const char *key, int value)
{
    const option *o = enum_find(section, key);
    if (value < 0 || value >= option_choice_count(o)) BUG("%s.%s has no choice %d", section, key, value);
    return o->choices[value];
}

bool option_choice_find(const char *section, const char *key, const char *text, int *value)
{
    const option *o = enum_find(section, key);
    for (int i = 0; o->choices[i]; i++) {
        if (strcmp(o->choices[i], text) != 0) continue;
        *value = i;
        return true;
    }
    return false;
}

const char *option_nearest_key(const char *section, const char *key)
{
    enum { MOST_KEYS = 128 };
    const char *keys[MOST_KEYS];
    const option_section *s = section_find(section);
    int32_t count = 0;
    for (; s && count < s->count && count < MOST_KEYS; count++) keys[count] = option_table[s->first + count].key;
    return text_nearest(key, keys, count);
}

const char *option_nearest_section(const char *section)
{
    enum { MOST_SECTIONS = 64 };
    const char *names[MOST_SECTIONS];
    int32_t count = 0;
    for (; count < option_section_count && count < MOST_SECTIONS; count++) names[count] = option_sections[count].name;
    return text_nearest(section, names, count);
}

static void range_text(const option *o, char text[80])
{
    char low[32], high[32];
    number_text(o->min, low);
    number_text(o->max, high);
    if (o->type == OPTION_INT) { /* 1e+09 is no text for an integer */
        snprintf(low, sizeof low, "%" PRId64, (int64_t)o->min);
        snprintf(high, sizeof high, "%" PRId64, (int64_t)o->max);
    }
    snprintf(text, 80, "from %s to %s", low, high);
}

static void choices_text(const option *o, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "one of ");
    for (int32_t i = 0; o->choices[i] && used < bytes; i++)
        used += (size_t)snprintf(text + used, bytes - used, "%s%s", i ? ", " : "", o->choices[i]);
}

void option_expectation(const option *o, char text[256])
{
    char range[80];
    range_text(o, range);
    switch (o->type) {
    case OPTION_INT:
        if (o->zero_word) snprintf(text, 256, "%s or an integer %s", o->zero_word, range);
        else snprintf(text, 256, "an integer %s", range);
        return;
    case OPTION_FLOAT: snprintf(text, 256, "a number %s", range); return;
    case OPTION_BOOL: snprintf(text, 256, "true or false"); return;
    case OPTION_TEXT: snprintf(text, 256, "text"); return;
    case OPTION_PATH: snprintf(text, 256, "a path"); return;
    case OPTION_ENUM: choices_text(o, text, 256); return;
    case OPTION_FLOATS: snprintf(text, 256, "numbers %s", range); return;
    case OPTION_TEXTS: snprintf(text, 256, "words"); return;
    }
}
