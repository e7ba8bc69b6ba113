#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "models/models.h"

static void print_names(const cli_option *o)
{
    for (; o && o->name; o++) {
        printf(" %s", o->name);
        if (o->short_name) printf(" %s", o->short_name);
    }
}

static void print_commands(void)
{
    for (int i = 0; cli_commands[i]; i++) printf(" %s", cli_commands[i]->name);
}

/* One case per command: its options. */
static void print_command_cases(void)
{
    for (int i = 0; cli_commands[i]; i++) {
        const cli_command *command = cli_commands[i];
        printf("    %s) words='", command->name);
        print_names(command->options);
        if (command->spec != CLI_SPEC_NONE) print_names(cli_spec_options);
        print_names(cli_common_options);
        printf("'; spec=%d ;;\n", command->spec != CLI_SPEC_NONE);
    }
}

/* The choices of an enum, and of a switch, behind `section.key=`. */
static void print_choices(void)
{
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        if (o->type != OPTION_ENUM && o->type != OPTION_BOOL) continue;
        printf("    %s.%s) words='", o->section, o->key);
        for (const char *c = o->type == OPTION_BOOL ? "true|false" : o->choices; *c; c++) putchar(*c == '|' ? ' ' : *c);
        printf("' ;;\n");
    }
}

static status run(cli_context *c)
{
    if (strcmp(c->arguments[0], "bash") != 0)
        return FAIL(E_USAGE, "no completion for %s: expected bash", c->arguments[0]);
    c->json = false;
    printf("# bash completion for graft; written by `graft completion bash`.\n"
           "_graft()\n{\n"
           "    local word=${COMP_WORDS[COMP_CWORD]} words='' spec=0 key=''\n"
           "    COMPREPLY=()\n"
           "    if [ \"$COMP_CWORD\" -le 1 ]; then\n        words='");
    print_commands();
    printf(" help --help --version'\n"
           "        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n        return\n    fi\n"
           "    # bash takes = for a word of its own.\n"
           "    [ \"$word\" = = ] && { key=${COMP_WORDS[COMP_CWORD-1]}; word=''; }\n"
           "    [ \"${COMP_WORDS[COMP_CWORD-1]}\" = = ] && key=${COMP_WORDS[COMP_CWORD-2]}\n"
           "    case $key in\n    '') ;;\n");
    print_choices();
    printf("    esac\n"
           "    if [ -n \"$words\" ]; then\n"
           "        COMPREPLY=($(compgen -W \"$words\" -- \"$word\"))\n        return\n    fi\n"
           "    case ${COMP_WORDS[1]} in\n");
    print_command_cases();
    printf("    help) words='");
    print_commands();
    printf("' ;;\n    esac\n    [ \"${COMP_WORDS[1]}\" = spec ] && words=\"$words");
    for (int i = 0; model_table[i].name; i++) printf(" %s", model_table[i].name);
    printf("\"\n    [ \"${COMP_WORDS[1]}\" = completion ] && words=\"$words bash\"\n"
           "    if [ \"$spec\" = 1 ] && [ \"${word#-}\" = \"$word\" ]; then\n        words=\"$words");
    for (int32_t i = 0; i < option_count; i++) printf(" %s.%s=", option_table[i].section, option_table[i].key);
    printf("\"\n    fi\n"
           "    COMPREPLY=($(compgen -W \"$words\" -- \"$word\") $(compgen -f -- \"$word\"))\n"
           "    [ \"${#COMPREPLY[@]}\" = 1 ] && [ \"${COMPREPLY[0]%%=}\" != \"${COMPREPLY[0]}\" ] && compopt -o nospace\n"
           "}\n"
           "complete -o filenames -F _graft graft\n");
    return OK;
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
