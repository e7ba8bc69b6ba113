#include "core/task/task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Classification first: files that say nothing mean it. */
static const task *const tasks[] = {&task_classification, &task_detection};

const task *task_find(const char *name)
{
    if (!name || !*name) return tasks[0];
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
        if (strcmp(tasks[i]->name, name) == 0) return tasks[i];
    return NULL;
}

status task_of_file(const task **t, const char *name, const char *what)
{
    *t = task_find(name);
    return *t ? OK : FAIL(E_MODEL, "%s: made for the task \"%s\", which this graft does not know", what, name);
}

const char *task_file_name(const task *t) { return t == tasks[0] ? "" : t->name; }

const char *figure_text(const figure *f, double value, char text[24])
{
    if (isnan(value)) return "-";
    snprintf(text, 24, f->percent ? "%.2f %%" : "%.4f", f->percent ? 100 * value : value);
    return text;
}

const char *percent_text(double part, char text[16])
{
    if (isnan(part)) return "-";
    snprintf(text, 16, "%.2f", 100 * part);
    return text;
}

/* values: what the numbers stand for. */
static int by_value(const void *a, const void *b, void *values)
{
    const double *value = values;
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    bool x_is_last = isnan(value[x]), y_is_last = isnan(value[y]);
    if (x_is_last != y_is_last) return x_is_last ? 1 : -1;
    if (!x_is_last && value[x] != value[y]) return value[x] < value[y] ? -1 : 1;
    return x < y ? -1 : x > y;
}

void order_ascending(int64_t *order, const double *value, int64_t count)
{
    for (int64_t i = 0; i < count; i++) order[i] = i;
    if (count > 0) qsort_r(order, (size_t)count, sizeof *order, by_value, (void *)(uintptr_t)value);
}
