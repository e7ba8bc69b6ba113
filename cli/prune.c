#include "prune/policy.h"
#include "prune/prune.h"

#include <inttypes.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/export_images.h"
#include "cli/network.h"
#include "core/base/file.h"
#include "core/config/recipe.h"
#include "core/graph/transform.h"
#include "export/export.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .target = "prune.model", .help = "model file to prune"},
    {"--pretrained-model", "-pm", "FILE", .target = "prune.model", .help = "the same"},
    CLI_DATA_OPTION,
    {"--output", "-o", "FILE", .target = "prune.output", .help = "pruned model file"},
    {"--threshold", "-pth", "NUMBER", .target = "prune.threshold",
        .help = "filters with a normalised norm above it stay"},
    {"--equalization", "-eq", "HOW", .target = "prune.equalization",
        .help = "union, intersection, arithmetic_mean or geometric_mean"},
    {"--normalizer", "-n", "HOW", .target = "prune.normalizer", .help = "max, L2 or off"},
    {"--granularity", "-pg", "N", .target = "prune.granularity", .help = "filters are kept in multiples of it"},
    {"--min-filters", "-nf", "N", .target = "prune.min_filters", .help = "no layer falls below"},
    {"--excluded-layers", "-el", "LAYER", .target = "prune.excluded_layers", .many = true,
        .help = "layers left alone; a trailing * matches any rest"},
    {"--score", NULL, "HOW", .target = "prune.score", .help = "l2, l1, obs or auto"},
    {"--target", NULL, "T", .target = "prune.target", .help = "params:F or flops:F: keep this fraction"},
    CLI_FORCE_OPTION,
    {"--dry-run", NULL, NULL, .help = "print the table of layers, write nothing"},
    {.name = NULL},
};

/* Everything that one pruning works on. */
typedef struct job {
    cli_context *c;
    const spec_prune *options;
    model model;          /* becomes the pruned one */
    const char *output;
    prune_report report;
    device *dev;
    export_images images; /* opened when the spec names a data set */
    bool has_images, reconstructed;
    double before, after; /* the task's criterion in points; negative: not measured */
} job;

static status read_target(prune_options *o, const char *text)
{
    if (!*text) return OK;
    const char *colon = strchr(text, ':');
    size_t length = colon ? (size_t)(colon - text) : 0;
    if (length == 6 && strncmp(text, "params", 6) == 0) o->target = TARGET_PARAMS;
    else if (length == 5 && strncmp(text, "flops", 5) == 0) o->target = TARGET_MACS;
    char *end = NULL;
    if (o->target != TARGET_NONE) o->target_fraction = strtod(colon + 1, &end);
    if (!end || end == colon + 1 || *end || !(o->target_fraction > 0 && o->target_fraction < 1))
        return FAIL(
            E_USAGE, "prune.target = %s: expected params:F or flops:F with F between 0 and 1, e.g. params:0.5", text);
    return OK;
}

static status prune_options_from_spec(prune_options *o, const spec_prune *s)
{
    *o = (prune_options){.score = (prune_score)s->score, .normalizer = (prune_normalizer)s->normalizer,
                         .equalization = (prune_equalization)s->equalization, .threshold = s->threshold,
                         .granularity = s->granularity, .min_filters = s->min_filters,
                         .excluded = s->excluded_layers.value, .excluded_count = s->excluded_layers.count};
    return read_target(o, s->target);
}

static prune_case case_of(const job *j, const prune_options *o, bool has_images)
{
    return (prune_case){
        .has_images = has_images, .transferred = transfer_is_on(&j->c->config.spec), .target = o->target};
}

/* What auto stands for. */
static void choose_method(prune_options *o, const job *j)
{
    const spec_prune *s = j->options;
    const prune_case c = case_of(j, o, j->has_images);
    if (s->score == PRUNE_SCORE_AUTO) o->score = prune_choose_score(&c);
    o->reconstruct = s->reconstruct == PRUNE_RECONSTRUCT_TRUE ||
                     (s->reconstruct == PRUNE_RECONSTRUCT_AUTO && prune_choose_reconstruct(&c));
    o->imitate_epochs = o->reconstruct ? s->imitate_epochs : 0;
    o->ridge = s->ridge;
}

_Static_assert((int)SCORE_OBS == (int)PRUNE_SCORE_OBS && (int)NORMALIZER_OFF == (int)PRUNE_NORMALIZER_OFF &&
                   (int)EQUALIZE_GEOMETRIC == (int)PRUNE_GEOMETRIC_MEAN,
    "options of prune.h and of spec.h have one order");

