/* status, arena, array_reserve. */
#include "tests/unit/unit_test.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"

static status inner(void)
{
    return FAIL(E_DATA, "file %s: %d", "x", 3);
}

static status outer(void)
{
    TRY(inner());
    return OK;
}

static void status_keeps_the_first_place(void **state)
{
    (void)state;
    assert_int_equal(outer(), E_DATA);
    assert_string_equal(status_message(), "file x: 3");
    assert_non_null(strstr(status_origin(), "test_base_memory.c:"));
    /* The old message may be an argument of the new one. */
    assert_int_equal(FAIL(E_IO, "again: %s", status_message()), E_IO);
    assert_string_equal(status_message(), "again: file x: 3");
}

static void status_cuts_endless_messages(void **state)
{
    (void)state;
    char *text = malloc(100001);
    memset(text, 'a', 100000);
    text[100000] = 0;
    assert_int_equal(FAIL(E_USAGE, "%s", text), E_USAGE);
    size_t length = strlen(status_message());
    assert_true(length > 8000 && length < 100000);
    assert_string_equal(status_message() + length - 3, "...");
    free(text);
}

static void arena_aligns_and_zeroes(void **state)
{
    (void)state;
    arena a = {0};
    unsigned char *last = NULL;
    for (size_t bytes = 0; bytes < 3000; bytes += 7) {
        unsigned char *memory = arena_alloc(&a, bytes);
        assert_non_null(memory);
        assert_true(memory != last);
        assert_int_equal((uintptr_t)memory % 64, 0);
        for (size_t i = 0; i < bytes; i++) assert_int_equal(memory[i], 0);
        memset(memory, 0xff, bytes);
        last = memory;
    }
    assert_true(a.used_bytes >= 429u * 64u);
    arena_free(&a);
    assert_null(a.head);
    assert_non_null(arena_alloc(&a, 1)); /* usable again */
    arena_free(&a);
}

/* A large request must not throw away what is left of the current block. */
static void arena_keeps_the_current_block(void **state)
{
    (void)state;
    arena a = {0};
    char *small = arena_alloc(&a, 10);
    assert_non_null(arena_alloc(&a, 10 << 20));
    char *next = arena_alloc(&a, 10);
    assert_ptr_equal(next, small + 64);
    arena_free(&a);
}

static void arena_refuses_overflow(void **state)
{
    (void)state;
    arena a = {0};
    assert_null(ARENA_ARRAY(&a, double, -1));
    assert_null(ARENA_ARRAY(&a, double, INT64_MAX / 4));
    assert_null(arena_alloc(&a, SIZE_MAX));
    assert_null(arena_alloc(&a, SIZE_MAX - 100));
    assert_non_null(ARENA_ARRAY(&a, double, 0));
    arena_free(&a);
}

static void arena_texts(void **state)
{
    (void)state;
    arena a = {0};
    assert_string_equal(arena_strdup(&a, "graft"), "graft");
    assert_string_equal(arena_strndup(&a, "graft", 3), "gra");
    assert_string_equal(arena_strndup(&a, "gr", 30), "gr");
    assert_string_equal(arena_printf(&a, "%s.%d", "layer", 12), "layer.12");
    const int numbers[3] = {1, 2, 3};
    assert_memory_equal(arena_memdup(&a, numbers, sizeof numbers), numbers, sizeof numbers);
    assert_non_null(arena_memdup(&a, NULL, 0));
    arena_free(&a);
}

static status ask_for(arena *a, int64_t count)
{
    double *numbers;
    TRY_ALLOC(numbers, ARENA_ARRAY(a, double, count));
    return numbers[0] == 0 ? OK : E_INTERNAL;
}

static status ask_the_heap(int64_t count)
{
    status result = OK;
    double *numbers;
    TRY_ALLOC_OUT(numbers, HEAP_ARRAY(double, count));
    result = numbers[count - 1] == 0 ? OK : E_INTERNAL;
out:
    free(numbers);
    return result;
}

/* 2^38 doubles are 2^41 bytes, more than an allocation may have; the number is written out here. */
static void what_was_asked_for_is_told(void **state)
{
    (void)state;
    arena a = {0};
    assert_int_equal(ask_for(&a, 3), OK);
    assert_int_equal(ask_for(&a, INT64_C(1) << 38), E_MEMORY);
    assert_string_equal(status_message(), "out of memory: could not allocate 2199023255552 bytes");
    assert_int_equal(ask_for(&a, INT64_MAX), E_MEMORY);
    assert_string_equal(
        status_message(), "out of memory: an array of 9223372036854775807 items of 8 bytes does not fit");
    assert_int_equal(ask_the_heap(3), OK);
    assert_int_equal(ask_the_heap(INT64_C(1) << 38), E_MEMORY);
    assert_string_equal(status_message(), "out of memory: could not allocate 2199023255552 bytes");
    assert_int_equal(ask_the_heap(-1), E_MEMORY);
    assert_string_equal(status_message(), "out of memory: an array of -1 items of 8 bytes does not fit");
    assert_null(heap_alloc((size_t)1 << 42));
    assert_string_equal(status_message(), "out of memory: could not allocate 4398046511104 bytes");
    arena_free(&a);
    char *text = heap_printf("%s.%d", "layer", 12), *nothing = heap_alloc(0);
    assert_string_equal(text, "layer.12");
    assert_non_null(nothing);
    free(text);
    free(nothing);
}

static void array_grows_zeroed(void **state)
{
    (void)state;
    void *items = NULL;
    int64_t capacity = 0;
    for (int64_t n = 1; n < 1000; n++) {
        assert_int_equal(array_reserve(&items, &capacity, n, sizeof(int)), OK);
        assert_true(capacity >= n);
        assert_int_equal(((int *)items)[n - 1], 0);
        ((int *)items)[n - 1] = (int)n;
    }
    for (int i = 0; i < 999; i++) assert_int_equal(((int *)items)[i], i + 1);
    free(items);
}

static void array_refuses_overflow(void **state)
{
    (void)state;
    void *items = NULL;
    int64_t capacity = 0;
    assert_int_equal(array_reserve(&items, &capacity, INT64_MAX, 16), E_MEMORY);
    assert_int_equal(array_reserve(&items, &capacity, INT64_MAX / 2, 1), E_MEMORY);
    assert_null(items);
    assert_int_equal(capacity, 0);
    assert_int_equal(array_reserve(&items, &capacity, 4, 4), OK);
    int64_t before = capacity;
    assert_int_equal(array_reserve(&items, &capacity, INT64_MAX / 4, 8), E_MEMORY);
    assert_int_equal(capacity, before); /* what was there stays */
    assert_non_null(items);
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_keeps_the_first_place),  cmocka_unit_test(status_cuts_endless_messages),
        cmocka_unit_test(arena_aligns_and_zeroes),       cmocka_unit_test(arena_keeps_the_current_block),
        cmocka_unit_test(arena_refuses_overflow),        cmocka_unit_test(arena_texts),
        cmocka_unit_test(what_was_asked_for_is_told),
        cmocka_unit_test(array_grows_zeroed),            cmocka_unit_test(array_refuses_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
