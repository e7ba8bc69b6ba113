/* Starting from pretrained weights: the minimiser, the fit of the last layer, what it means for the network, rates and
 * the recipe. */
#include "tests/unit/unit_test.h"

#include <math.h>

#include "core/config/recipe.h"
#include "core/task/classify/fit.h"
#include "core/task/classify/head.h"
#include "core/graph/init.h"
#include "core/task/classify/probe.h"
#include "core/train/rates.h"
#include "core/train/train_graph.h"
#include "train_fixture.h"

static void good(status s)
{
    if (s != OK) fail_msg("%s", status_message());
}

/* ------------------------------------------------------------------------------------------------ the minimiser */

/* Rosenbrock's valley, minimum 0 at (1, 1). */
static status rosenbrock(void *context, const double *x, double *value, double *gradient)
{
    (void)context;
    double a = 1 - x[0], b = x[1] - x[0] * x[0];
    *value = a * a + 100 * b * b;
    gradient[0] = -2 * a - 400 * x[0] * b;
    gradient[1] = 200 * b;
    return OK;
}

/* sum of k^2 (x_k - 1/k)^2 for k = 1 ..: conditioned like n^2, minimum 0 at x_k = 1/k. */
static status bowl(void *context, const double *x, double *value, double *gradient)
{
    const int *n = context;
    *value = 0;
    for (int k = 1; k <= *n; k++) {
        double off = x[k - 1] - 1.0 / k;
        *value += (double)k * k * off * off;
        gradient[k - 1] = 2.0 * k * k * off;
    }
    return OK;
}

static void minima_are_found(void **state)
{
    (void)state;
    lbfgs_result r;
    double valley[2] = {-1.2, 1}, x[30] = {0};
    good(lbfgs_minimise(valley, &(lbfgs_options){.n = 2, .history = 6, .max_iterations = 200, .tolerance = 1e-9},
        rosenbrock, NULL, &r));
    assert_true(r.converged && fabs(valley[0] - 1) < 1e-7 && fabs(valley[1] - 1) < 1e-7);
    int n = 30;
    good(lbfgs_minimise(
        x, &(lbfgs_options){.n = n, .history = 8, .max_iterations = 300, .tolerance = 1e-9}, bowl, &n, &r));
    assert_true(r.converged && r.evaluations >= r.iterations);
    for (int k = 1; k <= n; k++) assert_true(fabs(x[k - 1] - 1.0 / k) < 1e-8);
}

static void a_run_out_of_iterations_says_so(void **state)
{
    (void)state;
    lbfgs_result r;
    double x[2] = {-1.2, 1}, start, gradient[2];
    good(rosenbrock(NULL, x, &start, gradient));
    good(lbfgs_minimise(
        x, &(lbfgs_options){.n = 2, .history = 6, .max_iterations = 3, .tolerance = 1e-9}, rosenbrock, NULL, &r));
    assert_true(!r.converged && r.iterations == 3 && r.value < start);
}

/* ------------------------------------------------------------------------------------------------ the optimum */

enum { ROWS = 48, WIDTH = 7, CLASSES = 3 };

/* From tests/golden/probe.py: PyTorch in float64. The bias is less its mean, which the loss does not see. */
typedef struct optimum {
    spec_probe_scale scale;
    double value, weight[CLASSES * WIDTH], bias[CLASSES];
} optimum;
static const optimum optima[] = {
    {PROBE_SCALE_COMMON, 1.003343121,
        {-0.086737, 0.214771, 0.071086, 0.000408, -0.086986, 0.024602, 0.018263, -0.202562, -0.042314, -0.054202,
            0.003561, 0.080199, 0.013579, 0.004458, 0.289299, -0.172457, -0.016884, -0.003968, 0.006787, -0.038181,
            -0.022721},
        {-0.511440, -0.511506, 1.022947}},
    {PROBE_SCALE_EACH, 0.966594922,
        {-0.192443, 0.282497, 0.087592, 0.003533, -0.091828, 0.021125, 0.017148, -0.480365, -0.068256, -0.061206,
            0.012735, 0.090493, 0.023734, 0.009257, 0.672808, -0.214241, -0.026386, -0.016268, 0.001335, -0.044859,
            -0.026405},
        {-0.610361, -0.698702, 1.309063}},
};

