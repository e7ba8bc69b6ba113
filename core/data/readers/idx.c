/* IDX (MNIST, Fashion-MNIST): PREFIX-images-idx3-ubyte[.gz] beside PREFIX-labels-idx1-ubyte[.gz], PREFIX train, t10k,
 * test or val. Big-endian: 0 0 8 RANK, then RANK sizes of 4 bytes, then the bytes. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "core/base/file.h"
#include "core/data/readers/readers.h"

enum { MAX_GZIP_RATIO = 1040, WINDOW_BITS_GZIP = 15 + 16 };

enum { MAX_HEADER_BYTES = 4 + 4 * 4, MAX_PACKED_BYTES = INT32_MAX };

typedef struct idx_state {
    file_input
        images; /* plain files are read picture by picture, so that one that is cut off meanwhile is an error     */
    idx_array
        pixels; /* data NULL: in the file, behind its header; else inflated                                       */
} idx_state;

static int64_t header_bytes(int32_t rank) { return 4 + 4 * (int64_t)rank; }

static status check_size(const idx_array *array, int64_t data_bytes, int64_t file_bytes, const char *name)
{
    int64_t have = file_bytes - header_bytes(array->rank);
    if (data_bytes == have) return OK;
    return FAIL(E_DATA, "%s: the header says %" PRId64 " bytes of data, the file has %" PRId64, name, data_bytes, have);
}

/* Checks the header and yields the size of all that must follow it. */
static status read_header(const uint8_t *head, size_t count, const char *name, idx_array *out, int64_t *data_bytes)
{
    if (count < 4 || head[0] || head[1] || head[2] != 8 || head[3] < 1 || head[3] > 4)
        return FAIL(E_DATA, "%s: not an IDX file of unsigned bytes (expected 0 0 8 and a rank of 1 to 4)", name);
    *out = (idx_array){.rank = head[3]};
    if (count < (size_t)header_bytes(out->rank)) return FAIL(E_DATA, "%s: the header is cut short", name);
    *data_bytes = 1;
    for (int i = 0; i < out->rank; i++) {
        const uint8_t *p = head + 4 + 4 * i;
        out->dim[i] = (int64_t)((uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]);
        if (__builtin_mul_overflow(*data_bytes, out->dim[i], data_bytes))
            return FAIL(E_DATA, "%s: the sizes in the header are impossible", name);
    }
    return OK;
}

static status inflate_some(z_stream *z, uint8_t *dst, size_t bytes, const char *name)
{
    while (bytes) {
        uInt step = bytes > (1u << 30) ? 1u << 30 : (uInt)bytes;
        z->next_out = dst;
        z->avail_out = step;
        int code = inflate(z, Z_NO_FLUSH);
        size_t got = step - z->avail_out;
        dst += got;
        bytes -= got;
        if (bytes == 0) return OK;
        if (code == Z_STREAM_END || code == Z_BUF_ERROR)
            return FAIL(E_DATA, "%s: the gzip data ends %zu bytes too early", name, bytes);
        if (code != Z_OK)
            return FAIL(E_DATA, "%s: the gzip data is broken: %s", name, z->msg ? z->msg : "no reason given");
    }
    return OK;
}

