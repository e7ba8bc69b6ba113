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

const cli_command command_evaluate = {
    .name = "evaluate",
    .summary = "measure a model or an engine on a data set",
    .arguments = "[MODEL]",
    .most = 1,
    .spec = CLI_SPEC_OPEN,
    .sections = "data train",
    .stops_on_signal = true,
    .options = options,
    .run = run,
};
