#include "cli/import_darknet.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/text.h"
#include "models/import/darknet.h"
#include "models/models.h"

enum { HEADER_LONG = 20, HEADER_SHORT = 16 };

static status set(cli_context *c, const char *section, const char *key, const char *value)
{
    return config_is_set(&c->config, section, key) ? OK : config_set(&c->config, section, key, value, "darknet");
}

static status set_int(cli_context *c, const char *section, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return set(c, section, key, text);
}

/* Darknet scales pixels to 0 .. 1, the shorter side to the network's (two taps, no
 * antialiasing), and takes the middle. */
static status set_preprocess(cli_context *c, int32_t channels)
{
    if (!config_is_set(&c->config, "data", "preprocess")) {
        TRY(set(c, "data", "preprocess", "custom"));
        TRY(set(c, "data", "mean", channels == 1 ? "0" : "0 0 0"));
        TRY(set(c, "data", "std", channels == 1 ? "255" : "255 255 255"));
    }
    TRY(set(c, "data", "interpolation", "linear"));
    return set(c, "data", "crop_fraction", "1");
}

static status read_form(const cli_context *c, darknet_epsilon *form)
{
    const char *text = cli_value(c, "--epsilon");
    *form = DARKNET_EPSILON_INSIDE;
    if (!text || strcmp(text, "inside") == 0) return OK;
    if (strcmp(text, "outside") != 0) return FAIL(E_USAGE, "--epsilon %s: expected inside or outside", text);
    *form = DARKNET_EPSILON_OUTSIDE;
    return OK;
}

static status import_cfg(cli_context *c, const char *cfg_path, darknet_epsilon form, graph *g)
{
    darknet_cfg cfg;
    TRY(darknet_cfg_read(&cfg, cfg_path));
    status result = OK;
    TRY_OUT(config_set(&c->config, "model", "arch", MODELS_IMPORTED, "darknet"));
    TRY_OUT(set_int(c, "model", "input_width", cfg.width));
    TRY_OUT(set_int(c, "model", "input_height", cfg.height));
    TRY_OUT(set_int(c, "model", "channels", cfg.channels));
    TRY_OUT(set_preprocess(c, cfg.channels));
    TRY_OUT(cli_finish_spec(c));
    cfg.width = (int32_t)c->config.spec.model.input_width;
    cfg.height = (int32_t)c->config.spec.model.input_height;
    if (c->config.spec.model.channels != cfg.channels)
        TRY_OUT(FAIL(E_USAGE, "model.channels = %" PRId64 ", but %s has %d", c->config.spec.model.channels, cfg_path,
            cfg.channels));
    TRY_OUT(darknet_build(g, &cfg, (float)DARKNET_EPSILON_OF(form)));
    log_info(&c->log, "network from %s: %" PRId64 " layers", cfg_path, cfg.count - 1);
out:
    darknet_cfg_free(&cfg);
    return result;
}

static int64_t count_numbers(const graph *g)
{
    int64_t count = 0;
    for (int64_t i = 0; i < g->edge_count; i++)
        if (g->edges[i].kind == EDGE_PARAM || g->edges[i].kind == EDGE_STATE) count += shape_count(g->edges[i].shape);
    return count;
}

/* The file has no names and no shapes; its length says how many classes the last layer has. */
static status count_classes(const cli_context *c, const char *path, int64_t *classes)
{
    const spec *s = &c->config.spec;
    int64_t bytes, mtime, numbers[2] = {0, 0};
    TRY(file_info(path, &bytes, &mtime));
    for (int i = 0; i < 2; i++) {
        graph g;
        TRY(models_build(&g, s, i + 1));
        numbers[i] = count_numbers(&g);
        graph_free(&g);
    }
    int64_t per_class = numbers[1] - numbers[0];
    for (int header = HEADER_SHORT; header <= HEADER_LONG; header += HEADER_LONG - HEADER_SHORT) {
        int64_t left = (bytes - header) / 4 - numbers[0];
        *classes = left / per_class + 1;
        if ((bytes - header) % 4 == 0 && left >= 0 && left % per_class == 0) return OK;
    }
    return FAIL(E_MODEL, "%s: its %" PRId64 " bytes are those of no %s, whatever the number of classes; name its --cfg",
        path, bytes, s->model.arch);
}

static status import_arch(cli_context *c, const char *path, darknet_epsilon form, graph *g)
{
    int64_t classes;
    char epsilon[32];
    if (!config_is_set(&c->config, "model", "arch"))
        return FAIL(E_USAGE,
            "%s: darknet weights have no names: give --cfg FILE, or model.arch for a network of Graft's", path);
    number_text(DARKNET_EPSILON_OF(form), epsilon);
    TRY(set(c, "model", "bn_epsilon", epsilon));
    TRY(set_preprocess(c, (int32_t)c->config.spec.model.channels));
    TRY(cli_finish_spec(c));
    TRY(count_classes(c, path, &classes));
    return models_build(g, &c->config.spec, classes);
}

status darknet_import(cli_context *c, const char *path, model *m, int64_t *classes)
{
    darknet_epsilon form;
    const char *cfg = cli_value(c, "--cfg");
    TRY(read_form(c, &form));
    TRY(cfg ? import_cfg(c, cfg, form, &m->graph) : import_arch(c, path, form, &m->graph));
    TRY(darknet_load(&m->graph, path, form));
    shape out = m->graph.edges[m->graph.outputs[0]].shape;
    *classes = out.dim[out.rank - 1];
    log_info(&c->log, "%s: every byte read, %" PRId64 " classes", path, *classes);
    return OK;
}
