/* A packed data set: one file of image files. See packed.h. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/data/readers/packed.h"
#include "core/data/readers/readers.h"

typedef struct record {
    int64_t at, bytes;
    uint64_t hash;
} record;

typedef struct packed_state {
    file_input file;
    record *records; /* [count] of the part */
} packed_state;

static bool holds(const char *path, const char *name)
{
    arena memory = {0};
    char *file = path_join(&memory, path, name);
    bool found = file && file_exists(file) && !file_is_dir(file);
    arena_free(&memory);
    return found;
}

static status read_header(const file_input *f, packed_header *h)
{
    uint8_t head[PACKED_HEADER_BYTES];
    if (f->bytes < PACKED_HEADER_BYTES)
        return FAIL(E_DATA, "%s: %" PRId64 " bytes are no packed data set (an interrupted copy?)", f->path, f->bytes);
    TRY(file_input_read(f, 0, head, sizeof head));
    if (memcmp(head, PACKED_MAGIC, 8) != 0)
        return FAIL(E_DATA, "%s: does not start as a packed data set does", f->path);
    uint64_t version = packed_load(head + 8, 4);
    if (version < PACKED_VERSION || version > PACKED_VERSION_AREAS)
        return FAIL(E_DATA, "%s: version %" PRIu64 " of the format; this program reads versions %d to %d", f->path,
            version, PACKED_VERSION, PACKED_VERSION_AREAS);
    if (packed_load(head + 12, 4) != PACKED_HEADER_BYTES || hash64(head, 88) != packed_load(head + 88, 8))
        return FAIL(
            E_DATA, "%s: the header does not fit its checksum: the file is damaged, copy or pack it again", f->path);
    h->version = (int32_t)version;
    h->file_bytes = (int64_t)packed_load(head + 16, 8);
    h->directory_at = (int64_t)packed_load(head + 24, 8);
    h->directory_bytes = (int64_t)packed_load(head + 32, 8);
    h->directory_hash = (hash128){.low = packed_load(head + 40, 8), .high = packed_load(head + 48, 8)};
    for (int i = 0; i < 3; i++) h->count[i] = (int64_t)packed_load(head + 56 + 8 * i, 8);
    if (h->file_bytes != f->bytes)
        return FAIL(E_DATA,
            "%s: has %" PRId64 " bytes, its header says %" PRId64 ": an interrupted copy? Copy or pack it again",
            f->path, f->bytes, h->file_bytes);
    bool fits = h->directory_at >= PACKED_HEADER_BYTES && h->directory_at <= f->bytes &&
                h->directory_bytes == f->bytes - h->directory_at;
    for (int i = 0; i < 3; i++)
        fits = fits && h->count[i] >= 0 && h->count[i] <= h->directory_bytes / PACKED_ENTRY_BYTES;
    return fits ? OK : FAIL(E_DATA, "%s: the sizes in the header do not fit the file", f->path);
}

static status open_file(packed_state *state, const char *path, packed_header *h)
{
    arena memory = {0};
    char *file = path_join(&memory, path, PACKED_FILE);
    status result = file ? file_input_open(&state->file, file) : FAIL_MEMORY(strlen(path));
    arena_free(&memory);
    TRY(result);
    return read_header(&state->file, h);
}

/* What is wrong with a file that is there, opening it says. */
static bool probe(const char *path, dataset_part part)
{
    if (part == PART_WHOLE || !file_is_dir(path)) return false;
    if (!holds(path, PACKED_FILE)) return holds(path, PACKED_LMDB_FILE);
    packed_state state = {0};
    packed_header h;
    bool found = open_file(&state, path, &h) != OK || h.count[part] > 0;
    file_input_close(&state.file);
    return found;
}

/* ------------------------------------------------------------------------------------------------ the directory */

typedef struct cursor {
    const uint8_t *at, *end;
    const char *file;
    int32_t version;
} cursor;

