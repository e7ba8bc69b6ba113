/* Text that a file brought, on its way to a terminal: in messages, log lines, JSON and names of graphs. Which
 * characters are control characters say ECMA-48 (C0, DEL, C1) and Unicode 15's Bidi_Control and Line_Break properties;
 * their UTF-8 is spelt out by hand. */
#include "tests/unit/unit_test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/text.h"
#include "core/graph/graph.h"

static const char *const cases[][2] = {
    {"", ""}, {"layer1.0.conv1.weight", "layer1.0.conv1.weight"}, {"a b~!", "a b~!"}, {"\x1b[2Jx", "?[2Jx"},
    {"a\nb\tc\rd\x7f", "a?b?c?d?"}, {"\a\b\x01", "???"},
    {"\xc2\x9b"
     "2J",
        "?2J"},
    {"\xc2\x80\xc2\x9f", "??"},
    {"\x9b"
     "2J\x85",
        "?2J?"}, /* C1, as UTF-8 and bare */
    {"\xe2\x80\xae"
     "gpj",
        "?gpj"},
    {"\xe2\x81\xa6x\xe2\x81\xa9", "?x?"}, /* U+202E, U+2066, U+2069 */
    {"a\xe2\x80\xa8"
     "b\xe2\x80\xa9",
        "a?b?"}, /* U+2028, U+2029 */
    {"\xc3\xa4\xc2\xa0\xe2\x82\xac\xe2\x80\x93\xf0\x9f\x90\x88",
        "\xc3\xa4\xc2\xa0\xe2\x82\xac\xe2\x80\x93\xf0\x9f\x90\x88"},
    {"\xc3\x89t\xc3\x9f", "\xc3\x89t\xc3\x9f"}, /* continuation bytes that look like C1 */
    {"caf\xe9", "caf\xe9"}, {"\xe9\x1b", "\xe9?"}, {"\xf0\x9f\x90", "\xf0??"},
    {"\xc2", "\xc2"}, /* Latin-1, cut sequences */
};

static void replaces_what_a_terminal_obeys(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        arena a = {0};
        const char *shown = text_printable(&a, cases[i][0]);
        assert_string_equal(shown, cases[i][1]);
        if (strcmp(cases[i][0], cases[i][1]) == 0) assert_ptr_equal(shown, cases[i][0]);
        char *copy = strdup(cases[i][0]);
        assert_non_null(copy);
        text_make_printable(copy);
        assert_string_equal(copy, cases[i][1]);
        free(copy);
        arena_free(&a);
    }
    char lines[] = "one\ntwo\x1b\n\n\tthree\n";
    text_make_lines_printable(lines);
    assert_string_equal(lines, "one\ntwo?\n\n?three\n");
    assert_string_equal(text_printable(NULL, NULL), "");
}

static void messages_are_one_line(void **state)
{
    (void)state;
    assert_int_equal(FAIL(E_MODEL, "%s: tensor %s", "x.pth", "a\x1b]0;t\a\nwrote x"), E_MODEL);
    assert_string_equal(status_message(), "x.pth: tensor a?]0;t??wrote x");
    assert_int_equal(FAIL_LINES(E_USAGE, "one\n%s", "t\x1bwo"), E_USAGE);
    assert_string_equal(status_message(), "one\nt?wo");
}

static void log_lines_are_one_line(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    assert_non_null(stream);
    logger l;
    log_init(&l, stream, LOG_INFO, 0);
    log_info(&l, "unexpected: %s", "a\nb\x1b[1m");
    log_warn(&l, "%s", "\xc2\x9bm");
    log_progress(&l, true, "%s", "x\ry");
    log_free(&l);
    assert_int_equal(fclose(stream), 0);
    assert_string_equal(text, "unexpected: a?b?[1m\nwarning: ?m\nx?y\n");
    free(text);
}

/* JSON keeps what was there, spelt so that no terminal obeys it. */
static void json_escapes(void **state)
{
    (void)state;
    json_writer w = {0};
    const char *text;
    size_t bytes;
    arena a = {0};
    json *back;
    json_put_string(&w, "\x1b\x7f\xc2\x9b\xc2\xa0\xe2\x80\xae\xe2\x82\xac");
    assert_int_equal(json_writer_finish(&w, &text, &bytes), OK);
    assert_string_equal(text, "\"\\u001b\\u007f\\u009b\xc2\xa0\\u202e\xe2\x82\xac\"");
    assert_int_equal(json_parse(&a, text, bytes, "test", &back), OK);
    assert_string_equal(json_string(back), "\x1b\x7f\xc2\x9b\xc2\xa0\xe2\x80\xae\xe2\x82\xac");
    arena_free(&a);
    json_writer_free(&w);
}

/* Names of layers end up in tables, pictures and other programs' files. */
static void names_of_graphs(void **state)
{
    (void)state;
    graph g = {0};
    edge_id e = graph_edge(&g, "w\n0 1\x1b", EDGE_PARAM, DTYPE_F32, shape_4(1, 1, 1, 1));
    assert_true(e != EDGE_NONE);
    assert_string_equal(g.edges[e].name, "w?0 1?");
    graph_free(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replaces_what_a_terminal_obeys),
        cmocka_unit_test(messages_are_one_line),
        cmocka_unit_test(log_lines_are_one_line),
        cmocka_unit_test(json_escapes),
        cmocka_unit_test(names_of_graphs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
