/* A program that uses libgraft: whatever happens around it, it gets a code and goes on. Each case runs in a process of
 * its own, so that one that ends its host is seen. */
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/unit_test.h"

#include "core/base/file.h"
#include "export/engine_format.h"
#include "export/export.h"
#include "export/graft.h"
#include "tests/unit/export_net.h"

enum { NOBODY = 65534, IMAGES = 6, KINDS = 3, SCORES = IMAGES * NET_CLASSES };

static const char *const kind_names[KINDS] = {"f32", "f16", "int8"};

typedef struct fixture {
    net_images images;
    char path[KINDS][64];
    char scratch[64]; /* a copy that a test may spoil */
    float expected[KINDS][SCORES]; /* of all images, by one thread */
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
    for (int i = 0; i < KINDS; i++)
        snprintf(f->path[i], sizeof f->path[i], "/tmp/graft-host-%s-%ld", kind_names[i], (long)getpid());
    snprintf(f->scratch, sizeof f->scratch, "/tmp/graft-host-copy-%ld", (long)getpid());
    if (write_engines(f) != OK) return 1;
    for (int i = 0; i < KINDS; i++) {
        graft_engine *e;
        if (graft_open(&e, f->path[i], &(graft_options){.threads = 1})) return 1;
        if (graft_run_tensor(e, f->expected[i], f->images.pixels, IMAGES)) return 1;
        graft_close(e);
    }
    return 0;
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

/* Scores of handles on a file that is overwritten, then cut off, are those of the file that was opened: for batches
 * that were computed before and for others. */
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

/* ------------------------------------------------------------------------------------------------ memory */

static size_t address_space(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%ld", &pages) != 1) pages = 0;
    if (f) fclose(f);
    return (size_t)pages * (size_t)sysconf(_SC_PAGESIZE);
}

static int limit(__rlimit_resource_t resource, size_t value)
{
    return setrlimit(resource, &(struct rlimit){value, value});
}

/* When the limit comes. */
enum { BEFORE_OPEN, AFTER_OPEN, AFTER_RUN, MOMENTS };

typedef struct memory_case {
    int kind;
    size_t more; /* bytes beside what the process has */
    int32_t threads, moment;
} memory_case;

/* Every call gives a code, E_MEMORY where it fails, and right scores where it does not. */
static int limit_memory(const fixture *f, const void *argument)
{
    const memory_case *c = argument;
    const char *path = f->path[c->kind];
    graft_engine *e;
    float scores[SCORES];
    if (c->moment == BEFORE_OPEN && limit(RLIMIT_AS, address_space() + c->more)) return 1;
    int code = graft_open(&e, path, &(graft_options){.threads = c->threads});
    if (code) return code == GRAFT_E_MEMORY ? 0 : 2;
    if (c->moment == AFTER_RUN && graft_run_tensor(e, scores, f->images.pixels, 2)) return 3;
    if (c->moment != BEFORE_OPEN && limit(RLIMIT_AS, address_space() + c->more)) return 4;
    for (int64_t n = IMAGES; n > 0; n -= 2) {
        code = graft_run_tensor(e, scores, f->images.pixels, n);
        if (code && code != GRAFT_E_MEMORY) return 5;
        if (!code && memcmp(scores, f->expected[c->kind], (size_t)n * NET_CLASSES * sizeof *scores)) return 6;
    }
    graft_close(e);
    return 0;
}

static void test_memory_ends(void **state)
{
    enum { STEPS = 13, STEP = 6666 << 10 }; /* up to 80 MB: more than the calls take */
    const fixture *f = *state;
    char what[80];
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    skip(); /* their shadow memory takes all address space */
#endif
    for (int kind = 0; kind < KINDS; kind += 2)
        for (int32_t moment = 0; moment < MOMENTS; moment++)
            for (size_t i = 0; i < STEPS; i++) {
                /* Integers are the same for any number of threads. */
                memory_case c = {kind, i * STEP, kind == 2 ? 1 + (int32_t)i % 3 : 1, moment};
                snprintf(what, sizeof what, "%s, moment %d, %zu bytes more, %d threads", kind_names[kind], moment,
                    c.more, c.threads);
                expect(limit_memory, f, &c, what);
            }
}

/* ------------------------------------------------------------------------------------------------ threads */

/* No further thread starts for this user: root has no such limit. */
static int forbid_threads(void)
{
    if (geteuid() == 0 && (setgid(NOBODY) || setuid(NOBODY))) return 1;
    return setrlimit(RLIMIT_NPROC, &(struct rlimit){1, 1000});
}

static void *nothing(void *argument) { return argument; }

static bool thread_starts(void)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, nothing, NULL)) return false;
    pthread_join(thread, NULL);
    return true;
}

