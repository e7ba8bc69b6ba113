/* Good specs: every type, every way to write it, long lines, origins, dump and template that read back. */
#include "tests/unit/unit_test.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/rng.h"
#include "core/base/utf8.h"
#include "core/config/config.h"

static void read_text(config *c, const char *text)
{
    assert_int_equal(config_init(c), OK);
    assert_int_equal(config_read_text(c, text, strlen(text), "x.ini"), OK);
    if (config_finish(c) != OK) fail_msg("%s", status_message());
}

static void defaults(void **state)
{
    (void)state;
    config c;
    read_text(&c, "");
    assert_string_equal(c.spec.model.arch, "resnet18");
    assert_int_equal(c.spec.model.stem, STEM_IMAGENET);
    assert_true(c.spec.model.bn_epsilon == 1e-5 && c.spec.data.max_bad_fraction == 0.01);
    assert_true(!c.spec.optimizer.nesterov);
    assert_int_equal(c.spec.schedule.type, SCHEDULE_COSINE);
    assert_int_equal(c.spec.schedule.milestones.count, 3);
    assert_true(c.spec.schedule.milestones.value[2] == 0.88);
    assert_true(c.spec.train.seed == 42 && c.spec.data.max_pixels == 100000000);
    assert_int_equal(c.spec.model.freeze_blocks.count, 0);
    assert_string_equal(c.spec.data.root, "");
    config_free(&c);
}

/* The table is spec.def: first, last, and sections in order. */
static void table(void **state)
{
    (void)state;
    int32_t rows = 0;
    for (int32_t i = 0; i < option_section_count; i++) {
        assert_int_equal(option_sections[i].first, rows);
        rows += option_sections[i].count;
        for (int32_t row = option_sections[i].first; row < rows; row++) {
            assert_string_equal(option_table[row].section, option_sections[i].name);
            assert_ptr_equal(option_find(option_table[row].section, option_table[row].key), &option_table[row]);
            assert_true(strlen(option_table[row].key) <= 49 && option_table[row].help[0]);
        }
    }
    assert_int_equal(rows, option_count);
    assert_int_equal(option_find("train", "epochs")->offset, offsetof(spec, train.epochs));
    assert_int_equal(option_find("infer", "annotate")->type, OPTION_BOOL);
    assert_null(option_find("train", "hflip"));
    assert_null(option_find("", "epochs"));
    assert_string_equal(option_nearest_key("train", "epoch"), "epochs");
    assert_null(option_nearest_key("nowhere", "epoch"));
    assert_string_equal(option_nearest_section("Train"), "train");
}

static void every_type(void **state)
{
    (void)state;
    config c;
    read_text(&c, "\xef\xbb\xbf; comment\n# comment\n[ train ] # comment\r\n\tepochs=12\r\n   batch_size : auto   ; "
                  "comment\noutput = runs/my run/a;b#c\nearly_stopping = yes\n[model]\narch = \" two words ; # \\\\ "
                  "\\\" \\t\\n\" # comment\nfreeze_blocks = 0, 1 2\npretrained = "
                  "\"\"\n[optimizer]\ntype=rmsprop\n[schedule]\ntype = multistep\nmilestones = 0.25,0.5, 0.75 "
                  "1\nlearning_rate = 1e-3\n[train]\nseed = 4294967295");
    assert_int_equal(c.spec.train.epochs, 12);
    assert_int_equal(c.spec.train.batch_size, 0);
    assert_string_equal(c.spec.train.output, "runs/my run/a;b#c");
    assert_true(c.spec.train.early_stopping);
    assert_string_equal(c.spec.model.arch, " two words ; # \\ \" \t\n");
    assert_int_equal(c.spec.model.freeze_blocks.count, 3);
    assert_string_equal(c.spec.model.freeze_blocks.value[2], "2");
    assert_string_equal(c.spec.model.pretrained, "");
    assert_int_equal(c.spec.optimizer.type, OPTIMIZER_RMSPROP);
    assert_int_equal(c.spec.schedule.milestones.count, 4);
    assert_true(c.spec.schedule.milestones.value[1] == 0.5);
    assert_true(c.spec.schedule.learning_rate == 1e-3);
    assert_true(c.spec.train.seed == 4294967295);
    config_free(&c);
}

