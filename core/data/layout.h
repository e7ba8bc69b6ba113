/* layout.h: which format a path is in and where its parts lie: all that is decided by the names of files and folders.
 * Readers know only the files of their format.
 *
 *     data_layout l;
 *     TRY(layout_find(&l, &memory, &spec.data));
 *     if (l.part[PART_TEST].reader) ...                    // there is a test part
 *     if (layout_part_count(&l) == 0 && l.whole.reader) ...  // no parts: the path itself is one
 */
#ifndef GRAFT_DATA_LAYOUT_H
#define GRAFT_DATA_LAYOUT_H

#include "core/data/dataset.h"

/* A path and the part to ask the reader for. */
typedef struct part_place {
    const dataset_reader *reader; /* NULL: there is none */
    const char *path;
    dataset_part part;
} part_place;

typedef struct data_layout {
    part_place part[3]; /* PART_TRAIN, PART_VAL, PART_TEST */
    part_place whole;   /* data.root itself, where it has no parts, or the part that "ROOT#test" names */
    const char *named;  /* the ROOT of "ROOT#test"; NULL: the root names no part */
} data_layout;

/* Any part may be missing. data.train, data.val and data.test are the part under its name in them, the part that
 * "PATH#val" names, or the whole path. Texts of places are the options' or in memory of `a`. E_DATA: two folders for
 * one part, a folder of images beside the parts that is none of them, parts without class folders, an option that names
 * what is not there. */
status layout_find(data_layout *l, arena *a, const spec_data *options);
int32_t layout_part_count(const data_layout *l);

/* A path as it is, in any format: the part it names, a part in it (test, else val, else train), the whole, or loose
 * images (never without a reader); and what else is there. E_DATA. */
status layout_of_path(part_place *place, data_layout *l, arena *a, const char *path);

/* What is missing, for the message of whoever needs it. E_USAGE, E_DATA. */
status layout_missing(const data_layout *l, const spec_data *options, dataset_part part);

#endif
