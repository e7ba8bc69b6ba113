/* Batches: the same bits on 1, 2 and 4 threads, after a seek, and over ranks; bad samples replaced; failures handed
 * over. */
#include "tests/unit/data_files.h"

#include <math.h>

#include "core/base/hash.h"
#include "core/base/rng.h"
#include "core/data/loader.h"
#include "core/data/mixup.h"
#include "core/data/sampler.h"
#include "core/task/task.h"

enum { COUNT = 23, SIDE = 24 };

static dataset ds;
static label_source labels;
static spec_data data_options;
static const spec_augment augment = {.enable = true, .hflip = 0.5, .zoom_min = 0.9, .zoom_max = 1.2, .rotate_max = 10,
    .translate_max_x = 2, .hue_max = 20, .random_resized_crop = true};

/* Classes of 12, 7 and 4 pictures. */
static int make_set(void **state)
{
    if (make_test_folder(state) != 0) return -1;
    for (int i = 0; i < COUNT; i++)
        put_jpeg(test_path("set/%c/%02d.jpg", i < 12 ? 'a' : i < 19 ? 'b' : 'c', i), 50 + i, 40, i);
    data_options = (spec_data){.root = test_path("set"), .train = "", .val = "", .test = "", .max_pixels = 1000000};
    if (dataset_open_parts(&data_options, 1, NULL, &ds, NULL, NULL) != OK) return -1;
    return task_classification.labels(&labels, &(task_setting){.class_count = ds.class_count}) == OK ? 0 : -1;
}

static int remove_set(void **state)
{
    dataset_close(&ds);
    return remove_test_folder(state);
}

static loader_options base_options(void)
{
    return (loader_options){.data = &ds,
        .preprocess = {.width = SIDE, .height = SIDE, .channels = 3, .std = {1, 1, 1}, .crop_fraction = 0.875f},
        .data_options = &data_options,
        .augment = &augment,
        .labels = &labels,
        .batch_size = 4,
        .threads = 2,
        .prefetch = 2,
        .world = 1,
        .seed = 5};
}

static uint64_t batch_hash(const batch *b)
{
    uint64_t h = hash64(b->images, (size_t)b->n * SIDE * SIDE * 3 * sizeof(float));
    h = h * 31 + hash64(b->label[0], (size_t)(b->n * ds.class_count) * sizeof(float));
    h = h * 31 + hash64(b->to_input, (size_t)b->n * 9 * sizeof(float));
    h = h * 31 + hash64(b->sample_keys, (size_t)b->n * sizeof *b->sample_keys);
    return h * 31 + hash64(b->sample_index, (size_t)b->n * sizeof *b->sample_index);
}

/* Hashes of `count` batches from (epoch, step) on. */
static void run(const loader_options *o, int64_t epoch, int64_t step, int count, uint64_t *hashes)
{
    loader *l;
    const batch *b;
    assert_ok(loader_create(&l, o));
    assert_ok(loader_seek(l, epoch, step));
    for (int i = 0; i < count; i++) {
        assert_ok(loader_next(l, &b));
        assert_non_null(b);
        assert_int_equal(b->epoch * loader_steps_per_epoch(l) + b->step, epoch * loader_steps_per_epoch(l) + step + i);
        hashes[i] = batch_hash(b);
    }
    loader_destroy(l);
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    uint64_t expected[15], got[15];
    loader_options o = base_options();
    o.mixup = 0.3;
    o.threads = 1;
    run(&o, 0, 0, 15, expected);
    for (int threads = 1; threads <= 4; threads *= 2)
        for (int prefetch = 1; prefetch <= 5; prefetch += 4) {
            o.threads = threads;
            o.prefetch = prefetch;
            run(&o, 0, 0, 15, got);
            assert_memory_equal(expected, got, sizeof got);
        }
    o.seed++;
    run(&o, 0, 0, 15, got);
    for (int i = 0; i < 15; i++) assert_true(expected[i] != got[i]);
}