static status take(cursor *c, int64_t bytes, const uint8_t **data)
{
    *data = c->at;
    if (bytes > c->end - c->at) return FAIL(E_DATA, "%s: the directory ends too early", c->file);
    c->at += bytes;
    return OK;
}

static status take_name(cursor *c, arena *a, int64_t bytes, const char **name)
{
    const uint8_t *text;
    TRY(take(c, bytes, &text));
    if (bytes && memchr(text, 0, (size_t)bytes)) return FAIL(E_DATA, "%s: a name with a 0 byte in it", c->file);
    *name = arena_strndup(a, (const char *)text, (size_t)bytes);
    return *name ? OK : FAIL_MEMORY(bytes);
}

static status read_classes(dataset *ds, cursor *c)
{
    arena memory = {0};
    const uint8_t *head;
    status result = OK;
    TRY(take(c, 8, &head));
    uint64_t flags = packed_load(head, 4);
    int64_t count = (int64_t)packed_load(head + 4, 4);
    uint64_t known = c->version < PACKED_VERSION_BOXES ? PACKED_NUMBERED : PACKED_NUMBERED | PACKED_BOXES;
    if (flags & ~known) return FAIL(E_DATA, "%s: unknown flags %" PRIu64, c->file, flags);
    if (count > (c->end - c->at) / 4) return FAIL(E_DATA, "%s: the directory ends too early", c->file);
    const char **names = ARENA_ARRAY(&memory, const char *, count);
    if (!names) return FAIL_MEMORY((size_t)count * sizeof *names);
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *bytes;
        TRY_OUT(take(c, 4, &bytes));
        TRY_OUT(take_name(c, &memory, (int64_t)packed_load(bytes, 4), &names[i]));
    }
    ds->numbered = flags & PACKED_NUMBERED;
    ds->has_boxes = flags & PACKED_BOXES;
    TRY_OUT(dataset_set_classes(ds, names, count));
out:
    arena_free(&memory);
    return result;
}