static void print_table(const job *j)
{
    const prune_report *r = &j->report;
    cli_print(j->c, "%-28s %10s %10s %6s\n", "layer", "channels", "kept", "group");
    for (int64_t i = 0; i < r->layer_count; i++) {
        const prune_layer *l = &r->layers[i];
        cli_print(j->c, "%-28s %10" PRId64 " %10" PRId64 " %6d%s%s\n", l->name, l->channels_before,
                  l->channels_after, l->group, l->kept_whole ? "  " : "", l->kept_whole ? l->kept_whole : "");
    }
    cli_print(j->c, "threshold  %.6g\n", r->threshold);
    cli_print(j->c, "parameters %" PRId64 " -> %" PRId64 "  (pruning ratio %.3f)\n", r->params_before,
              r->params_after, (double)r->params_after / (double)r->params_before);
    cli_print(j->c, "MFLOPs     %.1f -> %.1f  (%.3f)\n", 2e-6 * (double)r->macs_before, 2e-6 * (double)r->macs_after,
              (double)r->macs_after / (double)r->macs_before);
}

static void put_int(json_writer *w, const char *key, int64_t value)
{
    json_key(w, key);
    json_put_int(w, value);
}

static void put_number(json_writer *w, const char *key, double value)
{
    json_key(w, key);
    if (value < 0) json_put_null(w);
    else json_put_number(w, value);
}

/* Members of an open object: for --json, and for the provenance in the model file. */
static void put_report(json_writer *w, const job *j)
{
    const prune_report *r = &j->report;
    put_number(w, "threshold", r->threshold);
    put_int(w, "parameters_before", r->params_before);
    put_int(w, "parameters", r->params_after);
    put_int(w, "macs_before", r->macs_before);
    put_int(w, "macs", r->macs_after);
    put_number(w, "accuracy_before", j->before);
    put_number(w, "accuracy", j->after);
    json_key(w, "layers");
    json_begin_array(w);
    for (int64_t i = 0; i < r->layer_count; i++) {
        json_begin_object(w);
        json_key(w, "name");
        json_put_string(w, r->layers[i].name);
        put_int(w, "channels_before", r->layers[i].channels_before);
        put_int(w, "channels", r->layers[i].channels_after);
        put_int(w, "group", r->layers[i].group);
        json_end_object(w);
    }
    json_end_array(w);
}

/* ------------------------------------------------------------------------------------------------ with data */

typedef struct feed {
    loader *loader;
    int64_t bytes; /* of one batch of images */
} feed;

static status next_images(void *context, float *images, bool *done)
{
    feed *f = context;
    const batch *b;
    TRY(loader_next(f->loader, &b));
    *done = !b;
    if (b) memcpy(images, b->images, (size_t)f->bytes);
    return OK;
}

/* Shuffled batches of augmented images. */
static status open_feed(feed *f, job *j, const graph *g, const spec_augment *augment, int64_t size)
{
    const spec *s = &j->c->config.spec;
    loader_options o = loader_options_from_spec(s, &j->images.train, &j->model.preprocess, size, &j->c->log);
    o.augment = augment;
    o.prefetch = 2;
    shape one = g->edges[g->inputs[0]].shape;
    *f = (feed){.bytes = shape_count(one) / one.dim[0] * size * (int64_t)sizeof(float)};
    return loader_create(&f->loader, &o);
}

/* A reconstructed network's statistics belong to its weights; frozen ones stay what they were in training. */
static status reestimate(job *j, graph *g)
{
    const spec *s = &j->c->config.spec;
    if (!j->has_images || j->options->reestimate_batches == 0 || j->reconstructed || s->model.freeze_bn) return OK;
    int64_t size = s->train.batch_size ? s->train.batch_size : 32;
    feed f = {0};
    status result = OK;
    TRY_OUT(open_feed(&f, j, g, &s->augment, size));
    TRY_OUT(graph_resize_batch(g, size));
    TRY_OUT(prune_reestimate(g, j->dev, next_images, &f, j->options->reestimate_batches));
    TRY_OUT(graph_resize_batch(g, 1));
out:
    loader_destroy(f.loader);
    return result;
}

static status measure(job *j, const graph *g, double *points)
{
    *points = -1;
    if (!j->has_images) return OK;
    graph fused;
    TRY(export_float_graph(&fused, g));
    status result = export_images_score(&j->images, &fused, points);
    graph_free(&fused);
    return result;
}

static status open_data(job *j)
{
    spec *s = &j->c->config.spec;
    TRY(device_open(&j->dev, s->train.device, 0, (int32_t)s->train.threads, &j->c->log));
    if (!*s->data.root && !*s->data.train) {
        log_warn(&j->c->log,
            "no data set in the spec: batch-norm statistics stay as they are and no accuracy is measured "
            "(give data.root)");
        return OK;
    }
    s->export.check_images = 0; /* all of the validation part */
    TRY(export_images_open(&j->images, s, &j->model, j->dev, true, &j->c->log));
    j->has_images = true;
    return OK;
}