/* Specs and models of before have a line for an option that is no more; it says what is so anyway. */
static void retired_options_say_nothing(void **state)
{
    (void)state;
    config c;
    const char text[] = "[train]\ndeterministic = true\nepochs = 3\n";
    assert_int_equal(config_init(&c), OK);
    assert_int_equal(config_read_text(&c, text, strlen(text), "x.ini"), OK);
    assert_int_equal(config_finish(&c), OK);
    assert_int_equal(c.spec.train.epochs, 3);
    config_free(&c);
}

static void origins(void **state)
{
    (void)state;
    config c;
    assert_int_equal(config_init(&c), OK);
    assert_int_equal(config_read_text(&c, "[train]\nepochs = 3\nseed = 7\n", 28, "x.ini"), OK);
    assert_int_equal(config_override(&c, "train.seed=8"), OK);
    assert_int_equal(config_override(&c, "train.output=a=b.c"), OK);
    assert_int_equal(config_set(&c, "model", "arch", "resnet34", "--arch"), OK);
    assert_int_equal(config_finish(&c), OK);
    assert_string_equal(c.origin[option_find("train", "epochs") - option_table], "x.ini:2");
    assert_string_equal(c.origin[option_find("train", "seed") - option_table], "command line");
    assert_string_equal(c.origin[option_find("train", "patience") - option_table], "default");
    assert_string_equal(c.origin[option_find("model", "arch") - option_table], "--arch");
    assert_int_equal(c.spec.train.seed, 8);
    assert_string_equal(c.spec.train.output, "a=b.c");
    config_free(&c);
}

/* inih cuts at 200 bytes; our lines may be as long as the file. Every length around the pieces, blanks and ; at the
 * cuts. */
static void long_lines(void **state)
{
    (void)state;
    static char text[20000], value[10000];
    static const char *const patterns[] = {"a", "a b", "a  ;b", "=[", "[", "x\xc3\xa4", "#a"};
    for (size_t p = 0; p < sizeof patterns / sizeof *patterns; p++) {
        size_t period = strlen(patterns[p]);
        for (int length = 1; length < 800; length += length < 340 ? 1 : 37) {
            for (int i = 0; i < length; i++) value[i] = patterns[p][(size_t)i % period];
            value[0] = value[length - 1] = 'v';
            value[length] = 0;
            snprintf(text, sizeof text, "[train]\noutput = \"%s\"\nepochs = 5\n", value);
            config c;
            read_text(&c, text);
            assert_string_equal(c.spec.train.output, value);
            assert_int_equal(c.spec.train.epochs, 5);
            config_free(&c);
        }
    }
}

/* Blanks in front of a line mean nothing, although inih would take it for a continuation. */
static void indentation(void **state)
{
    (void)state;
    config c;
    read_text(&c, "[train]\n  output = a\n    epochs = 4\n\t[data]\n  root = b\n");
    assert_string_equal(c.spec.train.output, "a");
    assert_int_equal(c.spec.train.epochs, 4);
    assert_string_equal(c.spec.data.root, "b");
    config_free(&c);
}

/* Options that do nothing beside the others need not be the same: their sections are left out. */
static void assert_same(const config *a, const config *b)
{
    arena memory = {0};
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        if (!option_is_read(&a->spec, o->section, o->key)) continue;
        const char *x = (const char *)&a->spec + o->offset, *y = (const char *)&b->spec + o->offset;
        char *x_text = config_value_text(a, &memory, o), *y_text = config_value_text(b, &memory, o);
        if (strcmp(x_text, y_text) != 0) fail_msg("%s.%s: %s, %s", o->section, o->key, x_text, y_text);
        switch (o->type) { /* the texts could hide a difference */
        case OPTION_INT:
        case OPTION_FLOAT: assert_memory_equal(x, y, 8); break;
        case OPTION_BOOL: assert_memory_equal(x, y, sizeof(bool)); break;
        case OPTION_ENUM: assert_memory_equal(x, y, sizeof(int)); break;
        case OPTION_TEXT:
        case OPTION_PATH: assert_string_equal(*(const char *const *)x, *(const char *const *)y); break;
        case OPTION_FLOATS: {
            const float_list *l = (const void *)x, *m = (const void *)y;
            assert_int_equal(l->count, m->count);
            if (l->count) assert_memory_equal(l->value, m->value, (size_t)l->count * sizeof(double));
            break;
        }
        case OPTION_TEXTS: {
            const text_list *l = (const void *)x, *m = (const void *)y;
            assert_int_equal(l->count, m->count);
            for (int64_t j = 0; j < l->count; j++) assert_string_equal(l->value[j], m->value[j]);
            break;
        }
        }
    }
    arena_free(&memory);
}

