#include "core/config/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"
#include "core/config/internal.h"
#include "core/config/recipe.h"

static const char COMMAND_LINE[] = "command line";

static status out_of_memory(void)
{
    return FAIL(E_MEMORY, "out of memory while reading the spec");
}

static status set_origin(config *c, const option *o, config_place place, const char *value)
{
    ptrdiff_t row = o - option_table;
    c->text[row] = arena_strdup(&c->memory, value);
    c->origin_file[row] = place.file;
    c->origin_line[row] = place.line;
    c->origin[row] = place.line ? arena_printf(&c->memory, "%s:%d", place.file, (int)place.line) : place.file;
    return c->text[row] && c->origin[row] ? OK : out_of_memory();
}

status config_init(config *c)
{
    *c = (config){0};
    status result = OK;
    c->origin = ARENA_ARRAY(&c->memory, const char *, option_count);
    c->origin_file = ARENA_ARRAY(&c->memory, const char *, option_count);
    c->origin_line = ARENA_ARRAY(&c->memory, int32_t, option_count);
    c->text = ARENA_ARRAY(&c->memory, const char *, option_count);
    c->doubtful = ARENA_ARRAY(&c->memory, bool, option_count);
    if (!c->doubtful || !c->origin || !c->origin_file || !c->origin_line || !c->text) TRY_OUT(out_of_memory());
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        value_verdict verdict = value_parse(o, o->default_text, &c->spec, &c->memory);
        if (verdict == VALUE_NO_MEMORY) TRY_OUT(out_of_memory());
        if (verdict == VALUE_WRONG) BUG("spec.def: the default of %s.%s is no valid value", o->section, o->key);
        TRY_OUT(set_origin(c, o, (config_place){.file = "default"}, o->default_text));
    }
out:
    if (result != OK) config_free(c);
    return result;
}

void config_free(config *c)
{
    free(c->errors);
    arena_free(&c->memory);
    *c = (config){0};
}

/* ---------------------------------------------------------------------------------------------------- errors */

/* "FILE:LINE: section.key = value: ", as much of it as there is. */
static char *error_prefix(arena *a, config_place place, const config_error *e)
{
    const char *where = place.line ? arena_printf(a, "%s:%d: ", place.file, (int)place.line)
                                   : arena_printf(a, "%s: ", place.file);
    if (!where) return NULL;
    if (!e->key) return e->section ? arena_printf(a, "%s[%.80s]: ", where, e->section) : arena_strdup(a, where);
    const char *section = e->section && *e->section ? arena_printf(a, "%.80s.", e->section) : "";
    if (!section) return NULL;
    if (!e->value) return arena_printf(a, "%s%s%.80s: ", where, section, e->key);
    bool cut = strlen(e->value) > 80;
    return arena_printf(a, "%s%s%.80s = %.80s%s: ", where, section, e->key, e->value, cut ? "..." : "");
}

status config_add_error(config *c, config_place place, const config_error *facts, const char *problem)
{
    if (c->error_count > CONFIG_MOST_ERRORS) return OK;
    void *errors = c->errors;
    TRY(array_reserve(&errors, &c->error_capacity, c->error_count + 1, sizeof(config_error)));
    c->errors = errors;
    config_error *e = &c->errors[c->error_count];
    *e = (config_error){.file = place.file, .line = place.line};
    char *text;
    if (c->error_count == CONFIG_MOST_ERRORS) {
        text =
            arena_printf(&c->memory, "%s: more than %d errors: the rest is not shown", place.file, CONFIG_MOST_ERRORS);
    } else {
        const char *const given[] = {facts->section, facts->key, facts->value, facts->expected, facts->nearest};
        const char **const kept[] = {&e->section, &e->key, &e->value, &e->expected, &e->nearest};
        for (int i = 0; i < 5; i++) {
            *kept[i] = given[i] ? arena_strdup(&c->memory, given[i]) : NULL;
            if (given[i] && !*kept[i]) return out_of_memory();
        }
        const char *prefix = error_prefix(&c->memory, place, facts);
        text = prefix ? arena_printf(&c->memory, "%s%s", prefix, problem) : NULL;
    }
    if (!text) return out_of_memory();
    text_make_printable(text);
    e->text = text;
    c->error_count++;
    return OK;
}

