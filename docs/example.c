/* Classifies one binary PPM image: example MODEL.engine IMAGE.ppm
 * Build: cc example.c -lgraft -o example */
#include <stdio.h>
#include <stdlib.h>

#include "graft.h"

static unsigned char *read_ppm(const char *path, int *width, int *height)
{
    FILE *f = fopen(path, "rb");
    unsigned char *pixels = NULL;
    if (f && fscanf(f, "P6 %d %d 255%*c", width, height) == 2 && *width > 0 && *height > 0 && *width < 9999 && *height < 9999) {
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
    if (argc != 3) return fprintf(stderr, "usage: %s MODEL.engine IMAGE.ppm\n", argv[0]), 2;
    if (graft_open(&engine, argv[1], NULL)) return fprintf(stderr, "%s\n", graft_error()), 1;
    graft_describe(engine, &info);
    unsigned char *pixels = read_ppm(argv[2], &image.width, &image.height);
    float *probability = malloc(sizeof *probability * (size_t)info.class_count);
    if (!pixels || !probability) return fprintf(stderr, "%s: no binary PPM\n", argv[2]), 1;
    image.pixels = pixels;
    if (graft_run_images(engine, probability, &image, 1)) return fprintf(stderr, "%s\n", graft_error()), 1;
    int best = 0;
    for (int c = 1; c < info.class_count; c++)
        if (probability[c] > probability[best]) best = c;
    printf("%s %.4f\n", info.class_name[best], (double)probability[best]);
    free(pixels);
    free(probability);
    graft_close(engine);
    return 0;
}