/* ------------------------------------------------------------------------------------------------ what is written */

static status write_model(job *j)
{
    json_writer w = {0};
    char hash[33];
    hash128_hex(j->model.file_hash, hash);
    json_begin_object(&w);
    json_key(&w, "pruned_from");
    json_put_string(&w, hash);
    put_report(&w, j);
    json_end_object(&w);
    const char *text;
    size_t bytes;
    status result = json_writer_finish(&w, &text, &bytes);
    if (result == OK) {
        j->model.info_json = arena_strndup(&j->model.memory, text, bytes);
        result = j->model.info_json ? model_save(&j->model, j->output) : FAIL_MEMORY(bytes);
    }
    json_writer_free(&w);
    return result;
}

static status change_all(config *c, const retrain_change *changes, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        TRY(changes[i].value ? config_set(c, changes[i].section, changes[i].key, changes[i].value, "prune")
                             : FAIL_MEMORY(64));
    return OK;
}

/* Behind the folder that the user names, else beside the pruned model: the model's own spec has no say in where files
 * go. */
static const char *retrain_folder(const config *own, arena *a, const char *output)
{
    const char *extension = strstr(path_base(output), ".safetensors");
    if (config_is_set(own, "train", "output")) return arena_printf(a, "%s-retrain", own->spec.train.output);
    return arena_printf(a, "%.*s-retrain", extension ? (int)(extension - output) : (int)strlen(output), output);
}

/* The spec that retrains the pruned model: the same run from its graph and weights, as policy.h has it. */
static status write_retrain_spec(job *j, const char *path)
{
    config *own = &j->c->config, retrain;
    const spec *s = &own->spec;
    arena *a = &j->c->memory;
    status result = OK;
    file_writer w = {0};
    const retrain_recipe *r = retrain_choose(transfer_is_on(s), j->reconstructed);
    const retrain_change changes[] = {
        {"model", "pretrained", j->output},
        {"model", "load_graph", "true"},
        {"train", "output", retrain_folder(own, a, j->output)},
        {"train", "regularizer", "none"},
        {"train", "epochs", arena_printf(a, "%" PRId64, (s->train.epochs * r->times_longer))},
        {"schedule", "learning_rate", arena_printf(a, "%g", s->schedule.learning_rate / r->times_slower)},
        {"schedule", "min_learning_rate", arena_printf(a, "%g", s->schedule.min_learning_rate / r->times_slower)},
    };
    TRY(config_init(&retrain));
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        if (!config_is_set(own, o->section, o->key) || strcmp(o->section, "prune") == 0) continue;
        TRY_OUT(config_set(&retrain, o->section, o->key, own->text[i], own->origin[i]));
    }
    TRY_OUT(change_all(&retrain, changes, sizeof changes / sizeof *changes));
    TRY_OUT(change_all(&retrain, r->change, r->change_count));
    TRY_OUT(config_finish(&retrain));
    TRY_OUT(file_writer_open(&w, path));
    TRY_OUT(file_writer_printf(&w, "; Retrains the pruned model: graft train -e %s\n", path));
    TRY_OUT(config_dump(&retrain, w.stream, false));
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    config_free(&retrain);
    return result;
}

static const char *default_output(cli_context *c, const char *path)
{
    const char *extension = strstr(path_base(path), ".safetensors");
    int length = extension ? (int)(extension - path) : (int)strlen(path);
    return arena_printf(&c->memory, "%.*s.pruned.safetensors", length, path);
}

