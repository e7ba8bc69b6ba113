#include <inttypes.h>
#include <string.h>

#include "cli/export_job.h"
#include "cli/network.h"
#include "core/graph/transform.h"
#include "export/qat.h"
#include "export/quantise.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .target = "export.model", .help = "model file to export"},
    CLI_DATA_OPTION,
    {"--output", "-o", "FILE", .target = "export.output", .help = "file to write"},
    {"--format", NULL, "FORMAT", .target = "export.format",
        .help = "engine, onnx, safetensors, darknet, labels, nvinfer, trtcache or ncnn"},
    {"--precision", "-p", "TYPE", .target = "export.precision", .help = "f32, f16 or int8"},
    {"--calibrator", NULL, "METHOD", .target = "export.calibrator", .help = "entropy, minmax, percentile, mse or auto"},
    {"--cache", NULL, "FILE", .target = "export.cache",
        .help = "TensorRT calibration cache: read if it exists, else written"},
    CLI_FORCE_OPTION,
    {.name = NULL},
};

/* MODEL.int8.engine beside MODEL.safetensors; formats that hold no arithmetic leave the precision out. */
static const char *default_output(arena *a, const char *model_path, const spec_export *s)
{
    size_t length = strlen(model_path), dot = strlen(path_extension(model_path));
    if (dot) length -= dot + 1;
    const export_format *f = &export_formats[s->format];
    if (f->takes_model || f->integers) return arena_printf(a, "%.*s.%s", (int)length, model_path, f->extension);
    return arena_printf(a, "%.*s.%s.%s", (int)length, model_path, engine_precision_name(s->precision), f->extension);
}

static export_options make_options(export_job *j)
{
    const spec_export *s = j->spec;
    return (export_options){
        .calibrator = s->calibrator,
        .percentile = s->percentile,
        .power_of_two = s->power_of_two,
        .max_drop = s->max_drop,
        .min_integer = s->min_int8,
        .float_layers = s->float_layers.value,
        .float_layer_count = s->float_layers.count,
        .sigmoid = j->c->config.spec.train.loss == LOSS_SIGMOID,
        .source_name = path_base(s->model),
        .dev = j->dev,
        .log = &j->c->log,
    };
}

/* Scales that come from elsewhere stay what they are. */
static status check_power_of_two(const export_job *j, const char *where)
{
    for (int64_t i = 0; j->spec->power_of_two && i < j->scales.table.count; i++)
        if (!quantise_is_power_of_two(j->scales.table.entries[i].scale))
            return FAIL(E_USAGE, "export.power_of_two = true: the scale of %s, %g, is none (%s)",
                j->scales.table.entries[i].name, (double)j->scales.table.entries[i].scale, where);
    return OK;
}

static status take_scales(export_job *j, const export_options *o)
{
    const char *cache = j->spec->cache;
    if (*cache && file_exists(cache)) {
        log_info(&j->c->log, "scales from %s", cache);
        TRY(export_read_scales(&j->scales, &j->m, cache, &j->c->log));
        return check_power_of_two(
            j, arena_printf(&j->c->memory, "read from %s; without that file they are calibrated", cache));
    }
    if (graph_has_fake_quant(&j->m.graph) && !j->spec->force_ptq) {
        log_info(&j->c->log, "scales from quantisation-aware training");
        TRY(qat_scales(&j->scales, &j->m, j->spec->cache_version));
        TRY(check_power_of_two(
            j, "from quantisation-aware training; with export.force_ptq = true they are calibrated"));
        return *cache ? export_write_scales(&j->scales, cache) : OK;
    }
    log_info(&j->c->log, "calibrating on %" PRId64 " images", j->images.chosen.count);
    TRY(export_calibrate(&j->scales, &j->m, o, j->spec->cache_version));
    return *cache ? export_write_scales(&j->scales, cache) : OK;
}

