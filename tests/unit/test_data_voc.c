/* The VOC reader on sets made here, and on the fruit (200 and 40 images; 156 apples, 169 bananas and 140 oranges by the
 * set's own page) where they are. */
#include "tests/unit/data_files.h"

#include <math.h>

#define OBJECT(name, more, x0, y0, x1, y1)                                                                             \
    "<object><name>" name "</name>" more "<bndbox>\n<xmin>" #x0 "</xmin><ymin>" #y0 "</ymin><xmax>" #x1                \
    "</xmax><ymax>" #y1 "</ymax></bndbox></object>\n"

static void test_parts_and_classes(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) put_jpeg(test_path("set/JPEGImages/%d.jpg", i), 40, 30, i);
    put_text(test_path("set/ImageSets/Main/trainval.txt"), "0\r\n1  1\n\n2 -1\n");
    put_text(test_path("set/ImageSets/Main/test.txt"), "3");
    /* The file's own name and size are wrong, as they often are; a part of an object has a box and a name of its own.
     */
    put_text(test_path("set/Annotations/0.xml"),
        "<annotation><filename>other.png</filename><size><width>0</width></size>\n" OBJECT("dog",
            "<difficult> 0 </difficult><part><name>head</name><bndbox><xmin>7</xmin></bndbox></part>", 2, 3, 31, 21)
            OBJECT("a &amp; b", "<difficult>1</difficult>", 1.5, 1, 40, 30) "</annotation>");
    put_text(test_path("set/Annotations/1.xml"), "<annotation/>");
    put_text(test_path("set/Annotations/3.xml"), "<annotation>" OBJECT("dog", "", 1, 1, 9, 9) "</annotation>");
    spec_data o = options_for(test_path("set"));
    o.val_fraction = 0;
    dataset train, test;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, &test));
    assert_string_equal(train.reader->name, "voc");
    assert_true(train.has_boxes && train.count == 3 && test.count == 1 && train.class_count == 2);
    assert_string_equal(train.class_name[0], "a & b");
    const sample *s = train.samples;
    assert_true(s[0].class_index == -1 && s[0].box_count == 2 && s[1].box_count == 0 && s[2].box_count == 0);
    assert_true(s[1].label_file && !s[2].label_file);
    const label_box *b = s[0].box;
    assert_true(
        b[0].x0 == 1 && b[0].y0 == 2 && b[0].x1 == 31 && b[0].y1 == 21 && b[0].class_index == 1 && !b[0].ignore);
    assert_true(
        b[1].x0 == 0.5f && b[1].y0 == 0 && b[1].x1 == 40 && b[1].y1 == 30 && b[1].class_index == 0 && b[1].ignore);
    assert_true(b[0].line == 2 && b[1].line == 4);
    assert_int_equal(test.samples[0].box[0].class_index, 1);
    dataset_close(&train);
    dataset_close(&test);
    put_text(test_path("set/ImageSets/Main/val.txt"), "2\n");
    assert_fails(E_DATA, "there is no train.txt", dataset_open_parts(&o, 1, NULL, &train, NULL, &test));
}

static void test_whole_set_without_lists(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        put_jpeg(test_path("whole/JPEGImages/%d.jpg", i), 40, 30, i);
        put_text(test_path("whole/Annotations/%d.xml", i), "<annotation>" OBJECT("x", "", 1, 1, 9, 9) "</annotation>");
    }
    spec_data o = options_for(test_path("whole"));
    dataset train, val;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_true(train.count == 6 && val.count == 2 && val.samples[1].box_count == 1);
    dataset_close(&train);
    dataset_close(&val);
}

