/* What options mean together. A setting that another one makes meaningless is an error, not ignored. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/text.h"
#include "core/config/internal.h"
#include "core/config/recipe.h"

/* Whether `names`, "section.key,section.key,", holds the option. */
static bool is_named(const char *names, const option *o)
{
    char name[128];
    snprintf(name, sizeof name, "%s.%s,", o->section, o->key);
    return strstr(names, name) != NULL;
}

/* False if one of the options in `names` was given but not understood: then nothing can be said about them together. */
static bool sure(const config *c, const char *names)
{
    for (int32_t i = 0; i < option_count; i++)
        if (c->doubtful[i] && is_named(names, &option_table[i])) return false;
    return true;
}

/* ------------------------------------------------------------------------------------------------ what is not read */

#define READ_IF(section, key, condition, beside, needs) \
    static bool section##_##key##_is_read(const spec *s) { return condition; }
#include "core/config/read_if.def"

static const struct read_rule {
    const char *section, *key, *beside, *needs;
    bool (*is_read)(const spec *s);
} read_rules[] = {
#define READ_IF(section, key, condition, beside, needs) {#section, #key, beside, needs, section##_##key##_is_read},
#include "core/config/read_if.def"
};
enum { READ_RULES = sizeof read_rules / sizeof *read_rules };

bool option_is_read(const spec *s, const char *section, const char *key)
{
    for (int i = 0; i < READ_RULES; i++)
        if (strcmp(read_rules[i].section, section) == 0 && strcmp(read_rules[i].key, key) == 0)
            return read_rules[i].is_read(s);
    return true;
}

static bool from_a_file(const config *c, const option *o) { return c->origin_line[o - option_table] > 0; }

static bool any_from_command_line(const config *c, const char *names)
{
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        if (is_named(names, o) && config_is_set(c, o->section, o->key) && !from_a_file(c, o)) return true;
    }
    return false;
}

/* A complete spec repeats all defaults: those say nothing. Where the command line makes a line of the file meaningless,
 * that is meant: the option stands at its default again, so that the resolved spec reads back. */
static status check_read(config *c)
{
    for (int i = 0; i < READ_RULES; i++) {
        const struct read_rule *r = &read_rules[i];
        const option *o = option_find(r->section, r->key);
        bool at_default;
        if (r->is_read(&c->spec) || !config_is_set(c, r->section, r->key) || c->doubtful[o - option_table] ||
            !sure(c, r->beside))
            continue;
        TRY(config_at_default(c, o, &at_default));
        if (at_default) continue;
        if (from_a_file(c, o) && any_from_command_line(c, r->beside))
            TRY(config_set(c, r->section, r->key, o->default_text, "default"));
        else TRY(config_complain(c, r->section, r->key, NULL, "would be ignored: it needs %s", r->needs));
    }
    return OK;
}

/* ------------------------------------------------------------------------------------------------ what contradicts */

static status check_network(config *c)
{
    const spec_model *m = &c->spec.model;
    if (m->channels == 2)
        TRY(config_complain(c, "model", "channels", NULL, "expected 1 (grey) or 3 (colour)"));
    if (m->load_graph && !*m->pretrained && sure(c, "model.pretrained,"))
        TRY(config_complain(c, "model", "load_graph", NULL, "needs model.pretrained, the file to take the graph from"));
    return OK;
}

static status check_channels(config *c, const char *key, const float_list *list)
{
    bool custom = c->spec.data.preprocess == PREPROCESS_CUSTOM;
    if (!sure(c, "data.preprocess,data.mean,data.std,model.channels,")) return OK;
    if (custom && list->count != c->spec.model.channels)
        return config_complain(c, "data", key, NULL,
                               "data.preprocess = custom needs %" PRId64 " numbers, one per channel",
                               c->spec.model.channels);
    if (!custom && list->count)
        return config_complain(c, "data", key, NULL, "would be ignored: it needs data.preprocess = custom");
    return OK;
}

static status check_gpu_augment(config *c)
{
    const spec *s = &c->spec;
    if (!s->data.gpu_augment || !sure(c, "data.gpu_augment,data.interpolation,train.mixup,")) return OK;
    if (s->train.mixup > 0)
        TRY(config_complain(
            c, "data", "gpu_augment", NULL, "does not go with train.mixup, which mixes finished images"));
    if (s->data.interpolation == INTERPOLATION_BICUBIC || s->data.interpolation == INTERPOLATION_NEAREST)
        TRY(config_complain(c, "data", "gpu_augment", NULL, "needs data.interpolation = bilinear or linear"));
    return OK;
}

