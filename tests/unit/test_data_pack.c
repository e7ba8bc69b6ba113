/* Packed data sets: the same samples as before, and what a damaged or lying file is answered. */
#include "tests/unit/data_files.h"

#include "core/data/readers/packed.h"
#include "core/data/readers/readers.h"

static void test_packed(void **state)
{
    (void)state;
    const char *root = make_folder_set("topack", "train"), *packed = test_path("packed.set");
    make_folder_set("topack", "test");
    spec_data o = options_for(root);
    dataset train, val, test, back, back_val, back_test;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, &test));
    for (int round = 0; round < 2; round++)
        assert_ok(dataset_pack(packed, &train, &val, &test, NULL)); /* replaces itself */
    o.root = packed;
    assert_ok(dataset_open_parts(&o, 99, NULL, &back, &back_val, &back_test));
    const dataset *pairs[3][2] = {{&train, &back}, {&val, &back_val}, {&test, &back_test}};
    for (int p = 0; p < 3; p++) {
        assert_int_equal(pairs[p][0]->count, pairs[p][1]->count);
        assert_int_equal(pairs[p][1]->class_count, 2);
        for (int64_t i = 0; i < pairs[p][0]->count; i++) {
            image a, b;
            assert_string_equal(pairs[p][0]->samples[i].name, pairs[p][1]->samples[i].name);
            assert_int_equal(pairs[p][0]->samples[i].class_index, pairs[p][1]->samples[i].class_index);
            assert_ok(dataset_decode(pairs[p][0], i, &any_image, &a));
            assert_ok(dataset_decode(pairs[p][1], i, &any_image, &b));
            assert_memory_equal(a.pixels, b.pixels, (size_t)(a.width * a.height * 3));
            image_free(&a);
            image_free(&b);
        }
        dataset_close((dataset *)(uintptr_t)pairs[p][0]);
        dataset_close((dataset *)(uintptr_t)pairs[p][1]);
    }
    dataset ds;
    assert_ok(dataset_open_images(&ds, arena_printf(&test_memory, "%s#train", packed)));
    assert_int_equal(ds.count, 7);
    dataset_close(&ds);
    assert_ok(dataset_open_images(&ds, packed)); /* the test part */
    assert_int_equal(ds.count, 10);
    dataset_close(&ds);
    put_text(test_path("packed.set/data.pack"), "hello");
    assert_fails(E_DATA, "5 bytes are no packed data set", dataset_open_images(&ds, packed));
    put_text(test_path("other/file.txt"), "x");
    assert_fails(E_DATA, "nothing", dataset_pack(test_path("other"), NULL, NULL, NULL, NULL));
}

/* Opens every part and reads every record; the first failure. */
static status read_packed(const char *path)
{
    static const char *const names[] = {"train", "val", "test"};
    status result = OK;
    for (int part = 0; part < 3 && result == OK; part++) {
        dataset ds;
        arena memory = {0};
        const uint8_t *bytes;
        size_t count;
        char text[512];
        snprintf(text, sizeof text, "%s#%s", path, names[part]);
        result = dataset_open_images(&ds, text);
        for (int64_t i = 0; result == OK && i < ds.count; i++)
            result = dataset_encoded(&ds, i, &memory, &bytes, &count);
        dataset_close(&ds);
        arena_free(&memory);
    }
    return result;
}

/* Every cut and every changed byte of a packed data set is E_DATA when it is opened or when its records are read. The
 * file is small, so that all of them are tried. */
