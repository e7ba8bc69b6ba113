#include "cli/export_images.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/task/evaluator.h"
#include "core/data/classes.h"
#include "export/runner.h"

enum { BATCH = 16 };

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* A seeded choice of `count` samples (0: all), in data-set order. The view borrows everything but its samples. */
static status choose(dataset *view, const dataset *ds, int64_t count, uint64_t seed)
{
    *view = *ds;
    view->samples = NULL;
    if (ds->count == 0) return FAIL(E_DATA, "%s: no images", ds->path);
    if (count == 0 || count > ds->count) count = ds->count;
    int64_t *index = malloc((size_t)ds->count * sizeof *index);
    view->samples = malloc((size_t)count * sizeof *view->samples);
    if (!index || !view->samples) {
        free(index);
        return FAIL_MEMORY(ds->count * 64);
    }
    for (int64_t i = 0; i < ds->count; i++) index[i] = i;
    rng r = rng_make(seed, RNG_SPLIT, hash64_text("export"));
    rng_shuffle(&r, index, ds->count);
    qsort(index, (size_t)count, sizeof *index, ascending);
    for (int64_t i = 0; i < count; i++) view->samples[i] = ds->samples[index[i]];
    view->count = count;
    free(index);
    return OK;
}

static status open_loader(loader **l, const dataset *ds, const spec *s, const model *m, logger *log)
{
    loader_options o = loader_options_from_spec(s, ds, &m->preprocess, BATCH, log);
    o.prefetch = 2;
    return loader_create(l, &o);
}

static status rewind_images(void *context)
{
    export_images *x = context;
    return loader_seek(x->calibration_loader, 0, 0);
}

static status next_images(void *context, const float **images, int64_t *count)
{
    export_images *x = context;
    const batch *b;
    TRY(loader_next(x->calibration_loader, &b));
    *images = b ? b->images : NULL;
    *count = b ? b->count : 0;
    return OK;
}

static status open_all(export_images *x, const spec *s, const model *m, bool with_check)
{
    uint64_t seed = (uint64_t)s->train.seed;
    TRY(dataset_open_parts(&s->data, seed, x->log, &x->train, &x->val, NULL));
    TRY(dataset_match_classes(&x->train, m->class_name, m->class_count, "the model", x->log));
    TRY(dataset_match_classes(&x->val, m->class_name, m->class_count, "the model", NULL));
    TRY(choose(&x->chosen, &x->train, s->export.calibration_images, seed));
    TRY(open_loader(&x->calibration_loader, &x->chosen, s, m, x->log));
    if (!with_check) return OK;
    TRY(choose(&x->held_out, &x->val, s->export.check_images, seed));
    x->setting = (task_setting){.spec = s,
        .class_name = m->class_name,
        .class_count = m->class_count,
        .preprocess = &m->preprocess,
        .data = &x->held_out};
    TRY(task_of_file(&x->setting.task, m->task, "the model"));
    x->check_count = x->held_out.count;
    return open_loader(&x->check_loader, &x->held_out, s, m, x->log);
}

status export_images_open(export_images *x, const spec *s, const model *m, device *dev, bool with_check, logger *log)
{
    *x = (export_images){.dev = dev, .log = log};
    x->calibration = (calibration_data){.context = x, .rewind = rewind_images, .next = next_images};
    status result = open_all(x, s, m, with_check);
    if (result != OK) export_images_close(x);
    return result;
}

void export_images_close(export_images *x)
{
    loader_destroy(x->calibration_loader);
    loader_destroy(x->check_loader);
    free(x->chosen.samples);
    free(x->held_out.samples);
    dataset_close(&x->train);
    dataset_close(&x->val);
    *x = (export_images){0};
}

static status predict(void *context, const batch *b, float *const *output)
{
    return runner_run(context, output, b->images, b->n);
}

status export_images_score(void *context, graph *g, double *points)
{
    export_images *x = context;
    evaluation e = {0};
    runner *r = NULL;
    status result = OK;
    TRY_OUT(runner_create(&r, g, x->dev, BATCH));
    TRY_OUT(evaluation_init(&e, &x->setting, g, 0));
    TRY_OUT(evaluation_run(&e, x->check_loader, &(evaluation_options){.run = predict, .context = r, .what = "check",
                                                                      .total = x->check_count}));
    *points = 100 * e.value[0];
out:
    evaluation_free(&e);
    runner_destroy(r);
    return result;
}
