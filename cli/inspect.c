#include "cli/cli.h"

static const cli_option options[] = {
    {.name = NULL},
};

static status run(cli_context *c)
{
    return FAIL(E_INTERNAL, "%s is not in this build yet", c->command->name);
}

const cli_command command_inspect = {
    .name = "inspect",
    .summary = "say what is in a model, engine, cache or data set",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .options = options,
    .run = run,
};
