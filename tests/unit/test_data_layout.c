/* Where the parts of a data set lie, and their classes' names. */
#include "tests/unit/data_files.h"

#include "core/data/classes.h"
#include "core/data/layout.h"

/* ROOT/{ants,bees}/n.jpg, `each` of both. */
static const char *put_classes(const char *root, int each)
{
    for (int i = 0; i < 2 * each; i++) put_jpeg(test_path("%s/%s/%d.jpg", root, i % 2 ? "ants" : "bees", i), 16, 16, i);
    return test_path("%s", root);
}

static void expect_share(
    const char *root, dataset_ask ask, int64_t count, int64_t total, dataset_part part, bool set_aside)
{
    spec_data o = options_for(root);
    dataset ds;
    dataset_share share;
    assert_ok(dataset_open_part(&ds, &o, 1, ask, &share));
    if (ds.count != count || share.total != total || share.part != part || share.set_aside != set_aside)
        fail_msg("%s: %lld of %lld, part %d, set aside %d", root, (long long)ds.count, (long long)share.total,
            (int)share.part, share.set_aside);
    dataset_close(&ds);
}

static void expect_no_share(const char *root, dataset_ask ask, const char *message)
{
    spec_data o = options_for(root);
    dataset ds;
    dataset_share share;
    assert_fails(E_DATA, message, dataset_open_part(&ds, &o, 1, ask, &share));
}

/* Which images are scored: asked for by name, unseen by the network, or whatever there is. */
static void shares(void **state)
{
    (void)state;
    const char *all = test_path("all"), *whole = put_classes("whole", 8), *test = test_path("only_test"),
               *two = test_path("two");
    put_classes("all/train", 4);
    put_classes("all/Validation", 2);
    put_classes("all/test", 3);
    put_classes("only_test/test", 5);
    put_classes("two/train", 8);
    put_classes("two/test", 1);
    expect_share(all, ASK_ANY, 4, 18, PART_VAL, false);
    expect_share(all, ASK_UNSEEN, 4, 18, PART_VAL, false);
    expect_share(all, ASK_TRAIN, 8, 18, PART_TRAIN, false);
    expect_share(all, ASK_TEST, 6, 18, PART_TEST, false);
    expect_share(whole, ASK_ANY, 16, 16, PART_WHOLE, false);
    expect_share(whole, ASK_UNSEEN, 4, 16, PART_VAL, true);
    expect_share(whole, ASK_TRAIN, 12, 16, PART_TRAIN, true);
    expect_no_share(whole, ASK_TEST, "no test part found");
    expect_share(test, ASK_ANY, 10, 10, PART_TEST, false);
    expect_share(test, ASK_UNSEEN, 10, 10, PART_TEST, false);
    expect_no_share(test, ASK_VAL, "has a test part, but no val part found; name it with data.val");
    expect_share(two, ASK_ANY, 4, 18, PART_VAL, true);
    expect_share(two, ASK_TEST, 2, 18, PART_TEST, false);
    expect_share(test_path("all#valid"), ASK_ANY, 4, 18, PART_VAL, false);
    expect_share(test_path("all#test"), ASK_TEST, 6, 18, PART_TEST, false);
    expect_share(test_path("all/train"), ASK_ANY, 8, 8, PART_WHOLE, false);
    expect_no_share(test_path("two#val"), ASK_ANY, "no data set with a val part");
    expect_no_share(test_path("gone#val"), ASK_ANY, "no such file or folder");
}

/* What is broken in one part is no concern of another. */
static void broken_neighbour(void **state)
{
    (void)state;
    put_text(test_path("neighbour/train.csv"), "\"not closed");
    put_text(test_path("neighbour/test.csv"), "a.jpg,ants\n");
    put_jpeg(test_path("neighbour/a.jpg"), 16, 16, 1);
    expect_share(test_path("neighbour"), ASK_TEST, 1, 1, PART_TEST, false);
}