static void test_seek_equals_a_straight_run(void **state)
{
    (void)state;
    uint64_t straight[20], got[20];
    loader_options o = base_options(); /* 6 steps per epoch */
    run(&o, 0, 0, 20, straight);
    for (int start = 0; start < 18; start += 5) {
        run(&o, start / 6, start % 6, 2, got);
        assert_memory_equal(straight + start, got, 2 * sizeof *got);
    }
    /* In the middle of a run, forwards and back, with batches on their way. */
    loader *l;
    const batch *b;
    assert_ok(loader_create(&l, &o));
    for (int k = 0; k < 30; k++) {
        int at = k * 7 % 19;
        if (k % 3 == 0) assert_ok(loader_next(l, &b));
        assert_ok(loader_seek(l, at / 6, at % 6));
        assert_ok(loader_next(l, &b));
        assert_true(batch_hash(b) == straight[at]);
    }
    assert_ok(loader_seek(l, 0, 6)); /* the end of an epoch is the start of the next */
    assert_ok(loader_next(l, &b));
    assert_true(b->epoch == 1 && b->step == 0 && batch_hash(b) == straight[6]);
    assert_int_equal(loader_seek(l, 0, 7), E_INTERNAL);
    loader_destroy(l);
}

static void test_ranks_share_an_epoch(void **state)
{
    (void)state;
    for (int world = 1; world <= 3; world++) {
        int seen[COUNT] = {0}, order[64], total = 0;
        for (int rank = 0; rank < world; rank++) {
            loader_options o = base_options();
            loader *l;
            const batch *b;
            o.world = world;
            o.rank = rank;
            assert_ok(loader_create(&l, &o));
            assert_int_equal(loader_steps_per_epoch(l), (COUNT + 4 * world - 1) / (4 * world));
            for (int64_t s = 0; s < loader_steps_per_epoch(l); s++) {
                assert_ok(loader_next(l, &b));
                assert_int_equal(b->count, 4);
                for (int i = 0; i < 4; i++, total++) {
                    order[(s * 4 + i) * world + rank] = (int)b->sample_index[i];
                    seen[b->sample_index[i]]++;
                    assert_int_equal(b->sample_keys[i], b->sample_index[i]);
                    assert_true(((float *)b->label[0])[i * 3 + ds.samples[b->sample_index[i]].class_index] == 1);
                }
            }
            loader_destroy(l);
        }
        /* Every sample once; the last batch is completed from the start of the order. */
        for (int i = 0; i < COUNT; i++) assert_true(seen[i] == 1 || seen[i] == 2);
        for (int i = COUNT; i < total; i++) assert_int_equal(order[i], order[i - COUNT]);
        static int first_order[COUNT];
        if (world == 1) memcpy(first_order, order, sizeof first_order);
        assert_memory_equal(first_order, order, sizeof first_order);
    }
}

static void test_evaluation_in_order(void **state)
{
    (void)state;
    for (int world = 1; world <= 2; world++) {
        int seen[COUNT] = {0};
        for (int rank = 0; rank < world; rank++) {
            loader_options o = base_options();
            loader *l;
            const batch *b;
            o.augment = NULL;
            o.world = world;
            o.rank = rank;
            assert_ok(loader_create(&l, &o));
            for (int round = 0; round < 2; round++) {
                int64_t steps = 0;
                for (;; steps++) {
                    assert_ok(loader_next(l, &b));
                    if (!b) break;
                    for (int64_t i = 0; i < b->n; i++) {
                        int64_t position = (steps * 4 + i) * world + rank;
                        assert_int_equal(b->sample_index[i], position < COUNT ? position : 0);
                        assert_true((i < b->count) == (position < COUNT));
                        if (round == 0 && i < b->count) seen[b->sample_index[i]]++;
                    }
                }
                assert_int_equal(steps, loader_steps_per_epoch(l));
                assert_ok(loader_next(l, &b));
                assert_null(b);
                assert_ok(loader_seek(l, round + 3, 0));
            }
            loader_destroy(l);
        }
        for (int i = 0; i < COUNT; i++) assert_int_equal(seen[i], 1);
    }
}