static status check_data(config *c)
{
    const spec_data *d = &c->spec.data;
    TRY(check_gpu_augment(c));
    TRY(check_channels(c, "mean", &d->mean));
    TRY(check_channels(c, "std", &d->std));
    if (d->sampling == SAMPLING_WEIGHTED && d->class_weights.count == 0 && sure(c, "data.sampling,data.class_weights,"))
        TRY(config_complain(c, "data", "sampling", NULL, "needs data.class_weights"));
    return OK;
}

static status check_pair(config *c, const char *key, const float_list *list)
{
    if (list->count == 2 && list->value[0] <= list->value[1]) return OK;
    return config_complain(c, "augment", key, NULL, "expected two numbers, the smaller one first");
}

static status check_augment(config *c)
{
    const spec_augment *a = &c->spec.augment;
    TRY(check_pair(c, "crop_area", &a->crop_area));
    TRY(check_pair(c, "crop_aspect", &a->crop_aspect));
    if (a->zoom_min > a->zoom_max && sure(c, "augment.zoom_min,augment.zoom_max,")) {
        char limit[32];
        number_text(a->zoom_max, limit);
        TRY(config_complain(c, "augment", "zoom_min", NULL, "expected at most augment.zoom_max = %s", limit));
    }
    return OK;
}

static status check_train(config *c)
{
    const spec_optimizer *o = &c->spec.optimizer;
    bool can_nesterov = o->type == OPTIMIZER_SGD && o->momentum > 0;
    if (o->nesterov && !can_nesterov && sure(c, "optimizer.type,optimizer.momentum,"))
        TRY(config_complain(c, "optimizer", "nesterov", NULL, "needs optimizer.type = sgd and a momentum above 0"));
    return OK;
}

static status check_transfer(config *c)
{
    const spec_transfer *t = &c->spec.transfer;
    if (!sure(c, "transfer.enable,model.pretrained,model.load_graph,")) return OK;
    if (t->enable == TRANSFER_TRUE && !*c->spec.model.pretrained)
        return config_complain(
            c, "transfer", "enable", NULL, "needs model.pretrained, the file to take the weights from");
    bool fits = transfer_is_on(&c->spec) && t->probe;
    if (c->spec.train.epochs == 0 && !fits && sure(c, "train.epochs,transfer.probe,"))
        TRY(config_complain(c, "train", "epochs", NULL,
            "expected 1 or more, unless transfer.probe fits the last layer of pretrained weights"));
    if (t->start_weight > 0 && c->spec.train.ema_decay > 0 && sure(c, "transfer.start_weight,train.ema_decay,"))
        TRY(config_complain(c, "train", "ema_decay", NULL, "would be ignored: transfer.start_weight sets it"));
    return OK;
}

static status check_schedule(config *c)
{
    const spec_schedule *s = &c->spec.schedule;
    char limit[32];
    bool soft = s->type == SCHEDULE_SOFT_START;
    bool falls = soft || s->type == SCHEDULE_COSINE || s->type == SCHEDULE_POLYNOMIAL;
    bool rates = sure(c, "schedule.type,schedule.learning_rate,schedule.min_learning_rate,");
    if (falls && s->min_learning_rate > s->learning_rate && rates) {
        number_text(s->learning_rate, limit);
        TRY(config_complain(c, "schedule", "min_learning_rate", NULL, "expected at most schedule.learning_rate = %s",
                            limit));
    }
    if (soft && s->min_learning_rate <= 0 && rates)
        TRY(config_complain(c, "schedule", "min_learning_rate", NULL,
                            "expected more than 0, because schedule.type = soft_start moves on a logarithmic scale"));
    if (soft && s->soft_start >= s->annealing && sure(c, "schedule.type,schedule.soft_start,schedule.annealing,")) {
        number_text(s->annealing, limit);
        TRY(config_complain(c, "schedule", "soft_start", NULL, "expected less than schedule.annealing = %s", limit));
    }
    for (int64_t i = 1; i < s->milestones.count; i++) {
        if (s->milestones.value[i] > s->milestones.value[i - 1]) continue;
        TRY(config_complain(c, "schedule", "milestones", NULL, "expected ascending numbers"));
        break;
    }
    return OK;
}

static status check_prune(config *c)
{
    const char *target = c->spec.prune.target, *number = strchr(target, ':');
    if (!*target) return OK;
    double fraction;
    bool known = number && ((number - target == 6 && strncmp(target, "params", 6) == 0) ||
                            (number - target == 5 && strncmp(target, "flops", 5) == 0));
    if (known && text_to_number(number + 1, &fraction) && fraction > 0 && fraction < 1) return OK;
    return config_complain(c, "prune", "target", NULL,
                           "expected params:F or flops:F with F between 0 and 1, for example params:0.5");
}

status config_check_together(config *c)
{
    TRY(check_read(c));
    TRY(check_network(c));
    TRY(check_data(c));
    TRY(check_augment(c));
    TRY(check_train(c));
    TRY(check_transfer(c));
    TRY(check_schedule(c));
    return check_prune(c);
}