static void test_packed_damage(void **state)
{
    (void)state;
    for (int part = 0; part < 3; part++) {
        static const char *const names[] = {"train", "val", "test"};
        put_jpeg(test_path("damage/%s/ants/1.jpg", names[part]), 8, 8, part);
        put_jpeg(test_path("damage/%s/bees/2.jpg", names[part]), 8, 8, 3 + part);
    }
    spec_data o = options_for(test_path("damage"));
    dataset parts[3];
    void *data;
    size_t count;
    const char *packed = test_path("damage.packed"), *file = test_path("damage.packed/data.pack");
    assert_ok(dataset_open_parts(&o, 1, NULL, &parts[0], &parts[1], &parts[2]));
    assert_ok(dataset_pack(packed, &parts[0], &parts[1], &parts[2], NULL));
    for (int i = 0; i < 3; i++) dataset_close(&parts[i]);
    assert_ok(file_read_all(&test_memory, file, 1 << 20, &data, &count));
    assert_ok(read_packed(packed));
    uint8_t *bytes = data;
    for (size_t i = 0; i < count; i++) {
        bytes[i] ^= (uint8_t)(1 << i % 8);
        put_file(file, bytes, count);
        if (read_packed(packed) != E_DATA) fail_msg("byte %zu changed: %s", i, status_message());
        bytes[i] ^= (uint8_t)(1 << i % 8);
    }
    put_file(file, bytes, count);
    for (size_t i = count; i-- > 0;) {
        assert_int_equal(truncate(file, (off_t)i), 0);
        if (read_packed(packed) != E_DATA) fail_msg("cut to %zu bytes: %s", i, status_message());
    }
    put_file(file, bytes, count);
    FILE *f = fopen(file, "ab");
    assert_true(f && fputc(0, f) == 0 && fclose(f) == 0);
    assert_int_equal(read_packed(packed), E_DATA);
}

/* Fields of a file whose checksums are right are checked too: it may come from a stranger. Offsets: docs/FORMATS.md. */
static void seal(uint8_t *bytes, size_t count, size_t directory)
{
    hash128 sum = hash128_of(bytes + directory, count - directory);
    packed_store(bytes + 40, sum.low, 8);
    packed_store(bytes + 48, sum.high, 8);
    packed_store(bytes + 88, hash64(bytes, 88), 8);
}

static void test_packed_lies(void **state)
{
    (void)state;
    put_jpeg(test_path("lies/train/a/1.jpg"), 8, 8, 0);
    put_jpeg(test_path("lies/train/b/2.jpg"), 8, 8, 1);
    spec_data o = options_for(test_path("lies"));
    o.val_fraction = 0;
    dataset train;
    void *data;
    size_t count;
    const char *packed = test_path("lies.packed"), *file = test_path("lies.packed/data.pack");
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_ok(dataset_pack(packed, &train, NULL, NULL, NULL));
    dataset_close(&train);
    assert_ok(file_read_all(&test_memory, file, 1 << 20, &data, &count));
    const size_t directory = packed_load((uint8_t *)data + 24, 8), entry = directory + 8 + 2 * 5;
    assert_true(packed_load((uint8_t *)data + entry + 8, 4) == 0 && packed_load((uint8_t *)data + entry + 16, 8) == 96);
    const struct { size_t at; int bytes; uint64_t value; const char *message;
    } lies[] = {{8, 4, 4, "version 4 of the format"}, {24, 8, UINT64_MAX, "do not fit the file"},
        {24, 8, 0, "do not fit the file"}, {32, 8, 1, "do not fit the file"},
        {56, 8, UINT64_MAX, "do not fit the file"}, {56, 8, 1, "does not fit the file"}, {56, 8, 3, "ends too early"},
        {64, 8, 1, "ends too early"}, {directory, 4, 2, "unknown flags"},
        {directory + 4, 4, UINT32_MAX, "ends too early"}, {directory + 4, 4, 1000, "ends too early"},
        {directory + 8, 4, UINT32_MAX, "ends too early"}, {directory + 12, 1, 0, "0 byte"},
        {entry, 4, 39, "fields that version 1 does not know"}, {entry + 4, 4, UINT32_MAX, "fields that"},
        {entry + 8, 4, 2, "class 2 of 2"}, {entry + 8, 4, 0xfffffffe, "class -2 of 2"},
        {entry + 12, 4, 1, "fields that"}, {entry + 16, 8, 95, "does not follow"},
        {entry + 16, 8, UINT64_MAX, "does not follow"}, {entry + 24, 8, UINT64_MAX, "does not follow"},
        {entry + 24, 8, INT64_MAX, "does not follow"}, {entry + 24, 8, 5, "does not follow"},
        {entry + 40, 1, 0, "0 byte"}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t *bytes = arena_memdup(&test_memory, data, count);
        dataset ds;
        packed_store(bytes + lies[i].at, lies[i].value, lies[i].bytes);
        seal(bytes, count, directory);
        put_file(file, bytes, count);
        assert_fails(E_DATA, lies[i].message, dataset_open_images(&ds, arena_printf(&test_memory, "%s#train", packed)));
    }
}

