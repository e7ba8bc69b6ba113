/* Readers, the split and lint, on data sets made here; Fashion-MNIST's published sizes where its package is
 * installed. */
#include "tests/unit/data_files.h"

#include "core/data/readers/readers.h"

static void test_folder_reader(void **state)
{
    (void)state;
    const char *root = make_folder_set("plain", "train");
    make_folder_set("plain", "val");
    put_text(test_path("plain/train/ants/notes.txt"), "no image");
    put_text(test_path("plain/train/ants/.hidden.jpg"), "hidden");
    put_jpeg(test_path("plain/train/ants/deeper/z.JPEG"), 20, 20, 3);
    spec_data o = options_for(root);
    dataset train, val, test;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, &test));
    assert_int_equal(train.count, 11);
    assert_int_equal(val.count, 10);
    assert_int_equal(test.count, 0);
    assert_int_equal(train.class_count, 2);
    assert_string_equal(train.class_name[0], "ants");
    assert_int_equal(dataset_find_class(&train, "bees"), 1);
    assert_int_equal(dataset_find_class(&train, "wasps"), -1);
    assert_true(strstr(train.samples[6].name, "deeper/z.JPEG") != NULL);
    assert_int_equal(train.samples[7].class_index, 1);
    image im;
    assert_ok(dataset_decode(&train, 0, &any_image, &im));
    assert_int_equal(im.width, 40);
    image_free(&im);
    dataset_close(&train);
    dataset_close(&val);
    dataset_close(&test);
}