/* Reads back what a function wrote. */
static void read_stream(FILE *stream, config *c)
{
    static char text[1 << 16];
    rewind(stream);
    size_t bytes = fread(text, 1, sizeof text, stream);
    assert_true(bytes < sizeof text);
    assert_int_equal(config_init(c), OK);
    assert_int_equal(config_read_text(c, text, bytes, "dump.ini"), OK);
    if (c->error_count) fail_msg("%s", c->errors[0].text);
    fclose(stream);
}

static void random_text(rng *r, char *text, const char *letters, int length)
{
    for (int i = 0; i < length; i++) text[i] = letters[rng_below(r, (uint32_t)strlen(letters))];
    text[length] = 0;
}

/* A random valid value of an option, as the command line would give it. */
static void random_value(rng *r, const option *o, char *text)
{
    double part = rng_uniform_double(r), number = o->min + (o->max - o->min) * part;
    switch (o->type) {
    case OPTION_INT: sprintf(text, "%lld", (long long)number); return;
    case OPTION_FLOAT: sprintf(text, "%.17g", number); return;
    case OPTION_BOOL: strcpy(text, part < 0.5 ? "true" : "off"); return;
    case OPTION_ENUM: {
        int32_t choice = (int32_t)rng_below(r, 8), last = option_choice_count(o) - 1;
        strcpy(text, o->choices[choice < last ? choice : last]);
        return;
    }
    case OPTION_TEXT:
    case OPTION_PATH: random_text(r, text, " ;#=:[]\"\\\t\nabc,\xc3\xa4", (int)rng_below(r, 500)); return;
    case OPTION_TEXTS: random_text(r, text, " ,;#\"\\ab*", (int)rng_below(r, 60)); return;
    case OPTION_FLOATS:
        for (uint32_t i = rng_below(r, 6); i > 0; i--)
            text += sprintf(text, "%.17g%s", o->min + (o->max - o->min) * rng_uniform_double(r), i % 2 ? " " : ",");
        *text = 0;
        return;
    }
}

/* The words are TLT's and the spec's documentation's; RESIZE_ and LOSS_ stand in spec.h. */
static void choices_have_texts(void **state)
{
    (void)state;
    int value = 7;
    assert_string_equal(option_choice("data", "resize", RESIZE_LETTERBOX), "letterbox");
    assert_string_equal(option_choice("train", "loss", LOSS_SIGMOID), "sigmoid");
    assert_string_equal(option_choices("export", "calibrator")[CALIBRATOR_AUTO], "auto");
    assert_null(option_choices("export", "calibrator")[CALIBRATOR_AUTO + 1]);
    assert_true(option_choice_find("data", "interpolation", "linear", &value));
    assert_int_equal(value, INTERPOLATION_LINEAR);
    assert_false(option_choice_find("data", "interpolation", "bi", &value));
    assert_false(option_choice_find("data", "interpolation", "", &value));
    assert_int_equal(value, INTERPOLATION_LINEAR);
}

static void some_options_may_differ_on_resuming(void **state)
{
    (void)state;
    assert_true(option_may_differ(option_find("train", "output")));
    assert_true(option_may_differ(option_find("train", "epochs")));
    assert_true(option_may_differ(option_find("export", "format"))); /* another command's section */
    assert_true(option_may_differ(option_find("infer", "top_k")));
    assert_false(option_may_differ(option_find("train", "seed")));
    assert_false(option_may_differ(option_find("model", "arch")));
    assert_false(option_may_differ(option_find("train", "top_k")));
}

static void dump_reads_back(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 60; round++) {
        rng r = rng_make(21, RNG_TEST, round);
        config a, b;
        char value[1024];
        assert_int_equal(config_init(&a), OK);
        for (int32_t i = 0; i < option_count; i++) {
            if (round == 0) break; /* the defaults */
            random_value(&r, &option_table[i], value);
            assert_int_equal(config_set(&a, option_table[i].section, option_table[i].key, value, "test"), OK);
        }
        if (a.error_count) fail_msg("%s", a.errors[0].text);
        FILE *stream = tmpfile();
        assert_int_equal(config_dump(&a, stream, round % 2 == 0), OK);
        read_stream(stream, &b);
        assert_same(&a, &b);
        config_free(&a);
        config_free(&b);
    }
}

