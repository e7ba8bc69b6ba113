/* The table of tuned kernels: what is written is read again, what is damaged or of other kernels is not believed. */
#include "core/device/tuning.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "tests/unit/unit_test.h"

#include "core/base/file.h"

static char folder[] = "/tmp/graft-tuning-XXXXXX";

static device *open_cpu(void)
{
    static logger quiet; /* silent: no stream */
    device *dev;
    assert_int_equal(device_open(&dev, SPEC_DEVICE_CPU, 0, 1, &quiet), OK);
    return dev;
}

static conv2d_desc small(int64_t n)
{
    return (conv2d_desc){.n = n,
        .ih = 4,
        .iw = 4,
        .ic = 3,
        .oh = 4,
        .ow = 4,
        .oc = 5,
        .kh = 1,
        .kw = 1,
        .sh = 1,
        .sw = 1,
        .dil_h = 1,
        .dil_w = 1,
        .groups = 1};
}

/* The file's text with the first `from` replaced by `to`. */
static void edit(const char *path, const char *from, const char *to)
{
    arena a = {0};
    void *text;
    size_t bytes;
    assert_int_equal(file_read_all(&a, path, 1 << 20, &text, &bytes), OK);
    char *at = strstr(text, from);
    assert_non_null(at);
    char *changed = arena_printf(&a, "%.*s%s%s", (int)(at - (char *)text), (char *)text, to, at + strlen(from));
    assert_int_equal(file_write_all(path, changed, strlen(changed)), OK);
    arena_free(&a);
}

static void rows_survive(void **state)
{
    (void)state;
    device *dev = open_cpu();
    conv2d_desc one = small(1), two = small(2), three = small(3);
    const kernel *direct = kernel_find("conv2d_forward__ref_direct"),
                 *gemm = kernel_find("conv2d_forward__cpu_gemm_base");
    tuning t;
    assert_int_equal(tuning_open(&t, dev), OK);
    assert_null(tuning_find(&t, OP_CONV2D_FORWARD, &one));
    assert_int_equal(tuning_set(&t, OP_CONV2D_FORWARD, &one, direct, 2e-6), OK);
    assert_int_equal(tuning_set(&t, OP_CONV2D_FORWARD, &two, direct, 3e-6), OK);
    assert_int_equal(tuning_set(&t, OP_CONV2D_FORWARD, &two, gemm, 1e-6), OK); /* replaced */
    assert_int_equal(tuning_save(&t), OK);
    char *path = strdup(t.path);
    tuning_close(&t);

    assert_int_equal(tuning_open(&t, dev), OK);
    assert_int_equal(t.count, 2);
    assert_string_equal(tuning_find(&t, OP_CONV2D_FORWARD, &one), direct->name);
    assert_string_equal(tuning_find(&t, OP_CONV2D_FORWARD, &two), gemm->name);
    assert_null(tuning_find(&t, OP_CONV2D_FORWARD, &three));
    assert_null(tuning_find(&t, OP_CONV2D_DSRC, &one));
    tuning_close(&t);

    edit(path, direct->name, "conv2d_forward__gone"); /* one row is not believed, the other is */
    assert_int_equal(tuning_open(&t, dev), OK);
    assert_int_equal(t.count, 1);
    assert_string_equal(tuning_find(&t, OP_CONV2D_FORWARD, &two), gemm->name);
    tuning_close(&t);

    edit(path, "graft-tuning 1 ", "graft-tuning 1 f"); /* another hash: other kernels */
    assert_int_equal(tuning_open(&t, dev), OK);
    assert_int_equal(t.count, 0);
    tuning_close(&t);

    assert_int_equal(file_write_all(path, "\x7f\x45LF", 4), OK);
    assert_int_equal(tuning_open(&t, dev), OK);
    assert_int_equal(t.count, 0);
    tuning_close(&t);
    free(path);
    device_close(dev);
}

/* On the CPU, whose clock the device layer uses, too: the default is among what was timed, and
 * nothing is faster than the fastest. */
static void variants_are_timed(void **state)
{
    (void)state;
    device *dev = open_cpu();
    conv2d_desc d = small(1);
    d.epilogue.has_bias = true;
    tuning_result r;
    const kernel_op ops[] = {OP_CONV2D_FORWARD, OP_CONV2D_DSRC, OP_CONV2D_DWEIGHT};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(tuning_time_conv2d(dev, ops[i], &d, 3, &r), OK);
        assert_true(r.timed >= 2); /* two of the instruction sets at least */
        assert_int_equal(r.fastest->op, ops[i]);
        assert_true(r.fastest_seconds >= 0 && r.fastest_seconds <= r.chosen_seconds);
    }
    device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_survive),
        cmocka_unit_test(variants_are_timed),
    };
    if (!mkdtemp(folder) || setenv("XDG_CACHE_HOME", folder, 1) != 0) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command) != 0 || failed;
}
