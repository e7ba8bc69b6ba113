/* The KITTI reader on sets made here, and on the raccoons (130 and 30 images, one class; 141 and 32 lines by `wc -l`)
 * where they are. */
#include "tests/unit/data_files.h"

#include <math.h>

static const char LINE[] = "%s 0.00 0 0.00 %s 0 0 0 0 0 0 0\n";

static void put_label(const char *path, const char *class_name, const char *edges)
{
    char text[256];
    snprintf(text, sizeof text, LINE, class_name, edges);
    put_text(path, text);
}

static void test_parts_and_classes(void **state)
{
    (void)state;
    put_jpeg(test_path("set/train/images/a.jpg"), 40, 30, 1);
    put_jpeg(test_path("set/train/images/b.JPEG"), 40, 30, 2);
    put_jpeg(test_path("set/train/images/c.jpg"), 40, 30, 3);
    put_text(test_path("set/train/labels/a.txt"),
        "dog 0.0 0 0.0 1.5 2 30.25 20 0 0 0 0 0 0 0\r\n\r\n"
        "DontCare -1 -1 -10 3 4 9 10 -1 -1 -1 -1000 -1000 -1000 -10\r\ncat 0 0 0 5 6 17 18 0 0 0 0 0 0 0 0.75\r\n");
    put_text(test_path("set/train/labels/b.txt"), "");
    put_jpeg(test_path("set/Val/image_2/v.jpg"), 40, 30, 4);
    put_label(test_path("set/Val/label_2/v.txt"), "dog", "1 2 9 9");
    spec_data o = options_for(test_path("set"));
    dataset train, val, test;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, &test));
    assert_true(train.has_boxes && val.has_boxes && test.count == 0);
    assert_true(train.count == 3 && train.class_count == 2);
    assert_string_equal(train.reader->name, "kitti");
    assert_string_equal(train.class_name[0], "cat");
    const sample *s = train.samples;
    assert_true(s[0].class_index == -1 && s[0].box_count == 3 && s[1].box_count == 0 && s[2].box_count == 0);
    assert_true(s[0].label_file && s[1].label_file && !s[2].label_file);
    const label_box *b = s[0].box;
    assert_true(b[0].x0 == 1.5f && b[0].y0 == 2 && b[0].x1 == 30.25f && b[0].y1 == 20);
    assert_true(b[0].class_index == 1 && b[1].class_index == -1 && b[2].class_index == 0);
    assert_true(!b[0].ignore && b[1].ignore && !b[2].ignore);
    assert_true(b[0].line == 1 && b[1].line == 3 && b[2].line == 4);
    /* The val part has no cat, and counts as the train part does. */
    assert_true(val.class_count == 2 && val.samples[0].box[0].class_index == 1);
    const char *names[] = {"dog", "cat", "cow"};
    dataset_close(&train);
    dataset_close(&val);
    o.class_names = (text_list){names, 3};
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_true(
        train.class_count == 3 && train.samples[0].box[0].class_index == 0 && val.samples[0].box[0].class_index == 0);
    dataset_close(&train);
    dataset_close(&val);
    o.class_names.count = 1;
    assert_fails(E_DATA, "a.txt:4: class \"cat\" is not among", dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
}

static void test_one_part_is_split(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        put_jpeg(test_path("whole/images/%d.jpg", i), 40, 30, i);
        put_label(test_path("whole/labels/%d.txt", i), "x", "1 2 9 9");
    }
    spec_data o = options_for(test_path("whole"));
    dataset train, val;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_true(train.count == 6 && val.count == 2 && val.samples[1].box_count == 1);
    dataset_close(&train);
    dataset_close(&val);
}

