#include "export/graft.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/version.h"
#include "core/data/image.h"
#include "core/task/probability.h"
#include "export/engine.h"
#include "export/runner.h"

enum { DEFAULT_BATCH = 16, MAX_BATCH = 4096, MAX_SIDE = 65535 };

/* The number of threads of OpenMP is the calling thread's setting: ours while we compute, the program's again afterwards. */
#ifdef _OPENMP
#include <omp.h>
static int swap_threads(int count)
{
    int before = omp_get_max_threads();
    omp_set_num_threads(count);
    return before;
}
static int current_threads(void) { return omp_get_max_threads(); }
#else
static int swap_threads(int count) { return count; }
static int current_threads(void) { return 1; }
#endif

struct graft_engine {
    engine engine;
    device *dev;
    runner *runner;
    float *input; /* [max_batch, height, width, channels] */
    pthread_mutex_t lock;
};

static status check_options(const graft_options *o)
{
    if (o->threads < 0 || o->threads > 1024) return FAIL(E_USAGE, "graft_options.threads = %d: expected 0 to 1024", o->threads);
    if (o->max_batch < 0 || o->max_batch > MAX_BATCH)
        return FAIL(E_USAGE, "graft_options.max_batch = %d: expected 0 to %d", o->max_batch, MAX_BATCH);
    if (o->use_gpu != 0 && o->use_gpu != 1) return FAIL(E_USAGE, "graft_options.use_gpu = %d: expected 0 or 1", o->use_gpu);
    for (int i = 0; i < 5; i++) {
        if (o->reserved[i]) return FAIL(E_USAGE, "graft_options.reserved[%d] = %d: expected 0", i, o->reserved[i]);
    }
    return OK;
}

static status open_engine(graft_engine *e, const char *path, const graft_options *o)
{
    int64_t batch = o->max_batch ? o->max_batch : DEFAULT_BATCH;
    TRY(engine_load(&e->engine, path));
    TRY(device_open(&e->dev, o->use_gpu ? SPEC_DEVICE_CUDA : SPEC_DEVICE_CPU, 0, o->threads, NULL));
    TRY(runner_create(&e->runner, &e->engine.graph, e->dev, batch));
    const preprocess *p = &e->engine.preprocess;
    size_t bytes = (size_t)batch * (size_t)p->width * (size_t)p->height * (size_t)p->channels * sizeof(float);
    e->input = malloc(bytes);
    return e->input ? OK : FAIL_MEMORY(bytes);
}

int graft_open(graft_engine **out, const char *path, const graft_options *options)
{
    static const graft_options defaults;
    if (!out || !path) return FAIL(E_USAGE, "graft_open: engine and path must not be NULL");
    *out = NULL;
    if (!options) options = &defaults;
    TRY(check_options(options));
    graft_engine *e = calloc(1, sizeof *e);
    if (!e) return FAIL_MEMORY(sizeof *e);
    int threads = current_threads();
    pthread_mutex_init(&e->lock, NULL);
    status result = open_engine(e, path, options);
    swap_threads(threads); /* opening the device has set them */
    if (result == OK) *out = e;
    else graft_close(e);
    return result;
}

void graft_close(graft_engine *e)
{
    if (!e) return;
    runner_destroy(e->runner);
    device_close(e->dev);
    engine_free(&e->engine);
    pthread_mutex_destroy(&e->lock);
    free(e->input);
    free(e);
}

int graft_describe(const graft_engine *e, graft_info *info)
{
    if (!e || !info) return FAIL(E_USAGE, "graft_describe: engine and info must not be NULL");
    const engine *p = &e->engine;
    *info = (graft_info){
        .width = p->preprocess.width, .height = p->preprocess.height, .channels = p->preprocess.channels,
        .class_count = (int32_t)p->class_count, .class_name = p->class_name,
        .precision = engine_precision_name(p->precision), .output = option_choice("train", "loss", p->sigmoid ? LOSS_SIGMOID : LOSS_SOFTMAX),
        .source = p->source_name,
    };
    hash128_hex(p->source_hash, info->source_hash);
    return OK;
}

