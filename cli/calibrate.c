#include <inttypes.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/export_images.h"
#include "cli/network.h"

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--model", "-m", "FILE", .target = "export.model", .help = "model file to calibrate"},
    CLI_DATA_OPTION,
    {"--output", "-o", "FILE", .target = "export.cache", .help = "calibration cache to write"},
    {"--calibrator", NULL, "METHOD", .target = "export.calibrator", .help = "entropy, minmax, percentile, mse or auto"},
    CLI_FORCE_OPTION,
    {.name = NULL},
};

/* MODEL.cal beside MODEL.safetensors. */
static const char *default_output(arena *a, const char *model_path)
{
    size_t length = strlen(model_path), dot = strlen(path_extension(model_path));
    if (dot) length -= dot + 1;
    return arena_printf(a, "%.*s.cal", (int)length, model_path);
}

static status calibrate(cli_context *c, const model *m, device *dev, const char *output)
{
    export_images images;
    export_scales scales;
    const spec_export *s = &c->config.spec.export;
    TRY(export_images_open(&images, &c->config.spec, m, dev, s->calibrator == CALIBRATOR_AUTO, &c->log));
    export_options o = {.calibrator = s->calibrator,
        .percentile = s->percentile,
        .power_of_two = s->power_of_two,
        .dev = dev,
        .data = &images.calibration,
        .log = &c->log};
    if (s->calibrator == CALIBRATOR_AUTO) o.score = export_images_score, o.score_context = &images;
    log_info(&c->log, "calibrating on %" PRId64 " images", images.chosen.count);
    status result = export_calibrate(&scales, m, &o, s->cache_version);
    if (result == OK) result = export_write_scales(&scales, output);
    if (result == OK) {
        cli_print(c, "wrote %s: %" PRId64 " scales by %s\n", output, scales.table.count, scales.calibrator);
        json_key(&c->result, "output"), json_put_string(&c->result, output);
        json_key(&c->result, "calibrator"), json_put_string(&c->result, scales.calibrator);
        json_key(&c->result, "images"), json_put_int(&c->result, scales.images);
        json_key(&c->result, "scales"), json_put_int(&c->result, scales.table.count);
    }
    export_scales_free(&scales);
    export_images_close(&images);
    return result;
}

static status run(cli_context *c)
{
    model m = {0};
    device *dev = NULL;
    const spec *s = &c->config.spec;
    const char *output;
    status result = OK;
    if (!*s->export.model) return FAIL(E_USAGE, "which model? graft calibrate MODEL, or export.model in a spec");
    TRY_OUT(model_load(&m, s->export.model));
    TRY_OUT(cli_adopt_spec(c, m.spec_text, CLI_MODEL_SECTIONS " data train evaluate", s->export.model));
    TRY_OUT(cli_finish_spec(c));
    output = *s->export.cache ? s->export.cache : default_output(&c->memory, s->export.model);
    if (!output) TRY_OUT(FAIL_MEMORY(256));
    TRY_OUT(cli_check_output(c, output));
    TRY_OUT(device_open(&dev, s->train.device, 0, (int32_t)s->train.threads, &c->log));
    TRY_OUT(calibrate(c, &m, dev, output));
out:
    device_close(dev);
    model_free(&m);
    return result;
}

const cli_command command_calibrate = {
    .name = "calibrate",
    .summary = "measure the ranges that INT8 needs",
    .arguments = "[MODEL]",
    .most = 1,
    .first_target = "export.model",
    .description = "Writes a calibration cache in TensorRT's text format: one scale per tensor of the fused network. "
                   "`graft export` reads it as export.cache.",
    .spec = CLI_SPEC_OPEN,
    .sections = "export data",
    .options = options,
    .run = run,
};
