/* A packed data set: one LMDB file. See packed.h.
 *
 * The sizes and checksums of samples are checked; LMDB itself trusts the pages of its file, so packed data sets from strangers
 * deserve the same caution as programs from them (docs/FORMATS.md says so too). */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/base/json.h"
#include "core/data/readers/packed.h"
#include "core/data/readers/readers.h"

enum { LMDB_MAGIC_AT = 16 };

typedef struct record {
    const uint8_t *bytes; /* in the map, valid while the transaction is open */
    size_t count;
    uint64_t hash;
} record;

typedef struct packed_state {
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi db;
    record *records;
} packed_state;

/* The first page of an LMDB file: its flags say "meta" and then comes the magic number. */
static bool is_lmdb(const char *path)
{
    arena memory = {0};
    uint8_t head[LMDB_MAGIC_AT + 4] = {0};
    static const uint8_t magic[4] = {0xde, 0xc0, 0xef, 0xbe};
    char *file = path_join(&memory, path, PACKED_FILE);
    FILE *stream = file && file_is_dir(path) ? fopen(file, "rbe") : NULL;
    bool found = stream && fread(head, 1, sizeof head, stream) == sizeof head && memcmp(head + LMDB_MAGIC_AT, magic, 4) == 0;
    if (stream) fclose(stream);
    arena_free(&memory);
    return found;
}

static status open_env(packed_state *state, const char *path)
{
    /* Without locks it works on read-only media and may be opened twice in a process; nobody writes to a finished one. */
    int code = mdb_env_create(&state->env);
    if (code == 0) code = mdb_env_open(state->env, path, MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD, 0);
    if (code == 0) code = mdb_txn_begin(state->env, NULL, MDB_RDONLY, &state->txn);
    if (code == 0) code = mdb_dbi_open(state->txn, NULL, 0, &state->db);
    return code == 0 ? OK : FAIL(E_DATA, "%s: not a readable packed data set: %s", path, mdb_strerror(code));
}

static void close_state(packed_state *state)
{
    if (state->txn) mdb_txn_abort(state->txn);
    if (state->env) mdb_env_close(state->env);
    *state = (packed_state){0};
}

static bool get(const packed_state *state, const char *key, MDB_val *value)
{
    MDB_val k = {strlen(key), (void *)(uintptr_t)key};
    return mdb_get(state->txn, state->db, &k, value) == 0;
}

static status read_meta(const packed_state *state, arena *a, const char *path, json **meta)
{
    MDB_val value;
    int64_t version;
    if (!get(state, "meta", &value)) return FAIL(E_DATA, "%s: an LMDB file without \"meta\": not a packed data set", path);
    TRY(json_parse(a, value.mv_data, value.mv_size, "meta of a packed data set", meta));
    const char *format = json_string(json_get(*meta, "format"));
    if (!format || strcmp(format, PACKED_FORMAT) != 0 || !json_int(json_get(*meta, "version"), &version))
        return FAIL(E_DATA, "%s: \"meta\" is not that of a packed data set", path);
    if (version != PACKED_VERSION)
        return FAIL(E_DATA, "%s: version %lld of the format; this program reads version %d", path, (long long)version, PACKED_VERSION);
    return OK;
}

static bool probe(const char *path, dataset_part part)
{
    if (part == PART_WHOLE || !is_lmdb(path)) return false;
    arena memory = {0};
    packed_state state = {0};
    json *meta;
    bool found = open_env(&state, path) == OK && read_meta(&state, &memory, path, &meta) == OK &&
                 json_get(json_get(meta, "parts"), part_name(part));
    close_state(&state);
    arena_free(&memory);
    return found;
}

static status read_classes(dataset *ds, const char *path, const json *meta)
{
    const json *list = json_get(meta, "classes");
    if (!list || list->type != JSON_ARRAY) return FAIL(E_DATA, "%s: \"meta\" has no list of classes", path);
    const char **names = ARENA_ARRAY(&ds->memory, const char *, list->count);
    if (!names) return FAIL_MEMORY((size_t)list->count * sizeof *names);
    for (int64_t i = 0; i < list->count; i++)
        if (!(names[i] = json_string(json_at(list, i)))) return FAIL(E_DATA, "%s: a class is no text", path);
    json_bool(json_get(meta, "numbered"), &ds->numbered);
    return dataset_set_classes(ds, names, list->count);
}

