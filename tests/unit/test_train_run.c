/* Whole runs: learning, refused updates, freezing, transfer, averages, limits. */
#include "tests/unit/unit_test.h"

#include <math.h>

#include "core/ops/op.h"
#include "core/graph/init.h"
#include "train_fixture.h"

static void train(fixture_run *r)
{
    if (fixture_train(r) != OK) fail_msg("%s", status_message());
}

/* The same, returning what was said; free() it. */
static char *train_and_listen(fixture_run *r, status *result)
{
    char *said = NULL;
    size_t bytes;
    r->said = open_memstream(&said, &bytes);
    assert_non_null(r->said);
    *result = fixture_train(r);
    fclose(r->said);
    return said;
}

static void expect(const char *text, const char *part)
{
    if (!strstr(text, part)) fail_msg("\"%s\" is not in:\n%s", part, text);
}

static char *last_of(const char *folder)
{
    static char path[4][512];
    static int next;
    char *out = path[next++ % 4];
    snprintf(out, sizeof path[0], "%s/last.safetensors", fixture_path(folder));
    return out;
}

static double last_value(const char *folder, int column)
{
    char path[512], line[1024], kept[1024] = "";
    snprintf(path, sizeof path, "%s/log.csv", fixture_path(folder));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) strcpy(kept, line);
    fclose(f);
    char *rest = kept, *word = NULL;
    for (int i = 0; i <= column; i++) word = strsep(&rest, ",");
    return word[0] ? atof(word) : NAN;
}

/* Eight noise images of two classes in one batch: a network that trains at all learns them by heart. */
static void one_batch_is_learnt_by_heart(void **state)
{
    (void)state;
    fixture_run r = {.folder = "overfit",
        .overrides = "train.batch_size=24 train.epochs=120 augment.enable=false model.width=0.125 "
                     "train.regularizer=none schedule.learning_rate=0.1 train.eval_period=60"};
    train(&r);
    if (!(r.summary.term[0] < 0.01 && r.summary.term[1] == 1))
        fail_msg("loss %g, accuracy %g", r.summary.term[0], r.summary.term[1]);
    assert_true(fabs(last_value("overfit", 3) - r.summary.term[0]) < 1e-12); /* and so says the log */
    assert_true(file_exists(r.summary.report_path));
}

/* ------------------------------------------------------------------------------------------------ NaN */

static void set_weight(const char *from, const char *to, const char *name, int64_t i, float value)
{
    model m;
    assert_int_equal(model_load(&m, from), OK);
    edge_id e = graph_find_edge(&m.graph, name);
    assert_true(e != EDGE_NONE);
    ((float *)m.graph.edges[e].data)[i] = value;
    assert_int_equal(model_save(&m, to), OK);
    model_free(&m);
}

static bool all_finite(const char *path)
{
    model m;
    bool good = true;
    assert_int_equal(model_load(&m, path), OK);
    for (edge_id e = 0; e < m.graph.edge_count; e++) {
        const edge *x = &m.graph.edges[e];
        if (x->kind != EDGE_PARAM && x->kind != EDGE_STATE) continue;
        for (int64_t i = 0; x->type == DTYPE_F32 && i < shape_count(x->shape); i++)
            good = good && isfinite(((float *)x->data)[i]);
    }
    model_free(&m);
    return good;
}

static void grey_image(const char *folder, const char *name, uint8_t level)
{
    image im;
    char path[600];
    assert_int_equal(dir_make(folder), OK);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(image_alloc(&im, 16, 16, 3), OK);
    memset(im.pixels, level, 16 * 16 * 3);
    assert_int_equal(image_write_png(path, &im), OK);
    image_free(&im);
}

