#include "export/graft.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/version.h"
#include "core/data/image.h"
#include "core/task/probability.h"
#include "core/task/task.h"
#include "export/engine.h"
#include "export/runner.h"

enum { DEFAULT_BATCH = 16, MAX_BATCH = 4096, MAX_SIDE = 65535 };

/* The number of threads of OpenMP is the calling thread's setting: ours while we compute,
 * the program's again afterwards. */
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
    const task *task;
    float *input;                       /* [max_batch, height, width, channels] */
    float *output[GRAPH_MAX_OUTPUTS];   /* of one image */
    pthread_mutex_t lock;
};

static status check_options(const graft_options *o)
{
    if (o->threads < 0 || o->threads > 1024)
        return FAIL(E_USAGE, "graft_options.threads = %d: expected 0 to 1024", o->threads);
    if (o->max_batch < 0 || o->max_batch > MAX_BATCH)
        return FAIL(E_USAGE, "graft_options.max_batch = %d: expected 0 to %d", o->max_batch, MAX_BATCH);
    if (o->use_gpu != 0 && o->use_gpu != 1)
        return FAIL(E_USAGE, "graft_options.use_gpu = %d: expected 0 or 1", o->use_gpu);
    for (int i = 0; i < 5; i++) {
        if (o->reserved[i]) return FAIL(E_USAGE, "graft_options.reserved[%d] = %d: expected 0", i, o->reserved[i]);
    }
    return OK;
}

static status open_engine(graft_engine *e, const char *path, const graft_options *o)
{
    int64_t most = o->max_batch ? o->max_batch : DEFAULT_BATCH;
    TRY(engine_load(&e->engine, path));
    TRY(device_open(&e->dev, o->use_gpu ? SPEC_DEVICE_CUDA : SPEC_DEVICE_CPU, 0, o->threads, NULL));
    TRY(runner_create(&e->runner, &e->engine.graph, e->dev, most));
    const preprocess *p = &e->engine.preprocess;
    size_t bytes = (size_t)most * (size_t)p->width * (size_t)p->height * (size_t)p->channels * sizeof(float);
    TRY(task_of_file(&e->task, e->engine.task, path));
    e->input = malloc(bytes);
    if (!e->input) return FAIL_MEMORY(bytes);
    for (int32_t k = 0; k < runner_outputs(e->runner); k++) {
        int64_t count = shape_count(runner_output(e->runner, k));
        e->output[k] = malloc((size_t)count * sizeof(float));
        if (!e->output[k]) return FAIL_MEMORY(count * sizeof(float));
    }
    return OK;
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
    for (int32_t k = 0; k < GRAPH_MAX_OUTPUTS; k++) free(e->output[k]);
    free(e->input);
    free(e);
}

int graft_describe(const graft_engine *e, graft_info *info)
{
    if (!e || !info) return FAIL(E_USAGE, "graft_describe: engine and info must not be NULL");
    const engine *p = &e->engine;
    *info = (graft_info){
        .width = p->preprocess.width,
        .height = p->preprocess.height,
        .channels = p->preprocess.channels,
        .class_count = (int32_t)p->class_count,
        .class_name = p->class_name,
        .precision = engine_precision_name(p->precision),
        .output = option_choice("train", "loss", p->sigmoid ? LOSS_SIGMOID : LOSS_SOFTMAX),
        .source = p->source_name,
        .task = e->task->name,
        .object_capacity = (int32_t)(e->task->has_boxes ? runner_output(e->runner, 0).dim[1] : p->class_count),
    };
    hash128_hex(p->source_hash, info->source_hash);
    return OK;
}

/* The caller's pixels as an image of ours: grey or colour as the network wants it. */
static status copy_image(image *im, const graft_image *given, int64_t index, int32_t channels)
{
    int64_t row = (int64_t)given->width * given->channels, stride = given->stride_bytes ? given->stride_bytes : row;
    if (!given->pixels || given->width < 1 || given->height < 1 || given->width > MAX_SIDE || given->height > MAX_SIDE)
        return FAIL(E_USAGE, "image %" PRId64 ": %d x %d: expected pixels, sides from 1 to %d", index, given->width,
            given->height, MAX_SIDE);
    if (given->channels != 1 && given->channels != 3)
        return FAIL(E_USAGE, "image %" PRId64 ": %d channels: expected 1 or 3", index, given->channels);
    if (stride < row)
        return FAIL(E_USAGE, "image %" PRId64 ": stride of %" PRId64 " bytes, a row has %" PRId64, index, stride, row);
    TRY(image_alloc(im, given->width, given->height, channels));
    for (int64_t y = 0; y < given->height; y++) {
        const uint8_t *src = given->pixels + y * stride;
        uint8_t *dst = im->pixels + y * given->width * channels;
        for (int64_t x = 0; x < given->width; x++, src += given->channels, dst += channels) {
            if (channels == given->channels) memcpy(dst, src, (size_t)channels);
            else if (channels == 3) dst[0] = dst[1] = dst[2] = src[0];
            else
                dst[0] =
                    (uint8_t)((src[0] * 19595 + src[1] * 38470 + src[2] * 7471 + 0x8000) >> 16); /* Pillow's grey */
        }
    }
    return OK;
}

