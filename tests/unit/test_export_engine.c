/* Engine files: what is read is what was written; nothing damaged is ever loaded. */
#include <math.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "tests/unit/unit_test.h"

#include "core/base/file.h"
#include "core/ops/op.h"
#include "export/engine_format.h"
#include "export/export.h"
#include "export/graft.h"
#include "export/runner.h"
#include "export/slices.h"
#include "tests/unit/export_net.h"

enum { IMAGES = 6 };

typedef struct fixture {
    device *dev;
    model m;
    net_images images;
    char path[2][64]; /* f32, int8 */
    uint8_t *bytes;   /* of the int8 engine, aligned to 64 */
    size_t count;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    engine e;
    export_scales scales;
    if (!f || device_open(&f->dev, SPEC_DEVICE_CPU, 0, 1, NULL) != OK || net_model(&f->m, "resnet10", 0.0625) != OK)
        return 1;
    f->images = net_images_make(IMAGES, 3, false);
    calibration_data data = net_data(&f->images);
    export_options o = {
        .calibrator = CALIBRATOR_MINMAX, .source_name = "net.safetensors", .dev = f->dev, .data = &data};
    for (int i = 0; i < 2; i++) snprintf(f->path[i], sizeof f->path[i], "/tmp/graft-engine-%d-%ld", i, (long)getpid());
    if (export_float(&e, &f->m, &o) != OK || engine_save(&e, f->path[0]) != OK) return 1;
    engine_free(&e);
    if (export_calibrate(&scales, &f->m, &o, 8601) != OK || export_int8(&e, &f->m, &scales, &o) != OK) return 1;
    if (engine_save(&e, f->path[1]) != OK) return 1;
    engine_free(&e);
    export_scales_free(&scales);
    file_map map;
    if (file_map_open(&map, f->path[1]) != OK) return 1;
    f->count = map.bytes;
    f->bytes = aligned_alloc(ENGINE_ALIGN, engine_align(map.bytes));
    memcpy(f->bytes, map.data, map.bytes);
    file_map_close(&map);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < 2; i++) unlink(f->path[i]);
    net_images_free(&f->images);
    model_free(&f->m);
    device_close(f->dev);
    free(f->bytes);
    free(f);
    return 0;
}

static void test_round_trip(void **state)
{
    fixture *f = *state;
    calibration_data data = net_data(&f->images);
    export_options o = {
        .calibrator = CALIBRATOR_MINMAX, .source_name = "net.safetensors", .dev = f->dev, .data = &data};
    export_scales scales;
    engine made, read;
    GOOD(export_calibrate(&scales, &f->m, &o, 8601));
    GOOD(export_int8(&made, &f->m, &scales, &o));
    GOOD(engine_load(&read, f->path[1]));
    assert_int_equal(read.precision, ENGINE_INT8);
    assert_int_equal(read.class_count, NET_CLASSES);
    assert_string_equal(read.class_name[4], "elk: \"big\"");
    assert_string_equal(read.source_name, "net.safetensors");
    assert_memory_equal(&read.source_hash, &f->m.file_hash, sizeof read.source_hash);
    assert_string_equal(read.calibrator, "minmax");
    assert_int_equal(read.calibration_images, IMAGES);
    assert_true(read.score == -1 && read.float_score == -1);
    assert_int_equal(read.preprocess.width, NET_SIDE);
    assert_true(read.preprocess.mean[2] == 100);
    assert_int_equal(read.layer_count, made.layer_count);
    for (int64_t i = 0; i < made.layer_count; i++) {
        const engine_layer *a = &made.layers[i], *b = &read.layers[i];
        assert_string_equal(a->name, b->name);
        assert_true(a->in_scale == b->in_scale && a->out_scale == b->out_scale && a->sqnr_db == b->sqnr_db);
        assert_true(a->macs == b->macs && a->integer && b->integer);
    }
    assert_true(engine_integer_part(&read) == 1);
    assert_int_equal(made.graph.edge_count, read.graph.edge_count);
    for (edge_id e = 0; e < made.graph.edge_count; e++) {
        const edge *a = &made.graph.edges[e], *b = &read.graph.edges[e];
        if (!engine_holds(a)) continue;
        b = &read.graph.edges[graph_find_edge(&read.graph, a->name)];
        assert_int_equal((uintptr_t)b->data % ENGINE_ALIGN, 0);
        assert_memory_equal(a->data, b->data, (size_t)shape_count(a->shape) * dtype_bytes(a->type));
    }
    engine_free(&made);
    engine_free(&read);
    export_scales_free(&scales);
}

