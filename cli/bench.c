#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/network.h"
#include "core/base/rng.h"
#include "core/base/text.h"
#include "core/device/tuning.h"
#include "core/train/train_graph.h"

enum { MAX_NETWORKS = 8, MAX_SAMPLES = 4096, WARM_UP_RUNS = 3, TUNE_SAMPLES = 15 };

static const cli_option options[] = {
    CLI_SPEC_OPTION,
    {"--batch-size", "-b", "N", .target = "infer.batch_size", .help = "images per run"},
    {"--seconds", NULL, "S", .help = "how long to measure each file (default 3)"},
    {"--tune", NULL, NULL,
        .help = "first find each convolution's fastest kernel on this GPU and keep it for later runs; of a model also "
                "its gradients', for train.batch_size and train.precision"},
    {.name = NULL},
};

/* One file being timed. */
typedef struct contender {
    const char *path;
    network network;
    float *images, *scores;
    double sample[MAX_SAMPLES]; /* seconds per run */
    int32_t samples;
    double spent;
} contender;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double quantile(const contender *t, double q) { return t->sample[(int32_t)(q * (t->samples - 1) + 0.5)]; }

static status open_contender(contender *t, const char *path, device *dev, int64_t n)
{
    t->path = path;
    TRY(network_open(&t->network, path, NULL, dev, n));
    int64_t pixels = n * shape_count(runner_input(t->network.runner));
    t->images = malloc((size_t)pixels * sizeof *t->images);
    t->scores = malloc((size_t)(n * t->network.class_count) * sizeof *t->scores);
    if (!t->images || !t->scores) return FAIL_MEMORY(pixels * 4);
    rng r = rng_make(1, RNG_TEST, 0); /* not zeros: they run faster than pictures on some machines */
    for (int64_t i = 0; i < pixels; i++) t->images[i] = rng_normal(&r);
    for (int32_t i = 0; i < WARM_UP_RUNS; i++)
        TRY(runner_run(t->network.runner, (float *const[]){t->scores}, t->images, n));
    return OK;
}

/* Once per descriptor. */
static status tune_kernel(cli_context *c, device *dev, const kernel *k, const void *desc)
{
    char text[1024];
    tuning_result r;
    bool convolution = k->op == OP_CONV2D_FORWARD || k->op == OP_CONV2D_DSRC || k->op == OP_CONV2D_DWEIGHT;
    if (!convolution || tuning_find(dev->tuned, k->op, desc)) return OK;
    TRY(tuning_time_conv2d(dev, k->op, desc, TUNE_SAMPLES, &r));
    TRY(tuning_set(dev->tuned, k->op, desc, r.fastest, r.fastest_seconds));
    TRY(kernel_desc_format(k->op, desc, text, sizeof text));
    log_info(&c->log, "%s: %s %.1f us, %s %.1f us", text, r.fastest->name, 1e6 * r.fastest_seconds, r.chosen->name,
        1e6 * r.chosen_seconds);
    return OK;
}

static status tune_plan(cli_context *c, device *dev, const plan *p)
{
    const char *const *names;
    for (int64_t k = 0, count = plan_variants(p, &names); k < count; k++) {
        const void *desc;
        const kernel *chosen = plan_kernel(p, k, &desc);
        TRY(tune_kernel(c, dev, chosen, desc));
    }
    return OK;
}

/* A training step of all of its layers, as train.batch_size and train.precision say. */
static status tune_training(cli_context *c, device *dev, const network *n)
{
    const spec *s = &c->config.spec;
    trainable t;
    fused_traffic saved;
    plan *p = NULL;
    const task_setting setting = {.task = n->task,
        .spec = s,
        .class_name = n->class_name,
        .class_count = n->class_count,
        .preprocess = n->preprocess};
    TRY(train_graph_build(&t, &n->model.graph, &setting, s->train.batch_size ? s->train.batch_size : 32, 1));
    status result = OK;
    TRY_OUT(trainable_fuse(&t, dev->api->kernels, s->train.normalise_on_read, &saved));
    TRY_OUT(plan_create(&p, &t.graph, dev, &(plan_options){0}));
    TRY_OUT(tune_plan(c, dev, p));
out:
    plan_destroy(p);
    trainable_free(&t);
    return result;
}

/* What every file needs to predict, a model also to be trained; the table is written once. */
static status tune(cli_context *c, device *dev, int64_t n)
{
    if (!dev->tuned) return FAIL(E_DEVICE, "--tune chooses among a GPU's kernels, and this runs on the CPU");
    for (int32_t i = 0; i < c->argument_count; i++) {
        network net = {0};
        plan *p;
        status result = OK;
        TRY_OUT(network_open(&net, c->arguments[i], NULL, dev, n));
        TRY_OUT(runner_plan(net.runner, n, &p));
        TRY_OUT(tune_plan(c, dev, p));
        if (!net.is_engine) TRY_OUT(tune_training(c, dev, &net));
out:
        network_close(&net);
        TRY(result);
    }
    TRY(tuning_save(dev->tuned));
    cli_print(c, "%" PRId64 " convolutions tuned: %s\n", dev->tuned->count, dev->tuned->path);
    return OK;
}

