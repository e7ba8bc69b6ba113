/* Stopping and going on: the same bits as never having stopped, whatever the split, the optimiser and the number of
 * loader threads; and after kill -9 at any moment a checkpoint that can be gone on from. Expected values are those of
 * the uninterrupted run. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "core/train/checkpoint.h"
#include "train_fixture.h"

/* 24 images, batches of 4, 2 batches an update, 4 epochs: 12 updates, 3 an epoch; everything random is on. */
static const char everything[] =
    "train.epochs=4 train.accumulate=2 train.mixup=0.2 model.dropout=0.3 train.label_smoothing=0.1 "
    "augment.rotate_max=10 augment.hue_max=20 augment.pad_crop=2 train.regularizer=l2 optimizer.nesterov=true";

static void train(fixture_run *r)
{
    if (fixture_train(r) != OK) fail_msg("%s", status_message());
}

/* All columns but time and speed. */
static char *read_log(const char *folder, char *text, size_t capacity)
{
    char path[512], line[1024];
    size_t used = 0;
    snprintf(path, sizeof path, "%s/log.csv", fixture_path(folder));
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        int column = 0;
        for (char *rest = line, *word; (word = strsep(&rest, ",")); column++)
            if (column != 2 && column < 11) used += (size_t)snprintf(text + used, capacity - used, "%s,", word);
    }
    fclose(f);
    return text;
}

static void compare_splits(const char *overrides, const int *split, int count)
{
    static char whole[1 << 16], parts[1 << 16];
    fixture_run straight = {.folder = "straight", .overrides = overrides};
    fixture_remove("straight");
    train(&straight);
    assert_true(straight.summary.finished);
    uint64_t expected = fixture_last("straight");
    assert_true(expected != 0);
    read_log("straight", whole, sizeof whole);
    for (int i = 0; i < count; i++) {
        fixture_run first = {.folder = "split", .overrides = overrides, .stop_at = split[i]};
        fixture_run second = {.folder = "split", .overrides = overrides, .resume = true};
        fixture_remove("split");
        train(&first);
        assert_int_equal(first.summary.step, split[i]);
        train(&second);
        assert_int_equal(second.summary.step, straight.summary.step);
        if (fixture_last("split") != expected) fail_msg("%s: stopped at %d, other weights", overrides, split[i]);
        assert_string_equal(read_log("split", parts, sizeof parts), whole);
        assert_true(second.summary.value[1] == straight.summary.value[1]);
        assert_int_equal(second.summary.best_step, straight.summary.best_step);
    }
}

static void same_bits_at_five_splits(void **state)
{
    (void)state;
    static const int split[] = {1, 3, 5, 8, 11};
    compare_splits(everything, split, 5);
}

static void same_bits_with_averages_and_adam(void **state)
{
    (void)state;
    static const int split[] = {2, 7};
    compare_splits("optimizer.type=adamw optimizer.weight_decay=0.01 train.ema_decay=0.9 schedule.learning_rate=0.003 "
                   "train.clip_norm=1",
        split, 2);
}

static void same_bits_with_rmsprop(void **state)
{
    (void)state;
    static const int split[] = {4};
    compare_splits("optimizer.type=rmsprop schedule.learning_rate=0.001 schedule.type=soft_start "
                   "schedule.min_learning_rate=0.00001 data.sampling=balanced train.eval_period=2",
        split, 1);
}

static void same_bits_with_fake_quantisation(void **state)
{
    (void)state;
    const int split[] = {4};
    compare_splits("train.epochs=2 qat.enable=true", split, 1);
}

/* Words for a run from the weights of "source", which is trained first, its last layer fitted to features. */
static const char *transfer_words(const char *more)
{
    static char words[512];
    fixture_run source = {.folder = "source", .overrides = "train.epochs=1", .overwrite = true};
    train(&source);
    snprintf(words, sizeof words, "transfer.enable=true model.pretrained=%s/last.safetensors %s",
        fixture_path("source"), more);
    return words;
}

static void same_bits_with_the_transfer_recipe(void **state)
{
    (void)state;
    static const int split[] = {1, 2, 7};
    compare_splits(
        transfer_words("train.epochs=2 train.batch_size=5 model.dropout=0.2 transfer.front_rate=0.2"), split, 3);
}

