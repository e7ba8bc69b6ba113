#include "models/models.h"

#include <stdio.h>
#include <string.h>

#include "core/base/text.h"
#include "models/backbones/backbones.h"
#include "models/detectors/detectors.h"
#include "models/parts/layers.h"

#define STAGES(...) {__VA_ARGS__, 0}
#define MODEL(name, build, stages, variant, defaults, options, summary) static const int32_t name##_stages[] = stages;
#include "models/models.def"
#undef MODEL

const model_entry model_table[] = {
#define MODEL(name, build, stages, variant, defaults, options, summary)                                                \
    {#name, summary, build, name##_stages, variant, defaults, options},
#include "models/models.def"
#undef MODEL
    {0}};

static const detector_entry detector_table[] = {
#define DETECTOR(name, task, build, defaults, summary) {#name, task, build, defaults, summary},
#include "models/detectors/detectors.def"
};
enum { DETECTORS = sizeof detector_table / sizeof *detector_table };

const detector_entry *detectors_find(const spec_model *options)
{
    return options->head == HEAD_NONE ? NULL : &detector_table[options->head - 1];
}

const char *models_task(const spec_model *options)
{
    const detector_entry *head = detectors_find(options);
    return head ? head->task : "";
}

/* Options that some networks do not know. */
static const char *const special_options[] = {"stem", "width", "all_projections", "bottleneck_stride", "padding",
    "use_batch_norm", "use_bias", "use_pooling", "aux_weight", "aux_dropout", NULL};

const model_entry *models_find(const char *name)
{
    for (const model_entry *m = model_table; m->name; m++)
        if (strcmp(m->name, name) == 0) return m;
    return NULL;
}

void models_list(char *text, size_t capacity)
{
    size_t used = 0;
    text[0] = 0;
    for (const model_entry *m = model_table; m->name && used < capacity; m++)
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", used ? ", " : "", m->name);
}

/* Takes the defaults of `name`, "key=value ..." of [model] or "section.key=value ...", for what nobody has set. */
static status apply_defaults(config *c, const char *name, const char *defaults)
{
    char key[128], value[64], origin[64];
    int length;
    snprintf(origin, sizeof origin, "default of %s", name);
    for (const char *at = defaults; sscanf(at, " %127[^= ]=%63s%n", key, value, &length) == 2; at += length) {
        char *dot = strchr(key, '.');
        if (dot) *dot = 0;
        const char *section = dot ? key : "model", *word = dot ? dot + 1 : key;
        if (!config_is_set(c, section, word)) TRY(config_set(c, section, word, value, origin));
    }
    return OK;
}

/* A value of its own for an option that means nothing to the network. */
static status complain(config *c, config *own, const model_entry *m)
{
    for (const char *const *key = special_options; *key; key++) {
        if (text_has_word(m->options, *key) || !config_is_set(c, "model", *key)) continue;
        const option *o = option_find("model", *key);
        const char *given = config_value_text(c, &own->memory, o), *expected = config_value_text(own, &own->memory, o);
        if (!given || !expected) return FAIL_MEMORY(64);
        if (strcmp(given, expected) == 0) continue;
        TRY(config_complain(
            c, "model", *key, NULL, "means nothing to %s, which has %s; leave it out", m->name, expected));
    }
    return OK;
}

status models_split_arch(config *c)
{
    const char *arch = c->spec.model.arch;
    for (int i = 0; i < DETECTORS && !models_find(arch); i++) {
        const char *head = detector_table[i].name;
        size_t length = strlen(head);
        if (strncmp(arch, head, length) != 0 || arch[length] != '_' || !models_find(arch + length + 1)) continue;
        char *rest, *origin;
        TRY_ALLOC(rest, arena_strdup(&c->memory, arch + length + 1));
        TRY_ALLOC(origin, arena_printf(&c->memory, "model.arch = %s", arch));
        if (!config_is_set(c, "model", "head")) TRY(config_set(c, "model", "head", head, origin));
        return config_set(c, "model", "arch", rest, origin);
    }
    return OK;
}

status models_set_defaults(config *c)
{
    const model_entry *m = models_find(c->spec.model.arch);
    const detector_entry *head = detectors_find(&c->spec.model);
    if (!m) return OK;
    if (head) TRY(apply_defaults(c, head->name, head->defaults));
    config own;
    TRY(config_init(&own));
    status result = apply_defaults(&own, m->name, m->defaults);
    if (result == OK) result = complain(c, &own, m);
    if (result == OK) result = apply_defaults(c, m->name, m->defaults);
    config_free(&own);
    return result;
}

static status build(graph *g, const spec_model *options, int64_t classes, model_stages *stages)
{
    const model_entry *entry = models_find(options->arch);
    if (strcmp(options->arch, MODELS_IMPORTED) == 0)
        return FAIL(E_USAGE,
            "model.arch = " MODELS_IMPORTED
            " is a network that came from a file: model.load_graph = true takes it from model.pretrained");
    if (!entry) {
        char names[1024];
        models_list(names, sizeof names);
        return FAIL(E_USAGE, "model.arch = %s: no such network; expected one of %s", options->arch, names);
    }
    net n = {.g = g, .options = options, .stages = stages};
    edge_id x;
    TRY(graph_init(g));
    status result = net_input(&n, &x);
    if (result == OK) result = entry->build(&n, x, entry, classes);
    if (result != OK) graph_free(g);
    return result;
}

static status build_detector(graph *g, const detector_entry *head, const spec *s, int64_t classes)
{
    model_stages stages;
    TRY(models_build_backbone(g, &s->model, &stages));
    net n = {.g = g, .options = &s->model};
    status result = head->build(&n, &stages, s, classes);
    if (result != OK) graph_free(g);
    return result;
}

status models_build(graph *g, const spec *s, int64_t classes)
{
    if (classes < 1) return FAIL(E_DATA, "model.arch = %s: a network needs at least one class", s->model.arch);
    const detector_entry *head = detectors_find(&s->model);
    return head ? build_detector(g, head, s, classes) : build(g, &s->model, classes, NULL);
}

status models_build_backbone(graph *g, const spec_model *options, model_stages *stages)
{
    *stages = (model_stages){0};
    return build(g, options, 0, stages);
}

edge_id model_stage_at(const model_stages *s, int32_t stride)
{
    for (int32_t i = 0; i < s->count; i++)
        if (s->stage[i].stride == stride) return s->stage[i].edge;
    return EDGE_NONE;
}
