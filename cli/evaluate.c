#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/network.h"
#include "core/base/file.h"
#include "core/task/evaluator.h"
#include "core/base/utf8.h"
#include "core/data/classes.h"
#include "core/data/readers/readers.h"

enum { ROWS_PRINTED = 60 };

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .help = "model or engine file"},
    {"--source", NULL, "FILE", .help = "refuse the engine unless it was made from this model file"},
    CLI_DATA_OPTION,
    {"--part", NULL, "PART",
        .help = "val, test, train, or all: the path as it is. Default: val, or the one part that is there"},
    {.name = NULL},
};

/* What the command works with; all of it zero at first. */
typedef struct work {
    network network;
    dataset data;
    dataset_share share;
    device *dev;
    evaluation evaluation;
    const char *path;
} work;

static const char *const fixed_keys[5] = {"preprocess", "resize", "interpolation", "crop_fraction", "crop_size"};

static int asked_to_stop(void *context)
{
    return (int)*((const cli_context *)context)->stop;
}

/* What the network has fixed is not chosen here. A value that the user gave and that
 * differs is named, not passed over. */
static status warn_of_preprocess(cli_context *c, const preprocess *own, const bool asked[5])
{
    preprocess wanted;
    TRY(preprocess_from_spec(&wanted, &c->config.spec.model, &c->config.spec.data));
    bool same_pixels = wanted.bgr == own->bgr;
    for (int k = 0; k < own->channels; k++)
        same_pixels = same_pixels && wanted.mean[k] == own->mean[k] && wanted.std[k] == own->std[k];
    const bool differs[5] = {!same_pixels, wanted.resize != own->resize, wanted.interpolation != own->interpolation,
                             wanted.crop_fraction != own->crop_fraction, wanted.crop_size != own->crop_size};
    for (int k = 0; k < 5; k++)
        if (asked[k] && differs[k])
            log_warn(&c->log, "data.%s is not what the network was trained with: its own is used", fixed_keys[k]);
    return OK;
}

static status finish_spec(cli_context *c, const network *n, const char *path)
{
    bool asked[5];
    char channels[8];
    for (int k = 0; k < 5; k++) asked[k] = config_is_set(&c->config, "data", fixed_keys[k]);
    if (!n->is_engine) TRY(cli_adopt_spec(c, n->model.spec_text, CLI_MODEL_SECTIONS " data train evaluate", path));
    snprintf(channels, sizeof channels, "%d", (int)n->preprocess->channels);
    TRY(config_set(&c->config, "model", "channels", channels, "the network"));
    TRY(cli_finish_spec(c));
    return warn_of_preprocess(c, n->preprocess, asked);
}

static status open_network(cli_context *c, work *w)
{
    const spec *s = &c->config.spec;
    w->path = cli_value(c, "--model");
    if (!w->path && c->argument_count > 0) w->path = c->arguments[0];
    if (!w->path) return FAIL(E_USAGE, "no model or engine file given; try graft evaluate --help");
    TRY(device_open(&w->dev, s->train.device, 0, (int32_t)s->train.threads, &c->log));
    TRY(network_open(&w->network, w->path, NULL, w->dev, s->train.batch_size > 0 ? s->train.batch_size : 32));
    TRY(network_check_source(&w->network, w->path, cli_value(c, "--source")));
    return finish_spec(c, &w->network, w->path);
}

/* The whole path, no split. */
static status open_all(cli_context *c, work *w)
{
    const char *path = c->config.spec.data.root;
    if (!*path) return FAIL(E_USAGE, "--part all needs --data PATH");
    TRY(dataset_open_path(&w->data, path, &w->share));
    if (w->data.class_count == 0)
        return FAIL(E_DATA, "%s: images without classes: nothing can be measured on them", path);
    return OK;
}

static status open_part(cli_context *c, work *w, const char *part)
{
    const spec *s = &c->config.spec;
    bool saw;
    dataset_ask ask = ASK_TRAIN;
    TRY(network_saw_data(&w->network, &s->data, &saw));
    if (!part) ask = saw ? ASK_UNSEEN : ASK_ANY;
    else
        while (ask <= ASK_TEST && strcmp(part, part_name((dataset_part)ask)) != 0) ask++;
    if (part && ask > ASK_TEST) return FAIL(E_USAGE, "--part %s: expected val, test, train or all", part);
    return dataset_open_part(&w->data, &s->data, (uint64_t)s->train.seed, ask, &w->share);
}

