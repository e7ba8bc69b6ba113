/* Which network tensors belong to: every network of models.def, recognised by its own names and shapes; and metadata as
 * options. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit_test.h"

#include "core/graph/model_layout.h"
#include "models/import/checkpoint.h"
#include "models/import/match.h"
#include "models/models.h"

/* The names and shapes of a network; nobody looks at values. */
static int64_t list_tensors(arena *a, const graph *g, safetensor **list)
{
    int64_t count = 0;
    *list = ARENA_ARRAY(a, safetensor, g->edge_count);
    assert_non_null(*list);
    for (int64_t i = 0; i < g->edge_count; i++) {
        const edge *e = &g->edges[i];
        if (e->kind != EDGE_PARAM && e->kind != EDGE_STATE) continue;
        (*list)[count++] = (safetensor){.name = e->name, .type = e->type, .shape = layout_file_shape(e)};
    }
    return count;
}

static void set(config *c, const char *key, const char *value)
{
    assert_int_equal(config_set(c, "model", key, value, "test"), OK);
}

static void check_found(const char *arch, const char *key, const char *value)
{
    config made, found;
    graph g;
    arena a = {0};
    safetensor *list;
    weights_match m;
    assert_int_equal(config_init(&made), OK);
    set(&made, "arch", arch);
    if (key) set(&made, key, value);
    assert_int_equal(models_set_defaults(&made), OK);
    assert_int_equal(made.error_count, 0);
    assert_int_equal(models_build(&g, &made.spec, 7), OK);
    weights w = {.kind = WEIGHTS_SAFETENSORS, .count = list_tensors(&a, &g, &list)};
    w.tensors = list;
    assert_int_equal(config_init(&found), OK);
    if (weights_match_network(&w, &found, &m) != OK) fail_msg("%s: %s", arch, status_message());
    if (strcmp(found.spec.model.arch, arch) != 0)
        fail_msg("%s with %s is taken for %s", arch, key ? key : "nothing", found.spec.model.arch);
    assert_int_equal(m.matched, m.wanted);
    assert_int_equal(m.wanted, w.count);
    assert_int_equal(m.classes, 7);
    assert_string_equal(m.names, "");
    assert_true(found.spec.model.width == made.spec.model.width);
    assert_int_equal(found.spec.model.stem, made.spec.model.stem);
    assert_int_equal(found.spec.model.use_batch_norm, made.spec.model.use_batch_norm);
    assert_int_equal(found.spec.model.use_bias, made.spec.model.use_bias);
    assert_int_equal(found.spec.model.all_projections, made.spec.model.all_projections);
    arena_free(&w.memory);
    arena_free(&a);
    graph_free(&g);
    config_free(&made);
    config_free(&found);
}

static void test_every_network(void **state)
{
    (void)state;
    for (const model_entry *e = model_table; e->name; e++) {
        bool wide = strstr(e->options, "width") != NULL;
        check_found(e->name, wide ? "width" : NULL, "0.25");
    }
}

