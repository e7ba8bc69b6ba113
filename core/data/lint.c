/* Reads every sample once and remembers the verdicts in a text file:
 *
 *   graft-lint 3 SETTINGS, among them the formats that this build decodes
 *   BYTES <tab> MTIME_NS <tab> "ok WIDTH HEIGHT" or the reason <tab> NAME
 *
 * A line that does not parse is dropped: the sample is then simply read again. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/base/thread.h"
#include "core/data/boxes.h"
#include "core/data/dataset.h"

enum { MAX_CACHE_BYTES = 1 << 30, LISTED_REASONS = 10, LISTED_KINDS = 8, SETTINGS_BYTES = 1024 };

typedef struct verdict {
    const char *name, *reason; /* reason NULL: good */
    int64_t bytes, mtime_ns;
    int32_t size[2];
} verdict;

/* Verdicts by name: open addressing, at most half full. */
typedef struct verdict_table {
    arena memory;
    verdict *slot;
    uint64_t mask;
} verdict_table;

static status table_init(verdict_table *t, int64_t count)
{
    uint64_t size = 16;
    while (size < (uint64_t)count * 2) size *= 2;
    *t = (verdict_table){.mask = size - 1};
    t->slot = ARENA_ARRAY(&t->memory, verdict, (int64_t)size);
    return t->slot ? OK : FAIL_MEMORY(size * sizeof *t->slot);
}

static verdict *table_find(const verdict_table *t, const char *name)
{
    uint64_t at = hash64_text(name) & t->mask;
    while (t->slot[at].name && strcmp(t->slot[at].name, name) != 0) at = (at + 1) & t->mask;
    return &t->slot[at];
}

static void settings_line(char text[SETTINGS_BYTES], const spec_data *o)
{
    char formats[SETTINGS_BYTES / 2];
    image_formats_text(formats, sizeof formats, true, true);
    snprintf(text, SETTINGS_BYTES, "graft-lint 3 exif=%d max_pixels=%" PRId64 " formats=%s", o ? (int)o->exif : 0,
        o ? o->max_pixels : 0, formats);
}

static bool parse_line(char *line, verdict *v)
{
    char *end, *field[4];
    for (int i = 0; i < 4; i++) {
        field[i] = line;
        line = i < 3 ? strchr(line, '\t') : NULL;
        if (i < 3 && !line) return false;
        if (line) *line++ = 0;
    }
    v->bytes = strtoll(field[0], &end, 10);
    if (*end || end == field[0]) return false;
    v->mtime_ns = strtoll(field[1], &end, 10);
    if (*end || end == field[1] || !field[2][0]) return false;
    bool good = sscanf(field[2], "ok %" SCNd32 " %" SCNd32, &v->size[0], &v->size[1]) == 2;
    v->reason = good ? NULL : field[2];
    v->name = field[3];
    return field[3][0] != 0;
}

static status table_read(verdict_table *t, const char *path, const spec_data *o)
{
    void *text = NULL;
    size_t bytes = 0;
    arena memory = {0};
    status result = OK;
    char settings[SETTINGS_BYTES];
    /* An unreadable cache is no cache. */
    if (!path || file_read_regular(&memory, path, MAX_CACHE_BYTES, &text, &bytes) != OK) text = NULL, bytes = 0;
    int64_t lines = 1;
    for (size_t i = 0; i < bytes; i++) lines += ((char *)text)[i] == '\n';
    TRY_OUT(table_init(t, lines));
    settings_line(settings, o);
    char *rest = text, *line = rest ? strsep(&rest, "\n") : NULL;
    if (!line || strcmp(line, settings) != 0) goto out;
    while ((line = strsep(&rest, "\n"))) {
        verdict v;
        /* The last line has no newline only when it was cut. */
        if (!rest || !parse_line(line, &v)) continue;
        verdict *slot = table_find(t, v.name);
        bool bad = v.reason != NULL;
        v.name = arena_strdup(&t->memory, v.name);
        if (bad) v.reason = arena_strdup(&t->memory, v.reason);
        if (!v.name || (bad && !v.reason)) TRY_OUT(FAIL_MEMORY(strlen(line)));
        *slot = v;
    }
out:
    arena_free(&memory);
    return result;
}

