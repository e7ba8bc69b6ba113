/* One training step of a network on random images: forward, loss, backward, update. Prints milliseconds and images per second; with
 * --profile the kernels by time.
 *
 *     bench-train NETWORK SIDE BATCH SECONDS [--profile] */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/config/config.h"
#include "core/graph/plan.h"
#include "core/train/init.h"
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

static void fill_inputs(plan *p, const trainable *t, int64_t batch)
{
    int64_t pixels = shape_count(t->graph.edges[t->image].shape);
    float *images = malloc((size_t)pixels * sizeof *images), *targets = calloc((size_t)(batch * CLASSES), sizeof *targets);
    rng r = rng_make(1, RNG_TEST, 0);
    for (int64_t i = 0; i < pixels; i++) images[i] = rng_normal(&r);
    for (int64_t i = 0; i < batch; i++) targets[i * CLASSES + rng_below(&r, CLASSES)] = 1;
    GOOD(plan_set_input(p, t->image, images, (size_t)pixels * sizeof *images));
    GOOD(plan_set_input(p, t->targets, targets, (size_t)(batch * CLASSES) * sizeof *targets));
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

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: bench-train NETWORK SIDE BATCH SECONDS [--profile]\n");
        return 2;
    }
    bool profile = argc > 5 && strcmp(argv[5], "--profile") == 0;
    int64_t batch = atoll(argv[3]);
    double limit = atof(argv[4]), sample[MAX_SAMPLES];
    config c;
    graph g;
    trainable t;
    device *dev;
    param_store *store;
    plan *p;
    optimiser o;
    comm alone;
    GOOD(config_init(&c));
    GOOD(config_set(&c, "model", "arch", argv[1], "bench"));
    GOOD(config_set(&c, "model", "input_width", argv[2], "bench"));
    GOOD(config_set(&c, "model", "input_height", argv[2], "bench"));
    GOOD(config_finish(&c));
    GOOD(models_build(&g, &c.spec.model, CLASSES));
    init_params(&g, 1);
    GOOD(train_graph_build(&t, &g, &c.spec, batch, 1));
    GOOD(device_open(&dev, SPEC_DEVICE_CPU, 0, 0, NULL));
    GOOD(param_store_create(&store, &t.graph, dev, true));
    GOOD(plan_create(&p, &t.graph, dev, &(plan_options){.store = store, .profile = profile}));
    GOOD(optimiser_init(&o, dev, store, &c.spec, NULL, NULL));
    GOOD(comm_init(&alone));
    fill_inputs(p, &t, batch);
    int32_t samples = 0;
    double start = clock_seconds();
    for (int32_t i = 0; samples < MAX_SAMPLES && (i < WARM_UP + 3 || clock_seconds() - start < limit); i++) {
        double begin = clock_seconds();
        step_state done;
        GOOD(plan_enqueue(p));
        GOOD(optimiser_step(&o, &alone, 0.001, i + 1));
        GOOD(optimiser_result(&o, &done));
        if (i >= WARM_UP) sample[samples++] = clock_seconds() - begin;
    }
    qsort(sample, (size_t)samples, sizeof *sample, by_value);
    double median = sample[samples / 2];
    printf("train %s batch %lld %.2f ms %.2f images/s\n", argv[1], (long long)batch, 1e3 * median, (double)batch / median);
    if (profile) print_profile(p);
    optimiser_free(&o);
    comm_free(&alone);
    plan_destroy(p);
    param_store_destroy(store);
    device_close(dev);
    trainable_free(&t);
    graph_free(&g);
    config_free(&c);
    return 0;
}
