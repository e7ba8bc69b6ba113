/* A ring of batches. Under one lock, positions are handed out as (batch, item) in order; workers fill items without it.
 * What an item becomes is fixed when its batch is opened, so threads and timing cannot change content. */
#include "core/data/loader.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/base/thread.h"
#include "core/data/augment.h"
#include "core/data/mixup.h"
#include "core/data/sampler.h"

enum { MAX_REPLACEMENTS = 1000 };

typedef struct slot {
    batch b;
    int64_t started, done; /* items handed out, items finished */
    status failure;        /* of the lowest failed item        */
    int64_t failed_item;
    char *failure_text;
} slot;

struct loader {
    loader_options o;
    sampler sampler;
    arena memory;
    slot *ring;
    int32_t slots;
    int64_t *order;      /* [count], of order_epoch */
    int64_t order_epoch; /* -1: none                */
    uint8_t *warned;     /* [count], replacements that were reported */
    int64_t steps;
    bool lost;           /* nothing that was tried could be read */
    pthread_t *threads;
    int32_t thread_count;

    pthread_mutex_t lock;
    pthread_cond_t work, ready;
    /* Batches are numbered from 0; batch k lies in ring[k % slots]. The caller holds head - 1,
     * workers fill head to tail - 1. */
    int64_t head, tail, current;   /* current: whose items are being handed out */
    int64_t next_epoch, next_step; /* of batch `tail`                           */
    int64_t end_epoch;             /* evaluation stops in front of it           */
    int64_t busy;                  /* items in work                             */
    bool held, paused, stop;
    double wait_seconds;
};

static int64_t label_bytes(const label_field *f) { return shape_count(f->each) * (int64_t)dtype_bytes(f->type); }

static bool training(const loader *l) { return l->o.augment != NULL; }

static bool at_end(const loader *l) { return !training(l) && l->next_epoch >= l->end_epoch; }

static void order_of(loader *l, int64_t epoch)
{
    if (l->order_epoch == epoch) return;
    if (training(l)) sampler_order(&l->sampler, epoch, l->order);
    else for (int64_t i = 0; i < l->o.data->count; i++) l->order[i] = i;
    l->order_epoch = epoch;
}

/* Fixes which samples the next batch is made of. Lock held. */
static void open_batch(loader *l)
{
    slot *s = &l->ring[l->tail % l->slots];
    batch *b = &s->b;
    int64_t count = l->o.data->count;
    order_of(l, l->next_epoch);
    b->epoch = l->next_epoch;
    b->step = l->next_step;
    b->count = b->replaced = 0;
    for (int64_t i = 0; i < b->n; i++) {
        int64_t position = (b->step * b->n + i) * l->o.world + l->o.rank;
        bool real = training(l) || position < count;
        int64_t place = position % count, index = real ? l->order[place] : 0;
        b->sample_index[i] = index;
        b->sample_keys[i] = b->epoch * count + (sampler_repeats(&l->sampler) && training(l) ? place : index);
        b->count += real;
    }
    s->started = s->done = 0;
    s->failure = OK;
    l->tail++;
    if (++l->next_step == l->steps) {
        l->next_step = 0;
        l->next_epoch++;
    }
}

/* ------------------------------------------------------------------------------------------------ one sample */

static decode_options base_options(const loader *l)
{
    return dataset_decode_options(l->o.data_options, l->o.preprocess.channels);
}

/* Where JPEG can be decoded smaller, as long as no detail that the network sees is lost: twice the size that the resize
 * needs for evaluation, which shall agree with full decoding, once for training. */
static void least_size_for_evaluation(decode_options *o, const preprocess *p, int32_t width, int32_t height)
{
    image_placement place = image_place(width, height, p);
    o->min_width = (int32_t)(2.0 * place.width * width / ((double)place.box[2] - place.box[0]) + 1);
    o->min_height = (int32_t)(2.0 * place.height * height / ((double)place.box[3] - place.box[1]) + 1);
}

