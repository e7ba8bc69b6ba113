/* Weights that others have trained, as a Graft model. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/class_names.h"
#include "cli/cli.h"
#include "cli/import_darknet.h"
#include "cli/import_onnx.h"
#include "core/base/text.h"
#include "core/data/classes.h"
#include "core/data/dataset.h"
#include "core/graph/init.h"
#include "core/train/prepare.h"
#include "models/import/match.h"
#include "models/models.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--output", "-o", "FILE", .help = "model file to write; default: FILE.graft.safetensors"},
    {"--classes", NULL, "FILE", .help = "names of the classes: one a line, or a CSV table (FILE:COLUMN)"},
    {"--cfg", NULL, "FILE", .help = "darknet: the network's .cfg"},
    {"--epsilon", NULL, "FORM",
        .help = "darknet: inside (default; current versions and GPUs) or outside (its first CPU code)"},
    {"--weights", NULL, "NAME",
        .help = "which of several weights in it: a dictionary (state_dict_ema), a prefix (teacher)"},
    {"--partial", NULL, NULL, .help = "accept missing tensors in front of the last layer: they start afresh"},
    {"--data", "-d", "PATH", .target = "data.root",
        .help = "data set: its classes; another number of them gets a fresh last layer"},
    CLI_FORCE_OPTION,
    {.name = NULL},
};

/* One import. */
typedef struct job {
    cli_context *c;
    const char *path, *output;
    weights_kind kind;
    weights w;
    weights_match match;
    model m;
    transfer_report report;
    dataset data;
    const char **names; /* [class_count] as asked for by --classes or the data set; NULL: neither */
    int64_t class_count;
    int64_t file_classes;
} job;

/* ------------------------------------------------------------------------------------------------ classes */

static status open_classes(job *j)
{
    cli_context *c = j->c;
    const spec *s = &c->config.spec;
    const char *file = cli_value(c, "--classes");
    if (file) {
        TRY(class_names_read(&c->memory, file, &j->names, &j->class_count));
        class_names_warn(j->names, j->class_count, file, &c->log);
    }
    if (!config_is_set(&c->config, "data", "root") && !config_is_set(&c->config, "data", "train")) return OK;
    if (file) return FAIL(E_USAGE, "--classes and a data set: one of them names the classes");
    bool has_train;
    dataset_share share;
    TRY(dataset_has_train(&s->data, &has_train));
    TRY(dataset_open_part(&j->data, &s->data, (uint64_t)s->train.seed, has_train ? ASK_TRAIN : ASK_ANY, &share));
    class_names_warn(j->data.class_name, j->data.class_count, j->data.path, &c->log);
    j->names = j->data.class_name;
    j->class_count = j->data.class_count;
    return OK;
}

/* What `graft export --format safetensors` wrote, when nobody names other ones. */
static status adopt_names(job *j)
{
    const char *text = safetensors_meta(&j->w.st, "class_names");
    json *list;
    if (!text || j->names) return OK;
    TRY(json_parse(&j->c->memory, text, strlen(text), j->path, &list));
    if (list->type != JSON_ARRAY || list->count != j->file_classes) return OK;
    const char **names = ARENA_ARRAY(&j->c->memory, const char *, list->count);
    if (!names) return FAIL_MEMORY((size_t)list->count * sizeof *names);
    for (int64_t i = 0; i < list->count; i++)
        if (!(names[i] = json_string(list->items[i])))
            return FAIL(E_MODEL, "%s: metadata class_names holds something that is no text", j->path);
    j->names = names;
    j->class_count = list->count;
    return OK;
}

/* Names must be as many as the file's classes; a data set may have others. */
static status check_classes(job *j)
{
    if (!j->names) {
        j->class_count = j->file_classes;
        return class_names_number(&j->c->memory, j->class_count, &j->names);
    }
    if (j->class_count == j->file_classes) return OK;
    if (!j->data.class_count)
        return FAIL(E_DATA, "%s: %" PRId64 " names, but %s knows %" PRId64 " classes", cli_value(j->c, "--classes"),
            j->class_count, j->path, j->file_classes);
    log_info(&j->c->log, "%s knows %" PRId64 " classes, the data set has %" PRId64 ": the last layer starts afresh",
        j->path, j->file_classes, j->class_count);
    return OK;
}

