#include "core/train/records.h"

#include <inttypes.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/arena.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/base/text_file.h"

enum { MAX_CSV_BYTES = 1 << 30, FIRST_COLUMNS = 3 /* step, epoch, time_s */ };

void records_clear(double value[RECORD_MAX])
{
    for (int i = 0; i < RECORD_MAX; i++) value[i] = NAN;
}

static int32_t add_column(record_columns *c, const char *group, const char *tag)
{
    snprintf(c->tag[c->count], sizeof c->tag[c->count], "%s%s", group, tag);
    return c->count++;
}

void record_columns_init(record_columns *c, const loss_terms *terms, const evaluation *e)
{
    *c = (record_columns){0};
    for (int32_t i = 0; i < TERM_MAX; i++) {
        const char *tag = i < terms->count ? terms->item[i].tag : NULL;
        c->term[i] = tag ? add_column(c, "train/", tag) : -1;
    }
    c->penalty = add_column(c, "train/", "penalty");
    c->grad_norm = add_column(c, "train/", "grad_norm");
    for (int32_t i = 0; i < FIGURE_MAX; i++) c->figure[i] = -1;
    for (int32_t i = 0; i < e->figure_count; i++)
        c->figure[e->order[i]] = add_column(c, "", e->figure[e->order[i]].tag);
    c->rate = add_column(c, "lr/", "group0");
    c->images_per_second = add_column(c, "perf/", "images_per_second");
    c->data_wait = add_column(c, "perf/", "data_wait");
    c->replaced = add_column(c, "data/", "replaced");
}

/* `r` may have been moved since it was opened. */
static const char *const *tags_of(records *r)
{
    for (int i = 0; i < r->columns.count; i++) r->tags[i] = r->columns.tag[i];
    return r->tags;
}

static void print_header(records *r, int columns, FILE *stream)
{
    fputs("step,epoch,time_s", stream);
    for (int i = 0; i < columns; i++) fprintf(stream, ",%s", r->columns.tag[i]);
    fputc('\n', stream);
}

static void print_row(const record *row, int32_t columns, FILE *stream)
{
    char text[32];
    number_text(row->epoch, text);
    fprintf(stream, "%" PRId64 ",%s,%.3f", row->step, text, row->seconds);
    for (int32_t i = 0; i < columns; i++) {
        if (isnan(row->value[i])) text[0] = 0;
        else number_text(row->value[i], text);
        fprintf(stream, ",%s", text);
    }
    fputc('\n', stream);
}

/* One line, cut at its commas in place. */
static status parse_row(const records *r, char *line, int columns, int64_t number, record *row)
{
    char *field[FIRST_COLUMNS + RECORD_MAX];
    int count = 0, expected = FIRST_COLUMNS + columns;
    for (char *next = line; next;) {
        char *comma = strchr(next, ',');
        if (comma) *comma = 0;
        if (count == expected) count++;
        if (count > expected) break;
        field[count++] = next;
        next = comma ? comma + 1 : NULL;
    }
    bool good = count == expected && text_to_int(field[0], &row->step) &&
                text_to_number(field[1], &row->epoch) && text_to_number(field[2], &row->seconds);
    records_clear(row->value);
    for (int i = 0; good && i < columns; i++) {
        const char *text = field[FIRST_COLUMNS + i];
        if (strcmp(text, "inf") == 0) row->value[i] = INFINITY;
        else if (text[0]) good = text_to_number(text, &row->value[i]);
    }
    if (!good)
        return FAIL(
            E_DATA, "%s:%" PRId64 ": not a row of this log; move the file away and resume again", r->csv_path, number);
    return OK;
}

static status keep_row(records *r, const record *row)
{
    TRY(array_reserve((void **)&r->rows, &r->capacity, r->count + 1, sizeof *r->rows));
    r->rows[r->count++] = *row;
    return OK;
}

static status has_header(records *r, const char *text, int columns, bool *same)
{
    char expected[2048];
    FILE *memory = fmemopen(expected, sizeof expected, "w");
    if (!memory) return FAIL_MEMORY(sizeof expected);
    print_header(r, columns, memory);
    fclose(memory);
    expected[strcspn(expected, "\n")] = 0;
    *same = strcmp(text, expected) == 0;
    return OK;
}

static status parse_csv(records *r, char *text, int64_t resume_step)
{
    int64_t number = 1;
    char *line = strchr(text, '\n');
    if (!line) return OK; /* torn within the header: starts anew */
    *line++ = 0;
    int columns = r->columns.count;
    bool same;
    TRY(has_header(r, text, columns, &same));
    if (!same) TRY(has_header(r, text, --columns, &same)); /* an earlier build's, without data/replaced */
    if (!same)
        return FAIL(E_DATA, "%s: has other columns than this run would write; move the file away and resume again",
            r->csv_path);
    for (char *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        record row;
        TRY(parse_row(r, line, columns, ++number, &row));
        if (row.step > resume_step) break;
        TRY(keep_row(r, &row));
    }
    return OK;
}

static status rewrite_csv(records *r)
{
    status result = OK;
    file_writer w;
    TRY(file_writer_open(&w, r->csv_path));
    print_header(r, r->columns.count, w.stream);
    for (int64_t i = 0; i < r->count; i++) print_row(&r->rows[i], r->columns.count, w.stream);
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}

static status open_files(records *r, const char *folder, int64_t resume_step)
{
    status result = OK;
    arena memory = {0};
    char *path = arena_printf(&memory, "%s/log.csv", folder), *events = arena_printf(&memory, "%s/events", folder);
    if (path) r->csv_path = strdup(path);
    if (!events || !r->csv_path) TRY_OUT(FAIL_MEMORY(256));
    if (resume_step >= 0 && file_exists(path)) {
        char *text;
        size_t bytes;
        TRY_OUT(text_file_read(&memory, path, MAX_CSV_BYTES, E_DATA, &text, &bytes));
        TRY_OUT(parse_csv(r, text, resume_step));
    }
    TRY_OUT(rewrite_csv(r));
    TRY_OUT(file_open_stream(path, O_WRONLY | O_APPEND, "a", &r->csv));
    TRY_OUT(tensorboard_open(&r->events, events, (double)time(NULL)));
out:
    arena_free(&memory);
    return result;
}

status records_open(records *r, const char *folder, const record_columns *columns, int64_t resume_step)
{
    *r = (records){.columns = *columns};
    status result = dir_make(folder);
    if (result == OK) result = open_files(r, folder, resume_step);
    if (result != OK) records_close(r);
    return result;
}

status records_add(records *r, int64_t step, double epoch, double seconds, const double value[RECORD_MAX])
{
    record row = {.step = step, .epoch = epoch, .seconds = seconds};
    memcpy(row.value, value, sizeof row.value);
    TRY(keep_row(r, &row));
    print_row(&row, r->columns.count, r->csv);
    if (fflush(r->csv) != 0 || ferror(r->csv)) return FAIL(E_IO, "%s: %s", r->csv_path, strerror(errno));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return tensorboard_scalars(
        &r->events, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec, step, tags_of(r), value, r->columns.count);
}

void records_close(records *r)
{
    if (r->csv) fclose(r->csv);
    tensorboard_close(&r->events);
    free(r->csv_path);
    free(r->rows);
    *r = (records){0};
}
