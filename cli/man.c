#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/base/version.h"

/* Text for roff: no escapes, no requests by accident, and a hyphen that can be copied. */
static void text(FILE *f, const char *s)
{
    bool line_start = true;
    for (; *s; s++) {
        if (line_start && (*s == '.' || *s == '\'')) fputs("\\&", f);
        if (*s == '\\') fputs("\\e", f);
        else if (*s == '-') fputs("\\-", f);
        else fputc(*s, f);
        line_start = *s == '\n';
    }
}

static void line(FILE *f, const char *s)
{
    text(f, s);
    fputc('\n', f);
}

static void print_options(FILE *f, const cli_option *o)
{
    for (; o && o->name; o++) {
        fputs(".TP\n.B ", f);
        if (o->short_name) {
            text(f, o->short_name);
            fputs(", ", f);
        }
        text(f, o->name);
        if (o->argument) fprintf(f, " \\fI%s%s\\fR", o->argument, o->many ? "..." : "");
        fputc('\n', f);
        text(f, o->help);
        if (o->target && strcmp(o->target, "spec") != 0) {
            fputs(" (sets ", f);
            text(f, o->target);
            fputc(')', f);
        }
        fputs(".\n", f);
    }
}

static void print_command(FILE *f, const cli_command *command)
{
    fputs(".SS graft ", f);
    line(f, command->name);
    fputs(".B graft ", f);
    text(f, command->name);
    fputs(" [options]", f);
    if (command->arguments && *command->arguments) {
        fputc(' ', f);
        text(f, command->arguments);
    }
    if (command->spec != CLI_SPEC_NONE) fputs(" [section.key=value ...]", f);
    fputs("\n.PP\n", f);
    fputs("To ", f);
    text(f, command->summary);
    fputs(".\n", f);
    if (command->description) line(f, command->description);
    print_options(f, command->options);
}

static void print_section(FILE *f, const option_section *section)
{
    fprintf(f, ".SS [%s]\n", section->name);
    line(f, section->help);
    for (int32_t row = section->first; row < section->first + section->count; row++) {
        const option *o = &option_table[row];
        char expected[256];
        option_expectation(o, expected);
        fputs(".TP\n.B ", f);
        text(f, o->key);
        if (*o->default_text) {
            fputs(" = ", f);
            text(f, o->default_text);
        }
        fputc('\n', f);
        text(f, o->help);
        fputs(" (", f);
        text(f, expected);
        fputs(").\n", f);
    }
}

static void print_page(FILE *f)
{
    fputs(".TH GRAFT 1 \"\" \"Graft " GRAFT_VERSION "\" \"User Commands\"\n.SH NAME\ngraft \\- train, prune, quantise "
          "and run vision networks\n.SH SYNOPSIS\n.B graft\n\\fICOMMAND\\fR [options] [arguments] [section.key=value "
          "...]\n.SH DESCRIPTION\nOne INI file, the spec, describes a run; one program trains, evaluates, prunes, "
          "retrains, calibrates, exports and\nruns the model. Every value of the spec can be overridden on the command "
          "line as section.key=value.\n.SH COMMANDS\n",
        f);
    for (int i = 0; cli_commands[i]; i++) print_command(f, cli_commands[i]);
    fputs(".SH OPTIONS OF EVERY COMMAND\n", f);
    print_options(f, cli_common_options);
    fputs(".SH OPTIONS OF COMMANDS WITH A SPEC\n", f);
    print_options(f, cli_spec_options);
    fputs(".SH SPEC\n", f);
    for (int32_t i = 0; i < option_section_count; i++) print_section(f, &option_sections[i]);
    fputs(".SH EXIT STATUS\n.nf\n", f);
    text(f, cli_exit_codes());
    fputs(".fi\n.SH ENVIRONMENT\n.TP\n.B GRAFT_VERBOSE=1\nAs \\-\\-verbose.\n"
          ".TP\n.B GRAFT_CPU_ISA=base|avx2|avx512\nThe widest instructions that the CPU's kernels and oneDNN may use.\n"
          ".TP\n.B GRAFT_NO_GRAPH=1\nOn a GPU, steps are not replayed as CUDA graphs.\n"
          ".SH FILES\n.TP\n.I $XDG_CACHE_HOME/graft\nor ~/.cache/graft: what graft bench \\-\\-tune has found, a file "
          "per GPU.\n",
        f);
}

static status run(cli_context *c)
{
    return cli_print_text(c, print_page);
}

const cli_command command_man = {
    .name = "man",
    .summary = "print the man page in roff",
    .description = "Read it with: graft man | man -l -",
    .run = run,
};