/* raw: NULL, or where the picture is described. */
static status make_training(
    const loader *l, float *dst, picture *raw, image *im, int32_t width, int32_t height, augmentation *a)
{
    const preprocess *p = &l->o.preprocess;
    image warped = {0};
    status result = OK;
    /* The map is for the full size; the picture may have been decoded smaller. */
    float fx = (float)im->width / (float)width, fy = (float)im->height / (float)height;
    for (int row = 0; row < 3; row++) {
        a->inverse[row * 3] *= fx;
        a->inverse[row * 3 + 1] *= fy;
    }
    size_t capacity = (size_t)p->width * (size_t)p->height * (size_t)p->channels * sizeof *dst;
    if (raw) return picture_make(raw, (uint8_t *)dst, capacity, im, a, p->width, p->height, p->interpolation);
    TRY_OUT(image_alloc(&warped, p->width, p->height, p->channels));
    TRY_OUT(image_warp(&warped, im, a->inverse, a->has_color ? a->color : NULL, p->interpolation, a->fill));
    image_normalise(dst, warped.pixels, p);
out:
    image_free(&warped);
    return result;
}

/* One image of a batch: where it goes. */
typedef struct item_place {
    float *pixels;   /* of the input, or of the picture as decoded */
    picture *raw;    /* NULL: pixels are finished                  */
    float *to_input; /* [9] */
    int32_t *size;   /* [2] */
    void *label[LABEL_MAX];
} item_place;

static item_place item_of(const loader *l, const batch *b, int64_t i)
{
    const preprocess *p = &l->o.preprocess;
    item_place t = {.pixels = b->images + i * p->height * p->width * p->channels,
        .raw = b->pictures ? &b->pictures[i] : NULL,
        .to_input = b->to_input + 9 * i,
        .size = b->size[i]};
    for (int32_t k = 0; l->o.labels && k < l->o.labels->field_count; k++)
        t.label[k] = (char *)b->label[k] + i * label_bytes(&l->o.labels->field[k]);
    return t;
}

/* *damaged: not the image is bad, but the file that holds it. */
static status make_image(const loader *l, const item_place *t, int64_t index, int64_t key, bool *damaged)
{
    arena memory = {0};
    image im = {0};
    status result = OK;
    const uint8_t *bytes;
    size_t count;
    decode_options options = base_options(l);
    augmentation a;
    int32_t width, height;
    result = dataset_encoded(l->o.data, index, &memory, &bytes, &count);
    *damaged = result == E_DATA && l->o.data->reader->sealed;
    if (result != OK) goto out;
    if (bytes) {
        TRY_OUT(image_probe(bytes, count, &options, &width, &height, NULL));
    } else {
        TRY_OUT(dataset_decode(l->o.data, index, &options, &im));
        width = im.width;
        height = im.height;
    }
    if (training(l)) {
        rng r = rng_make(l->o.seed, RNG_AUGMENT, (uint64_t)key);
        augment_draw(&a, l->o.augment, &l->o.preprocess, width, height, &r);
        augment_least_size(&a, width, height, &options.min_width, &options.min_height);
        memcpy(t->to_input, a.forward, sizeof a.forward);
    } else {
        least_size_for_evaluation(&options, &l->o.preprocess, width, height);
        image_place_matrix(t->to_input, width, height, &l->o.preprocess);
    }
    if (bytes) TRY_OUT(image_decode(&im, bytes, count, &options));
    if (training(l)) TRY_OUT(make_training(l, t->pixels, t->raw, &im, width, height, &a));
    else TRY_OUT(image_preprocess(t->pixels, &im, &l->o.preprocess));
    t->size[0] = width, t->size[1] = height;
    const label_view view = {&l->o.data->samples[index], width, height, t->to_input, &l->o.preprocess};
    if (l->o.labels) l->o.labels->write(l->o.labels, &view, t->label);
out:
    image_free(&im);
    arena_free(&memory);
    return result;
}

static bool is_bad(const loader *l, int64_t index) { return l->o.bad && l->o.bad[index]; }

/* The k-th candidate behind `index`: first those of its class, then all others, each in index order around the end.
 * Returns -1 when there is none left. *state walks from 0. */
static int64_t next_candidate(const loader *l, int64_t index, int64_t *state)
{
    const dataset *ds = l->o.data;
    for (; *state < 2 * (ds->count - 1); ++*state) {
        bool same_class = *state < ds->count - 1;
        int64_t candidate = (index + 1 + *state % (ds->count - 1)) % ds->count;
        if ((ds->samples[candidate].class_index == ds->samples[index].class_index) != same_class ||
            is_bad(l, candidate))
            continue;
        ++*state;
        return candidate;
    }
    return -1;
}