static void fit_and_compare(const optimum *o, const config *c, device *dev)
{
    float x[ROWS * WIDTH], t[ROWS * CLASSES] = {0}, weight[CLASSES * WIDTH], bias[CLASSES];
    probe_result r;
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < WIDTH; k++)
            x[i * WIDTH + k] = (float)(sin(0.37 * i + 1.3 * k + 0.11 * i * k) * (1 + k) + 2 * k);
        t[i * CLASSES + i * 7 / 5 % CLASSES] = 1;
    }
    const probe_data d = {.features = x, .targets = t, .rows = ROWS, .features_each = WIDTH, .classes = CLASSES};
    good(probe_fit(weight, bias, &d, &c->spec, dev, &r));
    assert_true(r.search.converged);
    assert_true(fabs(r.search.value - o->value) < 1e-6);
    /* A gradient below 1e-5 leaves weights within 1e-5 / (2 * l2) = 5e-4 of the optimum, in units of the scaled
     * features, whose scales lie between 0.7 and 5; the biases take that times the means, up to 12. */
    for (int i = 0; i < CLASSES * WIDTH; i++) assert_true(fabs((double)weight[i] - o->weight[i]) < 7e-4);
    double mean = ((double)bias[0] + (double)bias[1] + (double)bias[2]) / 3;
    for (int i = 0; i < CLASSES; i++) assert_true(fabs((double)bias[i] - mean - o->bias[i]) < 1e-2);
}

static void the_fit_is_pytorchs(void **state)
{
    (void)state;
    config c;
    device *dev;
    good(config_init(&c));
    good(device_open(&dev, SPEC_DEVICE_CPU, 0, 1, NULL));
    c.spec.transfer.probe_l2 = 0.01;
    for (size_t i = 0; i < sizeof optima / sizeof *optima; i++) {
        c.spec.transfer.probe_scale = optima[i].scale;
        fit_and_compare(&optima[i], &c, dev);
    }
    device_close(dev);
    config_free(&c);
}

/* ------------------------------------------------------------------------------------------------ in a network */

typedef struct fitted {
    config c;
    logger log;
    dataset train, val;
    device *dev;
    model m;
    bool done;
} fitted;

/* A network of random weights; its last layer fitted to the fixture's 24 images. */
static void fit_network(fitted *f, const char *words)
{
    *f = (fitted){0};
    log_init(&f->log, NULL, LOG_INFO, 0);
    good(fixture_config(&f->c, "fit", words));
    const spec *s = &f->c.spec;
    good(dataset_open_parts(&s->data, (uint64_t)s->train.seed, &f->log, &f->train, &f->val, NULL));
    good(models_build(&f->m.graph, s, f->train.class_count));
    init_params(&f->m.graph, (uint64_t)s->train.seed);
    good(preprocess_from_spec(&f->m.preprocess, &s->model, &s->data));
    good(model_set_classes(&f->m, f->train.class_name, f->train.class_count));
    good(device_open(&f->dev, SPEC_DEVICE_CPU, 0, 1, &f->log));
    const head_images in = {.data = &f->train, .batch_size = 5, .log = &f->log};
    const task_setting t = {.task = &task_classification,
        .spec = s,
        .class_count = f->train.class_count,
        .preprocess = &f->m.preprocess,
        .data = &f->train};
    good(classify_fit_head(&f->m, &t, &in, f->dev, &f->done));
}

static void free_network(fitted *f)
{
    model_free(&f->m);
    device_close(f->dev);
    dataset_close(&f->train);
    dataset_close(&f->val);
    log_free(&f->log);
    config_free(&f->c);
}