static status parse_gzip(arena *a, const uint8_t *bytes, size_t count, const char *name, idx_array *out)
{
    uint8_t head[4 + 4 * 4], more;
    int64_t data_bytes;
    status result = OK;
    z_stream z = {.next_in = (Bytef *)(uintptr_t)bytes, .avail_in = (uInt)count};
    if (inflateInit2(&z, WINDOW_BITS_GZIP) != Z_OK) return FAIL_MEMORY(1 << 16);
    TRY_OUT(inflate_some(&z, head, 4, name));
    int32_t rank = head[3] >= 1 && head[3] <= 4 ? head[3] : 1;
    TRY_OUT(inflate_some(&z, head + 4, (size_t)rank * 4, name));
    TRY_OUT(read_header(head, (size_t)header_bytes(rank), name, out, &data_bytes));
    if (data_bytes > (int64_t)count * MAX_GZIP_RATIO)
        TRY_OUT(FAIL(E_DATA, "%s: the header says %" PRId64 " bytes, which %zu bytes of gzip cannot hold", name,
            data_bytes, count));
    uint8_t *data = arena_alloc(a, (size_t)data_bytes);
    if (!data) TRY_OUT(FAIL_MEMORY(data_bytes));
    TRY_OUT(inflate_some(&z, data, (size_t)data_bytes, name));
    z.next_out = &more;
    z.avail_out = 1;
    /* The checksum stands at the end of the stream, which must be reached. */
    int code = inflate(&z, Z_NO_FLUSH);
    if (code != Z_STREAM_END || z.avail_out == 0)
        TRY_OUT(FAIL(E_DATA, "%s: %s", name,
            z.avail_out == 0 ? "more data than the header says" : "the gzip data is cut short or broken"));
    out->data = data;
out:
    inflateEnd(&z);
    return result;
}

status idx_parse(arena *a, const uint8_t *bytes, size_t count, const char *name, idx_array *out)
{
    int64_t data_bytes;
    *out = (idx_array){0};
    if (count > UINT32_MAX / 2) return FAIL(E_DATA, "%s: more than 2 GiB", name);
    if (count >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b) return parse_gzip(a, bytes, count, name, out);
    TRY(read_header(bytes, count, name, out, &data_bytes));
    TRY(check_size(out, data_bytes, (int64_t)count, name));
    out->data = bytes + header_bytes(out->rank);
    return OK;
}

static bool is_file(const char *path) { return file_exists(path) && !file_is_dir(path); }

/* The images of a part, NULL if there are none. MNIST's test part is t10k. */
static char *find_images(arena *a, const char *folder, dataset_part part)
{
    static const char *const tails[] = {"-images-idx3-ubyte.gz", "-images-idx3-ubyte", "-images.idx3-ubyte"};
    char *found = NULL;
    for (int i = 0; i < 3 && !found; i++) {
        char *mnist = part == PART_TEST ? arena_printf(a, "%s/t10k%s", folder, tails[i]) : NULL;
        found = mnist && is_file(mnist) ? mnist : part_path(a, folder, part, tails[i], is_file);
    }
    return found;
}

static bool probe(const char *path, dataset_part part)
{
    arena memory = {0};
    bool found = part == PART_WHOLE ? strstr(path_base(path), "idx3-ubyte") && is_file(path)
                                    : find_images(&memory, path, part) != NULL;
    arena_free(&memory);
    return found;
}

/* "x-images-idx3-ubyte.gz" -> "x-labels-idx1-ubyte.gz" */
static char *labels_beside(arena *a, const char *images)
{
    char *path = arena_strdup(a, images);
    if (!path) return NULL;
    char *base = (char *)(uintptr_t)path_base(path), *kind = strstr(base, "images"), *rank = strstr(base, "idx3");
    if (!kind || !rank) return NULL;
    memcpy(kind, "labels", 6);
    memcpy(rank, "idx1", 4);
    return file_exists(path) ? path : NULL;
}

static status add_samples(dataset *ds, const char *images, const idx_array *labels)
{
    const idx_state *state = ds->state;
    sample s = {.bytes = state->pixels.dim[1] * state->pixels.dim[2], .mtime_ns = state->images.mtime_ns};
    int32_t greatest = 0;
    for (int64_t i = 0; i < state->pixels.dim[0]; i++) {
        char name[4096];
        snprintf(name, sizeof name, "%s#%" PRId64, images, i);
        s.name = name;
        s.class_index = labels->data ? labels->data[i] : -1;
        s.offset = i * s.bytes;
        if (s.class_index > greatest) greatest = s.class_index;
        TRY(dataset_add_sample(ds, &s));
    }
    static const char *const files[] = {"classes.txt", "labels.txt", NULL};
    char folder[4096];
    snprintf(folder, sizeof folder, "%.*s", (int)(path_base(images) - images), images);
    return dataset_name_classes(ds, folder[0] ? folder : ".", files, greatest);
}