/* The key may be spelt wrongly, or stand in the wrong section. */
static status complain_unknown_key(config *c, config_place place, const char *section, const char *key,
                                   const char *value)
{
    const char *near_section = section, *near_key = option_nearest_key(section, key);
    for (int32_t i = 0; i < option_count && (!near_key || strcmp(near_section, section) == 0); i++) {
        if (strcmp(option_table[i].key, key) != 0) continue; /* exact elsewhere beats near here */
        near_section = option_table[i].section;
        near_key = option_table[i].key;
    }
    config_error facts = {.section = section, .key = key, .value = value};
    if (!near_key) return config_add_error(c, place, &facts, "unknown key (`graft spec resnet18` lists all)");
    char *nearest = arena_printf(&c->memory, "%s.%s", near_section, near_key);
    char *problem = nearest ? arena_printf(&c->memory, "unknown key; did you mean %s?", nearest) : NULL;
    if (!problem) return out_of_memory();
    facts.nearest = nearest;
    c->doubtful[option_find(near_section, near_key) - option_table] = true;
    return config_add_error(c, place, &facts, problem);
}

static status complain_value(config *c, config_place place, const option *o, const char *value)
{
    char expected[256];
    option_expectation(o, expected);
    c->doubtful[o - option_table] = true;
    config_error facts = {.section = o->section, .key = o->key, .value = value, .expected = expected};
    if (o->type == OPTION_ENUM) facts.nearest = text_nearest(value, o->choices, option_choice_count(o));
    bool has_default = *o->default_text != 0;
    char *problem =
        arena_printf(&c->memory, "expected %s%s%s%s%s%s%s", expected, has_default ? " (default " : "",
                     has_default ? o->default_text : "", has_default ? ")" : "",
                     facts.nearest ? "; did you mean " : "", facts.nearest ? facts.nearest : "",
                     facts.nearest ? "?" : "");
    if (!problem) return out_of_memory();
    return config_add_error(c, place, &facts, problem);
}

