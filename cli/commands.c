#include <string.h>

#include "cli/cli.h"

#define COMMANDS(ROW)                                                                                                  \
    ROW(train)                                                                                                         \
    ROW(evaluate) ROW(infer) ROW(prune) ROW(export) ROW(calibrate) ROW(convert) ROW(anchors) ROW(import)          \
        ROW(inspect) ROW(spec) ROW(doctor) ROW(bench) ROW(completion) ROW(man)

#define DECLARE(name) extern const cli_command command_##name;
COMMANDS(DECLARE)

#define ADDRESS(name) &command_##name,
const cli_command *const cli_commands[] = {COMMANDS(ADDRESS) NULL};

const cli_option cli_common_options[] = {
    {"--json", NULL, NULL, .help = "the result as one JSON object on stdout"},
    {"--log-file", NULL, "FILE", .help = "append what is said to FILE as well"},
    {"--quiet", "-q", NULL, .help = "no progress: results, warnings and errors only"},
    {"--verbose", "-v", NULL, .help = "say more; GRAFT_VERBOSE=1 does the same"},
    {"--help", "-h", NULL, .help = "this help"},
    {.name = NULL},
};

const cli_option cli_spec_options[] = {
    {"--device", NULL, "DEVICE", .target = "train.device", .help = "auto, cpu or cuda"},
    {.name = NULL},
};

const cli_command *cli_command_find(const char *name)
{
    for (int i = 0; cli_commands[i]; i++)
        if (strcmp(cli_commands[i]->name, name) == 0) return cli_commands[i];
    return NULL;
}
