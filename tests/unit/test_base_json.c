/* JSON in and out, and numbers as text. */
#include "tests/unit/unit_test.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/rng.h"
#include "core/base/text.h"

static status parse(arena *a, const char *text, json **root)
{
    return json_parse(a, text, strlen(text), "test", root);
}

static void reads_every_type(void **state)
{
    (void)state;
    arena a = {0};
    json *root;
    int64_t integer;
    double number;
    bool boolean;
    assert_int_equal(
        parse(&a, " {\"a\": [1, -2.5e3, \"x\\n\\u00e4\", true, null], \"b\": {\"c\": {}}, \"d\": []}", &root), OK);
    const json *list = json_get(root, "a");
    assert_int_equal(list->count, 5);
    assert_true(json_int(json_at(list, 0), &integer) && integer == 1);
    assert_true(json_number(json_at(list, 0), &number) && number == 1);
    assert_true(json_number(json_at(list, 1), &number) && number == -2500);
    assert_false(json_int(json_at(list, 1), &integer));
    assert_string_equal(json_string(json_at(list, 2)), "x\n\xc3\xa4");
    assert_true(json_bool(json_at(list, 3), &boolean) && boolean);
    assert_int_equal(json_at(list, 4)->type, JSON_NULL);
    assert_int_equal(json_get(json_get(root, "b"), "c")->count, 0);
    assert_string_equal(root->keys[1], "b");
    assert_int_equal(json_get(root, "d")->type, JSON_ARRAY);
    /* Chains over what is not there. */
    assert_null(json_string(json_get(json_at(json_get(root, "z"), 3), "y")));
    assert_null(json_at(list, 5));
    assert_null(json_at(list, -1));
    assert_null(json_at(root, 0));
    assert_null(json_get(list, "a"));
    assert_null(json_string(root));
    assert_false(json_bool(NULL, &boolean) || json_int(NULL, &integer) || json_number(list, &number));
    arena_free(&a);
}

static void large_integers(void **state)
{
    (void)state;
    arena a = {0};
    json *root;
    int64_t integer = 0;
    double number;
    assert_int_equal(parse(&a, "[9223372036854775807, -9223372036854775808, 9223372036854775808]", &root), OK);
    assert_true(json_int(json_at(root, 0), &integer) && integer == INT64_MAX);
    assert_true(json_int(json_at(root, 1), &integer) && integer == INT64_MIN);
    assert_false(json_int(json_at(root, 2), &integer));
    assert_true(json_number(json_at(root, 2), &number) && number == 0x1p63);
    arena_free(&a);
}

