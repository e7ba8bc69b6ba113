/* Devices: what every backend promises, on those that this machine has. */
#include "core/device/replay.h"

#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit_test.h"

/* Compute capabilities: the CUDA programming guide, "application compatibility". */
static void kernels_run_on_their_architectures(void **state)
{
    (void)state;
    const char *all = "75 80 86 87 89 90a +90";
    assert_false(device_cuda_runs_on(all, 70));
    assert_true(device_cuda_runs_on(all, 75));
    assert_true(device_cuda_runs_on(all, 80));
    assert_true(device_cuda_runs_on(all, 89));
    assert_true(device_cuda_runs_on(all, 90));
    assert_true(device_cuda_runs_on(all, 100)); /* PTX */
    assert_true(device_cuda_runs_on(all, 120));
    assert_true(device_cuda_runs_on("80", 86));  /* same generation, later */
    assert_false(device_cuda_runs_on("86", 80)); /* never earlier          */
    assert_false(device_cuda_runs_on("80", 90)); /* no PTX                 */
    assert_true(device_cuda_runs_on(all, 87));   /* Jetsons: theirs alone  */
    assert_false(device_cuda_runs_on("80 86", 87));
    assert_false(device_cuda_runs_on("87", 89));
    assert_true(device_cuda_runs_on("80 +80", 87));
    assert_false(device_cuda_runs_on("90a", 100));
    assert_false(device_cuda_runs_on("90a", 91));
    assert_true(device_cuda_runs_on("75 +75", 90));
    assert_false(device_cuda_runs_on("+90", 89));
}

static device *open_or_skip(spec_device kind)
{
    device *dev;
    logger quiet = {0};
    if (device_open(&dev, kind, 0, 1, &quiet) == OK) return dev;
    assert_int_equal(kind, SPEC_DEVICE_CUDA);
    assert_true(strlen(status_message()) > 20); /* says why, and what to do */
    assert_non_null(strstr(status_message(), "device = cpu"));
    skip();
    return NULL;
}

static void check_memory(device *dev)
{
    enum { COUNT = 1000 };
    const device_api *api = dev->api;
    char host[COUNT], back[COUNT];
    buffer a, b;
    for (int i = 0; i < COUNT; i++) host[i] = (char)(i * 7 + 1), back[i] = 1;
    assert_int_equal(buffer_init(&a, dev, COUNT, "a"), OK);
    assert_int_equal(buffer_init(&b, dev, COUNT, "b"), OK);
    assert_int_equal((uintptr_t)a.data % 256, 0);
    assert_int_equal(device_download(dev, back, a.data, COUNT), OK);
    for (int i = 0; i < COUNT; i++) assert_int_equal(back[i], 0);
    assert_int_equal(device_upload(dev, a.data, host, COUNT), OK);
    assert_int_equal(api->copy(dev, b.data, a.data, COUNT, dev->stream), OK);
    assert_int_equal(device_download(dev, back, b.data, COUNT), OK);
    assert_memory_equal(back, host, COUNT);
    assert_int_equal(api->zero(dev, (char *)b.data + 1, COUNT - 2, dev->stream), OK);
    assert_int_equal(device_download(dev, back, b.data, COUNT), OK);
    assert_int_equal(back[0], host[0]);
    assert_int_equal(back[COUNT - 1], host[COUNT - 1]);
    for (int i = 1; i < COUNT - 1; i++) assert_int_equal(back[i], 0);
    buffer_free(&a);
    buffer_free(&b);
    int64_t available, total;
    assert_int_equal(api->memory(dev, &available, &total), OK);
    assert_in_range(available, 1, total);
    assert_int_equal(buffer_init(&a, dev, (size_t)1 << 50, "too much"), E_MEMORY);
    assert_non_null(strstr(status_message(), "too much: 1"));
    assert_null(a.data);
}