static void test_class_differences(void **state)
{
    (void)state;
    make_folder_set("differ", "train");
    put_jpeg(test_path("differ/val/ants/1.jpg"), 20, 20, 0);
    put_jpeg(test_path("differ/val/wasps/1.jpg"), 20, 20, 0);
    spec_data o = options_for(test_path("differ"));
    dataset train, val;
    assert_fails(E_DATA, "\"wasps\" of the val part is not in the train part",
        dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    o.val = test_path("missing");
    assert_fails(E_DATA, "missing", dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    o = options_for("");
    assert_int_equal(dataset_open_parts(&o, 1, NULL, &train, &val, NULL), E_USAGE);
    o = options_for(test_path("differ/val/ants"));
    assert_fails(E_DATA, "no train part", dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
}

/* What cannot be read is a bad image for lint to list; it neither stops nor blocks the opening. */
static void test_what_is_no_file(void **state)
{
    (void)state;
    put_jpeg(test_path("nofile/train/a/3.jpg"), 16, 16, 0);
    put_jpeg(test_path("nofile/train/b/1.jpg"), 16, 16, 0);
    assert_int_equal(mkfifo(test_path("nofile/train/a/1.jpg"), 0600), 0);
    assert_int_equal(symlink("nothing-there", test_path("nofile/train/a/2.jpg")), 0);
    spec_data o = options_for(test_path("nofile"));
    dataset train;
    assert_ok(dataset_open_images(&train, test_path("nofile/train/a")));
    assert_int_equal(train.count, 2);
    dataset_close(&train);
    o.val_fraction = 0;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_int_equal(train.count, 4);
    image im;
    assert_fails(E_DATA, "1.jpg: a pipe", dataset_decode(&train, 0, &any_image, &im));
    assert_fails(E_IO, "2.jpg: cannot open", dataset_decode(&train, 1, &any_image, &im));
    dataset_close(&train);
}

static void test_split(void **state)
{
    (void)state;
    for (int i = 0; i < 50; i++) put_jpeg(test_path("split/%s/%02d.jpg", i < 40 ? "a" : "b", i), 16, 16, i);
    put_jpeg(test_path("split/c/one.jpg"), 16, 16, 1);
    spec_data o = options_for(test_path("split"));
    dataset train, val, again, other;
    assert_ok(dataset_open_parts(&o, 7, NULL, &train, &val, NULL));
    /* round(40 / 4), round(10 / 4), and a class of one stays in training. */
    assert_int_equal(val.count, 10 + 3);
    assert_int_equal(train.count, 51 - 13);
    int per_class[3] = {0};
    for (int64_t i = 0; i < val.count; i++) {
        per_class[val.samples[i].class_index]++;
        for (int64_t k = 0; k < train.count; k++) assert_string_not_equal(val.samples[i].name, train.samples[k].name);
        if (i) assert_true(strcmp(val.samples[i - 1].name, val.samples[i].name) < 0);
    }
    assert_true(per_class[0] == 10 && per_class[1] == 3 && per_class[2] == 0);
    assert_ok(dataset_open_parts(&o, 7, NULL, NULL, &again, NULL));
    assert_ok(dataset_open_parts(&o, 8, NULL, NULL, &other, NULL));
    int moved = 0;
    for (int64_t i = 0; i < val.count; i++) {
        assert_string_equal(val.samples[i].name, again.samples[i].name);
        moved += strcmp(val.samples[i].name, other.samples[i].name) != 0;
    }
    assert_true(moved > 0);
    o.val_fraction = 0;
    dataset_close(&val);
    dataset_close(&train);
    assert_ok(dataset_open_parts(&o, 7, NULL, &train, &val, NULL));
    assert_true(val.count == 0 && train.count == 51);
    dataset_close(&train);
    dataset_close(&val);
    dataset_close(&again);
    dataset_close(&other);
}

static void test_idx(void **state)
{
    (void)state;
    for (int gzip = 0; gzip < 2; gzip++) {
        const char *name = gzip ? "idx-gz" : "idx";
        make_idx_set(name, gzip);
        spec_data o = options_for(test_path("%s", name));
        o.val_fraction = 0;
        dataset train, val;
        image im;
        assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
        assert_true(train.count == 5 && train.class_count == 3 && train.numbered);
        assert_true(train.samples[3].class_index == 2 && strcmp(train.class_name[2], "2") == 0);
        decode_options d = any_image;
        d.channels = 3;
        assert_ok(dataset_decode(&train, 2, &d, &im));
        assert_true(im.width == 3 && im.height == 4 && im.channels == 3);
        assert_true(im.pixels[0] == 24 * 3 && im.pixels[2] == 24 * 3 && im.pixels[35] == 35 * 3);
        image_free(&im);
        dataset_close(&train);
        dataset_close(&val);
        put_text(test_path("%s/classes.txt", name), "shirt\nshoe \r\nbag\n");
        assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
        assert_string_equal(train.class_name[1], "shoe");
        dataset_close(&train);
        dataset_close(&val);
        put_text(test_path("%s/classes.txt", name), "shirt\n");
        assert_fails(E_DATA, "class names", dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    }
}

static void test_idx_damage(void **state)
{
    (void)state;
    uint8_t file[256], pixels[24] = {1, 2, 3};
    size_t bytes = make_idx(file, 3, (int[]){2, 4, 3}, pixels, sizeof pixels);
    const char *path = test_path("damage.gz");
    put_gzip(path, file, bytes);
    arena memory = {0};
    idx_array array;
    void *gz;
    size_t gz_bytes;
    assert_ok(file_read_all(&memory, path, 1000, &gz, &gz_bytes));
    assert_ok(idx_parse(&memory, gz, gz_bytes, "x", &array));
    assert_true(array.dim[1] == 4 && array.data[2] == 3);
    for (size_t n = 0; n < gz_bytes; n++) assert_int_equal(idx_parse(&memory, gz, n, "x", &array), E_DATA);
    for (size_t n = 0; n < bytes; n++) assert_int_equal(idx_parse(&memory, file, n, "x", &array), E_DATA);
    assert_int_equal(idx_parse(&memory, file, bytes + 1, "x", &array), E_DATA);
    for (size_t i = 10; i < gz_bytes;
         i++) { /* damage is seen, unless the stream still says the same (padding, another match) */
        ((uint8_t *)gz)[i] ^= 0x10;
        if (idx_parse(&memory, gz, gz_bytes, "x", &array) == OK) assert_memory_equal(array.data, pixels, sizeof pixels);
        ((uint8_t *)gz)[i] ^= 0x10;
    }
    memset(file + 4, 0xff, 12); /* 2^96 values */
    assert_fails(E_DATA, "impossible", idx_parse(&memory, file, bytes, "x", &array));
    memcpy(file + 4, (uint8_t[]){0x3f, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1}, 12);
    put_gzip(path, file, bytes);
    assert_ok(file_read_all(&memory, path, 1000, &gz, &gz_bytes));
    assert_fails(E_DATA, "cannot hold", idx_parse(&memory, gz, gz_bytes, "x", &array));
    arena_free(&memory);
}

static void test_cifar(void **state)
{
    (void)state;
    uint8_t *records = calloc(3, 3074);
    for (int r = 0; r < 3; r++) {
        records[r * 3073] = (uint8_t)(9 - r);
        memset(records + r * 3073 + 1, 50 + r, 1024);
        memset(records + r * 3073 + 1025, 100 + r, 1024);
        memset(records + r * 3073 + 2049, 150 + r, 1024);
    }
    put_file(test_path("cifar/cifar-10-batches-bin/data_batch_1.bin"), records, 2 * 3073);
    put_file(test_path("cifar/cifar-10-batches-bin/data_batch_2.bin"), records + 2 * 3073, 3073);
    put_file(test_path("cifar/cifar-10-batches-bin/test_batch.bin"), records, 3073);
    spec_data o = options_for(test_path("cifar"));
    dataset train, val, test;
    image im;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, &test));
    assert_int_equal(train.count + val.count, 3);
    assert_int_equal(test.count, 1);
    assert_ok(dataset_decode(&train, train.count - 1, &any_image, &im));
    int r = 9 - train.samples[train.count - 1].class_index;
    assert_true(im.width == 32 && im.pixels[0] == 50 + r && im.pixels[1] == 100 + r && im.pixels[3071] == 150 + r);
    image_free(&im);
    dataset_close(&train);
    dataset_close(&val);
    dataset_close(&test);
    put_file(test_path("cifar/cifar-10-batches-bin/data_batch_2.bin"), records, 3000);
    assert_fails(E_DATA, "whole number of records", dataset_open_parts(&o, 1, NULL, &train, &val, &test));
    records[0] = 10;
    put_file(test_path("cifar/cifar-10-batches-bin/data_batch_2.bin"), records, 3073);
    assert_fails(E_DATA, "label 10", dataset_open_parts(&o, 1, NULL, &train, &val, &test));
    records[0] = 9;
    for (int i = 2; i <= 65; i++) put_file(test_path("cifar/cifar-10-batches-bin/data_batch_%d.bin", i), records, 3073);
    assert_fails(E_DATA, "more than 64 files", dataset_open_parts(&o, 1, NULL, &train, &val, &test));
    assert_int_equal(remove(test_path("cifar/cifar-10-batches-bin/data_batch_65.bin")), 0);
    put_file(test_path("cifar/cifar-10-batches-bin/train.bin"), records, 3074);
    assert_fails(E_DATA, "of CIFAR-10 and of CIFAR-100", dataset_open_parts(&o, 1, NULL, &train, &val, &test));
    memset(records, 7, 3 * 3074);
    records[1] = 99;
    put_file(test_path("cifar100/train.bin"), records, 3 * 3074);
    o = options_for(test_path("cifar100"));
    o.val_fraction = 0;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_true(train.count == 3 && train.class_count == 100 && train.samples[0].class_index == 99);
    dataset_close(&train);
    free(records);
}

static void test_csv(void **state)
{
    (void)state;
    put_jpeg(test_path("csv/a.jpg"), 20, 20, 0);
    put_jpeg(test_path("csv/images/b, \"x\".jpg"), 20, 20, 0);
    put_text(test_path("csv/train.csv"), "label,file\r\nzebra,a.jpg\r\n\r\nant,\"b, \"\"x\"\".jpg\"\r\nant,gone.jpg");
    spec_data o = options_for(test_path("csv/train.csv"));
    o.val_fraction = 0;
    dataset train;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    assert_true(train.count == 3 && train.class_count == 2);
    assert_true(train.samples[0].class_index == 1 && train.samples[1].class_index == 0);
    image im;
    assert_ok(dataset_decode(&train, 1, &any_image, &im));
    image_free(&im);
    assert_fails(E_IO, "gone.jpg", dataset_decode(&train, 2, &any_image, &im));
    dataset_close(&train);
    static const struct {
        const char *text, *message;
    } bad[] = {{"a.jpg\n", "file and a class"}, {"a.jpg,\n", "file and a class"}, {"", "no rows"},
        {"file,class\n", "no rows"}, {"a.jpg,\"x\n\n", ":1: a quote"}, {"a,b\n\"x\"y,z\n", ":2: text behind"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        put_text(test_path("csv/train.csv"), bad[i].text);
        assert_fails(E_DATA, bad[i].message, dataset_open_parts(&o, 1, NULL, &train, NULL, NULL));
    }
}

/* A pipe nobody writes to would be waited for, and a device never ends: neither is
 * opened, wherever a data set names it. */
static void test_pipes_are_refused(void **state)
{
    (void)state;
    static const char *const message = "a pipe, socket or device instead of a file";
    dataset ds;
    image im;
    put_jpeg(test_path("pipes/a.jpg"), 16, 16, 0);
    assert_int_equal(mkfifo(test_path("pipes/pipe"), 0600), 0);
    const char *fifo = test_path("pipes/pipe");
    assert_ok(dataset_open_images(&ds, fifo)); /* one image */
    assert_fails(E_DATA, message, dataset_decode(&ds, 0, &any_image, &im));
    dataset_close(&ds);
    put_text(test_path("pipes/list.csv"), "a.jpg,a\n/dev/zero,b\npipe,b\n/dev/stdin,b\n");
    assert_ok(dataset_open_images(&ds, test_path("pipes/list.csv")));
    assert_int_equal(ds.count, 4);
    for (int i = 1; i < 3; i++) assert_fails(E_DATA, message, dataset_decode(&ds, i, &any_image, &im));
    dataset_close(&ds);
    static const char *const names[] = {"table/train.csv", "idx/train-images-idx3-ubyte",
        "idx/train-images-idx3-ubyte.gz", "cifar/data_batch_1.bin", "cifar/train.bin", "set/data.mdb", "set/data.pack"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *path = test_path("pipes-%zu/%s", i, names[i]),
                   *root = arena_strndup(&test_memory, path, (size_t)(path_base(path) - path - 1));
        put_text(arena_printf(&test_memory, "%s/train-labels-idx1-ubyte", root), "no labels");
        assert_int_equal(mkfifo(path, 0600), 0);
        spec_data o = options_for(root);
        assert_int_equal(dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL), E_DATA);
    }
    make_idx_set("pipes-labels", false);
    const char *labels = test_path("pipes-labels/train-labels-idx1-ubyte"),
               *classes = test_path("pipes-classes/classes.txt");
    assert_int_equal(remove(labels) || mkfifo(labels, 0600), 0);
    spec_data o = options_for(test_path("pipes-labels"));
    assert_fails(E_DATA, message, dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL));
    make_idx_set("pipes-classes", false);
    assert_int_equal(mkfifo(classes, 0600), 0);
    o.root = test_path("pipes-classes");
    assert_fails(E_DATA, message, dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL));
}