/* ----------------------------------------------------------------------------------------------- tensors with names */

static bool is_head(const char *const *head, const char *line)
{
    size_t length = strcspn(line, ":");
    for (; *head; head++)
        if (strlen(*head) == length && strncmp(*head, line, length) == 0) return true;
    return false;
}

static void list(job *j, const char *title, const char *key, const char *const *lines, int64_t count)
{
    for (int64_t i = 0; i < count; i++) log_info(&j->c->log, "    %s: %s", title, lines[i]);
    json_writer *w = &j->c->result;
    json_key(w, key);
    json_begin_array(w);
    for (int64_t i = 0; i < count; i++) json_put_string(w, lines[i]);
    json_end_array(w);
}

/* A model with random weights inside is not what an import promises. */
static status check_complete(job *j)
{
    const transfer_report *r = &j->report;
    const char **head, *first = NULL;
    int64_t lacking = 0;
    bool fresh_head = j->class_count != j->file_classes;
    TRY(weights_head_names(&j->c->config, &j->c->memory, &head));
    for (int64_t i = 0; i < r->missing_count + r->reshaped_count; i++) {
        const char *line = i < r->missing_count ? r->missing[i] : r->reshaped[i - r->missing_count];
        if (fresh_head && is_head(head, line)) continue;
        if (lacking++ == 0) first = line;
    }
    if (r->loaded_count == 0)
        return FAIL(E_MODEL, "%s: no tensor fits %s; the first is %s", j->path, j->c->config.spec.model.arch,
            first ? first : "none");
    if (lacking == 0 || cli_is_given(j->c, "--partial")) return OK;
    char width[64] = "";
    if (j->match.fitting_width > 0)
        snprintf(width, sizeof width, "; all fit with model.width=%g", j->match.fitting_width);
    return FAIL(E_MODEL,
        "%s: %" PRId64
        " tensors of %s are missing or have another shape, the first is %s%s; --partial accepts that%s%s",
        j->path, lacking, j->c->config.spec.model.arch, first, width, *j->match.head_note ? "; " : "",
        j->match.head_note);
}

static status import_named(job *j)
{
    cli_context *c = j->c;
    const spec *s = &c->config.spec;
    TRY(weights_open(&j->w, j->path, cli_value(c, "--weights")));
    int64_t tensors = j->w.count;
    TRY(weights_adopt_metadata(&j->w, &c->config));
    TRY(weights_match_network(&j->w, &c->config, &j->match));
    TRY(cli_finish_spec(c));
    log_info(&c->log, "%s: %s, %" PRId64 " tensors: %s (%" PRId64 " of its %" PRId64 " by name%s%s)", j->path,
        weights_kind_name(j->kind), tensors, s->model.arch, j->match.matched, j->match.wanted,
        *j->match.names ? ", names of " : "", j->match.names);
    if (*j->w.note) log_info(&c->log, "    %s", j->w.note);
    if (*j->match.note) log_info(&c->log, "    %s", j->match.note);
    if (*j->w.prefix) log_info(&c->log, "    %s is taken off the names", j->w.prefix);
    weights_list_adopted(&c->config, &c->log);
    j->file_classes = j->match.classes;
    TRY(open_classes(j));
    TRY(adopt_names(j));
    TRY(check_classes(j));
    if (j->class_count < 1)
        return FAIL(E_MODEL, "%s: %s: a data set (--data) must say how many classes there are", j->path,
            *j->match.head_note ? j->match.head_note : "has no last layer");
    TRY(models_build(&j->m.graph, s, j->class_count));
    init_params(&j->m.graph, (uint64_t)s->train.seed);
    TRY(model_transfer_tensors(&j->m.graph, j->w.tensors, j->w.count, &j->report));
    TRY(weights_report_outside(&j->w, &j->report));
    const transfer_report *r = &j->report;
    log_info(&c->log, "%" PRId64 " loaded, %" PRId64 " missing, %" PRId64 " unexpected, %" PRId64 " of another shape",
        r->loaded_count, r->missing_count, r->unexpected_count, r->reshaped_count);
    json_key(&c->result, "weights"), json_put_string(&c->result, j->w.group_count ? j->w.groups[j->w.chosen].name : "");
    json_key(&c->result, "prefix"), json_put_string(&c->result, j->w.prefix);
    json_key(&c->result, "loaded"), json_put_int(&c->result, r->loaded_count);
    list(j, "missing (starts afresh)", "missing", r->missing, r->missing_count);
    list(j, "unexpected (not used)", "unexpected", r->unexpected, r->unexpected_count);
    list(j, "another shape (starts afresh)", "reshaped", r->reshaped, r->reshaped_count);
    return check_complete(j);
}