/* The graph in memory and the graph from the file give the same bits, in any batch. */
static void test_same_scores(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        engine e;
        runner *r;
        float one[IMAGES * NET_CLASSES], many[IMAGES * NET_CLASSES];
        GOOD(engine_load(&e, f->path[i]));
        GOOD(runner_create(&r, &e.graph, f->dev, 4));
        GOOD(runner_run(r, (float *const[]){many}, f->images.pixels, IMAGES));
        for (int64_t k = 0; k < IMAGES; k++)
            GOOD(runner_run(r, (float *const[]){one + k * NET_CLASSES}, f->images.pixels + k * NET_IMAGE, 1));
        if (i == 1) assert_memory_equal(one, many, sizeof one); /* integers */
        for (int k = 0; k < IMAGES * NET_CLASSES; k++)
            assert_true(fabsf(one[k] - many[k]) <= 1e-4f * (1 + fabsf(many[k])));
        runner_destroy(r);
        engine_free(&e);
    }
}

/* A cache too small for a batch's activations changes how the batch is cut, not what comes out. */
static void test_cut_batch(void **state)
{
    fixture *f = *state;
    device_api api = *f->dev->api;
    device dev = *f->dev;
    dev.api = &api;
    for (int i = 0; i < 2; i++) {
        engine e;
        runner *r;
        slices cut;
        float scores[2][IMAGES * NET_CLASSES];
        GOOD(engine_load(&e, f->path[i]));
        for (int k = 0; k < 2; k++) {
            api.cache_bytes = k == 0 ? 0 : 30 << 10;
            GOOD(runner_create(&r, &e.graph, &dev, IMAGES));
            for (int again = 0; again < 2; again++)
                GOOD(runner_run(r, (float *const[]){scores[k]}, f->images.pixels, IMAGES));
            runner_destroy(r);
            GOOD(graph_resize_batch(&e.graph, IMAGES));
            GOOD(slices_choose(&cut, &e.graph, api.cache_bytes));
            assert_true(k == 0 ? cut.images == IMAGES && cut.cut == 0 : cut.images < IMAGES && cut.cut > 0);
        }
        if (i == 1) assert_memory_equal(scores[0], scores[1], sizeof scores[0]); /* integers */
        for (int k = 0; k < IMAGES * NET_CLASSES; k++)
            assert_true(fabsf(scores[0][k] - scores[1][k]) <= 1e-4f * (1 + fabsf(scores[1][k])));
        engine_free(&e);
    }
}

/* Eight images. Activations of an image: conv1 2 KiB in and 4 out, pool 4 KiB in and 1 out, conv2 1 KiB in and 1 out;
 * weights 32 bytes and 64 KiB. With 16 KiB of cache two images fit (12 and 10 KiB), four do not; conv2's 16 KiB fit as
 * they are. So the first two nodes run on two images at a time. With 6 KiB one image fits, and conv2 would read its
 * weights seven times more to save 16 KiB: it still stays outside. */
