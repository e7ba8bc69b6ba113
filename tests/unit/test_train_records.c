/* CSV and TensorBoard. The first record's 40 bytes and the checksum are known answers of the format; the scalar record
 * was written by hand from the protobuf and record rules, its checksums taken by an independent table-driven CRC32C in
 * Python. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/arena.h"
#include "core/base/file.h"
#include "core/base/hash.h"
#include "core/train/records.h"
#include "core/train/tensorboard.h"

static int from_hex(const char *hex, uint8_t *bytes)
{
    int n = 0;
    for (; hex[0] && hex[1]; hex += 2) {
        unsigned value;
        sscanf(hex, "%2x", &value);
        bytes[n++] = (uint8_t)value;
    }
    return n;
}

static void first_record_is_exact(void **state)
{
    (void)state;
    uint8_t got[64], expected[64];
    assert_int_equal(crc32c("123456789", 9), 0xe3069283u);
    int length = from_hex("1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d", expected);
    assert_int_equal(tensorboard_version_record(got, sizeof got, 1700000000.0), length);
    assert_memory_equal(got, expected, (size_t)length);
    assert_int_equal(tensorboard_version_record(got, 39, 1700000000.0), 0);
}

static void scalar_record_is_exact(void **state)
{
    (void)state;
    static const char *const tags[] = {"train/loss", "val/loss", "lr/group0"};
    const double values[] = {0.5, NAN, 0.1};
    uint8_t got[256], expected[256];
    int length =
        from_hex("33000000000000000ca720560900000040fc54d94110ac022a250a110a0a747261696e2f6c6f7373150000003f0a100a096c"
                 "722f67726f75703015cdcccc3d15266462",
            expected);
    assert_int_equal(tensorboard_scalar_record(got, sizeof got, 1700000000.0, 300, tags, values, 3), length);
    assert_memory_equal(got, expected, (size_t)length);
}

static char folder[] = "/tmp/graft-records-XXXXXX";

static char *read_csv(arena *a)
{
    void *text;
    size_t bytes;
    assert_int_equal(file_read_all(a, path_join(a, folder, "log.csv"), 1 << 20, &text, &bytes), OK);
    return text;
}

/* Classification's columns with top-k. */
static record_columns columns_of(int64_t k)
{
    const loss_terms terms = {.item = {{.tag = "loss"}, {.tag = "accuracy"}, {.trained = true}}, .count = 3};
    evaluation e = {.figure = {{"val/accuracy_top1", "", true}, {"val/loss", "", false}, {"", "", true}},
        .figure_count = 3,
        .order = {1, 0, 2}};
    record_columns c;
    snprintf(e.figure[2].tag, sizeof e.figure[2].tag, "val/accuracy_top%d", (int)k);
    record_columns_init(&c, &terms, &e);
    return c;
}

static void add(records *r, int64_t step, double loss)
{
    double v[RECORD_MAX];
    records_clear(v);
    v[r->columns.term[0]] = loss;
    assert_int_equal(records_add(r, step, (double)step / 10, 1.5, v), OK);
}

static void csv_survives_resume(void **state)
{
    (void)state;
    arena a = {0};
    records r;
    const record_columns columns = columns_of(5);
    assert_int_equal(records_open(&r, folder, &columns, -1), OK);
    for (int64_t s = 1; s <= 5; s++) add(&r, s, 1.0 / (double)s);
    records_close(&r);
    char *whole = read_csv(&a);
    static const char start[] =
        "step,epoch,time_s,train/loss,train/accuracy,train/penalty,train/grad_norm,val/loss,val/accuracy_top1,"
        "val/accuracy_top5,lr/group0,perf/images_per_second,perf/data_wait,data/replaced\n1,0.1,1.500,1,,,,,,,,,,\n"
        "2,0.2,1.500,0.5,,,,,,,,,,\n";
    assert_memory_equal(whole, start, sizeof start - 1);

    /* Killed after step 5 with a torn line; the checkpoint was at 3. */
    FILE *torn = fopen(path_join(&a, folder, "log.csv"), "a");
    assert_non_null(torn);
    fputs("6,0.6,1.5", torn);
    fclose(torn);
    assert_int_equal(records_open(&r, folder, &columns, 3), OK);
    assert_int_equal(r.count, 3);
    assert_true(r.rows[2].value[columns.term[0]] == 1.0 / 3 && isnan(r.rows[2].value[columns.figure[1]]));
    add(&r, 4, 0.25);
    add(&r, 5, 0.2);
    records_close(&r);
    assert_string_equal(read_csv(&a), whole);
    arena_free(&a);
}

/* A run of an earlier build, which had no column data/replaced, is gone on with. */
static void csv_of_before(void **state)
{
    (void)state;
    arena a = {0};
    records r;
    const record_columns columns = columns_of(5);
    static const char before[] =
        "step,epoch,time_s,train/loss,train/accuracy,train/penalty,train/grad_norm,val/loss,val/accuracy_top1,"
        "val/accuracy_top5,lr/group0,perf/images_per_second,perf/data_wait\n1,0.1,1.500,1,,,,,,,,,7\n";
    assert_int_equal(file_write_all(path_join(&a, folder, "log.csv"), before, sizeof before - 1), OK);
    assert_int_equal(records_open(&r, folder, &columns, 3), OK);
    assert_int_equal(r.count, 1);
    assert_true(r.rows[0].value[columns.data_wait] == 7 && isnan(r.rows[0].value[columns.replaced]));
    records_close(&r);
    assert_non_null(strstr(read_csv(&a), "perf/data_wait,data/replaced\n1,0.1,1.500,1,,,,,,,,,7,\n"));
    arena_free(&a);
}

static void foreign_csv_is_refused(void **state)
{
    (void)state;
    arena a = {0};
    records r;
    const record_columns columns = columns_of(3);
    assert_int_equal(records_open(&r, folder, &columns, 3), E_DATA); /* top-3 has another column */
    assert_non_null(strstr(status_message(), "other columns"));
    assert_int_equal(records_open(&r, folder, &columns, -1), OK); /* a new run starts a new file */
    records_close(&r);
    FILE *f = fopen(path_join(&a, folder, "log.csv"), "a");
    assert_non_null(f);
    fputs("1,0.1,1.5,abc,,,,,,,,,,\n", f);
    fclose(f);
    assert_int_equal(records_open(&r, folder, &columns, 9), E_DATA);
    assert_non_null(strstr(status_message(), "log.csv:2"));
    arena_free(&a);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_record_is_exact),
        cmocka_unit_test(scalar_record_is_exact),
        cmocka_unit_test(csv_survives_resume),
        cmocka_unit_test(csv_of_before),
        cmocka_unit_test(foreign_csv_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