/* ------------------------------------------------------------------------------------------------ whole graphs */

static status import_darknet(job *j)
{
    TRY(darknet_import(j->c, j->path, &j->m, &j->file_classes));
    TRY(open_classes(j));
    TRY(check_classes(j));
    if (j->class_count == j->file_classes) return OK;
    return task_find(j->m.task)->fresh_head(&j->m.graph, j->class_count, (uint64_t)j->c->config.spec.train.seed);
}

static status import_onnx(job *j)
{
    TRY(onnx_import_file(j->c, j->path, &j->m, &j->file_classes));
    TRY(open_classes(j));
    if (!j->names && j->m.class_count > 0) j->names = j->m.class_name, j->class_count = j->m.class_count;
    TRY(check_classes(j));
    if (j->class_count == j->file_classes) return OK;
    return task_find(j->m.task)->fresh_head(&j->m.graph, j->class_count, (uint64_t)j->c->config.spec.train.seed);
}

/* ------------------------------------------------------------------------------------------------ the file */

static void put_meta(json_writer *w, const safetensors *st, const char *key)
{
    const char *value = safetensors_meta(st, key);
    if (!value) return;
    json_key(w, key);
    json_put_string(w, value);
}

static status write_info(job *j, json_writer *w)
{
    hash128 hash;
    char hex[33];
    TRY(hash128_of_file(j->path, &hash));
    hash128_hex(hash, hex);
    json_begin_object(w);
    json_key(w, "imported");
    json_begin_object(w);
    json_key(w, "file"), json_put_string(w, path_base(j->path));
    json_key(w, "format"), json_put_string(w, weights_kind_name(j->kind));
    json_key(w, "hash"), json_put_string(w, hex);
    put_meta(w, &j->w.st, "arch");
    put_meta(w, &j->w.st, "source");
    put_meta(w, &j->w.st, "license");
    json_end_object(w);
    json_end_object(w);
    return OK;
}

static status finish_model(job *j, json_writer *info)
{
    cli_context *c = j->c;
    size_t bytes;
    char *text = NULL;
    FILE *f = open_memstream(&text, &bytes);
    if (!f) return FAIL_MEMORY(1);
    status result = config_dump(&c->config, f, false);
    if (fclose(f) != 0 && result == OK) result = FAIL_MEMORY(1);
    if (result == OK && !(j->m.spec_text = arena_strdup(&j->m.memory, text))) result = FAIL_MEMORY(bytes);
    free(text);
    TRY(result);
    if (j->kind != WEIGHTS_ONNX)
        TRY(preprocess_from_spec(&j->m.preprocess, &c->config.spec.model, &c->config.spec.data)); /* has its own */
    TRY(model_set_classes(&j->m, j->names, j->class_count));
    TRY(write_info(j, info));
    return json_writer_finish(info, &j->m.info_json, &bytes);
}

