/* A packed data set whose sizes and checksums are made right, so that what they guard is reached. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/data/dataset.h"
#include "core/data/readers/packed.h"

static void make_right(uint8_t *file, size_t size)
{
    size_t directory = packed_load(file + 24, 8) % size;
    if (directory < PACKED_HEADER_BYTES) directory = PACKED_HEADER_BYTES;
    hash128 sum = hash128_of(file + directory, size - directory);
    memcpy(file, PACKED_MAGIC, 8);
    packed_store(file + 8, packed_load(file + 8, 4) == 2 ? PACKED_VERSION_BOXES : PACKED_VERSION, 4);
    packed_store(file + 12, PACKED_HEADER_BYTES, 4);
    packed_store(file + 16, size, 8);
    packed_store(file + 24, directory, 8);
    packed_store(file + 32, size - directory, 8);
    packed_store(file + 40, sum.low, 8);
    packed_store(file + 48, sum.high, 8);
    packed_store(file + 88, hash64(file, 88), 8);
}

static void read_part(const char *folder, const char *part)
{
    char path[128];
    dataset ds;
    snprintf(path, sizeof path, "%s#%s", folder, part);
    if (dataset_open_images(&ds, path) != OK) return;
    for (int64_t i = 0; i < ds.count; i++) {
        arena memory = {0};
        const uint8_t *bytes;
        size_t count;
        const sample *s = &ds.samples[i];
        for (int64_t k = 0; k < s->box_count; k++)
            if (s->box[k].class_index >= ds.class_count ||
                s->box[k].polygon_first + s->box[k].polygon_count > s->polygon_count)
                __builtin_trap();
        if (ds.samples[i].class_index < -1 || ds.samples[i].class_index >= ds.class_count) __builtin_trap();
        (void)dataset_encoded(&ds, i, &memory, &bytes, &count);
        arena_free(&memory);
    }
    dataset_close(&ds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[64], file[96];
    if (size <= PACKED_HEADER_BYTES) return 0;
    snprintf(folder, sizeof folder, "/tmp/graft-fuzz-packed-%ld", (long)getpid());
    snprintf(file, sizeof file, "%s/%s", folder, PACKED_FILE);
    uint8_t *copy = malloc(size);
    FILE *f = copy && dir_make(folder) == OK ? fopen(file, "wb") : NULL;
    if (!f) abort();
    memcpy(copy, data, size);
    make_right(copy, size);
    if (fwrite(copy, 1, size, f) != size || fclose(f) != 0) abort();
    read_part(folder, "train");
    read_part(folder, "val");
    read_part(folder, "test");
    free(copy);
    unlink(file);
    rmdir(folder);
    return 0;
}
