/* Every kind of mistake in a spec: found, placed, explained; and all of them at once. */
#include "tests/unit/unit_test.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/config/config.h"

static config c;

static int start(void **state)
{
    (void)state;
    return config_init(&c) == OK ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    config_free(&c);
    return 0;
}

static void restart(void)
{
    config_free(&c);
    assert_int_equal(config_init(&c), OK);
}

static void read_text(const char *text)
{
    assert_int_equal(config_read_text(&c, text, strlen(text), "x.ini"), OK);
}

/* One mistake and its message. */
static void one_error(const char *text, const char *message)
{
    restart();
    read_text(text);
    if (config_finish(&c) != E_USAGE) fail_msg("accepted: %s", text);
    assert_string_equal(status_message(), message);
    assert_int_equal(c.error_count, 1);
}

static void values_out_of_place(void **state)
{
    (void)state;
    one_error(
        "[train]\nepochs = ten\n", "x.ini:2: train.epochs = ten: expected an integer from 0 to 100000 (default 80)");
    one_error(
        "[train]\nepochs = -1\n", "x.ini:2: train.epochs = -1: expected an integer from 0 to 100000 (default 80)");
    one_error("[train]\nepochs = 0\n", "x.ini:2: train.epochs = 0: expected 1 or more, unless transfer.probe fits the "
                                       "last layer of pretrained weights");
    one_error(
        "[train]\nepochs = 1.5\n", "x.ini:2: train.epochs = 1.5: expected an integer from 0 to 100000 (default 80)");
    one_error("[train]\nepochs =\n", "x.ini:2: train.epochs = : expected an integer from 0 to 100000 (default 80)");
    one_error(
        "[train]\nepochs = auto\n", "x.ini:2: train.epochs = auto: expected an integer from 0 to 100000 (default 80)");
    one_error("[train]\nbatch_size = -1\n",
              "x.ini:2: train.batch_size = -1: expected auto or an integer from 0 to 65536 (default 32)");
    one_error("[schedule]\nlearning_rate = 8.0e\n",
              "x.ini:2: schedule.learning_rate = 8.0e: expected a number from 0 to 100 (default 0.01)");
    one_error("[schedule]\nlearning_rate = nan\n",
              "x.ini:2: schedule.learning_rate = nan: expected a number from 0 to 100 (default 0.01)");
    one_error("[schedule]\nlearning_rate = 0,1\n",
              "x.ini:2: schedule.learning_rate = 0,1: expected a number from 0 to 100 (default 0.01)");
    one_error("[train]\nearly_stopping = maybe\n",
              "x.ini:2: train.early_stopping = maybe: expected true or false (default false)");
    one_error("[schedule]\nmilestones = 0.3 zwei\n",
              "x.ini:2: schedule.milestones = 0.3 zwei: expected numbers from 0 to 1 (default 0.33 0.66 0.88)");
    one_error("[optimizer]\ntype = adam w\n",
              "x.ini:2: optimizer.type = adam w: expected one of sgd, adam, adamw, rmsprop (default sgd); "
              "did you mean adamw?");
    one_error("[optimizer]\ntype = zebra\n",
              "x.ini:2: optimizer.type = zebra: expected one of sgd, adam, adamw, rmsprop (default sgd)");
}

static void unknown_names(void **state)
{
    (void)state;
    one_error("[train]\nepoch = 3\n", "x.ini:2: train.epoch = 3: unknown key; did you mean train.epochs?");
    one_error("[train]\nlearning_rate = 3\n",
              "x.ini:2: train.learning_rate = 3: unknown key; did you mean schedule.learning_rate?");
    one_error("[train]\nzebra_colour = 3\n",
              "x.ini:2: train.zebra_colour = 3: unknown key (`graft spec resnet18` lists all)");
    one_error("[trian]\nepochs = 3\nnonsense = 2\n", "x.ini:1: [trian]: unknown section; did you mean [train]?");
    one_error("\n[zebra]\n", "x.ini:2: [zebra]: unknown section");
    one_error("epochs = 3\n", "x.ini:1: epochs = 3: a key in front of the first [section]");
    one_error(
        "[train]\nbatch size = 3\n", "x.ini:2: train.batch size = 3: unknown key; did you mean train.batch_size?");
    one_error("[train]\n00000000001111111111222222222233333333334444444444 = 3\n",
              "x.ini:2: 00000000001111111111222222222233333333334444444444: a key has at most 49 characters");
    one_error("[00000000001111111111222222222233333333334444444444]\nepochs = 3\n",
        "x.ini:1: [0000000000111111111122222222223333333333444444444]: a section's name has at most 49 characters");
}