static status export_integers(export_job *j)
{
    export_options o = make_options(j);
    TRY(export_images_open(&j->images, &j->c->config.spec, &j->m, j->dev, true, &j->c->log));
    o.data = &j->images.calibration;
    o.score = export_images_score;
    o.score_context = &j->images;
    o.check_images = j->images.check_count;
    TRY(take_scales(j, &o));
    if (export_formats[j->spec->format].float_graph) return export_float(&j->engine, &j->m, &o);
    return export_int8(&j->engine, &j->m, &j->scales, &o);
}

static status report(export_job *j)
{
    cli_context *c = j->c;
    const engine *e = &j->engine;
    int64_t bytes = 0, mtime;
    char size[32], hash[33];
    TRY(file_info(j->output, &bytes, &mtime));
    format_bytes((double)bytes, size);
    hash128 file_hash;
    TRY(hash128_of_file(j->output, &file_hash));
    hash128_hex(file_hash, hash);
    bool has_engine = !export_formats[j->spec->format].takes_model;
    if (!c->json && has_engine) export_print(e, stdout, c->verbose || e->precision == ENGINE_INT8);
    cli_print(c, "wrote %s (%s)\n", j->output, size);
    json_writer *w = &c->result;
    json_key(w, "output"), json_put_string(w, j->output);
    json_key(w, "bytes"), json_put_int(w, bytes);
    json_key(w, "hash"), json_put_string(w, hash);
    if (has_engine) json_key(w, "engine"), engine_describe(e, w);
    return OK;
}

static status prepare(export_job *j)
{
    cli_context *c = j->c;
    const char *path = c->config.spec.export.model;
    if (c->config.spec.export.format != FORMAT_ENGINE && c->config.spec.export.precision == ENGINE_F16)
        return FAIL(E_USAGE, "export.precision = f16 is for engines; other formats are written in f32 or int8");
    if (!*path) return FAIL(E_USAGE, "which model? graft export MODEL, or export.model in a spec");
    TRY(model_load(&j->m, path));
    TRY(cli_adopt_spec(c, j->m.spec_text, CLI_MODEL_SECTIONS " data train evaluate", path));
    TRY(cli_finish_spec(c));
    j->spec = &c->config.spec.export;
    j->output = *j->spec->output ? j->spec->output : default_output(&c->memory, path, j->spec);
    if (!j->output) return FAIL_MEMORY(256);
    TRY(cli_check_output(c, j->output));
    return device_open(&j->dev, c->config.spec.train.device, 0, (int32_t)c->config.spec.train.threads, &c->log);
}

static status export_any(export_job *j)
{
    const export_format *f = &export_formats[j->spec->format];
    if (f->prepare) TRY(f->prepare(j));
    if (f->takes_model) return graph_remove_fake_quant(&j->m.graph); /* other programs know no ranges */
    if (f->integers || j->spec->precision == ENGINE_INT8) return export_integers(j);
    export_options o = make_options(j);
    o.half = j->spec->precision == ENGINE_F16;
    return export_float(&j->engine, &j->m, &o);
}

static status run(cli_context *c)
{
    export_job j = {.c = c};
    status result = prepare(&j);
    if (result == OK) result = export_any(&j);
    if (result == OK) result = export_formats[j.spec->format].write(&j);
    if (result == OK) result = report(&j);
    engine_free(&j.engine);
    export_scales_free(&j.scales);
    export_images_close(&j.images);
    device_close(j.dev);
    model_free(&j.m);
    return result;
}

const cli_command command_export = {
    .name = "export",
    .summary = "write an engine, ONNX, weights or a deployment's files",
    .arguments = "[MODEL]",
    .most = 1,
    .first_target = "export.model",
    .description =
        "An engine is the fused network as one file that `graft infer`, `graft evaluate` and libgraft.so run. INT8 is "
        "calibrated on training images and measured on validation images; layers that lose most stay in f32 until the "
        "drop is within export.max_drop. export.format = onnx writes the same network, with the same scales, for other "
        "runtimes; nvinfer what DeepStream needs; trtcache and ncnn the scales alone; safetensors, darknet and labels "
        "what is in the model. Data and preprocessing are those of the training unless the command line says "
        "otherwise.",
    .spec = CLI_SPEC_OPEN,
    .sections = "export data",
    .options = options,
    .run = run,
};
