/* network_run.c: networks as ONNX files beside what Graft computes for them; runtimes.py compares.
 *
 *     network_run make ARCH FOLDER        random weights: FOLDER/{f32,inside,int8,exact}.onnx, pixels and image (NCHW),
 *                                         and the engine's scores f32.scores, int8.scores; *.back: of the files read
 *                                         again. All f32, [N, ...] in a row.
 *                                         integers: every int8 tensor of the engine for image 0, in the order of
 *                                         integers.txt
 *                                         exact.*: INT8 with scales that are powers of two
 *     network_run rewrite IN OUT          an ONNX file read and written
 *     network_run scores FILE IMAGES OUT  of an engine or an ONNX file, for prepared images [n, h, w, c] in f32
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config/config.h"
#include "core/graph/transform.h"
#include "core/onnx/onnx.h"
#include "export/export.h"
#include "export/quantise.h"
#include "export/runner.h"
#include "models/models.h"
#include "tests/unit/net_fill.h"

enum { SIDE = 64, CLASSES = 7, COUNT = 6, IMAGE = SIDE * SIDE * 3 };

typedef struct context {
    arena memory;
    device *dev;
    config config;
    model m;
    graph f32, int8, exact;
    float *pixels, *image; /* [COUNT, SIDE, SIDE, 3], red first; as the network wants them */
    const char *folder;
    int64_t at;            /* of the calibration */
} context;

static status save(context *c, const char *name, const float *values, int64_t count)
{
    return file_write_all(path_join(&c->memory, c->folder, name), values, (size_t)count * sizeof *values);
}

static status scores_of(context *c, graph *g, const char *name, const float *images)
{
    runner *r;
    float *scores = ARENA_ARRAY(&c->memory, float, COUNT * CLASSES);
    if (!scores) return FAIL_MEMORY(COUNT * CLASSES * 4);
    TRY(runner_create(&r, g, c->dev, COUNT));
    status result = runner_run(r, (float *const[]){scores}, images, COUNT);
    runner_destroy(r);
    return result == OK ? save(c, name, scores, COUNT * CLASSES) : result;
}

/* [n, h, w, c] to [n, c, h, w]. */
static status save_planes(context *c, const char *name, const float *images)
{
    float *planes = ARENA_ARRAY(&c->memory, float, COUNT * IMAGE);
    if (!planes) return FAIL_MEMORY(COUNT * IMAGE * 4);
    for (int64_t n = 0; n < COUNT; n++)
        for (int64_t p = 0; p < SIDE * SIDE; p++)
            for (int64_t k = 0; k < 3; k++)
                planes[(n * 3 + k) * SIDE * SIDE + p] = images[(n * SIDE * SIDE + p) * 3 + k];
    return save(c, name, planes, COUNT * IMAGE);
}

static status make_images(context *c)
{
    const preprocess *p = &c->m.preprocess;
    c->pixels = ARENA_ARRAY(&c->memory, float, COUNT * IMAGE);
    c->image = ARENA_ARRAY(&c->memory, float, COUNT * IMAGE);
    if (!c->pixels || !c->image) return FAIL_MEMORY(COUNT * IMAGE * 8);
    rng r = rng_make(11, RNG_TEST, 0);
    for (int64_t i = 0; i < COUNT * SIDE * SIDE; i++) {
        for (int k = 0; k < 3; k++)
            c->pixels[3 * i + k] = floorf(255.99f * fminf(fmaxf(0.5f + 0.25f * rng_normal(&r), 0), 0.9999f));
        for (int k = 0; k < 3; k++)
            c->image[3 * i + k] = (c->pixels[3 * i + (p->bgr ? 2 - k : k)] - p->mean[k]) / p->std[k];
    }
    TRY(save_planes(c, "pixels", c->pixels));
    return save_planes(c, "image", c->image);
}

static status make_model(context *c, const char *arch)
{
    static const char *const names[CLASSES] = {"ant", "bee", "cat", "dog", "elk: \"big\"", "fox", "gnu"};
    TRY(config_init(&c->config));
    TRY(config_override(&c->config, arena_printf(&c->memory, "model.arch=%s", arch)));
    TRY(config_override(&c->config, arena_printf(&c->memory, "model.input_width=%d", SIDE)));
    TRY(config_override(&c->config, arena_printf(&c->memory, "model.input_height=%d", SIDE)));
    TRY(config_finish(&c->config));
    c->m = (model){.spec_text = "", .info_json = "{}"};
    TRY(models_build(&c->m.graph, &c->config.spec, CLASSES));
    net_fill(&c->m.graph, 7);
    /* Per-channel deviations, and blue first in every second network: both must reach the file. */
    c->m.preprocess = (preprocess){.width = SIDE,
        .height = SIDE,
        .channels = 3,
        .bgr = strlen(arch) % 2 == 0,
        .mean = {120, 115, 100},
        .std = {60, 50, 65},
        .resize = RESIZE_STRETCH,
        .crop_fraction = 1};
    return model_set_classes(&c->m, names, CLASSES);
}

