#include "core/train/state.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/base/json.h"

enum { STATE_VERSION = 1, PREFIX_BYTES = 40, BLOCK_ALIGN = 64, MAX_HEADER_BYTES = 64 << 20 };
static const char state_magic[8] = "GRAFTSTA";

/* Every single value by name: X(type, name, field). */
#define PROGRESS_FIELDS(X)                                                                                             \
    X(int, "step", step)                                                                                               \
    X(int, "applied", applied)                                                                                         \
    X(int, "bad_total", bad_total)                                                                                     \
    X(int, "bad_run", bad_run)                                                                                         \
    X(int, "batch_size", batch_size)                                                                                   \
    X(int, "threads", threads)                                                                                         \
    X(int, "world", world)                                                                                             \
    X(int, "seed", seed)                                                                                               \
    X(int, "best_step", best_step)                                                                                     \
    X(number, "best_accuracy", best_criterion)                                                                         \
    X(number, "best_loss", best_watched)                                                                               \
    X(int, "stop_waited", stop_waited)                                                                                 \
    X(number, "stop_loss", stop_watched)                                                                               \
    X(bool, "stopped", stopped)                                                                                        \
    X(bool, "closed", closed)                                                                                          \
    X(bool, "fitted", fitted)                                                                                          \
    X(number, "seconds", seconds)                                                                                      \
    X(number, "window_penalty", window.penalty_sum)                                                                    \
    X(number, "window_norm", window.norm_sum)                                                                          \
    X(int, "window_batches", window.batches)                                                                           \
    X(int, "window_images", window.images)                                                                             \
    X(int, "window_updates", window.updates)                                                                           \
    X(number, "window_seconds", window.seconds)                                                                        \
    X(number, "window_wait", window.wait_seconds)

/* Those that files of earlier builds lack. */
#define PROGRESS_OPTIONAL(X)                                                                                           \
    X(number, "loss_scale", loss_scale)                                                                                \
    X(int, "scale_good", scale_good)                                                                                   \
    X(int, "replaced", replaced)                                                                                       \
    X(int, "window_replaced", window.replaced)

/* JSON has no infinities: null stands for +inf (a loss not seen yet, or one that overflowed). */
static bool get_int(const json *value, int64_t *result) { return json_int(value, result); }
static bool get_bool(const json *value, bool *result) { return json_bool(value, result); }
static bool get_number(const json *value, double *result)
{
    if (value && value->type == JSON_NULL) *result = INFINITY;
    return (value && value->type == JSON_NULL) || json_number(value, result);
}