static void test_choose_slices(void **state)
{
    (void)state;
    graph g;
    slices s;
    edge_id x, w[2];
    GOOD(graph_init(&g));
    x = graph_input(&g, "x", DTYPE_F32, shape_4(8, 16, 16, 2));
    w[0] = graph_edge(&g, "w0", EDGE_PARAM, DTYPE_F32, shape_4(4, 1, 1, 2)); 
    w[1] = graph_edge(&g, "w1", EDGE_PARAM, DTYPE_F32, shape_4(4, 64, 16, 4));
    const conv2d_attr one = {.stride = {1, 1}, .dilation = {1, 1}, .groups = 1};
    conv2d_attr large = one;
    large.pad[0] = 32, large.pad[1] = 8, large.pad[2] = 31, large.pad[3] = 7;
    GOOD(graph_add(&g, &op_conv2d, "conv1", &one, (edge_id[]){x, w[0]}, 2, 0, &x));
    GOOD(graph_add(
        &g, &op_pool, "pool", &(pool_attr){.kind = POOL_MAX, .kernel = {2, 2}, .stride = {2, 2}}, &x, 1, 0, &x));
    edge_id pooled = x;
    GOOD(graph_add(&g, &op_conv2d, "conv2", &large, (edge_id[]){x, w[1]}, 2, 0, &x));
    GOOD(graph_output(&g, x));
    GOOD(slices_choose(&s, &g, 16 << 10));
    assert_true(s.images == 2 && s.cut == 2 && s.edge == pooled);
    GOOD(slices_choose(&s, &g, 6 << 10));
    assert_true(s.images == 1 && s.cut == 2 && s.edge == pooled);
    GOOD(slices_choose(&s, &g, 48 << 10)); /* all eight fit */
    assert_int_equal(s.images, 8);
    GOOD(slices_choose(&s, &g, 1 << 10)); /* not even one */
    assert_int_equal(s.images, 8);
    graph_free(&g);
}

/* Largest difference to the f32 engine's scores, relative to their size. */
static double score_error(const float *a, const float *b)
{
    double error = 0, size = 0;
    for (int i = 0; i < IMAGES * NET_CLASSES; i++) {
        error = fmax(error, fabs((double)a[i] - (double)b[i]));
        size = fmax(size, fabs((double)b[i]));
    }
    return error / size;
}

static void run_plan(const graph *g, device *dev, const float *pixels, float *scores)
{
    plan *p;
    GOOD(plan_create(&p, g, dev, &(plan_options){.reference = true}));
    for (int k = 0; k < IMAGES; k++) {
        GOOD(plan_set_input(p, g->inputs[0], pixels + k * NET_IMAGE, NET_IMAGE * sizeof *pixels));
        GOOD(plan_run(p));
        GOOD(plan_get(p, g->outputs[0], scores + k * NET_CLASSES, NET_CLASSES * sizeof *scores));
    }
    plan_destroy(p);
}

/* Weights and activations in f16: half the file, and scores whose error is at most 2^-11 per rounding on the way, to
 * first order. On a CPU the same file runs in f32 with weights rounded once. */
static void test_half(void **state)
{
    fixture *f = *state;
    export_options o = {.source_name = "net.safetensors", .dev = f->dev, .half = true};
    char path[80];
    engine plain, made, e;
    runner *r;
    int64_t bytes[2], mtime, products = 0;
    float expected[IMAGES * NET_CLASSES], half[IMAGES * NET_CLASSES], wide[IMAGES * NET_CLASSES];
    snprintf(path, sizeof path, "%s.f16", f->path[0]);
    GOOD(engine_load(&plain, f->path[0]));
    GOOD(export_float(&made, &f->m, &o));
    GOOD(engine_save(&made, path));
    GOOD(engine_load(&e, path));
    assert_int_equal(e.precision, ENGINE_F16);
    assert_int_equal(e.layer_count, plain.layer_count);
    assert_string_equal(engine_layer_precision(&e, &e.layers[0]), "f16");
    GOOD(file_info(f->path[0], &bytes[0], &mtime));
    GOOD(file_info(path, &bytes[1], &mtime));
    assert_true(bytes[1] < bytes[0] * 3 / 5); /* beside META and GRAPH */
    for (node_id n = 0; n < e.graph.node_count; n++) {
        const node *item = &e.graph.nodes[n];
        if (item->op != &op_conv2d && item->op != &op_linear) continue;
        assert_int_equal(e.graph.edges[item->in[1]].type, DTYPE_F16);
        assert_int_equal(e.graph.edges[item->in[2]].type, DTYPE_F32);
        products++;
    }
    assert_int_equal(products, plain.layer_count);
    run_plan(&plain.graph, f->dev, f->images.pixels, expected);
    run_plan(&e.graph, f->dev, f->images.pixels, half);
    GOOD(runner_create(&r, &e.graph, f->dev, 4));
    GOOD(runner_run(r, (float *const[]){wide}, f->images.pixels, IMAGES));
    double n = (double)e.graph.node_count;
    assert_true(score_error(half, expected) > 0 && score_error(half, expected) < n * 0x1p-11);
    assert_true(score_error(wide, expected) > 0 && score_error(wide, expected) < n * 0x1p-11);
    runner_destroy(r);
    unlink(path);
    engine_free(&plain);
    engine_free(&made);
    engine_free(&e);
}