/* ------------------------------------------------------------------------------------------------ boxes */

/* Three images: two boxes and a region to ignore; a label file without boxes; no label file. */
static void open_boxes(dataset *train)
{
    for (int i = 0; i < 3; i++) put_jpeg(test_path("boxes/train/images/%c.jpg", 'a' + i), 60, 40, i);
    put_text(test_path("boxes/train/labels/a.txt"),
        "cat 0 0 0 1.5 2.25 30 20 0 0 0 0 0 0 0\nDontCare 0 0 0 5 5 9 9 0 0 0 0 0 0 0\n"
        "dog 0 0 0 -4 3 70 39 0 0 0 0 0 0 0\n");
    put_text(test_path("boxes/train/labels/b.txt"), "");
    spec_data o = options_for(test_path("boxes"));
    o.val_fraction = 0;
    assert_ok(dataset_open_parts(&o, 1, NULL, train, NULL, NULL));
    assert_true(train->has_boxes && train->count == 3 && train->samples[0].box_count == 3);
}

static void same_text(const char *a, const char *b)
{
    assert_true((a == NULL) == (b == NULL));
    if (a) assert_string_equal(a, b);
}

static void same_boxes(const dataset *a, const dataset *b)
{
    assert_int_equal(a->count, b->count);
    assert_int_equal(a->class_count, b->class_count);
    for (int64_t k = 0; k < a->class_count; k++) assert_string_equal(a->class_name[k], b->class_name[k]);
    for (int64_t i = 0; i < a->count; i++) {
        const sample *x = &a->samples[i], *y = &b->samples[i];
        assert_string_equal(x->name, y->name);
        same_text(x->label_file, y->label_file);
        assert_true(x->class_index == y->class_index && x->box_count == y->box_count);
        assert_int_equal(x->polygon_count, y->polygon_count);
        for (int64_t k = 0; k < x->box_count; k++) {
            const label_box *p = &x->box[k], *q = &y->box[k];
            assert_true(p->x0 == q->x0 && p->y0 == q->y0 && p->x1 == q->x1 && p->y1 == q->y1);
            assert_true(p->class_index == q->class_index && p->ignore == q->ignore && p->line == q->line);
            assert_true(p->crowd == q->crowd && p->area == q->area);
            assert_true(p->polygon_first == q->polygon_first && p->polygon_count == q->polygon_count);
        }
        if (x->polygon_count)
            assert_memory_equal(x->polygon, y->polygon, (size_t)(2 * x->polygon_count) * sizeof *x->polygon);
    }
}

