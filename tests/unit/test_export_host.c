/* A program that uses libgraft: whatever happens around it, it gets a code and goes on. Each case runs in a process of its own, so that
 * one that ends its host is seen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/base/file.h"
#include "export/engine_format.h"
#include "export/export.h"
#include "export/graft.h"
#include "tests/unit/export_net.h"

enum { IMAGES = 6, KINDS = 3, SCORES = IMAGES * NET_CLASSES };

static const char *const kind_names[KINDS] = {"f32", "f16", "int8"};

typedef struct fixture {
    net_images images;
    char path[KINDS][64];
    char scratch[64]; /* a copy that a test may spoil */
} fixture;

static status write_engines(fixture *f)
{
    model m;
    engine e;
    export_scales scales;
    device *dev;
    /* One thread: the processes that are forked later must not need this one's. */
    TRY(device_open(&dev, SPEC_DEVICE_CPU, 0, 1, NULL));
    TRY(net_model(&m, "resnet10", 0.0625));
    calibration_data data = net_data(&f->images);
    export_options o = {.calibrator = CALIBRATOR_MINMAX, .source_name = "net.safetensors", .dev = dev, .data = &data};
    for (int kind = 0; kind < 2; kind++) {
        o.half = kind == 1;
        TRY(export_float(&e, &m, &o));
        TRY(engine_save(&e, f->path[kind]));
        engine_free(&e);
    }
    o.half = false;
    TRY(export_calibrate(&scales, &m, &o, 8601));
    TRY(export_int8(&e, &m, &scales, &o));
    TRY(engine_save(&e, f->path[2]));
    engine_free(&e);
    export_scales_free(&scales);
    model_free(&m);
    device_close(dev);
    return OK;
}

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    if (!f) return 1;
    *state = f;
    f->images = net_images_make(IMAGES, 3, false);
    for (int i = 0; i < KINDS; i++) snprintf(f->path[i], sizeof f->path[i], "/tmp/graft-host-%s-%ld", kind_names[i], (long)getpid());
    snprintf(f->scratch, sizeof f->scratch, "/tmp/graft-host-copy-%ld", (long)getpid());
    return write_engines(f) == OK ? 0 : 1;
}

static int teardown(void **state)
{
    fixture *f = *state;
    for (int i = 0; i < KINDS; i++) unlink(f->path[i]);
    unlink(f->scratch);
    net_images_free(&f->images);
    free(f);
    return 0;
}

/* What a case found: 0, or the number of the first thing that was wrong. */
typedef int host_case(const fixture *f, const void *argument);

static void expect(host_case *run, const fixture *f, const void *argument, const char *what)
{
    int code;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(run(f, argument));
    assert_int_equal(waitpid(child, &code, 0), child);
    if (WIFSIGNALED(code)) fail_msg("%s: ended by signal %d", what, WTERMSIG(code));
    if (WEXITSTATUS(code)) fail_msg("%s: ended with %d", what, WEXITSTATUS(code));
}

/* ------------------------------------------------------------------------------------------------ the file */

/* Scores of handles on a file that is overwritten, then cut off, are those of the file that was opened: for batches that were computed
 * before and for others. */
static int change_file(const fixture *f, const void *argument)
{
    const char *path = argument;
    static const int64_t batches[] = {IMAGES, 3, 1};
    graft_engine *untouched, *e;
    float expected[SCORES], scores[SCORES];
    file_map map;
    if (file_map_open(&map, path) || file_write_all(f->scratch, map.data, map.bytes)) return 1;
    if (graft_open(&untouched, path, &(graft_options){.threads = 1})) return 2;
    if (graft_open(&e, f->scratch, &(graft_options){.threads = 1})) return 3;
    if (graft_run_tensor(e, scores, f->images.pixels, 3)) return 4;
    for (int cut = 0; cut < 2; cut++) {
        FILE *file = fopen(f->scratch, "r+b");
        for (size_t i = 0; file && !cut && i < map.bytes; i++) fputc((int)(i * 37 & 0x7f), file);
        if (!file || fclose(file) || (cut && truncate(f->scratch, 0))) return 5;
        for (int i = 0; i < 3; i++) {
            if (graft_run_tensor(untouched, expected, f->images.pixels, batches[i])) return 6;
            if (graft_run_tensor(e, scores, f->images.pixels, batches[i])) return 7;
            if (memcmp(scores, expected, (size_t)batches[i] * NET_CLASSES * sizeof *scores)) return 8 + cut;
        }
    }
    return 0;
}

static void test_changed_file(void **state)
{
    const fixture *f = *state;
    for (int i = 0; i < KINDS; i++) expect(change_file, f, f->path[i], kind_names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changed_file),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