static status time_once(contender *t, int64_t n)
{
    double begin = clock_seconds();
    TRY(runner_run(t->network.runner, (float *const[]){t->scores}, t->images, n));
    t->spent += t->sample[t->samples++] = clock_seconds() - begin;
    return OK;
}

/* Files take turns, so that a change of the machine's speed hits all of them. */
static status time_all(contender *t, int32_t count, int64_t n, double seconds)
{
    for (bool going = true; going;) {
        going = false;
        for (int32_t i = 0; i < count; i++) {
            if (t[i].samples == MAX_SAMPLES || (t[i].spent > seconds && t[i].samples >= 5)) continue;
            TRY(time_once(&t[i], n));
            going = true;
        }
    }
    return OK;
}

static void put(json_writer *w, const char *key, double value)
{
    json_key(w, key);
    json_put_number(w, value);
}

static void report(cli_context *c, contender *t, int32_t count, int64_t n)
{
    size_t width = 4;
    for (int32_t i = 0; i < count; i++) width = strlen(t[i].path) > width ? strlen(t[i].path) : width;
    cli_print(c, "%-*s %6s %9s %9s %9s %11s %9s %7s\n", (int)width, "file", "batch", "p50 ms", "p95 ms", "p99 ms",
        "images/s", "GFLOP/s", "ratio");
    json_key(&c->result, "runs");
    json_begin_array(&c->result);
    for (int32_t i = 0; i < count; i++) {
        qsort(t[i].sample, (size_t)t[i].samples, sizeof t[i].sample[0], by_value);
        const graph *g = t[i].network.is_engine ? &t[i].network.engine.graph : &t[i].network.graph;
        double median = quantile(&t[i], 0.5),
               flops = 2.0 * (double)graph_macs(g) / (double)g->edges[g->inputs[0]].shape.dim[0];
        double speed = (double)n / median, ratio = quantile(&t[0], 0.5) / median;
        cli_print(c, "%-*s %6" PRId64 " %9.3f %9.3f %9.3f %11.1f %9.1f %7.2f\n", (int)width, t[i].path, n, 1e3 * median,
                  1e3 * quantile(&t[i], 0.95), 1e3 * quantile(&t[i], 0.99), speed, 1e-9 * flops * speed, ratio);
        json_begin_object(&c->result);
        json_key(&c->result, "file"), json_put_string(&c->result, t[i].path);
        put(&c->result, "batch_size", (double)n);
        put(&c->result, "runs", t[i].samples);
        put(&c->result, "p50_ms", 1e3 * median);
        put(&c->result, "p95_ms", 1e3 * quantile(&t[i], 0.95));
        put(&c->result, "p99_ms", 1e3 * quantile(&t[i], 0.99));
        put(&c->result, "images_per_second", speed);
        put(&c->result, "flops_per_image", flops);
        put(&c->result, "speed_ratio_to_first", ratio);
        json_end_object(&c->result);
    }
    json_end_array(&c->result);
}

static status run(cli_context *c)
{
    const spec *s = &c->config.spec;
    const char *text = cli_value(c, "--seconds");
    double seconds = 3;
    if (text && (!text_to_number(text, &seconds) || seconds <= 0 || seconds > 3600))
        return FAIL(E_USAGE, "--seconds %s: expected a number above 0, at most 3600", text);
    contender *t = calloc(MAX_NETWORKS, sizeof *t);
    device *dev = NULL;
    status result = OK;
    if (!t) return FAIL_MEMORY(MAX_NETWORKS * sizeof *t);
    TRY_OUT(device_open(&dev, s->train.device, 0, (int32_t)s->train.threads, &c->log));
    if (cli_is_given(c, "--tune")) TRY_OUT(tune(c, dev, s->infer.batch_size));
    for (int32_t i = 0; i < c->argument_count; i++)
        TRY_OUT(open_contender(&t[i], c->arguments[i], dev, s->infer.batch_size));
    TRY_OUT(time_all(t, (int32_t)c->argument_count, s->infer.batch_size, seconds));
    report(c, t, (int32_t)c->argument_count, s->infer.batch_size);
out:
    for (int32_t i = 0; i < MAX_NETWORKS; i++) {
        network_close(&t[i].network);
        free(t[i].images), free(t[i].scores);
    }
    free(t);
    device_close(dev);
    return result;
}

const cli_command command_bench = {
    .name = "bench",
    .summary = "time models and engines",
    .arguments = "FILE...",
    .least = 1,
    .most = MAX_NETWORKS,
    .description = "Runs each file on random images after three runs to warm up; several files take turns, and `ratio` "
                   "is how much faster than the first one each is. Preprocessing is not part of it.",
    .spec = CLI_SPEC_FINISHED,
    .sections = "infer train",
    .options = options,
    .run = run,
};
