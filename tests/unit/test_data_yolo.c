/* The YOLO reader: where its files are looked for, what a line says, what is wrong with one. */
#include "tests/unit/data_files.h"

#include <math.h>

static void near(float got, double expected)
{
    if (fabs((double)got - expected) > 1e-3) fail_msg("got %g, expected %g", (double)got, expected);
}

static void check_train(const char *root, const char *first_class, int64_t classes)
{
    spec_data o = options_for(root);
    dataset train, val;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_string_equal(train.reader->name, "yolo");
    assert_true(train.has_boxes && train.count == 2 && val.count == 1);
    assert_int_equal(train.class_count, classes);
    assert_string_equal(train.class_name[0], first_class);
    const sample *s = train.samples;
    assert_true(s[0].box_count == 2 && s[1].box_count == 0 && s[0].label_file && !s[1].label_file);
    const label_box *b = s[0].box; /* of a picture of 200 x 100 pixels */
    near(b[0].x0, 80), near(b[0].y0, 20), near(b[0].x1, 120), near(b[0].y1, 80);
    assert_true(b[0].class_index == 1 && b[0].line == 1 && !b[0].ignore);
    near(b[1].x0, 20), near(b[1].y0, 10), near(b[1].x1, 60), near(b[1].y1, 90); /* around a polygon */
    assert_true(b[1].class_index == 0 && b[1].line == 3);
    dataset_close(&train);
    dataset_close(&val);
}

static const char *const label = "1 0.5 0.5 0.2 0.6\n\n0 0.1 0.5 0.3 0.1 0.2 0.9\r\n";

static void put_pictures(const char *images, const char *labels)
{
    put_jpeg(test_path("%s/a.jpg", images), 200, 100, 0);
    put_jpeg(test_path("%s/b.jpg", images), 30, 30, 1);
    put_text(test_path("%s/a.txt", labels), label);
}

static void put_val(const char *images, const char *labels)
{
    put_jpeg(test_path("%s/c.jpg", images), 50, 40, 2);
    put_text(test_path("%s/c.txt", labels), "0 0.5 0.5 1 1 0.875\n"); /* with a score */
}

static void test_folders(void **state)
{
    (void)state;
    put_pictures("plain/images/train2017", "plain/labels/train2017");
    put_val("plain/images/val2017", "plain/labels/val2017");
    check_train(test_path("plain"), "0", 2); /* numbers are names where there are none */
    put_text(test_path("plain/my.names"), "red\ngreen\n\nblue\n");
    check_train(test_path("plain"), "red", 3);
}

static void test_yaml(void **state)
{
    (void)state;
    put_pictures("flow/train/images", "flow/train/labels");
    put_val("flow/valid/images", "flow/valid/labels");
    put_text(test_path("flow/data.yaml"),
        "# Roboflow's paths\ntrain: ../train/images\nval: ../valid/images\ntest: \nnc: 2\nnames: ['red', \"green\"]\n");
    check_train(test_path("flow"), "red", 2);
    put_pictures("ultra/images/all", "ultra/labels/all");
    put_val("ultra/images/some", "ultra/labels/some");
    put_text(test_path("ultra/data.yaml"),
        "path: .\ntrain:\n  - images/all\nval: some.txt\nnames:\n  2: blue\n  0: red\n  1: green\n");
    put_text(test_path("ultra/some.txt"), "./images/some/c.jpg\n\n");
    check_train(test_path("ultra"), "red", 3);
    static const struct {
        const char *text, *message;
    } bad[] = {{"train: images/all\nnames: {0: a, 2: b}\n", "data.yaml:2: expected names"},
        {"train: images/all\nnames: {0: a, 0: b}\n", "expected names"},
        {"train: images/all\nnames: [[a], b]\n", "expected names"},
        {"train: {a: b}\nnames: [a]\n", "data.yaml:1: expected a folder of images"},
        {"train: images/all\nval: nowhere\nnames: [a, b]\n", "val: nowhere: no such file or folder"},
        {"train: images/all\nnames: [a\n", "not YAML"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        spec_data o = options_for(test_path("ultra"));
        dataset train, val;
        o.format = FORMAT_YOLO;
        put_text(test_path("ultra/data.yaml"), bad[i].text);
        assert_fails(E_DATA, bad[i].message, dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    }
}

/* darknet's: lists of images, whose labels lie beside them. */
static void test_data_file(void **state)
{
    (void)state;
    put_pictures("dark/pictures", "dark/pictures");
    put_val("dark/pictures", "dark/pictures");
    put_text(
        test_path("dark/obj.data"), "classes = 2\ntrain = train.txt\nvalid=val.txt\nnames = obj.names\nbackup = b\n");
    put_text(test_path("dark/obj.names"), "red\ngreen\n");
    put_text(test_path("dark/train.txt"), "pictures/a.jpg\npictures/b.jpg\n");
    put_text(test_path("dark/val.txt"), arena_printf(&test_memory, "%s\n", test_path("dark/pictures/c.jpg")));
    check_train(test_path("dark"), "red", 2);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {{"2 0.5 0.5 0.1 0.1\n", "a.txt:1: class \"2\": expected a number from 0 to 1"},
        {"-1 0.5 0.5 0.1 0.1\n", "class \"-1\""}, {"0.5 0.5 0.5 0.1 0.1\n", "class \"0.5\""},
        {"0 0.5 0.5 0.1 0.1\n0 0.5 x 0.1 0.1\n", "a.txt:2: column 3 is \"x\": expected a number"},
        {"0 0.5 0.5 0.1 0.1\n0 0.5\n", "a.txt:2: 2 columns"},
        {"0 0.5 0.5 0.1 0.1\n0 1 2 3 4 5 6 7\n", "a.txt:2: 8 columns"}};
    put_text(test_path("bad/classes.txt"), "red\ngreen\n");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        spec_data o = options_for(test_path("bad"));
        dataset train;
        o.val_fraction = 0;
        o.format = FORMAT_YOLO;
        put_pictures("bad/images/train", "bad/labels/train");
        put_text(test_path("bad/labels/train/a.txt"), bad[i].text);
        assert_fails(E_DATA, bad[i].message, dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_folders), cmocka_unit_test(test_yaml),
        cmocka_unit_test(test_data_file), cmocka_unit_test(test_mistakes)};
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
