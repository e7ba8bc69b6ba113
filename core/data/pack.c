/* Writes packed data sets: readers/packed.h. The file grows under a temporary name and takes its place at the end. */
#include <inttypes.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/folder_lock.h"
#include "core/data/readers/packed.h"
#include "core/data/readers/readers.h"

typedef struct packer {
    file_writer w;
    uint8_t *directory;
    int64_t count, capacity; /* bytes of the directory */
    logger *log;
} packer;

static status add_bytes(packer *p, const void *data, int64_t bytes)
{
    TRY(array_reserve((void **)&p->directory, &p->capacity, p->count + bytes, 1));
    if (bytes) memcpy(p->directory + p->count, data, (size_t)bytes);
    p->count += bytes;
    return OK;
}

static status add_number(packer *p, uint64_t value, int bytes)
{
    uint8_t text[8];
    packed_store(text, value, bytes);
    return add_bytes(p, text, bytes);
}

static status add_classes(packer *p, const dataset *ds)
{
    TRY(add_number(p, (ds->numbered ? PACKED_NUMBERED : 0) | (ds->has_boxes ? PACKED_BOXES : 0), 4));
    TRY(add_number(p, (uint64_t)ds->class_count, 4));
    for (int64_t i = 0; i < ds->class_count; i++) {
        size_t bytes = strlen(ds->class_name[i]);
        TRY(add_number(p, bytes, 4));
        TRY(add_bytes(p, ds->class_name[i], (int64_t)bytes));
    }
    return OK;
}

static status add_f32(packer *p, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return add_number(p, bits, 4);
}

/* Bytes of an entry, the boxes among them. */
static int64_t entry_size(const dataset *ds, const sample *s)
{
    int64_t bytes = PACKED_ENTRY_BYTES + (int64_t)strlen(s->name);
    if (!ds->has_boxes) return bytes;
    bytes += PACKED_LABELS_BYTES + (s->label_file ? (int64_t)strlen(s->label_file) : 0);
    return bytes + PACKED_BOX_BYTES * s->box_count + PACKED_POINT_BYTES * s->polygon_count;
}

static status add_box(packer *p, const label_box *b)
{
    const float edge[] = {b->x0, b->y0, b->x1, b->y1};
    for (int i = 0; i < 4; i++) TRY(add_f32(p, edge[i]));
    TRY(add_number(p, (uint32_t)b->class_index, 4));
    TRY(add_number(p, (b->ignore || b->class_index < 0 ? PACKED_IGNORE : 0) | (b->crowd ? PACKED_CROWD : 0), 4));
    TRY(add_number(p, (uint32_t)b->polygon_first, 4));
    TRY(add_number(p, (uint32_t)b->polygon_count, 4));
    TRY(add_number(p, (uint32_t)b->line, 4));
    return add_f32(p, b->area);
}

static status add_labels(packer *p, const sample *s)
{
    size_t file_bytes = s->label_file ? strlen(s->label_file) : 0;
    TRY(add_number(p, file_bytes, 4));
    TRY(add_number(p, (uint64_t)s->box_count, 4));
    TRY(add_number(p, (uint64_t)s->polygon_count, 4));
    TRY(add_bytes(p, s->label_file, (int64_t)file_bytes));
    for (int64_t i = 0; i < s->box_count; i++) TRY(add_box(p, &s->box[i]));
    for (int64_t i = 0; i < 2 * s->polygon_count; i++) TRY(add_f32(p, s->polygon[i]));
    return OK;
}

static status add_entry(packer *p, const dataset *ds, const sample *s, const void *data, size_t bytes)
{
    size_t name_bytes = strlen(s->name);
    int64_t entry_bytes = entry_size(ds, s);
    if (entry_bytes > UINT32_MAX)
        return FAIL(E_DATA,
            "%s: %" PRId64 " boxes and %" PRId64 " points of polygons, more than an entry of a packed data set holds",
            s->name, s->box_count, s->polygon_count);
    TRY(add_number(p, (uint64_t)entry_bytes, 4));
    TRY(add_number(p, name_bytes, 4));
    TRY(add_number(p, (uint32_t)s->class_index, 4));
    TRY(add_number(p, s->label_file ? PACKED_LABELLED : 0, 4));
    TRY(add_number(p, (uint64_t)p->w.written_bytes, 8));
    TRY(add_number(p, bytes, 8));
    TRY(add_number(p, hash64(data, bytes), 8));
    TRY(add_bytes(p, s->name, (int64_t)name_bytes));
    return ds->has_boxes ? add_labels(p, s) : OK;
}

static status put_sample(packer *p, const dataset *ds, int64_t i)
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
    TRY_OUT(add_entry(p, ds, &ds->samples[i], bytes, count));
    TRY_OUT(file_writer_write(&p->w, bytes, count));
out:
    free(png);
    image_free(&im);
    arena_free(&memory);
    return result;
}

static status put_part(packer *p, const dataset *ds, const char *part)
{
    for (int64_t i = 0; i < ds->count; i++) {
        TRY(put_sample(p, ds, i));
        log_progress(p->log, i + 1 == ds->count, "packing %s: %" PRId64 " of %" PRId64, part, i + 1, ds->count);
    }
    return OK;
}