static status write_verdict(file_writer *w, const verdict *v)
{
    /* A name with a tab or newline is read anew every time. */
    if (strpbrk(v->name, "\t\n")) return OK;
    char good[64];
    snprintf(good, sizeof good, "ok %" PRId32 " %" PRId32, v->size[0], v->size[1]);
    const char *said = v->reason ? v->reason : good;
    return file_writer_printf(w, "%" PRId64 "\t%" PRId64 "\t%s\t%s\n", v->bytes, v->mtime_ns, said, v->name);
}

/* Old verdicts on other samples stay: the parts of a data set share a file. */
static status table_write(
    verdict_table *t, const char *path, const dataset *ds, const spec_data *o, const lint_report *report)
{
    file_writer w;
    status result = OK;
    char settings[SETTINGS_BYTES];
    settings_line(settings, o);
    TRY(file_writer_open(&w, path));
    TRY_OUT(file_writer_printf(&w, "%s\n", settings));
    for (int64_t i = 0; i < ds->count; i++) {
        const sample *s = &ds->samples[i];
        verdict v = {s->name, report->reason[i], s->bytes, s->mtime_ns, {report->size[i][0], report->size[i][1]}};
        TRY_OUT(write_verdict(&w, &v));
        table_find(t, s->name)->bytes = -1;
    }
    for (uint64_t i = 0; i <= t->mask; i++)
        if (t->slot[i].name && t->slot[i].bytes >= 0) TRY_OUT(write_verdict(&w, &t->slot[i]));
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}

typedef struct lint_job {
    const dataset *ds;
    decode_options options;
    const int64_t *todo; /* indices that have no verdict yet */
    lint_report *report;
    pthread_mutex_t lock;
    logger *log;
    int64_t done, todo_count;
} lint_job;

/* Not the image is bad, but the file that holds it. Leaves the thread's message as it is. */
static bool is_damaged(const dataset *ds, int64_t index)
{
    if (!ds->reader->sealed) return false;
    arena memory = {0};
    const uint8_t *bytes;
    size_t count;
    char *text = arena_strdup(&memory, status_message());
    bool damaged = dataset_encoded(ds, index, &memory, &bytes, &count) == E_DATA;
    (void)FAIL(E_DATA, "%s", text ? text : "unreadable");
    arena_free(&memory);
    return damaged;
}

static status lint_sample(void *context, int64_t item)
{
    lint_job *job = context;
    int64_t index = job->todo[item];
    image im;
    status code = dataset_decode(job->ds, index, &job->options, &im), result = OK;
    if (code == OK) job->report->size[index][0] = im.width, job->report->size[index][1] = im.height;
    image_free(&im);
    if (code != OK && code != E_DATA && code != E_IO) return code;
    bool damaged = code == E_DATA && is_damaged(job->ds, index);
    pthread_mutex_lock(&job->lock);
    if (code != OK) {
        const char *text = status_message(), *name = job->ds->samples[index].name;
        size_t length = strlen(name);
        if (strncmp(text, name, length) == 0 && strncmp(text + length, ": ", 2) == 0) text += length + 2;
        char *copy = arena_strdup(&job->report->memory, text);
        for (char *c = copy; c && *c; c++)
            if (*c == '\t' || *c == '\n') *c = ' ';
        job->report->reason[index] = copy;
        job->report->damaged_count += damaged;
        if (!copy) result = FAIL_MEMORY(strlen(text));
    }
    job->done++;
    log_progress(job->log, job->done == job->todo_count, "checking images: %" PRId64 " of %" PRId64, job->done,
        job->todo_count);
    pthread_mutex_unlock(&job->lock);
    return result;
}

static status run_job(lint_job *job, const spec_data *o)
{
    thread_pool *pool;
    TRY(pool_create(&pool, o && o->threads ? (int32_t)o->threads : cpu_count()));
    pthread_mutex_init(&job->lock, NULL);
    status result = pool_run(pool, lint_sample, job, job->todo_count);
    pthread_mutex_destroy(&job->lock);
    pool_destroy(pool);
    return result;
}