static size_t aligned(size_t offset)
{
    return (offset + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
}

static void put_hash(json_writer *w, const char *key, hash128 h)
{
    char text[33];
    hash128_hex(h, text);
    json_key(w, key);
    json_put_string(w, text);
}

static void write_terms(const train_window *v, json_writer *w)
{
    json_key(w, "window_terms");
    json_begin_array(w);
    for (int i = 0; i < TERM_MAX; i++) json_put_number(w, v->term[i]);
    json_end_array(w);
}

/* Files of earlier builds hold a loss and the number of correct images: terms 0 and 1 of classification. */
static bool read_terms(train_window *v, const json *root)
{
    const json *list = json_get(root, "window_terms");
    if (!list)
        return get_number(json_get(root, "window_loss"), &v->term[0]) &&
               get_number(json_get(root, "window_correct"), &v->term[1]);
    if (list->type != JSON_ARRAY || list->count != TERM_MAX) return false;
    for (int i = 0; i < TERM_MAX; i++)
        if (!get_number(list->items[i], &v->term[i])) return false;
    return true;
}

/* Offsets count from the first block, so that the header's length does not depend on itself. */
static void write_header(const train_state *s, json_writer *w)
{
    json_begin_object(w);
#define X(type, name, field)                                                                                           \
    json_key(w, name);                                                                                                 \
    json_put_##type(w, s->progress.field);
    PROGRESS_FIELDS(X)
    PROGRESS_OPTIONAL(X)
#undef X
    write_terms(&s->progress.window, w);
    put_hash(w, "model_hash", s->model_hash);
    put_hash(w, "layout", (hash128){s->layout, 0});
    json_key(w, "spec");
    json_put_string(w, s->spec_text ? s->spec_text : "");
    json_key(w, "lists");
    json_begin_object(w);
    for (int32_t i = 0; i < s->list_count; i++) {
        json_key(w, s->list[i].name);
        json_begin_array(w);
        for (int64_t k = 0; k < s->list[i].count; k++) json_put_string(w, s->list[i].item[k]);
        json_end_array(w);
    }
    json_end_object(w);
    json_key(w, "blocks");
    json_begin_array(w);
    size_t offset = 0;
    for (int32_t i = 0; i < s->block_count; i++) {
        json_begin_object(w);
        json_key(w, "name");
        json_put_string(w, s->block[i].name);
        json_key(w, "offset");
        json_put_int(w, (int64_t)offset);
        json_key(w, "bytes");
        json_put_int(w, (int64_t)s->block[i].bytes);
        put_hash(w, "xxh3", hash128_of(s->block[i].data, s->block[i].bytes));
        json_end_object(w);
        offset = aligned(offset + s->block[i].bytes);
    }
    json_end_array(w);
    json_end_object(w);
}

static void store_little(uint8_t *bytes, uint64_t value, int count)
{
    for (int i = 0; i < count; i++) bytes[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t load_little(const uint8_t *bytes, int count)
{
    uint64_t value = 0;
    for (int i = 0; i < count; i++) value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static status write_padding(file_writer *w)
{
    static const uint8_t zeros[BLOCK_ALIGN];
    size_t at = (size_t)w->written_bytes;
    return file_writer_write(w, zeros, aligned(at) - at);
}

status state_write(const train_state *s, const char *path)
{
    status result = OK;
    file_writer w = {0};
    json_writer header = {0};
    const char *text;
    size_t bytes;
    write_header(s, &header);
    TRY_OUT(json_writer_finish(&header, &text, &bytes));

    uint8_t prefix[PREFIX_BYTES] = {0};
    hash128 sum = hash128_of(text, bytes);
    memcpy(prefix, state_magic, 8);
    store_little(prefix + 8, STATE_VERSION, 4);
    store_little(prefix + 16, bytes, 8);
    store_little(prefix + 24, sum.low, 8);
    store_little(prefix + 32, sum.high, 8);

    TRY_OUT(file_writer_open(&w, path));
    TRY_OUT(file_writer_write(&w, prefix, sizeof prefix));
    TRY_OUT(file_writer_write(&w, text, bytes));
    for (int32_t i = 0; i < s->block_count; i++) {
        TRY_OUT(write_padding(&w));
        TRY_OUT(file_writer_write(&w, s->block[i].data, s->block[i].bytes));
    }
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    json_writer_free(&header);
    return result;
}

static bool read_hash(const json *value, hash128 *h)
{
    const char *text = json_string(value);
    if (!text || strlen(text) != 32) return false;
    uint64_t half[2] = {0, 0};
    for (int i = 0; i < 32; i++) {
        const char *digits = "0123456789abcdef", *at = strchr(digits, text[i]);
        if (!at) return false;
        half[i / 16] = half[i / 16] << 4 | (uint64_t)(at - digits);
    }
    *h = (hash128){.high = half[0], .low = half[1]};
    return true;
}

static status read_lists(train_state *s, const json *lists, const char *path)
{
    if (!lists || lists->type != JSON_OBJECT || lists->count > STATE_MAX_LISTS)
        return FAIL(E_MODEL, "%s: header: bad lists", path);
    for (int64_t i = 0; i < lists->count; i++) {
        const json *items = lists->items[i];
        if (items->type != JSON_ARRAY)
            return FAIL(E_MODEL, "%s: header: list \"%s\" is no array", path, lists->keys[i]);
        const char **names = ARENA_ARRAY(&s->memory, const char *, items->count);
        if (!names) return FAIL_MEMORY(items->count * sizeof *names);
        for (int64_t k = 0; k < items->count; k++)
            if (!(names[k] = json_string(items->items[k])))
                return FAIL(E_MODEL, "%s: header: list \"%s\" holds something else than names", path, lists->keys[i]);
        s->list[s->list_count++] = (state_list){lists->keys[i], names, items->count};
    }
    return OK;
}

static bool all_zero(const uint8_t *data, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (data[i]) return false;
    return true;
}

/* Blocks must follow one another without gaps or overlap up to the end of the file. */
static status read_blocks(train_state *s, const json *blocks, size_t header_end, const char *path)
{
    const file_map *map = &s->map;
    if (!blocks || blocks->type != JSON_ARRAY || blocks->count > STATE_MAX_BLOCKS)
        return FAIL(E_MODEL, "%s: header: bad blocks", path);
    size_t base = aligned(header_end), end = header_end;
    for (int64_t i = 0; i < blocks->count; i++) {
        const json *item = blocks->items[i];
        const char *name = json_string(json_get(item, "name"));
        int64_t offset, bytes;
        hash128 expected;
        if (!name || !json_int(json_get(item, "offset"), &offset) || !json_int(json_get(item, "bytes"), &bytes) ||
            bytes < 0 || !read_hash(json_get(item, "xxh3"), &expected))
            return FAIL(E_MODEL, "%s: header: bad block %" PRId64, path, i);
        size_t begin = aligned(end);
        if (offset < 0 || (size_t)offset != begin - base)
            return FAIL(
                E_MODEL, "%s: block \"%s\" stands at %" PRId64 ", not behind the one before it", path, name, offset);
        if (begin > map->bytes || (size_t)bytes > map->bytes - begin)
            return FAIL(E_MODEL, "%s: truncated: %zu bytes, block \"%s\" needs %zu", path, map->bytes, name,
                begin + (size_t)bytes);
        if (!all_zero(map->data + end, begin - end))
            return FAIL(E_MODEL, "%s: damaged in front of block \"%s\"", path, name);
        hash128 sum = hash128_of(map->data + begin, (size_t)bytes);
        if (sum.low != expected.low || sum.high != expected.high)
            return FAIL(E_MODEL, "%s: block \"%s\" is damaged: its checksum differs", path, name);
        s->block[s->block_count++] = (state_block){name, map->data + begin, (size_t)bytes};
        end = begin + (size_t)bytes;
    }
    if (end != map->bytes) return FAIL(E_MODEL, "%s: %zu bytes, expected %zu", path, map->bytes, end);
    return OK;
}

static status read_header(train_state *s, const json *root, const char *path)
{
#define X(type, name, field)                                                                                           \
    if (!get_##type(json_get(root, name), &s->progress.field))                                                         \
        return FAIL(E_MODEL, "%s: header: \"%s\" is missing", path, name);
    PROGRESS_FIELDS(X)
#undef X
#define X(type, name, field)                                                                                           \
    if (json_get(root, name) && !get_##type(json_get(root, name), &s->progress.field))                                 \
        return FAIL(E_MODEL, "%s: header: bad \"%s\"", path, name);
    PROGRESS_OPTIONAL(X)
#undef X
    if (!read_terms(&s->progress.window, root))
        return FAIL(E_MODEL, "%s: header: \"window_terms\" is missing or bad", path);
    hash128 layout;
    s->spec_text = json_string(json_get(root, "spec"));
    if (!s->spec_text || !read_hash(json_get(root, "model_hash"), &s->model_hash) ||
        !read_hash(json_get(root, "layout"), &layout))
        return FAIL(E_MODEL, "%s: header: \"spec\", \"model_hash\" or \"layout\" is missing", path);
    s->layout = layout.low;
    const train_progress *p = &s->progress;
    if (p->step < 0 || p->applied < 0 || p->batch_size < 1 || p->threads < 0 || p->world < 1 || !(p->loss_scale >= 0))
        return FAIL(E_MODEL, "%s: header: a count is out of range", path);
    return read_lists(s, json_get(root, "lists"), path);
}

static status read_all(train_state *s, const char *path)
{
    const file_map *map = &s->map;
    if (map->bytes < PREFIX_BYTES) return FAIL(E_MODEL, "%s: truncated: %zu bytes", path, map->bytes);
    if (memcmp(map->data, state_magic, 8) != 0) return FAIL(E_MODEL, "%s: not a training state of Graft", path);
    uint64_t version = load_little(map->data + 8, 4), bytes = load_little(map->data + 16, 8);
    if (version != STATE_VERSION || load_little(map->data + 12, 4) != 0)
        return FAIL(
            E_MODEL, "%s: version %llu, this build reads %d", path, (unsigned long long)version, (int)STATE_VERSION);
    if (bytes > MAX_HEADER_BYTES || bytes > map->bytes - PREFIX_BYTES)
        return FAIL(E_MODEL, "%s: truncated within the header", path);
    const char *text = (const char *)map->data + PREFIX_BYTES;
    hash128 sum = hash128_of(text, bytes);
    if (sum.low != load_little(map->data + 24, 8) || sum.high != load_little(map->data + 32, 8))
        return FAIL(E_MODEL, "%s: the header is damaged: its checksum differs", path);
    json *root;
    TRY(json_parse(&s->memory, text, bytes, path, &root));
    TRY(read_header(s, root, path));
    return read_blocks(s, json_get(root, "blocks"), PREFIX_BYTES + bytes, path);
}

status state_read(train_state *s, const char *path)
{
    *s = (train_state){0};
    status result = file_map_open(&s->map, path);
    if (result == OK) result = read_all(s, path);
    if (result != OK) state_free(s);
    return result;
}

void state_free(train_state *s)
{
    arena_free(&s->memory);
    file_map_close(&s->map);
    *s = (train_state){0};
}

const state_block *state_find(const train_state *s, const char *name)
{
    for (int32_t i = 0; i < s->block_count; i++)
        if (strcmp(s->block[i].name, name) == 0) return &s->block[i];
    return NULL;
}

const state_list *state_find_list(const train_state *s, const char *name)
{
    for (int32_t i = 0; i < s->list_count; i++)
        if (strcmp(s->list[i].name, name) == 0) return &s->list[i];
    return NULL;
}
