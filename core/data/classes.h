/* classes.h: the names of classes: lists of them, names that are likely one, and a data set's classes as a model counts
 * them.
 *
 *     TRY(class_names_read_list(&a, "classes.txt", &names, &count));
 *     class_names_warn(names, count, "classes.txt", &log);
 *     TRY(dataset_match_classes(&data, model.class_name, model.class_count, "best.safetensors", &log));
 */
#ifndef GRAFT_DATA_CLASSES_H
#define GRAFT_DATA_CLASSES_H

#include "core/base/log.h"
#include "core/data/dataset.h"

/* A text with one name a line (darknet's .labels and .names, torchvision's lists). Blanks around a name and empty lines
 * at the end do not count; a name is what utf8_escaped makes of it. E_DATA, E_IO. */
status class_names_read_list(arena *a, const char *path, const char ***names, int64_t *count);

/* The first of the names that differs from `name` in nothing but case and blanks, or is equal. NULL: none. */
const char *class_names_like(const char *const *names, int64_t count, const char *name);
/* Warns of names that differ only in case or blanks, naming both. `where`: the file or folder that has them. */
void class_names_warn(const char *const *names, int64_t count, const char *where, logger *l);

/* "17", "017", "class 17", "class_17": the number. false: the name is none. */
bool class_number(const char *name, int64_t *number);

/* The model's own name for a class that a data set calls `name`: the same, or its number in a model of numbers. NULL:
 * the model has none. */
const char *class_by_name(const char *const *names, int64_t count, const char *name);

/* place[i] = the model's class that class i of a data set is, for all of them: by name, or by number in a model of
 * numbers. NULL: found; else a class that the model has not. */
const char *class_places(
    int64_t *place, const char *const *theirs, int64_t their_count, const char *const *names, int64_t count);

/* Numbers the samples as the model does, and takes its names. By name, whatever the order of the data set's; it may
 * lack some. Where one side knows numbers only (an imported network's "class 17", records without a list of names) by
 * number; a model of numbers and a data set of as many names: in the data set's order, with a warning that says so.
 * Else E_DATA. */
status dataset_match_classes(dataset *ds, const char *const *names, int64_t count, const char *model_path, logger *l);

#endif