static void test_class_only_in_val(void **state)
{
    (void)state;
    put_jpeg(test_path("extra/train/images/a.jpg"), 40, 30, 1);
    put_label(test_path("extra/train/labels/a.txt"), "cat", "1 2 9 9");
    put_jpeg(test_path("extra/val/images/a.jpg"), 40, 30, 1);
    put_label(test_path("extra/val/labels/a.txt"), "cow", "1 2 9 9");
    spec_data o = options_for(test_path("extra"));
    dataset train, val;
    assert_fails(E_DATA, "class \"cow\" of the val part is not in the train part",
        dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
}

/* Each of these texts makes the label file's set unreadable, with that message. */
static void test_wrong_lines(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"cat 0 0 0 1 2 3 4\n", "a.txt:1: 8 columns"},
        {"cat 0 0 0 1 2 9 9 0 0 0 0 0 0 0\ncat 0 0 0 1 2 9 9 0 0 0 0 0 0 0 1 1\n", "a.txt:2: at least 17 columns"},
        {"cat 0 0 0 1 2 9 9 0 0 0 0 0 0 0\n0 0.5 0.5 0.1 0.1\n",
            "a.txt:2: 5 columns (\"0 ...\"), a KITTI label has 15, or 16 with a score: five"},
        {"cat 0 0 0 1 two 9 9 0 0 0 0 0 0 0\n", "a.txt:1: column 6 is \"two\": expected a number, the box's top edge"},
        {"cat 0 0 0 1 2 9 0x9 0 0 0 0 0 0 0\n", "column 8 is \"0x9\""},
    };
    put_jpeg(test_path("wrong/images/a.jpg"), 40, 30, 1);
    spec_data o = options_for(test_path("wrong"));
    dataset train;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put_text(test_path("wrong/labels/a.txt"), cases[i][0]);
        assert_fails(E_DATA, cases[i][1], dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    }
    o.format = FORMAT_KITTI;
    put_jpeg(test_path("none/images/a.jpg"), 40, 30, 1);
    put_text(test_path("none/labels/b.txt"), "");
    o.root = test_path("none");
    assert_fails(E_DATA, "none of its 1 images has a label file", dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
}

/* Boxes that no image can hold do not stop anything: lint lists them by line, and twice the same from its cache. */
static void test_lint_of_boxes(void **state)
{
    (void)state;
    static const char *const edges[] = {
        "1 2 9 9", "-7 2 9 9", "41 2 50 9", "5 5 5 9", "9 2 3 9", "nan 2 3 9", "1 2 1e300 9", "-1 0 41 31"};
    static const char *const said[] = {
        NULL, "reaches outside", "is outside", "at most one pixel", "reversed", "not finite", "not finite", NULL};
    enum { CASES = sizeof edges / sizeof *edges };
    char text[CASES * 128] = "";
    for (int i = 0; i < CASES; i++) snprintf(text + strlen(text), 128, LINE, "cat", edges[i]);
    put_jpeg(test_path("odd/images/a.jpg"), 40, 30, 1);
    put_jpeg(test_path("odd/images/b.jpg"), 40, 30, 1);
    put_text(test_path("odd/labels/a.txt"), text);
    spec_data o = options_for(test_path("odd"));
    o.val_fraction = 0;
    dataset train;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_true(train.samples[0].box_count == CASES && isnan(train.samples[0].box[5].x0));
    for (int again = 0; again < 2; again++) {
        lint_report report;
        assert_ok(dataset_lint(&train, &o, test_path("odd-cache"), NULL, &report));
        assert_int_equal(report.cached_count, again ? 2 : 0);
        assert_true(report.bad_count == 0 && report.box_count == 6 && report.box_dropped_count == 5 &&
                    report.unlabelled_count == 1);
        for (int i = 0, k = 0; i < CASES; i++) {
            if (!said[i]) continue;
            assert_int_equal(report.box[k].line, i + 1);
            if (!strstr(report.box[k].reason, said[i])) fail_msg("line %d: %s", i + 1, report.box[k].reason);
            k++;
        }
        lint_report_boxes(&report, &train, 2, text, sizeof text);
        assert_true(
            strstr(text, "labels/a.txt:3: box is outside the image: dropped\n...\n5 boxes dropped, 1 clipped") != NULL);
        lint_report_free(&report);
    }
    assert_fails(E_DATA, "holds boxes (kitti)", dataset_refuse_boxes(&train));
    dataset_close(&train);
}

