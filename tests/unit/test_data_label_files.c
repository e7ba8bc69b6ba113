/* Written label files against their readers: the same pictures, classes and boxes come back from each format, and
 * classes under other names. */
#include "tests/unit/data_files.h"

#include <math.h>

#include "core/data/box_statistics.h"
#include "core/data/label_files.h"

/* Two boxes of odd numbers, a crowd, an image without objects, two images of one name; class "b & c" is in val only. */
static void open_set(dataset parts[3])
{
    static const char *const names[] = {"train/x", "train/y", "val/x"};
    for (int i = 0; i < 3; i++) put_jpeg(test_path("set/%s.jpg", names[i]), 61, 43, i);
    put_jpeg(test_path("set/train/other/x.jpg"), 61, 43, 5);
    const char *categories = "\"categories\": [{\"id\": 9, \"name\": \"a\"}, {\"id\": 12, \"name\": \"b & c\"}]";
    put_text(test_path("set/annotations/train.json"),
        arena_printf(&test_memory,
            "{\"images\": [{\"id\": 1, \"file_name\": \"x.jpg\"}, {\"id\": 2, \"file_name\": \"y.jpg\"}, {\"id\": 3, "
            "\"file_name\": \"other/x.jpg\"}], %s, \"annotations\": [{\"image_id\": 1, \"category_id\": 9, \"bbox\": "
            "[1.1, 2.3, 10.7, 20.9], \"area\": 55}, {\"image_id\": 1, \"category_id\": 12, \"bbox\": [30, 3, 20, 20], "
            "\"iscrowd\": 1}, {\"image_id\": 3, \"category_id\": 9, \"bbox\": [0.123456, 0, 60.5, 43]}]}",
            categories));
    put_text(test_path("set/annotations/val.json"), arena_printf(&test_memory,
                                                        "{\"images\": [{\"id\": 7, \"file_name\": \"x.jpg\"}], %s, "
                                                        "\"annotations\": [{\"image_id\": 7, \"category_id\": "
                                                        "12, \"bbox\": [5, 5, 9.25, 9.5]}]}",
                                                        categories));
    spec_data o = options_for(test_path("set"));
    assert_ok(dataset_open_parts(&o, 1, NULL, &parts[0], &parts[1], NULL));
}

static void same_box(const label_box *a, const label_box *b, double most)
{
    assert_true(fabs((double)a->x0 - (double)b->x0) <= most && fabs((double)a->y0 - (double)b->y0) <= most);
    assert_true(fabs((double)a->x1 - (double)b->x1) <= most && fabs((double)a->y1 - (double)b->y1) <= most);
}

static void formats_come_back(void **state)
{
    (void)state;
    static const double most[LABEL_FILES_FORMATS] = {0, 1e-3, 0, 1e-3};
    dataset parts[3] = {{{0}}};
    open_set(parts);
    for (int f = 0; f < LABEL_FILES_FORMATS; f++)
        for (int link = 0; link < 2; link++) {
            const char *folder = test_path("as-%s-%d", label_files_names[f], link);
            label_files_report r;
            dataset back[2];
            assert_ok(label_files_write(folder, (label_files_format)f, parts, link, NULL, &r));
            assert_int_equal(r.images, 4);
            assert_int_equal(r.boxes, f == LABEL_FILES_YOLO ? 3 : 4);
            assert_int_equal(r.left_out, f == LABEL_FILES_YOLO ? 1 : 0);
            spec_data o = options_for(folder);
            /* KITTI and VOC have no list of classes: the train part's boxes alone would not say all. */
            const char *names[] = {"a", f == LABEL_FILES_KITTI ? "b_&_c" : "b & c"};
            o.class_names = (text_list){names, 2};
            assert_ok(dataset_open_parts(&o, 1, NULL, &back[0], &back[1], NULL));
            assert_string_equal(back[0].reader->name, label_files_names[f]);
            assert_true(back[0].count == 3 && back[1].count == 1 && back[0].class_count == 2);
            int64_t boxes = 0;
            for (int64_t i = 0; i < 3; i++) {
                const sample *s = &back[0].samples[i];
                boxes += s->box_count;
                for (int64_t k = 0; k < s->box_count; k++) {
                    const label_box *b = &s->box[k];
                    const sample *from = &parts[0].samples[b->x0 > 0.5f ? 0 : 2];
                    same_box(b, &from->box[b->x0 > 20], most[f]);
                    assert_true(b->ignore == from->box[b->x0 > 20].ignore);
                }
            }
            assert_int_equal(boxes, f == LABEL_FILES_YOLO ? 2 : 3);
            same_box(&back[1].samples[0].box[0], &parts[1].samples[0].box[0], most[f]);
            assert_int_equal(back[1].samples[0].box[0].class_index, 1);
            dataset_close(&back[0]);
            dataset_close(&back[1]);
            assert_fails(
                E_USAGE, "is there already", label_files_write(folder, (label_files_format)f, parts, 0, NULL, &r));
        }
    dataset_close(&parts[0]);
    dataset_close(&parts[1]);
}