/* A file of records that is cut off while it is in use: what is gone cannot be read, what is there can,
 * and no signal ends the process. */
static void test_records_cut_off(void **state)
{
    (void)state;
    dataset ds;
    image im;
    uint8_t *records = calloc(4, 3073);
    put_file(test_path("cut/data_batch_1.bin"), records, 2 * 3073);
    put_file(test_path("cut/data_batch_2.bin"), records, 4 * 3073);
    make_idx_set("cut-idx", false);
    const char *paths[2] = {test_path("cut"), test_path("cut-idx")},
               *files[2] = {"data_batch_2.bin", "train-images-idx3-ubyte"};
    const int64_t rest[2] = {1, 16}, whole[2] = {2, 0}; /* bytes that stay, samples that stay */
    for (int k = 0; k < 2; k++) {
        assert_ok(dataset_open_images(&ds, arena_printf(&test_memory, "%s#train", paths[k])));
        assert_int_equal(truncate(arena_printf(&test_memory, "%s/%s", paths[k], files[k]), rest[k]), 0);
        for (int64_t i = 0; i < ds.count; i++) {
            if (i < whole[k]) assert_ok(dataset_decode(&ds, i, &any_image, &im));
            else assert_fails(E_DATA, "cut off while it was in use", dataset_decode(&ds, i, &any_image, &im));
            image_free(&im);
        }
        dataset_close(&ds);
    }
    free(records);
}

