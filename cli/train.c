#include <inttypes.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/network.h"
#include "core/base/text.h"
#include "core/config/recipe.h"
#include "core/dist/comm_shm.h"
#include "core/train/trainer.h"
#include "export/qat.h"
#include "models/import/match.h"
#include "models/models.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--data", "-d", "PATH", .target = "data.root", .help = "data set: class folders, a table or a packed one"},
    {"--output", "-o", "FOLDER", .target = "train.output", .help = "folder for checkpoints, logs and the report"},
    {"--model", "-m", "FILE", .target = "model.pretrained",
        .help = "model to start from: Graft's, safetensors or PyTorch"},
    {"--resume", NULL, NULL, .help = "go on from the checkpoint in the output folder; without one there, start"},
    {"--ranks", NULL, "NUMBER",
        .help = "processes of this machine that train together, each on its part of a batch (a GPU each; on the CPU "
                "they share the processors); default 1"},
    {"--overwrite", NULL, NULL, .help = "start anew although the output folder holds a checkpoint"},
    {.name = NULL},
};

static int asked_to_stop(void *context)
{
    return (int)*((const cli_context *)context)->stop;
}

static void print_summary(const cli_context *c, const trainer_summary *s)
{
    char spent[32], text[24];
    format_duration(s->seconds, spent);
    cli_print(c, "%s: step %" PRId64 " of %" PRId64 " in %s%s\n", s->finished ? "finished" : "stopped", s->step,
        s->total_steps, spent, s->stopped_early ? " (early stopping)" : "");
    if (s->figure_count > 0 && !isnan(s->value[0])) {
        cli_print(c, "val:");
        for (int32_t k = 0; k < s->figure_count; k++) {
            int32_t i = s->order[k];
            cli_print(c, "%s %s %s", k ? " " : "", s->figure[i].label, figure_text(&s->figure[i], s->value[i], text));
        }
        cli_print(c, "\n");
    }
    if (s->best_step >= 0)
        cli_print(c, "best: %s %s at step %" PRId64 ": %s\n", s->figure[0].label,
            figure_text(&s->figure[0], s->best_criterion, text), s->best_step, s->best_path);
    if (s->bad_steps > 0) cli_print(c, "%" PRId64 " updates were refused because of NaN or Inf\n", s->bad_steps);
    if (s->replaced_images > 0)
        cli_print(c, "%" PRId64 " images could not be read although they could at the start: others took their place\n",
            s->replaced_images);
    cli_print(c, "last: %s\nreport: %s\n", s->last_path, s->report_path);
}

static status spec_text(cli_context *c, char **text)
{
    size_t bytes;
    FILE *f = open_memstream(text, &bytes);
    if (!f) return FAIL_MEMORY(1);
    status result = config_dump(&c->config, f, false);
    if (fclose(f) != 0 && result == OK) result = FAIL_MEMORY(1);
    return result;
}

static void print_recipe(const cli_context *c)
{
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        if (strcmp(c->config.origin[i], recipe_origin) != 0 || strcmp(o->key, "recipe") == 0) continue;
        cli_print(c, "transfer recipe: %s.%s = %s\n", o->section, o->key, c->config.text[i]);
    }
}

/* What a network that comes as a whole was built with, so that the spec in the new model tells. */
static status adopt_network(cli_context *c, const weights *w)
{
    const char *text = safetensors_meta(&w->st, "graft.spec");
    if (!text || !*text || !c->config.spec.model.load_graph) return OK;
    return cli_adopt_spec(c, text,
        CLI_HEAD_SECTIONS
        " model.arch model.head model.stem model.width model.all_projections model.bottleneck_stride model.padding "
        "model.use_batch_norm model.use_bias model.use_pooling model.dropout model.bn_momentum model.bn_epsilon",
        c->config.spec.model.pretrained);
}

/* What the weights' file says about its images counts where the user said nothing: else they would
 * see other images than they know. */
static status adopt_metadata(cli_context *c)
{
    const char *path = c->config.spec.model.pretrained;
    weights_kind kind;
    weights w;
    TRY(models_split_arch(&c->config));
    if (!*path || !file_exists(path)) return OK; /* the trainer says so */
    TRY(weights_detect(path, &kind));
    if (kind != WEIGHTS_SAFETENSORS && kind != WEIGHTS_GRAFT) return OK;
    TRY(weights_open(&w, path, NULL));
    status result = weights_adopt_metadata(&w, &c->config);
    if (result == OK) weights_list_adopted(&c->config, &c->log);
    if (result == OK) result = adopt_network(c, &w);
    weights_close(&w);
    return result;
}

static status train(cli_context *c)
{
    char *text = NULL;
    trainer_summary summary = {0};
    TRY(adopt_metadata(c));
    TRY(cli_finish_spec(c));
    c->log.period_seconds = c->config.spec.train.log_period;
    print_recipe(c);
    status result = spec_text(c, &text);
    if (result == OK)
        result = trainer_run(&(trainer_options){.spec = &c->config.spec,
                                 .spec_text = text,
                                 .task = task_find(models_task(&c->config.spec.model)),
                                 .build = models_build,
                                 .transfer = weights_transfer,
                                 .fake_quantise = qat_insert,
                                 .resume = cli_is_given(c, "--resume"),
                                 .overwrite = cli_is_given(c, "--overwrite"),
                                 .stop = asked_to_stop,
                                 .stop_context = c,
                                 .log = &c->log},
            &summary);
    free(text);
    if (summary.train_images > 0) {
        json_key(&c->result, "train");
        trainer_summary_write(&summary, &c->result);
    }
    if (result == OK) print_summary(c, &summary);
    return result;
}

/* Rank 0 is this process: the others' results and lines are the same, and say nothing. */
static status start_ranks(cli_context *c, int32_t *rank)
{
    const char *text = cli_value(c, "--ranks");
    int64_t count = 1;
    *rank = 0;
    if (text && (!text_to_int(text, &count) || count < 1 || count > COMM_SHM_MAX_RANKS))
        return FAIL(E_USAGE, "--ranks %s: expected a number from 1 to %d", text, COMM_SHM_MAX_RANKS);
    TRY(comm_shm_launch((int32_t)count, rank));
    c->log.rank = *rank;
    if (*rank > 0 && !freopen("/dev/null", "w", stdout)) return FAIL(E_IO, "/dev/null: %s", strerror(errno));
    return OK;
}

static status run(cli_context *c)
{
    int32_t rank;
    TRY(start_ranks(c, &rank));
    status result = train(c);
    if (rank > 0 || !cli_is_given(c, "--ranks")) return result;
    char *why = result == OK ? NULL : strdup(status_message());
    status others = comm_shm_wait();
    /* That another rank was lost may be tried again, but not what that one could not do. */
    if (result == E_TEMPORARY && others != OK && others != E_TEMPORARY) {
        free(why);
        return others;
    }
    if (why) result = FAIL(result, "%s", why);
    free(why);
    return result == OK ? others : result;
}

const cli_command command_train = {
    .name = "train",
    .summary = "train a network on a spec",
    .arguments = "[SPEC]",
    .most = 1,
    .first_target = "spec",
    .description =
        "Writes last, last-1 and best (a model and a state file each), log.csv, events/ for TensorBoard and "
        "report.html into train.output. Ctrl-C saves a checkpoint; the same command with --resume goes on to the bits "
        "of a run that was never stopped.",
    .spec = CLI_SPEC_OPEN,
    .sections = CLI_MODEL_SECTIONS " data augment transfer train optimizer schedule qat",
    .stops_on_signal = true,
    .options = options,
    .run = run,
};