static void same_bits_for_any_loader_threads(void **state)
{
    (void)state;
    uint64_t expected = 0;
    static const int threads[] = {1, 2, 4};
    for (int i = 0; i < 3; i++) {
        char words[1024];
        snprintf(words, sizeof words, "%s data.threads=%d data.prefetch=%d", everything, threads[i], 1 + i);
        fixture_run r = {.folder = "threads", .overrides = words};
        fixture_remove("threads");
        train(&r);
        uint64_t got = fixture_last("threads");
        assert_true(got != 0);
        if (i == 0) expected = got;
        if (got != expected) fail_msg("%d loader threads: other weights", threads[i]);
    }
}

static void another_seed_gives_other_bits(void **state)
{
    (void)state;
    fixture_run r = {.folder = "seed", .overrides = "train.seed=1"},
                q = {.folder = "seed", .overrides = "train.seed=2", .overwrite = true};
    fixture_remove("seed");
    train(&r);
    uint64_t first = fixture_last("seed");
    train(&q);
    assert_true(fixture_last("seed") != first);
}

/* Asks to stop at the n-th question. */
static int stop_after(void *context)
{
    int *left = context;
    return --*left == 0 ? SIGTERM : 0;
}

static void signals_are_survived(const char *words, int questions)
{
    fixture_run straight = {.folder = "signal", .overrides = words};
    fixture_remove("signal");
    train(&straight);
    uint64_t expected = fixture_last("signal");
    for (int n = 1; n < questions; n += 2) {
        int left = n;
        fixture_run r = {.folder = "signal", .overrides = words, .stop = stop_after, .stop_context = &left};
        fixture_remove("signal");
        status result = fixture_train(&r);
        if (left <= 0) assert_int_equal(result, left == 0 ? E_TERMINATED : E_INTERRUPTED);
        fixture_run rest = {.folder = "signal", .overrides = words, .resume = true};
        train(&rest);
        if (fixture_last("signal") != expected) fail_msg("stopped at question %d: other weights", n);
    }
}

/* 12 updates and 2 evaluations of 3 batches: some fall into an evaluation. */
static void signals_save_wherever_they_come(void **state)
{
    (void)state;
    signals_are_survived(NULL, 22);
}

/* 6 batches of features (nothing is saved then: the run starts again), 3 of the first evaluation, 6 updates. */
static void signals_while_the_last_layer_is_fitted(void **state)
{
    (void)state;
    signals_are_survived(transfer_words("train.epochs=1 train.batch_size=4"), 14);
}

static void damage_falls_back_to_the_one_before(void **state)
{
    (void)state;
    static const char *const victims[] = {"last.state", "last.safetensors"};
    fixture_run whole = {.folder = "damage"};
    fixture_remove("damage");
    train(&whole);
    uint64_t expected = fixture_last("damage");
    for (int i = 0; i < 2; i++) {
        char path[512], *said = NULL;
        size_t bytes;
        snprintf(path, sizeof path, "%s/%s", fixture_path("damage"), victims[i]);
        int64_t size, time_ns;
        assert_int_equal(file_info(path, &size, &time_ns), OK);
        /* last and last-1 must not share bytes: what is damaged here is a copy. */
        assert_int_equal(truncate(path, size / 2), 0);
        fixture_run r = {.folder = "damage", .resume = true, .said = open_memstream(&said, &bytes)};
        train(&r);
        fclose(r.said);
        if (!strstr(said, "the last checkpoint is not whole")) fail_msg("no warning in: %s", said);
        free(said);
        assert_true(fixture_last("damage") == expected);
    }
}

static void resuming_must_not_change_the_run(void **state)
{
    (void)state;
    fixture_run r = {.folder = "change", .stop_at = 3};
    fixture_remove("change");
    train(&r);
    fixture_run again = {.folder = "change"};
    assert_int_equal(fixture_train(&again), E_USAGE);
    assert_non_null(strstr(status_message(), "--resume"));
    fixture_run other = {.folder = "change", .overrides = "schedule.learning_rate=0.1 train.seed=7", .resume = true};
    assert_int_equal(fixture_train(&other), E_USAGE);
    assert_non_null(strstr(status_message(), "schedule.learning_rate: was 0.05, now 0.1"));
    assert_non_null(strstr(status_message(), "train.seed: was 42, now 7"));
    /* What does not change the run, and what other commands read. */
    fixture_run free_to = {.folder = "change", .stop_at = 4, .resume = true,
        .overrides = "train.log_period=3 data.prefetch=2 data.cache=/tmp/a#b prune.threshold=0.5 infer.top_k=2"};
    train(&free_to);
    fixture_run longer = {.folder = "change", .overrides = "train.epochs=3", .resume = true};
    train(&longer);
    assert_int_equal(longer.summary.step, 18);
}

