/* engine: times a network's f32 and INT8 engines on the CPU.
 *   bench/engine ARCH BATCH [--profile] [--threads N] [--seconds S] [--processor]
 * --processor: seconds of processor time, of all threads, instead of the clock's: what else the machine does
 * matters little. Weights and images are random: time depends on shapes alone. Prints the network's size, then one
 * line per precision: the median run, images/s of it and of the shortest run (on a machine that others use too,
 * what the network would reach alone). */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/rng.h"
#include "core/base/text.h"
#include "export/export.h"
#include "export/runner.h"
#include "models/models.h"

enum { SIDE = 224, CLASSES = 1000, IMAGE = SIDE * SIDE * 3, CALIBRATION_IMAGES = 2, MAX_RUNS = 1000 };

typedef struct bench {
    const char *arch;
    int64_t batch, threads;
    double seconds;
    bool profile, processor;
    device *dev;
    float *images;
    int64_t at;
} bench;

static status rewind_images(void *context)
{
    ((bench *)context)->at = 0;
    return OK;
}

static status next_image(void *context, const float **images, int64_t *count)
{
    bench *b = context;
    *count = b->at < CALIBRATION_IMAGES;
    *images = b->images + b->at++ * IMAGE;
    return OK;
}

static void fill(graph *g)
{
    for (edge_id e = 0; e < g->edge_count; e++) {
        edge *p = &g->edges[e];
        if (!p->data || p->type != DTYPE_F32) continue;
        rng r = rng_make(1, RNG_TEST, (uint64_t)e);
        int64_t count = shape_count(p->shape);
        float sigma = p->shape.rank == 4 ? sqrtf(2.0f / (float)(count / p->shape.dim[0])) : 0.1f;
        bool about_one = p->shape.rank == 1 && (strstr(p->name, "running_var") || strstr(p->name, "weight"));
        for (int64_t i = 0; i < count; i++) ((float *)p->data)[i] = (about_one ? 1.0f : 0.0f) + sigma * rng_normal(&r);
    }
}

static status make_model(model *m, const bench *b)
{
    static const char *names[CLASSES];
    config c;
    for (int i = 0; i < CLASSES; i++) names[i] = "class";
    *m = (model){.spec_text = "", .info_json = "{}"};
    TRY(config_init(&c));
    status result = OK;
    TRY_OUT(config_set(&c, "model", "arch", b->arch, "bench"));
    TRY_OUT(config_set(&c, "model", "aux_weight", "0", "bench"));
    TRY_OUT(config_set(&c, "model", "input_width", "224", "bench"));
    TRY_OUT(config_set(&c, "model", "input_height", "224", "bench"));
    TRY_OUT(models_set_defaults(&c));
    TRY_OUT(models_build(&m->graph, &c.spec, CLASSES));
    printf("network %s %" PRId64 " parameters %.3f GMACs\n", b->arch, graph_param_count(&m->graph),
        (double)graph_macs(&m->graph) / 1e9);
    fill(&m->graph);
    m->preprocess = (preprocess){.width = SIDE, .height = SIDE, .channels = 3, .std = {1, 1, 1}, .crop_fraction = 1};
    result = model_set_classes(m, names, CLASSES);
out:
    config_free(&c);
    return result;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void print_profile(const bench *b, plan *p)
{
    const plan_profile_row *rows;
    int64_t count = plan_profile(p, &rows);
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        printf("  %-28s %-12s %-36s %9.3f ms %8.1f GFLOP/s %7.1f GB/s\n", rows[i].node, rows[i].op, rows[i].kernel,
            rows[i].milliseconds, rows[i].flops / rows[i].milliseconds * 1e-6,
            rows[i].bytes / rows[i].milliseconds * 1e-6);
        sum += rows[i].milliseconds;
    }
    printf("  sum of the nodes %.3f ms, %.1f images/s\n", sum, 1000.0 * (double)b->batch / sum);
}

static status time_profile(const bench *b, engine *e)
{
    plan *p;
    shape s = shape_4(b->batch, SIDE, SIDE, 3);
    TRY(graph_resize(&e->graph, e->graph.inputs[0], s));
    TRY(plan_create(&p, &e->graph, b->dev, &(plan_options){.profile = true}));
    status result = plan_set_input(p, e->graph.inputs[0], b->images, (size_t)b->batch * IMAGE * sizeof *b->images);
    for (int i = 0; i < 10 && result == OK; i++) result = plan_run(p);
    if (result == OK) print_profile(b, p);
    plan_destroy(p);
    return result;
}

