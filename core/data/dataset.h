/* dataset.h: images with labels, whatever the files look like.
 *
 * A format is one reader (readers/x.c) and one row of dataset_readers[]. A dataset is one part (train, val or test),
 * immutable after opening, and may be read from many threads at once. Samples keep their index for ever: index order is
 * the reader's sorted order.
 *
 *     dataset train, val;
 *     TRY(dataset_open_parts(&spec.data, seed, log, &train, &val, NULL));
 *     image im;
 *     TRY(dataset_decode(&train, i, &options, &im));
 */
#ifndef GRAFT_DATA_DATASET_H
#define GRAFT_DATA_DATASET_H

#include "core/base/arena.h"
#include "core/base/log.h"
#include "core/base/status.h"
#include "core/config/spec.h"
#include "core/data/image.h"

/* Labels of one sample. Classification uses `class_index`; the rest is for detection and segmentation. */
typedef struct label_box {
    float x0, y0, x1, y1; /* pixels of the decoded image, x1 and y1 exclusive */
    int32_t class_index;
    bool ignore;          /* crowd, DontCare, difficult */
    int32_t polygon_first, polygon_count; /* points of sample.polygon, x y pairs */
} label_box;

typedef struct sample {
    const char *name;     /* path, or "file.gz#17" for packed records */
    int32_t class_index;  /* -1: none */
    const label_box *box; /* [box_count] */
    int64_t box_count;
    const float *polygon; /* [polygon_count, 2] */
    int64_t polygon_count;
    int64_t bytes, offset; /* encoded size, and where in the file (records) */
    int64_t mtime_ns;
} sample;

typedef struct dataset {
    arena memory;
    const struct dataset_reader *reader;
    const char *path;
    const char **class_name; /* [class_count] */
    int64_t class_count;
    sample *samples;         /* [count] */
    int64_t count;
    void *state;             /* the reader's */
} dataset;

typedef enum dataset_part { PART_TRAIN, PART_VAL, PART_TEST } dataset_part;

typedef struct dataset_reader {
    const char *name;                          /* "folder" */
    bool (*probe)(const char *path);           /* does this path look like the format? */
    /* Fills class names and samples of one part. E_DATA naming the path when the part is not there. */
    status (*open)(dataset *ds, const char *path, dataset_part part, const spec_data *options);
    /* Decodes sample `index`. Thread-safe. */
    status (*decode)(const dataset *ds, int64_t index, const decode_options *options, image *im);
    void (*close)(dataset *ds);                /* may be NULL */
} dataset_reader;

extern const dataset_reader *const dataset_readers[]; /* NULL-terminated */

/* Opens the parts that are asked for (pointers may be NULL). Without a validation part the training part is split by
 * data.val_fraction (RNG_SPLIT, class by class). A missing test part leaves test->count = 0. Classes of val and test must
 * be those of train; a difference is E_DATA with the names. */
status dataset_open_parts(const spec_data *options, uint64_t seed, logger *l, dataset *train, dataset *val, dataset *test);
/* One path as it is, no split: for evaluate and infer. A plain folder of images, or one image, gives class_index -1. */
status dataset_open_images(dataset *ds, const char *path);
void dataset_close(dataset *ds);

status dataset_decode(const dataset *ds, int64_t index, const decode_options *options, image *im);

/* Reads every sample once (all threads), with verdicts cached in cache_folder by path, size and time.
 * bad[i] = reason or NULL; E_DATA when more than max_bad_fraction are bad, listing the first of them. */
typedef struct lint_report {
    arena memory;
    const char **reason; /* [count], NULL: good */
    int64_t count, bad_count, cached_count;
} lint_report;
status dataset_lint(const dataset *ds, const spec_data *options, const char *cache_folder, logger *l, lint_report *report);
void lint_report_free(lint_report *report);

/* Writes a packed data set (LMDB folder; docs/FORMATS.md) that the `packed` reader opens: encoded bytes are copied as they are
 * (raw pixels of IDX and CIFAR as PNG), classes and labels beside them. Parts may be NULL. */
status dataset_pack(const char *path, const dataset *train, const dataset *val, const dataset *test, logger *l);

#endif