/* Pinned memory, a second stream and events: what goes in on one stream is seen by the other after its event. */
static void check_streams(device *dev)
{
    enum { COUNT = 100000 };
    const device_api *api = dev->api;
    void *stream, *event, *pinned;
    buffer a, b;
    char text[256];
    assert_int_equal(api->stream_create(dev, &stream), OK);
    assert_int_equal(api->event_create(dev, &event), OK);
    assert_int_equal(api->host_alloc(dev, COUNT, &pinned), OK);
    assert_int_equal(buffer_init(&a, dev, COUNT, "a"), OK);
    assert_int_equal(buffer_init(&b, dev, COUNT, "b"), OK);
    for (int round = 1; round < 4; round++) {
        memset(pinned, round, COUNT);
        assert_int_equal(api->copy_in(dev, a.data, pinned, COUNT, stream), OK);
        assert_int_equal(api->event_record(dev, event, stream), OK);
        assert_int_equal(api->event_wait(dev, event, dev->stream), OK);
        assert_int_equal(api->copy(dev, b.data, a.data, COUNT, dev->stream), OK);
        assert_int_equal(api->event_sync(dev, event), OK);
        memset(pinned, 0, COUNT);
        assert_int_equal(device_download(dev, pinned, b.data, COUNT), OK);
        for (int i = 0; i < COUNT; i++) assert_int_equal(((char *)pinned)[i], round);
    }
    buffer_free(&a);
    buffer_free(&b);
    api->host_release(dev, pinned);
    api->event_destroy(dev, event);
    api->stream_destroy(dev, stream);
    device_range_push(dev, "a range");
    device_range_pop(dev);
    api->describe(dev, text, sizeof text);
    assert_true(strlen(text) > 5);
}

static void check_capture(device *dev)
{
    const device_api *api = dev->api;
    buffer a, b;
    void *captured;
    char host[64], back[64];
    if (!api->capture_begin) return;
    assert_int_equal(buffer_init(&a, dev, 64, "a"), OK);
    assert_int_equal(buffer_init(&b, dev, 64, "b"), OK);
    assert_int_equal(api->capture_begin(dev, dev->stream), OK);
    assert_int_equal(api->copy(dev, b.data, a.data, 64, dev->stream), OK);
    assert_int_equal(api->zero(dev, a.data, 64, dev->stream), OK);
    assert_int_equal(api->capture_end(dev, dev->stream, &captured), OK);
    for (int round = 1; round < 4; round++) {
        memset(host, round, 64);
        assert_int_equal(device_upload(dev, a.data, host, 64), OK);
        assert_int_equal(api->capture_run(dev, captured, dev->stream), OK);
        assert_int_equal(device_download(dev, back, b.data, 64), OK);
        assert_memory_equal(back, host, 64);
        assert_int_equal(device_download(dev, back, a.data, 64), OK);
        for (int i = 0; i < 64; i++) assert_int_equal(back[i], 0);
    }
    api->capture_destroy(dev, captured);
    /* One that is dropped leaves the stream usable. */
    assert_int_equal(api->capture_begin(dev, dev->stream), OK);
    assert_int_equal(api->zero(dev, b.data, 64, dev->stream), OK);
    assert_int_equal(api->capture_end(dev, dev->stream, NULL), OK);
    assert_int_equal(device_download(dev, back, b.data, 64), OK);
    assert_memory_equal(back, host, 64);
    buffer_free(&a);
    buffer_free(&b);
}

static void check_device(spec_device kind)
{
    device *dev = open_or_skip(kind);
    check_memory(dev);
    check_streams(dev);
    check_capture(dev);
    device_close(dev);
}

static void the_cpu_keeps_the_contract(void **state)
{
    (void)state;
    check_device(SPEC_DEVICE_CPU);
}

static void cuda_keeps_the_contract_or_says_why_not(void **state)
{
    (void)state;
    check_device(SPEC_DEVICE_CUDA);
}

static void auto_always_finds_something(void **state)
{
    (void)state;
    check_device(SPEC_DEVICE_AUTO);
}