static void test_loose_images(void **state)
{
    (void)state;
    put_jpeg(test_path("loose/b.jpg"), 20, 10, 0);
    put_jpeg(test_path("loose/a.jpg"), 20, 20, 0);
    dataset ds;
    assert_ok(dataset_open_images(&ds, test_path("loose")));
    assert_true(ds.count == 2 && ds.samples[0].class_index == -1 && strstr(ds.samples[0].name, "a.jpg"));
    dataset_close(&ds);
    assert_ok(dataset_open_images(&ds, test_path("loose/b.jpg")));
    image im;
    assert_ok(dataset_decode(&ds, 0, &any_image, &im));
    assert_int_equal(im.height, 10);
    image_free(&im);
    dataset_close(&ds);
    assert_int_equal(dataset_open_images(&ds, test_path("nothing-there")), E_DATA);
}

static void test_lint_finds_what_was_planted(void **state)
{
    (void)state;
    const char *root = make_folder_set("lint", "train"), *cache = test_path("lint-cache");
    put_truncated_jpeg(test_path("lint/train/bees/t.jpg"));
    put_text(test_path("lint/train/ants/empty.png"), "");
    put_text(test_path("lint/train/bees/anim.gif"), "GIF89a");
    put_text(test_path("lint/train/bees/text.jpg"), "this is no picture");
    spec_data o = options_for(root);
    o.val_fraction = 0;
    dataset ds;
    lint_report report;
    assert_ok(dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL));
    for (int round = 0; round < 3; round++) {
        if (round == 2) { /* repaired: only this one is read again */
            put_jpeg(test_path("lint/train/ants/empty.png"), 20, 20, 1);
            dataset_close(&ds);
            assert_ok(dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL));
        }
        assert_ok(dataset_lint(&ds, &o, cache, NULL, &report));
        assert_int_equal(report.bad_count, round == 2 ? 3 : 4);
        assert_int_equal(report.cached_count, round == 0 ? 0 : round == 1 ? 14 : 13);
        for (int64_t i = 0; i < ds.count; i++) {
            const char *name = ds.samples[i].name, *reason = report.reason[i];
            bool planted = strstr(name, "/t.jpg") || (strstr(name, "empty") && round < 2) || strstr(name, "anim") ||
                           strstr(name, "text.jpg");
            if (planted != (reason != NULL)) fail_msg("%s: %s", name, reason ? reason : "called good");
            if (strstr(name, "/t.jpg")) assert_true(strstr(reason, "truncated") || strstr(reason, "corrupt"));
            if (strstr(name, "anim")) assert_non_null(strstr(reason, "GIF"));
        }
        lint_report_free(&report);
    }
    o.max_bad_fraction = 0.1;
    assert_ok(dataset_lint(&ds, &o, cache, NULL, &report));
    assert_fails(E_DATA, "3 of 14 images cannot be read", lint_report_judge(&report, &ds, &o, NULL));
    o.max_bad_fraction = 0.3;
    assert_ok(lint_report_judge(&report, &ds, &o, NULL));
    assert_int_equal(report.bad_count, 3);
    for (int64_t i = 0; i < ds.count; i++) report.reason[i] = "bad";
    report.bad_count = ds.count;
    assert_fails(E_DATA, "(100 %, data.max_bad_fraction allows 30 %)", lint_report_judge(&report, &ds, &o, NULL));
    lint_report_free(&report);
    /* A damaged cache costs time, not truth. */
    arena memory = {0};
    char **names;
    int64_t count;
    assert_ok(dir_list(&memory, cache, &names, &count));
    assert_int_equal(count, 1);
    const char *file = test_path("lint-cache/%s", names[0]);
    void *text;
    size_t bytes;
    assert_ok(file_read_all(&memory, file, 1 << 20, &text, &bytes));
    put_file(file, text, bytes / 2);
    o.max_bad_fraction = 1;
    assert_ok(dataset_lint(&ds, &o, cache, NULL, &report));
    assert_true(report.bad_count == 3 && report.cached_count > 0 && report.cached_count < 14);
    lint_report_free(&report);
    arena_free(&memory);
    dataset_close(&ds);
}