/* Black images, and one white one that overflows in the first layer, whose weight is the largest float. */
static void make_dark_data(void)
{
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "%d.png", i);
        grey_image(fixture_path("dark/train/a"), name, 0);
        grey_image(fixture_path("dark/train/b"), i == 2 ? "white.png" : name, i == 2 ? 255 : 0);
    }
    grey_image(fixture_path("dark/val/a"), "0.png", 0);
    grey_image(fixture_path("dark/val/b"), "0.png", 0);
}

static void dark_words(char *words, size_t capacity, const char *more)
{
    snprintf(words, capacity,
        "data.root=%s/dark transfer.enable=false model.pretrained=%s/poisoned.safetensors data.preprocess=custom "
        "data.mean=0,0,0 data.std=1,1,1 augment.enable=false train.regularizer=none %s",
        fixture_root, fixture_root, more);
}

static void make_poisoned_model(void)
{
    fixture_run start = {.folder = "healthy", .overrides = "train.epochs=1"};
    if (file_exists(fixture_path("poisoned.safetensors"))) return;
    make_dark_data();
    train(&start);
    set_weight(last_of("healthy"), fixture_path("poisoned.safetensors"), "conv1.weight", 0, 3e38f);
}

static void a_bad_update_changes_nothing_and_is_named(void **state)
{
    (void)state;
    char words[1024];
    status result;
    make_poisoned_model();
    dark_words(words, sizeof words, "train.batch_size=4 train.epochs=3");
    fixture_run r = {.folder = "bad", .overrides = words};
    char *said = train_and_listen(&r, &result);
    assert_int_equal(result, OK);
    assert_int_equal(r.summary.bad_steps, 3); /* the white image comes once an epoch */
    expect(said, "the output of \"conv1\" (conv2d)");
    expect(said, "/b/white.png");
    if (strstr(said, "/a/0.png")) fail_msg("a good image is blamed:\n%s", said);
    free(said);
    assert_true(all_finite(last_of("bad")));
    assert_true(isfinite(r.summary.term[0]));
}

static bool same_tensor(const safetensors *a, const safetensors *b, const char *name)
{
    const safetensor *x = safetensors_find(a, name), *y = safetensors_find(b, name);
    if (!x || !y || x->bytes != y->bytes) fail_msg("%s is missing", name);
    return memcmp(x->data, y->data, x->bytes) == 0;
}

static void many_bad_updates_end_the_run(void **state)
{
    (void)state;
    char words[1024];
    status result;
    make_poisoned_model();
    dark_words(words, sizeof words, "train.batch_size=8 train.epochs=9 train.max_bad_steps=4");
    fixture_run r = {.folder = "diverged", .overrides = words};
    char *said = train_and_listen(&r, &result);
    assert_int_equal(result, E_DIVERGED);
    assert_int_equal(r.summary.bad_steps, 4);
    expect(status_message(), "4 updates in a row had NaN or Inf");
    /* What was saved at the ends of epochs is as good as the start. */
    static const char *const kept[] = {
        "conv1.weight", "bn1.running_mean", "layer3.0.conv1.weight", "layer4.0.bn2.running_var"};
    safetensors before, after;
    assert_true(all_finite(last_of("diverged")));
    assert_int_equal(safetensors_open(&before, fixture_path("poisoned.safetensors")), OK);
    assert_int_equal(safetensors_open(&after, last_of("diverged")), OK);
    for (int i = 0; i < 4; i++) assert_true(same_tensor(&before, &after, kept[i]));
    safetensors_close(&before);
    safetensors_close(&after);
    free(said);
}

/* ----------------------------------------------------------------------------------------------- freezing, transfer */