static float load_f32(const uint8_t *from)
{
    uint32_t bits = (uint32_t)packed_load(from, 4);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int64_t box_bytes(const cursor *c)
{
    return c->version < PACKED_VERSION_AREAS ? PACKED_BOX_BYTES - 4 : PACKED_BOX_BYTES;
}

static status read_box(label_box *b, const dataset *ds, const cursor *c, const uint8_t *from, int64_t points)
{
    uint64_t flags = packed_load(from + 20, 4), first = packed_load(from + 24, 4), count = packed_load(from + 28, 4);
    *b = (label_box){load_f32(from), load_f32(from + 4), load_f32(from + 8), load_f32(from + 12),
        (int32_t)(uint32_t)packed_load(from + 16, 4), flags & PACKED_IGNORE, (int32_t)first, (int32_t)count,
        (int32_t)(uint32_t)packed_load(from + 32, 4), flags & PACKED_CROWD,
        c->version < PACKED_VERSION_AREAS ? 0 : load_f32(from + 36)};
    uint64_t known = c->version < PACKED_VERSION_AREAS ? PACKED_IGNORE : PACKED_IGNORE | PACKED_CROWD;
    if (flags & ~known)
        return FAIL(
            E_DATA, "%s: a box has flags %" PRIu64 ", which version %d does not know", c->file, flags, c->version);
    if (b->class_index < -1 || b->class_index >= ds->class_count)
        return FAIL(E_DATA, "%s: a box has class %d of %" PRId64, c->file, b->class_index, ds->class_count);
    if (b->class_index < 0 && !b->ignore)
        return FAIL(E_DATA, "%s: a box has no class and is not to be ignored", c->file);
    if (first + count > (uint64_t)points)
        return FAIL(E_DATA, "%s: a box has points %" PRIu64 " to %" PRIu64 " of %" PRId64, c->file, first,
            first + count, points);
    if (!(b->area >= 0)) return FAIL(E_DATA, "%s: a box has area %g", c->file, (double)b->area);
    return b->line >= 0 ? OK : FAIL(E_DATA, "%s: a box has line %d", c->file, b->line);
}

static status copy_labels(dataset *ds, const cursor *c, sample *s, const uint8_t *boxes, const uint8_t *points)
{
    float *polygon;
    TRY_ALLOC(s->box, ARENA_ARRAY(&ds->memory, label_box, s->box_count));
    for (int64_t i = 0; i < s->box_count; i++)
        TRY(read_box(&s->box[i], ds, c, boxes + box_bytes(c) * i, s->polygon_count));
    if (s->polygon_count == 0) return OK;
    TRY_ALLOC(polygon, ARENA_ARRAY(&ds->memory, float, 2 * s->polygon_count));
    for (int64_t i = 0; i < 2 * s->polygon_count; i++) polygon[i] = load_f32(points + 4 * i);
    s->polygon = polygon;
    return OK;
}

/* What stands behind an entry's name. rest: the bytes of the entry that are left. What
 * is not wanted is checked alike. */
static status read_labels(dataset *ds, cursor *c, sample *s, int64_t rest, bool labelled, bool wanted)
{
    const uint8_t *head, *boxes, *points;
    arena unwanted = {0};
    label_box unused;
    TRY(take(c, PACKED_LABELS_BYTES, &head));
    int64_t file_bytes = (int64_t)packed_load(head, 4);
    s->box_count = (int64_t)packed_load(head + 4, 4);
    s->polygon_count = (int64_t)packed_load(head + 8, 4);
    int64_t needed =
        PACKED_LABELS_BYTES + file_bytes + box_bytes(c) * s->box_count + PACKED_POINT_BYTES * s->polygon_count;
    if (rest != needed || s->polygon_count > INT32_MAX)
        return FAIL(E_DATA, "%s: an entry of the directory has %" PRId64 " bytes of boxes instead of %" PRId64, c->file,
            rest, needed);
    if (!labelled && (file_bytes || s->box_count || s->polygon_count))
        return FAIL(E_DATA, "%s: a sample has boxes, but no label file", c->file);
    status result = take_name(c, wanted ? &ds->memory : &unwanted, file_bytes, &s->label_file);
    arena_free(&unwanted);
    TRY(result);
    if (!labelled || !wanted) s->label_file = NULL;
    TRY(take(c, box_bytes(c) * s->box_count, &boxes));
    TRY(take(c, PACKED_POINT_BYTES * s->polygon_count, &points));
    if (wanted) return copy_labels(ds, c, s, boxes, points);
    for (int64_t i = 0; i < s->box_count; i++)
        TRY(read_box(&unused, ds, c, boxes + box_bytes(c) * i, s->polygon_count));
    return OK;
}

/* Records follow one another without gaps, those of val behind those of train. *next:
 * where the next one has to begin. */
static status read_entry(dataset *ds, cursor *c, bool wanted, int64_t *next, int64_t records_end)
{
    packed_state *state = ds->state;
    const uint8_t *head;
    arena unwanted = {0};
    TRY(take(c, PACKED_ENTRY_BYTES, &head));
    int64_t entry_bytes = (int64_t)packed_load(head, 4), name_bytes = (int64_t)packed_load(head + 4, 4);
    record r = {(int64_t)packed_load(head + 16, 8), (int64_t)packed_load(head + 24, 8), packed_load(head + 32, 8)};
    sample s = {.class_index = (int32_t)(uint32_t)packed_load(head + 8, 4), .bytes = r.bytes, .offset = ds->count,
        .mtime_ns = state->file.mtime_ns};
    int64_t rest = entry_bytes - PACKED_ENTRY_BYTES - name_bytes;
    uint64_t flags = packed_load(head + 12, 4), known = ds->has_boxes ? PACKED_LABELLED : 0;
    if (rest < 0 || (rest > 0 && !ds->has_boxes) || flags & ~known)
        return FAIL(
            E_DATA, "%s: an entry of the directory has fields that version %d does not know", c->file, c->version);
    if (r.at != *next || r.bytes < 0 || r.bytes > records_end - r.at)
        return FAIL(E_DATA, "%s: the record at byte %" PRId64 " does not follow the one before it", c->file, r.at);
    if (s.class_index < -1 || s.class_index >= ds->class_count)
        return FAIL(E_DATA, "%s: a sample has class %d of %" PRId64, c->file, s.class_index, ds->class_count);
    *next = r.at + r.bytes;
    status result = take_name(c, &unwanted, name_bytes, &s.name);
    if (result == OK && ds->has_boxes) result = read_labels(ds, c, &s, rest, flags & PACKED_LABELLED, wanted);
    if (result == OK && wanted) {
        state->records[ds->count] = r;
        result = dataset_add_sample(ds, &s);
    }
    arena_free(&unwanted);
    return result;
}

static status read_directory(dataset *ds, const uint8_t *bytes, const packed_header *h, dataset_part part)
{
    packed_state *state = ds->state;
    cursor c = {bytes, bytes + h->directory_bytes, state->file.path, h->version};
    int64_t next = PACKED_HEADER_BYTES;
    TRY(read_classes(ds, &c));
    if (!(state->records = ARENA_ARRAY(&ds->memory, record, h->count[part])))
        return FAIL_MEMORY((size_t)h->count[part] * sizeof(record));
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < h->count[k]; i++) TRY(read_entry(ds, &c, k == (int)part, &next, h->directory_at));
    if (c.at != c.end || next != h->directory_at)
        return FAIL(E_DATA, "%s: the directory does not fit the file", c.file);
    return OK;
}

