#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "core/train/predictor.h"
#include "export/engine.h"
#include "export/runner.h"

enum { ROWS_PRINTED = 60 };

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .help = "model or engine file"},
    {"--data", "-d", "PATH", .target = "data.root", .help = "data set; default: that of the training"},
    {"--part", NULL, "PART", .help = "val (default), test or train"},
    {.name = NULL},
};

/* What the command works with; all of it zero at first. */
typedef struct work {
    model model;
    engine engine;
    dataset train, val, test;
    device *dev;
    predictor predictor;
    runner *runner;
    evaluation evaluation;
    const char *path;
} work;

static int asked_to_stop(void *context)
{
    return (int)*((const cli_context *)context)->stop;
}

/* What neither file nor command line has set is as it was in training. */
static status take_spec(cli_context *c, const char *text, const char *name)
{
    static const char *const places[] = {"root", "train", "val", "test"};
    bool other_data = false;
    config trained;
    if (!text || !text[0]) return OK;
    for (int i = 0; i < 4; i++) other_data |= config_is_set(&c->config, "data", places[i]);
    TRY(config_init(&trained));
    status result = config_read_text(&trained, text, strlen(text), name);
    for (int32_t i = 0; result == OK && i < option_count; i++) {
        const option *o = &option_table[i];
        bool place = false;
        for (int k = 0; k < 4; k++) place |= strcmp(o->section, "data") == 0 && strcmp(o->key, places[k]) == 0;
        if (config_is_set(&c->config, o->section, o->key) || !config_is_set(&trained, o->section, o->key)) continue;
        if (other_data && (place || (strcmp(o->section, "data") == 0 && strcmp(o->key, "format") == 0))) continue;
        result = config_set(&c->config, o->section, o->key, trained.text[i], name);
    }
    config_free(&trained);
    return result;
}

static status open_model(cli_context *c, work *w)
{
    const char *text = NULL;
    w->path = cli_value(c, "--model");
    if (!w->path && c->argument_count > 0) w->path = c->arguments[0];
    if (!w->path) return FAIL(E_USAGE, "no model or engine file given; `graft evaluate --help`");
    if (engine_is_engine(w->path)) {
        TRY(engine_load(&w->engine, w->path));
    } else {
        TRY(model_load(&w->model, w->path));
        text = w->model.spec_text;
    }
    TRY(take_spec(c, text, w->path));
    return cli_finish_spec(c);
}

static status open_data(cli_context *c, work *w, dataset **chosen)
{
    const spec *s = &c->config.spec;
    const char *part = cli_value(c, "--part");
    if (!part || strcmp(part, "val") == 0) *chosen = &w->val;
    else if (strcmp(part, "test") == 0) *chosen = &w->test;
    else if (strcmp(part, "train") == 0) *chosen = &w->train;
    else return FAIL(E_USAGE, "--part %s: expected val, test or train", part);
    TRY(dataset_open_parts(&s->data, (uint64_t)s->train.seed, &c->log, &w->train, &w->val, &w->test));
    if ((*chosen)->count == 0)
        return FAIL(E_DATA, "the data set has no %s part; choose another one with --part, or name it with data.%s=PATH",
            part ? part : "val", part ? part : "val");
    return OK;
}

static status run_engine(void *context, const batch *b, float *logits)
{
    return runner_run(((work *)context)->runner, logits, b->images, b->n);
}

static status judge(cli_context *c, work *w)
{
    const spec *s = &c->config.spec;
    dataset *data;
    bool is_engine = w->engine.class_count > 0;
    const char *const *class_name = is_engine ? w->engine.class_name : w->model.class_name;
    int64_t class_count = is_engine ? w->engine.class_count : w->model.class_count;
    int64_t batch_size = s->train.batch_size > 0 ? s->train.batch_size : 32;
    evaluation_options o = {.stop = asked_to_stop, .stop_context = c, .what = "evaluate", .log = &c->log};
    TRY(open_data(c, w, &data));
    TRY(check_same_classes(data, class_name, class_count, w->path));
    TRY(device_open(&w->dev, s->train.device, 0, (int32_t)s->train.threads, &c->log));
    if (is_engine) {
        TRY(runner_create(&w->runner, &w->engine.graph, w->dev, batch_size));
        o.predict = run_engine;
        o.context = w;
    } else {
        TRY(predictor_open(&w->predictor, &w->model.graph, w->dev, batch_size));
        o.predict = predictor_predict;
        o.context = &w->predictor;
    }
    TRY(evaluation_init(&w->evaluation, class_count, s->train.top_k, s->train.loss, 0));
    TRY(evaluate_dataset(&w->evaluation, data, is_engine ? &w->engine.preprocess : &w->model.preprocess, s, batch_size, o));
    json_key(&c->result, "evaluation");
    evaluation_write(&w->evaluation, &c->result, class_name);
    if (c->json) return OK;
    cli_print(c, "%s on %s: %.0f images/s\n", w->path, data->path, (double)w->evaluation.metrics.count / w->evaluation.seconds);
    return evaluation_print(&w->evaluation, stdout, class_name, ROWS_PRINTED);
}

static void close_all(work *w)
{
    evaluation_free(&w->evaluation);
    predictor_close(&w->predictor);
    runner_destroy(w->runner);
    device_close(w->dev);
    dataset_close(&w->train);
    dataset_close(&w->val);
    dataset_close(&w->test);
    engine_free(&w->engine);
    model_free(&w->model);
}

static status run(cli_context *c)
{
    work w = {0};
    c->log.period_seconds = 10;
    status result = open_model(c, &w);
    if (result == OK) result = judge(c, &w);
    close_all(&w);
    return result;
}

const cli_command command_evaluate = {
    .name = "evaluate",
    .summary = "measure a model or an engine on a data set",
    .arguments = "[MODEL]",
    .most = 1,
    .description = "Data set, split and seed are those of the training unless the spec or the command line names others; "
                   "preprocessing and classes are the model's own. Prints loss, top-1 and top-k accuracy, precision, recall and F1 "
                   "of every class, and the confusion matrix.",
    .spec = CLI_SPEC_OPEN,
    .sections = "data train",
    .stops_on_signal = true,
    .options = options,
    .run = run,
};
