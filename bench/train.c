/* One training step of a network on random images: forward, loss, backward, update. Prints milliseconds and images per
 * second; with --profile the kernels by time; with --plan only what the kernels are called with, "OP DESCRIPTOR ->
 * KERNEL" (bench/shapes is made of it).
 *
 *     bench-train NETWORK SIDE BATCH SECONDS [--profile | --plan] [section.key=value...] */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/config/config.h"
#include "core/graph/plan.h"
#include "core/graph/init.h"
#include "core/train/optimiser.h"
#include "core/train/train_graph.h"
#include "models/models.h"

enum { CLASSES = 1000, WARM_UP = 3, MAX_SAMPLES = 1000 };

#define GOOD(expr)                                                                                                     \
    do {                                                                                                               \
        if ((expr) != OK) {                                                                                            \
            fprintf(stderr, "%s\n", status_message());                                                                 \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void fill_inputs(plan *p, const trainable *t, int64_t rows)
{
    int64_t pixels = shape_count(t->graph.edges[t->image].shape);
    float *images = malloc((size_t)pixels * sizeof *images),
          *targets = calloc((size_t)(rows * CLASSES), sizeof *targets);
    rng r = rng_make(1, RNG_TEST, 0);
    for (int64_t i = 0; i < pixels; i++) images[i] = rng_normal(&r);
    for (int64_t i = 0; i < rows; i++) targets[i * CLASSES + rng_below(&r, CLASSES)] = 1;
    GOOD(plan_set_input(p, t->image, images, (size_t)pixels * sizeof *images));
    GOOD(plan_set_input(p, t->label[0], targets, (size_t)(rows * CLASSES) * sizeof *targets));
    const float scale = 1;
    if (t->loss_scale != EDGE_NONE) GOOD(plan_set_input(p, t->loss_scale, &scale, sizeof scale));
    free(images), free(targets);
}

typedef struct kernel_time {
    const char *kernel;
    double milliseconds, flops;
    int32_t calls;
} kernel_time;

static void print_profile(const plan *p)
{
    enum { MOST = 128 };
    kernel_time sum[MOST];
    const plan_profile_row *rows;
    int32_t kernels = 0;
    int64_t count = plan_profile(p, &rows);
    for (int64_t i = 0; i < count; i++) {
        int32_t k = 0;
        while (k < kernels && strcmp(sum[k].kernel, rows[i].kernel) != 0) k++;
        if (k == MOST) continue;
        if (k == kernels) sum[kernels++] = (kernel_time){.kernel = rows[i].kernel};
        sum[k].milliseconds += rows[i].milliseconds;
        sum[k].flops += rows[i].flops;
        sum[k].calls++;
    }
    for (int32_t k = 0; k < kernels; k++)
        printf("  %-40s %4d calls %9.2f ms %8.1f GFLOP/s\n", sum[k].kernel, sum[k].calls, sum[k].milliseconds,
               sum[k].flops / sum[k].milliseconds / 1e6);
}

typedef struct arguments {
    bool profile, plan;
    int64_t batch;
    double seconds;
} arguments;

static void parse(arguments *a, config *c, int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: bench-train NETWORK SIDE BATCH SECONDS [--profile | --plan] [section.key=value...]\n");
        exit(2);
    }
    *a = (arguments){.batch = atoll(argv[3]), .seconds = atof(argv[4])};
    GOOD(config_init(c));
    GOOD(config_set(c, "train", "device", "cpu", "bench"));
    GOOD(config_set(c, "model", "arch", argv[1], "bench"));
    GOOD(config_set(c, "model", "input_width", argv[2], "bench"));
    GOOD(config_set(c, "model", "input_height", argv[2], "bench"));
    for (int i = 5; i < argc; i++) {
        if (strcmp(argv[i], "--profile") == 0) a->profile = true;
        else if (strcmp(argv[i], "--plan") == 0) a->plan = true;
        else GOOD(config_override(c, argv[i]));
    }
    GOOD(config_finish(c));
}

/* Seconds of the median step. */
static double time_steps(plan *p, optimiser *o, double limit)
{
    double seconds[MAX_SAMPLES], start = clock_seconds();
    int32_t count = 0;
    comm alone;
    GOOD(comm_init(&alone));
    for (int32_t i = 0; count < MAX_SAMPLES && (i < WARM_UP + 3 || clock_seconds() - start < limit); i++) {
        double begin = clock_seconds();
        step_state done;
        GOOD(plan_enqueue(p));
        GOOD(optimiser_step(o, &alone, 0.001, i + 1));
        GOOD(optimiser_result(o, &done));
        if (i >= WARM_UP) seconds[count++] = clock_seconds() - begin;
    }
    comm_free(&alone);
    qsort(seconds, (size_t)count, sizeof *seconds, by_value);
    return seconds[count / 2];
}

static void run(const trainable *t, const config *c, device *dev, const arguments *a)
{
    param_store *store;
    plan *p;
    optimiser o;
    GOOD(param_store_create(&store, &t->graph, dev, true));
    GOOD(plan_create(&p, &t->graph, dev, &(plan_options){.store = store, .profile = a->profile}));
    GOOD(optimiser_init(&o, dev, store, &c->spec, NULL, NULL));
    fill_inputs(p, t, a->batch);
    double median = time_steps(p, &o, a->seconds);
    printf("train %s batch %" PRId64 " %.2f ms %.2f images/s\n", c->spec.model.arch, a->batch, 1e3 * median,
        (double)a->batch / median);
    if (a->profile) print_profile(p);
    optimiser_free(&o);
    plan_destroy(p);
    param_store_destroy(store);
}

int main(int argc, char **argv)
{
    arguments a;
    config c;
    graph g;
    trainable t;
    device *dev;
    plan_memory need;
    parse(&a, &c, argc, argv);
    GOOD(models_build(&g, &c.spec, CLASSES));
    init_params(&g, 1);
    const task_setting setting = {.task = task_find(NULL), .spec = &c.spec, .class_count = CLASSES};
    GOOD(train_graph_build(&t, &g, &setting, a.batch, 1));
    GOOD(device_open(&dev, c.spec.train.device, 0, (int32_t)c.spec.train.threads, NULL));
    if (a.plan) {
        setenv("GRAFT_VERBOSE", "1", 1);
        GOOD(plan_measure(&t.graph, dev, NULL, &need));
    } else {
        run(&t, &c, dev, &a);
    }
    device_close(dev);
    trainable_free(&t);
    graph_free(&g);
    config_free(&c);
    return 0;
}
