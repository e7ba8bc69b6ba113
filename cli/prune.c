#include "cli/cli.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .target = "prune.model", .help = "model file to prune"},
    {"--pretrained-model", "-pm", "FILE", .target = "prune.model", .help = "the same"},
    {"--output", "-o", "FILE", .target = "prune.output", .help = "pruned model file"},
    {"--threshold", "-pth", "NUMBER", .target = "prune.threshold", .help = "filters with a normalised norm above it stay"},
    {"--equalization", "-eq", "HOW", .target = "prune.equalization",
     .help = "union, intersection, arithmetic_mean or geometric_mean"},
    {"--normalizer", "-n", "HOW", .target = "prune.normalizer", .help = "max, L2 or off"},
    {"--granularity", "-pg", "N", .target = "prune.granularity", .help = "filters are kept in multiples of it"},
    {"--min-filters", "-nf", "N", .target = "prune.min_filters", .help = "no layer falls below"},
    {"--excluded-layers", "-el", "LAYER", .target = "prune.excluded_layers", .many = true,
     .help = "layers left alone; a trailing * matches any rest"},
    {"--target", NULL, "T", .target = "prune.target", .help = "params:F or flops:F: keep this fraction"},
    {.name = NULL},
};

static status run(cli_context *c)
{
    return FAIL(E_INTERNAL, "%s is not in this build yet", c->command->name);
}

const cli_command command_prune = {
    .name = "prune",
    .summary = "cut the least useful filters out of a model",
    .arguments = "[MODEL]",
    .most = 1,
    .first_target = "prune.model",
    .description = "The flags -m -o -n -eq -pg -pth -nf -el -v mean what they mean to tlt-prune.",
    .spec = CLI_SPEC_OPEN,
    .sections = "prune data",
    .options = options,
    .run = run,
};