static void refuse(const uint8_t *bytes, size_t count, const char *what, size_t at)
{
    engine e;
    if (engine_parse(&e, bytes, count, "x", true) != E_MODEL)
        fail_msg("%s at %zu of an engine was not found", what, at);
}

static void test_every_truncation(void **state)
{
    fixture *f = *state;
    for (size_t count = 0; count < f->count; count++) refuse(f->bytes, count, "truncation", count);
    engine e;
    GOOD(engine_parse(&e, f->bytes, f->count, "x", true));
    engine_free(&e);
}

/* One bit of every byte. */
static void test_every_flipped_byte(void **state)
{
    fixture *f = *state;
    for (size_t i = 0; i < f->count; i++) {
        f->bytes[i] ^= (uint8_t)(1 << i % 8);
        refuse(f->bytes, f->count, "flipped bit", i);
        f->bytes[i] ^= (uint8_t)(1 << i % 8);
    }
}

static void expect_message(fixture *f, size_t at, uint8_t value, const char *text)
{
    engine e;
    uint8_t kept = f->bytes[at];
    f->bytes[at] = value;
    assert_int_equal(engine_parse(&e, f->bytes, f->count, "m.engine", true), E_MODEL);
    if (!strstr(status_message(), text)) fail_msg("'%s' lacks '%s'", status_message(), text);
    f->bytes[at] = kept;
}

static void test_messages(void **state)
{
    fixture *f = *state;
    engine e;
    expect_message(f, 0, 'X', "not a Graft engine");
    expect_message(f, 8, 9, "version 9");
    expect_message(f, 16, (uint8_t)(f->bytes[16] + 1), "cut off");
    expect_message(f, 30, (uint8_t)~f->bytes[30], "header");
    expect_message(f, f->count - 100, (uint8_t)~f->bytes[f->count - 100], "WEIGHTS");
    assert_int_equal(engine_load(&e, "/nonexistent.engine"), E_IO);
    assert_true(engine_is_engine(f->path[0]));
    assert_false(engine_is_engine("/proc/self/exe"));
    assert_false(engine_is_engine("/nonexistent"));
    GOOD(engine_load(&e, f->path[0]));
    GOOD(engine_check_source(&e, f->m.file_hash, "net.safetensors", "x.engine"));
    assert_int_equal(engine_check_source(&e, (hash128){1, 2}, "net.safetensors", "x.engine"), E_MODEL);
    assert_non_null(strstr(status_message(), "stale"));
    engine_free(&e);
}

