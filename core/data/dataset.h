/* dataset.h: images with labels, whatever the files look like.
 *
 * A format is one reader (readers/x.c) and one row of dataset_readers[] (layout.c). A dataset is one part (train, val
 * or test), immutable after opening, and may be read from many threads at once. Samples keep their index for ever:
 * index order is the reader's sorted order.
 *
 *     dataset train, val;
 *     TRY(dataset_open_parts(&spec.data, seed, log, &train, &val, NULL));
 *     image im;
 *     TRY(dataset_decode(&train, i, &options, &im));
 */
#ifndef GRAFT_DATA_DATASET_H
#define GRAFT_DATA_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/log.h"
#include "core/base/status.h"
#include "core/config/spec.h"
#include "core/data/image.h"

/* One object of an image as its label file has it, right or wrong: boxes.h judges it, clips it and moves it. */
typedef struct label_box {
    float x0, y0, x1, y1; /* pixels of the decoded image, x1 and y1 exclusive */
    int32_t class_index;  /* of dataset.class_name; -1: an ignored region without class */
    bool ignore;          /* crowd, DontCare, difficult */
    int32_t polygon_first, polygon_count; /* points of sample.polygon, x y pairs; count 0: the box alone */
    int32_t line;         /* of sample.label_file, from 1 */
    bool crowd;           /* ignored: a region of many objects; whatever lies in it is not false */
    float area;           /* of the object in pixels, where the label has it (COCO); 0: its box's */
} label_box;

typedef struct sample {
    const char *name;     /* path, or "file.gz#17" for packed records */
    int32_t class_index;  /* -1: none */
    label_box *box;       /* [box_count] */
    int64_t box_count;
    const float *polygon; /* [polygon_count, 2] */
    int64_t polygon_count;
    const char *label_file; /* where the boxes come from; NULL: the image has no such file and shows no object */
    int64_t bytes, offset; /* encoded size, and where in the file (records) */
    int64_t mtime_ns;
} sample;

/* PART_WHOLE: the path itself is the images, one part that has no name (a folder of classes, one file of records). */
typedef enum dataset_part { PART_TRAIN, PART_VAL, PART_TEST, PART_WHOLE } dataset_part;

typedef struct dataset {
    arena memory;
    const struct dataset_reader *reader;
    const char *path;
    dataset_part part;
    const char **class_name; /* [class_count] */
    int64_t class_count;
    bool numbered;           /* the classes have no names: "0", "1", ... up to the greatest label of the part */
    bool has_boxes;          /* objects with boxes; samples have no class of their own */
    sample *samples;         /* [count], released by dataset_close */
    int64_t count, capacity;
    int64_t stray_count;     /* images beside the class folders, which are not used */
    const char *stray;       /* the first of them */
    void *state;             /* the reader's */
} dataset;

typedef struct dataset_reader {
    const char *name; /* "folder" */
    /* Does this path hold that part in this format? Looks at names and first bytes only. */
    bool (*probe)(const char *path, dataset_part part);
    /* Fills class names and samples of one part. E_DATA naming the path when it is not there or not valid. On failure
     * the caller closes. options may be NULL. */
    status (*open)(dataset *ds, const char *path, dataset_part part, const spec_data *options);
    /* The image file that sample `index` is, in memory of `a` or of the data set. NULL:
     * samples are raw pixels. Thread-safe. */
    status (*encoded)(const dataset *ds, int64_t index, arena *a, const uint8_t **bytes, size_t *count);
    /* Raw pixels as an image with options->channels channels. NULL: samples are files. Thread-safe. */
    status (*raw)(const dataset *ds, int64_t index, const decode_options *options, image *im);
    void (*close)(dataset *ds); /* may be NULL; called on half-opened data sets too */
    /* One file with checksums: when `encoded` gives E_DATA the file is damaged as a whole, and
     * nothing takes the sample's place. */
    bool sealed;
} dataset_reader;

extern const dataset_reader *const dataset_readers[]; /* NULL-terminated, in the order of probing */

/* Opens the parts that are asked for (pointers may be NULL). Without a validation part the training part is split by
 * data.val_fraction (RNG_SPLIT, class by class). A missing test part leaves test->count = 0, and so does a missing
 * validation part where there is no training part and train is NULL; else a missing training part is E_DATA. Classes of
 * val and test must be those of train; a difference is E_DATA with the names. Where parts are looked for: layout.h. */
status dataset_open_parts(
    const spec_data *options, uint64_t seed, logger *l, dataset *train, dataset *val, dataset *test);

/* Is there something to train on? False: other parts alone. */
status dataset_has_train(const spec_data *options, bool *has);

/* A part by its name, or: what a network trained on this data set has not seen (val, what training sets aside, test, in
 * this order); what there is (val, what training sets aside of a train part beside a test part, the one part that is
 * there, the path as it is). */
typedef enum dataset_ask { ASK_TRAIN, ASK_VAL, ASK_TEST, ASK_UNSEEN, ASK_ANY } dataset_ask;