/* What evaluation feeds is image_preprocess of the decoded file. */
static void test_evaluation_pixels(void **state)
{
    (void)state;
    loader_options o = base_options();
    loader *l;
    const batch *b;
    o.augment = NULL;
    assert_ok(loader_create(&l, &o));
    assert_ok(loader_next(l, &b));
    float *expected = malloc(SIDE * SIDE * 3 * sizeof *expected);
    for (int i = 0; i < 4; i++) {
        image im;
        decode_options d = any_image;
        d.channels = 3;
        assert_ok(dataset_decode(&ds, i, &d, &im));
        assert_ok(image_preprocess(expected, &im, &o.preprocess));
        assert_memory_equal(expected, b->images + i * SIDE * SIDE * 3, SIDE * SIDE * 3 * sizeof *expected);
        image_free(&im);
    }
    free(expected);
    loader_destroy(l);
}

static void test_bad_samples_are_replaced(void **state)
{
    (void)state;
    const char *root = test_path("bad");
    for (int i = 0; i < 12; i++) {
        const char *path = test_path("bad/%c/%02d.jpg", i < 8 ? 'a' : 'b', i);
        if (i == 3 || i == 7 || i == 11) put_truncated_jpeg(path);
        else put_jpeg(path, 40, 40, i);
    }
    spec_data d = data_options;
    d.root = root;
    dataset set;
    assert_ok(dataset_open_parts(&d, 1, NULL, &set, NULL, NULL));
    const char *bad[12] = {0};
    for (int known = 0; known < 2; known++) {
        if (known) bad[3] = bad[11] = "planted";
        loader_options o = base_options();
        loader *l;
        const batch *b;
        o.data = &set;
        o.augment = NULL;
        o.bad = bad;
        assert_ok(loader_create(&l, &o));
        int64_t at = 0, replaced = 0;
        for (; loader_next(l, &b) == OK && b; replaced += b->replaced)
            for (int64_t i = 0; i < b->n; i++, at++) {
                /* the next of the same class, around the end: 3 -> 4, 7 -> 0, 11 -> 8 */
                int64_t expected = at == 3 ? 4 : at == 7 ? 0 : at == 11 ? 8 : at;
                assert_int_equal(b->sample_index[i], expected);
                assert_true(((float *)b->label[0])[i * 3 + (expected >= 8)] == 1);
            }
        assert_int_equal(at, 12);
        assert_int_equal(replaced, known ? 1 : 3); /* those of o.bad are known and not counted again */
        loader_destroy(l);
    }
    /* Nothing is readable: the failure names a file and reaches the caller. */
    for (int i = 0; i < 12; i++) bad[i] = "planted";
    loader_options o = base_options();
    loader *l;
    const batch *b;
    o.data = &set;
    o.bad = bad;
    assert_ok(loader_create(&l, &o));
    assert_fails(E_DATA, "none of the images tried in its place", loader_next(l, &b));
    assert_non_null(strstr(status_message(), "planted"));
    loader_destroy(l);
    dataset_close(&set);
    o.data = &ds;
    o.batch_size = 0;
    assert_int_equal(loader_create(&l, &o), E_INTERNAL);
}

/* A packed file that is changed or cut off while batches are made from it: the first record that is touched is E_DATA,
 * and nothing takes its place, not even when data.max_bad_fraction would let it go. */
static void test_damage_is_not_replaced(void **state)
{
    (void)state;
    const char *packed = test_path("damaged.packed"), *file = test_path("damaged.packed/data.pack");
    void *data;
    size_t count;
    assert_ok(dataset_pack(packed, &ds, NULL, NULL, NULL));
    assert_ok(file_read_all(&test_memory, file, 1 << 24, &data, &count));
    for (int cut = 0; cut < 2; cut++) {
        spec_data d = data_options;
        loader_options o = base_options();
        dataset set;
        loader *l;
        const batch *b;
        status code = OK;
        d.root = packed;
        assert_ok(dataset_open_parts(&d, 1, NULL, &set, NULL, NULL));
        o.data = &set;
        o.prefetch = 1;
        assert_ok(loader_create(&l, &o));
        assert_ok(loader_next(l, &b));
        if (cut) {
            assert_int_equal(truncate(file, (off_t)(count / 2)), 0);
        } else {
            for (size_t i = 0; i < count; i += 100) ((uint8_t *)data)[i] ^= 1;
            FILE *f = fopen(file, "r+b"); /* in place: its length stays */
            assert_true(f && fwrite(data, 1, count, f) == count && fclose(f) == 0);
            for (size_t i = 0; i < count; i += 100) ((uint8_t *)data)[i] ^= 1;
        }
        int64_t replaced = b->replaced;
        for (int i = 0; i < 20 && code == OK; i++)
            if ((code = loader_next(l, &b)) == OK) replaced += b->replaced;
        assert_int_equal(code, E_DATA);
        assert_non_null(strstr(status_message(), cut ? "cut off while it was in use" : "does not fit its checksum"));
        assert_int_equal(replaced, 0);
        loader_destroy(l);
        dataset_close(&set);
        put_file(file, data, count);
    }
}

