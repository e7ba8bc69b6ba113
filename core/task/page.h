/* page.h: what tasks write into a report's page: HTML that needs no other file. */
#ifndef GRAFT_TASK_PAGE_H
#define GRAFT_TASK_PAGE_H

#include <stdio.h>

#include "core/data/dataset.h"

struct task_setting;
struct found_object;

typedef struct page {
    FILE *stream;
    const spec *spec;
} page;

void page_text(page *p, const char *text);   /* escaped */
void page_percent(page *p, double part);     /* a table cell: 100 * part with two digits, or - for NaN */
/* The sample as a small picture, inline; nothing when it cannot be decoded: a report never fails for it. */
void page_thumbnail(page *p, const dataset *data, int64_t index);
/* The same, larger, with its labels' boxes and those of what was found drawn. */
void page_objects(
    page *p, const struct task_setting *t, int64_t index, const struct found_object *object, int64_t count);

#endif