/* Whatever a file is called: what looks like an image is used, or named and counted. Text, hidden files and empty ones
 * of other names are not. */
static void test_images_under_any_name(void **state)
{
    (void)state;
    static const struct {
        const char *name, *bytes;
        size_t count;
        const char *reason;
    } files[] = {{"a.JXL", "not even that", 13, "no image format"},
        {"b.jp2", "\0\0\0\x0cjP  \r\n\x87\n", 12, "JPEG 2000"}, {"c.psd", "8BPS\0\1", 6, "Photoshop"},
        {"d.dat", "8BPS\0\1", 6, "Photoshop"}, {"e", "\xff\x4f\xff\x51", 4, "JPEG 2000"},
        {"f.CR2", "II*\0\x10\0\0\0CR\2\0", 12, "raw"}, {"g.jpg", "\0\0\0\x0cJXL \r\n\x87\n", 12, "JPEG XL"},
        {"h.exr", "", 0, "empty"}, {"i.txt", "P6 is a letter and a digit", 26, NULL},
        {"j.md", "BMW and other cars", 18, NULL}, {".k.psd", "8BPS\0\1", 6, NULL}, {"l.bin", "", 0, NULL},
        {"m.xml", "<?xml version=\"1.0\"?><annotation/>", 34, NULL}};
    enum { FILES = sizeof files / sizeof files[0], SEEN = 8 };
    put_jpeg(test_path("anyname/train/a/1.jpg"), 16, 16, 0);
    put_jpeg(test_path("anyname/train/b/2.jpg"), 16, 16, 1);
    put_jpeg(test_path("anyname/train/b/no-ending"), 16, 16, 2);
    put_jpeg(test_path("anyname/train/beside.jpg"), 16, 16, 2);
    put_text(test_path("anyname/train/labels.txt"), "text");
    for (int i = 0; i < FILES; i++)
        put_file(test_path("anyname/train/a/%s", files[i].name), files[i].bytes, files[i].count);
    spec_data o = options_for(test_path("anyname"));
    o.val_fraction = 0;
    dataset ds;
    lint_report report;
    char kinds[1024];
    assert_ok(dataset_open_parts(&o, 1, NULL, &ds, NULL, NULL));
    assert_int_equal(ds.count, SEEN + 3);
    assert_true(ds.stray_count == 1 && strstr(ds.stray, "/beside.jpg"));
    assert_ok(dataset_lint(&ds, &o, NULL, NULL, &report));
    assert_int_equal(report.bad_count, SEEN);
    for (int i = 0; i < FILES; i++) {
        const char *reason = NULL;
        for (int64_t k = 0; k < ds.count; k++)
            if (strcmp(path_base(ds.samples[k].name), files[i].name) == 0)
                reason = report.reason[k] ? report.reason[k] : "good";
        if (!reason != !files[i].reason || (reason && !strstr(reason, files[i].reason)))
            fail_msg("%s: %s", files[i].name, reason ? reason : "not seen");
    }
    lint_report_kinds(&report, kinds, sizeof kinds);
    assert_non_null(strstr(kinds, "2 times: this is a Photoshop file"));
    o.max_bad_fraction = 0.5;
    assert_fails(E_DATA, "8 of 11 images cannot be read", lint_report_judge(&report, &ds, &o, NULL));
    lint_report_free(&report);
    dataset_close(&ds);
    assert_ok(dataset_open_images(&ds, test_path("anyname/train/a")));
    assert_int_equal(ds.count, SEEN + 1);
    dataset_close(&ds);
}