static status write_all(job *j)
{
    cli_context *c = j->c;
    char *retrain = arena_printf(&c->memory, "%s.retrain.ini", j->output);
    if (!retrain) return FAIL_MEMORY(strlen(j->output));
    TRY(write_model(j));
    TRY(write_retrain_spec(j, retrain));
    cli_print(c, "wrote %s\nretrain it: graft train -e %s\n", j->output, retrain);
    json_key(&c->result, "output");
    json_put_string(&c->result, j->output);
    json_key(&c->result, "retrain_spec");
    json_put_string(&c->result, retrain);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ the command */

/* Ranges are those of the unpruned network. */
static status drop_fake_quantisation(job *j)
{
    if (!graph_has_fake_quant(&j->model.graph)) return OK;
    log_warn(&j->c->log, "%s was trained quantisation-aware; pruning removes that: retrain with qat.enable = true",
        j->options->model);
    return graph_remove_fake_quant(&j->model.graph);
}

enum { BATCH = 16 };

/* The cut, by norms alone or by images. */
static status cut(job *j, graph *small, prune_options *o)
{
    feed f = {0};
    prune_data data = {.dev = j->dev, .next_batch = next_images, .context = &f, .batch = BATCH,
                       .batches = (j->options->images + BATCH - 1) / BATCH, .log = &j->c->log};
    bool by_images = o->score == SCORE_OBS || o->reconstruct;
    if (!by_images || !j->has_images) return prune_graph(small, &j->report, &j->model.graph, o);
    /* No label can become wrong, so crops may be small: the more different things the
     * network is seen to do, the better. */
    spec_augment augment = j->c->config.spec.augment;
    static double crop_area[] = {0.35, 1};
    augment.random_resized_crop = true;
    augment.crop_area = (float_list){.value = crop_area, .count = 2};
    TRY(open_feed(&f, j, &j->model.graph, &augment, BATCH));
    o->data = &data;
    status result = prune_graph(small, &j->report, &j->model.graph, o);
    o->data = NULL;
    loader_destroy(f.loader);
    return result;
}

static status judge(job *j, graph *small)
{
    TRY(measure(j, &j->model.graph, &j->before));
    TRY(reestimate(j, small));
    TRY(measure(j, small, &j->after));
    if (j->has_images) {
        figure f[FIGURE_MAX];
        j->images.setting.task->figures(&j->images.setting, f);
        cli_print(
            j->c, "%-10s %.2f -> %.2f on the validation part, before retraining\n", f[0].label, j->before, j->after);
    }
    return OK;
}

static bool is_dry(const job *j)
{
    return j->options->dry_run || cli_is_given(j->c, "--dry-run");
}

/* A table alone, of norms, needs no images. */
static bool needs_data(const job *j, const prune_options *o, bool dry)
{
    const prune_case with_images = case_of(j, o, true);
    spec_prune_score asked = j->options->score;
    bool by_images =
        asked == PRUNE_SCORE_OBS || (asked == PRUNE_SCORE_AUTO && prune_choose_score(&with_images) == SCORE_OBS);
    return !dry || by_images;
}

static status prune_model(job *j)
{
    prune_options o;
    graph small;
    bool dry = is_dry(j);
    TRY(prune_options_from_spec(&o, j->options));
    TRY(drop_fake_quantisation(j));
    if (needs_data(j, &o, dry)) TRY(open_data(j));
    choose_method(&o, j);
    if (dry) o.reconstruct = false, o.imitate_epochs = 0;
    TRY(cut(j, &small, &o));
    j->reconstructed = o.reconstruct;
    status result = OK;
    print_table(j);
    if (o.reconstruct)
        cli_print(j->c,
            "layers' error %.3f -> %.3f of the variance, by weights fitted to %" PRId64 " training images\n",
            j->report.error_before, j->report.error_after, j->options->images);
    if (o.imitate_epochs > 0)
        cli_print(j->c, "imitation: error %.3f -> %.3f of the variance, on views that it has not seen\n",
            j->report.imitation_before, j->report.imitation_after);
    if (!dry) TRY_OUT(judge(j, &small));
    put_report(&j->c->result, j);
    if (dry) goto out;
    if (j->before - j->after > j->options->max_drop)
        TRY_OUT(FAIL(E_GATE,
            "prune.max_drop = %g: the pruned model loses %.2f points; nothing was written. Raise max_drop, "
            "or prune less at a time",
            j->options->max_drop, j->before - j->after));
    graph_free(&j->model.graph);
    j->model.graph = small;
    return write_all(j);
out:
    graph_free(&small);
    return result;
}

static status run(cli_context *c)
{
    job j = {.c = c, .options = &c->config.spec.prune, .before = -1, .after = -1};
    const char *path = j.options->model;
    if (!*path) return FAIL(E_USAGE, "prune.model: no model given; try: graft prune MODEL.safetensors");
    static const char *const sections = CLI_MODEL_SECTIONS " data augment train evaluate optimizer schedule";
    TRY(model_load(&j.model, path));
    status result = cli_adopt_spec(c, j.model.spec_text, sections, path);
    if (result == OK) result = cli_finish_spec(c);
    j.output = *j.options->output ? j.options->output : default_output(c, path);
    if (result == OK && !j.output) result = FAIL_MEMORY(strlen(path));
    if (result == OK && !is_dry(&j)) result = cli_check_output(c, j.output);
    if (result == OK) result = prune_model(&j);
    prune_report_free(&j.report);
    export_images_close(&j.images);
    device_close(j.dev);
    model_free(&j.model);
    return result;
}

const cli_command command_prune = {
    .name = "prune",
    .summary = "cut the least useful filters out of a model",
    .arguments = "[MODEL]",
    .most = 1,
    .first_target = "prune.model",
    .description = "The flags -m -o -n -eq -pg -pth -nf -el -v mean what they mean to tlt-prune. Data and training "
                   "options are the model's own unless given.",
    .spec = CLI_SPEC_OPEN,
    .sections = "prune data",
    .options = options,
    .run = run,
};