/* Fills what the cache knows and lists the rest. */
static status use_cache(
    const dataset *ds, const verdict_table *t, lint_report *report, int64_t *todo, int64_t *todo_count)
{
    for (int64_t i = 0; i < ds->count; i++) {
        const sample *s = &ds->samples[i];
        const verdict *v = table_find(t, s->name);
        bool again = v->name && v->reason && ds->reader->sealed; /* the cache does not know what was wrong with it */
        if (!v->name || again || v->bytes != s->bytes || v->mtime_ns != s->mtime_ns) {
            todo[(*todo_count)++] = i;
            continue;
        }
        report->cached_count++;
        memcpy(report->size[i], v->size, sizeof v->size);
        if (v->reason && !(report->reason[i] = arena_strdup(&report->memory, v->reason)))
            return FAIL_MEMORY(strlen(v->reason));
    }
    return OK;
}

/* Whether one of the boxes before box k is the same, of the same class. */
static bool is_doubled(const sample *s, int64_t k)
{
    const label_box *b = &s->box[k];
    for (int64_t i = 0; i < k; i++) {
        const label_box *o = &s->box[i];
        bool same = o->x0 <= b->x0 && o->x0 >= b->x0 && o->y0 <= b->y0 && o->y0 >= b->y0 && o->x1 <= b->x1 &&
                    o->x1 >= b->x1 && o->y1 <= b->y1 && o->y1 >= b->y1;
        if (same && o->class_index == b->class_index && o->ignore == b->ignore) return true;
    }
    return false;
}

/* Boxes against the sizes of their images. Label files may change while images stay, so these verdicts are not
 * cached. */
static status judge_boxes(lint_report *report, const dataset *ds)
{
    box_problem *list = NULL;
    int64_t capacity = 0;
    status result = OK;
    for (int64_t i = 0; i < ds->count; i++) {
        const sample *s = &ds->samples[i];
        report->unlabelled_count += ds->has_boxes && !s->label_file;
        for (int64_t k = 0; k < s->box_count && !report->reason[i]; k++) {
            label_box b = s->box[k];
            box_fault fault = box_clip(&b, report->size[i][0], report->size[i][1]);
            bool dropped = fault >= BOX_OUTSIDE, doubled = !dropped && is_doubled(s, k);
            if (fault == BOX_FINE && !doubled) continue;
            TRY_OUT(array_reserve((void **)&list, &capacity, report->box_count + 1, sizeof *list));
            const char *reason = doubled ? "is there twice, of the same class: both are used" : box_fault_text(fault);
            list[report->box_count++] = (box_problem){i, b.line, dropped, doubled, reason};
            report->box_dropped_count += dropped;
            report->box_doubled_count += doubled;
        }
    }
    TRY_ALLOC_OUT(report->box, arena_memdup(&report->memory, list, (size_t)report->box_count * sizeof *list));
out:
    free(list);
    return result;
}

/* One file per data set, named after its path. */
static status cache_path(arena *a, const dataset *ds, const char *folder, char **path)
{
    *path = NULL;
    if (!folder || !folder[0] || !ds->reader->encoded) return OK;
    TRY(dir_make(folder));
    *path = arena_printf(a, "%s/lint-%016" PRIx64 ".tsv", folder, hash64_text(ds->path));
    return *path ? OK : FAIL_MEMORY(strlen(folder) + 32);
}

status dataset_lint(
    const dataset *ds, const spec_data *options, const char *cache_folder, logger *l, lint_report *report)
{
    verdict_table table = {0};
    status result = OK;
    char *path;
    *report = (lint_report){.count = ds->count};
    int64_t *todo, todo_count = 0;
    report->reason = ARENA_ARRAY(&report->memory, const char *, ds->count);
    if (!report->reason) TRY_OUT(FAIL_MEMORY((size_t)ds->count * sizeof *report->reason));
    TRY_ALLOC_OUT(report->size, arena_alloc_array(&report->memory, ds->count, sizeof *report->size));
    TRY_OUT(cache_path(&report->memory, ds, cache_folder, &path));
    TRY_OUT(table_read(&table, path, options));
    if (!(todo = ARENA_ARRAY(&table.memory, int64_t, ds->count)))
        TRY_OUT(FAIL_MEMORY((size_t)ds->count * sizeof *todo));
    /* Raw records were checked when the file was opened. */
    if (ds->reader->encoded) TRY_OUT(use_cache(ds, &table, report, todo, &todo_count));
    lint_job job = {.ds = ds, .options = dataset_decode_options(options, 0), .todo = todo, .report = report, .log = l,
        .todo_count = todo_count};
    if (todo_count) TRY_OUT(run_job(&job, options));
    for (int64_t i = 0; i < ds->count; i++) report->bad_count += report->reason[i] != NULL;
    TRY_OUT(judge_boxes(report, ds));
    if (path && todo_count) TRY_OUT(table_write(&table, path, ds, options, report));
out:
    arena_free(&table.memory);
    return result;
}

