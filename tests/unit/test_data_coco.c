/* The COCO reader on sets made here, and COCO's own boxes against the same in YOLO's format where both sets are. */
#include "tests/unit/data_files.h"

#include <math.h>

static const char *const categories =
    "\"categories\": [{\"id\": 18, \"name\": \"dog\"},\n{\"name\": \"cat\", \"id\": 17}]";

static void put_set(const char *name, const char *images, const char *annotations)
{
    put_text(test_path("%s/annotations/instances_train2017.json", name),
        arena_printf(&test_memory, "{\"info\": {\"year\": 2017}, %s,\n\"annotations\": [%s],\n\"images\": [%s]}\n",
            categories, annotations, images));
}

/* Ids out of order, annotations in front of the images, unknown members, a crowd, numbers in quotes, no area. */
static void test_boxes(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) put_jpeg(test_path("set/train2017/%d.jpg", i), 40, 30, i);
    put_set("set",
        "{\"id\": 7, \"file_name\": \"2.jpg\"},\n{\"file_name\": \"0.jpg\", \"id\": 3, \"license\": {\"id\": 9}},"
        "{\"id\": 5, \"file_name\": \"1.jpg\"}",
        "{\"id\": 1, \"image_id\": 3, \"category_id\": 18, \"bbox\": [1.5, 2, 10, 20.25], \"area\": 77.5,"
        " \"segmentation\": [[1, 2, 3, 4]]},\n"
        "{\"image_id\": \"7\", \"category_id\": 17, \"bbox\": [0, 0, 40, 30], \"iscrowd\": 1,"
        " \"segmentation\": {\"size\": [30, 40], \"counts\": [1, 2]}},\n"
        "{\"image_id\": 3, \"category_id\": 17, \"bbox\": [5, 6, 7, 8], \"iscrowd\": 0}");
    put_text(test_path("set/annotations/captions_train2017.json"), "{\"annotations\": []}");
    spec_data o = options_for(test_path("set"));
    o.val_fraction = 0;
    dataset ds;
    assert_ok(dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL));
    assert_string_equal(ds.reader->name, "coco");
    assert_true(ds.has_boxes && ds.count == 3 && ds.class_count == 2);
    assert_string_equal(ds.class_name[0], "cat"); /* id 17 */
    assert_string_equal(path_base(ds.samples[0].name), "2.jpg");
    assert_string_equal(path_base(ds.samples[1].name), "0.jpg");
    assert_true(ds.samples[0].box_count == 1 && ds.samples[1].box_count == 2 && ds.samples[2].box_count == 0);
    const label_box *crowd = ds.samples[0].box, *b = ds.samples[1].box;
    assert_true(crowd->ignore && crowd->crowd && crowd->class_index == 0 && crowd->x1 == 40 && crowd->y1 == 30);
    assert_true(b[0].x0 == 1.5f && b[0].y0 == 2 && b[0].x1 == 11.5f && b[0].y1 == 22.25f && b[0].class_index == 1);
    assert_true(b[0].area == 77.5f && !b[0].ignore && !b[0].crowd && b[0].line == 3);
    assert_true(b[1].x0 == 5 && b[1].y1 == 14 && b[1].area == 0 && b[1].class_index == 0 && b[1].line == 5);
    assert_string_equal(path_base(ds.samples[2].label_file), "instances_train2017.json");
    dataset_close(&ds);
}

/* Roboflow's folders, and one file by its own path. */
static void test_places(void **state)
{
    (void)state;
    const char *text = arena_printf(&test_memory,
        "\xef\xbb\xbf{%s, \"images\": [{\"id\": 0, \"file_name\": \"a.jpg\"}], \"annotations\": [{\"image_id\": 0, "
        "\"category_id\": 17, \"bbox\": [1, 1, 5, 5]}]}",
        categories);
    const char *plain = text + 3;
    static const char *const folders[] = {"train", "valid"};
    for (int i = 0; i < 2; i++) {
        put_jpeg(test_path("flow/%s/a.jpg", folders[i]), 20, 20, i);
        put_text(test_path("flow/%s/_annotations.coco.json", folders[i]), plain);
    }
    spec_data o = options_for(test_path("flow"));
    dataset train, val, one;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_string_equal(train.reader->name, "coco");
    assert_true(train.count == 1 && val.count == 1 && val.samples[0].box_count == 1);
    dataset_close(&train);
    dataset_close(&val);
    assert_ok(dataset_open_images(&one, test_path("flow/valid/_annotations.coco.json")));
    assert_true(one.count == 1 && one.samples[0].box_count == 1 && file_exists(one.samples[0].name));
    dataset_close(&one);
}