static void test_fashion_mnist(void **state)
{
    (void)state;
    const char *root = "/usr/share/datasets/fashion-mnist";
    if (!file_exists(root)) {
        print_message("# skipped: the package dataset-fashion-mnist is not installed\n");
        skip();
    }
    spec_data o = options_for(root);
    o.val_fraction = 0.1;
    dataset train, val, test;
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, &test));
    assert_true(train.count == 54000 && val.count == 6000 && test.count == 10000 && train.class_count == 10);
    int64_t per_class[10] = {0};
    for (int64_t i = 0; i < test.count; i++) per_class[test.samples[i].class_index]++;
    for (int c = 0; c < 10; c++) assert_int_equal(per_class[c], 1000);
    assert_int_equal(test.samples[0].class_index, 9); /* the first test picture is an ankle boot */
    dataset_close(&train);
    dataset_close(&val);
    dataset_close(&test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder_reader),
        cmocka_unit_test(test_class_differences),
        cmocka_unit_test(test_what_is_no_file),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_idx),
        cmocka_unit_test(test_idx_damage),
        cmocka_unit_test(test_cifar),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_pipes_are_refused),
        cmocka_unit_test(test_records_cut_off),
        cmocka_unit_test(test_loose_images),
        cmocka_unit_test(test_lint_finds_what_was_planted),
        cmocka_unit_test(test_images_under_any_name),
        cmocka_unit_test(test_fashion_mnist),
    };
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
