#include "cli/cli.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .help = "model or engine file"},
    {.name = NULL},
};

static status run(cli_context *c)
{
    return FAIL(E_INTERNAL, "%s is not in this build yet", c->command->name);
}

const cli_command command_bench = {
    .name = "bench",
    .summary = "time a model or an engine",
    .arguments = "[MODEL]",
    .most = 1,
    .spec = CLI_SPEC_OPEN,
    .sections = "model",
    .options = options,
    .run = run,
};