status config_complain(config *c, const char *section, const char *key, const char *nearest, const char *fmt, ...)
{
    const option *o = option_find(section, key);
    if (!o) BUG("config_complain: there is no option %s.%s", section, key);
    char problem[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(problem, sizeof problem, fmt, args);
    va_end(args);
    ptrdiff_t row = o - option_table;
    config_error facts = {.section = section, .key = key, .value = c->text[row], .nearest = nearest};
    return config_add_error(c, (config_place){c->origin_file[row], c->origin_line[row]}, &facts, problem);
}

/* ---------------------------------------------------------------------------------------------------- setting */

static const struct retired {
    const char *section, *key, *value, *text;
} retired[] = {
#define RETIRED(section, key, value, text) {#section, #key, value, text},
#include "core/config/retired.def"
};

static status assign_unknown(config *c, config_place place, const char *section, const char *key, const char *value)
{
    for (size_t i = 0; i < sizeof retired / sizeof *retired; i++) {
        if (strcmp(retired[i].section, section) != 0 || strcmp(retired[i].key, key) != 0) continue;
        if (strcmp(retired[i].value, value) == 0) return OK;
        return config_add_error(
            c, place, &(config_error){.section = section, .key = key, .value = value}, retired[i].text);
    }
    return complain_unknown_key(c, place, section, key, value);
}

status config_assign(config *c, config_place place, const char *section, const char *key, const char *value)
{
    const option *o = option_find(section, key);
    if (!o) return assign_unknown(c, place, section, key, value);
    switch (value_parse(o, value, &c->spec, &c->memory)) {
    case VALUE_FINE: return set_origin(c, o, place, value);
    case VALUE_WRONG: return complain_value(c, place, o, value);
    case VALUE_NO_MEMORY: break;
    }
    return out_of_memory();
}

status config_set(config *c, const char *section, const char *key, const char *value, const char *origin)
{
    char *file = arena_strdup(&c->memory, origin);
    if (!file) return out_of_memory();
    return config_assign(c, (config_place){.file = file}, section, key, value);
}

status config_override(config *c, const char *assignment)
{
    config_place place = {.file = COMMAND_LINE};
    const char *equals = strchr(assignment, '='), *dot = strchr(assignment, '.');
    if (!equals || equals == assignment) {
        config_error facts = {.value = assignment, .expected = "section.key=value"};
        char *problem = arena_printf(&c->memory, "%.80s: expected section.key=value", assignment);
        return problem ? config_add_error(c, place, &facts, problem) : out_of_memory();
    }
    bool has_section = dot && dot < equals;
    const char *key_start = has_section ? dot + 1 : assignment;
    char *section = arena_strndup(&c->memory, assignment, has_section ? (size_t)(dot - assignment) : 0);
    char *key = arena_strndup(&c->memory, key_start, (size_t)(equals - key_start));
    if (!section || !key) return out_of_memory();
    const char *near_section = option_nearest_section(section);
    if (has_section && near_section && strcmp(near_section, section) != 0 && option_find(near_section, key)) {
        config_error facts = {.section = section, .key = key, .value = equals + 1};
        facts.nearest = arena_printf(&c->memory, "%s.%s", near_section, key);
        char *problem = arena_printf(&c->memory, "unknown section; did you mean %s.%s?", near_section, key);
        return facts.nearest && problem ? config_add_error(c, place, &facts, problem) : out_of_memory();
    }
    return config_assign(c, place, section, key, equals + 1);
}

bool config_is_set(const config *c, const char *section, const char *key)
{
    const option *o = option_find(section, key);
    return o && strcmp(c->origin_file[o - option_table], "default") != 0;
}

char *config_value_text(const config *c, arena *a, const option *o)
{
    return value_text(o, &c->spec, a);
}

status config_at_default(const config *c, const option *o, bool *at_default)
{
    arena a = {0};
    spec fresh;
    bool parsed = value_parse(o, o->default_text, &fresh, &a) == VALUE_FINE; /* config_init has seen that it is valid */
    const char *now = value_text(o, &c->spec, &a), *by_default = parsed ? value_text(o, &fresh, &a) : NULL;
    status result = now && by_default ? OK : out_of_memory();
    *at_default = result == OK && strcmp(now, by_default) == 0;
    arena_free(&a);
    return result;
}

/* What was found when all was read goes to the other mistakes of its file. */
static void sort_errors(config *c)
{
    for (int64_t i = 1; i < c->error_count; i++) {
        config_error moved = c->errors[i];
        int64_t at = 0;
        while (at < i && !(moved.line < c->errors[at].line && strcmp(moved.file, c->errors[at].file) == 0)) at++;
        memmove(&c->errors[at + 1], &c->errors[at], (size_t)(i - at) * sizeof *c->errors);
        c->errors[at] = moved;
    }
}

status config_finish(config *c)
{
    if (!c->finished) {
        TRY(recipe_apply(c));
        TRY(config_check_together(c));
    }
    c->finished = true;
    if (c->error_count == 0) return OK;
    sort_errors(c);
    size_t bytes = 1;
    for (int64_t i = 0; i < c->error_count; i++) bytes += strlen(c->errors[i].text) + 1;
    char *all = arena_alloc(&c->memory, bytes), *end = all;
    if (!all) return out_of_memory();
    for (int64_t i = 0; i < c->error_count; i++)
        end += sprintf(end, "%s%s", i ? "\n" : "", c->errors[i].text);
    return FAIL_LINES(E_USAGE, "%s", all);
}
