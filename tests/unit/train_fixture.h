/* Small runs for the tests of the trainer: images drawn here, a narrow resnet10, specs from override words. */
#ifndef GRAFT_TESTS_TRAIN_FIXTURE_H
#define GRAFT_TESTS_TRAIN_FIXTURE_H

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/hash.h"
#include "core/base/rng.h"
#include "core/config/config.h"
#include "core/data/image.h"
#include "core/train/trainer.h"
#include "export/qat.h"
#include "models/models.h"

static char fixture_root[] = "/tmp/graft-train-XXXXXX"; /* images in data/, runs beside it */

static inline char *fixture_path(const char *name)
{
    static char text[8][256];
    static int next;
    char *out = text[next++ % 8];
    snprintf(out, sizeof text[0], "%s/%s", fixture_root, name);
    return out;
}

/* A noise image whose mean depends on its class a little. */
static inline int fixture_image(const char *folder, int class_index, int i, int size)
{
    image im;
    char path[320], dir[288];
    snprintf(dir, sizeof dir, "%s/class%d", folder, class_index);
    snprintf(path, sizeof path, "%s/image%02d.png", dir, i);
    if (dir_make(dir) != OK || image_alloc(&im, size, size, 3) != OK) return -1;
    rng r = rng_make(1, RNG_TEST, (uint64_t)(class_index * 1000 + i));
    for (int k = 0; k < size * size * 3; k++)
        im.pixels[k] = (uint8_t)(rng_below(&r, 160) + 30u * (unsigned)class_index);
    status s = image_write_png(path, &im);
    image_free(&im);
    return s == OK ? 0 : -1;
}

static inline int fixture_set_up(void **state)
{
    (void)state;
    if (!mkdtemp(fixture_root)) return -1;
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i < 8; i++)
            if (fixture_image(fixture_path("data/train"), c, i, 20)) return -1;
        for (int i = 0; i < 3; i++)
            if (fixture_image(fixture_path("data/val"), c, 100 + i, 20)) return -1;
    }
    return 0;
}

static inline int fixture_tear_down(void **state)
{
    (void)state;
    char command[300];
    snprintf(command, sizeof command, "rm -rf %s", fixture_root);
    return system(command);
}

static inline void fixture_remove(const char *name)
{
    char command[600];
    snprintf(command, sizeof command, "rm -rf %s", fixture_path(name));
    if (system(command) != 0) abort();
}

typedef struct fixture_run {
    const char *folder;        /* of the run, below fixture_root */
    const char *overrides;     /* "a.b=c d.e=f", over the base   */
    bool resume, overwrite;
    bool any_precision;
    int64_t stop_at;
    task_stop_fn *stop;
    void *stop_context;
    FILE *said;                /* log lines, or NULL */
    trainer_summary summary;   /* out */
} fixture_run;

static inline status fixture_override_all(config *c, const char *words)
{
    char copy[2048];
    snprintf(copy, sizeof copy, "%s", words);
    for (char *rest = copy, *word; (word = strtok_r(rest, " ", &rest));) TRY(config_override(c, word));
    return OK;
}

static inline status fixture_config(config *c, const char *folder, const char *overrides)
{
    char text[1024];
    snprintf(text, sizeof text,
        "data.root=%s/data train.output=%s/%s model.arch=resnet10 model.width=0.0625 model.stem=small "
        "model.input_width=16 model.input_height=16 data.resize=stretch train.batch_size=4 train.epochs=2 "
        "train.threads=1 train.device=cpu data.threads=2 schedule.learning_rate=0.05 train.top_k=2",
        fixture_root, fixture_root, folder);
    TRY(config_init(c));
    TRY(fixture_override_all(c, text));
    TRY(fixture_override_all(c, overrides));
    return config_finish(c);
}

static inline status fixture_train(fixture_run *r)
{
    config c;
    logger l;
    char *text = NULL;
    size_t bytes;
    log_init(&l, r->said, LOG_INFO, 0);
    status result = fixture_config(&c, r->folder, r->overrides ? r->overrides : "");
    FILE *f = open_memstream(&text, &bytes);
    if (!f) abort();
    if (result == OK) result = config_dump(&c, f, false);
    fclose(f);
    trainer_options o = {.spec = &c.spec,
        .spec_text = text,
        .build = models_build,
        .fake_quantise = qat_insert,
        .resume = r->resume,
        .overwrite = r->overwrite,
        .any_precision = r->any_precision,
        .stop_at = r->stop_at,
        .stop = r->stop,
        .stop_context = r->stop_context,
        .log = &l};
    if (result == OK) result = trainer_run(&o, &r->summary);
    log_free(&l);
    config_free(&c);
    free(text);
    return result;
}

/* Hash of every tensor's name and bytes, not of the metadata (which holds the spec). 0 when the file cannot be read. */
static inline uint64_t fixture_tensors(const char *path)
{
    safetensors st;
    uint64_t hash = 1;
    if (safetensors_open(&st, path) != OK) return 0;
    for (int64_t i = 0; i < st.count; i++) {
        const uint64_t row[3] = {
            hash, hash64_text(st.tensors[i].name), hash64(st.tensors[i].data, st.tensors[i].bytes)};
        hash = hash64(row, sizeof row);
    }
    safetensors_close(&st);
    return hash;
}

static inline uint64_t fixture_last(const char *folder)
{
    char path[512];
    snprintf(path, sizeof path, "%s/last.safetensors", fixture_path(folder));
    return fixture_tensors(path);
}

#endif