/* Output of a graph for the training images, in the order of the data set: [24, width]. */
static float *outputs(const fitted *f, const graph *g, int64_t *width)
{
    plan *p;
    loader *l;
    good(plan_create(&p, g, f->dev, &(plan_options){0}));
    good(loader_create(&l, &(loader_options){.data = &f->train,
                               .preprocess = f->m.preprocess,
                               .data_options = &f->c.spec.data,
                               .batch_size = 24,
                               .threads = 1,
                               .prefetch = 1,
                               .world = 1,
                               .log = NULL}));
    const batch *b;
    good(loader_next(l, &b));
    size_t count = (size_t)shape_count(g->edges[g->outputs[0]].shape);
    float *out = malloc(count * sizeof *out);
    assert_non_null(out);
    edge_id input = graph_find_edge(g, "image");
    good(plan_set_input(p, input, b->images, (size_t)shape_count(g->edges[input].shape) * sizeof(float)));
    good(plan_run(p));
    good(plan_get(p, g->outputs[0], out, count * sizeof *out));
    *width = (int64_t)count / 24;
    loader_destroy(l);
    plan_destroy(p);
    return out;
}

/* The network's scores are W f + b for the features f that the fit saw, whatever stands behind the last layer. */
static void check_equivalence(const fitted *f, double tolerance)
{
    trainable whole;
    graph front;
    head_info h;
    int64_t classes, width;
    head_find(&h, &f->m.graph, 0);
    good(eval_graph_build(&whole, &f->m.graph, 24, PRECISION_F32));
    good(feature_graph_build(&front, &f->m.graph, 24, false));
    float *scores = outputs(f, &whole.graph, &classes), *features = outputs(f, &front, &width);
    const float *weight = f->m.graph.edges[h.weight].data, *bias = f->m.graph.edges[h.bias].data;
    assert_int_equal(classes, 3);
    assert_int_equal(width, h.feature_count);
    int64_t hits = 0;
    for (int64_t i = 0; i < 24; i++) {
        int64_t best = 0;
        for (int64_t c = 0; c < 3; c++) {
            double score = bias[c], size = fabs((double)bias[c]);
            for (int64_t k = 0; k < width; k++) {
                score += (double)weight[c * width + k] * (double)features[i * width + k];
                size += fabs((double)weight[c * width + k] * (double)features[i * width + k]);
            }
            assert_true(fabs((double)scores[i * 3 + c] - score) <= tolerance * size);
            if (scores[i * 3 + c] > scores[i * 3 + best]) best = c;
        }
        hits += best == f->train.samples[i].class_index;
    }
    assert_true(hits >= 23); /* noise whose mean depends on its class: separable but for chance */
    free(scores);
    free(features);
    trainable_free(&whole);
    graph_free(&front);
}

/* f32 sums of up to 512 * 9 terms in another order: 1e-5 of the terms' size is a hundred roundings. */
static void a_linear_layer_is_fitted(void **state)
{
    (void)state;
    fitted f;
    fit_network(&f, "transfer.probe_l2=0.0001");
    assert_true(f.done);
    check_equivalence(&f, 1e-5);
    free_network(&f);
}

static const char squeezenet[] =
    "model.arch=squeezenet1_1 model.stem=imagenet model.width=0.25 model.input_width=64 model.input_height=64 "
    "transfer.probe_l2=0.0001";

static void squeezenets_convolution_is_fitted(void **state)
{
    (void)state;
    fitted f;
    graph before;
    head_info h;
    int64_t width;
    fit_network(&f, squeezenet);
    assert_true(f.done);
    head_find(&h, &f.m.graph, 0);
    assert_true(h.pooled && h.relu && h.linear);
    assert_int_equal(f.m.graph.edges[h.weight].shape.rank, 4);
    check_equivalence(&f, 1e-5);
    /* Nothing lies below the ReLU, at any place of any map. */
    good(feature_graph_build(&before, &f.m.graph, 24, true));
    float *map = outputs(&f, &before, &width), least = INFINITY;
    assert_true(width > 3);
    for (int64_t i = 0; i < 24 * width; i++) least = fminf(least, map[i]);
    assert_true(least > 0);
    free(map);
    graph_free(&before);
    free_network(&f);
}