static status refuse_lmdb(const char *path)
{
    return FAIL(E_DATA,
        "%s/%s: packed by an earlier version, as LMDB, which cannot be read safely: a file that was cut off or changed "
        "would "
        "end the program. Pack the data set again from where it came: graft convert SOURCE -o %s",
        path, PACKED_LMDB_FILE, path);
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    packed_header h;
    packed_state *state = ARENA_NEW(&ds->memory, packed_state);
    if (!state) return FAIL_MEMORY(sizeof *state);
    ds->state = state;
    if (!holds(path, PACKED_FILE)) return refuse_lmdb(path);
    TRY(open_file(state, path, &h));
    if (h.count[part] == 0) return FAIL(E_DATA, "%s: has no %s part", path, part_name(part));
    uint8_t *bytes = malloc((size_t)h.directory_bytes);
    if (!bytes) return FAIL_MEMORY(h.directory_bytes);
    status result = file_input_read(&state->file, h.directory_at, bytes, (size_t)h.directory_bytes);
    hash128 found = hash128_of(bytes, (size_t)h.directory_bytes);
    if (result == OK && (found.low != h.directory_hash.low || found.high != h.directory_hash.high))
        result = FAIL(E_DATA, "%s: the directory does not fit its checksum: the file is damaged, copy or pack it again",
            state->file.path);
    if (result == OK) result = read_directory(ds, bytes, &h, part);
    if (result == OK && ds->has_boxes && options && options->class_names.count)
        result = dataset_order_classes(ds, &options->class_names);
    free(bytes);
    return result;
}

static status read_record(const dataset *ds, int64_t index, arena *a, const uint8_t **bytes, size_t *count)
{
    const packed_state *state = ds->state;
    const record *r = &state->records[ds->samples[index].offset];
    uint8_t *data = arena_alloc(a, (size_t)r->bytes);
    if (!data) return FAIL_MEMORY(r->bytes);
    TRY(file_input_read(&state->file, r->at, data, (size_t)r->bytes));
    if (hash64(data, (size_t)r->bytes) != r->hash)
        return FAIL(E_DATA, "%s: %s: the record does not fit its checksum: the file is damaged, copy or pack it again",
            state->file.path, ds->samples[index].name);
    *bytes = data;
    *count = (size_t)r->bytes;
    return OK;
}

static void close_packed(dataset *ds)
{
    packed_state *state = ds->state;
    if (state) file_input_close(&state->file);
}

const dataset_reader reader_packed = {
    .name = "packed", .probe = probe, .open = open_part, .encoded = read_record, .close = close_packed, .sealed = true};