/* Opening and running give E_MEMORY; one thread is always there. */
static int limit_threads(const fixture *f, const void *argument)
{
    int kind = *(const int *)argument;
    const char *path = f->path[kind];
    graft_engine *before, *single, *e;
    float scores[SCORES];
    if (graft_open(&single, path, &(graft_options){.threads = 1})) return 1;
    if (graft_open(&before, path, &(graft_options){.threads = 4})) return 2;
    if (forbid_threads() || thread_starts()) return 3;
    if (graft_open(&e, path, &(graft_options){.threads = 4}) != GRAFT_E_MEMORY || e) return 4;
    if (!strstr(graft_error(), "thread")) return 5;
    if (graft_run_tensor(before, scores, f->images.pixels, IMAGES) != GRAFT_E_MEMORY) return 6;
    if (graft_run_tensor(single, scores, f->images.pixels, IMAGES)) return 7;
    if (memcmp(scores, f->expected[kind], sizeof scores)) return 8;
    graft_close(before);
    graft_close(single);
    return 0;
}

/* A team that runs already needs no other: what was enough for the first call is enough for the next. */
static int keep_threads(const fixture *f, const void *argument)
{
    graft_engine *e;
    float scores[SCORES];
    if (graft_open(&e, f->path[*(const int *)argument], &(graft_options){.threads = 2})) return 1;
    if (graft_run_tensor(e, scores, f->images.pixels, IMAGES)) return 2;
    if (forbid_threads() || thread_starts()) return 3;
    for (int i = 0; i < 3; i++)
        if (graft_run_tensor(e, scores, f->images.pixels, IMAGES)) return 4;
    graft_close(e);
    return 0;
}

static void test_threads_end(void **state)
{
    const fixture *f = *state;
    for (int kind = 0; kind < KINDS; kind++) {
        expect(limit_threads, f, &kind, kind_names[kind]);
        expect(keep_threads, f, &kind, kind_names[kind]);
    }
}

/* Several threads with a handle each, of two compute threads, where not all can have them: some get codes, nobody ends
 * the process. */
static void *crowd_member(void *path)
{
    intptr_t wrong = 0;
    float scores[NET_CLASSES], image[NET_IMAGE] = {0};
    for (int k = 0; k < 3; k++) {
        graft_engine *e;
        int code = graft_open(&e, path, &(graft_options){.threads = 2});
        wrong += code && code != GRAFT_E_MEMORY;
        for (int i = 0; i < 5 && !code; i++) {
            code = graft_run_tensor(e, scores, image, 1);
            wrong += code && code != GRAFT_E_MEMORY;
        }
        graft_close(e);
    }
    return (void *)wrong;
}

static int crowd(const fixture *f, const void *more)
{
    enum { MEMBERS = 4 };
    pthread_t thread[MEMBERS];
    void *wrong;
    int started = 0, code = 0;
    size_t allowed = 1;
    if (forbid_threads()) return 1;
    /* The least limit under which one thread starts, and some more. Without root a limit cannot rise again. */
    while (geteuid() == NOBODY && allowed < 1000 && !thread_starts())
        if (setrlimit(RLIMIT_NPROC, &(struct rlimit){++allowed, 1000})) return 0;
    if (setrlimit(RLIMIT_NPROC, &(struct rlimit){allowed + MEMBERS - 1 + *(const size_t *)more, 1000})) return 0;
    while (
        started < MEMBERS && pthread_create(&thread[started], NULL, crowd_member, (void *)(uintptr_t)f->path[2]) == 0)
        started++;
    for (int i = 0; i < started; i++) {
        pthread_join(thread[i], &wrong);
        if (wrong) code = 2;
    }
    return code;
}

static void test_crowded_host(void **state)
{
    for (size_t more = 0; more < 5; more++) expect(crowd, *state, &more, "several threads");
}

/* ------------------------------------------------------------------------------------------------ classes */

/* A model without names of classes never becomes an engine: it is refused when it is read. */
static void test_no_classes(void **state)
{
    fixture *f = *state;
    model m, again;
    GOOD(net_model(&m, "resnet10", 0.0625));
    GOOD(model_save(&m, f->scratch));
    GOOD(model_load(&again, f->scratch));
    model_free(&again);
    m.class_count = 0;
    GOOD(model_save(&m, f->scratch));
    assert_int_equal(model_load(&again, f->scratch), E_MODEL);
    assert_non_null(strstr(status_message(), "graft.classes is empty: expected a name for each of the 5 outputs"));
    model_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_changed_file),
        cmocka_unit_test(test_memory_ends),
        cmocka_unit_test(test_threads_end),
        cmocka_unit_test(test_crowded_host),
        cmocka_unit_test(test_no_classes),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