static void broken_lines(void **state)
{
    (void)state;
    one_error("[train]\nepochs 3\n", "x.ini:2: epochs 3: expected [section] or key = value: there is no =");
    one_error("[train]\nepochs ; = 3\n", "x.ini:2: epochs: expected [section] or key = value: there is no =");
    one_error("[train]\n = 3\n", "x.ini:2: expected key = value: there is no key in front of the =");
    one_error("[train\nepochs = 3\n", "x.ini:1: expected [section]: the ] is missing");
    one_error("[train] epochs = 3\n", "x.ini:1: expected nothing but a comment behind [section]");
    one_error("[train]\noutput = \"a\n", "x.ini:2: the closing quote is missing");
    one_error("[train]\noutput = \"a\\\n", "x.ini:2: the closing quote is missing");
    one_error("[train]\noutput = \"a\" b\n", "x.ini:2: text behind the closing quote");
    one_error("[train]\noutput = \"\\x1f\"\n",
        "x.ini:2: unknown escape in quotes: expected \\\\, \\\", \\n, \\t or \\x80 to \\xff");
    one_error("[train]\noutput = \"\\x\"\n",
        "x.ini:2: unknown escape in quotes: expected \\\\, \\\", \\n, \\t or \\x80 to \\xff");
    one_error("[train]\noutput = a\x07" "b\n", "x.ini:2: control character 0x07: a spec is plain text");
    one_error("\xff\xfe[\n", "x.ini: the file is UTF-16: save it as UTF-8");
    restart();
    assert_int_equal(config_read_text(&c, "[train]\nepo\0chs = 3\nseed = 7\n", 28, "x.ini"), OK);
    assert_int_equal(config_finish(&c), E_USAGE);
    assert_string_equal(status_message(), "x.ini:2: control character 0x00: a spec is plain text");
    assert_int_equal(c.spec.train.seed, 7);
}

static void given_twice(void **state)
{
    (void)state;
    one_error("[train]\nepochs = 3\n[data]\n[train]\nepochs = 4\n",
              "x.ini:5: train.epochs = 4: given twice: it is in line 2 already");
    restart(); /* two files may both say it: the later one wins */
    read_text("[train]\nepochs = 3\n");
    assert_int_equal(config_read_text(&c, "[train]\nepochs = 4\n", 19, "y.ini"), OK);
    assert_int_equal(config_finish(&c), OK);
    assert_int_equal(c.spec.train.epochs, 4);
}

static void contradictions(void **state)
{
    (void)state;
    one_error("[model]\nchannels = 2\n", "x.ini:2: model.channels = 2: expected 1 (grey) or 3 (colour)");
    one_error("[model]\nload_graph = true\n",
              "x.ini:2: model.load_graph = true: needs model.pretrained, the file to take the graph from");
    one_error(
        "[data]\nmean = 1 2 3\n", "x.ini:2: data.mean = 1 2 3: would be ignored: it needs data.preprocess = custom");
    one_error("[data]\npreprocess = custom\nmean = 1 2\nstd = 1,1,1\n",
              "x.ini:3: data.mean = 1 2: data.preprocess = custom needs 3 numbers, one per channel");
    one_error("[data]\nsampling = weighted\n", "x.ini:2: data.sampling = weighted: needs data.class_weights");
    one_error("[data]\nclass_weights = 1 2\n",
              "x.ini:2: data.class_weights = 1 2: would be ignored: it needs data.sampling = weighted");
    one_error("[augment]\ncrop_area = 1 0.5\nrandom_resized_crop = true\n",
              "x.ini:2: augment.crop_area = 1 0.5: expected two numbers, the smaller one first");
    one_error("[augment]\ncrop_aspect = 1\nrandom_resized_crop = true\n",
              "x.ini:2: augment.crop_aspect = 1: expected two numbers, the smaller one first");
    one_error("[augment]\nzoom_min = 2\n", "x.ini:2: augment.zoom_min = 2: expected at most augment.zoom_max = 1");
    one_error("[train]\ndeterministic = false\n",
              "x.ini:2: train.deterministic = false: runs are always reproducible; remove the line");
    one_error("[train]\nloss_scale = 128\n",
              "x.ini:2: train.loss_scale = 128: would be ignored: it needs train.precision = f16");
    one_error("[optimizer]\nnesterov = true\ntype = adam\n",
              "x.ini:2: optimizer.nesterov = true: needs optimizer.type = sgd and a momentum above 0");
    one_error("[schedule]\nmin_learning_rate = 0.5\n",
              "x.ini:2: schedule.min_learning_rate = 0.5: expected at most schedule.learning_rate = 0.01");
    one_error("[schedule]\ntype = soft_start\nmin_learning_rate = 1e-6\nsoft_start = 0.7\n",
              "x.ini:4: schedule.soft_start = 0.7: expected less than schedule.annealing = 0.7");
    one_error("[schedule]\ntype = soft_start\n",
        "default: schedule.min_learning_rate = 0: expected more than 0, because schedule.type = soft_start moves on "
        "a logarithmic scale");
    one_error("[schedule]\nmilestones = 0.5 0.5\ntype = multistep\n",
        "x.ini:2: schedule.milestones = 0.5 0.5: expected ascending numbers");
    one_error("[prune]\ntarget = params\n",
        "x.ini:2: prune.target = params: expected params:F or flops:F with F between 0 and 1, for example params:0.5");
    one_error("[prune]\ntarget = flops:1.5\n",
              "x.ini:2: prune.target = flops:1.5: expected params:F or flops:F with F between 0 and 1, for example "
              "params:0.5");
    /* A misspelt partner must not make the other one wrong as well. */
    one_error("[augment]\nzoom_min = 2\nzoom_mx = 3\n",
              "x.ini:3: augment.zoom_mx = 3: unknown key; did you mean augment.zoom_max?");
}