/* Greatest sum over the images of (probability - target), which is 0 for every class where the biases are optimal;
 * added to `sum` [3]. */
static double add_residuals(double sum[3], fitted *f, float crop_fraction)
{
    trainable whole;
    int64_t classes;
    f->m.preprocess.crop_fraction = crop_fraction;
    good(eval_graph_build(&whole, &f->m.graph, 24, PRECISION_F32));
    float *scores = outputs(f, &whole.graph, &classes);
    for (int64_t i = 0; i < 24; i++) {
        double total = 0;
        for (int64_t c = 0; c < 3; c++) total += exp((double)scores[i * 3 + c]);
        for (int64_t c = 0; c < 3; c++)
            sum[c] += exp((double)scores[i * 3 + c]) / total - (c == f->train.samples[i].class_index);
    }
    free(scores);
    trainable_free(&whole);
    return fmax(fabs(sum[0]), fmax(fabs(sum[1]), fabs(sum[2])));
}

/* Over the views of both crops the fit is optimal to its tolerance (1e-5 of the mean), over those of one crop it is
 * not. */
static void closer_crops_are_learnt_too(void **state)
{
    (void)state;
    fitted f;
    double sum[3] = {0};
    fit_network(&f, "data.resize=crop data.crop_fraction=0.8 transfer.probe_crops=0.8,0.4 transfer.probe_stretch=false "
        "transfer.probe_mirror=false transfer.probe_l2=0.03");
    assert_true(f.done);
    assert_true(add_residuals(sum, &f, 0.8f) > 1e-2);
    double both = add_residuals(sum, &f, 0.4f);
    if (both > 48 * 2e-5) fail_msg("%g", both);
    free_network(&f);
}

static void what_cannot_be_fitted_stays(void **state)
{
    (void)state;
    fitted f;
    char words[512];
    snprintf(words, sizeof words, "%s train.loss=sigmoid", squeezenet);
    fit_network(&f, words);
    assert_false(f.done);
    free_network(&f);
}

static void check_rates(bool fitted_head)
{
    fitted f;
    trainable g;
    param_store *store;
    float rate[256];
    char words[600];
    snprintf(words, sizeof words,
        "model.pretrained=x transfer.front_rate=0.0625 transfer.frozen_part=0.2 transfer.head_rate=0.125");
    fit_network(&f, words);
    const task_setting t = {.task = &task_classification, .spec = &f.c.spec, .class_count = f.m.class_count};
    good(train_graph_build(&g, &f.m.graph, &t, 4, 1));
    good(param_store_create(&store, &g.graph, f.dev, true));
    transfer_rates(rate, store, &f.m.graph, &t, fitted_head);
    int seen = 0;
    for (int32_t i = 0; i < param_store_segments(store); i++) {
        const param_info *p = param_store_info(store, i);
        /* Five blocks, the stem frozen: four trained ones, a factor of 2 each. The recipe freezes batch normalisation.
         */
        const struct {
            const char *name;
            double rate;
            bool frozen;
        } known[] = {{"conv1.weight", 0, true}, {"layer1.0.conv1.weight", 0.0625, false},
            {"layer2.0.bn1.weight", 0, true}, {"layer3.0.conv2.weight", 0.25, false},
            {"layer4.0.conv1.weight", 0.5, false}, {"fc.weight", fitted_head ? 0.125 : 1, false},
            {"fc.bias", fitted_head ? 0.125 : 1, false}};
        for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
            if (strcmp(p->name, known[k].name) != 0) continue;
            seen++;
            assert_int_equal(p->frozen, known[k].frozen);
            if (!known[k].frozen && fabs((double)rate[i] - known[k].rate) > 1e-6)
                fail_msg("%s: %g", p->name, (double)rate[i]);
        }
    }
    assert_int_equal(seen, 7);
    param_store_destroy(store);
    trainable_free(&g);
    free_network(&f);
}

static void rates_fall_towards_the_image(void **state)
{
    (void)state;
    check_rates(true);
    check_rates(false);
}