/* A device that counts what is asked of it; capturing fails while `broken`. */
typedef struct counts {
    int began, ended, dropped, ran, destroyed, worked;
    bool broken;
} counts;

static status count_begin(device *dev, void *stream)
{
    (void)stream;
    ((counts *)dev->state)->began++;
    return OK;
}

static status count_end(device *dev, void *stream, void **captured)
{
    counts *c = dev->state;
    (void)stream;
    if (!captured) return c->dropped++, OK;
    c->ended++;
    *captured = c;
    return c->broken ? FAIL(E_DEVICE, "cannot be captured") : OK;
}

static status count_run(device *dev, void *captured, void *stream)
{
    (void)stream;
    assert_ptr_equal(captured, dev->state);
    ((counts *)dev->state)->ran++;
    return OK;
}

static void count_destroy(device *dev, void *captured)
{
    assert_ptr_equal(captured, dev->state);
    ((counts *)dev->state)->destroyed++;
}

static status work(void *context)
{
    counts *c = context;
    c->worked++;
    return c->broken && c->worked == 2 ? FAIL(E_DEVICE, "not while capturing") : OK;
}

static counts replay_five_times(bool broken)
{
    counts c = {.broken = broken};
    device_api api = device_api_cpu;
    api.capture_begin = count_begin;
    api.capture_end = count_end;
    api.capture_run = count_run;
    api.capture_destroy = count_destroy;
    device dev = {.api = &api, .state = &c};
    replay r;
    replay_init(&r, &dev);
    for (int i = 0; i < 5; i++) assert_int_equal(replay_run(&r, work, &c), OK);
    replay_free(&r);
    return c;
}

static void a_word_that_is_no_instruction_set_is_refused(void **state)
{
    (void)state;
    device *dev = NULL;
    const char *before = getenv("GRAFT_CPU_ISA");
    char *kept = before ? strdup(before) : NULL;
    setenv("GRAFT_CPU_ISA", "sse9", 1);
    assert_int_equal(device_open(&dev, SPEC_DEVICE_CPU, 0, 0, NULL), E_USAGE);
    assert_null(dev);
    assert_non_null(strstr(status_message(), "GRAFT_CPU_ISA=sse9 in the environment: expected base, avx2 or avx512"));
    setenv("GRAFT_CPU_ISA", "", 1);
    assert_int_equal(device_open(&dev, SPEC_DEVICE_CPU, 0, 0, NULL), OK);
    device_close(dev);
    if (kept) setenv("GRAFT_CPU_ISA", kept, 1);
    else unsetenv("GRAFT_CPU_ISA");
    free(kept);
}

static void work_is_captured_once_and_replayed(void **state)
{
    (void)state;
    counts c = replay_five_times(false);
    assert_int_equal(c.worked, 2); /* directly, then into the capture */
    assert_int_equal(c.began, 1);
    assert_int_equal(c.ended, 1);
    assert_int_equal(c.ran, 4);
    assert_int_equal(c.destroyed, 1);

    c = replay_five_times(true);
    assert_int_equal(c.began, 1);
    assert_int_equal(c.dropped, 1);
    assert_int_equal(c.ran, 0);
    assert_int_equal(c.worked, 6); /* every run, and the attempt */

    setenv("GRAFT_NO_GRAPH", "1", 1);
    c = replay_five_times(false);
    unsetenv("GRAFT_NO_GRAPH");
    assert_int_equal(c.began, 0);
    assert_int_equal(c.worked, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_run_on_their_architectures),
        cmocka_unit_test(the_cpu_keeps_the_contract),
        cmocka_unit_test(cuda_keeps_the_contract_or_says_why_not),
        cmocka_unit_test(auto_always_finds_something),
        cmocka_unit_test(a_word_that_is_no_instruction_set_is_refused),
        cmocka_unit_test(work_is_captured_once_and_replayed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
