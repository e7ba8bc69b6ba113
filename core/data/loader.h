/* loader.h: batches, prepared ahead by threads, whose content depends on (seed, epoch, position) only.
 *
 * Training order: epoch e is a permutation (or a weighted draw) made with (seed, RNG_SHUFFLE, e); rank r of w
 * takes positions r, r + w, ... of it, batch after batch. Every training batch is full: the last one is
 * completed from the start of the epoch's order. Evaluation goes through the indices in order; its last batch is
 * padded by repeating sample 0 and `count` says how many are real (0 for a rank that has none left; every rank
 * makes the same number of steps). An unreadable sample is replaced by the next readable index (same class if
 * there is one), always the same one.
 *
 * mixup: each image becomes lambda * itself + (1 - lambda) * the image at the mirrored place of the batch, labels
 * likewise (label_source.mix); lambda = max(b, 1 - b), b drawn from Beta(alpha, alpha) by (seed, RNG_MIX, global step).
 *
 *     loader *l;
 *     loader_options options = loader_options_from_spec(&spec, &data, &model.preprocess, 32, log);
 *     TRY(loader_create(&l, &options));
 *     TRY(loader_seek(l, epoch, step));
 *     for (...) { const batch *b; TRY(loader_next(l, &b)); ...; }      // b stays valid until the next loader_next
 *     loader_destroy(l);
 */
#ifndef GRAFT_DATA_LOADER_H
#define GRAFT_DATA_LOADER_H

#include "core/base/log.h"
#include "core/data/dataset.h"
#include "core/data/labels.h"
#include "core/data/picture.h"

typedef struct batch {
    float *images;          /* [n, height, width, channels], normalised           */
    /* [n], or NULL: raw loaders, where image i is u8 pixels in the place that its floats would have */
    picture *pictures;
    void *label[LABEL_MAX]; /* field k of the labels: [n, field[k].each]           */
    float *to_input;        /* [n, 9]: source pixels to network input, as label_view.to_input */
    int32_t (*size)[2];     /* [n], width and height of the source as decoded, whole */
    int64_t *sample_keys;   /* [n], RNG counter: epoch * dataset count + sample index; weighted and balanced
                              sampling, where samples repeat: + position in the epoch's order  */
    int64_t *sample_index;  /* [n], index in the data set (after replacement)      */
    int64_t n;              /* batch size                                          */
    int64_t count;          /* real samples; the rest is padding                   */
    /* of them: images in the place of others that could not be read and are not among loader_options.bad */
    int64_t replaced;
    int64_t epoch, step;    /* position of this batch                              */
} batch;

typedef struct loader_options {
    const dataset *data;
    preprocess preprocess;
    const spec_data *data_options;
    const spec_augment *augment;  /* NULL: evaluation (no augmentation, in order) */
    const label_source *labels;   /* NULL: images alone                           */
    const char *const *bad;       /* lint_report.reason or NULL: known bad samples, never tried */
    int64_t batch_size;           /* of this rank */
    int32_t threads, prefetch;    /* threads 0: cpu_count() */
    int32_t rank, world;
    uint64_t seed;
    double mixup;
    /* training, without mixup: images are neither warped nor normalised, see batch.pictures */
    bool raw;
    logger *log;
    /* Memory for images, labels and sample_keys, from where a device copies them (pinned); NULL: ordinary memory. */
    status (*allocate)(void *context, size_t bytes, void **data);
    void (*release)(void *context, void *data);
    void *memory_context;
} loader_options;

/* What a spec says of loading, for evaluation by one process: no augmentation, no labels. */
loader_options loader_options_from_spec(
    const spec *s, const dataset *data, const preprocess *p, int64_t batch_size, logger *log);

typedef struct loader loader;

status loader_create(loader **l, const loader_options *options);
void loader_destroy(loader *l); /* accepts NULL; stops its threads */
int64_t loader_steps_per_epoch(const loader *l);
/* The next batch will be step `step` of epoch `epoch` (0-based). Cheap: nothing is read for what is skipped. */
status loader_seek(loader *l, int64_t epoch, int64_t step);
/* After the last step of an epoch training goes on with the next epoch; evaluation gives *b = NULL. */
status loader_next(loader *l, const batch **b);
double loader_wait_seconds(const loader *l); /* time loader_next has waited so far */
/* Whether loader_next has failed, or will, because an image and all that were tried in its place could not be read. */
bool loader_is_lost(const loader *l);

#endif