static void count_replacement(loader *l, batch *b, int64_t i, int64_t index, const char *reason)
{
    pthread_mutex_lock(&l->lock);
    b->replaced += i < b->count && !is_bad(l, index);
    bool first = !l->warned[index];
    l->warned[index] = 1;
    pthread_mutex_unlock(&l->lock);
    if (first && !is_bad(l, index)) /* lint has named what is bad */
        log_warn(l->o.log, "%s: %s; another image takes its place", l->o.data->samples[index].name, reason);
}

static void note_loss(loader *l)
{
    pthread_mutex_lock(&l->lock);
    l->lost = true;
    pthread_mutex_unlock(&l->lock);
}

static bool is_unreadable(status code) { return code == E_DATA || code == E_IO; }

/* Fills item i, with a replacement when the sample cannot be read. */
static status make_item(loader *l, batch *b, int64_t i)
{
    const dataset *ds = l->o.data;
    int64_t index = b->sample_index[i], candidate = index, state = 0;
    const item_place t = item_of(l, b, i);
    bool damaged = false;
    status code = is_bad(l, index) ? E_DATA : make_image(l, &t, index, b->sample_keys[i], &damaged);
    if (is_unreadable(code) && !damaged) {
        char *reason = strdup(is_bad(l, index) ? l->o.bad[index] : status_message());
        for (int tries = 0; is_unreadable(code) && !damaged && tries < MAX_REPLACEMENTS; tries++) {
            candidate = next_candidate(l, index, &state);
            if (candidate < 0) break;
            code = make_image(l, &t, candidate, b->sample_keys[i], &damaged);
        }
        if (code == OK) count_replacement(l, b, i, index, reason ? reason : "unreadable");
        else if (is_unreadable(code) && !damaged) {
            note_loss(l);
            code = FAIL(E_DATA, "%s: %s; and none of the images tried in its place can be read",
                ds->samples[index].name, reason ? reason : "unreadable");
        }
        free(reason);
    }
    if (code != OK) return code;
    b->sample_index[i] = candidate;
    return OK;
}

static void mix_batch(const loader *l, batch *b)
{
    rng r = rng_make(l->o.seed, RNG_MIX, (uint64_t)(b->epoch * l->steps + b->step));
    double lambda = mixup_draw(&r, l->o.mixup);
    const preprocess *p = &l->o.preprocess;
    mixup_rows(b->images, b->n, (int64_t)p->height * p->width * p->channels, lambda);
    if (l->o.labels) l->o.labels->mix(l->o.labels, b->label, b->n, lambda);
}

/* ------------------------------------------------------------------------------------------------ threads */

/* The slot whose next item is to be done, opening batches as there is room; NULL when
 * there is nothing to do. Lock held. */
static slot *find_work(loader *l)
{
    while (!l->paused) {
        if (l->current < l->tail) {
            slot *s = &l->ring[l->current % l->slots];
            if (s->started < s->b.n) return s;
            l->current++;
        } else if (l->tail - l->head + l->held < l->slots && !at_end(l)) {
            open_batch(l);
        } else {
            break;
        }
    }
    return NULL;
}

static void record_failure(slot *s, status code, int64_t item)
{
    if (s->failure != OK && item > s->failed_item) return;
    s->failure = code;
    s->failed_item = item;
    free(s->failure_text);
    s->failure_text = strdup(status_message());
}

/* Does one item. Called and left with the lock held. */
static void do_item(loader *l, slot *s)
{
    int64_t item = s->started++;
    l->busy++;
    pthread_mutex_unlock(&l->lock);
    status code = make_item(l, &s->b, item);
    pthread_mutex_lock(&l->lock);
    if (code != OK) record_failure(s, code, item);
    /* The last one mixes; nobody else touches the batch then. */
    if (s->done == s->b.n - 1 && s->failure == OK && training(l) && l->o.mixup > 0) {
        pthread_mutex_unlock(&l->lock);
        mix_batch(l, &s->b);
        pthread_mutex_lock(&l->lock);
    }
    s->done++;
    l->busy--;
    if (s->done == s->b.n || l->busy == 0) pthread_cond_broadcast(&l->ready);
}

