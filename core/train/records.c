#include "core/train/records.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/arena.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "core/base/text_file.h"

enum { MAX_CSV_BYTES = 1 << 30, FIRST_COLUMNS = 3 /* step, epoch, time_s */ };

static const char *const record_tags[RECORD_COUNT] = {
#define X(name, tag) tag,
    RECORD_COLUMNS(X)
#undef X
};

void records_clear(double value[RECORD_COUNT])
{
    for (int i = 0; i < RECORD_COUNT; i++) value[i] = NAN;
}

static void set_tags(records *r, int64_t top_k)
{
    for (int i = 0; i < RECORD_COUNT; i++) {
        if (i == RECORD_VAL_TOP_K) snprintf(r->tag[i], sizeof r->tag[i], "%s%lld", record_tags[i], (long long)top_k);
        else snprintf(r->tag[i], sizeof r->tag[i], "%s", record_tags[i]);
    }
}

/* `r` may have been moved since it was opened. */
static const char *const *tags_of(records *r)
{
    for (int i = 0; i < RECORD_COUNT; i++) r->tags[i] = r->tag[i];
    return r->tags;
}

static void print_header(records *r, FILE *stream)
{
    fputs("step,epoch,time_s", stream);
    for (int i = 0; i < RECORD_COUNT; i++) fprintf(stream, ",%s", r->tag[i]);
    fputc('\n', stream);
}

static void print_row(const record *row, FILE *stream)
{
    char text[32];
    number_text(row->epoch, text);
    fprintf(stream, "%lld,%s,%.3f", (long long)row->step, text, row->seconds);
    for (int i = 0; i < RECORD_COUNT; i++) {
        if (isnan(row->value[i])) text[0] = 0;
        else number_text(row->value[i], text);
        fprintf(stream, ",%s", text);
    }
    fputc('\n', stream);
}

/* One line, cut at its commas in place. */
static status parse_row(const char *path, char *line, int64_t number, record *row)
{
    char *field[FIRST_COLUMNS + RECORD_COUNT];
    int count = 0;
    for (char *next = line; next;) {
        char *comma = strchr(next, ',');
        if (comma) *comma = 0;
        if (count == FIRST_COLUMNS + RECORD_COUNT) count++;
        if (count > FIRST_COLUMNS + RECORD_COUNT) break;
        field[count++] = next;
        next = comma ? comma + 1 : NULL;
    }
    bool good = count == FIRST_COLUMNS + RECORD_COUNT && text_to_int(field[0], &row->step) &&
                text_to_number(field[1], &row->epoch) && text_to_number(field[2], &row->seconds);
    for (int i = 0; good && i < RECORD_COUNT; i++) {
        const char *text = field[FIRST_COLUMNS + i];
        row->value[i] = NAN;
        if (strcmp(text, "inf") == 0) row->value[i] = INFINITY;
        else if (text[0]) good = text_to_number(text, &row->value[i]);
    }
    if (!good)
        return FAIL(E_DATA, "%s:%lld: not a row of this log; move the file away and resume again", path, (long long)number);
    return OK;
}

static status keep_row(records *r, const record *row)
{
    TRY(array_reserve((void **)&r->rows, &r->capacity, r->count + 1, sizeof *r->rows));
    r->rows[r->count++] = *row;
    return OK;
}

static status parse_csv(records *r, char *text, int64_t resume_step)
{
    int64_t number = 1;
    char *line = strchr(text, '\n');
    if (!line) return OK; /* torn within the header: starts anew */
    *line++ = 0;
    char expected[1024];
    FILE *memory = fmemopen(expected, sizeof expected, "w");
    if (!memory) return FAIL_MEMORY(sizeof expected);
    print_header(r, memory);
    fclose(memory);
    expected[strcspn(expected, "\n")] = 0;
    if (strcmp(text, expected) != 0)
        return FAIL(E_DATA, "%s: has other columns than this run would write; move the file away and resume again", r->csv_path);
    for (char *end; (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        record row;
        TRY(parse_row(r->csv_path, line, ++number, &row));
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
    print_header(r, w.stream);
    for (int64_t i = 0; i < r->count; i++) print_row(&r->rows[i], w.stream);
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
    r->csv = fopen(path, "a");
    if (!r->csv) TRY_OUT(FAIL(E_IO, "%s: %s", path, strerror(errno)));
    TRY_OUT(tensorboard_open(&r->events, events, (double)time(NULL)));
out:
    arena_free(&memory);
    return result;
}

status records_open(records *r, const char *folder, int64_t top_k, int64_t resume_step)
{
    *r = (records){0};
    set_tags(r, top_k);
    status result = dir_make(folder);
    if (result == OK) result = open_files(r, folder, resume_step);
    if (result != OK) records_close(r);
    return result;
}

status records_add(records *r, int64_t step, double epoch, double seconds, const double value[RECORD_COUNT])
{
    record row = {.step = step, .epoch = epoch, .seconds = seconds};
    memcpy(row.value, value, sizeof row.value);
    TRY(keep_row(r, &row));
    print_row(&row, r->csv);
    if (fflush(r->csv) != 0 || ferror(r->csv)) return FAIL(E_IO, "%s: %s", r->csv_path, strerror(errno));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return tensorboard_scalars(&r->events, (double)now.tv_sec + 1e-9 * (double)now.tv_nsec, step, tags_of(r), value, RECORD_COUNT);
}

void records_close(records *r)
{
    if (r->csv) fclose(r->csv);
    tensorboard_close(&r->events);
    free(r->csv_path);
    free(r->rows);
    *r = (records){0};
}