/* The caller's pixels as an image of ours: grey or colour as the network wants it. */
static status take_image(image *im, const graft_image *given, int64_t index, int32_t channels)
{
    int64_t row = (int64_t)given->width * given->channels, stride = given->stride_bytes ? given->stride_bytes : row;
    if (!given->pixels || given->width < 1 || given->height < 1 || given->width > MAX_SIDE || given->height > MAX_SIDE)
        return FAIL(E_USAGE, "image %" PRId64 ": %d x %d: expected pixels, sides from 1 to %d", index, given->width, given->height, MAX_SIDE);
    if (given->channels != 1 && given->channels != 3)
        return FAIL(E_USAGE, "image %" PRId64 ": %d channels: expected 1 or 3", index, given->channels);
    if (stride < row) return FAIL(E_USAGE, "image %" PRId64 ": stride of %" PRId64 " bytes, a row has %" PRId64, index, stride, row);
    TRY(image_alloc(im, given->width, given->height, channels));
    for (int64_t y = 0; y < given->height; y++) {
        const uint8_t *src = given->pixels + y * stride;
        uint8_t *dst = im->pixels + y * given->width * channels;
        for (int64_t x = 0; x < given->width; x++, src += given->channels, dst += channels) {
            if (channels == given->channels) memcpy(dst, src, (size_t)channels);
            else if (channels == 3) dst[0] = dst[1] = dst[2] = src[0];
            else dst[0] = (uint8_t)((src[0] * 19595 + src[1] * 38470 + src[2] * 7471 + 0x8000) >> 16); /* Pillow's grey */
        }
    }
    return OK;
}

/* Up to max_batch images. */
static status run_batch(graft_engine *e, float *probability, const graft_image *images, int64_t first, int64_t count)
{
    const preprocess *p = &e->engine.preprocess;
    int64_t size = (int64_t)p->width * p->height * p->channels;
    for (int64_t i = 0; i < count; i++) {
        image im = {0};
        TRY(take_image(&im, &images[i], first + i, p->channels));
        status result = image_preprocess(e->input + i * size, &im, p);
        image_free(&im);
        TRY(result);
    }
    TRY(runner_run(e->runner, (float *const[]){probability}, e->input, count));
    scores_to_probabilities(probability, count, e->engine.class_count, e->engine.sigmoid);
    return OK;
}

int graft_run_images(graft_engine *e, float *probability, const graft_image *images, int64_t count)
{
    if (!e || !probability || !images || count < 0)
        return FAIL(E_USAGE, "graft_run_images: NULL argument, or a count below 0 (%" PRId64 ")", count);
    int64_t most = runner_max_batch(e->runner);
    status result = OK;
    pthread_mutex_lock(&e->lock);
    int threads = swap_threads(e->dev->threads);
    for (int64_t i = 0; i < count && result == OK; i += most) {
        int64_t batch = count - i < most ? count - i : most;
        result = run_batch(e, probability + i * e->engine.class_count, images + i, i, batch);
    }
    swap_threads(threads);
    pthread_mutex_unlock(&e->lock);
    return result;
}

int graft_run_tensor(graft_engine *e, float *score, const float *tensor, int64_t count)
{
    if (!e || !score || !tensor || count < 0)
        return FAIL(E_USAGE, "graft_run_tensor: NULL argument, or a count below 0 (%" PRId64 ")", count);
    pthread_mutex_lock(&e->lock);
    int threads = swap_threads(e->dev->threads);
    status result = runner_run(e->runner, (float *const[]){score}, tensor, count);
    swap_threads(threads);
    pthread_mutex_unlock(&e->lock);
    return result;
}

const char *graft_error(void)
{
    return status_message();
}

const char *graft_version(void)
{
    return GRAFT_VERSION;
}
