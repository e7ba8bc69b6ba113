/* Writes packed data sets: readers/packed.h. The file grows under a temporary name and takes its place at the end. */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/data/readers/packed.h"
#include "core/data/readers/readers.h"

enum { SAMPLES_PER_COMMIT = 1000 };

typedef struct packer {
    const char *path; /* of the file being written */
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    int64_t pending;
    logger *log;
} packer;

static status lmdb_status(const packer *p, int code)
{
    return code == 0 ? OK : FAIL(E_IO, "%s: cannot write: %s", p->path, mdb_strerror(code));
}

static status begin(packer *p)
{
    TRY(lmdb_status(p, mdb_txn_begin(p->env, NULL, 0, &p->txn)));
    return lmdb_status(p, mdb_dbi_open(p->txn, NULL, 0, &p->db));
}

static status commit(packer *p)
{
    MDB_txn *txn = p->txn;
    p->txn = NULL;
    p->pending = 0;
    return lmdb_status(p, mdb_txn_commit(txn));
}

static status put(packer *p, const char *key, const void *data, size_t bytes)
{
    MDB_val k = {strlen(key), (void *)(uintptr_t)key}, v = {bytes, (void *)(uintptr_t)data};
    TRY(lmdb_status(p, mdb_put(p->txn, p->db, &k, &v, 0)));
    if (++p->pending < SAMPLES_PER_COMMIT) return OK;
    TRY(commit(p));
    return begin(p);
}

typedef struct index_text {
    uint8_t *bytes;
    int64_t count, capacity;
} index_text;

static status add_entry(index_text *index, const sample *s, uint64_t hash)
{
    int64_t name_bytes = (int64_t)strlen(s->name);
    TRY(array_reserve((void **)&index->bytes, &index->capacity, index->count + PACKED_ENTRY_BYTES + name_bytes, 1));
    uint8_t *to = index->bytes + index->count;
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)((uint32_t)s->class_index >> 8 * i);
    for (int i = 0; i < 4; i++) to[4 + i] = (uint8_t)((uint32_t)name_bytes >> 8 * i);
    for (int i = 0; i < 8; i++) to[8 + i] = (uint8_t)(hash >> 8 * i);
    memcpy(to + PACKED_ENTRY_BYTES, s->name, (size_t)name_bytes);
    index->count += PACKED_ENTRY_BYTES + name_bytes;
    return OK;
}

static status put_sample(packer *p, const dataset *ds, int64_t i, const char *part, index_text *index)
{
    arena memory = {0};
    image im = {0};
    uint8_t *png = NULL;
    const uint8_t *bytes;
    size_t count;
    status result = OK;
    TRY_OUT(dataset_encoded(ds, i, &memory, &bytes, &count));
    if (!bytes) {
        decode_options options = dataset_decode_options(NULL, 0);
        TRY_OUT(dataset_decode(ds, i, &options, &im));
        TRY_OUT(image_encode_png(&im, &png, &count));
        bytes = png;
    }
    char key[PACKED_KEY_BYTES];
    snprintf(key, sizeof key, "%s/%010lld", part, (long long)i);
    TRY_OUT(add_entry(index, &ds->samples[i], hash64(bytes, count)));
    TRY_OUT(put(p, key, bytes, count));
out:
    free(png);
    image_free(&im);
    arena_free(&memory);
    return result;
}

static status put_part(packer *p, const dataset *ds, const char *part)
{
    index_text index = {0};
    status result = OK;
    char key[PACKED_KEY_BYTES];
    for (int64_t i = 0; i < ds->count; i++) {
        TRY_OUT(put_sample(p, ds, i, part, &index));
        log_progress(p->log, i + 1 == ds->count, "packing %s: %lld of %lld", part, (long long)i + 1, (long long)ds->count);
    }
    snprintf(key, sizeof key, "%s/index", part);
    TRY_OUT(put(p, key, index.bytes ? index.bytes : (const uint8_t *)"", (size_t)index.count));
out:
    free(index.bytes);
    return result;
}

