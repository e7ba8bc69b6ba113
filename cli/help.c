#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/base/text.h"
#include "core/base/version.h"

const char *cli_exit_codes(void)
{
    return "0    fine\n"
           "1    internal error\n"
           "2    command line or spec\n"
           "3    data set, images or labels\n"
           "4    model, engine or cache file rejected\n"
           "5    device or driver\n"
           "6    out of memory\n"
           "7    training diverged (NaN or Inf)\n"
           "8    a quality gate was not met\n"
           "9    a file could not be read or written\n"
           "75   temporary: resume\n"
           "130  stopped by Ctrl-C after a checkpoint (SIGTERM: 143)\n";
}

enum { HELP_COLUMNS = 110, OPTION_INDENT = 37, KEY_INDENT = 45 };

/* Text that begins at column `indent`, where its other lines begin too. */
static void print_folded(FILE *stream, const char *text, int indent)
{
    for (bool first = true; *text; first = false) {
        size_t length = text_fold(text, (size_t)(HELP_COLUMNS - indent));
        fprintf(stream, "%*s%.*s\n", first ? 0 : indent, "", (int)length, text);
        text += length;
        text += *text == '\n' ? 1 : strspn(text, " ");
    }
}

static void print_options(FILE *stream, const cli_option *o)
{
    for (; o && o->name; o++) {
        char left[80], help[512];
        int used = snprintf(left, sizeof left, "%s%s%s", o->short_name ? o->short_name : "", o->short_name ? ", " : "",
                            o->name);
        if (o->argument && used < (int)sizeof left)
            snprintf(left + used, sizeof left - (size_t)used, " %s%s", o->argument, o->many ? "..." : "");
        bool sets = o->target && strcmp(o->target, "spec") != 0;
        snprintf(help, sizeof help, "%s%s%s%s", o->help, sets ? " (" : "", sets ? o->target : "", sets ? ")" : "");
        fprintf(stream, "  %-*s ", OPTION_INDENT - 3, left);
        print_folded(stream, help, OPTION_INDENT);
    }
}

static void print_indented(FILE *stream, const char *lines)
{
    while (*lines) {
        size_t length = strcspn(lines, "\n");
        fprintf(stream, "  %.*s\n", (int)length, lines);
        lines += length + (lines[length] == '\n');
    }
}

void cli_help_overview(FILE *stream)
{
    fputs("Graft " GRAFT_VERSION ": train, prune, quantise and run vision networks.\n\n"
          "usage: graft COMMAND [options] [arguments] [section.key=value ...]\n\ncommands:\n", stream);
    for (int i = 0; cli_commands[i]; i++)
        fprintf(stream, "  %-12s %s\n", cli_commands[i]->name, cli_commands[i]->summary);
    fputs("\noptions of every command:\n", stream);
    print_options(stream, cli_common_options);
    fputs("  --version                          version and libraries\n\n"
          "`graft COMMAND --help` says more; `graft spec resnet18` writes a complete spec with comments.\n\n"
          "exit codes:\n", stream);
    print_indented(stream, cli_exit_codes());
}

static void print_section(FILE *stream, const option_section *section)
{
    fprintf(stream, "\n[%s] %s\n", section->name, section->help);
    for (int32_t row = section->first; row < section->first + section->count; row++) {
        const option *o = &option_table[row];
        char name[96], expected[256];
        option_expectation(o, expected);
        snprintf(name, sizeof name, "%s.%s=%s", o->section, o->key, o->default_text);
        fprintf(stream, "  %-*s ", KEY_INDENT - 3, name);
        print_folded(stream, o->help, KEY_INDENT);
        fprintf(stream, "%*s(%s)\n", KEY_INDENT, "", expected);
    }
}

void cli_help_command(FILE *stream, const cli_command *command)
{
    bool reads_spec = command->spec != CLI_SPEC_NONE;
    fprintf(stream, "graft %s: %s\n\nusage: graft %s [options]%s%s%s\n", command->name, command->summary, command->name,
            command->arguments && *command->arguments ? " " : "", command->arguments ? command->arguments : "",
            reads_spec ? " [section.key=value ...]" : "");
    if (command->description) {
        fputc('\n', stream);
        print_folded(stream, command->description, 0);
    }
    fputs("\noptions:\n", stream);
    print_options(stream, command->options);
    if (reads_spec) print_options(stream, cli_spec_options);
    print_options(stream, cli_common_options);
    if (!reads_spec || !command->sections) return;
    fputs("\nOptions of the spec, with their defaults; in a file: [section] and key = value.\n", stream);
    for (int32_t i = 0; i < option_section_count; i++)
        if (text_has_word(command->sections, option_sections[i].name)) print_section(stream, &option_sections[i]);
}