static status read_whole(arena *a, const char *path, idx_array *array)
{
    arena file = {0};
    void *bytes;
    size_t count;
    status result = OK;
    TRY_OUT(file_read_regular(&file, path, MAX_PACKED_BYTES, &bytes, &count));
    TRY_OUT(idx_parse(a, bytes, count, path, array));
    /* What was not inflated lies in the file's memory. */
    size_t begin = (size_t)header_bytes(array->rank);
    bool inside = array->data == (const uint8_t *)bytes + begin;
    if (inside && !(array->data = arena_memdup(a, array->data, count - begin))) TRY_OUT(FAIL_MEMORY(count));
out:
    arena_free(&file);
    return result;
}

static status open_images(dataset *ds, const char *path)
{
    idx_state *state = ds->state;
    uint8_t head[MAX_HEADER_BYTES];
    int64_t data_bytes;
    TRY(file_input_open(&state->images, path));
    size_t count = state->images.bytes < MAX_HEADER_BYTES ? (size_t)state->images.bytes : MAX_HEADER_BYTES;
    TRY(file_input_read(&state->images, 0, head, count));
    if (count >= 2 && head[0] == 0x1f && head[1] == 0x8b) return read_whole(&ds->memory, path, &state->pixels);
    TRY(read_header(head, count, path, &state->pixels, &data_bytes));
    return check_size(&state->pixels, data_bytes, state->images.bytes, path);
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    (void)options;
    idx_state *state = ARENA_NEW(&ds->memory, idx_state);
    if (!state) return FAIL_MEMORY(sizeof *state);
    ds->state = state;
    const char *images = part == PART_WHOLE ? path : find_images(&ds->memory, path, part);
    if (!images)
        return FAIL(
            E_DATA, "%s: no file %s-images-idx3-ubyte[.gz]", path, part == PART_TEST ? "t10k" : part_name(part));
    const char *label_file = labels_beside(&ds->memory, images);
    if (!label_file && part != PART_WHOLE) return FAIL(E_DATA, "%s: no labels-idx1 file beside it", images);
    TRY(open_images(ds, images));
    const int64_t *dim = state->pixels.dim;
    if (state->pixels.rank != 3 || dim[0] < 1 || dim[1] < 1 || dim[2] < 1 || dim[1] > 65536 || dim[2] > 65536)
        return FAIL(E_DATA, "%s: expected images of rank 3 with sides of 1 to 65536", images);
    idx_array labels = {0};
    if (label_file) {
        TRY(read_whole(&ds->memory, label_file, &labels));
        if (labels.rank != 1 || labels.dim[0] != dim[0])
            return FAIL(E_DATA, "%s: expected one label for each of the %" PRId64 " images", label_file, dim[0]);
    }
    return add_samples(ds, images, &labels);
}

static status read_raw(const dataset *ds, int64_t index, const decode_options *options, image *im)
{
    const idx_state *state = ds->state;
    const sample *s = &ds->samples[index];
    int32_t width = (int32_t)state->pixels.dim[2], height = (int32_t)state->pixels.dim[1];
    if (state->pixels.data) return image_from_raw(im, state->pixels.data + s->offset, width, height, 1, false, options);
    uint8_t *pixels = malloc((size_t)s->bytes);
    if (!pixels) return FAIL_MEMORY(s->bytes);
    status result =
        file_input_read(&state->images, header_bytes(state->pixels.rank) + s->offset, pixels, (size_t)s->bytes);
    if (result == OK) result = image_from_raw(im, pixels, width, height, 1, false, options);
    free(pixels);
    return result;
}

static void close_files(dataset *ds)
{
    idx_state *state = ds->state;
    if (state) file_input_close(&state->images);
}

const dataset_reader reader_idx = {"idx", probe, open_part, NULL, read_raw, close_files};
