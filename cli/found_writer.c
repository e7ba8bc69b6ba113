#include "cli/found_writer.h"

#include <inttypes.h>
#include <string.h>

#include "core/base/utf8.h"

static bool has_boxes(const found_writer *w) { return w->setting->task->has_boxes; }

static const char *class_of(const found_writer *w, const found_object *f)
{
    return w->setting->class_name[f->class_index];
}

void found_writer_init(found_writer *w, cli_context *c, const task_setting *t, int64_t most)
{
    *w = (found_writer){.c = c, .setting = t, .columns = t->task->has_boxes ? 1 : most};
}

void found_writer_free(found_writer *w)
{
    if (w->has_csv) file_writer_abort(&w->csv);
    w->has_csv = false;
}

status found_writer_open_csv(found_writer *w, const char *path)
{
    TRY(file_writer_open(&w->csv, path));
    w->has_csv = true;
    TRY(file_writer_printf(&w->csv, "path,class,confidence"));
    for (int64_t k = 2; k <= w->columns; k++)
        TRY(file_writer_printf(&w->csv, ",class_%" PRId64 ",confidence_%" PRId64, k, k));
    return file_writer_printf(&w->csv, has_boxes(w) ? ",x0,y0,x1,y1\n" : "\n");
}

status found_writer_commit(found_writer *w)
{
    if (w->has_csv) TRY(file_writer_commit(&w->csv));
    w->has_csv = false;
    return OK;
}

/* A CSV field, quoted where it must be, on the row's one line. */
static status csv_field(found_writer *w, const char *name)
{
    const char *text = utf8_escaped(&w->c->memory, name);
    if (!text) return E_MEMORY;
    bool blank_ends = *text && (strchr(" \t", text[0]) || strchr(" \t", text[strlen(text) - 1]));
    if (!blank_ends && !strpbrk(text, ",\"")) return file_writer_printf(&w->csv, "%s", text);
    TRY(file_writer_write(&w->csv, "\"", 1));
    for (const char *c = text; *c; c++) TRY(file_writer_write(&w->csv, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1));
    return file_writer_write(&w->csv, "\"", 1);
}

static status csv_found(found_writer *w, const found_object *f)
{
    TRY(file_writer_write(&w->csv, ",", 1));
    TRY(csv_field(w, class_of(w, f)));
    TRY(file_writer_printf(&w->csv, ",%.6f", (double)f->score));
    for (int k = 0; has_boxes(w) && k < 4; k++) TRY(file_writer_printf(&w->csv, ",%.2f", (double)f->box[k]));
    return OK;
}

/* An image in which nothing was found has a row without values, too. */
static status csv_rows(found_writer *w, const char *name, const prediction *p)
{
    int64_t done = 0;
    do {
        TRY(csv_field(w, name));
        for (int64_t k = 0; k < w->columns; k++, done++)
            if (done < p->count) TRY(csv_found(w, &p->object[done]));
            else TRY(file_writer_printf(&w->csv, has_boxes(w) ? ",,,,,," : ",,"));
        TRY(file_writer_printf(&w->csv, "\n"));
    } while (has_boxes(w) && done < p->count);
    return OK;
}

static void json_found(found_writer *w, const found_object *f)
{
    json_writer *j = &w->c->result;
    json_begin_object(j);
    json_key(j, "class"), json_put_string(j, class_of(w, f));
    json_key(j, "confidence"), json_put_number(j, f->score);
    if (has_boxes(w)) {
        json_key(j, "box");
        json_begin_array(j);
        for (int k = 0; k < 4; k++) json_put_number(j, f->box[k]);
        json_end_array(j);
    }
    json_end_object(j);
}

static void json_image(found_writer *w, const char *name, const prediction *p)
{
    json_writer *j = &w->c->result;
    json_begin_object(j);
    json_key(j, "path"), json_put_string(j, name);
    if (!has_boxes(w) && p->count > 0) {
        json_key(j, "class"), json_put_string(j, class_of(w, &p->object[0]));
        json_key(j, "confidence"), json_put_number(j, p->object[0].score);
    }
    json_key(j, has_boxes(w) ? "objects" : "top");
    json_begin_array(j);
    for (int64_t k = 0; k < p->count; k++) json_found(w, &p->object[k]);
    json_end_array(j);
    json_end_object(j);
}

static void table_line(found_writer *w, const char *name, const prediction *p)
{
    cli_print(w->c, "%-*s ", (int)w->widest, utf8_escaped(&w->c->memory, name));
    for (int64_t k = 0; k < p->count; k++) {
        const found_object *f = &p->object[k];
        cli_print(w->c, "  %s %.4f", class_of(w, f), (double)f->score);
        if (has_boxes(w))
            cli_print(w->c, " [%.0f %.0f %.0f %.0f]", (double)f->box[0], (double)f->box[1], (double)f->box[2],
                (double)f->box[3]);
    }
    cli_print(w->c, p->count ? "\n" : "  nothing\n");
}

status found_writer_add(found_writer *w, const char *name, const prediction *p)
{
    table_line(w, name, p);
    json_image(w, name, p);
    return w->has_csv ? csv_rows(w, name, p) : OK;
}

status found_writer_add_error(found_writer *w, const char *name, const char *error)
{
    size_t length = strlen(name);
    bool named = strncmp(error, name, length) == 0 && strncmp(error + length, ": ", 2) == 0;
    json_writer *j = &w->c->result;
    cli_print(w->c, "%-*s   unreadable: %s\n", (int)w->widest, utf8_escaped(&w->c->memory, name),
        named ? error + length + 2 : error);
    json_begin_object(j);
    json_key(j, "path"), json_put_string(j, name);
    json_key(j, "error"), json_put_string(j, error);
    json_end_object(j);
    return w->has_csv ? csv_rows(w, name, &(prediction){0}) : OK;
}