/* The directory, and the header over the place that was left for it. */
static status finish(packer *p, const dataset *const parts[3], bool boxes)
{
    uint8_t head[PACKED_HEADER_BYTES] = PACKED_MAGIC;
    int64_t directory_at = p->w.written_bytes;
    hash128 sum = hash128_of(p->directory, (size_t)p->count);
    TRY(file_writer_write(&p->w, p->directory, (size_t)p->count));
    packed_store(head + 8, boxes ? PACKED_VERSION_AREAS : PACKED_VERSION, 4);
    packed_store(head + 12, PACKED_HEADER_BYTES, 4);
    packed_store(head + 16, (uint64_t)p->w.written_bytes, 8);
    packed_store(head + 24, (uint64_t)directory_at, 8);
    packed_store(head + 32, (uint64_t)p->count, 8);
    packed_store(head + 40, sum.low, 8);
    packed_store(head + 48, sum.high, 8);
    for (int i = 0; i < 3; i++) packed_store(head + 56 + 8 * i, parts[i] ? (uint64_t)parts[i]->count : 0, 8);
    packed_store(head + 88, hash64(head, 88), 8);
    if (fseek(p->w.stream, 0, SEEK_SET) != 0) return FAIL(E_IO, "%s: cannot write: %s", p->w.path, strerror(errno));
    return file_writer_write(&p->w, head, sizeof head);
}

/* The part whose classes are those of all: the first, or of numbered classes the one that has the most. */
static const dataset *classes_of(const dataset *const parts[3])
{
    const dataset *found = NULL;
    for (int i = 0; i < 3; i++)
        if (parts[i] && (!found || (found->numbered && parts[i]->class_count > found->class_count))) found = parts[i];
    return found;
}

/* Parts without a train part have been compared with nothing yet. */
static status check_parts(const dataset *const parts[3])
{
    const dataset *first = classes_of(parts);
    for (int i = 0; i < 3; i++) {
        const dataset *other = parts[i];
        if (!other) continue;
        bool fits = other->numbered == first->numbered && (other->numbered || other->class_count == first->class_count);
        for (int64_t k = 0; fits && k < other->class_count; k++)
            fits = strcmp(other->class_name[k], first->class_name[k]) == 0;
        if (other->has_boxes != first->has_boxes)
            return FAIL(E_DATA, "%s and %s: one part holds boxes and the other none: both need the same kind of labels",
                first->path, other->path);
        if (!fits)
            return FAIL(E_DATA,
                "%s: the classes of its %s part are not those of the %s part: name all classes with data.class_names",
                other->path, part_name(other->part), part_name(first->part));
    }
    return OK;
}

static status write_all(packer *p, const dataset *const parts[3])
{
    static const uint8_t place[PACKED_HEADER_BYTES];
    const dataset *first = classes_of(parts);
    TRY(file_writer_write(&p->w, place, sizeof place));
    TRY(add_classes(p, first));
    for (int i = 0; i < 3; i++)
        if (parts[i]) TRY(put_part(p, parts[i], part_name((dataset_part)i)));
    TRY(finish(p, parts, first->has_boxes));
    return file_writer_commit(&p->w);
}

static bool is_ours(const char *name)
{
    static const char *const names[] = {PACKED_FILE, PACKED_LMDB_FILE};
    if (strcmp(name, FOLDER_LOCK_FILE) == 0) return true;
    for (int i = 0; i < 2; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(name, names[i], length) == 0 && (!name[length] || strncmp(name + length, ".tmp.", 5) == 0))
            return true;
    }
    return false;
}

static status check_target(const char *path, arena *a)
{
    char **names;
    int64_t count;
    if (!file_exists(path)) return dir_make(path);
    if (!file_is_dir(path)) return FAIL(E_IO, "%s: exists and is no folder", path);
    TRY(dir_list(a, path, &names, &count));
    bool ours = count == 0;
    /* What a killed run left, data.pack.tmp.*, is ours too. */
    for (int64_t i = 0; i < count; i++) ours = ours || is_ours(names[i]);
    return ours ? OK
                : FAIL(E_IO, "%s: a folder with other files in it; choose a new name for the packed data set", path);
}

/* Files keep their size; what raw records will have as PNG is not known before. */
static status check_space(const char *path, const dataset *const parts[3])
{
    int64_t free_bytes;
    double needed = PACKED_HEADER_BYTES;
    for (int i = 0; i < 3; i++)
        for (int64_t k = 0; parts[i] && parts[i]->reader->encoded && k < parts[i]->count; k++)
            needed += (double)parts[i]->samples[k].bytes + (double)entry_size(parts[i], &parts[i]->samples[k]);
    TRY(file_free_bytes(path, &free_bytes));
    if ((double)free_bytes >= needed) return OK;
    char have[32], want[32];
    format_bytes((double)free_bytes, have);
    format_bytes(needed, want);
    return FAIL(E_IO,
        "%s: no space left: the packed data set needs %s, %s are free; free some space or choose another disk", path,
        want, have);
}

status dataset_pack(const char *path, const dataset *train, const dataset *val, const dataset *test, logger *l)
{
    arena memory = {0};
    packer p = {.log = l};
    folder_lock lock = {0};
    status result = OK;
    const dataset *parts[3] = {train, val, test};
    for (int i = 0; i < 3; i++)
        if (parts[i] && parts[i]->count == 0) parts[i] = NULL;
    if (!parts[0] && !parts[1] && !parts[2]) return FAIL(E_DATA, "%s: nothing to pack", path);
    TRY(check_parts(parts));
    TRY_OUT(check_target(path, &memory));
    TRY_OUT(folder_lock_take(&lock, path, "choose another folder with --output", l));
    dir_sweep(path);
    TRY_OUT(check_space(path, parts));
    char *file = path_join(&memory, path, PACKED_FILE), *old = path_join(&memory, path, PACKED_LMDB_FILE);
    if (!file || !old) TRY_OUT(FAIL_MEMORY(strlen(path)));
    TRY_OUT(file_writer_open(&p.w, file));
    TRY_OUT(write_all(&p, parts));
    unlink(old);
out:
    file_writer_abort(&p.w);
    folder_lock_release(&lock);
    free(p.directory);
    arena_free(&memory);
    return result;
}