static status put_meta(packer *p, const dataset *const parts[3])
{
    json_writer w = {0};
    const dataset *first = parts[0] ? parts[0] : parts[1] ? parts[1] : parts[2];
    const char *text;
    size_t bytes;
    json_begin_object(&w);
    json_key(&w, "format"), json_put_string(&w, PACKED_FORMAT);
    json_key(&w, "version"), json_put_int(&w, PACKED_VERSION);
    json_key(&w, "numbered"), json_put_bool(&w, first->numbered);
    json_key(&w, "classes");
    json_begin_array(&w);
    for (int64_t i = 0; i < first->class_count; i++) json_put_string(&w, first->class_name[i]);
    json_end_array(&w);
    json_key(&w, "parts");
    json_begin_object(&w);
    for (int i = 0; i < 3; i++) {
        if (!parts[i]) continue;
        json_key(&w, part_name((dataset_part)i));
        json_begin_object(&w);
        json_key(&w, "count"), json_put_int(&w, parts[i]->count);
        json_end_object(&w);
    }
    json_end_object(&w);
    json_end_object(&w);
    status result = json_writer_finish(&w, &text, &bytes);
    if (result == OK) result = put(p, "meta", text, bytes);
    json_writer_free(&w);
    return result;
}

/* Upper bound of the file: LMDB wants to know it, the file itself grows as it is written. Encoding raw pixels adds little. */
static size_t map_bytes(const dataset *const parts[3])
{
    size_t bytes = (size_t)64 << 20;
    for (int i = 0; i < 3; i++)
        for (int64_t k = 0; parts[i] && k < parts[i]->count; k++)
            bytes += (size_t)parts[i]->samples[k].bytes * 5 / 4 + 2 * strlen(parts[i]->samples[k].name) + 16384;
    return (bytes + 4095) & ~(size_t)4095;
}

static status check_target(const char *path, arena *a)
{
    char **names;
    int64_t count;
    if (!file_exists(path)) return dir_make(path);
    if (!file_is_dir(path)) return FAIL(E_IO, "%s: exists and is no folder", path);
    TRY(dir_list(a, path, &names, &count));
    bool ours = count == 0;
    /* What a killed run left, data.mdb.tmp.PID, is ours too. */
    for (int64_t i = 0; i < count; i++)
        ours = ours || strcmp(names[i], PACKED_FILE) == 0 || strncmp(names[i], PACKED_FILE ".tmp.", sizeof PACKED_FILE ".tmp." - 1) == 0;
    if (ours) dir_sweep(path);
    return ours ? OK : FAIL(E_IO, "%s: a folder with other files in it; choose a new name for the packed data set", path);
}

static status write_all(packer *p, const dataset *const parts[3])
{
    TRY(lmdb_status(p, mdb_env_create(&p->env)));
    TRY(lmdb_status(p, mdb_env_set_mapsize(p->env, map_bytes(parts))));
    TRY(lmdb_status(p, mdb_env_open(p->env, p->path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOSYNC, 0644)));
    TRY(begin(p));
    for (int i = 0; i < 3; i++)
        if (parts[i]) TRY(put_part(p, parts[i], part_name((dataset_part)i)));
    TRY(put_meta(p, parts));
    TRY(commit(p));
    return lmdb_status(p, mdb_env_sync(p->env, 1));
}

status dataset_pack(const char *path, const dataset *train, const dataset *val, const dataset *test, logger *l)
{
    arena memory = {0};
    packer p = {.log = l};
    status result = OK;
    const dataset *parts[3] = {train, val, test};
    for (int i = 0; i < 3; i++)
        if (parts[i] && parts[i]->count == 0) parts[i] = NULL;
    if (!parts[0] && !parts[1] && !parts[2]) return FAIL(E_DATA, "%s: nothing to pack", path);
    TRY_OUT(check_target(path, &memory));
    char *temporary = arena_printf(&memory, "%s/" PACKED_FILE ".tmp.%ld", path, (long)getpid());
    char *file = arena_printf(&memory, "%s/" PACKED_FILE, path);
    if (!temporary || !file) TRY_OUT(FAIL_MEMORY(strlen(path)));
    p.path = temporary;
    unlink(temporary);
    TRY_OUT(write_all(&p, parts));
    mdb_env_close(p.env);
    p.env = NULL;
    if (rename(temporary, file) != 0) TRY_OUT(FAIL(E_IO, "%s: cannot rename to %s", temporary, file));
out:
    if (p.txn) mdb_txn_abort(p.txn);
    if (p.env) mdb_env_close(p.env);
    if (result != OK && p.path) unlink(p.path);
    arena_free(&memory);
    return result;
}