/* ------------------------------------------------------------------------------------------------ the recipe */

static const char *origin(const config *c, const char *section, const char *key)
{
    return c->origin[option_find(section, key) - option_table];
}

static void the_recipe_fills_what_nobody_set(void **state)
{
    (void)state;
    config c;
    good(config_init(&c));
    good(fixture_override_all(&c, "model.pretrained=x.safetensors train.epochs=3"));
    good(config_finish(&c));
    assert_true(transfer_is_on(&c.spec) && c.spec.model.freeze_bn && c.spec.transfer.front_rate < 1);
    assert_int_equal(c.spec.train.epochs, 3);
    assert_string_equal(origin(&c, "train", "epochs"), "command line");
    assert_string_equal(origin(&c, "model", "freeze_bn"), "transfer recipe");
    assert_false(c.spec.transfer.recipe); /* done: the resolved spec means what it says */
    config_free(&c);
    /* A file that repeats a default says nothing; the command line does. */
    static const char text[] = "[model]\npretrained = x\n[train]\nepochs = 80\nema_decay = 0.5\n";
    good(config_init(&c));
    good(config_read_text(&c, text, sizeof text - 1, "x.ini"));
    good(fixture_override_all(&c, "model.freeze_bn=false"));
    good(config_finish(&c));
    assert_string_equal(origin(&c, "train", "epochs"), "transfer recipe");
    assert_true(c.spec.train.ema_decay == 0.5 && c.spec.transfer.start_weight == 0 && !c.spec.model.freeze_bn);
    config_free(&c);
    static const char *const without[] = {
        "", "model.pretrained=x transfer.enable=false", "model.pretrained=x model.load_graph=true"};
    static const char literal[] = "model.pretrained=x transfer.recipe=false";
    good(config_init(&c));
    good(fixture_override_all(&c, literal));
    good(config_finish(&c));
    assert_true(transfer_is_on(&c.spec) && c.spec.train.epochs == 80);
    config_free(&c);
    for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
        good(config_init(&c));
        good(fixture_override_all(&c, without[i]));
        good(config_finish(&c));
        assert_true(!transfer_is_on(&c.spec) && !c.spec.model.freeze_bn && c.spec.train.epochs == 80);
        config_free(&c);
    }
}

static void what_the_recipe_would_ignore_is_a_mistake(void **state)
{
    (void)state;
    static const char *const wrong[] = {"train.epochs=0", "transfer.enable=true", "transfer.front_rate=0.5",
        "transfer.frozen_part=0.5", "model.pretrained=x transfer.enable=false transfer.front_rate=0.5",
        "model.pretrained=x train.ema_decay=0.9 transfer.start_weight=0.5"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        config c;
        good(config_init(&c));
        good(fixture_override_all(&c, wrong[i]));
        assert_int_equal(config_finish(&c), E_USAGE);
        assert_non_null(strstr(status_message(), "transfer"));
        config_free(&c);
    }
}

