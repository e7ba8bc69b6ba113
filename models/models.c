#include "models/models.h"

#include <string.h>

#include "models/backbones/backbones.h"

#define STAGES(...) {__VA_ARGS__, 0}
#define MODEL(name, build, stages, bottleneck, side, summary) static const int32_t name##_stages[] = stages;
#include "models/models.def"
#undef MODEL

const model_entry model_table[] = {
#define MODEL(name, build, stages, bottleneck, side, summary)                                                          \
    {#name, summary, side, side, build, name##_stages, bottleneck},
#include "models/models.def"
#undef MODEL
    {0}};

const model_entry *models_find(const char *name)
{
    for (const model_entry *m = model_table; m->name; m++)
        if (strcmp(m->name, name) == 0) return m;
    return NULL;
}

static status unknown_model(const char *name)
{
    char names[512] = "";
    for (const model_entry *m = model_table; m->name; m++) {
        if (strlen(names) + strlen(m->name) + 3 > sizeof names) break;
        if (names[0]) strcat(names, ", ");
        strcat(names, m->name);
    }
    return FAIL(E_USAGE, "model.arch = %s: no such network; expected one of %s", name, names);
}

status models_build(graph *g, const spec_model *options, int64_t classes)
{
    const model_entry *entry = models_find(options->arch);
    if (!entry) return unknown_model(options->arch);
    if (classes < 1) return FAIL(E_DATA, "model.arch = %s: a network needs at least one class", options->arch);
    TRY(graph_init(g));
    status result = entry->build(g, entry, options, classes);
    if (result != OK) graph_free(g);
    return result;
}
