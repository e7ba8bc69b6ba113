#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "models/models.h"

static const cli_option *find_in(const cli_option *list, const char *word)
{
    for (; list && list->name; list++)
        if (strcmp(list->name, word) == 0 || (list->short_name && strcmp(list->short_name, word) == 0)) return list;
    return NULL;
}

static const cli_option *find_option(const cli_command *command, const char *word)
{
    const cli_option *o = find_in(command->options, word);
    if (!o && command->spec != CLI_SPEC_NONE) o = find_in(cli_spec_options, word);
    return o ? o : find_in(cli_common_options, word);
}

static status unknown_option(const cli_command *command, const char *word)
{
    enum { MOST = 128 };
    const char *names[MOST];
    int64_t count = 0;
    const cli_option *lists[] = {command->options, command->spec == CLI_SPEC_NONE ? NULL : cli_spec_options,
                                 cli_common_options};
    for (int i = 0; i < 3; i++) {
        for (const cli_option *o = lists[i]; o && o->name && count + 2 <= MOST; o++) {
            names[count++] = o->name;
            if (o->short_name) names[count++] = o->short_name;
        }
    }
    const char *nearest = strlen(word) > 2 ? text_nearest(word, names, count) : NULL; /* all single letters are near */
    if (nearest) return FAIL(E_USAGE, "unknown option %s; did you mean %s?", word, nearest);
    return FAIL(E_USAGE, "unknown option %s; `graft %s --help` lists all", word, command->name);
}

/* section.key=value, and what somebody may have meant to be one; but a file that exists is a file. */
static bool is_override(const char *word)
{
    size_t name = 0;
    while (isalnum((unsigned char)word[name]) || (word[name] && strchr("_.-", word[name]))) name++;
    return name > 0 && word[0] != '-' && word[name] == '=' && !file_exists(word);
}

static status add_given(cli_context *c, const cli_option *o, const char *value)
{
    void *given = c->given;
    TRY(array_reserve(&given, &c->given_capacity, c->given_count + 1, sizeof(cli_given)));
    c->given = given;
    c->given[c->given_count++] = (cli_given){o, value};
    return OK;
}

static status add_argument(cli_context *c, const char *word)
{
    void *arguments = c->arguments;
    TRY(array_reserve(&arguments, &c->argument_capacity, c->argument_count + 1, sizeof(char *)));
    c->arguments = arguments;
    c->arguments[c->argument_count++] = word;
    return OK;
}

/* Takes the option at words[*at] and its value or values. */
static status read_option(cli_context *c, int count, char **words, int *at)
{
    const char *word = words[*at], *equals = strncmp(word, "--", 2) == 0 ? strchr(word, '=') : NULL;
    char *name = arena_strndup(&c->memory, word, equals ? (size_t)(equals - word) : strlen(word));
    if (!name) return FAIL_MEMORY(strlen(word));
    const cli_option *o = find_option(c->command, name);
    if (!o) return unknown_option(c->command, name);
    if (!o->argument) {
        if (equals) return FAIL(E_USAGE, "%s takes no value", name);
        return add_given(c, o, NULL);
    }
    if (equals) return add_given(c, o, equals + 1);
    bool has_value = *at + 1 < count && !find_option(c->command, words[*at + 1]);
    if (!has_value) return FAIL(E_USAGE, "%s needs a value: %s %s", name, name, o->argument);
    TRY(add_given(c, o, words[++*at]));
    while (o->many && *at + 1 < count && words[*at + 1][0] != '-' && !is_override(words[*at + 1]))
        TRY(add_given(c, o, words[++*at]));
    return OK;
}

static status read_words(cli_context *c, int count, char **words)
{
    bool options_end = false;
    for (int at = 0; at < count; at++) {
        const char *word = words[at];
        if (options_end) TRY(add_argument(c, word));
        else if (strcmp(word, "--") == 0) options_end = true;
        else if (word[0] == '-' && word[1]) TRY(read_option(c, count, words, &at));
        else if (is_override(word)) TRY(add_given(c, NULL, word));
        else TRY(add_argument(c, word));
    }
    return OK;
}

bool cli_is_given(const cli_context *c, const char *name)
{
    for (int64_t i = 0; i < c->given_count; i++)
        if (c->given[i].option && strcmp(c->given[i].option->name, name) == 0) return true;
    return false;
}

const char *cli_value(const cli_context *c, const char *name)
{
    const char *value = NULL;
    for (int64_t i = 0; i < c->given_count; i++) {
        const cli_given *g = &c->given[i];
        if (!g->option || strcmp(g->option->name, name) != 0) continue;
        /* The joined text lives in the context's arena, which is no part of what the caller sees. */
        value = value && g->option->many ? arena_printf((arena *)(uintptr_t)&c->memory, "%s %s", value, g->value)
                                         : g->value;
    }
    return value;
}

