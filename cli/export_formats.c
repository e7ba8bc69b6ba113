#include <string.h>

#include "cli/export_job.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/graph/transform.h"
#include "core/onnx/onnx.h"
#include "export/ncnn.h"
#include "export/nvinfer.h"
#include "models/import/darknet.h"

void export_also_wrote(export_job *j, const char *path) { cli_print(j->c, "wrote %s\n", path); }

/* OUTPUT with another ending: the last one of the output's goes if it is the format's. */
static status beside(export_job *j, const char *extension, const char **path)
{
    const char *own = export_formats[j->spec->format].extension;
    size_t length = strlen(j->output), tail = strlen(own);
    if (length > tail + 1 && j->output[length - tail - 1] == '.' && strcmp(j->output + length - tail, own) == 0)
        length -= tail + 1;
    *path = arena_printf(&j->c->memory, "%.*s.%s", (int)length, j->output, extension);
    if (!*path) return FAIL_MEMORY(length);
    return cli_check_output(j->c, *path);
}

static status write_engine(export_job *j) { return engine_save(&j->engine, j->output); }

static status write_onnx_to(export_job *j, const char *path, bool inside)
{
    onnx_about about = {.preprocess = &j->engine.preprocess,
        .class_name = j->engine.class_name,
        .class_count = j->engine.class_count,
        .info_json = j->m.info_json,
        .preprocess_inside = inside};
    return onnx_write(&j->engine.graph, &about, path, &j->engine.file_hash);
}

static status write_onnx(export_job *j) { return write_onnx_to(j, j->output, j->spec->preprocess_inside); }

static status write_labels(export_job *j) { return labels_write(j->output, j->m.class_name, j->m.class_count, '\n'); }

static status write_cache(export_job *j) { return export_write_scales(&j->scales, j->output); }

static status write_ncnn(export_job *j) { return ncnn_write_table(j->output, &j->m, &j->scales, &j->engine); }

/* ------------------------------------------------------------------------------------------------ weights */

static void put_three(char *to, size_t room, const float *value)
{
    size_t used = 0;
    for (int i = 0; i < 3; i++) {
        char number[32];
        number_text((double)value[i] / 255, number);
        used += (size_t)snprintf(to + used, room - used, "%s%s", i ? "," : "", number);
    }
}

static status list_classes(export_job *j, const char **text)
{
    json_writer w = {0};
    size_t bytes;
    json_begin_array(&w);
    for (int64_t i = 0; i < j->m.class_count; i++) json_put_string(&w, j->m.class_name[i]);
    json_end_array(&w);
    status result = json_writer_finish(&w, text, &bytes);
    if (result == OK && !(*text = arena_strdup(&j->c->memory, *text))) result = FAIL_MEMORY(bytes);
    json_writer_free(&w);
    return result;
}

/* The entries that `graft import` reads. */
static status write_safetensors(export_job *j)
{
    const spec *s = &j->c->config.spec;
    const preprocess *p = &j->m.preprocess;
    char mean[128], std[128], side[16], part[32], crop[16];
    const char *classes;
    TRY(list_classes(j, &classes));
    put_three(mean, sizeof mean, p->mean);
    put_three(std, sizeof std, p->std);
    snprintf(side, sizeof side, "%d", p->width);
    snprintf(crop, sizeof crop, "%d", p->crop_size);
    number_text((double)p->crop_fraction, part);
    const char *meta[] = {"class_names", classes, "mean", mean, "std", std, "crop", side, "crop_pct", part,
        "interpolation", option_choice("data", "interpolation", p->interpolation), "channels",
        p->channels == 1 ? "L"
        : p->bgr         ? "BGR"
                         : "RGB",
        "padding", s->model.padding == PADDING_SAME ? "same" : "symmetric", "crop_size", crop};
    int64_t count = (int64_t)(sizeof meta / sizeof *meta / 2) - (p->crop_size > 0 ? 0 : 1);
    return model_save_weights(&j->m, j->output, meta, count, NULL);
}

/* Darknet divides pixels by 255 and knows nothing else. */
static status check_darknet_pixels(const export_job *j)
{
    const preprocess *p = &j->m.preprocess;
    bool fine = !p->bgr;
    for (int32_t c = 0; c < p->channels; c++) fine = fine && p->mean[c] == 0 && p->std[c] == 255;
    return fine ? OK
                : FAIL(E_MODEL, "darknet divides pixels by 255, in RGB; this model wants another mean, deviation or "
                                "order. Train with data.preprocess=custom data.mean=0,0,0 data.std=255,255,255");
}

static status write_darknet(export_job *j)
{
    const char *cfg, *labels;
    TRY(check_darknet_pixels(j));
    TRY(beside(j, "cfg", &cfg));
    TRY(beside(j, "labels", &labels));
    TRY(darknet_cfg_save(&j->m.graph, cfg));
    TRY(darknet_save(&j->m.graph, j->output));
    TRY(labels_write(labels, j->m.class_name, j->m.class_count, '\n'));
    export_also_wrote(j, cfg);
    export_also_wrote(j, labels);
    return OK;
}

/* ------------------------------------------------------------------------------------------------ DeepStream */

static status prepare_nvinfer(export_job *j) { return nvinfer_one_scale(&j->m); }

static status write_nvinfer(export_job *j)
{
    bool integer = j->spec->precision == ENGINE_INT8;
    const char *onnx, *labels, *cache = "";
    TRY(beside(j, "onnx", &onnx));
    TRY(beside(j, "labels.txt", &labels));
    if (integer) TRY(beside(j, "cal", &cache));
    TRY(nvinfer_add_probabilities(&j->engine.graph, j->engine.sigmoid));
    TRY(write_onnx_to(j, onnx, false));
    TRY(labels_write(labels, j->m.class_name, j->m.class_count, ';'));
    if (integer) TRY(export_write_scales(&j->scales, cache));
    const graph *g = &j->engine.graph;
    TRY(nvinfer_write_config(&(nvinfer_config){.preprocess = &j->m.preprocess,
                                 .onnx_file = path_base(onnx),
                                 .labels_file = path_base(labels),
                                 .cache_file = path_base(cache),
                                 .output_name = g->edges[g->outputs[0]].name,
                                 .integer = integer},
        j->output));
    export_also_wrote(j, onnx);
    export_also_wrote(j, labels);
    if (integer) export_also_wrote(j, cache);
    return OK;
}

const export_format export_formats[] = {
    [FORMAT_ENGINE] = {.extension = "engine", .write = write_engine},
    [FORMAT_ONNX] = {.extension = "onnx", .write = write_onnx},
    [FORMAT_SAFETENSORS] = {.extension = "weights.safetensors", .takes_model = true, .write = write_safetensors},
    [FORMAT_DARKNET] = {.extension = "weights", .takes_model = true, .write = write_darknet},
    [FORMAT_LABELS] = {.extension = "labels.txt", .takes_model = true, .write = write_labels},
    [FORMAT_NVINFER] = {.extension = "nvinfer.txt",
        .float_graph = true,
        .prepare = prepare_nvinfer,
        .write = write_nvinfer},
    [FORMAT_TRTCACHE] = {.extension = "cal", .integers = true, .float_graph = true, .write = write_cache},
    [FORMAT_NCNN] = {.extension = "table", .integers = true, .write = write_ncnn},
};