static void test_packed_boxes(void **state)
{
    (void)state;
    static const float polygon[] = {1, 2, 30.5f, 2, 15, 20, 0, 0, 3, 3, 0, 3};
    const char *packed = test_path("boxes.packed"), *again = test_path("boxes.again");
    dataset train, back;
    open_boxes(&train);
    train.samples[0].polygon = polygon;
    train.samples[0].polygon_count = 6;
    train.samples[0].box[0].polygon_count = 3;
    train.samples[0].box[1].crowd = true;
    train.samples[0].box[1].area = 12.5f;
    train.samples[0].box[2].polygon_first = train.samples[0].box[2].polygon_count = 3;
    assert_ok(dataset_pack(packed, &train, NULL, NULL, NULL));
    assert_ok(dataset_open_images(&back, arena_printf(&test_memory, "%s#train", packed)));
    assert_true(back.has_boxes);
    same_boxes(&train, &back);
    lint_report report;
    char text[256];
    spec_data o = options_for(packed);
    assert_ok(dataset_lint(&back, &o, NULL, NULL, &report));
    assert_true(report.bad_count == 0 && report.box_count == 1 && report.unlabelled_count == 1);
    lint_report_boxes(&report, &back, 1, text, sizeof text);
    assert_non_null(strstr(text, "labels/a.txt:3: box reaches outside the image: clipped"));
    lint_report_free(&report);
    assert_ok(dataset_pack(again, &back, NULL, NULL, NULL));
    void *first, *second;
    size_t first_count, second_count;
    assert_ok(file_read_all(&test_memory, test_path("boxes.packed/data.pack"), 1 << 20, &first, &first_count));
    assert_ok(file_read_all(&test_memory, test_path("boxes.again/data.pack"), 1 << 20, &second, &second_count));
    assert_int_equal(first_count, second_count);
    assert_memory_equal(first, second, first_count);
    dataset_close(&back);
    dataset_close(&train);
}

/* Sets without boxes stay version 1, which programs of before read. */
static void test_packed_version(void **state)
{
    (void)state;
    dataset train;
    void *data;
    size_t count;
    put_jpeg(test_path("one/train/a/1.jpg"), 8, 8, 0);
    put_jpeg(test_path("one/train/b/2.jpg"), 8, 8, 1);
    spec_data o = options_for(test_path("one"));
    o.val_fraction = 0;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_ok(dataset_pack(test_path("one.packed"), &train, NULL, NULL, NULL));
    assert_ok(file_read_all(&test_memory, test_path("one.packed/data.pack"), 1 << 20, &data, &count));
    assert_int_equal(packed_load((uint8_t *)data + 8, 4), 1);
    dataset other;
    open_boxes(&other);
    assert_fails(E_DATA, "same kind of labels", dataset_pack(test_path("both.packed"), &train, &other, NULL, NULL));
    dataset_close(&other);
    dataset_close(&train);
}

/* Version 2 had no area behind a box: its sets are read as before. */
static void test_version_2(void **state)
{
    (void)state;
    dataset train, back;
    void *data;
    size_t count;
    const char *packed = test_path("boxes.two"), *file = test_path("boxes.two/data.pack");
    open_boxes(&train);
    assert_ok(dataset_pack(packed, &train, NULL, NULL, NULL));
    assert_ok(file_read_all(&test_memory, file, 1 << 20, &data, &count));
    uint8_t *bytes = data;
    const size_t directory = packed_load(bytes + 24, 8), entry = directory + 8 + 2 * 7;
    size_t area = entry + 40 + strlen(train.samples[0].name) + 12 + strlen(train.samples[0].label_file) + 36;
    for (int i = 0; i < 3; i++, area += 36, count -= 4) memmove(bytes + area, bytes + area + 4, count - area - 4);
    packed_store(bytes + 8, 2, 4);
    packed_store(bytes + 16, count, 8);
    packed_store(bytes + 32, count - directory, 8);
    packed_store(bytes + entry, packed_load(bytes + entry, 4) - 12, 4);
    seal(bytes, count, directory);
    put_file(file, bytes, count);
    assert_ok(dataset_open_images(&back, arena_printf(&test_memory, "%s#train", packed)));
    same_boxes(&train, &back);
    dataset_close(&back);
    dataset_close(&train);
}