static status rewind_images(void *context_)
{
    ((context *)context_)->at = 0;
    return OK;
}

static status next_images(void *context_, const float **images, int64_t *count)
{
    context *c = context_;
    *images = c->image;
    *count = c->at++ ? 0 : COUNT;
    return OK;
}

static status make_integers(context *c, graph *integers, bool power_of_two)
{
    calibration calibrated = {.edge_count = 0};
    calibration_data data = {.context = c, .rewind = rewind_images, .next = next_images};
    float *scale = ARENA_ARRAY(&c->memory, float, c->f32.edge_count);
    if (!scale) return FAIL_MEMORY(c->f32.edge_count * 4);
    TRY(calibration_run(&calibrated, &c->f32, c->dev, &data));
    calibration_scales(&calibrated, CALIBRATOR_MINMAX, 100, scale);
    calibration_free(&calibrated);
    quantise_share_scales(&c->f32, scale);
    if (power_of_two) quantise_round_scales(&c->f32, scale);
    return quantise_graph(integers, &c->f32, scale, NULL);
}

static status write_file(context *c, const graph *g, const char *name, bool inside)
{
    onnx_about about = {.preprocess = &c->m.preprocess,
        .class_name = c->m.class_name,
        .class_count = c->m.class_count,
        .preprocess_inside = inside};
    return onnx_write(g, &about, path_join(&c->memory, c->folder, name), NULL);
}

/* The file as a model of its own, evaluated as `graft evaluate` does, by its own preprocessing. */
static status read_back(context *c, const char *file, const char *scores, const float *images)
{
    model m;
    onnx_report report;
    graph inference = {.node_count = 0}, lowered = {.node_count = 0};
    status result = OK;
    TRY(onnx_import(&m, path_join(&c->memory, c->folder, file), &(onnx_options){.force = false}, &report));
    if (m.class_count != CLASSES || strcmp(m.class_name[4], c->m.class_name[4]) != 0)
        TRY_OUT(FAIL(E_GATE, "%s: its classes are not the model's", file));
    TRY_OUT(pass_inference(&inference, &m.graph));
    TRY_OUT(pass_lower(&lowered, &inference, false));
    TRY_OUT(scores_of(c, &lowered, scores, images));
out:
    graph_free(&lowered);
    graph_free(&inference);
    onnx_report_free(&report);
    model_free(&m);
    return result;
}

/* What stands behind QuantizeLinear in the file, as the engine has it. */
static status save_integers(context *c)
{
    graph *g = &c->int8;
    plan *p = NULL;
    file_writer names = {.stream = NULL}, values = {.stream = NULL};
    status result = OK;
    TRY(graph_resize(g, g->inputs[0], shape_4(1, SIDE, SIDE, 3)));
    TRY_OUT(plan_create(&p, g, c->dev, &(plan_options){.keep_activations = true}));
    TRY_OUT(plan_set_input(p, g->inputs[0], c->image, IMAGE * sizeof *c->image));
    TRY_OUT(plan_run(p));
    TRY_OUT(file_writer_open(&names, path_join(&c->memory, c->folder, "integers.txt")));
    TRY_OUT(file_writer_open(&values, path_join(&c->memory, c->folder, "integers")));
    for (edge_id e = 0; e < g->edge_count; e++) {
        const edge *d = &g->edges[e];
        if (d->type != DTYPE_I8 || d->kind != EDGE_ACTIVATION) continue;
        size_t bytes = (size_t)shape_count(d->shape);
        void *host = arena_alloc(&c->memory, bytes);
        TRY_OUT(host ? plan_get(p, e, host, bytes) : FAIL_MEMORY(bytes));
        TRY_OUT(file_writer_write(&values, host, bytes));
        bool of_float = g->nodes[d->producer].op == &op_quantise;
        TRY_OUT(file_writer_printf(&names, "%s", of_float ? g->edges[g->nodes[d->producer].in[0]].name : d->name));
        for (int32_t i = 0; i < d->shape.rank; i++)
            TRY_OUT(file_writer_printf(&names, "\t%lld", (long long)d->shape.dim[i]));
        TRY_OUT(file_writer_printf(&names, "\n"));
    }
    TRY_OUT(file_writer_commit(&values));
    TRY_OUT(file_writer_commit(&names));
out:
    file_writer_abort(&values);
    file_writer_abort(&names);
    plan_destroy(p);
    return result;
}

