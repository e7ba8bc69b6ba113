#include "cli/cli.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .target = "export.model", .help = "model file to export"},
    {"--output", "-o", "FILE", .target = "export.output", .help = "file to write"},
    {"--precision", NULL, "TYPE", .target = "export.precision", .help = "f32 or int8"},
    {.name = NULL},
};

static status run(cli_context *c)
{
    return FAIL(E_INTERNAL, "%s is not in this build yet", c->command->name);
}

const cli_command command_export = {
    .name = "export",
    .summary = "write an engine, in f32 or INT8",
    .arguments = "[MODEL]",
    .most = 1,
    .first_target = "export.model",
    .spec = CLI_SPEC_OPEN,
    .sections = "export data",
    .options = options,
    .run = run,
};
