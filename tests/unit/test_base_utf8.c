/* Names as UTF-8, and text files as editors leave them. */
#include "tests/unit/unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/text_file.h"
#include "core/base/utf8.h"

/* Sequences and their characters: RFC 3629, sections 3 and 7, and table 3-7 of the Unicode standard. */
static void characters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t length;
        uint32_t character;
    } good[] = {{"A", 1, 0x41}, {"\xc2\xa2", 2, 0xa2}, {"\xe2\x82\xac", 3, 0x20ac}, {"\xf0\x90\x8d\x88", 4, 0x10348},
        {"\xed\x9f\xbf", 3, 0xd7ff}, {"\xf4\x8f\xbf\xbf", 4, 0x10ffff}};
    static const char *const bad[] = {"\x80", "\xc0\xaf", "\xc1\xbf", "\xc3", "\xc3(", "\xe0\x9f\xbf", "\xed\xa0\x80",
        "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80", "\xff"};
    uint32_t character;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(utf8_character(good[i].text, &character), good[i].length);
        assert_int_equal(character, good[i].character);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(utf8_character(bad[i], &character), 0);
}

static void escapes(void **state)
{
    (void)state;
    static const char *const rows[][2] = {{"boot", "boot"}, {"caf\xc3\xa9", "caf\xc3\xa9"}, {"caf\xe9", "caf\\xe9"},
        {"a\nb\tc\r", "a\\x0ab\\x09c\\x0d"}, {"\x1b[31mred\x7f", "\\x1b[31mred\\x7f"},
        {"\xc2\x9b"
         "2J",
            "\\xc2\\x9b2J"},
        {"\xe2\x80\xae"
         "gnp",
            "\\xe2\\x80\\xaegnp"},
        {"\xe2\x80\xa8", "\\xe2\\x80\\xa8"}, {"\xe7\x8c\xab", "\xe7\x8c\xab"}, {"", ""}};
    arena a = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *shown = utf8_escaped(&a, rows[i][0]);
        assert_string_equal(shown, rows[i][1]);
        assert_int_equal(shown == rows[i][0], strcmp(rows[i][0], rows[i][1]) == 0);
        assert_ptr_equal(utf8_escaped(&a, shown), shown); /* a model's names come from models, too */
    }
    arena_free(&a);
}

/* Pairs of UnicodeData.txt: capital letters and their simple lower case. */
static void letters(void **state)
{
    (void)state;
    static const uint32_t pair[][2] = {{'A', 'a'}, {'z', 'z'}, {0xc9, 0xe9}, {0xd7, 0xd7}, {0x100, 0x101},
        {0x101, 0x101}, {0x139, 0x13a}, {0x13a, 0x13a}, {0x160, 0x161}, {0x17d, 0x17e}, {0x3a9, 0x3c9}, {0x410, 0x430},
        {0x401, 0x451}, {0x732b, 0x732b}};
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) assert_int_equal(utf8_lower(pair[i][0]), pair[i][1]);
}

static void columns(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes;
    FILE *f = open_memstream(&text, &bytes);
    utf8_print_column(f, "\xc3\xa9t\xc3\xa9", 5);
    utf8_print_column(f, "\xe7\x8c\xab\xe7\x8c\xab", 1); /* a character is not cut in two */
    fclose(f);
    assert_string_equal(text, "\xc3\xa9t\xc3\xa9  \xe7\x8c\xab");
    free(text);
}

static void text_files(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t count;
        const char *text; /* NULL: refused */
    } rows[] = {{"a\nb\n", 4, "a\nb\n"},
        {"\xef\xbb\xbf"
         "a\r\nb\r\n",
            9, "a\nb\n"},
        {"a\rb\r", 4, "a\nb\n"}, {"a\r\r\nb", 5, "a\n\nb"}, {"\xef\xbb\xbf", 3, ""}, {"", 0, ""},
        {"caf\xe9", 4, "caf\xe9"},
        {"\xff\xfe"
         "a\0",
            4, NULL},
        {"\xfe\xff\0a", 4, NULL}, {"a\0b", 3, NULL}};
    char path[] = "/tmp/graft-text-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    arena a = {0};
    char *text;
    size_t bytes;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(file_write_all(path, rows[i].bytes, rows[i].count), OK);
        assert_int_equal(text_file_read(&a, path, 100, E_MODEL, &text, &bytes), rows[i].text ? OK : E_MODEL);
        if (!rows[i].text) continue;
        assert_string_equal(text, rows[i].text);
        assert_int_equal(bytes, strlen(rows[i].text));
    }
    assert_int_equal(text_file_read(&a, path, 2, E_MODEL, &text, &bytes), E_DATA);
    assert_int_equal(text_file_read(&a, "/nothing/there", 2, E_MODEL, &text, &bytes), E_IO);
    unlink(path);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(characters),
        cmocka_unit_test(escapes),
        cmocka_unit_test(letters),
        cmocka_unit_test(columns),
        cmocka_unit_test(text_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
