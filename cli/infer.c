#include "cli/cli.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .help = "model or engine file"},
    {"--output", "-o", "FOLDER", .help = "folder for the annotated images"},
    {.name = NULL},
};

static status run(cli_context *c)
{
    return FAIL(E_INTERNAL, "%s is not in this build yet", c->command->name);
}

const cli_command command_infer = {
    .name = "infer",
    .summary = "classify images with a model or an engine",
    .arguments = "[MODEL] IMAGE...",
    .least = 1,
    .most = -1,
    .spec = CLI_SPEC_OPEN,
    .sections = "infer",
    .stops_on_signal = true,
    .options = options,
    .run = run,
};