/* What was taken of the data set. */
typedef struct dataset_share {
    dataset_part part;
    bool set_aside; /* a side of the split that training makes of what has no val part */
    int64_t total;  /* images of the data set, as far as its other parts can be read */
} dataset_share;

/* One part, for judging: the others need not be there, nor all classes. E_DATA: there is no such part. */
status dataset_open_part(dataset *ds, const spec_data *options, uint64_t seed, dataset_ask ask, dataset_share *share);

/* dataset_open_images, and what of the path that is. */
status dataset_open_path(dataset *ds, const char *path, dataset_share *share);

/* One path as it is, no split: for evaluate and infer. Any format's part ("PATH#test" names one; without it test, else
 * val, else train, is taken of what holds several); a plain folder of images, or one image, gives class_index -1. */
status dataset_open_images(dataset *ds, const char *path);
/* Warns of images that lie where they belong to no class. dataset_open_parts does where it has a logger. */
void dataset_warn_of_strays(const dataset *parts, int count, logger *l);
void dataset_close(dataset *ds); /* accepts a zeroed one */

/* What the spec says about decoding, for a network of `channels` channels; full size.
 * options may be NULL (defaults). */
decode_options dataset_decode_options(const spec_data *options, int32_t channels);

/* E_DATA (or E_IO) with the sample's name in the message. */
status dataset_decode(const dataset *ds, int64_t index, const decode_options *options, image *im);
/* The file of a sample, in memory of `a` or of the data set; *bytes = NULL when samples are raw pixels. */
status dataset_encoded(const dataset *ds, int64_t index, arena *a, const uint8_t **bytes, size_t *count);

/* Number of the class, or -1. */
int64_t dataset_find_class(const dataset *ds, const char *name);

/* For readers: appends a sample (its name copied); sets the classes, whose names become what utf8_escaped makes of
 * them. E_DATA: that makes two of them equal. */
status dataset_add_sample(dataset *ds, const sample *s);
status dataset_set_classes(dataset *ds, const char *const *names, int64_t count);
/* The classes of boxes, found by name among data.class_names, in their order. E_DATA: one is not among them. */
status dataset_order_classes(dataset *ds, const text_list *names);
/* Class i of the samples and their boxes becomes place[i]. */
void dataset_renumber(dataset *ds, const int64_t *place);
/* E_DATA when the data set holds boxes: for tasks that learn or judge one class per image. */
status dataset_refuse_boxes(const dataset *ds);
/* Classes "0" to "greatest", or the lines of the first of `files` (NULL-terminated) that exists in `folder`. */
status dataset_name_classes(dataset *ds, const char *folder, const char *const *files, int64_t greatest);

/* Reads every sample once (data.threads threads), with verdicts cached in a file of cache_folder by path, size and
 * time; NULL: no cache. reason[i] = why sample i is bad, or NULL. */
typedef struct box_problem {
    int64_t index; /* of the sample */
    int32_t line;  /* of its label_file */
    bool dropped;  /* nothing can be made of the box */
    bool doubled;  /* the same box of the same class stands before it: both are used; neither: it is clipped */
    const char *reason;
} box_problem;

typedef struct lint_report {
    arena memory;
    const char **reason; /* [count], NULL: good */
    int32_t (*size)[2];  /* [count], width and height as decoded; 0: not known */
    box_problem *box;    /* [box_count], by sample and line: clipped, dropped or doubled, of images that stay good */
    int64_t box_count, box_dropped_count, box_doubled_count;
    int64_t unlabelled_count; /* of a data set with boxes: images without a label file, which show no object */
    int64_t count, bad_count, cached_count;
    int64_t damaged_count; /* of the bad ones: samples of a sealed file that do not fit their checksums */
} lint_report;
status dataset_lint(
    const dataset *ds, const spec_data *options, const char *cache_folder, logger *l, lint_report *report);
/* Lists the first bad ones: as a warning, or as E_DATA when more than max_bad_fraction are
 * bad or a sealed file is damaged. */
status lint_report_judge(const lint_report *report, const dataset *ds, const spec_data *o, logger *l);
/* The first boxes that are clipped, dropped or doubled, a line "FILE:LINE: REASON" for each of at most `most`, and how
 * many there are. "": none. */
void lint_report_boxes(const lint_report *report, const dataset *ds, int64_t most, char *text, size_t room);
/* What is wrong, counted: a line "12 times: REASON" for each reason, the first ones of many. */
void lint_report_kinds(const lint_report *report, char *text, size_t room);
void lint_report_free(lint_report *report);

/* Writes a packed data set (a folder; docs/FORMATS.md; an older one at the same path is replaced at the very end) that
 * the `packed` reader opens: encoded bytes are copied as they are (raw pixels of IDX and CIFAR as PNG), classes and
 * labels beside them. Parts may be NULL. */
status dataset_pack(const char *path, const dataset *train, const dataset *val, const dataset *test, logger *l);

#endif
