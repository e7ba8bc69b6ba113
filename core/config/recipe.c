#include "core/config/recipe.h"

#include <string.h>

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

/* A complete spec repeats the defaults: a line of a file that says the same says nothing. The command line means what it says. */
static status stands_at_default(const config *c, const config *fresh, const option *o, bool *at_default)
{
    arena a = {0};
    const char *now = config_value_text(c, &a, o), *plain = config_value_text(fresh, &a, o);
    bool given = config_is_set(c, o->section, o->key) && c->origin_line[o - option_table] == 0;
    *at_default = now && plain && !given && strcmp(now, plain) == 0;
    status result = now && plain ? OK : FAIL_MEMORY(64);
    arena_free(&a);
    return result;
}

status recipe_apply(config *c)
{
    config fresh;
    if (!transfer_is_on(&c->spec) || !c->spec.transfer.recipe) return OK;
    TRY(config_init(&fresh));
    status result = OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bool at_default, start_weight = strcmp(rows[i][1], "start_weight") == 0;
        if (start_weight && c->spec.train.ema_decay > 0) continue; /* an average of the user's own */
        TRY_OUT(stands_at_default(c, &fresh, option_find(rows[i][0], rows[i][1]), &at_default));
        if (at_default) TRY_OUT(config_set(c, rows[i][0], rows[i][1], rows[i][2], recipe_origin));
    }
    TRY_OUT(config_set(c, "transfer", "recipe", "false", recipe_origin));
out:
    config_free(&fresh);
    return result;
}
