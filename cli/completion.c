#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "models/models.h"

static void print_names(FILE *f, const cli_option *o)
{
    for (; o && o->name; o++) {
        fprintf(f, " %s", o->name);
        if (o->short_name) fprintf(f, " %s", o->short_name);
    }
}

static void print_commands(FILE *f)
{
    for (int i = 0; cli_commands[i]; i++) fprintf(f, " %s", cli_commands[i]->name);
}

/* One case per command: its options. */
static void print_command_cases(FILE *f)
{
    for (int i = 0; cli_commands[i]; i++) {
        const cli_command *command = cli_commands[i];
        fprintf(f, "    %s) words='", command->name);
        print_names(f, command->options);
        if (command->spec != CLI_SPEC_NONE) print_names(f, cli_spec_options);
        print_names(f, cli_common_options);
        fprintf(f, "'; spec=%d ;;\n", command->spec != CLI_SPEC_NONE);
    }
}

/* Of an enum or a switch: words='one two' ;; */
static void print_choices(FILE *f, const option *o)
{
    fprintf(f, "words='");
    static const char *const switches[] = {"true", "false", NULL};
    const char *const *choices = o->type == OPTION_BOOL ? switches : o->choices;
    for (int32_t i = 0; choices[i]; i++) fprintf(f, "%s%s", i ? " " : "", choices[i]);
    fprintf(f, "' ;;\n");
}

static bool has_choices(const option *o)
{
    return o->type == OPTION_ENUM || o->type == OPTION_BOOL;
}

/* What may stand behind `section.key=`. */
static void print_key_cases(FILE *f)
{
    for (int32_t i = 0; i < option_count; i++) {
        if (!has_choices(&option_table[i])) continue;
        fprintf(f, "    %s.%s) ", option_table[i].section, option_table[i].key);
        print_choices(f, &option_table[i]);
    }
}

/* What may stand behind `--option`: the choices of its target, or files. */
static void print_value_cases(FILE *f, const char *command, const cli_option *o)
{
    for (; o && o->name; o++) {
        if (!o->argument) continue;
        fprintf(f, "    '%s %s'", command, o->name);
        if (o->short_name) fprintf(f, "|'%s %s'", command, o->short_name);
        const option *target = NULL;
        for (int32_t i = 0; i < option_count && o->target; i++) {
            size_t length = strlen(option_table[i].section);
            if (strncmp(o->target, option_table[i].section, length) == 0 && o->target[length] == '.' &&
                strcmp(o->target + length + 1, option_table[i].key) == 0) target = &option_table[i];
        }
        fprintf(f, ") ");
        if (target && has_choices(target)) print_choices(f, target);
        else fprintf(f, "files=1 ;;\n");
    }
}

static void print_script(FILE *f)
{
    fprintf(f, "# bash completion for graft; written by `graft completion bash`.\n_graft()\n{\n    local "
           "word=${COMP_WORDS[COMP_CWORD]} words='' spec=0 files=0 key=''\n    COMPREPLY=()\n    if [ \"$COMP_CWORD\" "
           "-le 1 ]; then\n        words='");
    print_commands(f);
    fprintf(f, " help --help --version'\n        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n        "
           "return\n    fi\n    # bash takes = for a word of its own.\n    [ \"$word\" = = ] && { "
           "key=${COMP_WORDS[COMP_CWORD-1]}; word=''; }\n    [ \"${COMP_WORDS[COMP_CWORD-1]}\" = = ] && "
           "key=${COMP_WORDS[COMP_CWORD-2]}\n    case $key in\n    '') ;;\n");
    print_key_cases(f);
    fprintf(f, "    esac\n    case \"${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}\" in\n");
    for (int i = 0; cli_commands[i]; i++) {
        print_value_cases(f, cli_commands[i]->name, cli_commands[i]->options);
        if (cli_commands[i]->spec != CLI_SPEC_NONE) print_value_cases(f, cli_commands[i]->name, cli_spec_options);
        print_value_cases(f, cli_commands[i]->name, cli_common_options);
    }
    fprintf(f, "    esac\n    if [ \"$files\" = 1 ]; then\n        COMPREPLY=($(compgen -f -- \"$word\"))\n        "
           "return\n    fi\n    if [ -n \"$words\" ]; then\n        COMPREPLY=($(compgen -W \"$words\" -- "
           "\"$word\"))\n        return\n    fi\n    case ${COMP_WORDS[1]} in\n");
    print_command_cases(f);
    fprintf(f, "    help) words='");
    print_commands(f);
    fprintf(f, "' ;;\n    esac\n    [ \"${COMP_WORDS[1]}\" = spec ] && words=\"$words");
    for (int i = 0; model_table[i].name; i++) fprintf(f, " %s", model_table[i].name);
    fprintf(f, "\"\n    [ \"${COMP_WORDS[1]}\" = completion ] && words=\"$words bash\"\n"
           "    if [ \"$spec\" = 1 ] && [ \"${word#-}\" = \"$word\" ]; then\n        words=\"$words");
    for (int32_t i = 0; i < option_count; i++) fprintf(f, " %s.%s=", option_table[i].section, option_table[i].key);
    fprintf(f,
        "\"\n    fi\n    COMPREPLY=($(compgen -W \"$words\" -- \"$word\") $(compgen -f -- \"$word\"))\n    [ "
        "\"${#COMPREPLY[@]}\" = 1 ] && [ \"${COMPREPLY[0]%%=}\" != \"${COMPREPLY[0]}\" ] && compopt -o "
        "nospace\n}\ncomplete -o filenames -F _graft graft\n");
}

static status run(cli_context *c)
{
    if (strcmp(c->arguments[0], "bash") != 0)
        return FAIL(E_USAGE, "no completion for %s: expected bash", c->arguments[0]);
    return cli_print_text(c, print_script);
}

const cli_command command_completion = {
    .name = "completion",
    .summary = "print the shell completion: graft completion bash",
    .arguments = "bash",
    .least = 1,
    .most = 1,
    .description = "Try it with: source <(graft completion bash)",
    .run = run,
};