static void classes_are_mapped(void **state)
{
    (void)state;
    dataset parts[3] = {{{0}}};
    open_set(parts);
    dataset_close(&parts[0]);
    dataset_close(&parts[1]);
    spec_data o = options_for(test_path("set"));
    dataset train, val;
    const char *one[] = {"a:thing", "b & c:thing"}, *ignored[] = {"*:ignore", "b & c:b"}, *dropped[] = {"a:drop"};
    const char *order[] = {"zebra", "thing"}, *wrong[] = {"a"}, *none[] = {"*:drop"};
    o.class_map = (text_list){one, 2};
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_true(train.class_count == 1 && val.class_count == 1 && val.samples[0].box[0].class_index == 0);
    assert_string_equal(train.class_name[0], "thing");
    dataset_close(&train), dataset_close(&val);
    o.class_names = (text_list){order, 2};
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_true(train.class_count == 2 && train.samples[0].box[0].class_index == 1);
    dataset_close(&train), dataset_close(&val);
    o.class_names = (text_list){0};
    o.class_map = (text_list){ignored, 2};
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_true(train.class_count == 1 && train.samples[0].box[0].ignore && train.samples[0].box[0].class_index == -1);
    assert_true(val.samples[0].box[0].class_index == 0 && !val.samples[0].box[0].ignore);
    dataset_close(&train), dataset_close(&val);
    o.class_map = (text_list){dropped, 1};
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_true(train.class_count == 1 && train.samples[0].box_count == 1 && train.samples[0].box[0].crowd);
    dataset_close(&train), dataset_close(&val);
    o.class_map = (text_list){wrong, 1};
    assert_fails(E_USAGE, "expected CLASS:CLASS", dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    o.class_map = (text_list){none, 1};
    assert_fails(E_USAGE, "leaves none", dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
}

/* Of the set's train part: 10.7 x 20.9 and 60.5 x 43 pixels, a crowd of another class, an image without boxes. */
static void boxes_are_counted(void **state)
{
    (void)state;
    dataset parts[3] = {{{0}}};
    box_statistics s;
    open_set(parts);
    assert_ok(box_statistics_make(&s, &test_memory, &parts[0]));
    assert_true(s.images == 3 && s.empty_images == 1 && s.boxes == 2 && s.ignored == 1 && s.most == 1);
    assert_true(s.of_class[0].boxes == 2 && s.of_class[0].images == 2 && s.of_class[0].ignored == 0);
    assert_true(s.of_class[1].boxes == 0 && s.of_class[1].images == 0 && s.of_class[1].ignored == 1);
    for (int k = 0; k < BOX_SIZES; k++) assert_int_equal(s.size[k], k == 1 || k == 3);     /* sides of 15 and 51 */
    for (int k = 0; k < BOX_ASPECTS; k++) assert_int_equal(s.aspect[k], k == 2 || k == 4); /* 0.51 and 1.4 */
    dataset_close(&parts[0]);
    dataset_close(&parts[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(formats_come_back), cmocka_unit_test(classes_are_mapped),
        cmocka_unit_test(boxes_are_counted)};
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