static void a_run_begins_with_the_fit(void **state)
{
    (void)state;
    char words[512], path[512];
    fixture_run source = {.folder = "source", .overrides = "train.epochs=1"};
    good(fixture_train(&source));
    snprintf(words, sizeof words, "train.epochs=1 transfer.enable=true model.pretrained=%s/last.safetensors",
        fixture_path("source"));
    char *said = NULL;
    size_t bytes;
    fixture_run r = {.folder = "begin", .overrides = words, .said = open_memstream(&said, &bytes)};
    good(fixture_train(&r));
    fclose(r.said);
    if (!strstr(said, "transfer: last layer fitted to")) fail_msg("%s", said);
    free(said);
    assert_true(r.summary.best_step >= 0);
    /* The first row of the log is step 0, an evaluation without training. */
    char line[1024];
    snprintf(path, sizeof path, "%s/log.csv", fixture_path("begin"));
    FILE *log = fopen(path, "r");
    assert_non_null(log);
    assert_true(fgets(line, sizeof line, log) && fgets(line, sizeof line, log));
    assert_true(strncmp(line, "0,", 2) == 0);
    fclose(log);
    /* Without an epoch, that is all there is. */
    snprintf(words, sizeof words, "train.epochs=0 transfer.enable=true model.pretrained=%s/last.safetensors",
        fixture_path("source"));
    fixture_run only = {.folder = "only", .overrides = words};
    good(fixture_train(&only));
    assert_true(only.summary.finished && only.summary.step == 0 && only.summary.best_step == 0);
    assert_true(fixture_last("only") != 0 && fixture_last("only") != fixture_last("begin"));
    /* A last layer that came with the weights is left alone. */
    snprintf(words, sizeof words, "train.epochs=1 model.pretrained=%s/last.safetensors", fixture_path("source"));
    fixture_run kept = {.folder = "kept", .overrides = words, .said = open_memstream(&said, &bytes)};
    good(fixture_train(&kept));
    fclose(kept.said);
    if (!strstr(said, "transfer: the last layer is the pretrained one and stays")) fail_msg("%s", said);
    free(said);
}

/* Two updates from a start that counts half: a = d a + (1 - d) w twice, d = sqrt(1/2). */
static void the_start_counts_as_asked(void **state)
{
    (void)state;
    char words[512];
    const char *common =
        "transfer.enable=true train.batch_size=12 train.epochs=1 transfer.frozen_part=0 augment.enable=false "
        "schedule.warmup=0 schedule.type=constant model.pretrained";
    fixture_run source = {.folder = "average", .overrides = "train.epochs=1", .overwrite = true};
    good(fixture_train(&source));
    const char *const rows[][2] = {{"w0", "train.epochs=0"}, {"w1", "transfer.start_weight=0"},
        {"w2", "transfer.start_weight=0"}, {"mean", "transfer.start_weight=0.5"}};
    enum { SHOWN = 64 };
    double value[4][SHOWN];
    for (int i = 0; i < 4; i++) {
        snprintf(words, sizeof words, "%s=%s/last.safetensors %s", common, fixture_path("average"), rows[i][1]);
        fixture_run r = {.folder = rows[i][0], .overrides = words, .stop_at = i == 1 ? 1 : 0};
        good(fixture_train(&r));
        assert_int_equal(r.summary.step, i == 0 ? 0 : i == 1 ? 1 : 2);
        model m;
        char path[512];
        snprintf(path, sizeof path, "%s/last.safetensors", fixture_path(rows[i][0]));
        good(model_load(&m, path));
        for (int k = 0; k < SHOWN; k++)
            value[i][k] =
                (double)((const float *)m.graph.edges[graph_find_edge(&m.graph, "layer4.0.conv2.weight")].data)[k];
        model_free(&m);
    }
    double d = sqrt(0.5);
    int moved = 0; /* not behind a ReLU that is off for all images */
    for (int k = 0; k < SHOWN; k++) {
        double expected = d * d * value[0][k] + d * (1 - d) * value[1][k] + (1 - d) * value[2][k];
        moved += value[0][k] != value[1][k] && value[1][k] != value[2][k];
        assert_true(fabs(value[3][k] - expected) < 1e-6 * fabs(value[0][k]) + 1e-7);
    }
    assert_true(moved > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(minima_are_found),
        cmocka_unit_test(a_run_out_of_iterations_says_so),
        cmocka_unit_test(the_fit_is_pytorchs),
        cmocka_unit_test(a_linear_layer_is_fitted),
        cmocka_unit_test(squeezenets_convolution_is_fitted),
        cmocka_unit_test(closer_crops_are_learnt_too),
        cmocka_unit_test(what_cannot_be_fitted_stays),
        cmocka_unit_test(rates_fall_towards_the_image),
        cmocka_unit_test(the_recipe_fills_what_nobody_set),
        cmocka_unit_test(what_the_recipe_would_ignore_is_a_mistake),
        cmocka_unit_test(a_run_begins_with_the_fit),
        cmocka_unit_test(the_start_counts_as_asked),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
