/* bench.c: times variants. Per call the median of the samples, warm (batches of calls) and cold (one call
 * after the caches were overwritten), and what fraction of two measured peaks that is: a copy's bandwidth, and
 * for a GPU nothing else is assumed.
 *
 * A shapes file has lines "OP DESCRIPTOR [COUNT [NAME]]", # begins a comment (bench/shapes). COUNT
 * says how often a network has it.
 */
#include "tests/check/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 31, FLUSH_BYTES = 256 << 20 };
static const double SAMPLE_SECONDS = 1e-3, WARM_UP_SECONDS = 0.05;

/* Where one variant runs: a clock and something to overwrite the caches with. */
typedef struct place {
    device *dev;
    void *begin, *end; /* events; NULL on the CPU */
    buffer flush;
    double copy_bytes_per_second;
} place;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *sample, int32_t count)
{
    qsort(sample, (size_t)count, sizeof *sample, by_value);
    return sample[count / 2];
}

typedef status work_fn(void *context);

/* Seconds of `calls` calls in a row. */
static status time_calls(const place *p, work_fn *work, void *context, int64_t calls, double *seconds)
{
    device *dev = p->dev;
    double start = clock_seconds();
    float ms;
    if (p->begin) TRY(dev->api->event_record(dev, p->begin, dev->stream));
    for (int64_t i = 0; i < calls; i++) TRY(work(context));
    if (!p->begin) {
        *seconds = clock_seconds() - start;
        return OK;
    }
    TRY(dev->api->event_record(dev, p->end, dev->stream));
    TRY(dev->api->event_elapsed_ms(dev, p->begin, p->end, &ms));
    *seconds = (double)ms * 1e-3;
    return OK;
}

static status time_warm(const place *p, work_fn *work, void *context, double *seconds)
{
    double sample[SAMPLES], once = 0, start = clock_seconds();
    while (clock_seconds() - start < WARM_UP_SECONDS) TRY(time_calls(p, work, context, 1, &once));
    int64_t calls = once > 0 ? (int64_t)(SAMPLE_SECONDS / once) + 1 : 1000;
    for (int32_t i = 0; i < SAMPLES; i++) {
        TRY(time_calls(p, work, context, calls, &sample[i]));
        sample[i] /= (double)calls;
    }
    *seconds = median(sample, SAMPLES);
    return OK;
}

static status time_cold(const place *p, work_fn *work, void *context, double *seconds)
{
    double sample[SAMPLES];
    for (int32_t i = 0; i < SAMPLES; i++) {
        TRY(p->dev->api->zero(p->dev, p->flush.data, p->flush.bytes, p->dev->stream));
        TRY(time_calls(p, work, context, 1, &sample[i]));
    }
    *seconds = median(sample, SAMPLES);
    return OK;
}

static status copy_half(void *context)
{
    const place *p = context;
    size_t half = p->flush.bytes / 2;
    return p->dev->api->copy(p->dev, p->flush.data, (char *)p->flush.data + half, half, p->dev->stream);
}

static status place_open(place *p, device *dev)
{
    double seconds;
    *p = (place){.dev = dev};
    TRY(dev->api->event_create(dev, &p->begin));
    TRY(dev->api->event_create(dev, &p->end));
    TRY(buffer_init(&p->flush, dev, FLUSH_BYTES, "what overwrites the caches"));
    TRY(time_warm(p, copy_half, p, &seconds));
    p->copy_bytes_per_second = FLUSH_BYTES / seconds;
    char text[256];
    dev->api->describe(dev, text, sizeof text);
    printf("# %s\n# copy %.1f GB/s (read and written)\n", text, p->copy_bytes_per_second * 1e-9);
    return OK;
}

static void place_close(place *p)
{
    if (p->begin) p->dev->api->event_destroy(p->dev, p->begin);
    if (p->end) p->dev->api->event_destroy(p->dev, p->end);
    buffer_free(&p->flush);
}

typedef struct timed_call {
    const kernel *k;
    session *s;
} timed_call;

static status run_call(void *context)
{
    const timed_call *t = context;
    return t->k->run(&t->s->call);
}

static status time_variant(const place *p, const check_case *c, const kernel *k, double *warm, double *cold)
{
    session s;
    session_options o = {.dev = p->dev, .alias = -1};
    status result = OK;
    if (k->create) TRY(k->create(&c->desc, &o.state));
    session_open(&s, c, k, &o);
    timed_call call = {k, &s};
    TRY_OUT(session_start(&s, k));
    TRY_OUT(time_warm(p, run_call, &call, warm));
    TRY_OUT(time_cold(p, run_call, &call, cold));
out:
    session_close(&s);
    if (k->destroy) k->destroy(o.state);
    return result;
}