/* Images that nobody labelled: fine for a test part, a mistake for a val part. */
static void test_parts_without_labels(void **state)
{
    (void)state;
    put_jpeg(test_path("bare/train/images/a.jpg"), 40, 30, 1);
    put_label(test_path("bare/train/labels/a.txt"), "cat", "1 2 9 9");
    put_jpeg(test_path("bare/test/images/a.jpg"), 40, 30, 1);
    spec_data o = options_for(test_path("bare"));
    dataset train, test;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, &test));
    assert_true(train.count == 1 && test.count == 0);
    dataset_close(&train);
    put_jpeg(test_path("bare/val/images/a.jpg"), 40, 30, 1);
    assert_fails(E_DATA, "bare/val: images without labels", dataset_open_parts(&o, 1, NULL, &train, NULL, &test));
}

/* Labels of numbers alone are YOLO's. */
static void test_yolo_is_not_taken(void **state)
{
    (void)state;
    put_jpeg(test_path("yolo/images/a.jpg"), 40, 30, 1);
    put_text(test_path("yolo/labels/a.txt"), "0 0.5 0.5 0.1 0.1\n");
    spec_data o = options_for(test_path("yolo"));
    o.format = FORMAT_KITTI;
    dataset train;
    assert_fails(E_DATA, "no train part", dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    o.format = FORMAT_FOLDER;
    assert_fails(E_DATA, "as YOLO has them", dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    put_jpeg(test_path("halves/images/train/a.jpg"), 40, 30, 1);
    put_text(test_path("halves/labels/train/a.txt"), "0 0.5 0.5 0.1 0.1\n");
    o.root = test_path("halves");
    assert_fails(E_DATA, "as YOLO has them", dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    o.format = FORMAT_AUTO;
    o.val_fraction = 0;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_string_equal(train.reader->name, "yolo");
    dataset_close(&train);
    put_jpeg(test_path("words/images/a.jpg"), 40, 30, 1);
    put_jpeg(test_path("words/labels/b.jpg"), 40, 30, 1); /* classes of pictures that are called so */
    o.root = test_path("words");
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    dataset_close(&train);
}

static void test_raccoons(void **state)
{
    (void)state;
    const char *root = shared_data("raccoon_kitti");
    if (!root) return;
    spec_data o = options_for(root);
    dataset part[2];
    int64_t boxes[2] = {0};
    assert_ok(dataset_open_parts(&o, 1, NULL, &part[0], &part[1], NULL));
    for (int p = 0; p < 2; p++)
        for (int64_t i = 0; i < part[p].count; i++) boxes[p] += part[p].samples[i].box_count;
    assert_true(part[0].count == 130 && part[1].count == 30 && part[0].class_count == 1);
    assert_true(boxes[0] == 141 && boxes[1] == 32);
    for (int p = 0; p < 2; p++) {
        lint_report report;
        assert_ok(dataset_lint(&part[p], &o, NULL, NULL, &report));
        assert_true(report.bad_count == 0 && report.box_count == 0);
        lint_report_free(&report);
        dataset_close(&part[p]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_and_classes),
        cmocka_unit_test(test_one_part_is_split),
        cmocka_unit_test(test_class_only_in_val),
        cmocka_unit_test(test_wrong_lines),
        cmocka_unit_test(test_lint_of_boxes),
        cmocka_unit_test(test_yolo_is_not_taken),
        cmocka_unit_test(test_parts_without_labels),
        cmocka_unit_test(test_raccoons),
    };
    return cmocka_run_group_tests_name("data_kitti", tests, make_test_folder, remove_test_folder);
}