/* Where the network's input [height, width, channels] goes. */
static status prepare_image(graft_engine *e, float *input, const graft_image *given, int64_t index)
{
    image im = {0};
    TRY(copy_image(&im, given, index, e->engine.preprocess.channels));
    status result = image_preprocess(input, &im, &e->engine.preprocess);
    image_free(&im);
    return result;
}

/* Up to max_batch images. */
static status run_batch(graft_engine *e, float *probability, const graft_image *images, int64_t first, int64_t count)
{
    const preprocess *p = &e->engine.preprocess;
    int64_t size = (int64_t)p->width * p->height * p->channels;
    for (int64_t i = 0; i < count; i++) TRY(prepare_image(e, e->input + i * size, &images[i], first + i));
    TRY(runner_run(e->runner, (float *const[]){probability}, e->input, count));
    scores_to_probabilities(probability, count, e->engine.class_count, e->engine.sigmoid);
    return OK;
}

static status refuse_objects(const graft_engine *e, const char *call)
{
    if (!e->task->has_boxes) return OK;
    return FAIL(E_USAGE, "%s: the engine is for %s and gives no probability for each class: call graft_find", call,
        e->task->name);
}

/* Objects as the program knows them, in memory of its own. */
static status predict(
    graft_engine *e, graft_object *object, int32_t capacity, int32_t *count, const graft_image *given, arena *a)
{
    float to_input[9];
    task_output output[GRAPH_MAX_OUTPUTS];
    prediction p;
    const spec limits = {.infer = {.top_k = e->engine.class_count}};
    const task_setting t = {.task = e->task,
        .spec = &limits,
        .class_name = e->engine.class_name,
        .class_count = e->engine.class_count,
        .preprocess = &e->engine.preprocess,
        .sigmoid = e->engine.sigmoid};
    const image_frame frame = {given->width, given->height, to_input};
    TRY(prepare_image(e, e->input, given, 0));
    TRY(runner_run(e->runner, e->output, e->input, 1));
    for (int32_t k = 0; k < runner_outputs(e->runner); k++)
        output[k] = (task_output){e->output[k], shape_count(runner_output(e->runner, k))};
    image_place_matrix(to_input, given->width, given->height, &e->engine.preprocess);
    TRY(e->task->predict(&t, output, 0, &frame, a, &p));
    for (; *count < capacity && *count < p.count; ++*count) {
        const found_object *f = &p.object[*count];
        object[*count] = (graft_object){f->class_index, f->score, {f->box[0], f->box[1], f->box[2], f->box[3]}, f->mask,
            f->mask_width, f->mask_height};
    }
    return OK;
}

int graft_find(graft_engine *e, graft_object *object, int32_t capacity, int32_t *count, const graft_image *given)
{
    arena a = {0};
    if (count) *count = 0;
    if (!e || !object || !count || !given || capacity < 1)
        return FAIL(E_USAGE, "graft_find: NULL argument, or a capacity below 1 (%" PRId32 ")", capacity);
    pthread_mutex_lock(&e->lock);
    int threads = swap_threads(e->dev->threads);
    status result = predict(e, object, capacity, count, given, &a);
    swap_threads(threads);
    pthread_mutex_unlock(&e->lock);
    arena_free(&a);
    return result;
}

int graft_run_images(graft_engine *e, float *probability, const graft_image *images, int64_t count)
{
    if (!e || !probability || !images || count < 0)
        return FAIL(E_USAGE, "graft_run_images: NULL argument, or a count below 0 (%" PRId64 ")", count);
    int64_t most = runner_max_batch(e->runner);
    status result = OK;
    TRY(refuse_objects(e, "graft_run_images"));
    pthread_mutex_lock(&e->lock);
    int threads = swap_threads(e->dev->threads);
    for (int64_t i = 0; i < count && result == OK; i += most) {
        int64_t n = count - i < most ? count - i : most;
        result = run_batch(e, probability + i * e->engine.class_count, images + i, i, n);
    }
    swap_threads(threads);
    pthread_mutex_unlock(&e->lock);
    return result;
}

int graft_run_tensor(graft_engine *e, float *score, const float *tensor, int64_t count)
{
    if (!e || !score || !tensor || count < 0)
        return FAIL(E_USAGE, "graft_run_tensor: NULL argument, or a count below 0 (%" PRId64 ")", count);
    TRY(refuse_objects(e, "graft_run_tensor"));
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