static const char *network_name(const job *j)
{
    if (j->kind == WEIGHTS_ONNX) return "the file's network";
    return cli_value(j->c, "--cfg") ? "the cfg's network" : j->c->config.spec.model.arch;
}

static status save(job *j)
{
    cli_context *c = j->c;
    json_writer info = {0};
    char hash[33];
    status result = finish_model(j, &info);
    if (result == OK) result = model_save(&j->m, j->output);
    json_writer_free(&info);
    TRY(result);
    hash128_hex(j->m.file_hash, hash);
    cli_print(c, "wrote %s: %s, %" PRId64 " classes, %" PRId64 " parameters\n", text_printable(&c->memory, j->output),
        network_name(j), j->class_count, graph_param_count(&j->m.graph));
    json_writer *w = &c->result;
    json_key(w, "output"), json_put_string(w, j->output);
    json_key(w, "hash"), json_put_string(w, hash);
    json_key(w, "arch"), json_put_string(w, network_name(j));
    json_key(w, "format"), json_put_string(w, weights_kind_name(j->kind));
    json_key(w, "names"), json_put_string(w, j->match.names ? j->match.names : "");
    json_key(w, "classes"), json_put_int(w, j->class_count);
    return OK;
}

static status choose_output(job *j)
{
    size_t length = strlen(j->path), dot = strlen(path_extension(j->path));
    j->output = cli_value(j->c, "--output");
    if (!j->output)
        j->output = arena_printf(&j->c->memory, "%.*s.graft.safetensors", (int)(length - (dot ? dot + 1 : 0)), j->path);
    if (!j->output) return FAIL_MEMORY(length);
    TRY(cli_check_output(j->c, j->output));
    return OK;
}

static status import_any(job *j)
{
    j->path = j->c->arguments[0];
    TRY(choose_output(j));
    TRY(weights_detect(j->path, &j->kind));
    bool several = j->kind == WEIGHTS_SAFETENSORS || j->kind == WEIGHTS_PYTORCH;
    if (cli_is_given(j->c, "--weights") && !several)
        return FAIL(E_USAGE, "--weights chooses among the tensors of a PyTorch or safetensors file; %s is %s", j->path,
            weights_kind_name(j->kind));
    switch (j->kind) {
    case WEIGHTS_SAFETENSORS:
    case WEIGHTS_PYTORCH:
        return import_named(j);
    case WEIGHTS_DARKNET:
        return import_darknet(j);
    case WEIGHTS_GRAFT:
        return FAIL(E_USAGE,
            "%s is a Graft model: every command takes it as it is; graft train model.pretrained=%s starts from it",
            j->path, j->path);
    case WEIGHTS_ONNX:
        return import_onnx(j);
    case WEIGHTS_ENGINE:
        break;
    }
    return FAIL(E_MODEL,
        "%s: an engine holds fused weights and cannot be trained or pruned: import what it was made from", j->path);
}

static status run(cli_context *c)
{
    job j = {.c = c};
    status result = import_any(&j);
    if (result == OK) result = save(&j);
    transfer_report_free(&j.report);
    model_free(&j.m);
    weights_close(&j.w);
    dataset_close(&j.data);
    return result;
}

const cli_command command_import = {
    .name = "import",
    .summary = "make a model of weights from PyTorch, timm, ONNX or darknet",
    .arguments = "FILE",
    .least = 1,
    .most = 1,
    .description = "Takes safetensors and PyTorch files with the names of torchvision or timm, and darknet's .weights "
                   "with their .cfg or for a network named by model.arch; and whole networks as ONNX, whatever they "
                   "are, where Graft has their operators. The network is told by the names of the tensors, "
                   "preprocessing by the file's metadata; options win over both. What the file is, its content says. "
                   "Every tensor that is missing, unexpected or of another shape is listed.",
    .spec = CLI_SPEC_OPEN,
    .sections = "model data",
    .options = options,
    .run = run,
};
