/* box_labels.h: what readers of boxes share: collecting the boxes of a part, numbering their classes, giving them to
 * the samples.
 *
 *     box_list list = {.memory = &memory};
 *     TRY_OUT(box_list_begin(&list, path, label_file));     // for each image
 *     TRY_OUT(kitti_parse(&list, text, label_file));
 *     TRY_OUT(box_list_give(&list, ds, options));
 * out:
 *     box_list_free(&list);
 */
#ifndef GRAFT_DATA_BOX_LABELS_H
#define GRAFT_DATA_BOX_LABELS_H

#include "core/data/dataset.h"

enum { MAX_LABEL_FILE_BYTES = 64 << 20 };

typedef struct box_image {
    const char *path, *label_file; /* label_file NULL: there is none */
    int64_t first;                 /* of box_list.box */
} box_image;

typedef struct box_list {
    arena *memory; /* of class names; the caller's */
    label_box *box;
    const char **class_name; /* [count] of each box; NULL: a region to ignore, without class */
    int64_t count, capacity, name_capacity;
    box_image *image;
    int64_t image_count, image_capacity;
    const char *const *known; /* [known_count] all classes in their order, where the format says them */
    int64_t known_count;
} box_list;

/* The boxes that follow are this image's. The texts must live until box_list_give. */
status box_list_begin(box_list *l, const char *path, const char *label_file);
/* Adds a box whose class is called `class_name`; NULL: an ignored region. */
status box_list_add(box_list *l, const label_box *b, const char *class_name);
/* Adds the images to the data set as samples with their boxes. Its classes are data.class_names, where they are set,
 * else those that are known, else the names of all boxes in byte-wise order. E_DATA: a class that data.class_names
 * lacks, with file and line; no image at all has a label file. */
status box_list_give(const box_list *l, dataset *ds, const spec_data *options);
void box_list_free(box_list *l);

/* Decimal numbers, and nan and inf in any case and with any sign, which become NaN for lint to report. False: no
 * number. */
bool box_number(const char *text, float *value);

/* A file of a folder by its name without ending. */
typedef struct stem_file {
    const char *stem, *path;
} stem_file;
/* The image files (is_image_file) of a folder, ordered by stem, then by name. */
status list_images_by_stem(arena *a, const char *folder, stem_file **files, int64_t *count);

/* Parse one label file's text, which they change; `name`: for messages. E_DATA with file, line, value and what is
 * allowed. */
status kitti_parse(box_list *l, char *text, const char *name);
status voc_parse(box_list *l, const char *text, size_t bytes, const char *name);

#endif
