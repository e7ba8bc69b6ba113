#include "cli/cli.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--output", "-o", "FOLDER", .target = "train.output", .help = "folder for checkpoints, logs and the report"},
    {"--model", "-m", "FILE", .target = "model.pretrained", .help = "model file to start from"},
    {.name = NULL},
};

static status run(cli_context *c)
{
    return FAIL(E_INTERNAL, "%s is not in this build yet", c->command->name);
}

const cli_command command_train = {
    .name = "train",
    .summary = "train a network on a spec",
    .arguments = "[SPEC]",
    .most = 1,
    .first_target = "spec",
    .spec = CLI_SPEC_FINISHED,
    .sections = "model data augment train optimizer schedule",
    .stops_on_signal = true,
    .options = options,
    .run = run,
};