static void refuses(void **state)
{
    (void)state;
    arena a = {0};
    json *root;
    static const struct {
        const char *text, *reason;
    } bad[] = {
        {"", "premature EOF"},
        {"   ", "premature EOF"},
        {"{\"a\":1,\"b\":2,\"a\":3}", "\"a\" appears twice"},
        {"{\"a\":1,}", "bad JSON"},
        {"[1 2]", "bad JSON"},
        {"[1] 2", "bad JSON"},
        {"{\"a\"", "bad JSON"},
        {"[\"\\u0000\"]", "\\u0000"},
        {"{\"\\u0000a\":1}", "\\u0000"},
        {"[1e999]", "too large"},
        {"[nan]", "bad JSON"},
        {"[01]", "bad JSON"},
        {"/* c */ 1", "bad JSON"},
        {"[\"\xff\"]", "bad JSON"},
        {"[\"\xed\xa0\xff\"]", "bad JSON"},
        {"[\n\n\"a\", x]", "line 3"},
        {"[0.1000000000000000000000000000000000000000000000000000000000000000001]", "63 characters"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        root = (json *)&a;
        if (parse(&a, bad[i].text, &root) != E_MODEL) fail_msg("accepted: %s", bad[i].text);
        assert_null(root);
        assert_int_equal(strncmp(status_message(), "test: ", 6), 0);
        if (!strstr(status_message(), bad[i].reason)) fail_msg("%s: %s", bad[i].text, status_message());
    }
    assert_int_equal(json_parse(&a, "[1\0]", 4, "test", &root), E_MODEL);
    arena_free(&a);
}

static void limits(void **state)
{
    (void)state;
    arena a = {0};
    json *root;
    char text[200];
    memset(text, '[', 64);
    memset(text + 64, ']', 64);
    assert_int_equal(json_parse(&a, text, 128, "depth 64", &root), OK);
    memset(text, '[', 65);
    memset(text + 65, ']', 65);
    assert_int_equal(json_parse(&a, text, 130, "depth 65", &root), E_MODEL);
    assert_non_null(strstr(status_message(), "deeper than 64"));

    size_t bytes = 100000001; /* never touched: the size is refused first */
    assert_int_equal(json_parse(&a, text, bytes, "long", &root), E_MODEL);
    assert_non_null(strstr(status_message(), "limit"));

    size_t count = (1 << 18) + 2;
    char *many = malloc(2 * count + 2);
    many[0] = '[';
    for (size_t i = 0; i < count; i++) memcpy(many + 1 + 2 * i, "1,", 2);
    many[2 * count] = ']';
    assert_int_equal(json_parse(&a, many, 2 * count + 1, "many", &root), E_MODEL);
    assert_non_null(strstr(status_message(), "values"));
    free(many);
    arena_free(&a);
}

/* Every truncation and every flipped byte of a text is either read or refused, never a crash or a leak (sanitizers). */
static void damaged_texts(void **state)
{
    (void)state;
    const char *text = "{\"w\":{\"dtype\":\"F32\",\"shape\":[3,4],\"data_offsets\":[0,48]},\"__metadata__\":{\"a\":"
                       "\"\\u00e4\\ud83d\\ude00\"}}";
    size_t bytes = strlen(text);
    json *root;
    for (size_t n = 0; n < bytes; n++) {
        arena a = {0};
        assert_int_equal(json_parse(&a, text, n, "cut", &root), E_MODEL);
        arena_free(&a);
    }
    char copy[256];
    for (size_t i = 0; i < bytes; i++) {
        for (int value = 0; value < 256; value += 5) {
            arena a = {0};
            memcpy(copy, text, bytes);
            copy[i] = (char)value;
            json_parse(&a, copy, bytes, "flipped", &root);
            arena_free(&a);
        }
    }
}

static void writes(void **state)
{
    (void)state;
    json_writer w = {0};
    const char *text;
    size_t bytes;
    json_begin_object(&w);
    json_key(&w, "a\"b");
    json_begin_array(&w);
    json_put_int(&w, INT64_MIN);
    json_put_number(&w, 0.1);
    json_put_number(&w, (double)NAN);
    json_put_number(&w, (double)-INFINITY);
    json_put_bool(&w, true);
    json_put_null(&w);
    json_put_string(&w, NULL);
    json_end_array(&w);
    json_key(&w, "c");
    json_put_string(&w, "x\n\t\x01\\\xc3\xa4\xff");
    json_key(&w, "d");
    json_begin_object(&w);
    json_end_object(&w);
    json_end_object(&w);
    assert_int_equal(json_writer_finish(&w, &text, &bytes), OK);
    assert_string_equal(text, "{\"a\\\"b\":[-9223372036854775808,0.1,null,null,true,null,null],"
                              "\"c\":\"x\\n\\t\\u0001\\\\\xc3\xa4\xef\xbf\xbd\",\"d\":{}}");
    assert_int_equal(bytes, strlen(text));
    arena a = {0};
    json *root;
    assert_int_equal(json_parse(&a, text, bytes, "own output", &root), OK);
    arena_free(&a);
    json_writer_free(&w);

    json_begin_array(&w);
    assert_int_equal(json_writer_finish(&w, &text, &bytes), E_INTERNAL); /* not closed */
    json_writer_free(&w);
}

/* Whatever bytes a string has, the output is JSON. */
static void any_string_is_valid_output(void **state)
{
    (void)state;
    rng r = rng_make(11, RNG_TEST, 0);
    for (int round = 0; round < 2000; round++) {
        char value[24];
        size_t length = rng_below(&r, 20);
        for (size_t i = 0; i < length; i++)
            value[i] = (char)(rng_below(&r, 2) ? 0xc0 + rng_below(&r, 64) : 1 + rng_below(&r, 255));
        value[length] = 0;
        json_writer w = {0};
        const char *text;
        size_t bytes;
        arena a = {0};
        json *root;
        json_put_string(&w, value);
        assert_int_equal(json_writer_finish(&w, &text, &bytes), OK);
        if (json_parse(&a, text, bytes, "string", &root) != OK) fail_msg("%s: %s", text, status_message());
        arena_free(&a);
        json_writer_free(&w);
    }
}

static void numbers_read_back(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } row[] = {{0.1, "0.1"}, {1e-5, "1e-05"}, {3, "3"}, {-0.0, "-0"}, {1.0 / 3, "0.3333333333333333"},
               {5e-324, "4.94065645841247e-324"}, {1e22, "1e+22"}, {1.3333333333333333, "1.3333333333333333"}};
    char text[32];
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        number_text(row[i].value, text);
        assert_string_equal(text, row[i].text);
    }
    rng r = rng_make(12, RNG_TEST, 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t bits = rng_u64(&r);
        double value, back = 0;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        number_text(value, text);
        assert_true(text_to_number(text, &back));
        assert_memory_equal(&back, &value, sizeof value);
    }
    number_text((double)NAN, text);
    assert_string_equal(text, "nan");
}

