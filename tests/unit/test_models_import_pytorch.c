/* PyTorch files: ZIP members, pickles, tensors. The pickles were written by CPython 3.11's pickle.dumps; the archives
 * are put together here by the layout of APPNOTE.TXT with zlib's CRC-32. tests/e2e/test_import.sh reads what torch.save
 * itself writes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tests/unit/unit_test.h"

#include "models/import/names.h"
#include "models/import/pickle.h"
#include "models/import/weights.h"
#include "models/import/zip.h"

/* ------------------------------------------------------------------------------------------------ pickles */

/* {"a": [1, -2, 300, 70000, 2**40, -2**40], "b": (True, None, 1.5, b"xy"), "c": {}}, protocol 4 */
static const char mixed[] = "\x80\x04\x95\x49\x00\x00\x00\x00\x00\x00\x00\x7d\x94\x28\x8c\x01\x61\x94\x5d\x94\x28\x4b"
                            "\x01\x4a\xfe\xff\xff\xff\x4d\x2c\x01\x4a\x70"
                            "\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01\x8a\x06\x00\x00\x00\x00\x00\xff\x65\x8c\x01"
                            "\x62\x94\x28\x88\x4e\x47\x3f\xf8\x00\x00\x00"
                            "\x00\x00\x00\x43\x02\x78\x79\x94\x74\x94\x8c\x01\x63\x94\x7d\x94\x75\x2e";

static status read_pickle(arena *a, const char *bytes, size_t count, const pickle_value **root)
{
    return pickle_read(a, (const uint8_t *)bytes, count, "x.pth", root);
}

static void test_pickle_values(void **state)
{
    (void)state;
    static const int64_t numbers[] = {1, -2, 300, 70000, INT64_C(1) << 40, -(INT64_C(1) << 40)};
    arena a = {0};
    const pickle_value *root;
    assert_int_equal(read_pickle(&a, mixed, sizeof mixed - 1, &root), OK);
    assert_int_equal(root->kind, PICKLE_DICT);
    const pickle_value *list = pickle_get(root, "a"), *tuple = pickle_get(root, "b");
    assert_int_equal(list->kind, PICKLE_LIST);
    assert_int_equal(list->count, 6);
    for (int i = 0; i < 6; i++)
        assert_true(list->items[i]->kind == PICKLE_INT && list->items[i]->integer == numbers[i]);
    assert_int_equal(tuple->count, 4);
    assert_true(tuple->items[0]->kind == PICKLE_BOOL && tuple->items[0]->integer == 1);
    assert_int_equal(tuple->items[1]->kind, PICKLE_NONE);
    assert_true(tuple->items[2]->number == 1.5);
    assert_int_equal(tuple->items[3]->kind, PICKLE_BYTES);
    assert_int_equal(pickle_get(root, "c")->kind, PICKLE_DICT);
    assert_null(pickle_get(root, "d"));
    arena_free(&a);
}

static void test_pickle_cut(void **state)
{
    (void)state;
    for (size_t n = 0; n < sizeof mixed - 1; n++) {
        arena a = {0};
        const pickle_value *root;
        assert_int_equal(read_pickle(&a, mixed, n, &root), E_MODEL);
        arena_free(&a);
    }
}

static void refuses(const char *bytes, size_t count, const char *why)
{
    arena a = {0};
    const pickle_value *root;
    assert_int_equal(read_pickle(&a, bytes, count, &root), E_MODEL);
    if (!strstr(status_message(), why)) fail_msg("\"%s\" does not say \"%s\"", status_message(), why);
    arena_free(&a);
}
#define REFUSES(bytes, why) refuses(bytes, sizeof bytes - 1, why)