static bool bench_case(const bench_options *o, place places[2], const check_family *f, kernel_op op,
    const check_desc *desc, uint64_t seed, const char *label)
{
    check_case c = {0};
    char text[1024] = "";
    bool good = true;
    kernel_desc_format(op, desc, text, sizeof text);
    printf("\n%s %s%s%s\n", kernel_op_name(op), text, *label ? "  " : "", label);
    if (!check_case_inputs(&c, f, op, desc, seed)) return false;
    double flops = kernel_flops(op, desc), bytes = kernel_bytes(op, desc);
    const kernel *const *v = kernel_variants(op);
    for (int32_t i = 0; v[i]; i++) {
        const place *p = &places[v[i]->backend == BACKEND_CUDA];
        double warm = 0, cold = 0;
        if (o->only && strncmp(v[i]->name, o->only, strlen(o->only)) != 0) continue;
        /* The reference is no contender, only the last resort: it is timed where it is asked for or alone. */
        if (v[i]->backend == BACKEND_REF && i > 0 && !o->only) continue;
        if (v[i]->backend == BACKEND_CUDA && !o->dev) continue;
        const char *why = v[i]->refuse ? v[i]->refuse(desc) : NULL;
        if (why) {
            printf("    %-44s refused: %s\n", v[i]->name, why);
            continue;
        }
        if (time_variant(p, &c, v[i], &warm, &cold) != OK) {
            printf("    %-44s failed: %s\n", v[i]->name, status_message());
            good = false;
            continue;
        }
        printf("    %-44s %10.2f us warm %10.2f us cold %9.1f GFLOP/s %8.1f GB/s %5.1f %% of copy\n", v[i]->name,
            warm * 1e6, cold * 1e6, flops / warm * 1e-9, bytes / cold * 1e-9,
            100 * bytes / cold / p->copy_bytes_per_second);
    }
    fflush(stdout);
    check_case_free(&c);
    return good;
}

static bool find_op(const check_family *const *families, const char *name, const check_family **family, kernel_op *op)
{
    for (const check_family *const *f = families; *f; f++)
        for (int32_t k = 0; k < (*f)->op_count; k++) {
            if (strcmp(kernel_op_name((*f)->op[k]), name) != 0) continue;
            *family = *f;
            *op = (*f)->op[k];
            return true;
        }
    return false;
}

static int bench_file(const check_family *const *families, const bench_options *o, place places[2])
{
    FILE *stream = fopen(o->shapes, "r");
    char line[2048], name[64], text[1024], label[256];
    int number = 0, code = 0;
    if (!stream) {
        fprintf(stderr, "%s: cannot be read\n", o->shapes);
        return 2;
    }
    while (fgets(line, sizeof line, stream)) {
        const check_family *f;
        kernel_op op;
        check_desc desc;
        number++;
        line[strcspn(line, "#\n")] = 0;
        label[0] = 0;
        if (sscanf(line, "%63s %1023s %255[^\n]", name, text, label) < 2) continue;
        if (!find_op(families, name, &f, &op)) {
            fprintf(stderr, "%s:%d: no op is called %s\n", o->shapes, number, name);
            code = 2;
        } else if (kernel_desc_parse(op, text, &desc) != OK) {
            fprintf(stderr, "%s:%d: %s\n", o->shapes, number, status_message());
            code = 2;
        } else if (!bench_case(o, places, f, op, &desc, o->seed, label)) code = 1;
    }
    fclose(stream);
    return code;
}

static int bench_drawn(const check_family *const *families, const bench_options *o, place places[2])
{
    int code = 0;
    for (const check_family *const *f = families; *f; f++)
        for (int32_t k = 0; k < (*f)->op_count; k++)
            for (int32_t i = 0; i < o->count; i++) {
                kernel_op op = (*f)->op[k];
                check_desc desc = {0};
                rng r = rng_make(o->seed + (uint64_t)i, RNG_TEST, (uint64_t)op);
                bool wanted = !o->only;
                for (const kernel *const *v = kernel_variants(op); *v && !wanted; v++)
                    wanted = strncmp((*v)->name, o->only, strlen(o->only)) == 0;
                if (!wanted) continue;
                (*f)->generate(&r, op, &desc);
                if (!bench_case(o, places, *f, op, &desc, o->seed + (uint64_t)i, "")) code = 1;
            }
    return code;
}

int check_bench(const check_family *const *families, const bench_options *o)
{
    place places[2] = {0};
    device *cpu = NULL;
    int code = 1;
    if (device_open(&cpu, SPEC_DEVICE_CPU, 0, 0, NULL) == OK && place_open(&places[0], cpu) == OK &&
        (!o->dev || place_open(&places[1], o->dev) == OK))
        code = o->shapes ? bench_file(families, o, places) : bench_drawn(families, o, places);
    else fprintf(stderr, "%s\n", status_message());
    place_close(&places[0]);
    if (o->dev) place_close(&places[1]);
    device_close(cpu);
    return code;
}