static void test_box_lies(void **state)
{
    (void)state;
    dataset train;
    void *data;
    size_t count;
    const char *packed = test_path("boxes.lies"), *file = test_path("boxes.lies/data.pack");
    open_boxes(&train);
    int64_t name_bytes = (int64_t)strlen(train.samples[0].name),
            file_bytes = (int64_t)strlen(train.samples[0].label_file);
    assert_ok(dataset_pack(packed, &train, NULL, NULL, NULL));
    dataset_close(&train);
    assert_ok(file_read_all(&test_memory, file, 1 << 20, &data, &count));
    const size_t directory = packed_load((uint8_t *)data + 24, 8), entry = directory + 8 + 2 * 7;
    const size_t labels = entry + 40 + (size_t)name_bytes, box = labels + 12 + (size_t)file_bytes;
    assert_true(
        packed_load((uint8_t *)data + labels + 4, 4) == 3 && packed_load((uint8_t *)data + box + 40 + 20, 4) == 1);
    const struct {
        size_t at;
        int bytes;
        uint64_t value;
        const char *message;
    } lies[] = {{8, 4, 1, "unknown flags"}, {directory, 4, 0, "fields that version 3"},
        {directory, 4, 4, "unknown flags"}, {entry + 12, 4, 0, "no label file"},
        {entry + 12, 4, 2, "fields that version 3"}, {labels, 4, 0, "bytes of boxes"},
        {labels, 4, UINT32_MAX, "bytes of boxes"}, {labels + 4, 4, 2, "bytes of boxes"},
        {labels + 4, 4, UINT32_MAX, "bytes of boxes"}, {labels + 8, 4, 1, "bytes of boxes"},
        {labels + 8, 4, UINT32_MAX, "bytes of boxes"}, {labels + 12, 1, 0, "0 byte"}, {box + 16, 4, 2, "class 2 of 2"},
        {box + 16, 4, 0xfffffffe, "class -2 of 2"}, {box + 16, 4, UINT32_MAX, "no class and is not to be ignored"},
        {box + 20, 4, 4, "flags 4"}, {box + 24, 4, 1, "points 1 to 1 of 0"}, {box + 28, 4, 1, "points 0 to 1 of 0"},
        {box + 28, 4, UINT32_MAX, "points 0 to"}, {box + 32, 4, UINT32_MAX, "line -1"},
        {box + 36, 4, 0x7fc00000, "area nan"}, {box + 36, 4, 0xbf800000, "area -1"}, {8, 4, 2, "bytes of boxes"}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t *bytes = arena_memdup(&test_memory, data, count);
        dataset ds;
        packed_store(bytes + lies[i].at, lies[i].value, lies[i].bytes);
        seal(bytes, count, directory);
        put_file(file, bytes, count);
        assert_fails(E_DATA, lies[i].message, dataset_open_images(&ds, arena_printf(&test_memory, "%s#train", packed)));
    }
}

static void same_set(const char *name)
{
    const char *root = shared_data(name), *packed = test_path("shared.packed");
    if (!root) return;
    dataset part[2], back[2];
    spec_data o = options_for(root);
    assert_ok(dataset_open_parts(&o, 1, NULL, &part[0], &part[1], NULL));
    assert_ok(dataset_pack(packed, &part[0], &part[1], NULL, NULL));
    o.root = packed;
    assert_ok(dataset_open_parts(&o, 1, NULL, &back[0], &back[1], NULL));
    for (int p = 0; p < 2; p++) {
        same_boxes(&part[p], &back[p]);
        dataset_close(&part[p]);
        dataset_close(&back[p]);
    }
}

static void test_real_boxes(void **state)
{
    (void)state;
    same_set("raccoon_kitti");
    same_set("fruit");
}

/* What earlier versions packed, as LMDB, is refused with the command that packs anew, which then takes its place. */
static void test_packed_before(void **state)
{
    (void)state;
    put_jpeg(test_path("before/train/a/1.jpg"), 8, 8, 0);
    put_text(test_path("before.packed/data.mdb"), "as liblmdb wrote it");
    const char *packed = test_path("before.packed");
    char command[256];
    dataset ds;
    snprintf(command, sizeof command, "graft convert SOURCE -o %s", packed);
    assert_fails(E_DATA, command, dataset_open_images(&ds, packed));
    spec_data o = options_for(packed);
    assert_fails(E_DATA, command, dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL));
    o = options_for(test_path("before"));
    o.val_fraction = 0;
    assert_ok(dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL));
    assert_ok(dataset_pack(packed, &ds, NULL, NULL, NULL));
    dataset_close(&ds);
    assert_true(!file_exists(test_path("before.packed/data.mdb")));
    assert_ok(dataset_open_images(&ds, packed));
    dataset_close(&ds);
}

