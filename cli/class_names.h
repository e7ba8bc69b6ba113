/* class_names.h: the names of classes from a file that somebody else made.
 *
 *     const char **names;
 *     int64_t count;
 *     TRY(class_names_read(&c->memory, "classes.csv:wnid", &names, &count));
 *
 * Either a text with one name a line (darknet's .labels and .names, torchvision's lists), or a CSV table whose
 * first row names the columns: the column behind a last `:`, else the one called name, class, class_name, label or
 * wnid. Order is that of the rows. */
#ifndef GRAFT_CLI_CLASS_NAMES_H
#define GRAFT_CLI_CLASS_NAMES_H

#include "core/base/arena.h"
#include "core/base/status.h"

/* E_DATA: empty, two equal names, no such column. */
status class_names_read(arena *a, const char *file_and_column, const char ***names, int64_t *count);
/* "class 0", "class 1", ...: where nobody knows better. */
status class_names_number(arena *a, int64_t count, const char ***names);

#endif
