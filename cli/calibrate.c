#include "cli/cli.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .target = "export.model", .help = "model file to calibrate"},
    {"--output", "-o", "FILE", .target = "export.cache", .help = "calibration cache to write"},
    {.name = NULL},
};

static status run(cli_context *c)
{
    return FAIL(E_INTERNAL, "%s is not in this build yet", c->command->name);
}

const cli_command command_calibrate = {
    .name = "calibrate",
    .summary = "measure the ranges that INT8 needs",
    .arguments = "[MODEL]",
    .most = 1,
    .first_target = "export.model",
    .spec = CLI_SPEC_OPEN,
    .sections = "export data",
    .options = options,
    .run = run,
};