static void frozen_blocks_stay(void **state)
{
    (void)state;
    char words[600];
    fixture_run start = {.folder = "start", .overrides = "train.epochs=1"};
    train(&start);
    snprintf(words, sizeof words,
        "train.epochs=1 transfer.enable=false model.pretrained=%s model.freeze_blocks=0,1 "
        "model.freeze_layers=layer2.0.bn* optimizer.weight_decay=0.01",
        last_of("start"));
    fixture_run r = {.folder = "frozen", .overrides = words};
    train(&r);
    safetensors before, after;
    assert_int_equal(safetensors_open(&before, last_of("start")), OK);
    assert_int_equal(safetensors_open(&after, last_of("frozen")), OK);
    static const char *const kept[] = {"conv1.weight", "bn1.weight", "bn1.running_mean", "layer1.0.conv2.weight",
        "layer1.0.bn2.running_var", "layer2.0.bn1.weight", "layer2.0.bn2.bias", "layer2.0.bn1.running_mean"};
    static const char *const moved[] = {
        "layer2.0.conv1.weight", "layer2.0.downsample.1.running_mean", "layer3.0.bn1.weight", "fc.weight", "fc.bias"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        if (!same_tensor(&before, &after, kept[i])) fail_msg("%s has changed", kept[i]);
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++)
        if (same_tensor(&before, &after, moved[i])) fail_msg("%s has not changed", moved[i]);
    safetensors_close(&before);
    safetensors_close(&after);
    fixture_run none = {.folder = "none", .overrides = "model.freeze_layers=layer9*"};
    assert_int_equal(fixture_train(&none), E_USAGE);
    expect(status_message(), "no layer matches \"layer9*\"");
    fixture_run block = {.folder = "none", .overrides = "model.freeze_blocks=7", .overwrite = true};
    assert_int_equal(fixture_train(&block), E_USAGE);
    expect(status_message(), "this network has 0 to 4");
}

/* A second quantisation-aware run goes on from the ranges of the first, at the momentum that it asks for. */
static void ranges_go_on_or_stay(void **state)
{
    (void)state;
    char words[600];
    fixture_run start = {.folder = "qat", .overrides = "train.epochs=1 qat.enable=true"};
    train(&start);
    for (int moving = 0; moving < 2; moving++) {
        snprintf(words, sizeof words,
            "train.epochs=1 qat.enable=true qat.range_momentum=%s model.load_graph=true model.pretrained=%s",
            moving ? "0.5" : "0", last_of("qat"));
        fixture_run r = {.folder = moving ? "moving" : "staying", .overrides = words};
        train(&r);
        safetensors before, after;
        assert_int_equal(safetensors_open(&before, last_of("qat")), OK);
        assert_int_equal(safetensors_open(&after, last_of(r.folder)), OK);
        static const char *const ranges[] = {"conv1.range", "layer1.0.conv1.range", "layer4.0.conv1.range"};
        for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
            if (same_tensor(&before, &after, ranges[i]) == moving) fail_msg("%s, moving %d", ranges[i], moving);
        assert_false(same_tensor(&before, &after, "conv1.weight"));
        safetensors_close(&before);
        safetensors_close(&after);
    }
}

static void transfer_says_what_it_took(void **state)
{
    (void)state;
    char words[600];
    status result;
    fixture_run start = {.folder = "source", .overrides = "train.epochs=1"};
    train(&start);
    make_dark_data();
    /* Another number of classes: all but the head. */
    snprintf(words, sizeof words, "train.epochs=1 data.root=%s model.pretrained=%s", fixture_path("dark"),
        last_of("source"));
    fixture_run r = {.folder = "target", .overrides = words};
    char *said = train_and_listen(&r, &result);
    assert_int_equal(result, OK);
    expect(said, "0 missing, 0 unexpected, 2 of another shape");
    expect(said, "fc.weight");
    free(said);
    /* The same with the whole graph: a fresh head. */
    snprintf(words, sizeof words, "train.epochs=1 data.root=%s model.pretrained=%s model.load_graph=true",
        fixture_path("dark"), last_of("source"));
    fixture_run g = {.folder = "graph", .overrides = words};
    said = train_and_listen(&g, &result);
    assert_int_equal(result, OK);
    expect(said, "the last layer starts afresh");
    free(said);
    /* A narrower network where the spec says a wider one: taken for a pruned model, its graph counts. */
    snprintf(words, sizeof words, "train.epochs=1 model.width=0.125 model.pretrained=%s", last_of("source"));
    fixture_run p = {.folder = "pruned", .overrides = words};
    said = train_and_listen(&p, &result);
    assert_int_equal(result, OK);
    expect(said, "taken for a pruned model");
    assert_int_equal(p.summary.parameters, start.summary.parameters);
    free(said);
    /* Nothing fits. */
    snprintf(words, sizeof words, "model.pretrained=%s/x.safetensors", fixture_root);
    fixture_run missing = {.folder = "missing", .overrides = words};
    result = fixture_train(&missing);
    assert_true(result == E_IO || result == E_MODEL);
    expect(status_message(), "x.safetensors");
}