/* The container is sound and the content lies: sizes are refused before they are allocated. */
static void test_lying_graph(void **state)
{
    fixture *f = *state;
    engine_front front;
    memcpy(&front, f->bytes, sizeof front);
    uint8_t *bytes = aligned_alloc(ENGINE_ALIGN, engine_align(f->count));
    memcpy(bytes, f->bytes, f->count);
    char *text = (char *)bytes + front.section[SECTION_GRAPH].offset, kept = text[front.section[SECTION_GRAPH].bytes];
    text[front.section[SECTION_GRAPH].bytes] = 0;
    char *weight = strstr(text, "\"shape\":[512");
    if (!weight) weight = strstr(text, "\"shape\":[");
    weight = strchr(weight, '[') + 1;
    while (*weight != ',' && *weight != ']') *weight++ = '9';
    text[front.section[SECTION_GRAPH].bytes] = kept;
    engine e;
    assert_int_equal(engine_parse(&e, bytes, f->count, "x", false), E_MODEL);
    free(bytes);
}

/* ------------------------------------------------------------------------------------------------ C API */

static void test_api(void **state)
{
    fixture *f = *state;
    enum { WIDTH = 40, HEIGHT = 30 };
    graft_engine *e;
    graft_info info;
    float p[3 * NET_CLASSES], again[NET_CLASSES], score[NET_CLASSES];
    uint8_t pixels[WIDTH * HEIGHT * 3], padded[(WIDTH * 3 + 5) * HEIGHT], grey[WIDTH * HEIGHT];
    rng r = rng_make(1, RNG_TEST, 77);
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)rng_u32(&r);
    for (int y = 0; y < HEIGHT; y++) memcpy(padded + y * (WIDTH * 3 + 5), pixels + y * WIDTH * 3, WIDTH * 3);
    memset(grey, 128, sizeof grey);
    assert_int_equal(graft_open(&e, "/nonexistent.engine", NULL), GRAFT_E_IO);
    assert_null(e);
    assert_non_null(strstr(graft_error(), "/nonexistent.engine"));
    assert_int_equal(graft_open(&e, f->path[1], &(graft_options){.threads = -1}), GRAFT_E_USAGE);
    assert_int_equal(graft_open(&e, f->path[1], &(graft_options){.reserved = {0, 1}}), GRAFT_E_USAGE);
    assert_int_equal(graft_open(&e, f->path[1], &(graft_options){.threads = 1, .max_batch = 2}), GRAFT_OK);
    assert_int_equal(graft_describe(e, &info), GRAFT_OK);
    assert_int_equal(info.width, NET_SIDE);
    assert_int_equal(info.class_count, NET_CLASSES);
    assert_string_equal(info.class_name[1], "bee");
    assert_string_equal(info.precision, "int8");
    assert_string_equal(info.output, "softmax");
    assert_string_equal(info.task, "classification");
    assert_int_equal(info.object_capacity, NET_CLASSES);
    assert_string_equal(info.source_hash, "fedcba98765432100123456789abcdef");
    graft_image images[] = {
        {pixels, WIDTH, HEIGHT, 3, 0}, {padded, WIDTH, HEIGHT, 3, WIDTH * 3 + 5}, {grey, WIDTH, HEIGHT, 1, 0}};
    assert_int_equal(graft_run_images(e, p, images, 3), GRAFT_OK);
    assert_memory_equal(p, p + NET_CLASSES, sizeof again);
    for (int i = 0; i < 3; i++) {
        float sum = 0;
        for (int c = 0; c < NET_CLASSES; c++) sum += p[i * NET_CLASSES + c];
        assert_true(fabsf(sum - 1) < 1e-5f);
    }
    assert_int_equal(graft_run_images(e, again, images, 1), GRAFT_OK);
    assert_memory_equal(p, again, sizeof again);
    assert_int_equal(graft_run_tensor(e, score, f->images.pixels, 1), GRAFT_OK);
    graft_object object[NET_CLASSES];
    int32_t count;
    assert_int_equal(graft_find(e, object, NET_CLASSES, &count, &images[0]), GRAFT_OK);
    assert_int_equal(count, NET_CLASSES);
    for (int k = 0; k < NET_CLASSES; k++) {
        assert_true(object[k].score == p[object[k].class_index] && (k == 0 || object[k].score <= object[k - 1].score));
        assert_true(
            object[k].box[0] == 0 && object[k].box[2] == WIDTH && object[k].box[3] == HEIGHT && !object[k].mask);
    }
    assert_int_equal(graft_find(e, object, 2, &count, &images[1]), GRAFT_OK);
    assert_int_equal(count, 2);
    assert_int_equal(graft_find(e, object, 0, &count, &images[1]), GRAFT_E_USAGE);
    images[0].channels = 2;
    assert_int_equal(graft_run_images(e, p, images, 1), GRAFT_E_USAGE);
    images[0] = (graft_image){pixels, WIDTH, HEIGHT, 3, 7};
    assert_int_equal(graft_run_images(e, p, images, 1), GRAFT_E_USAGE);
    images[0] = (graft_image){NULL, WIDTH, HEIGHT, 3, 0};
    assert_int_equal(graft_run_images(e, p, images, 1), GRAFT_E_USAGE);
    assert_int_equal(graft_run_images(NULL, p, images, 1), GRAFT_E_USAGE);
    graft_close(e);
    graft_close(NULL);
}