/* read_if.def: set to something else than the default, and read by nobody. */
static void what_is_not_read(void **state)
{
    (void)state;
    static const char *const ignored[][2] = {
        {"data.class_weights=1 2", "data.sampling = weighted"},
        {"augment.crop_area=0.5 1", "augment.random_resized_crop = true"},
        {"augment.contrast_center=0.4", "augment.contrast_max above 0"},
        {"train.loss_scale_period=10", "train.precision = f16 and train.loss_scale = 0"},
        {"train.patience=3", "train.early_stopping = true"},
        {"transfer.head_rate=0.5", "transfer.enable and model.pretrained"},
        {"optimizer.beta1=0.5", "optimizer.type = adam or adamw"},
        {"optimizer.rho=0.5", "optimizer.type = rmsprop"},
        {"optimizer.epsilon=1e-5", "optimizer.type = adam, adamw or rmsprop"},
        {"schedule.gamma=0.5", "schedule.type = step, multistep or soft_anneal"},
        {"schedule.step_size=5", "schedule.type = step"},
        {"schedule.power=2", "schedule.type = polynomial"},
        {"schedule.annealing=0.5", "schedule.type = soft_start"},
        {"qat.range_momentum=0.5", "qat.enable = true"},
    };
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++) {
        char message[256];
        const char *equals = strchr(ignored[i][0], '=');
        snprintf(message, sizeof message, "command line: %.*s = %s: would be ignored: it needs %s",
            (int)(equals - ignored[i][0]), ignored[i][0], equals + 1, ignored[i][1]);
        restart();
        assert_int_equal(config_override(&c, ignored[i][0]), OK);
        assert_int_equal(config_finish(&c), E_USAGE);
        assert_string_equal(status_message(), message);
    }
    one_error("[optimizer]\ntype = adam\nmomentum = 0.8\n",
              "x.ini:3: optimizer.momentum = 0.8: would be ignored: it needs optimizer.type = sgd or rmsprop");
    one_error("[schedule]\ntype = soft_anneal\nmilestones = 0.5\nwarmup = 0.2\n",
        "x.ini:4: schedule.warmup = 0.2: would be ignored: it needs another schedule.type (this one has a rise of its "
        "own)");
    one_error(
        "[schedule]\nwarmup = 0\nwarmup_start = 0.1\n", "x.ini:3: schedule.warmup_start = 0.1: would be ignored: it "
                                                        "needs schedule.warmup above 0 or schedule.type = soft_anneal");
    /* A partner that was not understood, and defaults that are repeated, say nothing. */
    one_error("[optimizer]\ntype = adm\nmomentum = 0.8\nbeta1 = 0.8\n",
        "x.ini:2: optimizer.type = adm: expected one of sgd, adam, adamw, rmsprop (default sgd); did you mean adam?");
    restart();
    read_text("[optimizer]\ntype = adam\nmomentum = .90\n[schedule]\ntype = step\nstep_size = 5\ngamma = 0.5\n");
    assert_int_equal(config_override(&c, "schedule.type=constant"), OK);
    assert_int_equal(config_finish(&c), OK); /* the command line may make lines meaningless */
    assert_true(
        c.spec.schedule.gamma == 0.1 && c.spec.schedule.step_size == 10 && !config_is_set(&c, "schedule", "gamma"));
}

static void overrides(void **state)
{
    (void)state;
    static const struct {
        const char *word, *message;
    } row[] = {
        {"train.epochs=x", "command line: train.epochs = x: expected an integer from 0 to 100000 (default 80)"},
        {"train.epoch=3", "command line: train.epoch = 3: unknown key; did you mean train.epochs?"},
        {"trian.epochs=3", "command line: trian.epochs = 3: unknown section; did you mean train.epochs?"},
        {"epochs=3", "command line: epochs = 3: unknown key; did you mean train.epochs?"},
        {"train.epochs", "command line: train.epochs: expected section.key=value"},
        {"=3", "command line: =3: expected section.key=value"},
        {"train.output=a\nb\x01", "command line: train.output = a?b?: expected a path (default runs/train)"},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        restart();
        assert_int_equal(config_override(&c, row[i].word), OK);
        assert_int_equal(config_finish(&c), E_USAGE);
        assert_string_equal(status_message(), row[i].message);
    }
}

