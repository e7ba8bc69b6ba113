#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "core/base/text.h"
#include "core/config/config.h"

#define SECTION_BEGIN(name, help)
#define SECTION_END(name)
#define ROW(section, key, type, min, max, zero, choices, def, help) \
    {#section, #key, type, min, max, zero, choices, def, help, offsetof(spec, section.key)},
#define OPT_INT(section, key, min, max, def, help) ROW(section, key, OPTION_INT, min, max, NULL, NULL, #def, help)
#define OPT_AUTO(section, key, max, def, help) ROW(section, key, OPTION_INT, 0, max, "auto", NULL, #def, help)
#define OPT_FLOAT(section, key, min, max, def, help) ROW(section, key, OPTION_FLOAT, min, max, NULL, NULL, #def, help)
#define OPT_BOOL(section, key, def, help) ROW(section, key, OPTION_BOOL, 0, 1, NULL, NULL, #def, help)
#define OPT_TEXT(section, key, def, help) ROW(section, key, OPTION_TEXT, 0, 0, NULL, NULL, def, help)
#define OPT_PATH(section, key, def, help) ROW(section, key, OPTION_PATH, 0, 0, NULL, NULL, def, help)
#define OPT_ENUM(section, key, type, choices, def, help) \
    ROW(section, key, OPTION_ENUM, 0, 0, NULL, choices, def, help)
#define OPT_FLOATS(section, key, min, max, def, help) \
    ROW(section, key, OPTION_FLOATS, min, max, NULL, NULL, def, help)
#define OPT_TEXTS(section, key, def, help) ROW(section, key, OPTION_TEXTS, 0, 0, NULL, NULL, def, help)
const option option_table[] = {
#include "core/config/spec.def"
};
const int32_t option_count = sizeof option_table / sizeof *option_table;

/* Row numbers: the markers in front of and behind a section count for nothing. */
#define SECTION_BEGIN(name, help) first_##name, before_##name = first_##name - 1,
#define SECTION_END(name) end_##name, last_##name = end_##name - 1,
#define OPTION(section, key) row_##section##_##key,
enum {
#include "core/config/spec.def"
};

#define SECTION_BEGIN(name, help) {#name, help, first_##name, end_##name - first_##name},
#define SECTION_END(name)
#define OPTION(section, key)
const option_section option_sections[] = {
#include "core/config/spec.def"
};
const int32_t option_section_count = sizeof option_sections / sizeof *option_sections;

/* Values are read and written through an int: every enum must have that size. */
#define SECTION_BEGIN(name, help)
#define SECTION_END(name)
#define OPTION(section, key)
#define OPT_ENUM(section, key, type, choices, def, help) _Static_assert(sizeof(type) == sizeof(int), #type);
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
        snprintf(low, sizeof low, "%lld", (long long)o->min);
        snprintf(high, sizeof high, "%lld", (long long)o->max);
    }
    snprintf(text, 80, "from %s to %s", low, high);
}

static void choices_text(const char *choices, char *text, size_t bytes)
{
    size_t used = (size_t)snprintf(text, bytes, "one of ");
    for (const char *c = choices; *c && used + 3 < bytes; c++) {
        text[used++] = *c == '|' ? ',' : *c;
        if (*c == '|') text[used++] = ' ';
    }
    text[used] = 0;
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
    case OPTION_ENUM: choices_text(o->choices, text, 256); return;
    case OPTION_FLOATS: snprintf(text, 256, "numbers %s", range); return;
    case OPTION_TEXTS: snprintf(text, 256, "words"); return;
    }
}