static void *worker_main(void *argument)
{
    loader *l = argument;
    pthread_mutex_lock(&l->lock);
    while (!l->stop) {
        slot *s = find_work(l);
        if (s) do_item(l, s);
        else pthread_cond_wait(&l->work, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static status start_threads(loader *l, int32_t count)
{
    for (; l->thread_count < count; l->thread_count++)
        if (pthread_create(&l->threads[l->thread_count], NULL, worker_main, l) != 0)
            return FAIL(E_MEMORY, "cannot start loader thread %d of %d", l->thread_count + 1, count);
    return OK;
}

static void stop_threads(loader *l)
{
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int32_t i = 0; i < l->thread_count; i++) pthread_join(l->threads[i], NULL);
}

/* ------------------------------------------------------------------------------------------------ life */

loader_options loader_options_from_spec(
    const spec *s, const dataset *data, const preprocess *p, int64_t batch_size, logger *log)
{
    return (loader_options){.data = data,
        .preprocess = *p,
        .data_options = &s->data,
        .batch_size = batch_size,
        .threads = (int32_t)s->data.threads,
        .prefetch = (int32_t)s->data.prefetch,
        .world = 1,
        .seed = (uint64_t)s->train.seed,
        .log = log};
}

static status check_options(const loader_options *o)
{
    if (o->data->count < 1) return FAIL(E_DATA, "%s: no images to load", o->data->path);
    if (o->batch_size < 1 || o->world < 1 || o->rank < 0 || o->rank >= o->world || o->threads < 0 || o->prefetch < 0)
        return FAIL(E_INTERNAL, "loader: batch %" PRId64 ", rank %d of %d, %d threads, %d batches ahead", o->batch_size,
            o->rank, o->world, o->threads, o->prefetch);
    if (o->raw && (!o->augment || o->mixup > 0))
        return FAIL(E_INTERNAL, "loader: raw pictures for evaluation or mixup");
    if (o->mixup > 0 && o->labels && !o->labels->mix)
        return FAIL(E_INTERNAL, "loader: mixup of labels that cannot be mixed");
    if (o->labels && o->labels->capacity == 0) TRY(dataset_refuse_boxes(o->data));
    for (int64_t i = 0; o->augment && o->labels && i < o->data->count; i++) {
        const char *reason = o->labels->refuse(o->labels, &o->data->samples[i]);
        if (reason) return FAIL(E_DATA, "%s: %s", o->data->samples[i].name, reason);
    }
    return OK;
}

/* What is copied to the device. */
static status alloc_copied(loader *l, int64_t count, int64_t item_bytes, void **data)
{
    int64_t bytes;
    if (__builtin_mul_overflow(count, item_bytes, &bytes)) return FAIL_MEMORY(SIZE_MAX);
    if (l->o.allocate) return l->o.allocate(l->o.memory_context, (size_t)bytes, data);
    *data = arena_alloc(&l->memory, (size_t)bytes);
    return *data ? OK : FAIL_MEMORY(bytes);
}

static void release_batch(loader *l, const batch *b)
{
    void *copied[2 + LABEL_MAX] = {b->images, b->sample_keys};
    memcpy(copied + 2, b->label, sizeof b->label);
    for (int i = 0; i < 2 + LABEL_MAX && l->o.allocate; i++)
        if (copied[i]) l->o.release(l->o.memory_context, copied[i]);
}

static status alloc_batch(loader *l, batch *b)
{
    const preprocess *p = &l->o.preprocess;
    b->n = l->o.batch_size;
    int64_t row = (int64_t)p->height * p->width * p->channels, values;
    if (__builtin_mul_overflow(row, b->n, &values))
        return FAIL(E_USAGE, "train.batch_size = %" PRId64 " is too large", b->n);
    TRY(alloc_copied(l, values, sizeof(float), (void **)&b->images));
    for (int32_t k = 0; l->o.labels && k < l->o.labels->field_count; k++)
        TRY(alloc_copied(l, b->n, label_bytes(&l->o.labels->field[k]), &b->label[k]));
    TRY(alloc_copied(l, b->n, sizeof(int64_t), (void **)&b->sample_keys));
    b->to_input = ARENA_ARRAY(&l->memory, float, 9 * b->n);
    b->sample_index = ARENA_ARRAY(&l->memory, int64_t, b->n);
    b->size = arena_alloc_array(&l->memory, b->n, sizeof *b->size);
    if (!b->to_input || !b->sample_index || !b->size) return FAIL_MEMORY((size_t)b->n * sizeof(int64_t));
    if (!l->o.raw) return OK;
    b->pictures = ARENA_ARRAY(&l->memory, picture, b->n);
    if (!b->pictures) return FAIL_MEMORY((size_t)b->n * sizeof *b->pictures);
    return OK;
}

static status init(loader *l)
{
    int32_t threads = l->o.threads ? l->o.threads : cpu_count();
    /* One batch is with the caller while `prefetch` others are made. */
    l->slots = (l->o.prefetch ? l->o.prefetch : 1) + 1;
    l->order = ARENA_ARRAY(&l->memory, int64_t, l->o.data->count);
    l->warned = ARENA_ARRAY(&l->memory, uint8_t, l->o.data->count);
    l->ring = ARENA_ARRAY(&l->memory, slot, l->slots);
    l->threads = ARENA_ARRAY(&l->memory, pthread_t, threads);
    if (!l->order || !l->warned || !l->ring || !l->threads)
        return FAIL_MEMORY((size_t)l->o.data->count * sizeof *l->order);
    for (int32_t i = 0; i < l->slots; i++) TRY(alloc_batch(l, &l->ring[i].b));
    if (training(l)) TRY(sampler_init(&l->sampler, l->o.data, l->o.data_options, l->o.seed));
    int64_t per_step = l->o.batch_size * l->o.world;
    l->steps = (l->o.data->count + per_step - 1) / per_step;
    l->order_epoch = -1;
    l->end_epoch = 1;
    return start_threads(l, threads);
}

status loader_create(loader **out, const loader_options *options)
{
    *out = NULL;
    TRY(check_options(options));
    loader *l = calloc(1, sizeof *l);
    if (!l) return FAIL_MEMORY(sizeof *l);
    l->o = *options;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    status result = init(l);
    if (result != OK) loader_destroy(l);
    else *out = l;
    return result;
}

void loader_destroy(loader *l)
{
    if (!l) return;
    stop_threads(l);
    for (int32_t i = 0; l->ring && i < l->slots; i++) {
        free(l->ring[i].failure_text);
        release_batch(l, &l->ring[i].b);
    }
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    sampler_free(&l->sampler);
    arena_free(&l->memory);
    free(l);
}

int64_t loader_steps_per_epoch(const loader *l) { return l->steps; }

status loader_seek(loader *l, int64_t epoch, int64_t step)
{
    if (epoch < 0 || step < 0 || step > l->steps)
        return FAIL(E_INTERNAL, "loader: seek to step %" PRId64 " of epoch %" PRId64 "; an epoch has %" PRId64, step,
            epoch, l->steps);
    pthread_mutex_lock(&l->lock);
    /* Items in work write into batches that are about to be reused. */
    l->paused = true;
    while (l->busy) pthread_cond_wait(&l->ready, &l->lock);
    l->paused = l->held = false;
    l->head = l->current = l->tail;
    l->next_epoch = epoch + step / l->steps;
    l->next_step = step % l->steps;
    l->end_epoch = epoch + 1;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    return OK;
}

status loader_next(loader *l, const batch **b)
{
    *b = NULL;
    double start = clock_seconds();
    pthread_mutex_lock(&l->lock);
    l->held = false;
    pthread_cond_broadcast(&l->work);
    while (l->head == l->tail ? !at_end(l) : l->ring[l->head % l->slots].done < l->o.batch_size)
        pthread_cond_wait(&l->ready, &l->lock);
    l->wait_seconds += clock_seconds() - start;
    if (l->head == l->tail) {
        pthread_mutex_unlock(&l->lock);
        return OK;
    }
    slot *s = &l->ring[l->head++ % l->slots];
    l->held = true;
    pthread_mutex_unlock(&l->lock);
    if (s->failure != OK) return FAIL(s->failure, "%s", s->failure_text ? s->failure_text : "out of memory");
    *b = &s->b;
    return OK;
}

double loader_wait_seconds(const loader *l) { return l->wait_seconds; }

bool loader_is_lost(const loader *l)
{
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&l->lock;
    pthread_mutex_lock(lock);
    bool lost = l->lost;
    pthread_mutex_unlock(lock);
    return lost;
}