static void all_at_once(void **state)
{
    (void)state;
    restart();
    read_text("[train]\r\n  epoch = 10 ; too few letters\r\nbatch_size = many # word\r\n\r\n[optimiser]\r\ntype = "
              "sgd\r\n[augment]\r\nzoom_min = 3\r\nhflip\r\n");
    assert_int_equal(config_override(&c, "schedule.type=cosinus"), OK);
    assert_int_equal(config_finish(&c), E_USAGE);
    assert_string_equal(status_message(),
        "x.ini:2: train.epoch = 10: unknown key; did you mean train.epochs?\nx.ini:3: train.batch_size = many: "
        "expected auto or an integer from 0 to 65536 (default 32)\nx.ini:5: [optimiser]: unknown section; did you mean "
        "[optimizer]?\nx.ini:8: augment.zoom_min = 3: expected at most augment.zoom_max = 1\nx.ini:9: hflip: expected "
        "[section] or key = value: there is no =\ncommand line: schedule.type = cosinus: expected one of constant, "
        "step, multistep, cosine, polynomial, soft_start, soft_anneal (default cosine); did you mean cosine?");
    /* The same as facts, for --json. */
    const config_error *e = &c.errors[0];
    assert_string_equal(e->file, "x.ini");
    assert_int_equal(e->line, 2);
    assert_string_equal(e->section, "train");
    assert_string_equal(e->key, "epoch");
    assert_string_equal(e->value, "10");
    assert_string_equal(e->nearest, "train.epochs");
    assert_string_equal(c.errors[1].expected, "auto or an integer from 0 to 65536");
    assert_string_equal(c.errors[2].nearest, "optimizer");
    /* Asking again does not add the contradictions again. */
    int64_t count = c.error_count;
    assert_int_equal(config_finish(&c), E_USAGE);
    assert_int_equal(c.error_count, count);
}

static void callers_complaints(void **state)
{
    (void)state;
    restart();
    read_text("[model]\narch = resnet19\n");
    assert_int_equal(
        config_complain(&c, "model", "arch", "resnet18", "unknown network; did you mean %s?", "resnet18"), OK);
    assert_int_equal(config_finish(&c), E_USAGE);
    assert_string_equal(status_message(), "x.ini:2: model.arch = resnet19: unknown network; did you mean resnet18?");
    assert_true(config_is_set(&c, "model", "arch") && !config_is_set(&c, "model", "width"));
}

static void too_many_and_too_long(void **state)
{
    (void)state;
    restart();
    char *text = malloc(1 << 21);
    size_t used = 0;
    used += (size_t)sprintf(text, "[train]\n");
    while (used < (1 << 20) - 20) used += (size_t)sprintf(text + used, "aaaaaaaa\n");
    assert_int_equal(config_read_text(&c, text, used, "x.ini"), OK);
    assert_int_equal(config_finish(&c), E_USAGE);
    assert_int_equal(c.error_count, 201);
    assert_string_equal(c.errors[200].text, "x.ini: more than 200 errors: the rest is not shown");

    restart();
    memset(text, ';', 1 << 21);
    assert_int_equal(config_read_text(&c, text, (1 << 20) + 1, "x.ini"), OK);
    assert_int_equal(config_finish(&c), E_USAGE);
    assert_string_equal(status_message(), "x.ini: longer than 1 MiB: this is no spec file");
    restart();
    assert_int_equal(config_read_text(&c, text, 1 << 20, "x.ini"), OK);
    assert_int_equal(config_finish(&c), OK);

    char path[] = "/tmp/graft-test-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    restart();
    assert_int_equal(file_write_all(path, text, 1 << 21), OK);
    assert_int_equal(config_read_file(&c, path), OK);
    assert_int_equal(config_finish(&c), E_USAGE);
    assert_non_null(strstr(status_message(), ": longer than 1 MiB"));
    remove(path);
    restart();
    assert_int_equal(config_read_file(&c, path), E_IO);
    assert_non_null(strstr(status_message(), path));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_out_of_place), cmocka_unit_test(unknown_names),
        cmocka_unit_test(broken_lines),        cmocka_unit_test(given_twice),
        cmocka_unit_test(contradictions), cmocka_unit_test(what_is_not_read),      cmocka_unit_test(overrides),
        cmocka_unit_test(all_at_once),         cmocka_unit_test(callers_complaints),
        cmocka_unit_test(too_many_and_too_long),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
