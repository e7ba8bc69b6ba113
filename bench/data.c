/* data.c: images per second of the data path: decode, random-resized crop to 224, flip, normalise.
 *
 *     build/bench-data FOLDER [THREADS [SECONDS]]      FOLDER: class folders of JPEG files, or with train/ in it
 *
 * Prints one line: images per second of processor time (all threads together), after one epoch that fills the page
 * cache, so that other programs on the machine matter little. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "core/base/arena.h"
#include "core/data/loader.h"

static double processor_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static status measure(const dataset *ds, const spec_data *data, int32_t threads, double seconds, double *rate)
{
    double area[2] = {0.08, 1}, aspect[2] = {0.75, 4.0 / 3};
    spec_augment augment = {.enable = true, .hflip = 0.5, .zoom_min = 1, .zoom_max = 1, .random_resized_crop = true,
        .crop_area = {area, 2}, .crop_aspect = {aspect, 2}};
    loader_options o = {.data = ds,
        .data_options = data,
        .augment = &augment,
        .batch_size = 32,
        .threads = threads,
        .prefetch = 3,
        .world = 1,
        .seed = 1,
        .preprocess = {.width = 224,
            .height = 224,
            .channels = 3,
            .crop_fraction = 0.875f,
            .mean = {123.675f, 116.28f, 103.53f},
            .std = {58.395f, 57.12f, 57.375f}}};
    loader *l;
    const batch *b;
    TRY(loader_create(&l, &o));
    status result = OK;
    int64_t images = 0;
    double start = 0;
    for (int64_t step = 0;; step++) {
        if (step == loader_steps_per_epoch(l)) start = processor_seconds();
        if (step >= loader_steps_per_epoch(l) && processor_seconds() - start > seconds) break;
        result = loader_next(l, &b);
        if (result != OK) break;
        if (step >= loader_steps_per_epoch(l)) images += b->n;
    }
    *rate = (double)images / (processor_seconds() - start);
    loader_destroy(l);
    return result;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER [THREADS [SECONDS]]\n", argv[0]);
        return E_USAGE;
    }
    memory_keep_freed();
    int32_t threads = argc > 2 ? atoi(argv[2]) : 1;
    spec_data data = {.root = argv[1], .train = "", .val = "", .test = "", .max_pixels = 100000000};
    dataset ds;
    double rate = 0;
    status code = dataset_open_parts(&data, 1, NULL, &ds, NULL, NULL);
    if (code == OK) {
        code = measure(&ds, &data, threads, argc > 3 ? atof(argv[3]) : 5, &rate);
        dataset_close(&ds);
    }
    if (code != OK) fprintf(stderr, "%s\n", status_message());
    else printf("graft %.1f images/s of one core, %d thread%s\n", rate, threads, threads == 1 ? "" : "s");
    return code;
}