static double now(const bench *b)
{
    struct timespec t;
    if (!b->processor) return clock_seconds();
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static status time_engine(const bench *b, engine *e)
{
    double time[MAX_RUNS], begin;
    runner *r;
    int runs = 0;
    status result = OK;
    float *scores = malloc((size_t)b->batch * CLASSES * sizeof *scores);
    if (!scores) return FAIL_MEMORY(b->batch * CLASSES * 4);
    TRY(runner_create(&r, &e->graph, b->dev, b->batch));
    for (int i = 0; i < 3 && result == OK; i++) result = runner_run(r, (float *const[]){scores}, b->images, b->batch);
    begin = clock_seconds();
    while (result == OK && runs < MAX_RUNS && (runs < 5 || clock_seconds() - begin < b->seconds)) {
        double start = now(b);
        result = runner_run(r, (float *const[]){scores}, b->images, b->batch);
        time[runs++] = now(b) - start;
    }
    if (result == OK) {
        qsort(time, (size_t)runs, sizeof *time, ascending);
        printf("graft %-10s %-5s batch %-3" PRId64
               " %9.3f ms %9.1f images/s   p95 %.3f ms, %d runs, shortest %.1f images/s, %.1f %% of MACs in INT8\n",
            b->arch, engine_precision_name(e->precision), b->batch, 1000 * time[runs / 2],
            (double)b->batch / time[runs / 2], 1000 * time[runs * 95 / 100], runs, (double)b->batch / time[0],
            100 * engine_integer_part(e));
    }
    runner_destroy(r);
    free(scores);
    return result == OK && b->profile ? time_profile(b, e) : result;
}

static status run(bench *b)
{
    model m = {0};
    engine e = {0};
    export_scales scales = {0};
    calibration_data data = {.context = b, .rewind = rewind_images, .next = next_image};
    export_options o = {.calibrator = CALIBRATOR_MINMAX, .source_name = "", .data = &data};
    status result = OK;
    int64_t count = b->batch > CALIBRATION_IMAGES ? b->batch : CALIBRATION_IMAGES;
    b->images = malloc((size_t)count * IMAGE * sizeof *b->images);
    if (!b->images) return FAIL_MEMORY(count * IMAGE * 4);
    rng r = rng_make(1, RNG_TEST, 1 << 20);
    for (int64_t i = 0; i < count * IMAGE; i++) b->images[i] = rng_normal(&r);
    TRY_OUT(device_open(&b->dev, SPEC_DEVICE_CPU, 0, (int32_t)b->threads, NULL));
    o.dev = b->dev;
    TRY_OUT(make_model(&m, b));
    TRY_OUT(export_float(&e, &m, &o));
    TRY_OUT(time_engine(b, &e));
    engine_free(&e);
    TRY_OUT(export_calibrate(&scales, &m, &o, 8601));
    TRY_OUT(export_int8(&e, &m, &scales, &o));
    TRY_OUT(time_engine(b, &e));
out:
    engine_free(&e);
    export_scales_free(&scales);
    model_free(&m);
    device_close(b->dev);
    free(b->images);
    return result;
}

int main(int argc, char **argv)
{
    bench b = {.arch = argc > 1 ? argv[1] : "resnet18", .batch = 16, .seconds = 5};
    bool good = true;
    if (argc > 2) good = text_to_int(argv[2], &b.batch) && b.batch > 0;
    for (int i = 3; i < argc && good; i++) {
        if (strcmp(argv[i], "--profile") == 0) b.profile = true;
        else if (strcmp(argv[i], "--processor") == 0) b.processor = true;
        else if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc) good = text_to_int(argv[++i], &b.threads);
        else if (strcmp(argv[i], "--seconds") == 0 && i + 1 < argc) good = text_to_number(argv[++i], &b.seconds);
        else good = false;
    }
    if (!good)
        return fprintf(stderr, "usage: %s ARCH BATCH [--profile] [--threads N] [--seconds S] [--processor]\n", argv[0]),
               2;
    status result = run(&b);
    if (result != OK) fprintf(stderr, "%s\n", status_message());
    return result;
}
