/* What is in one binary PPM image: example MODEL.engine IMAGE.ppm [LEAST_SCORE]
 * Prints the best class, or, of a detector, every object of at least that score (0.3) with its box.
 * Build: cc example.c -lgraft -o example */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "graft.h"

static unsigned char *read_ppm(const char *path, int *width, int *height)
{
    FILE *f = fopen(path, "rb");
    unsigned char *pixels = NULL;
    if (f && fscanf(f, "P6 %d %d 255%*c", width, height) == 2 && *width > 0 && *height > 0 && *width < 9999 &&
        *height < 9999) {
        size_t bytes = 3 * (size_t)*width * (size_t)*height;
        pixels = malloc(bytes);
        if (pixels && fread(pixels, 1, bytes, f) != bytes) free(pixels), pixels = NULL;
    }
    if (f) fclose(f);
    return pixels;
}

int main(int argc, char **argv)
{
    graft_engine *engine;
    graft_info info;
    graft_image image = {.channels = 3};
    if (argc != 3 && argc != 4) return fprintf(stderr, "usage: %s MODEL.engine IMAGE.ppm [LEAST_SCORE]\n", argv[0]), 2;
    const double least = argc == 4 ? atof(argv[3]) : 0.3;
    if (graft_open(&engine, argv[1], NULL)) return fprintf(stderr, "%s\n", graft_error()), 1;
    graft_describe(engine, &info);
    unsigned char *pixels = read_ppm(argv[2], &image.width, &image.height);
    graft_object *object = malloc(sizeof *object * (size_t)info.object_capacity);
    int32_t count;
    if (!pixels || !object) return fprintf(stderr, "%s: no binary PPM\n", argv[2]), 1;
    image.pixels = pixels;
    if (graft_find(engine, object, info.object_capacity, &count, &image))
        return fprintf(stderr, "%s\n", graft_error()), 1;
    int boxes = strcmp(info.task, "classification") != 0;
    for (int i = 0; i < count && (boxes ? (double)object[i].score >= least : i == 0); i++) {
        const float *b = object[i].box;
        printf("%s %.4f", info.class_name[object[i].class_index], (double)object[i].score);
        if (boxes) printf(" [%.0f %.0f %.0f %.0f]", (double)b[0], (double)b[1], (double)b[2], (double)b[3]);
        printf("\n");
    }
    free(pixels);
    free(object);
    graft_close(engine);
    return 0;
}