static status make(context *c, const char *arch, const char *folder)
{
    c->folder = folder;
    TRY(dir_make(folder));
    TRY(make_model(c, arch));
    TRY(make_images(c));
    TRY(export_float_graph(&c->f32, &c->m.graph));
    TRY(make_integers(c, &c->int8, false));
    TRY(make_integers(c, &c->exact, true));
    TRY(scores_of(c, &c->f32, "f32.scores", c->image));
    TRY(scores_of(c, &c->int8, "int8.scores", c->image));
    TRY(scores_of(c, &c->exact, "exact.scores", c->image));
    TRY(write_file(c, &c->f32, "f32.onnx", false));
    TRY(write_file(c, &c->f32, "inside.onnx", true));
    TRY(write_file(c, &c->int8, "int8.onnx", false));
    TRY(write_file(c, &c->int8, "int8_inside.onnx", true));
    TRY(write_file(c, &c->exact, "exact.onnx", false));
    TRY(read_back(c, "f32.onnx", "f32.back", c->image));
    TRY(read_back(c, "inside.onnx", "inside.back", c->pixels));
    TRY(read_back(c, "int8.onnx", "int8.back", c->image));
    TRY(read_back(c, "int8_inside.onnx", "int8_inside.back", c->pixels));
    TRY(read_back(c, "exact.onnx", "exact.back", c->image));
    return save_integers(c);
}

/* ---------------------------------------------------------------------------------------------------- files */

static status run_images(context *c, graph *g, const char *images, const char *out)
{
    void *bytes;
    size_t size;
    runner *r;
    TRY(file_read_all(&c->memory, images, 1 << 30, &bytes, &size));
    TRY(runner_create(&r, g, c->dev, 32));
    int64_t per_image = shape_count(runner_input(r)), classes = runner_output(r, 0).dim[1],
            n = (int64_t)size / 4 / per_image;
    float *scores = ARENA_ARRAY(&c->memory, float, n *classes);
    status result = scores ? OK : FAIL_MEMORY(n * classes * 4);
    for (int64_t i = 0; result == OK && i < n; i += 32)
        result = runner_run(
            r, (float *const[]){scores + i * classes}, (const float *)bytes + i * per_image, n - i < 32 ? n - i : 32);
    runner_destroy(r);
    return result == OK ? file_write_all(out, scores, (size_t)(n * classes) * 4) : result;
}

static status scores(context *c, const char *file, const char *images, const char *out)
{
    engine e;
    onnx_report report;
    if (strcmp(path_extension(file), "onnx") != 0) {
        TRY(engine_load(&e, file));
        status result = run_images(c, &e.graph, images, out);
        engine_free(&e);
        return result;
    }
    graph inference = {.node_count = 0}; /* as it is: nothing folded, nothing fused */
    TRY(onnx_import(&c->m, file, &(onnx_options){.preprocess = {.mean = {0}, .std = {1, 1, 1}}}, &report));
    onnx_report_free(&report);
    status result = pass_inference(&inference, &c->m.graph);
    if (result == OK) result = pass_lower(&c->f32, &inference, false);
    if (result == OK) result = run_images(c, &c->f32, images, out);
    graph_free(&inference);
    return result;
}

static status rewrite(context *c, const char *in, const char *out)
{
    onnx_report report;
    TRY(onnx_import(&c->m, in, &(onnx_options){.preprocess = {.mean = {0}, .std = {1, 1, 1}}}, &report));
    onnx_report_free(&report);
    TRY(export_float_graph(&c->f32, &c->m.graph));
    return onnx_write(&c->f32, &(onnx_about){.preprocess = &c->m.preprocess}, out, NULL);
}

int main(int argc, char **argv)
{
    context c = {.at = 0};
    status result = device_open(&c.dev, SPEC_DEVICE_CPU, 0, 1, NULL);
    if (result == OK && argc == 4 && strcmp(argv[1], "make") == 0) result = make(&c, argv[2], argv[3]);
    else if (result == OK && argc == 5 && strcmp(argv[1], "scores") == 0)
        result = scores(&c, argv[2], argv[3], argv[4]);
    else if (result == OK && argc == 4 && strcmp(argv[1], "rewrite") == 0) result = rewrite(&c, argv[2], argv[3]);
    else if (result == OK)
        result = FAIL(E_USAGE, "usage: network_run make ARCH FOLDER | rewrite IN OUT | scores FILE IMAGES OUT");
    if (result != OK) fprintf(stderr, "network_run: %s (%s)\n", status_message(), status_origin());
    graph_free(&c.f32);
    graph_free(&c.int8);
    graph_free(&c.exact);
    model_free(&c.m);
    config_free(&c.config);
    device_close(c.dev);
    arena_free(&c.memory);
    return (int)result;
}