typedef struct index_cursor {
    const uint8_t *at, *end;
} index_cursor;

static uint64_t take_number(index_cursor *c, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--) value = value << 8 | c->at[i];
    c->at += bytes;
    return value;
}

static status read_entry(dataset *ds, const char *path, const char *part, index_cursor *c, sample *s)
{
    packed_state *state = ds->state;
    if (c->end - c->at < PACKED_ENTRY_BYTES) return FAIL(E_DATA, "%s: the index of %s is cut short", path, part);
    s->class_index = (int32_t)(uint32_t)take_number(c, 4);
    size_t name_bytes = take_number(c, 4);
    record *r = &state->records[ds->count];
    r->hash = take_number(c, 8);
    if (name_bytes > (size_t)(c->end - c->at)) return FAIL(E_DATA, "%s: the index of %s is cut short", path, part);
    if (s->class_index < -1 || s->class_index >= ds->class_count)
        return FAIL(E_DATA, "%s: sample %lld of %s has class %d of %lld", path, (long long)ds->count, part, s->class_index,
            (long long)ds->class_count);
    char key[PACKED_KEY_BYTES];
    MDB_val value;
    snprintf(key, sizeof key, "%s/%010lld", part, (long long)ds->count);
    if (!get(state, key, &value)) return FAIL(E_DATA, "%s: no record %s", path, key);
    r->bytes = value.mv_data;
    r->count = value.mv_size;
    char *name = arena_strndup(&ds->memory, (const char *)c->at, name_bytes);
    if (!name) return FAIL_MEMORY(name_bytes);
    c->at += name_bytes;
    s->name = name;
    s->bytes = (int64_t)r->count;
    s->offset = ds->count;
    return dataset_add_sample(ds, s);
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    (void)options;
    packed_state *state = ARENA_NEW(&ds->memory, packed_state);
    if (!state) return FAIL_MEMORY(sizeof *state);
    ds->state = state;
    TRY(open_env(state, path));
    json *meta;
    TRY(read_meta(state, &ds->memory, path, &meta));
    TRY(read_classes(ds, path, meta));
    int64_t count, file_bytes;
    char key[PACKED_KEY_BYTES];
    MDB_val value;
    const json *entry = json_get(json_get(meta, "parts"), part_name(part));
    snprintf(key, sizeof key, "%s/index", part_name(part));
    if (!entry) return FAIL(E_DATA, "%s: has no %s part", path, part_name(part));
    if (!json_int(json_get(entry, "count"), &count) || count < 0 || !get(state, key, &value) ||
        count > (int64_t)(value.mv_size / PACKED_ENTRY_BYTES))
        return FAIL(E_DATA, "%s: the index of %s does not fit its count", path, part_name(part));
    if (!(state->records = ARENA_ARRAY(&ds->memory, record, count))) return FAIL_MEMORY((size_t)count * sizeof(record));
    index_cursor c = {value.mv_data, (const uint8_t *)value.mv_data + value.mv_size};
    char *file = path_join(&ds->memory, path, PACKED_FILE);
    sample s = {0};
    if (!file) return FAIL_MEMORY(strlen(path));
    TRY(file_info(file, &file_bytes, &s.mtime_ns));
    for (int64_t i = 0; i < count; i++) TRY(read_entry(ds, path, part_name(part), &c, &s));
    return OK;
}

static status read_record(const dataset *ds, int64_t index, arena *a, const uint8_t **bytes, size_t *count)
{
    (void)a;
    const packed_state *state = ds->state;
    const record *r = &state->records[ds->samples[index].offset];
    if (hash64(r->bytes, r->count) != r->hash) return FAIL(E_DATA, "the record does not fit its checksum");
    *bytes = r->bytes;
    *count = r->count;
    return OK;
}

static void close_packed(dataset *ds)
{
    if (ds->state) close_state(ds->state);
}

const dataset_reader reader_packed = {"packed", probe, open_part, read_record, NULL, close_packed};