static void test_options(void **state)
{
    (void)state;
    static const char *const cases[][3] = {{"resnet18", "stem", "small"}, {"resnet34", "all_projections", "true"},
        {"resnet18", "use_bias", "true"}, {"vgg16", "use_batch_norm", "true"}, {"mobilenet_v2", "width", "1.4"},
        {"mobilenet_v2", "width", "0.35"}, {"squeezenet1_1", NULL, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_found(cases[i][0], cases[i][1], cases[i][2]);
}

/* Tensors of a network behind a prefix, the last layer under another name, beside tensors that belong to nobody. */
static void check_renamed(const char *arch, const char *prefix, const char *head, const char *instead, bool whole)
{
    config made, found;
    graph g;
    arena a = {0};
    safetensor *list;
    weights_match m;
    assert_int_equal(config_init(&made), OK);
    set(&made, "arch", arch);
    assert_int_equal(models_set_defaults(&made), OK);
    assert_int_equal(models_build(&g, &made.spec, 7), OK);
    int64_t count = list_tensors(&a, &g, &list);
    safetensor *all = ARENA_ARRAY(&a, safetensor, count + 2);
    for (int64_t i = 0; i < count; i++) {
        const char *name = list[i].name;
        all[i] = list[i];
        if (strncmp(name, head, strlen(head)) == 0) name = arena_printf(&a, "%s%s", instead, name + strlen(head));
        all[i].name = arena_printf(&a, "%s%s", prefix, name);
    }
    all[count] = (safetensor){.name = "loss.weight", .type = DTYPE_F32, .shape = {1, {7}}};
    all[count + 1] = (safetensor){.name = "proj.0.weight", .type = DTYPE_F32, .shape = {2, {4, 4}}};
    weights w = {.kind = WEIGHTS_SAFETENSORS, .tensors = all, .count = count + 2};
    assert_int_equal(config_init(&found), OK);
    if (weights_match_network(&w, &found, &m) != OK) fail_msg("%s: %s", arch, status_message());
    assert_string_equal(found.spec.model.arch, arch);
    assert_int_equal(m.matched, whole ? m.wanted : m.wanted - 2);
    assert_int_equal(m.classes, whole ? 7 : 0);
    assert_string_equal(w.prefix, prefix);
    assert_int_equal(w.outside_count, *prefix ? 2 : 0);
    for (int64_t i = 0; i < w.count && whole && *prefix; i++)
        assert_true(graph_find_edge(&g, w.tensors[i].name) != EDGE_NONE);
    arena_free(&w.memory);
    arena_free(&a);
    graph_free(&g);
    config_free(&made);
    config_free(&found);
}

static void test_prefixes_and_heads(void **state)
{
    (void)state;
    check_renamed("resnet18", "", "fc.", "fc.1.", true);
    check_renamed("resnet18", "a.b_c.D.", "fc.", "fc.net.0.", true);
    check_renamed("vgg16", "model.", "classifier.6.", "classifier.6.1.", true);
    check_renamed("squeezenet1_1", "net.", "classifier.1.", "classifier.1.0.", true);
    check_renamed("squeezenet1_1", "", "classifier.1.", "classifier.", true);
    check_renamed("mobilenet_v2", "module.module.", "classifier.1.", "classifier.", true);
    check_renamed("mobilenet_v2", "encoder.", "classifier.1.", "classifier.3.", true);
    check_renamed("googlenet", "x.", "fc.", "fc.2.", true);
    check_renamed("vgg16", "model.", "classifier.6.", "classifier.7.",
        false); /* beside other layers there: not known to be the last */
}

static void build_width(graph *g, config *c, const char *width)
{
    assert_int_equal(config_init(c), OK);
    set(c, "arch", "resnet10");
    set(c, "width", width);
    assert_int_equal(models_set_defaults(c), OK);
    assert_int_equal(models_build(g, &c->spec, 7), OK);
}

/* model.pretrained: weights behind a prefix, the last layer in a Sequential, raw ones beside their average; into the
 * network they are of, and into one of another width. */
static void test_transfer_into_a_graph(void **state)
{
    (void)state;
    char path[] = "/tmp/graft-transfer-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    config c[2];
    graph g, other;
    arena a = {0};
    safetensor *list;
    build_width(&g, &c[0], "0.25");
    build_width(&other, &c[1], "0.5");
    int64_t count = list_tensors(&a, &g, &list), all_count = 0;
    safetensor *all = ARENA_ARRAY(&a, safetensor, 2 * count + 1);
    for (int average = 0; average < 2; average++)
        for (int64_t i = 0; i < count; i++) {
            safetensor t = list[i];
            int64_t values = shape_count(t.shape);
            float *data = ARENA_ARRAY(&a, float, values);
            for (int64_t k = 0; k < values; k++) data[k] = average ? 2 : 1;
            const char *rest = strncmp(t.name, "fc.", 3) == 0 ? arena_printf(&a, "fc.1.%s", t.name + 3) : t.name;
            t.name = arena_printf(&a, "%s%s", average ? "ema_net." : "net.", rest);
            t.data = (const uint8_t *)data, t.bytes = (size_t)values * sizeof *data;
            all[all_count++] = t;
        }
    const float loss = 3;
    all[all_count++] = (safetensor){"criterion.weight", DTYPE_F32, {1, {1}}, (const uint8_t *)&loss, sizeof loss};
    assert_int_equal(safetensors_write(path, all, all_count, NULL, 0, NULL), OK);
    transfer_report r;
    if (weights_transfer(&g, path, &r) != OK) fail_msg("%s", status_message());
    assert_int_equal(r.loaded_count, count);
    assert_int_equal(r.missing_count + r.reshaped_count, 0);
    assert_int_equal(r.unexpected_count, count + 1);
    assert_non_null(strstr(r.note, "ema_net.* is taken, the average"));
    assert_non_null(strstr(r.note, "--weights net takes the raw ones"));
    assert_null(r.advice);
    for (int64_t i = 0; i < g.edge_count; i++)
        if (g.edges[i].kind == EDGE_PARAM) assert_true(*(const float *)g.edges[i].data == 2);
    transfer_report_free(&r);
    assert_int_equal(weights_transfer(&other, path, &r), OK);
    assert_true(r.reshaped_count > count / 2);
    assert_non_null(r.advice);
    assert_non_null(strstr(r.advice, "model.arch=resnet10 model.width=0.25"));
    transfer_report_free(&r);
    unlink(path);
    close(fd);
    graph_free(&g);
    graph_free(&other);
    for (int i = 0; i < 2; i++) config_free(&c[i]);
    arena_free(&a);
}

/* Words as people write them; found by looking, there is no standard. */
static void test_average_names(void **state)
{
    (void)state;
    static const char *const yes[] = {"ema", "state_dict_ema", "model_ema", "ema_model.module.", "model.EMA",
        "params_ema", "emaModel", "modelEMA", "EMAModel", "ema-weights", "ema0"};
    static const char *const no[] = {"", "schema", "cinema.", "email", "emanate", "demand", "lemma", "state_dict"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (!text_names_average(yes[i])) fail_msg("%s", yes[i]);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (text_names_average(no[i])) fail_msg("%s", no[i]);
}

static void test_nothing_fits(void **state)
{
    (void)state;
    safetensor list[] = {
        {.name = "encoder.0.weight", .shape = {2, {4, 4}}}, {.name = "fc.weight", .shape = {2, {4, 4}}}};
    weights w = {.tensors = list, .count = 2};
    weights_match m;
    config c;
    assert_int_equal(config_init(&c), OK);
    assert_int_equal(weights_match_network(&w, &c, &m), E_MODEL);
    assert_non_null(strstr(status_message(), "no network here has such tensors"));
    set(&c, "arch", "resnet19");
    assert_int_equal(weights_match_network(&w, &c, &m), E_USAGE);
    config_free(&c);
    arena_free(&w.memory);
}

/* ------------------------------------------------------------------------------------------------ metadata */

static status adopt(config *c, const char *key, const char *value)
{
    const char *keys[] = {key, "mean", "std"}, *values[] = {value, "0.5,0.25,1", "0.5,0.5,1"};
    weights w = {.st = {.what = "x.safetensors", .meta_key = keys, .meta_value = values, .meta_count = 3}};
    assert_int_equal(config_init(c), OK);
    return weights_adopt_metadata(&w, c);
}

static void test_metadata(void **state)
{
    (void)state;
    config c;
    assert_int_equal(adopt(&c, "crop", "160"), OK);
    assert_int_equal(c.spec.model.input_width, 160);
    assert_int_equal(c.spec.model.input_height, 160);
    assert_int_equal(c.spec.data.preprocess, PREPROCESS_CUSTOM);
    assert_true(c.spec.data.mean.count == 3 && c.spec.data.mean.value[0] == 127.5 &&
                c.spec.data.mean.value[1] == 63.75 && c.spec.data.std.value[2] == 255);
    config_free(&c);
    assert_int_equal(adopt(&c, "padding", "same"), OK);
    assert_int_equal(c.spec.model.padding, PADDING_SAME);
    config_free(&c);
    assert_int_equal(adopt(&c, "interpolation", "bicubic"), OK);
    assert_int_equal(c.spec.data.interpolation, INTERPOLATION_BICUBIC);
    config_free(&c);
    assert_int_equal(adopt(&c, "crop_size", "224"), OK);
    assert_int_equal(c.spec.data.crop_size, 224);
    config_free(&c);
    assert_int_equal(adopt(&c, "channels", "L"), OK);
    assert_true(c.spec.model.channels == 1 && c.spec.data.mean.count == 1 && c.spec.data.mean.value[0] == 127.5);
    config_free(&c);
}

static void test_metadata_refuses(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"crop", "big"}, {"crop", "0"}, {"crop_pct", "1.5"}, {"crop_size", "0"},
        {"interpolation", "lanczos"}, {"channels", "CMYK"}, {"channels", "BGR"}, {"padding", "valid"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        config c;
        assert_int_equal(adopt(&c, bad[i][0], bad[i][1]), E_MODEL);
        assert_non_null(strstr(status_message(), "x.safetensors: metadata"));
        config_free(&c);
    }
}

/* The user's word counts. */
static void test_metadata_yields(void **state)
{
    (void)state;
    const char *keys[] = {"crop", "mean", "std"}, *values[] = {"160", "0,0,0", "1,1,1"};
    weights w = {.st = {.what = "x.safetensors", .meta_key = keys, .meta_value = values, .meta_count = 3}};
    config c;
    assert_int_equal(config_init(&c), OK);
    set(&c, "input_width", "96");
    assert_int_equal(config_set(&c, "data", "preprocess", "tf", "test"), OK);
    assert_int_equal(weights_adopt_metadata(&w, &c), OK);
    assert_int_equal(c.spec.model.input_width, 96);
    assert_int_equal(c.spec.model.input_height, 160);
    assert_int_equal(c.spec.data.preprocess, PREPROCESS_TF);
    assert_int_equal(c.spec.data.mean.count, 0);
    config_free(&c);
}

/* A Graft model's preprocessing becomes options that give that preprocessing, but for those that are set. */
static void check_own(preprocess p, bool expressible)
{
    config c;
    preprocess back;
    json_writer j = {0};
    const char *text;
    size_t bytes;
    preprocess_write(&p, &j);
    assert_int_equal(json_writer_finish(&j, &text, &bytes), OK);
    const char *keys[] = {"graft.preprocess"}, *values[] = {text};
    weights w = {.kind = WEIGHTS_GRAFT,
        .st = {.what = "m.safetensors", .meta_key = keys, .meta_value = values, .meta_count = 1}};
    assert_int_equal(config_init(&c), OK);
    assert_int_equal(weights_adopt_metadata(&w, &c), OK);
    assert_int_equal(preprocess_from_spec(&back, &c.spec.model, &c.spec.data), OK);
    assert_true(back.width == p.width && back.height == p.height && back.channels == p.channels &&
                back.resize == p.resize && back.interpolation == p.interpolation &&
                back.crop_fraction == p.crop_fraction && back.crop_size == p.crop_size);
    bool same = back.bgr == p.bgr;
    for (int i = 0; i < p.channels; i++) same = same && back.mean[i] == p.mean[i] && back.std[i] == p.std[i];
    assert_int_equal(same, expressible);
    json_writer_free(&j);
    config_free(&c);
}

static void test_own(void **state)
{
    (void)state;
    preprocess p = {.width = 48,
        .height = 32,
        .channels = 3,
        .mean = {72.94f, 0.1f, 1e-7f},
        .std = {90.02f, 1.0f / 3, 255},
        .resize = RESIZE_LETTERBOX,
        .interpolation = INTERPOLATION_LINEAR,
        .crop_fraction = 0.7f,
        .crop_size = 40};
    check_own(p, true);
    p.bgr = true;
    check_own(p, false); /* no option says so */
    const spec_model colour = {.input_width = 224, .input_height = 160, .channels = 3},
                     grey = {.input_width = 28, .input_height = 28, .channels = 1};
    for (int mode = PREPROCESS_TORCH; mode < PREPROCESS_CUSTOM; mode++) {
        const spec_data data = {.preprocess = (spec_preprocess)mode, .crop_fraction = 1};
        assert_int_equal(preprocess_from_spec(&p, &colour, &data), OK);
        check_own(p, true);
        assert_int_equal(preprocess_from_spec(&p, &grey, &data), OK);
        check_own(p, true);
    }
}

static void test_own_yields(void **state)
{
    (void)state;
    const preprocess p = {
        .width = 48, .height = 32, .channels = 3, .mean = {1, 2, 3}, .std = {4, 5, 6}, .crop_fraction = 0.5f};
    for (int over = 0; over < 2; over++) {
        config c;
        assert_int_equal(config_init(&c), OK);
        set(&c, "input_width", "96");
        assert_int_equal(config_set(&c, "data", "preprocess", "tf", "test"), OK);
        assert_int_equal(preprocess_to_options(&p, &c, "here", over), OK);
        assert_int_equal(c.spec.model.input_width, over ? 48 : 96);
        assert_int_equal(c.spec.model.input_height, 32);
        assert_int_equal(c.spec.data.preprocess, over ? PREPROCESS_CUSTOM : PREPROCESS_TF);
        assert_int_equal(c.spec.data.mean.count, over ? 3 : 0);
        config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prefixes_and_heads),
        cmocka_unit_test(test_average_names), cmocka_unit_test(test_transfer_into_a_graph),
        cmocka_unit_test(test_own),
        cmocka_unit_test(test_own_yields),
        cmocka_unit_test(test_every_network),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_nothing_fits),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_metadata_refuses),
        cmocka_unit_test(test_metadata_yields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