static void test_pickle_refuses(void **state)
{
    (void)state;
    REFUSES("\x80\x02" "cposix\nsystem\nX\x02\0\0\0ls\x85R.", "posix.system");
    REFUSES("\x80\x04\x8c\x08" "builtins\x8c\x04" "eval\x93)R.", "builtins.eval");
    REFUSES("\x80\x02" "ctorch.nn\nLinear\n)\x81.", "torch.nn.Linear");
    REFUSES("\x80\x02S'text'\n.", "instruction 0x53");
    REFUSES("\x80\x02i", "instruction 0x69");
    REFUSES("\x80\x02" "ctorch\nFloatStorage\n)R.", "torch.FloatStorage with 0 arguments");
    REFUSES("\x80\x02K\x01" "0.", "nothing to take");
    REFUSES("\x80\x02K\x01K\x02.", "left on the stack");
    REFUSES("\x80\x02(K\x01.", "left on the stack");
    REFUSES("\x80\x02]K\x01}u.", "no mark");
    REFUSES("\x80\x02}(K\x01u.", "a key without a value");
    REFUSES("\x80\x02(K\x01K\x02u.", "is not there");
    REFUSES("\x80\x02h\x07.", "nothing was remembered as 7");
    REFUSES("\x80\x02Nr\xff\xff\xff\xff.", "memo number 4294967295");
    REFUSES("\x80\x02X\xff\xff\xff\x7f" "abc.", "in the middle of an instruction");
    REFUSES("\x80\x02X\x03\0\0\0a\0c.", "0 byte");
    REFUSES("\x80\x02X\x07\0\0\0storageQ.", "no storage");
    REFUSES("\x80\x02" "ctorch._utils\n_rebuild_tensor_v2\n)R.", "without storage");
    REFUSES("\x80\x02\x8a\x09\0\0\0\0\0\0\0\0\x01.", "integer of 9 bytes");
}

/* ------------------------------------------------------------------------------------------------ archives */

typedef struct archive {
    uint8_t bytes[4096], list[1024];
    size_t count, list_count;
    int members;
} archive;

static void put(uint8_t *to, size_t *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++) to[(*at)++] = (uint8_t)(value >> (8 * i));
}

static void add_member(archive *z, const char *name, const void *data, size_t bytes, int method)
{
    size_t offset = z->count, length = strlen(name);
    uint32_t crc = (uint32_t)crc32(0, data, (uInt)bytes);
    put(z->bytes, &z->count, 0x04034b50, 4), put(z->bytes, &z->count, 0, 4),
        put(z->bytes, &z->count, (uint64_t)method, 2);
    put(z->bytes, &z->count, 0, 4), put(z->bytes, &z->count, crc, 4), put(z->bytes, &z->count, bytes, 4);
    put(z->bytes, &z->count, bytes, 4), put(z->bytes, &z->count, length, 2), put(z->bytes, &z->count, 5, 2);
    memcpy(z->bytes + z->count, name, length), z->count += length;
    z->count += 5; /* the extra field of the local header need not be in the list */
    memcpy(z->bytes + z->count, data, bytes), z->count += bytes;
    put(z->list, &z->list_count, 0x02014b50, 4), put(z->list, &z->list_count, 0, 4), put(z->list, &z->list_count, 0, 2);
    put(z->list, &z->list_count, (uint64_t)method, 2), put(z->list, &z->list_count, 0, 4),
        put(z->list, &z->list_count, crc, 4);
    put(z->list, &z->list_count, bytes, 4), put(z->list, &z->list_count, bytes, 4),
        put(z->list, &z->list_count, length, 2);
    put(z->list, &z->list_count, 0, 8), put(z->list, &z->list_count, 0, 4), put(z->list, &z->list_count, offset, 4);
    memcpy(z->list + z->list_count, name, length), z->list_count += length;
    z->members++;
}

static void close_archive(archive *z)
{
    size_t offset = z->count;
    memcpy(z->bytes + z->count, z->list, z->list_count), z->count += z->list_count;
    put(z->bytes, &z->count, 0x06054b50, 4), put(z->bytes, &z->count, 0, 4),
        put(z->bytes, &z->count, (uint64_t)z->members, 2);
    put(z->bytes, &z->count, (uint64_t)z->members, 2), put(z->bytes, &z->count, z->list_count, 4);
    put(z->bytes, &z->count, offset, 4), put(z->bytes, &z->count, 0, 2);
}