/* A path may be any bytes; a spec is text, and stands in files that must be UTF-8. */
static void paths_of_any_bytes(void **state)
{
    (void)state;
    static const char *const paths[] = {"m\xe9"
                                        "dia",
        "caf\xc3\xa9", "a#test", "\xff;\x80\" \\x41", " \xe9 "};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        config a, b;
        assert_int_equal(config_init(&a), OK);
        assert_int_equal(config_set(&a, "data", "root", paths[i], "test"), OK);
        assert_int_equal(a.error_count, 0);
        assert_string_equal(config_value_text(&a, &a.memory, option_find("data", "root")), paths[i]);
        char *text = NULL;
        size_t bytes;
        FILE *stream = open_memstream(&text, &bytes);
        assert_int_equal(config_dump(&a, stream, false), OK);
        fclose(stream);
        for (const char *s = text; *s; s += utf8_character(s, NULL)) assert_int_not_equal(utf8_character(s, NULL), 0);
        assert_int_equal(config_init(&b), OK);
        assert_int_equal(config_read_text(&b, text, bytes, "dump.ini"), OK);
        assert_string_equal(b.spec.data.root, paths[i]);
        config_free(&a);
        config_free(&b);
        free(text);
    }
}

static void template_reads_back(void **state)
{
    (void)state;
    config changed, c;
    FILE *stream = tmpfile();
    assert_int_equal(config_init(&changed), OK);
    assert_int_equal(config_override(&changed, "model.arch=resnet50"), OK);
    assert_int_equal(config_override(&changed, "train.output=a ; b"), OK);
    assert_int_equal(config_template(&changed, stream), OK);
    read_stream(stream, &c);
    assert_int_equal(config_finish(&c), OK);
    assert_string_equal(c.spec.model.arch, "resnet50");
    for (int32_t i = 0; i < option_count; i++) /* complete: every option that does something is there */
        assert_true(config_is_set(&c, option_table[i].section, option_table[i].key) ||
                    !option_is_read(&c.spec, option_table[i].section, option_table[i].key));
    assert_false(config_is_set(&c, "ssd", "scales"));
    assert_same(&changed, &c);
    config_free(&c);
    config_free(&changed);
}

static void full_stream_is_reported(void **state)
{
    (void)state;
    config c;
    assert_int_equal(config_init(&c), OK);
    FILE *stream = fopen("/dev/full", "w");
    assert_non_null(stream);
    setvbuf(stream, NULL, _IONBF, 0);
    assert_int_equal(config_dump(&c, stream, false), E_IO);
    assert_int_equal(config_template(&c, stream), E_IO);
    fclose(stream);
    config_free(&c);
}

/* Random bytes, and random damage to a good file: read or refused, never a crash, leak or hang. */
static void random_files(void **state)
{
    (void)state;
    static char good[1 << 16], text[1 << 16];
    FILE *stream = tmpfile();
    config plain;
    assert_int_equal(config_init(&plain), OK);
    assert_int_equal(config_template(&plain, stream), OK);
    config_free(&plain);
    rewind(stream);
    size_t bytes = fread(good, 1, sizeof good, stream);
    fclose(stream);
    static const char letters[] = "[]=:;#\"\\ \t\n\r\x01" "ae_.0-\xff";
    for (uint64_t round = 0; round < 400; round++) {
        rng r = rng_make(22, RNG_TEST, round);
        size_t length = round % 2 ? bytes : rng_below(&r, 3000);
        memcpy(text, good, bytes);
        if (round % 2 == 0)
            for (size_t i = 0; i < length; i++) text[i] = letters[rng_below(&r, sizeof letters)];
        else
            for (int i = 0; i < 20; i++) text[rng_below(&r, (uint32_t)bytes)] = (char)rng_below(&r, 256);
        config c;
        assert_int_equal(config_init(&c), OK);
        assert_int_equal(config_read_text(&c, text, length, "random"), OK);
        status verdict = config_finish(&c);
        assert_true(verdict == OK ? c.error_count == 0 : verdict == E_USAGE && c.error_count > 0);
        for (int64_t i = 0; i < c.error_count; i++) assert_null(strchr(c.errors[i].text, '\n'));
        config_free(&c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(table),
        cmocka_unit_test(every_type),
        cmocka_unit_test(retired_options_say_nothing),
        cmocka_unit_test(origins),
        cmocka_unit_test(long_lines),
        cmocka_unit_test(indentation),
        cmocka_unit_test(choices_have_texts),
        cmocka_unit_test(some_options_may_differ_on_resuming),
        cmocka_unit_test(dump_reads_back),
        cmocka_unit_test(paths_of_any_bytes),
        cmocka_unit_test(template_reads_back),
        cmocka_unit_test(full_stream_is_reported),
        cmocka_unit_test(random_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