static void test_balanced_and_weighted(void **state)
{
    (void)state;
    sampler s;
    int64_t order[COUNT];
    spec_data d = data_options;
    d.sampling = SAMPLING_BALANCED;
    assert_ok(sampler_init(&s, &ds, &d, 3));
    int per_class[3] = {0}, seen[COUNT] = {0};
    for (int epoch = 0; epoch < 300; epoch++) {
        sampler_order(&s, epoch, order);
        int here[3] = {0};
        for (int i = 0; i < COUNT; i++) {
            here[ds.samples[order[i]].class_index]++;
            seen[order[i]]++;
        }
        for (int c = 0; c < 3; c++) {
            assert_true(here[c] == 7 || here[c] == 8);
            per_class[c] += here[c];
        }
    }
    for (int c = 0; c < 3; c++) assert_true(abs(per_class[c] - 2300) < 60);
    for (int i = 0; i < COUNT; i++) { /* evenly within a class */
        int size = i < 12 ? 12 : i < 19 ? 7 : 4;
        assert_true(fabs(seen[i] - 2300.0 / size) < 0.2 * 2300 / size);
    }
    sampler_free(&s);
    double weights[3] = {1, 0, 6}; /* class totals 12, 0 and 24 */
    d.sampling = SAMPLING_WEIGHTED;
    d.class_weights = (float_list){weights, 3};
    assert_ok(sampler_init(&s, &ds, &d, 3));
    int c_count = 0;
    for (int epoch = 0; epoch < 300; epoch++) {
        sampler_order(&s, epoch, order);
        for (int i = 0; i < COUNT; i++) {
            assert_true(ds.samples[order[i]].class_index != 1);
            c_count += ds.samples[order[i]].class_index == 2;
        }
    }
    assert_true(fabs(c_count / (300.0 * COUNT) - 2.0 / 3) < 0.02);
    sampler_free(&s);
    d.class_weights.count = 2;
    assert_int_equal(sampler_init(&s, &ds, &d, 3), E_USAGE);
    /* Repeated samples get keys of their own. */
    loader_options o = base_options();
    loader *l;
    const batch *b;
    d.sampling = SAMPLING_BALANCED;
    o.data_options = &d;
    assert_ok(loader_create(&l, &o));
    for (int s_ = 0; s_ < 5; s_++) {
        assert_ok(loader_next(l, &b));
        for (int i = 0; i < 4; i++) assert_int_equal(b->sample_keys[i], s_ * 4 + i);
    }
    loader_destroy(l);
}