static void test_zip(void **state)
{
    (void)state;
    archive z = {.count = 0};
    arena a = {0};
    zip_archive read;
    add_member(&z, "b/data.pkl", "hello", 5, 0);
    add_member(&z, "b/data/0", "", 0, 0);
    close_archive(&z);
    assert_true(zip_is_zip(z.bytes, z.count));
    assert_int_equal(zip_open(&read, &a, z.bytes, z.count, "x.pth"), OK);
    assert_int_equal(read.count, 2);
    assert_int_equal(zip_find(&read, "b/data.pkl")->bytes, 5);
    assert_memory_equal(zip_find(&read, "b/data.pkl")->data, "hello", 5);
    assert_null(zip_find(&read, "data.pkl"));
    for (size_t n = 0; n < z.count; n++) assert_int_equal(zip_open(&read, &a, z.bytes, n, "x.pth"), E_MODEL);
    z.bytes[30 + 10 + 5] ^= 1; /* the first byte of hello */
    assert_int_equal(zip_open(&read, &a, z.bytes, z.count, "x.pth"), E_MODEL);
    assert_non_null(strstr(status_message(), "checksum"));
    arena_free(&a);
}

static void zip_refuses(archive *z, const char *why)
{
    arena a = {0};
    zip_archive read;
    close_archive(z);
    assert_int_equal(zip_open(&read, &a, z->bytes, z->count, "x.pth"), E_MODEL);
    if (!strstr(status_message(), why)) fail_msg("\"%s\" does not say \"%s\"", status_message(), why);
    arena_free(&a);
}

static void test_zip_refuses(void **state)
{
    (void)state;
    archive deflated = {.count = 0}, twice = {.count = 0}, overlap = {.count = 0};
    pytorch_weights w;
    arena a = {0};
    add_member(&deflated, "m/data.pkl", "xx", 2, 8);
    close_archive(&deflated);
    assert_int_equal(pytorch_read(&a, deflated.bytes, deflated.count, "x.pth", NULL, &w), E_MODEL);
    assert_non_null(strstr(status_message(), "m/data.pkl is compressed"));
    arena_free(&a);
    add_member(&twice, "a", "1", 1, 0);
    add_member(&twice, "a", "2", 1, 0);
    zip_refuses(&twice, "two members are called a");
    static const uint8_t block[600];
    add_member(&overlap, "a", block, sizeof block, 0);
    size_t one = overlap.list_count;
    memcpy(overlap.list + one, overlap.list, one), overlap.list[one + 46] = 'b', overlap.list_count += one,
                                                                      overlap.members++;
    zip_refuses(&overlap, "overlap");
}

/* ------------------------------------------------------------------------------------------------ tensors */

/* {"w": tensor}: size (2, 3), the given offset, stride and storage, as torch.save writes it. */
static size_t tensor_pickle(char *to, const char *storage_type, int elements, int offset, int stride0, int stride1)
{
    static const char head[] = "\x80\x02}(X\x01\0\0\0w" "ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage";
    static const char middle[] = "X\x01\0\0\0" "0X\x03\0\0\0" "cpuK";
    size_t n = sizeof head - 1;
    memcpy(to, head, n);
    n += (size_t)sprintf(to + n, "ctorch\n%s\n", storage_type);
    memcpy(to + n, middle, sizeof middle - 1), n += sizeof middle - 1;
    to[n++] = (char)elements, to[n++] = 't', to[n++] = 'Q';
    to[n++] = 'K', to[n++] = (char)offset;
    to[n++] = 'K', to[n++] = 2, to[n++] = 'K', to[n++] = 3, to[n++] = '\x86';
    to[n++] = 'K', to[n++] = (char)stride0, to[n++] = 'K', to[n++] = (char)stride1, to[n++] = '\x86';
    static const char tail[] = "\x89" "ccollections\nOrderedDict\n)RtRu.";
    memcpy(to + n, tail, sizeof tail - 1);
    return n + sizeof tail - 1;
}

static status read_tensor(arena *a, const char *type, int elements, int offset, int stride0, int stride1,
    const void *data, size_t bytes, safetensor **tensors, int64_t *count, archive *z)
{
    char text[512];
    *z = (archive){.count = 0};
    add_member(z, "m/data.pkl", text, tensor_pickle(text, type, elements, offset, stride0, stride1), 0);
    add_member(z, "m/data/0", data, bytes, 0);
    close_archive(z);
    pytorch_weights w;
    status result = pytorch_read(a, z->bytes, z->count, "x.pth", NULL, &w);
    *tensors = w.tensors, *count = w.count;
    return result;
}

