/* CIFAR's binary records: label byte (CIFAR-100: coarse, then fine label), then 32 x 32 red, green and blue planes. Any
 * number of records. CIFAR-10: data_batch_*.bin and test_batch.bin; CIFAR-100: train.bin and test.bin. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/base/file.h"
#include "core/data/readers/readers.h"

enum { SIDE = 32, PIXEL_BYTES = 3 * SIDE * SIDE, MAX_FILES = 64 };

/* Records are read one by one, so that a file that is cut off meanwhile is an error. */
typedef struct cifar_state {
    file_input file[MAX_FILES];
    int64_t first[MAX_FILES]; /* number, over all files, of a file's first record */
    int32_t file_count, label_bytes;
} cifar_state;

typedef struct cifar_files {
    char *path[MAX_FILES];
    int32_t count;
    int32_t label_bytes; /* 1: CIFAR-10, 2: CIFAR-100 */
} cifar_files;

static bool name_fits(const char *name, dataset_part part, int32_t *label_bytes)
{
    size_t length = strlen(name);
    if (length < 4 || strcmp(name + length - 4, ".bin") != 0) return false;
    bool test = part == PART_TEST, train = part == PART_TRAIN;
    *label_bytes = strcmp(name, "train.bin") == 0 || strcmp(name, "test.bin") == 0 ? 2 : 1;
    if (*label_bytes == 2) return part == PART_WHOLE || (strcmp(name, "test.bin") == 0 ? test : train);
    if (strncmp(name, "data_batch_", 11) == 0) return train || part == PART_WHOLE;
    return strcmp(name, "test_batch.bin") == 0 && (test || part == PART_WHOLE);
}

/* PART_WHOLE is one file; a part is looked for in the folder and in the folders that the archives unpack to. */
static status find_files(cifar_files *files, arena *a, const char *path, dataset_part part)
{
    static const char *const inner[] = {"", "cifar-10-batches-bin", "cifar-100-binary", NULL};
    *files = (cifar_files){0};
    if (part == PART_WHOLE) {
        if (!file_exists(path) || file_is_dir(path) || !name_fits(path_base(path), part, &files->label_bytes))
            return OK;
        files->path[files->count++] = arena_strdup(a, path);
        return files->path[0] ? OK : FAIL_MEMORY(strlen(path));
    }
    for (int i = 0; inner[i] && files->count == 0; i++) {
        char **names, *folder = i ? path_join(a, path, inner[i]) : arena_strdup(a, path);
        int64_t count;
        if (!folder) return FAIL_MEMORY(strlen(path));
        if (!file_is_dir(folder)) continue;
        TRY(dir_list(a, folder, &names, &count));
        for (int64_t k = 0; k < count; k++) {
            int32_t label_bytes;
            if (!name_fits(names[k], part, &label_bytes)) continue;
            if (files->count && label_bytes != files->label_bytes)
                return FAIL(E_DATA, "%s: files of CIFAR-10 and of CIFAR-100 in one folder", folder);
            if (files->count == MAX_FILES)
                return FAIL(E_DATA, "%s: more than %d files of records; join some", folder, MAX_FILES);
            files->label_bytes = label_bytes;
            if (!(files->path[files->count++] = path_join(a, folder, names[k]))) return FAIL_MEMORY(strlen(folder));
        }
    }
    return OK;
}

static bool probe(const char *path, dataset_part part)
{
    arena memory = {0};
    cifar_files files;
    (void)find_files(&files, &memory, path, part); /* what is wrong with files that are there, opening says */
    bool found = files.count > 0;
    arena_free(&memory);
    return found;
}

static status add_file(dataset *ds, const char *path, int32_t label_bytes, int32_t *greatest)
{
    cifar_state *state = ds->state;
    file_input *f = &state->file[state->file_count];
    state->first[state->file_count++] = ds->count;
    TRY(file_input_open(f, path));
    int64_t record = label_bytes + PIXEL_BYTES;
    if (f->bytes == 0 || f->bytes % record != 0)
        return FAIL(E_DATA, "%s: %" PRId64 " bytes are not a whole number of records of %" PRId64 " bytes (truncated?)",
            path, f->bytes, record);
    sample s = {.bytes = PIXEL_BYTES, .mtime_ns = f->mtime_ns};
    int32_t classes = label_bytes == 2 ? 100 : 10;
    for (int64_t at = 0; at < f->bytes; at += record) {
        char name[4096];
        uint8_t label;
        TRY(file_input_read(f, at + label_bytes - 1, &label, 1));
        snprintf(name, sizeof name, "%s#%" PRId64, path, (at / record));
        s.name = name;
        s.class_index = label;
        if (s.class_index >= classes)
            return FAIL(E_DATA, "%s: label %d, expected 0 to %d", name, s.class_index, classes - 1);
        s.offset = ds->count; /* number of the record over all files */
        if (s.class_index > *greatest) *greatest = s.class_index;
        TRY(dataset_add_sample(ds, &s));
    }
    return OK;
}

static status open_part(dataset *ds, const char *path, dataset_part part, const spec_data *options)
{
    (void)options;
    cifar_files files;
    cifar_state *state = ARENA_NEW(&ds->memory, cifar_state);
    if (!state) return FAIL_MEMORY(sizeof *state);
    ds->state = state;
    TRY(find_files(&files, &ds->memory, path, part));
    if (files.count == 0) return FAIL(E_DATA, "%s: no CIFAR records of the %s part", path, part_name(part));
    int32_t greatest = 0;
    state->label_bytes = files.label_bytes;
    for (int32_t i = 0; i < files.count; i++) TRY(add_file(ds, files.path[i], files.label_bytes, &greatest));
    static const char *const names_10[] = {"batches.meta.txt", NULL}, *const names_100[] = {
                                                                          "fine_label_names.txt", NULL};
    char *folder = arena_strndup(&ds->memory, files.path[0], (size_t)(path_base(files.path[0]) - files.path[0]));
    if (!folder) return FAIL_MEMORY(strlen(files.path[0]));
    return dataset_name_classes(ds, folder[0] ? folder : ".", files.label_bytes == 2 ? names_100 : names_10, greatest);
}

static status read_raw(const dataset *ds, int64_t index, const decode_options *options, image *im)
{
    const cifar_state *state = ds->state;
    uint8_t pixels[PIXEL_BYTES];
    int32_t file = state->file_count - 1;
    int64_t number = ds->samples[index].offset;
    while (state->first[file] > number) file--;
    int64_t at = (number - state->first[file]) * (state->label_bytes + PIXEL_BYTES) + state->label_bytes;
    TRY(file_input_read(&state->file[file], at, pixels, sizeof pixels));
    return image_from_raw(im, pixels, SIDE, SIDE, 3, true, options);
}

static void close_files(dataset *ds)
{
    cifar_state *state = ds->state;
    for (int32_t i = 0; state && i < state->file_count; i++) file_input_close(&state->file[i]);
}

const dataset_reader reader_cifar = {"cifar", probe, open_part, NULL, read_raw, close_files};