/* ------------------------------------------------------------------------------------------------ averages */

/* Two updates by hand: e1 = d w0 + (1-d) w1, e2 = d e1 + (1-d) w2, where w1 and w2 come from runs without averages. */
static void averages_are_what_is_saved(void **state)
{
    (void)state;
    const char *words = "train.epochs=2 train.batch_size=24 augment.enable=false";
    fixture_run w1 = {.folder = "w1", .overrides = words, .stop_at = 1}, w2 = {.folder = "w2", .overrides = words};
    fixture_run averaged = {
        .folder = "ema", .overrides = "train.epochs=2 train.batch_size=24 augment.enable=false train.ema_decay=0.75"};
    train(&w1);
    train(&w2);
    train(&averaged);
    assert_int_equal(averaged.summary.step, 2);
    config c;
    model m1, m2, me;
    graph start;
    assert_int_equal(fixture_config(&c, "x", words), OK);
    assert_int_equal(models_build(&start, &c.spec, 3), OK);
    init_params(&start, 42);
    assert_int_equal(model_load(&m1, last_of("w1")), OK);
    assert_int_equal(model_load(&m2, last_of("w2")), OK);
    assert_int_equal(model_load(&me, last_of("ema")), OK);
    int checked = 0;
    for (edge_id e = 0; e < start.edge_count; e++) {
        const edge *x = &start.edges[e];
        if ((x->kind != EDGE_PARAM && x->kind != EDGE_STATE) || x->type != DTYPE_F32) continue;
        const float *a = x->data, *b = m1.graph.edges[graph_find_edge(&m1.graph, x->name)].data;
        const float *d = m2.graph.edges[graph_find_edge(&m2.graph, x->name)].data;
        const float *got = me.graph.edges[graph_find_edge(&me.graph, x->name)].data;
        for (int64_t i = 0; i < shape_count(x->shape); i++, checked++) {
            double expected = 0.75 * (0.75 * (double)a[i] + 0.25 * (double)b[i]) + 0.25 * (double)d[i];
            if (fabs((double)got[i] - expected) > 1e-6 * (1 + fabs(expected)))
                fail_msg("%s[%lld] = %g, expected %g", x->name, (long long)i, (double)got[i], expected);
        }
    }
    assert_true(checked > 1000);
    graph_free(&start);
    model_free(&m1);
    model_free(&m2);
    model_free(&me);
    config_free(&c);
}

/* ------------------------------------------------------------------------------------------------ limits */

static void memory_is_refused_before_the_start(void **state)
{
    (void)state;
    fixture_run r = {.folder = "memory", .overrides = "train.batch_size=4096 train.memory_limit=0.02"};
    assert_int_equal(fixture_train(&r), E_MEMORY);
    const char *at = strstr(status_message(), "the largest that fits is train.batch_size = ");
    assert_non_null(at);
    long long fits = atoll(at + strlen("the largest that fits is train.batch_size = "));
    assert_true(fits >= 1 && fits < 4096);
    char words[128];
    snprintf(words, sizeof words, "train.batch_size=%lld train.memory_limit=0.02 train.epochs=1", fits + 1);
    fixture_run more = {.folder = "memory", .overrides = words};
    assert_int_equal(fixture_train(&more), E_MEMORY);
    snprintf(words, sizeof words, "train.batch_size=%lld train.memory_limit=0.02 train.epochs=1", fits);
    fixture_run just = {.folder = "memory", .overrides = words};
    train(&just);
    assert_true(just.summary.peak_bytes <= 0.02 * 1073741824.0);
    fixture_run automatic = {.folder = "auto", .overrides = "train.batch_size=0 train.epochs=1"};
    train(&automatic);
    assert_int_equal(automatic.summary.batch_size, 24); /* all there is */
}

