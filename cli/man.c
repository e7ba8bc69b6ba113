#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/base/version.h"

/* Text for roff: no escapes, no requests by accident, and a hyphen that can be copied. */
static void text(const char *s)
{
    bool line_start = true;
    for (; *s; s++) {
        if (line_start && (*s == '.' || *s == '\'')) fputs("\\&", stdout);
        if (*s == '\\') fputs("\\e", stdout);
        else if (*s == '-') fputs("\\-", stdout);
        else putchar(*s);
        line_start = *s == '\n';
    }
}

static void line(const char *s)
{
    text(s);
    putchar('\n');
}

static void print_options(const cli_option *o)
{
    for (; o && o->name; o++) {
        fputs(".TP\n.B ", stdout);
        if (o->short_name) {
            text(o->short_name);
            fputs(", ", stdout);
        }
        text(o->name);
        if (o->argument) printf(" \\fI%s%s\\fR", o->argument, o->many ? "..." : "");
        putchar('\n');
        text(o->help);
        if (o->target && strcmp(o->target, "spec") != 0) {
            fputs(" (sets ", stdout);
            text(o->target);
            putchar(')');
        }
        puts(".");
    }
}

static void print_command(const cli_command *command)
{
    fputs(".SS graft ", stdout);
    line(command->name);
    fputs(".B graft ", stdout);
    text(command->name);
    fputs(" [options]", stdout);
    if (command->arguments && *command->arguments) {
        putchar(' ');
        text(command->arguments);
    }
    if (command->spec != CLI_SPEC_NONE) fputs(" [section.key=value ...]", stdout);
    fputs("\n.PP\n", stdout);
    fputs("To ", stdout);
    text(command->summary);
    puts(".");
    if (command->description) line(command->description);
    print_options(command->options);
}

static void print_section(const option_section *section)
{
    printf(".SS [%s]\n", section->name);
    line(section->help);
    for (int32_t row = section->first; row < section->first + section->count; row++) {
        const option *o = &option_table[row];
        char expected[256];
        option_expectation(o, expected);
        fputs(".TP\n.B ", stdout);
        text(o->key);
        if (*o->default_text) {
            fputs(" = ", stdout);
            text(o->default_text);
        }
        putchar('\n');
        text(o->help);
        fputs(" (", stdout);
        text(expected);
        puts(").");
    }
}

static status run(cli_context *c)
{
    c->json = false;
    puts(".TH GRAFT 1 \"\" \"Graft " GRAFT_VERSION "\" \"User Commands\"\n"
         ".SH NAME\ngraft \\- train, prune, quantise and run vision networks\n"
         ".SH SYNOPSIS\n.B graft\n\\fICOMMAND\\fR [options] [arguments] [section.key=value ...]\n"
         ".SH DESCRIPTION\n"
         "One INI file, the spec, describes a run; one program trains, evaluates, prunes, retrains, calibrates, exports and\n"
         "runs the model. Every value of the spec can be overridden on the command line as section.key=value.\n"
         ".SH COMMANDS");
    for (int i = 0; cli_commands[i]; i++) print_command(cli_commands[i]);
    puts(".SH OPTIONS OF EVERY COMMAND");
    print_options(cli_common_options);
    puts(".SH OPTIONS OF COMMANDS WITH A SPEC");
    print_options(cli_spec_options);
    puts(".SH SPEC");
    for (int32_t i = 0; i < option_section_count; i++) print_section(&option_sections[i]);
    puts(".SH EXIT STATUS\n.nf");
    text(cli_exit_codes());
    puts(".fi\n.SH ENVIRONMENT\n.TP\n.B GRAFT_VERBOSE=1\nAs \\-\\-verbose.");
    return OK;
}

const cli_command command_man = {
    .name = "man",
    .summary = "print the man page in roff",
    .description = "Read it with: graft man | man -l -",
    .run = run,
};