/* One record that does not fit its checksum condemns the file, however many images data.max_bad_fraction lets go. */
static void test_packed_lint(void **state)
{
    (void)state;
    dataset train, back;
    lint_report report;
    void *data;
    size_t count;
    spec_data o = options_for(make_folder_set("lint-pack", "train"));
    put_text(test_path("lint-pack/train/ants/no picture.jpg"), "text");
    o.val_fraction = 0;
    const char *packed = test_path("lint.packed"), *file = test_path("lint.packed/data.pack");
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_ok(dataset_pack(packed, &train, NULL, NULL, NULL));
    dataset_close(&train);
    o.root = packed;
    for (int damaged = 0; damaged < 2; damaged++) {
        for (int round = 0; round < 2; round++) { /* without the cache and with it */
            assert_ok(dataset_open_parts(&o, 1, NULL, &back, NULL, NULL));
            assert_ok(dataset_lint(&back, &o, test_path("lint-pack-cache"), NULL, &report));
            assert_true(report.bad_count == 1 + damaged && report.damaged_count == damaged);
            if (damaged)
                assert_fails(E_DATA, "1 of its 11 records do not fit their checksums",
                    lint_report_judge(&report, &back, &o, NULL));
            else assert_ok(lint_report_judge(&report, &back, &o, NULL));
            lint_report_free(&report);
            dataset_close(&back);
        }
        assert_ok(file_read_all(&test_memory, file, 1 << 20, &data, &count));
        ((uint8_t *)data)[200] ^= 1;
        put_file(file, data, count);
    }
}

static void test_pack_raw(void **state)
{
    (void)state;
    make_idx_set("idx-pack", true);
    spec_data o = options_for(test_path("idx-pack"));
    o.val_fraction = 0;
    dataset train, back;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_ok(dataset_pack(test_path("idx.packed"), &train, NULL, NULL, NULL));
    o.root = test_path("idx.packed");
    assert_ok(dataset_open_parts(&o, 1, NULL, &back, NULL, NULL));
    assert_true(back.count == 5 && back.numbered && back.class_count == 3);
    for (int i = 0; i < 5; i++) {
        image a, b;
        assert_ok(dataset_decode(&train, i, &any_image, &a));
        assert_ok(dataset_decode(&back, i, &any_image, &b));
        assert_int_equal(b.channels, 1);
        assert_memory_equal(a.pixels, b.pixels, 12);
        image_free(&a);
        image_free(&b);
    }
    dataset_close(&train);
    dataset_close(&back);
    put_text(test_path("other/file.txt"), "x");
    assert_ok(dataset_open_images(&train, test_path("idx-pack/train-images-idx3-ubyte.gz")));
    assert_fails(E_IO, "other files", dataset_pack(test_path("other"), &train, NULL, NULL, NULL));
    /* What a killed run left (no process has this number) neither blocks the folder nor stays in it. */
    const char *left = test_path("killed.packed/data.pack.tmp.2147483647.0123456789abcdef");
    put_text(left, "half a data set");
    assert_ok(dataset_pack(test_path("killed.packed"), &train, NULL, NULL, NULL));
    assert_true(file_exists(test_path("killed.packed/data.pack")) && !file_exists(left));
    dataset_close(&train);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed),
        cmocka_unit_test(test_packed_damage),
        cmocka_unit_test(test_packed_lies),
        cmocka_unit_test(test_packed_boxes),
        cmocka_unit_test(test_packed_version), cmocka_unit_test(test_version_2),
        cmocka_unit_test(test_box_lies),
        cmocka_unit_test(test_real_boxes),
        cmocka_unit_test(test_packed_before),
        cmocka_unit_test(test_packed_lint),
        cmocka_unit_test(test_pack_raw),
    };
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
