#include "cli/import_onnx.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/onnx/onnx.h"
#include "models/import/match.h"
#include "models/models.h"

enum { SMALL_SIDE = 64 };

static status set_int(cli_context *c, const char *key, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    if (value < 1 || config_is_set(&c->config, "model", key)) return OK;
    return config_set(&c->config, "model", key, text, "onnx");
}

/* The network's own size. Images as small as CIFAR's are taken whole. */
static status set_size(cli_context *c, const char *path)
{
    int32_t width, height, channels;
    TRY(onnx_image_size(path, &width, &height, &channels));
    TRY(set_int(c, "input_width", width));
    TRY(set_int(c, "input_height", height));
    TRY(set_int(c, "channels", channels));
    bool small = width > 0 && width <= SMALL_SIDE;
    if (!small || config_is_set(&c->config, "data", "crop_fraction")) return OK;
    return config_set(&c->config, "data", "crop_fraction", "1", "onnx");
}

static void tell(cli_context *c, const char *path, const onnx_report *r)
{
    log_info(&c->log, "%s: %s%sopset %" PRId64 ", %" PRId64 " nodes, %" PRId64 " parameters", path, r->producer,
        *r->producer ? ", " : "", r->opset, r->nodes, r->parameters);
    for (int64_t i = 0; i < r->note_count; i++) log_info(&c->log, "    %s", r->note[i]);
    json_writer *w = &c->result;
    json_key(w, "notes");
    json_begin_array(w);
    for (int64_t i = 0; i < r->note_count; i++) json_put_string(w, r->note[i]);
    json_end_array(w);
}

status onnx_import_file(cli_context *c, const char *path, model *m, int64_t *classes)
{
    onnx_options o = {.force = config_is_set(&c->config, "data", "preprocess")};
    onnx_report report;
    const spec *s = &c->config.spec;
    TRY(config_set(&c->config, "model", "arch", MODELS_IMPORTED, "onnx"));
    TRY(set_size(c, path));
    TRY(cli_finish_spec(c));
    TRY(preprocess_from_spec(&o.preprocess, &s->model, &s->data));
    TRY(onnx_import(m, path, &o, &report));
    tell(c, path, &report);
    onnx_report_free(&report);
    const preprocess *p = &m->preprocess;
    if (p->width != s->model.input_width || p->height != s->model.input_height || p->channels != s->model.channels)
        return FAIL(E_USAGE,
            "%s takes images of %dx%dx%d, model.input_width, input_height and channels say %" PRId64 "x%" PRId64
            "x%" PRId64,
            path, p->width, p->height, p->channels, s->model.input_width, s->model.input_height, s->model.channels);
    shape out = m->graph.edges[m->graph.outputs[0]].shape;
    *classes = out.dim[out.rank - 1];
    return preprocess_to_options(p, &c->config, "onnx", true); /* a file of Graft's has its own */
}
