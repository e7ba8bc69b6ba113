/* graft.h: run Graft engines from your own program. Link with libgraft.so; this header needs nothing else.
 *
 *     graft_engine *engine;
 *     if (graft_open(&engine, "model.engine", NULL)) { puts(graft_error()); return 1; }
 *     graft_info info;
 *     graft_describe(engine, &info);
 *     graft_image image = {pixels, width, height, 3, 0};
 *     graft_run_images(engine, probability, &image, 1);       // probability[info.class_count]
 *     graft_close(engine);
 *
 * or, whatever the engine is for (a classifier's objects are the whole image, best class first):
 *
 *     graft_object object[100];
 *     int32_t found;
 *     graft_find(engine, object, 100, &found, &image);
 *
 * An engine file is data, never code, and is checked completely before it is used. It is read once, by graft_open: what
 * happens to the file afterwards changes nothing. Memory or threads that cannot be had (limits of the process, of the
 * user, of a container) give GRAFT_E_MEMORY before they would end the program: each call first asks for 32 MB beside
 * what it needs and for its threads. Nothing here keeps global state, exits, prints or changes the locale. Handles are
 * independent of each other; calls on one handle from several threads take turns. Every function that can fail returns
 * 0 or a code above 0 (GRAFT_E_*) and leaves a text for graft_error.
 */
#ifndef GRAFT_H
#define GRAFT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    GRAFT_OK = 0,
    GRAFT_E_INTERNAL = 1,
    GRAFT_E_USAGE = 2,  /* an argument is out of range          */
    GRAFT_E_MODEL = 4,  /* the file is no sound engine          */
    GRAFT_E_DEVICE = 5, /* no such device, or it failed         */
    GRAFT_E_MEMORY = 6, /* out of memory, or of threads         */
    GRAFT_E_IO = 9      /* the file could not be read           */
};

typedef struct graft_engine graft_engine;

/* Zero means the default throughout. */
typedef struct graft_options {
    int32_t threads;     /* compute threads; 0: one per processor                */
    int32_t max_batch;   /* images computed at once; 0: 16. More are cut up      */
    int32_t use_gpu;     /* 0: CPU, 1: GPU, which must exist                     */
    int32_t reserved[5]; /* zero                                                 */
} graft_options;

/* What an engine expects and gives. The pointers live as long as the handle. */
typedef struct graft_info {
    int32_t width, height, channels; /* of the network's input                       */
    int32_t class_count;
    const char *const *class_name;   /* [class_count]                                */
    const char *precision;           /* "f32", "f16" or "int8"                       */
    const char *output;              /* "softmax": one class; "sigmoid": any number  */
    const char *source;              /* name of the model file it was made from      */
    char source_hash[33];            /* XXH3-128 of that file, hex                   */
    const char *task;                /* "classification", "detection"                */
    int32_t object_capacity;         /* objects that graft_find gives of an image at most */
    int32_t reserved[8];             /* zero                                         */
} graft_info;

/* One thing in an image. */
typedef struct graft_object {
    int32_t class_index;
    float score;                     /* 0 to 1                                       */
    float box[4];                    /* x0 y0 x1 y1, pixels of the image             */
    const uint8_t *mask;             /* [mask_height, mask_width] of the box; NULL: none */
    int32_t mask_width, mask_height;
} graft_object;

/* Interleaved pixels, grey (channels 1) or red, green, blue (3), of any size: they are resized
 * and normalised as in training. */
typedef struct graft_image {
    const uint8_t *pixels;
    int32_t width, height, channels;
    int64_t stride_bytes; /* from row to row; 0: width * channels */
} graft_image;

/* options may be NULL. On failure *engine is NULL. */
int graft_open(graft_engine **engine, const char *path, const graft_options *options);
void graft_close(graft_engine *engine); /* accepts NULL */
int graft_describe(const graft_engine *engine, graft_info *info);

/* What is in one image, best first: at most `capacity` objects, *count of them written. A detector gives what its own
 * limits let through (detect.score_threshold ...): compare `score` with the threshold that you want. GRAFT_E_USAGE,
 * GRAFT_E_MEMORY, GRAFT_E_DEVICE. */
int graft_find(graft_engine *engine, graft_object *object, int32_t capacity, int32_t *count, const graft_image *image);

/* probability: [count, class_count]. GRAFT_E_USAGE: the engine is no classifier; as for graft_run_tensor. */
int graft_run_images(graft_engine *engine, float *probability, const graft_image *images, int64_t count);

/* tensor: [count, height, width, channels] f32, preprocessed by the caller; score: [count,
 * class_count], before softmax or sigmoid. */
int graft_run_tensor(graft_engine *engine, float *score, const float *tensor, int64_t count);

/* What went wrong in this thread's last failed call; "" if none did. Valid until its next failed call. */
const char *graft_error(void);
const char *graft_version(void); /* "0.1.0" */

#ifdef __cplusplus
}
#endif
#endif
