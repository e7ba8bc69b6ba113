/* State files: every value comes back; every truncation and every flipped bit is refused. */
#include "tests/unit/unit_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/file.h"
#include "core/train/state.h"

static char folder[] = "/tmp/graft-state-XXXXXX";
static char path[128], bad_path[128];

static const float moments[37] = {1.5f, -2, 3e-38f};
static const uint8_t tail[3] = {7, 8, 9};
static const char *const names[] = {"conv2d_forward__cpu_dnnl", "add__cpu", ""};

static train_state example(void)
{
    train_state s = {.model_hash = {0x0123456789abcdef, 0xfedcba9876543210},
        .layout = 0xdeadbeef12345678,
        .spec_text = "[train]\nseed = 7\n"};
    s.progress = (train_progress){.step = 1234567890123,
        .applied = 5,
        .bad_total = 2,
        .bad_run = 1,
        .batch_size = 32,
        .threads = 2,
        .world = 1,
        .seed = 4294967295,
        .best_step = -1,
        .best_criterion = -1,
        .best_watched = INFINITY,
        .stop_watched = 0.1,
        .stop_waited = 3,
        .stopped = true,
        .closed = true,
        .fitted = true,
        .seconds = 12.345678901234567};
    s.progress.window = (train_window){.term = {0.1 + 0.2, 50, [TERM_MAX - 1] = INFINITY},
        .penalty_sum = 1e-300,
        .norm_sum = INFINITY,
        .batches = 3,
        .images = 96,
        .updates = 3,
        .seconds = 0.25,
        .wait_seconds = 1.0 / 3};
    s.block[0] = (state_block){"moment1", moments, sizeof moments};
    s.block[1] = (state_block){"tail", tail, sizeof tail};
    s.block_count = 2;
    s.list[0] = (state_list){"train", names, 3};
    s.list[1] = (state_list){"eval", NULL, 0};
    s.list_count = 2;
    return s;
}

static void everything_comes_back(void **state)
{
    (void)state;
    train_state s = example(), r;
    assert_int_equal(state_write(&s, path), OK);
    assert_int_equal(state_read(&r, path), OK);
    assert_memory_equal(&r.progress, &s.progress, sizeof s.progress);
    assert_memory_equal(&r.model_hash, &s.model_hash, sizeof s.model_hash);
    assert_true(r.layout == s.layout);
    assert_string_equal(r.spec_text, s.spec_text);
    const state_block *b = state_find(&r, "moment1");
    assert_non_null(b);
    assert_int_equal(b->bytes, sizeof moments);
    assert_memory_equal(b->data, moments, sizeof moments);
    assert_int_equal((uintptr_t)b->data % 64, 0);
    assert_null(state_find(&r, "moment2"));
    const state_list *l = state_find_list(&r, "train");
    assert_non_null(l);
    assert_int_equal(l->count, 3);
    assert_string_equal(l->item[0], names[0]);
    assert_int_equal(state_find_list(&r, "eval")->count, 0);
    state_free(&r);
}

static void every_damage_is_seen(void **state)
{
    (void)state;
    train_state s = example(), r;
    arena a = {0};
    void *data;
    size_t bytes;
    assert_int_equal(state_write(&s, path), OK);
    assert_int_equal(file_read_all(&a, path, 1 << 20, &data, &bytes), OK);
    uint8_t *copy = data;
    for (size_t cut = 0; cut < bytes; cut++) {
        assert_int_equal(file_write_all(bad_path, copy, cut), OK);
        if (state_read(&r, bad_path) != E_MODEL) fail_msg("cut at %zu of %zu was accepted", cut, bytes);
    }
    for (size_t i = 0; i < bytes; i++) {
        copy[i] ^= (uint8_t)(1u << (i % 8));
        assert_int_equal(file_write_all(bad_path, copy, bytes), OK);
        if (state_read(&r, bad_path) != E_MODEL) fail_msg("flipped bit in byte %zu was accepted", i);
        copy[i] ^= (uint8_t)(1u << (i % 8));
    }
    uint8_t *longer = malloc(bytes + 1);
    assert_non_null(longer);
    memcpy(longer, copy, bytes);
    longer[bytes] = 0;
    assert_int_equal(file_write_all(bad_path, longer, bytes + 1), OK);
    assert_int_equal(state_read(&r, bad_path), E_MODEL);
    free(longer);
    arena_free(&a);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    train_state r;
    assert_int_equal(state_read(&r, "/nonexistent/x.state"), E_IO);
    char text[64] = "not a state file, but long enough to be looked at; really.";
    assert_int_equal(file_write_all(bad_path, text, sizeof text), OK);
    assert_int_equal(state_read(&r, bad_path), E_MODEL);
    assert_non_null(strstr(status_message(), "not a training state"));
}

static int set_up(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/last.state", folder);
    snprintf(bad_path, sizeof bad_path, "%s/bad.state", folder);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(everything_comes_back), cmocka_unit_test(every_damage_is_seen),
        cmocka_unit_test(other_files_are_refused)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