void lint_report_kinds(const lint_report *report, char *text, size_t room)
{
    const char *kind[LISTED_KINDS];
    int64_t times[LISTED_KINDS] = {0}, kinds = 0, others = 0;
    for (int64_t i = 0; i < report->count; i++) {
        int64_t k = 0;
        if (!report->reason[i]) continue;
        while (k < kinds && strcmp(kind[k], report->reason[i]) != 0) k++;
        if (k == kinds && kinds < LISTED_KINDS) kind[kinds++] = report->reason[i];
        if (k < kinds) times[k]++;
        else others++;
    }
    size_t at = 0;
    text[0] = 0;
    for (int64_t k = 0; k < kinds && at < room; k++)
        at += (size_t)snprintf(text + at, room - at, "%6" PRId64 " times: %.160s\n", times[k], kind[k]);
    if (others && at < room) snprintf(text + at, room - at, "%6" PRId64 " times: other reasons\n", others);
}

/* The sample's name and reason, the first few, and what there is of each kind where those are not all. */
static void list_bad(const lint_report *report, const dataset *ds, char *text, size_t room)
{
    size_t at = 0;
    int64_t listed = 0;
    for (int64_t i = 0; i < ds->count && listed < LISTED_REASONS && at < room; i++) {
        if (!report->reason[i]) continue;
        at += (size_t)snprintf(text + at, room - at, "\n  %.256s: %.128s", ds->samples[i].name, report->reason[i]);
        listed++;
    }
    if (report->bad_count <= listed || at >= room) return;
    at += (size_t)snprintf(text + at, room - at, "\n  ...\nin all:\n");
    if (at < room) lint_report_kinds(report, text + at, room - at);
}

void lint_report_boxes(const lint_report *report, const dataset *ds, int64_t most, char *text, size_t room)
{
    size_t at = 0;
    text[0] = 0;
    for (int64_t i = 0; i < report->box_count && i < most && at < room; i++) {
        const box_problem *b = &report->box[i];
        at += (size_t)snprintf(
            text + at, room - at, "%.256s:%d: box %s\n", ds->samples[b->index].label_file, (int)b->line, b->reason);
    }
    int64_t dropped = report->box_dropped_count, doubled = report->box_doubled_count;
    if (report->box_count && at < room)
        snprintf(text + at, room - at,
            "%s%" PRId64 " box%s dropped, %" PRId64 " clipped to the image, %" PRId64 " there twice\n",
            report->box_count > most ? "...\n" : "", dropped, dropped == 1 ? "" : "es",
            report->box_count - dropped - doubled, doubled);
}

status lint_report_judge(const lint_report *report, const dataset *ds, const spec_data *o, logger *l)
{
    char text[8192];
    lint_report_boxes(report, ds, LISTED_REASONS, text, sizeof text);
    if (text[0]) log_warn_lines(l, "%s: boxes that ought to be looked at:\n%s", ds->path, text);
    if (report->bad_count == 0) return OK;
    list_bad(report, ds, text, sizeof text);
    double fraction = (double)report->bad_count / (double)ds->count, allowed = o ? o->max_bad_fraction : 1;
    if (report->damaged_count)
        return FAIL_LINES(E_DATA,
            "%s: %" PRId64 " of its %" PRId64
            " records do not fit their checksums: the file is damaged, copy or pack it again:%s",
            ds->path, report->damaged_count, ds->count, text);
    if (fraction > allowed)
        return FAIL_LINES(E_DATA,
            "%" PRId64 " of %" PRId64
            " images cannot be read (%.3g %%, data.max_bad_fraction allows %.3g %%); remove them or raise "
            "the limit:%s",
            report->bad_count, ds->count, fraction * 100, allowed * 100, text);
    log_warn_lines(l, "%" PRId64 " of %" PRId64 " images cannot be read and will be replaced by others:%s",
        report->bad_count, ds->count, text);
    return OK;
}

void lint_report_free(lint_report *report)
{
    arena_free(&report->memory);
    *report = (lint_report){0};
}