static void test_tensor_strides(void **state)
{
    (void)state;
    static const float data[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const float plain[] = {1, 2, 3, 4, 5, 6}, turned[] = {1, 3, 5, 2, 4, 6};
    arena a = {0};
    archive z;
    safetensor *t;
    int64_t count;
    assert_int_equal(read_tensor(&a, "FloatStorage", 8, 1, 3, 1, data, sizeof data, &t, &count, &z), OK);
    assert_int_equal(count, 1);
    assert_string_equal(t->name, "w");
    assert_true(t->type == DTYPE_F32 && shape_equal(t->shape, shape_2(2, 3)) && t->bytes == sizeof plain);
    assert_memory_equal(t->data, plain, sizeof plain);
    assert_int_equal(read_tensor(&a, "FloatStorage", 8, 1, 1, 2, data, sizeof data, &t, &count, &z), OK);
    assert_memory_equal(t->data, turned, sizeof turned);
    static const uint8_t bytes[8] = {9, 8, 7, 6, 5, 4, 3, 2};
    assert_int_equal(read_tensor(&a, "CharStorage", 8, 2, 3, 1, bytes, sizeof bytes, &t, &count, &z), OK);
    assert_true(t->type == DTYPE_I8 && t->bytes == 6);
    assert_memory_equal(t->data, bytes + 2, 6);
    arena_free(&a);
}

static void test_tensor_refuses(void **state)
{
    (void)state;
    static const float data[8];
    static const struct {
        const char *type;
        int elements, offset, stride0, stride1;
        size_t bytes;
        const char *why;
    } bad[] = {
        {"FloatStorage", 8, 3, 3, 1, 32, "beyond its storage"},
        {"FloatStorage", 8, 0, 127, 1, 32, "beyond its storage"},
        {"FloatStorage", 9, 0, 3, 1, 32, "has 32 bytes"},
        {"HalfStorage", 8, 0, 3, 1, 32, "has 32 bytes"},
        {"FloatStorage", 4, 0, 0, 1, 16, "repeats its elements"},
        {"ComplexFloatStorage", 4, 0, 0, 1, 16, "torch.ComplexFloatStorage"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        arena a = {0};
        archive z;
        safetensor *t;
        int64_t count;
        assert_int_equal(read_tensor(&a, bad[i].type, bad[i].elements, bad[i].offset, bad[i].stride0, bad[i].stride1,
                             data, bad[i].bytes, &t, &count, &z),
            E_MODEL);
        if (!strstr(status_message(), bad[i].why)) fail_msg("\"%s\" does not say \"%s\"", status_message(), bad[i].why);
        arena_free(&a);
    }
}

/* ------------------------------------------------------------------------------------------------ names */

static void test_names(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"conv_stem.weight", "features.0.0.weight"},
        {"bn1.running_var", "features.0.1.running_var"},
        {"blocks.0.0.conv_dw.weight", "features.1.conv.0.0.weight"},
        {"blocks.1.0.conv_pw.weight", "features.2.conv.0.0.weight"},
        {"blocks.6.0.bn3.bias", "features.17.conv.3.bias"},
        {"blocks.3.2.conv_pwl.weight", "features.9.conv.2.weight"},
        {"conv_head.weight", "features.18.0.weight"},
        {"bn2.weight", "features.18.1.weight"},
        {"classifier.bias", "classifier.1.bias"},
        {"blocks.x.0.conv_pw.weight", "blocks.x.0.conv_pw.weight"},
        {"other", "other"},
        {"blocks.99999999999999999999.0.conv_pw.weight", "blocks.99999999999999999999.0.conv_pw.weight"},
    };
    arena a = {0};
    const name_map *m = name_maps;
    while (strcmp(m->what, "timm's mobilenetv2") != 0) m++;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *name;
        assert_int_equal(names_map(m, &a, cases[i][0], &name), OK);
        assert_string_equal(name, cases[i][1]);
    }
    while (strcmp(m->what, "timm's vgg") != 0) m++;
    const char *name;
    assert_int_equal(names_map(m, &a, "pre_logits.fc2.weight", &name), OK);
    assert_string_equal(name, "classifier.3.weight");
    assert_int_equal(names_map(m, &a, "features.0.weight", &name), OK);
    assert_string_equal(name, "features.0.weight");
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pickle_values), cmocka_unit_test(test_pickle_cut), cmocka_unit_test(test_pickle_refuses),
        cmocka_unit_test(test_zip), cmocka_unit_test(test_zip_refuses), cmocka_unit_test(test_tensor_strides),
        cmocka_unit_test(test_tensor_refuses), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