/* ------------------------------------------------------------------------------------------------ kill -9 */

static const char killed_spec[] = "train.epochs=12 train.checkpoint_period=1 model.dropout=0.2";

static pid_t start_child(void)
{
    pid_t pid = fork();
    if (pid != 0) return pid;
    execl("/proc/self/exe", "child", fixture_root, (char *)NULL);
    _exit(127);
}

static int child(const char *root)
{
    snprintf(fixture_root, sizeof fixture_root, "%s", root);
    fixture_run r = {.folder = "killed", .overrides = killed_spec, .resume = true};
    status result = fixture_train(&r);
    if (result != OK) fprintf(stderr, "%s\n", status_message());
    return result;
}

static void sleep_ms(uint32_t ms)
{
    nanosleep(&(struct timespec){ms / 1000, (long)(ms % 1000) * 1000000}, NULL);
}

/* Step of the checkpoint; fails the test when there was one and now there is none that can be read. */
static int64_t readable_step(int64_t before)
{
    model m;
    train_state s;
    if (before < 0 && !checkpoint_exists(fixture_path("killed"))) return -1;
    if (checkpoint_open(fixture_path("killed"), &m, &s, NULL) != OK) {
        /* Before the first commit there may be a model without a state. */
        if (before < 0) return -1;
        fail_msg("%s", status_message());
    }
    int64_t step = s.progress.step;
    model_free(&m);
    state_free(&s);
    return step;
}

static void kills_leave_something_to_go_on_from(void **state)
{
    (void)state;
    const char *asked = getenv("GRAFT_KILLS"); /* tests/unit/long_kills.sh asks for more */
    int64_t wanted = asked ? atoll(asked) : 50;
    fixture_run straight = {.folder = "unkilled", .overrides = killed_spec};
    train(&straight);
    rng r = rng_make((uint64_t)time(NULL), RNG_TEST, 5);
    int64_t step = -1, kills = 0, total = straight.summary.step, rounds = 0;
    for (; kills < wanted && rounds < 10 * wanted; rounds++) {
        if (step == total) { /* came through between two kills: once more from the start */
            assert_true(fixture_last("killed") == fixture_last("unkilled"));
            fixture_remove("killed");
            step = -1;
        }
        pid_t pid = start_child();
        assert_true(pid > 0);
        int code = 0;
        sleep_ms(5 + rng_below(&r, 200));
        kills += kill(pid, SIGKILL) == 0;
        assert_int_equal(waitpid(pid, &code, 0), pid);
        if (WIFEXITED(code)) assert_int_equal(WEXITSTATUS(code), 0);
        int64_t now = readable_step(step);
        if (now < step) fail_msg("fell from step %lld to %lld", (long long)step, (long long)now);
        step = now;
    }
    assert_true(kills > 0 && kills >= wanted);
    int code;
    pid_t pid = start_child();
    assert_int_equal(waitpid(pid, &code, 0), pid);
    assert_true(WIFEXITED(code) && WEXITSTATUS(code) == 0);
    assert_int_equal(readable_step(step), total);
    assert_true(fixture_last("killed") == fixture_last("unkilled"));
}

int main(int argc, char **argv)
{
    if (argc == 2) return child(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_bits_at_five_splits), cmocka_unit_test(same_bits_with_averages_and_adam),
        cmocka_unit_test(same_bits_with_rmsprop), cmocka_unit_test(same_bits_with_fake_quantisation),
        cmocka_unit_test(same_bits_with_the_transfer_recipe), cmocka_unit_test(signals_while_the_last_layer_is_fitted),
        cmocka_unit_test(same_bits_for_any_loader_threads),
        cmocka_unit_test(another_seed_gives_other_bits), cmocka_unit_test(signals_save_wherever_they_come),
        cmocka_unit_test(damage_falls_back_to_the_one_before), cmocka_unit_test(resuming_must_not_change_the_run),
        cmocka_unit_test(kills_leave_something_to_go_on_from),
    };
    return cmocka_run_group_tests(tests, fixture_set_up, fixture_tear_down);
}