static void numbers_are_checked(void **state)
{
    (void)state;
    double number;
    int64_t integer;
    static const char *const bad[] = {
        "", " 1", "1 ", "0x10", "nan", "inf", "1e999", "1.2.3", "--1", "1e", "+", ".", "1,5"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(text_to_number(bad[i], &number));
    assert_true(text_to_number("+.5", &number) && number == 0.5);
    assert_true(text_to_number("8.", &number) && number == 8);
    static const char *const bad_int[] = {"", "-", "1.0", " 1", "1e3", "0x1", "9223372036854775808"};
    for (size_t i = 0; i < sizeof bad_int / sizeof *bad_int; i++) assert_false(text_to_int(bad_int[i], &integer));
    assert_true(text_to_int("-0012", &integer) && integer == -12);
}

/* A host program may have chosen a locale whose decimal point is a comma. */
static void locale_does_not_matter(void **state)
{
    (void)state;
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8")) skip();
    char text[32];
    double number = 0;
    number_text(0.5, text);
    bool fine = text_to_number("2.25", &number);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(text, "0.5");
    assert_true(fine && number == 2.25);
}

static void nearest_words(void **state)
{
    (void)state;
    static const char *const words[] = {"epochs", "batch_size", "learning_rate", "seed"};
    assert_string_equal(text_nearest("epoch", words, 4), "epochs");
    assert_string_equal(text_nearest("batchsize", words, 4), "batch_size");
    assert_string_equal(text_nearest("SEED", words, 4), "seed");
    assert_string_equal(text_nearest("leraning_rate", words, 4), "learning_rate");
    assert_null(text_nearest("colour", words, 4));
    assert_null(text_nearest("x", words, 4));
    assert_null(text_nearest("epochs", words, 0));
    assert_int_equal(text_distance("kitten", "sitting"), 6); /* the textbook's 3 edits, in halves */
    assert_int_equal(text_distance("ab", "ba"), 2);
    assert_int_equal(text_distance("", "abc"), 6);
    assert_int_equal(text_distance("A", "a"), 1);
    char longer[300];
    memset(longer, 'x', sizeof longer - 1);
    longer[299] = 0;
    assert_null(text_nearest(longer, words, 4));
}

static void folds(void **state)
{
    (void)state;
    assert_true(text_has_word("ab cd", "ab") && text_has_word("ab cd", "cd") && text_has_word("xab ab", "ab"));
    assert_false(text_has_word("ab cd", "b") || text_has_word("ab cd", "a") || text_has_word("abc", "ab") ||
                 text_has_word("", "a"));
    assert_int_equal(text_fold("", 5), 0);
    assert_int_equal(text_fold("ab cd ef", 8), 8);
    assert_int_equal(text_fold("ab cd ef", 7), 5);
    assert_int_equal(text_fold("ab cd ef", 5), 5);
    assert_int_equal(text_fold("ab cd ef", 4), 2);
    assert_int_equal(text_fold("abcdef gh", 4), 6); /* a word longer than a line */
    assert_int_equal(text_fold("ab\ncd", 5), 2);
    assert_int_equal(text_fold("abcdef\ngh", 4), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_type),       cmocka_unit_test(large_integers),
        cmocka_unit_test(refuses),                cmocka_unit_test(limits),
        cmocka_unit_test(damaged_texts),          cmocka_unit_test(writes),
        cmocka_unit_test(any_string_is_valid_output), cmocka_unit_test(numbers_read_back),
        cmocka_unit_test(numbers_are_checked),    cmocka_unit_test(locale_does_not_matter),
        cmocka_unit_test(nearest_words),          cmocka_unit_test(folds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
