#include "core/task/task.h"

#include <math.h>
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
