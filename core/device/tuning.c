#include "core/device/tuning.h"

#include <inttypes.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/hash.h"

enum { MAX_FILE_BYTES = 16 << 20, MAX_DESC = 1024, MAX_NAME = 128 };

/* ------------------------------------------------------------------------------------------------ the file's place */

/* Of all variants: a name that comes, goes or changes makes old times worthless. */
static uint64_t kernels_hash(void)
{
    uint64_t hash = 0;
    for (int op = 0; op < KERNEL_OP_COUNT; op++)
        for (const kernel *const *k = kernel_variants((kernel_op)op); *k; k++)
            hash = hash * 31 + hash64_text((*k)->name);
    return hash;
}

/* "NVIDIA H100 80GB HBM3, ..." -> "nvidia-h100-80gb-hbm3" */
static const char *gpu_name(tuning *t, device *dev)
{
    char text[256] = "";
    dev->api->describe(dev, text, sizeof text);
    for (char *p = text; *p; p++) {
        if (*p == ',') *p = 0;
        else *p = isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '-';
        if (!*p) break;
    }
    return arena_strdup(&t->memory, *text ? text : "gpu");
}

static const char *file_path(tuning *t)
{
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache) return arena_printf(&t->memory, "%s/graft/tuning-%s.txt", cache, t->gpu);
    return home && *home ? arena_printf(&t->memory, "%s/.cache/graft/tuning-%s.txt", home, t->gpu) : NULL;
}

/* ------------------------------------------------------------------------------------------------ rows */

static int64_t row_of(const tuning *t, kernel_op op, const char *desc)
{
    int64_t i = 0;
    while (i < t->count && !(t->rows[i].op == op && strcmp(t->rows[i].desc, desc) == 0)) i++;
    return i;
}

static status set_text(tuning *t, kernel_op op, const char *desc, const char *variant, double seconds)
{
    int64_t i = row_of(t, op, desc);
    TRY(array_reserve((void **)&t->rows, &t->capacity, i + 1, sizeof *t->rows));
    tuning_row row = {op, arena_strdup(&t->memory, desc), arena_strdup(&t->memory, variant), seconds};
    if (!row.desc || !row.variant) return FAIL_MEMORY(strlen(desc));
    t->rows[i] = row;
    if (i == t->count) t->count++;
    return OK;
}

status tuning_set(tuning *t, kernel_op op, const void *desc, const kernel *k, double seconds)
{
    char text[MAX_DESC];
    TRY(kernel_desc_format(op, desc, text, sizeof text));
    return set_text(t, op, text, k->name, seconds);
}

const char *tuning_find(const tuning *t, kernel_op op, const void *desc)
{
    char text[MAX_DESC];
    if (t->count == 0 || kernel_desc_format(op, desc, text, sizeof text) != OK) return NULL;
    int64_t i = row_of(t, op, text);
    return i < t->count ? t->rows[i].variant : NULL;
}

/* ---------------------------------------------------------------------------------------------- reading and writing */

/* false: the line is none of ours. */
static bool read_row(tuning *t, const char *line, status *result)
{
    char op[MAX_NAME], desc[MAX_DESC], variant[MAX_NAME];
    double microseconds;
    if (sscanf(line, "%127s %1023s %127s %lf", op, desc, variant, &microseconds) != 4) return false;
    const kernel *k = kernel_find(variant);
    if (!k || strcmp(kernel_op_name(k->op), op) != 0 || !(microseconds > 0)) return false;
    *result = set_text(t, k->op, desc, variant, microseconds * 1e-6);
    return true;
}

/* A file that is not ours is an empty one. */
static status read_text(tuning *t, char *text, logger *log)
{
    unsigned long long hash = 0;
    char *line = strtok_r(text, "\n", &text);
    if (!line || sscanf(line, "graft-tuning 1 %llx", &hash) != 1) {
        log_warn(log, "%s: no table of tuned kernels; it is ignored", t->path);
        return OK;
    }
    if (hash != kernels_hash()) {
        log_verbose(log, "%s: of other kernels; it is ignored", t->path);
        return OK;
    }
    for (int64_t number = 2; (line = strtok_r(text, "\n", &text)); number++) {
        status result = OK;
        if (!read_row(t, line, &result))
            log_warn(
                log, "%s:%" PRId64 ": no row \"OP DESCRIPTOR VARIANT MICROSECONDS\"; it is ignored", t->path, number);
        TRY(result);
    }
    return OK;
}

status tuning_open(tuning *t, device *dev)
{
    *t = (tuning){0};
    t->gpu = gpu_name(t, dev);
    if (!t->gpu) return FAIL_MEMORY(256);
    t->path = file_path(t);
    if (!t->path || !file_exists(t->path)) return OK;
    void *text;
    size_t bytes;
    if (file_read_all(&t->memory, t->path, MAX_FILE_BYTES, &text, &bytes) != OK) {
        log_warn(dev->log, "%s; no tuned kernels", status_message());
        return OK;
    }
    return read_text(t, text, dev->log);
}

void tuning_close(tuning *t)
{
    free(t->rows);
    arena_free(&t->memory);
    *t = (tuning){0};
}

status tuning_save(const tuning *t)
{
    if (!t->path) return FAIL(E_USAGE, "no place for the table of tuned kernels: set XDG_CACHE_HOME or HOME");
    arena a = {0};
    file_writer w;
    status result = OK;
    char *folder = arena_strndup(&a, t->path, (size_t)(path_base(t->path) - t->path));
    if (!folder) result = FAIL_MEMORY(strlen(t->path));
    if (result == OK) result = dir_make(folder);
    arena_free(&a);
    TRY(result);
    TRY(file_writer_open(&w, t->path));
    TRY_OUT(file_writer_printf(&w, "graft-tuning 1 %llx %s\n", (unsigned long long)kernels_hash(), t->gpu));
    for (int64_t i = 0; i < t->count; i++) {
        const tuning_row *r = &t->rows[i];
        TRY_OUT(
            file_writer_printf(&w, "%s %s %s %.3f\n", kernel_op_name(r->op), r->desc, r->variant, r->seconds * 1e6));
    }
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}