static void test_mistakes(void **state)
{
    (void)state;
    static const struct {
        const char *image, *annotation, *message;
    } bad[] = {
        {"{\"id\": 1, \"file_name\": \"a.jpg\"}", "{\"image_id\": 2, \"category_id\": 17, \"bbox\": [1, 2, 3, 4]}",
            "json:3: image_id 2 is no image's id"},
        {"{\"id\": 1, \"file_name\": \"a.jpg\"}", "\n{\"image_id\": 1, \"category_id\": 3, \"bbox\": [1, 2, 3, 4]}",
            "json:4: category_id 3 is no category's id"},
        {"{\"id\": 1, \"file_name\": \"a.jpg\"}", "{\"image_id\": 1, \"category_id\": 17, \"bbox\": [1, 2, 3]}",
            "fewer than four numbers"},
        {"{\"id\": 1, \"file_name\": \"a.jpg\"}", "{\"image_id\": 1, \"category_id\": 17, \"bbox\": [1, 2, 3, 4, 5]}",
            "more than four numbers"},
        {"{\"id\": 1, \"file_name\": \"a.jpg\"}", "{\"image_id\": 1, \"category_id\": 17, \"bbox\": [1, \"x\", 3, 4]}",
            "bbox is no number"},
        {"{\"id\": 1, \"file_name\": \"a.jpg\"}", "{\"image_id\": 1, \"category_id\": 17}", "without bbox"},
        {"{\"id\": 1, \"file_name\": \"a.jpg\"}", "{\"image_id\": 1, \"caption\": \"a dog\"}", "a file of captions"},
        {"{\"id\": 1.5, \"file_name\": \"a.jpg\"}", "", "id \"1.5\": expected an integer"},
        {"{\"id\": 1}", "", "an image without id or file_name"},
        {"{\"id\": 1, \"file_name\": \"a.jpg\"}, {\"id\": 1, \"file_name\": \"b.jpg\"}", "",
            "two images have the id 1"},
        {"{\"id\": 1, \"file_name\": \"../../a.jpg\"}", "", "leads out of the data set"},
        {"{\"id\": 1, \"file_name\": \"/etc/a.jpg\"}", "", "leads out of the data set"},
        {"{\"id\": 1, \"file_name\": \"a.jpg\"", "", "json:4: not JSON"},
        {"", "", "no images or no categories"},
    };
    spec_data o = options_for(test_path("bad"));
    o.val_fraction = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dataset ds;
        put_set("bad", bad[i].image, bad[i].annotation);
        assert_fails(E_DATA, bad[i].message, dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL));
    }
}

/* Two pictures are in both sets, whose labels come from different makers: every box of one is within a pixel of one of
 * the other, of the same class. */
static const sample *find_sample(const dataset *ds, const char *name)
{
    for (int64_t i = 0; i < ds->count; i++)
        if (strcmp(path_base(ds->samples[i].name), name) == 0) return &ds->samples[i];
    fail_msg("%s is not there", name);
    return NULL;
}

static void open_val(dataset *ds, const char *path)
{
    assert_ok(dataset_open_images(ds, arena_printf(&test_memory, "%s#val", path)));
}

static void test_both_formats_agree(void **state)
{
    (void)state;
    static const char *const pictures[] = {"000000005001.jpg", "000000010764.jpg"};
    const char *path = shared_data("coco_mini");
    dataset coco, yolo;
    if (!path) return;
    open_val(&coco, path);
    if (!(path = shared_data("coco128"))) return;
    open_val(&yolo, path);
    assert_string_equal(yolo.reader->name, "yolo");
    for (int i = 0; i < 2; i++) {
        const sample *a = find_sample(&coco, pictures[i]), *b = find_sample(&yolo, pictures[i]);
        int64_t found = 0;
        assert_true(b->box_count > 0 && a->box_count >= b->box_count);
        for (int64_t k = 0; k < b->box_count; k++)
            for (int64_t m = 0; m < a->box_count; m++) {
                const label_box *p = &a->box[m], *q = &b->box[k];
                if (fabsf(p->x0 - q->x0) > 1 || fabsf(p->y0 - q->y0) > 1 || fabsf(p->x1 - q->x1) > 1 ||
                    fabsf(p->y1 - q->y1) > 1)
                    continue;
                assert_string_equal(coco.class_name[p->class_index], yolo.class_name[q->class_index]);
                found++;
                break;
            }
        assert_int_equal(found, b->box_count);
    }
    dataset_close(&coco);
    dataset_close(&yolo);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_boxes), cmocka_unit_test(test_places),
        cmocka_unit_test(test_mistakes), cmocka_unit_test(test_both_formats_agree)};
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
