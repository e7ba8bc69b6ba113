/* Whole sets of labels, from files: COCO's JSON (first byte even), and YOLO's data.yaml, up to a byte 255, with a label
 * file behind it (odd). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/data/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A white BMP of 1 x 1 pixel. */
static const uint8_t picture[58] = {
    'B', 'M', 58, [10] = 54, [14] = 40, [18] = 1, [22] = 1, [26] = 1, [28] = 24, [34] = 4, [54] = 255, 255, 255};

static const char *put(const char *folder, const char *name, const void *bytes, size_t count)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || (count && fwrite(bytes, 1, count, f) != count) || fclose(f) != 0) abort();
    return path;
}

static const char *make_folder(void)
{
    static char folder[64];
    char name[96];
    if (folder[0]) return folder;
    snprintf(folder, sizeof folder, "/tmp/graft-fuzz-XXXXXX");
    if (!mkdtemp(folder)) abort();
    static const char *const inner[] = {"images", "labels", "images/train", "labels/train"};
    for (size_t i = 0; i < sizeof inner / sizeof *inner; i++) {
        snprintf(name, sizeof name, "%s/%s", folder, inner[i]);
        if (dir_make(name) != OK) abort();
    }
    put(folder, "images/train/a.bmp", picture, sizeof picture);
    return folder;
}

static void check(dataset *ds, status opened)
{
    if (opened != OK) return;
    for (int64_t i = 0; i < ds->count; i++)
        for (int64_t k = 0; k < ds->samples[i].box_count; k++) {
            const label_box *b = &ds->samples[i].box[k];
            if (b->class_index < 0 || b->class_index >= ds->class_count || b->line < 1 || !(b->area >= 0))
                __builtin_trap();
        }
    dataset_close(ds);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *folder = make_folder();
    char path[256];
    dataset ds;
    if (size < 1) return 0;
    if (data[0] & 1) {
        const uint8_t *end = memchr(data + 1, 255, size - 1);
        size_t yaml = end ? (size_t)(end - data) - 1 : size - 1;
        put(folder, "data.yaml", data + 1, yaml);
        put(folder, "labels/train/a.txt", end ? end + 1 : data, end ? size - 2 - yaml : 0);
        snprintf(path, sizeof path, "%s#train", folder);
        check(&ds, dataset_open_images(&ds, path));
    } else {
        check(&ds, dataset_open_images(&ds, put(folder, "all.json", data + 1, size - 1)));
    }
    return 0;
}