int64_t cli_override_count(const cli_context *c)
{
    int64_t count = 0;
    for (int64_t i = 0; i < c->given_count; i++) count += c->given[i].option == NULL;
    return count;
}

status cli_check_output(const cli_context *c, const char *path)
{
    if (!file_exists(path) || cli_is_given(c, "--force")) return OK;
    return FAIL(E_USAGE, "%s exists; --force overwrites it, --output names another file", path);
}

/* Sets "section.key". TLT writes L2 and we write l2, so choices given by an option are compared in lower case. */
static status set_target(cli_context *c, const char *target, const char *value, const char *origin)
{
    const char *dot = strchr(target, '.');
    char *section = dot ? arena_strndup(&c->memory, target, (size_t)(dot - target)) : NULL;
    char *text = arena_strdup(&c->memory, value);
    if (!section || !text) return FAIL_MEMORY(strlen(target));
    const option *o = option_find(section, dot + 1);
    if (!o) BUG("an option's target is %s, which spec.def does not have", target);
    for (char *t = text; o->type == OPTION_ENUM && *t; t++) *t = (char)tolower((unsigned char)*t);
    return config_set(&c->config, section, dot + 1, text, origin);
}

static bool reads_spec(const cli_given *g)
{
    return g->option && g->option->target && strcmp(g->option->target, "spec") == 0;
}

/* Spec files first, so that everything else on the command line wins whatever its place. */
static status read_spec(cli_context *c)
{
    const char *first = c->first, *first_target = c->command->first_target;
    TRY(config_init(&c->config));
    if (first && strcmp(first_target, "spec") == 0) TRY(config_read_file(&c->config, first));
    for (int64_t i = 0; i < c->given_count; i++)
        if (reads_spec(&c->given[i])) TRY(config_read_file(&c->config, c->given[i].value));
    if (first && strcmp(first_target, "spec") != 0) TRY(set_target(c, first_target, first, "command line"));
    for (int64_t i = 0; i < c->given_count; i++) {
        const cli_given *g = &c->given[i];
        if (!g->option) TRY(config_override(&c->config, g->value));
        else if (g->option->target && !reads_spec(g))
            TRY(set_target(c, g->option->target, cli_value(c, g->option->name), g->option->name));
    }
    return OK;
}

status cli_finish_spec(cli_context *c)
{
    TRY(models_split_arch(&c->config));
    const char *arch = c->config.spec.model.arch;
    if (!models_find(arch) && strcmp(arch, MODELS_IMPORTED) != 0) {
        enum { MOST = 64 };
        const char *names[MOST];
        char list[1024];
        int64_t count = 0;
        for (; count < MOST && model_table[count].name; count++) names[count] = model_table[count].name;
        const char *nearest = text_nearest(arch, names, count);
        models_list(list, sizeof list);
        TRY(config_complain(&c->config, "model", "arch", nearest, "unknown network; %s%s%sexpected one of %s",
                            nearest ? "did you mean " : "", nearest ? nearest : "", nearest ? "? " : "", list));
    }
    TRY(models_set_defaults(&c->config));
    return config_finish(&c->config);
}

static status check_count(const cli_context *c, int64_t count)
{
    const cli_command *command = c->command;
    const char *expected = command->arguments && *command->arguments ? command->arguments : "none";
    if (count < command->least)
        return FAIL(E_USAGE, "too few arguments: expected %s; see `graft %s --help`", expected, command->name);
    if (command->most >= 0 && count > command->most)
        return FAIL(E_USAGE, "unexpected argument %s: expected %s; see `graft %s --help`",
                    c->arguments[command->most], expected, command->name);
    return OK;
}

status cli_parse(cli_context *c, int count, char **words)
{
    TRY(read_words(c, count, words));
    c->json = c->json || cli_is_given(c, "--json");
    c->quiet = cli_is_given(c, "--quiet");
    const char *environment = getenv("GRAFT_VERBOSE");
    c->verbose = cli_is_given(c, "--verbose") || (environment && strcmp(environment, "1") == 0);
    if (cli_is_given(c, "--help")) return OK;
    TRY(check_count(c, c->argument_count));
    if (c->command->spec == CLI_SPEC_NONE) {
        if (cli_override_count(c)) return FAIL(E_USAGE, "no section.key=value here: this command reads no spec");
        return OK;
    }
    if (c->command->first_target && c->argument_count) {
        c->first = c->arguments[0];
        memmove(c->arguments, c->arguments + 1, (size_t)--c->argument_count * sizeof *c->arguments);
    }
    TRY(read_spec(c));
    return c->command->spec == CLI_SPEC_FINISHED || c->config.error_count ? cli_finish_spec(c) : OK;
}
