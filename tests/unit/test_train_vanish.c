/* Data that go while a run uses them: counted, and over data.max_bad_fraction of an epoch the run stops with a
 * checkpoint, from which it goes on to the bits of a run that was never stopped. */
#include "tests/unit/unit_test.h"

#include <stdio.h>

#include "core/base/file.h"
#include "tests/unit/train_fixture.h"

/* Done when the trainer has asked so often whether to stop: once after every update, and after every batch of a
 * validation. */
typedef struct disturbance {
    int asked, when;
    char command[400];
} disturbance;

static int disturb(void *context)
{
    disturbance *d = context;
    if (++d->asked == d->when && system(d->command) != 0) abort();
    return 0;
}

static void shell(const char *fmt, const char *a, const char *b)
{
    char command[600];
    snprintf(command, sizeof command, fmt, a, b);
    assert_int_equal(system(command), 0);
}

#define SAYS(text)                                                                                                     \
    do {                                                                                                               \
        if (!strstr(status_message(), (text))) fail_msg("\"%s\" is not in \"%s\"", (text), status_message());          \
    } while (0)

static status train(
    fixture_run *run, const char *folder, const char *data, const char *more, bool resume, disturbance *d)
{
    char words[600];
    snprintf(words, sizeof words, "data.root=%s train.epochs=4 data.prefetch=1 train.log_period=1 %s",
        fixture_path(data), more);
    *run = (fixture_run){
        .folder = folder, .overrides = words, .resume = resume, .stop = d ? disturb : NULL, .stop_context = d};
    return fixture_train(run);
}

static double csv_sum(const char *folder, const char *column)
{
    char path[300], line[2048];
    double sum = 0, value;
    snprintf(path, sizeof path, "%s/log.csv", fixture_path(folder));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    line[strcspn(line, "\n")] = 0;
    assert_string_equal(strrchr(line, ',') + 1, column); /* the last one */
    while (fgets(line, sizeof line, f))
        if (sscanf(strrchr(line, ',') + 1, "%lf", &value) == 1) sum += value;
    fclose(f);
    return sum;
}

/* All training images go: one moment with and one without train.accumulate, where the batch is missed within an update.
 */
static void all_go(void **state)
{
    (void)state;
    static const char *const more[] = {"", "train.accumulate=3"};
    for (int k = 0; k < 2; k++) {
        fixture_run run;
        disturbance d = {.when = 7};
        fixture_remove("whole");
        fixture_remove("gone");
        assert_int_equal(train(&run, "whole", "data", more[k], false, NULL), OK);
        assert_int_equal(run.summary.replaced_images, 0);
        uint64_t expected = fixture_last("whole");
        shell("cp -r %s %s", fixture_path("data"), fixture_path("copy"));
        snprintf(d.command, sizeof d.command, "mv %s/train %s", fixture_path("copy"), fixture_path("aside"));
        assert_int_equal(train(&run, "gone", "copy", more[k], false, &d), E_TEMPORARY);
        SAYS("images cannot be read any more");
        SAYS("a checkpoint is saved");
        SAYS("--resume");
        assert_true(run.summary.step > 0 && run.summary.step < run.summary.total_steps && !run.summary.finished);
        shell("mv %s %s/train", fixture_path("aside"), fixture_path("copy"));
        assert_int_equal(train(&run, "gone", "copy", more[k], true, NULL), OK);
        assert_true(run.summary.finished && run.summary.replaced_images == 0);
        assert_true(fixture_last("gone") == expected);
        fixture_remove("copy");
    }
}

/* One of 24 goes: 4.2 % of an epoch. */
static void some_go(void **state)
{
    (void)state;
    for (int allowed = 0; allowed < 2; allowed++) {
        fixture_run run;
        disturbance d = {.when = 4};
        fixture_remove("some");
        shell("cp -r %s %s", fixture_path("data"), fixture_path("copy"));
        snprintf(d.command, sizeof d.command, "rm %s/train/class1/image03.png", fixture_path("copy"));
        status result = train(
            &run, "some", "copy", allowed ? "data.max_bad_fraction=0.05" : "data.max_bad_fraction=0.04", false, &d);
        if (!allowed) {
            assert_int_equal(result, E_TEMPORARY);
            SAYS("1 of 24 training images could not be read and others took their place (data.max_bad_fraction allows "
                 "4 %)");
            /* Another 23 images would be another run; put back, they are those of before. */
            shell("cp -r %s/train %s", fixture_path("data"), fixture_path("copy"));
            assert_int_equal(train(&run, "some", "copy", "data.max_bad_fraction=0.05", true, NULL), OK);
        } else {
            assert_int_equal(result, OK);
            assert_true(
                run.summary.replaced_images >= 2 && run.summary.replaced_images <= 4); /* once in an epoch, of four */
            assert_true(csv_sum("some", "data/replaced") == (double)run.summary.replaced_images);
            char text[128];
            snprintf(text, sizeof text, "grep -q '%lld images could not be read' %%s/report.html%%s",
                (long long)run.summary.replaced_images);
            shell(text, fixture_path("some"), "");
        }
        fixture_remove("copy");
    }
}

/* The validation's images go. */
static void validation_goes(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "rm -r %s/val/class0 %s/val/class1 %s/val/class2", "rm %s/val/class1/image10?.png"};
    for (int k = 0; k < 2; k++) {
        fixture_run run;
        disturbance d = {.when = 3};
        const char *copy = fixture_path("copy");
        fixture_remove("val");
        shell("cp -r %s %s", fixture_path("data"), copy);
        snprintf(d.command, sizeof d.command, commands[k], copy, copy, copy);
        assert_int_equal(train(&run, "val", "copy", "", false, &d), E_TEMPORARY);
        SAYS(k ? "3 of 9 validation images could not be read" : "none of the images tried in its place can be read");
        shell("cp -r %s/val %s", fixture_path("data"), copy);
        assert_int_equal(train(&run, "val", "copy", "", true, NULL), OK);
        assert_int_equal(train(&run, "never", "data", "", false, NULL), OK);
        assert_true(fixture_last("val") == fixture_last("never"));
        fixture_remove("copy");
        fixture_remove("never");
    }
}

/* Bad from the start, which nobody looked for: no reason to try again later. */
static void bad_from_the_start(void **state)
{
    (void)state;
    fixture_run run;
    shell("cp -r %s %s", fixture_path("data"), fixture_path("copy"));
    shell("for f in %s/train/*/*; do echo x >$f%s; done", fixture_path("copy"), "");
    assert_int_equal(train(&run, "bad", "copy", "data.lint=false", false, NULL), E_DATA);
    assert_int_equal(train(&run, "bad", "copy", "", false, NULL), E_DATA);
    fixture_remove("copy");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_go), cmocka_unit_test(some_go),
        cmocka_unit_test(validation_goes), cmocka_unit_test(bad_from_the_start)};
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