static status open_data(cli_context *c, work *w)
{
    const char *part = cli_value(c, "--part");
    const network *n = &w->network;
    TRY(part && strcmp(part, "all") == 0 ? open_all(c, w) : open_part(c, w, part));
    class_names_warn(w->data.class_name, w->data.class_count, w->data.path, &c->log);
    return dataset_match_classes(&w->data, n->class_name, n->class_count, w->path, &c->log);
}

/* Which images the figures are of. */
static void say_share(cli_context *c, const work *w)
{
    const dataset_share *share = &w->share;
    json_writer *j = &c->result;
    json_key(j, "part"), json_put_string(j, share->part == PART_WHOLE ? "all" : part_name(share->part));
    json_key(j, "set_aside"), json_put_bool(j, share->set_aside);
    json_key(j, "scored"), json_put_int(j, w->data.count);
    json_key(j, "of"), json_put_int(j, share->total);
    int64_t count = w->data.count, total = share->total;
    if (count == total) cli_print(c, "scored all %" PRId64 " images\n", count);
    else
        cli_print(c, "scored %" PRId64 " of %" PRId64 " images: the %s part%s\n", count, total, part_name(share->part),
            share->set_aside ? ", as training splits the images (data.val_fraction, train.seed)" : "");
}

/* Size and speed: what a table of stages needs. */
static status put_figures(cli_context *c, const work *w)
{
    const network *n = &w->network;
    const graph *g = n->is_engine ? &n->engine.graph : &n->model.graph;
    int64_t bytes, mtime_ns, batch_size = g->edges[g->inputs[0]].shape.dim[0];
    TRY(file_info(w->path, &bytes, &mtime_ns));
    const char *const keys[] = {"parameters", "macs", "bytes"};
    const int64_t values[] = {network_parameters(n), graph_macs(g) / batch_size, bytes};
    for (int i = 0; i < 3; i++) {
        json_key(&c->result, keys[i]);
        json_put_int(&c->result, values[i]);
    }
    json_key(&c->result, "images_per_second");
    json_put_number(&c->result, (double)w->evaluation.images / w->evaluation.seconds);
    return OK;
}

static status judge(cli_context *c, work *w)
{
    const spec *s = &c->config.spec;
    const network *n = &w->network;
    evaluation_options o = {.run = network_predict, .context = &w->network, .stop = asked_to_stop, .stop_context = c,
                            .what = "evaluate", .log = &c->log};
    TRY(open_data(c, w));
    const task_setting t = {.task = n->task, .spec = s, .class_name = n->class_name, .class_count = n->class_count,
        .preprocess = n->preprocess, .data = &w->data};
    TRY(evaluation_init(&w->evaluation, &t, n->is_engine ? &n->engine.graph : &n->graph, 0));
    TRY(evaluate_dataset(&w->evaluation, runner_max_batch(n->runner), o));
    TRY(put_figures(c, w));
    if (!c->json)
        cli_print(c, "%s on %s: %.0f images/s\n", w->path, utf8_escaped(&c->memory, w->data.path),
            (double)w->evaluation.images / w->evaluation.seconds);
    say_share(c, w);
    json_key(&c->result, "evaluation");
    evaluation_write(&w->evaluation, &c->result);
    return c->json ? OK : evaluation_print(&w->evaluation, stdout, ROWS_PRINTED);
}

static status run(cli_context *c)
{
    work w = {0};
    status result = open_network(c, &w);
    if (result == OK) result = judge(c, &w);
    evaluation_free(&w.evaluation);
    network_close(&w.network);
    device_close(w.dev);
    dataset_close(&w.data);
    return result;
}

const cli_command command_evaluate = {
    .name = "evaluate",
    .summary = "measure a model or an engine on a data set",
    .arguments = "[MODEL]",
    .most = 1,
    .description = "Data set, split and seed are those of the training unless the spec or the command line names "
                   "others; one part of a data set is enough, and what has no parts is scored whole unless the network "
                   "was trained on it; preprocessing and classes are the model's own. Prints loss, top-1 and top-k "
                   "accuracy, precision, recall and F1 of every class, and the confusion matrix.",
    .spec = CLI_SPEC_OPEN,
    .sections = "data train evaluate",
    .stops_on_signal = true,
    .options = options,
    .run = run,
};