/* Several threads on one handle, and one handle each: the same probabilities as alone. */
typedef struct caller {
    graft_engine *engine;
    const char *path;
    uint8_t *pixels;
    float result[NET_CLASSES];
    int code;
} caller;

static void *call(void *context)
{
    caller *c = context;
    graft_engine *own = NULL;
    graft_image im = {c->pixels, 20, 20, 3, 0};
    if (!c->engine && (c->code = graft_open(&own, c->path, &(graft_options){.threads = 1}))) return NULL;
    for (int i = 0; i < 5 && !c->code; i++) c->code = graft_run_images(c->engine ? c->engine : own, c->result, &im, 1);
    graft_close(own);
    return NULL;
}

static void test_api_threads(void **state)
{
    fixture *f = *state;
    enum { THREADS = 4 };
    uint8_t pixels[20 * 20 * 3];
    for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(i * 7);
    graft_engine *shared;
    assert_int_equal(graft_open(&shared, f->path[1], &(graft_options){.threads = 1}), GRAFT_OK);
    caller alone = {.engine = shared, .pixels = pixels}, callers[2 * THREADS];
    call(&alone);
    pthread_t thread[2 * THREADS];
    for (int i = 0; i < 2 * THREADS; i++) {
        callers[i] = (caller){.engine = i < THREADS ? shared : NULL, .path = f->path[1], .pixels = pixels};
        assert_int_equal(pthread_create(&thread[i], NULL, call, &callers[i]), 0);
    }
    for (int i = 0; i < 2 * THREADS; i++) {
        pthread_join(thread[i], NULL);
        assert_int_equal(callers[i].code, 0);
        assert_memory_equal(callers[i].result, alone.result, sizeof alone.result);
    }
    graft_close(shared);
}

/* The host program's own OpenMP setting survives. */
static void test_api_leaves_openmp_alone(void **state)
{
#ifdef _OPENMP
    fixture *f = *state;
    graft_engine *e;
    float score[NET_CLASSES];
    omp_set_num_threads(3);
    assert_int_equal(graft_open(&e, f->path[0], &(graft_options){.threads = 2}), GRAFT_OK);
    assert_int_equal(omp_get_max_threads(), 3);
    assert_int_equal(graft_run_tensor(e, score, f->images.pixels, 1), GRAFT_OK);
    assert_int_equal(omp_get_max_threads(), 3);
    graft_close(e);
#else
    (void)state;
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_same_scores), cmocka_unit_test(test_cut_batch),
        cmocka_unit_test(test_choose_slices),
        cmocka_unit_test(test_half),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_every_flipped_byte),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_lying_graph),
        cmocka_unit_test(test_api),
        cmocka_unit_test(test_api_threads),
        cmocka_unit_test(test_api_leaves_openmp_alone),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
