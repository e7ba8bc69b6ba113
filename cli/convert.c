#include "cli/cli.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--output", "-o", "FILE", .help = "packed data set to write"},
    {"--lint", NULL, NULL, .help = "check every image and write nothing"},
    {.name = NULL},
};

static status run(cli_context *c)
{
    return FAIL(E_INTERNAL, "%s is not in this build yet", c->command->name);
}

const cli_command command_convert = {
    .name = "convert",
    .summary = "pack a data set, or check it",
    .arguments = "[SOURCE]",
    .most = 1,
    .first_target = "data.root",
    .spec = CLI_SPEC_OPEN,
    .sections = "data",
    .options = options,
    .run = run,
};