static void test_mixup(void **state)
{
    (void)state;
    /* Moments of max(b, 1 - b): for alpha = 1, b is uniform, the mean 3/4 and the mean square 7/12. */
    double sum = 0, square = 0;
    for (int i = 0; i < 20000; i++) {
        rng r = rng_make(1, RNG_MIX, (uint64_t)i);
        double lambda = mixup_draw(&r, 1);
        assert_true(lambda >= 0.5 && lambda <= 1);
        sum += lambda;
        square += lambda * lambda;
    }
    assert_true(fabs(sum / 20000 - 0.75) < 0.005 && fabs(square / 20000 - 7.0 / 12) < 0.005);
    /* For small alpha, Beta(0.2, 0.2) has E[b^2] = (1 + alpha) / (2 (1 + 2 alpha)) = 3/7, so E[b^2 + (1-b)^2] = 6/7. */
    sum = 0;
    for (int i = 0; i < 20000; i++) {
        rng r = rng_make(2, RNG_MIX, (uint64_t)i);
        double lambda = mixup_draw(&r, 0.2);
        sum += lambda * lambda + (1 - lambda) * (1 - lambda);
    }
    assert_true(fabs(sum / 20000 - 6.0 / 7) < 0.006);
    float rows[6] = {1, 2, 10, 20, 3, 4};
    mixup_rows(rows, 3, 2, 0.75);
    static const float expected[6] = {1.5f, 2.5f, 10, 20, 2.5f, 3.5f};
    for (int i = 0; i < 6; i++) assert_true(fabsf(rows[i] - expected[i]) < 1e-6f);
    /* In the loader: targets are mixed like pixels, their rows sum to 1. */
    loader_options o = base_options();
    loader *plain, *mixed;
    const batch *a, *b;
    assert_ok(loader_create(&plain, &o));
    o.mixup = 1;
    assert_ok(loader_create(&mixed, &o));
    assert_ok(loader_next(plain, &a));
    assert_ok(loader_next(mixed, &b));
    rng r = rng_make(o.seed, RNG_MIX, 0);
    double lambda = mixup_draw(&r, 1);
    int64_t row = SIDE * SIDE * 3;
    for (int64_t i = 0; i < 4; i++) {
        assert_int_equal(a->sample_index[i], b->sample_index[i]);
        for (int64_t k = 0; k < row; k += 97)
            assert_true(fabs(lambda * a->images[i * row + k] + (1 - lambda) * a->images[(3 - i) * row + k] -
                             b->images[i * row + k]) < 1e-3);
        float total = 0;
        for (int c = 0; c < 3; c++) total += ((float *)b->label[0])[i * 3 + c];
        assert_true(fabsf(total - 1) < 1e-6f);
    }
    loader_destroy(plain);
    loader_destroy(mixed);
}

/* Of what describes the pictures of a raw batch, and of their pixels. */
static uint64_t raw_hash(const batch *b)
{
    uint64_t h = 0;
    for (int64_t i = 0; i < b->n; i++) {
        const picture *p = &b->pictures[i];
        const uint8_t *pixels = (const uint8_t *)(b->images + i * SIDE * SIDE * 3);
        size_t bytes = (size_t)p->width * (size_t)p->height * 3;
        assert_true(p->width >= 1 && p->height >= 1 && bytes <= SIDE * SIDE * 3 * sizeof(float));
        h = h * 31 + hash64(pixels, bytes);
        h = h * 31 + hash64(p->inverse, sizeof p->inverse) + hash64(p->color, sizeof p->color) +
            hash64(p->radius, sizeof p->radius);
        h = h * 31 + (uint64_t)p->fill + 256 * (uint64_t)p->has_color + 512 * (uint64_t)p->width;
    }
    return h;
}

static void test_raw_pictures(void **state)
{
    (void)state;
    uint64_t expected[8] = {0};
    loader_options o = base_options();
    o.raw = true;
    for (int threads = 1; threads <= 4; threads *= 2) {
        loader *l;
        const batch *b;
        o.threads = threads;
        assert_ok(loader_create(&l, &o));
        for (int i = 0; i < 8; i++) {
            assert_ok(loader_next(l, &b));
            if (threads == 1) expected[i] = raw_hash(b);
            else assert_true(raw_hash(b) == expected[i]);
        }
        loader_destroy(l);
    }
    for (int i = 1; i < 8; i++) assert_true(expected[i] != expected[i - 1]);
    o.mixup = 0.5;
    assert_int_equal(loader_create(&(loader *){NULL}, &o), E_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_seek_equals_a_straight_run),
        cmocka_unit_test(test_ranks_share_an_epoch),
        cmocka_unit_test(test_evaluation_in_order),
        cmocka_unit_test(test_evaluation_pixels),
        cmocka_unit_test(test_bad_samples_are_replaced),
        cmocka_unit_test(test_damage_is_not_replaced),
        cmocka_unit_test(test_balanced_and_weighted),
        cmocka_unit_test(test_mixup),
        cmocka_unit_test(test_raw_pictures),
    };
    return cmocka_run_group_tests(tests, make_set, remove_set);
}