static void test_wrong_files(void **state)
{
    (void)state;
    static char deep[80 * 4], name[4096];
    for (int i = 0; i < 80; i++) memcpy(deep + 3 * i, "<a>", 3);
    memcpy(deep, "<annotation>", 12);
    memset(name, 'n', sizeof name - 1);
    const char *const cases[][2] = {
        {"<annotation>\n<object></annotation>", "a.xml:2: not well-formed XML: mismatched tag"},
        {"", "not well-formed XML: no element found"},
        {"<html/>", "a.xml:1: <html>: expected <annotation>"},
        {"<annotation>\n\n<object></object></annotation>", "a.xml:3: an object without <name>"},
        {"<annotation><object><name>x</name></object></annotation>", "object \"x\" without <bndbox><xmin>"},
        {"<annotation>" OBJECT("x", "", 1, two, 3, 4) "</annotation>", "a.xml:2: ymin is \"two\": expected a number"},
        {"<annotation>" OBJECT("x", "<difficult>maybe</difficult>", 1, 2, 3, 4) "</annotation>",
            "difficult is \"maybe\": expected 0 or 1"},
        {"<!DOCTYPE annotation [<!ENTITY lol \"lol\">]><annotation>&lol;</annotation>",
            "declares the entity \"lol\": remove it"},
        {"<!DOCTYPE annotation [<!ENTITY f SYSTEM \"/etc/passwd\">]><annotation>&f;</annotation>",
            "declares the entity \"f\""},
        {deep, "nested more than 64 deep"},
    };
    put_jpeg(test_path("wrong/JPEGImages/a.jpg"), 40, 30, 1);
    spec_data o = options_for(test_path("wrong"));
    dataset train;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_text(test_path("wrong/Annotations/a.xml"), cases[i][0]);
        assert_fails(E_DATA, cases[i][1], dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    }
    char *text = arena_printf(&test_memory, "<annotation><object><name>%s</name></object></annotation>", name);
    put_text(test_path("wrong/Annotations/a.xml"), text);
    assert_fails(E_DATA, "a class name of more than 1023 bytes", dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    put_jpeg(test_path("wrong/JPEGImages/a.png"), 40, 30, 1);
    assert_fails(E_DATA, "share one name", dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    put_text(test_path("wrong/ImageSets/Main/train.txt"), "../a\n");
    unlink(test_path("wrong/JPEGImages/a.png"));
    assert_fails(E_DATA, "train.txt:1: \"../a\": expected the name of an image",
        dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
}

/* A listed image that is missing is bad; boxes that no image can hold are listed. */
static void test_lint(void **state)
{
    (void)state;
    put_jpeg(test_path("odd/JPEGImages/a.jpg"), 40, 30, 1);
    put_text(test_path("odd/ImageSets/Main/train.txt"), "a\nmissing\n");
    put_text(test_path("odd/Annotations/a.xml"),
        "<annotation>" OBJECT("x", "", 5, 5, 5, 9) OBJECT("x", "", NaN, 5, 5, 9) OBJECT("x", "", 1, 1, 41, 31)
            OBJECT("x", "", 1, 1, 43, 30) OBJECT("x", "", 9, 5, 5, 9) "</annotation>");
    spec_data o = options_for(test_path("odd"));
    o.val_fraction = 0;
    dataset train;
    lint_report report;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_ok(dataset_lint(&train, &o, NULL, NULL, &report));
    assert_true(report.bad_count == 1 && report.reason[1] && report.unlabelled_count == 1);
    assert_true(report.box_count == 4 && report.box_dropped_count == 3);
    static const int lines[] = {1, 3, 7, 9};
    for (int i = 0; i < 4; i++) assert_int_equal(report.box[i].line, lines[i]);
    lint_report_free(&report);
    dataset_close(&train);
}

static void test_fruit(void **state)
{
    (void)state;
    const char *root = shared_data("fruit");
    if (!root) return;
    spec_data o = options_for(root);
    dataset part[2];
    int64_t boxes[3] = {0};
    assert_ok(dataset_open_parts(&o, 1, NULL, &part[0], &part[1], NULL));
    assert_true(part[0].count == 200 && part[1].count == 40 && part[0].class_count == 3);
    for (int p = 0; p < 2; p++) {
        for (int64_t i = 0; i < part[p].count; i++)
            for (int64_t k = 0; k < part[p].samples[i].box_count; k++) boxes[part[p].samples[i].box[k].class_index]++;
        dataset_close(&part[p]);
    }
    assert_true(boxes[0] == 156 && boxes[1] == 169 && boxes[2] == 140);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_and_classes),
        cmocka_unit_test(test_whole_set_without_lists),
        cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_lint),
        cmocka_unit_test(test_fruit),
    };
    return cmocka_run_group_tests_name("data_voc", tests, make_test_folder, remove_test_folder);
}
