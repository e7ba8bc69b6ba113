#include "core/config/recipe.h"

#include <string.h>

#include "core/config/internal.h"

const char recipe_origin[] = "transfer recipe";

static const char *const rows[][3] = {
#define RECIPE(section, key, value) {#section, #key, value},
#include "core/config/recipe.def"
};

bool transfer_is_on(const spec *s)
{
    if (!s->model.pretrained[0] || s->transfer.enable == TRANSFER_FALSE) return false;
    return s->transfer.enable == TRANSFER_TRUE || !s->model.load_graph;
}

/* A recipe replaces defaults only. A line of a spec file that repeats a default is one too, since complete specs repeat
 * all of them; a word of the command line is the user's choice, whatever it says. An option that is not read beside the
 * others keeps its value. */
static status may_be_set(const config *c, const option *o, bool *may)
{
    bool given = config_is_set(c, o->section, o->key) && c->origin_line[o - option_table] == 0;
    TRY(config_at_default(c, o, may));
    *may = *may && !given && option_is_read(&c->spec, o->section, o->key);
    return OK;
}

status recipe_apply(config *c)
{
    if (!transfer_is_on(&c->spec) || !c->spec.transfer.recipe) return OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool may, start_weight = strcmp(rows[i][1], "start_weight") == 0;
        if (start_weight && c->spec.train.ema_decay > 0) continue; /* an average of the user's own */
        TRY(may_be_set(c, option_find(rows[i][0], rows[i][1]), &may));
        if (may) TRY(config_set(c, rows[i][0], rows[i][1], rows[i][2], recipe_origin));
    }
    return config_set(c, "transfer", "recipe", "false", recipe_origin);
}
