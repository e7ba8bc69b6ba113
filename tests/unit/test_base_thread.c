/* Thread pool, log, clock. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/log.h"
#include "core/base/thread.h"

typedef struct counts {
    atomic_int times[1000];
} counts;

static status count_item(void *context, int64_t index)
{
    atomic_fetch_add(&((counts *)context)->times[index], 1);
    return OK;
}

static void every_item_once(void **state)
{
    (void)state;
    for (int32_t threads = 1; threads <= 8; threads *= 2) {
        thread_pool *pool;
        assert_int_equal(pool_create(&pool, threads), OK);
        assert_int_equal(pool_threads(pool), threads);
        /* Many short runs: a worker that wakes up late must not touch the next run's items twice. */
        for (int run = 0; run < 200; run++) {
            int64_t count = run % 17 == 0 ? 1000 : run % 5;
            counts *c = calloc(1, sizeof *c);
            assert_int_equal(pool_run(pool, count_item, c, count), OK);
            for (int64_t i = 0; i < 1000; i++) assert_int_equal(c->times[i], i < count ? 1 : 0);
            free(c);
        }
        pool_destroy(pool);
    }
    pool_destroy(NULL);
}

static status fail_some(void *context, int64_t index)
{
    atomic_fetch_add((atomic_int *)context, 1);
    if (index < 30) usleep(50);
    if (index == 37 || index == 38 || index >= 60) return FAIL(E_DATA, "item %lld is bad", (long long)index);
    return OK;
}

static void lowest_failure_wins(void **state)
{
    (void)state;
    for (int32_t threads = 1; threads <= 4; threads++) {
        thread_pool *pool;
        assert_int_equal(pool_create(&pool, threads), OK);
        for (int run = 0; run < 20; run++) {
            atomic_int calls = 0;
            FAIL(E_IO, "old message");
            assert_int_equal(pool_run(pool, fail_some, &calls, 100000), E_DATA);
            assert_string_equal(status_message(), "item 37 is bad");
            assert_true(calls >= 38 && calls < 38 + threads); /* no new items after the failure */
        }
        atomic_int calls = 0;
        assert_int_equal(pool_run(pool, fail_some, &calls, 30), OK); /* the failure is forgotten */
        pool_destroy(pool);
    }
}

static void pool_refuses_zero_threads(void **state)
{
    (void)state;
    thread_pool *pool;
    assert_int_equal(pool_create(&pool, 0), E_INTERNAL);
    assert_null(pool);
    assert_true(cpu_count() >= 1);
}

static const char *written(FILE *stream, char text[4096])
{
    rewind(stream);
    size_t bytes = fread(text, 1, 4095, stream);
    text[bytes] = 0;
    return text;
}

static void log_levels_and_ranks(void **state)
{
    (void)state;
    char text[4096];
    logger l;
    FILE *stream = tmpfile(), *copy = tmpfile();
    log_init(&l, stream, LOG_INFO, 0);
    l.copy = copy;
    log_info(&l, "epoch %d", 3);
    log_verbose(&l, "hidden");
    log_warn(&l, "careful");
    assert_string_equal(written(stream, text), "epoch 3\nwarning: careful\n");
    assert_string_equal(written(copy, text), "epoch 3\nwarning: careful\n");
    log_free(&l);
    fclose(stream);
    fclose(copy);

    stream = tmpfile();
    log_init(&l, stream, LOG_VERBOSE, 2);
    log_info(&l, "rank 0 speaks");
    log_warn(&l, "careful");
    log_progress(&l, true, "done");
    assert_string_equal(written(stream, text), "warning (rank 2): careful\n");
    log_free(&l);
    fclose(stream);

    stream = tmpfile();
    log_init(&l, stream, LOG_QUIET, 0);
    log_warn(&l, "careful");
    log_progress(&l, true, "done");
    assert_string_equal(written(stream, text), "");
    log_free(&l);
    fclose(stream);

    log_info(NULL, "nobody listens");
    log_progress(NULL, true, "nobody listens");
    log_init(&l, NULL, LOG_INFO, 0);
    log_info(&l, "nowhere");
    log_progress(&l, true, "nowhere");
    log_free(&l);
}

static void progress_off_terminal(void **state)
{
    (void)state;
    char text[4096];
    logger l;
    FILE *stream = tmpfile();
    log_init(&l, stream, LOG_INFO, 0);
    l.period_seconds = 1000;
    log_progress(&l, false, "first"); /* at once, so that one sees that it lives */
    for (int i = 0; i < 50; i++) log_progress(&l, false, "step %d", i);
    log_progress(&l, true, "last");
    assert_string_equal(written(stream, text), "first\nlast\n");
    log_free(&l);
    fclose(stream);
}

static void progress_on_terminal(void **state)
{
    (void)state;
    char text[4096];
    logger l;
    FILE *stream = tmpfile();
    log_init(&l, stream, LOG_INFO, 0);
    l.terminal = true; /* a file has no width: 80 columns */
    log_progress(&l, false, "step 1");
    log_progress(&l, false, "step 2"); /* too soon to be drawn */
    log_info(&l, "note");
    log_progress(&l, true, "end");
    assert_string_equal(written(stream, text), "\r\033[Kstep 1\r\033[Knote\n\r\033[Kend\n");
    char longer[301];
    memset(longer, 'x', 300);
    longer[300] = 0;
    fclose(stream);
    stream = l.stream = tmpfile();
    log_progress(&l, false, "%s", longer);
    assert_int_equal(strlen(written(stream, text)), 4 + 79);
    log_free(&l);
    fclose(stream);
}

static void durations_and_bytes(void **state)
{
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } duration[] = {{8.4, "8.4s"}, {0, "0.0s"}, {59.94, "59.9s"}, {59.97, "1m 00s"}, {190, "3m 10s"},
        {3599.6, "1h 00m"}, {3720, "1h 02m"}, {90000, "1d 01h"}, {-1, "-"}, {(double)NAN, "-"}};
    char text[32];
    for (size_t i = 0; i < sizeof duration / sizeof *duration; i++) {
        format_duration(duration[i].seconds, text);
        assert_string_equal(text, duration[i].text);
    }
    format_bytes(12.3 * 1048576, text);
    assert_string_equal(text, "12.3 MiB");
    format_bytes(1023, text);
    assert_string_equal(text, "1023 B");
    format_bytes(1024 * 1023.99, text);
    assert_string_equal(text, "1.0 MiB");
    double start = clock_seconds();
    usleep(20000);
    double passed = clock_seconds() - start;
    assert_true(passed >= 0.0199 && passed < 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_once),           cmocka_unit_test(lowest_failure_wins),
        cmocka_unit_test(pool_refuses_zero_threads), cmocka_unit_test(log_levels_and_ranks),
        cmocka_unit_test(progress_off_terminal),     cmocka_unit_test(progress_on_terminal),
        cmocka_unit_test(durations_and_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