static void siblings(void **state)
{
    (void)state;
    spec_data o = options_for(test_path("family"));
    dataset train, val;
    put_classes("family/train", 2);
    put_classes("family/valid", 1);
    put_text(test_path("family/README"), "text");
    put_text(test_path("family/docs/README"), "text");
    put_jpeg(test_path("family/test/unlabelled.jpg"), 16, 16, 1);
    put_jpeg(test_path("family/.cache/thumb.jpg"), 16, 16, 1);
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_true(train.count == 4 && val.count == 2);
    dataset_close(&train);
    dataset_close(&val);
    put_jpeg(test_path("family/val/one.jpg"), 16, 16, 1);
    assert_fails(
        E_DATA, "family/val: a second val part beside valid", dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    o.val = test_path("family/valid"); /* says which one counts */
    assert_ok(dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    dataset_close(&train);
    dataset_close(&val);
    assert_int_equal(unlink(test_path("family/val/one.jpg")), 0);
    o.val = "";
    put_jpeg(test_path("family/extra/deep/one.png"), 16, 16, 1);
    assert_fails(
        E_DATA, "family/extra: a folder of images beside train", dataset_open_parts(&o, 1, NULL, &train, &val, NULL));
    assert_fails(E_DATA, "family/extra", dataset_open_images(&train, test_path("family")));
}

/* A literal # in a name, and classes that are called as parts are. */
static void names_that_mislead(void **state)
{
    (void)state;
    dataset ds;
    put_classes("odd#test", 2);
    expect_share(test_path("odd#test"), ASK_ANY, 4, 4, PART_WHOLE, false);
    for (int i = 0; i < 4; i++) put_jpeg(test_path("vehicles/%s/%d.jpg", i % 2 ? "bus" : "train", i), 16, 16, i);
    assert_ok(dataset_open_images(&ds, test_path("vehicles")));
    assert_true(ds.count == 4 && ds.class_count == 2);
    dataset_close(&ds);
}

/* ------------------------------------------------------------------------------------------------ classes */

static void expect_table(const char *text, int64_t classes, const char *first)
{
    dataset ds;
    put_text(test_path("table/one.csv"), text);
    assert_ok(dataset_open_images(&ds, test_path("table/one.csv")));
    assert_int_equal(ds.class_count, classes);
    assert_string_equal(ds.class_name[0], first);
    for (int64_t i = 0; i < ds.count; i++)
        assert_true(file_exists(ds.samples[i].name) && ds.samples[i].class_index >= 0);
    dataset_close(&ds);
}

static void tables(void **state)
{
    (void)state;
    put_jpeg(test_path("table/a, b.jpg"), 16, 16, 1);
    put_jpeg(test_path("table/c.jpg"), 16, 16, 1);
    expect_table("c.jpg,boot\nc.jpg, boot\nc.jpg,boot \n\"a, b.jpg\" , \"boot\"\t\n c.jpg ,\tboot", 1, "boot");
    expect_table("\xef\xbb\xbfpath,label\r\nc.jpg,boot\r\n", 1, "boot");
    expect_table("c.jpg,\" boot\"\nc.jpg,boot\n", 2, " boot"); /* quoted blanks count */
    expect_table("c.jpg,caf\xe9\nc.jpg,\"a\nb\"\n", 2, "a\\x0ab");
    dataset ds;
    put_text(test_path("table/one.csv"), "c.jpg,\"boot\" x\n");
    assert_fails(
        E_DATA, "one.csv:1: text behind a closing quote", dataset_open_images(&ds, test_path("table/one.csv")));
    put_text(test_path("table/one.csv"), "c.jpg,caf\xe9\nc.jpg,caf\\xe9\n");
    assert_ok(dataset_open_images(&ds, test_path("table/one.csv"))); /* one class, written twice */
    assert_int_equal(ds.class_count, 1);
    dataset_close(&ds);
}

static void alike(void **state)
{
    (void)state;
    static const char *const names[] = {
        "boot", "Boot", "ice cream", "icecream", "\xc3\x89tui", "\xc3\xa9tui", "shirt", "boots"};
    char *text = NULL;
    size_t bytes;
    logger l;
    FILE *f = open_memstream(&text, &bytes);
    log_init(&l, f, LOG_WARN, 0);
    class_names_warn(names, 8, "list", &l);
    log_free(&l);
    fclose(f);
    assert_non_null(strstr(text, "list: classes \"Boot\" and \"boot\" differ only in case or blanks"));
    assert_non_null(strstr(text, "\"ice cream\" and \"icecream\""));
    assert_non_null(strstr(text, "\"\xc3\x89tui\" and \"\xc3\xa9tui\""));
    assert_null(strstr(text, "shirt"));
    assert_null(strstr(text, "boots"));
    free(text);
    assert_string_equal(class_names_like(names, 8, " BOOT"), "boot");
    assert_null(class_names_like(names, 8, "boo"));
}

static void expect_match(
    const char *const *theirs, int64_t their_count, const char *const *ours, int64_t count, const char *places)
{
    dataset ds = {.path = "set"};
    assert_ok(dataset_set_classes(&ds, theirs, their_count));
    for (int32_t i = 0; i < their_count; i++)
        assert_ok(dataset_add_sample(&ds, &(sample){.name = "x", .class_index = i}));
    status code = dataset_match_classes(&ds, ours, count, "model", NULL);
    assert_int_equal(code, places ? OK : E_DATA);
    for (int64_t i = 0; places && i < their_count; i++) assert_int_equal(ds.samples[i].class_index, places[i] - '0');
    dataset_close(&ds);
}

#define LIST(...) (const char *const[]){__VA_ARGS__}, sizeof(const char *const[]){__VA_ARGS__} / sizeof(char *)

static void matches(void **state)
{
    (void)state;
    expect_match(LIST("cat", "dog"), LIST("dog", "cat", "elk"), "10");
    expect_match(LIST("cat", "cow"), LIST("dog", "cat", "elk"), NULL);
    expect_match(LIST("crane", "crane"), LIST("crane", "crane"), "01");               /* ImageNet has two */
    expect_match(LIST("1", "10", "2"), LIST("class 0", "class 1", "class 2"), "012"); /* 10 is none of them: in order */
    expect_match(LIST("0", "2", "1"), LIST("class 0", "class 1", "class 2"), "021");
    expect_match(LIST("02", "Class_1"), LIST("class 0", "class 1", "class 2"), "21");
    expect_match(LIST("2", "02", "1"), LIST("0", "1", "2"), "012"); /* two for one number: in order */
    expect_match(LIST("cat", "dog", "elk"), LIST("0", "1", "2"), "012");
    expect_match(LIST("cat", "dog"), LIST("0", "1", "2"), NULL);
    expect_match(LIST("0", "1"), LIST("cat", "dog"), NULL); /* folders called 0 and 1: who knows */
    /* Records without a list of names: labels are places. */
    static const char *const none[] = {NULL};
    dataset ds = {.path = "set"};
    assert_ok(dataset_name_classes(&ds, "/nothing", none, 1));
    assert_true(ds.numbered);
    assert_ok(dataset_match_classes(&ds, (const char *const[]){"cat", "dog", "elk"}, 3, "model", NULL));
    assert_int_equal(ds.class_count, 3);
    dataset_close(&ds);
}

static void numbers(void **state)
{
    (void)state;
    int64_t n;
    assert_true(class_number("17", &n) && n == 17);
    assert_true(class_number("class 017", &n) && n == 17);
    assert_true(class_number("Class-3", &n) && n == 3);
    assert_false(class_number("class", &n));
    assert_false(class_number("17b", &n));
    assert_false(class_number("-1", &n));
    assert_false(class_number("99999999999999999999", &n));
    static const char *const names[] = {"class 0", "class 1"};
    assert_string_equal(class_by_name(names, 2, "01"), "class 1");
    assert_null(class_by_name(names, 2, "2"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares),
        cmocka_unit_test(broken_neighbour),
        cmocka_unit_test(siblings),
        cmocka_unit_test(names_that_mislead),
        cmocka_unit_test(tables),
        cmocka_unit_test(alike),
        cmocka_unit_test(matches),
        cmocka_unit_test(numbers),
    };
    return cmocka_run_group_tests(tests, make_test_folder, remove_test_folder);
}