static void stopping_early(void **state)
{
    (void)state;
    fixture_run r = {.folder = "early",
        .overrides = "train.epochs=50 train.early_stopping=true train.patience=3 train.min_delta=1000"};
    train(&r);
    assert_true(r.summary.stopped_early && r.summary.finished);
    assert_int_equal(r.summary.step, 4 * 6); /* the first evaluation is the best for ever, then three more */
    fixture_run again = {.folder = "early", .resume = true,
        .overrides = "train.epochs=50 train.early_stopping=true train.patience=3 train.min_delta=1000"};
    train(&again);
    assert_int_equal(again.summary.step, 24);
}

static void accumulating_is_a_larger_batch(void **state)
{
    (void)state;
    const char *common =
        "augment.enable=false train.epochs=1 model.use_batch_norm=false schedule.learning_rate=0.01 schedule.warmup=0";
    char a[512], b[512];
    snprintf(a, sizeof a, "%s train.batch_size=24", common);
    snprintf(b, sizeof b, "%s train.batch_size=6 train.accumulate=4", common);
    fixture_run one = {.folder = "one", .overrides = a}, four = {.folder = "four", .overrides = b};
    train(&one);
    train(&four);
    assert_int_equal(one.summary.step, 1);
    assert_int_equal(four.summary.step, 1);
    model x, y;
    assert_int_equal(model_load(&x, last_of("one")), OK);
    assert_int_equal(model_load(&y, last_of("four")), OK);
    const float *p = x.graph.edges[graph_find_edge(&x.graph, "fc.weight")].data,
                *q = y.graph.edges[graph_find_edge(&y.graph, "fc.weight")].data;
    for (int64_t i = 0; i < 3 * 32; i++) assert_true(fabs((double)p[i] - (double)q[i]) < 1e-6);
    model_free(&x);
    model_free(&y);
}

static void what_cannot_be_had_is_refused(void **state)
{
    (void)state;
    static const struct { const char *words, *part; } all[] = {
        {"train.precision=f16", "CPU backend trains in f32 only"},
        {"train.class_loss_weights=1,2", "the data set has 3 classes"},
        {"schedule.type=soft_start", "min_learning_rate"},
        {"train.loss=sigmoid train.class_loss_weights=1,2,3,4", "the data set has 3 classes"},
        {"schedule.type=soft_anneal schedule.soft_start=0.5", "schedule.milestones"},
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        fixture_run r = {.folder = "refused", .overrides = all[i].words};
        if (fixture_train(&r) != E_USAGE) fail_msg("%s was accepted", all[i].words);
        expect(status_message(), all[i].part);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_batch_is_learnt_by_heart),
        cmocka_unit_test(a_bad_update_changes_nothing_and_is_named),
        cmocka_unit_test(many_bad_updates_end_the_run),
        cmocka_unit_test(frozen_blocks_stay),
        cmocka_unit_test(ranges_go_on_or_stay),
        cmocka_unit_test(transfer_says_what_it_took),
        cmocka_unit_test(averages_are_what_is_saved),
        cmocka_unit_test(memory_is_refused_before_the_start),
        cmocka_unit_test(stopping_early),
        cmocka_unit_test(accumulating_is_a_larger_batch),
        cmocka_unit_test(what_cannot_be_had_is_refused),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
