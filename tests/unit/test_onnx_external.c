/* Values of ONNX tensors in files beside the model: read from a plain file in the model's folder, and from nowhere
 * else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/unit/unit_test.h"

#include "core/base/file.h"
#include "core/onnx/onnx.h"
#include "tests/unit/graph_fixture.h"
#include "tests/unit/onnx_bytes.h"

enum { CLASSES = 2, CHANNELS = 3, WEIGHTS = CLASSES * CHANNELS };

static const int64_t weight_dim[] = {CLASSES, CHANNELS};

typedef struct folder {
    char path[64], model[96];
    float weights[WEIGHTS];
} folder;

static void put(const folder *f, const char *name, const void *data, size_t bytes)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", f->path, name);
    FILE *stream = fopen(path, "wb");
    assert_true(stream && fwrite(data, 1, bytes, stream) == bytes && fclose(stream) == 0);
}

static const char *in(const folder *f, const char *name)
{
    static char path[2][160];
    static int next;
    next = !next;
    snprintf(path[next], sizeof path[next], "%s/%s", f->path, name);
    return path[next];
}

static int setup(void **state)
{
    folder *f = calloc(1, sizeof *f);
    if (!f) return 1;
    strcpy(f->path, "/tmp/graft_external_XXXXXX");
    if (!mkdtemp(f->path)) return 1;
    snprintf(f->model, sizeof f->model, "%s/net.onnx", f->path);
    for (int i = 0; i < WEIGHTS; i++) f->weights[i] = 1.5f * (float)(i + 1);
    put(f, "net.data", f->weights, sizeof f->weights);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    folder *f = *state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", f->path);
    int code = system(command);
    free(f);
    return code;
}

/* A classifier whose weight lies elsewhere: mean over height and width, then Gemm. */
static void write_model(const folder *f, const char *const *pairs, const int64_t *dim)
{
    static onnx_bytes m;
    memset(&m, 0, sizeof m);
    m.opset = 20;
    onnx_bytes_port(&m, true, "x", 4, (int64_t[]){1, CHANNELS, 4, 4});
    onnx_bytes_external(&m, "fc.weight", 2, dim, pairs);
    onnx_bytes_node(&m, "GlobalAveragePool", "x", "pool");
    onnx_bytes_node(&m, "Flatten", "pool", "flat");
    onnx_bytes_node(&m, "Gemm", "flat fc.weight", "y");
    onnx_bytes_attr_int(&m, "transB", 1);
    onnx_bytes_port(&m, false, "y", 2, (int64_t[]){1, dim[0]});
    onnx_bytes_finish(&m);
    put(f, "net.onnx", m.file.bytes, m.file.count);
}

static status import(const folder *f, model *m, onnx_report *r)
{
    return onnx_import(m, f->model, &(onnx_options){.preprocess = {.std = {1, 1, 1}}}, r);
}

static hash128 good(const folder *f, const char *const *pairs)
{
    model m;
    onnx_report r;
    write_model(f, pairs, weight_dim);
    GOOD(import(f, &m, &r));
    edge_id e = graph_find_edge(&m.graph, "fc.weight");
    assert_int_not_equal(e, EDGE_NONE);
    assert_memory_equal(m.graph.edges[e].data, f->weights, sizeof f->weights);
    assert_non_null(strstr(r.note[0], "values of 1 tensors come from 'net"));
    hash128 hash = m.file_hash;
    onnx_report_free(&r);
    model_free(&m);
    return hash;
}

static void refused_shape(const folder *f, const char *const *pairs, const int64_t *dim, const char *says)
{
    model m;
    onnx_report r;
    write_model(f, pairs, dim);
    status s = import(f, &m, &r);
    if (s == OK || !strstr(status_message(), says))
        fail_msg("expected \"%s\": %s", says, s == OK ? "read" : status_message());
    assert_int_equal(s, E_MODEL);
    assert_non_null(strstr(status_message(), "fc.weight"));
}

static void refused(const folder *f, const char *const *pairs, const char *says) { refused_shape(f, pairs, weight_dim,
    says); }

#define PAIRS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_read(void **state)
{
    const folder *f = *state;
    char padded[8 + sizeof f->weights] = "padding";
    memcpy(padded + 8, f->weights, sizeof f->weights);
    put(f, "net.padded", padded, sizeof padded);
    good(f, PAIRS("location", "net.data"));
    good(f, PAIRS("location", "./net.data", "offset", "0", "length", "24"));
    good(f, PAIRS("length", "24", "offset", "8", "location", "net.padded", "checksum",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709"));
}

/* The same model file with other values beside it is another model. */
static void test_identity(void **state)
{
    folder *f = *state;
    hash128 first = good(f, PAIRS("location", "net.data"));
    f->weights[3] = -7;
    put(f, "net.data", f->weights, sizeof f->weights);
    hash128 second = good(f, PAIRS("location", "net.data"));
    assert_true(first.low != second.low);
}

static void test_places_refused(void **state)
{
    const folder *f = *state;
    assert_int_equal(mkdir(in(f, "sub"), 0700), 0);
    put(f, "sub/net.data", f->weights, sizeof f->weights);
    put(f, "two.data", f->weights, sizeof f->weights);
    assert_int_equal(link(in(f, "two.data"), in(f, "hard.data")), 0);
    assert_int_equal(symlink("net.data", in(f, "soft.data")), 0);
    assert_int_equal(symlink("/etc/passwd", in(f, "far.data")), 0);
    assert_int_equal(mkfifo(in(f, "pipe.data"), 0600), 0);
    refused(f, PAIRS("location", "sub/net.data"), "expected the plain name of a file in the same folder");
    refused(f, PAIRS("location", "../net.data"), "expected the plain name");
    refused(f, PAIRS("location", "sub/../net.data"), "expected the plain name");
    refused(f, PAIRS("location", in(f, "net.data")), "expected the plain name");
    refused(f, PAIRS("location", ""), "expected the plain name");
    refused(f, PAIRS("location", ".."), "expected the plain name");
    refused(f, PAIRS("location", "./../net.data"), "expected the plain name");
    refused(f, PAIRS("location", "soft.data"), "it is a symbolic link");
    refused(f, PAIRS("location", "far.data"), "it is a symbolic link");
    refused(f, PAIRS("location", "hard.data"), "it has other names (hard links)");
    refused(f, PAIRS("location", "pipe.data"), "it is no regular file");
    refused(f, PAIRS("location", "sub"), "it is no regular file");
    refused(f, PAIRS("location", "absent.data"), "No such file");
}

static void test_extents_refused(void **state)
{
    const folder *f = *state;
    put(f, "short.data", f->weights, sizeof f->weights - 1);
    put(f, "empty.data", "", 0);
    refused(f, PAIRS("location", "short.data"), "24 bytes from byte 0 of 'short.data', which has 23: truncated?");
    refused(f, PAIRS("location", "empty.data"), "which has 0");
    refused(f, PAIRS("location", "net.data", "offset", "4"), "24 bytes from byte 4 of 'net.data', which has 24");
    refused(f, PAIRS("location", "net.data", "offset", "9223372036854775807"), "which has 24");
    refused(f, PAIRS("location", "net.data", "length", "20"), "length = 20, its dimensions say 24");
    const char *const numbers[] = {"-4", " 4", "4 ", "+4", "0x4", "", "4.0", "9223372036854775808",
        "18446744073709551616"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        refused(f, PAIRS("location", "net.data", "offset", numbers[i]), "expected a number of bytes");
        refused(f, PAIRS("location", "net.data", "length", numbers[i]), "expected a number of bytes");
    }
    refused(f, PAIRS("offset", "0"), "whose name (location) is missing");
    refused(f, PAIRS("location", "net.data", "location", "net.data"), "twice");
    refused(f, PAIRS("location", "net.data", "basepath", "/etc"), "the unknown key 'basepath'");
    /* Before anything is allocated: 8 TiB. */
    refused_shape(f, PAIRS("location", "net.data"), (int64_t[]){1 << 20, 1 << 21},
        "8796093022208 bytes from byte 0 of 'net.data', which has 24");
}

/* A small file is read a few times, as tied weights are, but does not become large. */
static void test_repeated(void **state)
{
    const folder *f = *state;
    for (int count = 4; count <= 5; count++) {
        static onnx_bytes m;
        model net;
        onnx_report r;
        char name[16];
        memset(&m, 0, sizeof m);
        m.opset = 20;
        onnx_bytes_port(&m, true, "x", 4, (int64_t[]){1, CHANNELS, 1, 1});
        onnx_bytes_node(&m, "Flatten", "x", "flat");
        for (int i = 0; i < count; i++) {
            snprintf(name, sizeof name, "w%d", i);
            onnx_bytes_external(&m, name, 2, weight_dim, PAIRS("location", "net.data"));
        }
        onnx_bytes_node(&m, "Gemm", "flat w0", "y");
        onnx_bytes_attr_int(&m, "transB", 1);
        onnx_bytes_port(&m, false, "y", 2, (int64_t[]){1, CLASSES});
        onnx_bytes_finish(&m);
        put(f, "net.onnx", m.file.bytes, m.file.count);
        status s = import(f, &net, &r);
        assert_int_equal(s, count == 4 ? OK : E_MODEL);
        if (s != OK) assert_non_null(strstr(status_message(), "tensor 'w4': the same bytes are read again and again"));
        if (s == OK) onnx_report_free(&r), model_free(&net);
    }
}

/* Values here and there at once, and bytes alone, which have no folder. */
static void test_both(void **state)
{
    const folder *f = *state;
    model m;
    onnx_report r;
    arena a = {0};
    void *bytes;
    size_t count;
    write_model(f, PAIRS("location", "net.data"), weight_dim);
    GOOD(file_read_all(&a, f->model, 1 << 20, &bytes, &count));
    assert_int_equal(onnx_import_bytes(&m, bytes, count, "net", &(onnx_options){.force = false}, &r), E_MODEL);
    assert_non_null(strstr(status_message(), "external data is not read here"));
    uint8_t *raw = arena_alloc(&a, count + 64);
    memcpy(raw, bytes, count);
    static const char tensor[] = {1 << 3, 1, 2 << 3, 1, 8 << 3 | 2, 9, 'f', 'c', '.', 'w', 'e', 'i', 'g', 'h', 't',
        9 << 3 | 2, 4, 0, 0, 0, 0,
        13 << 3 | 2, 4, 1 << 3 | 2, 0, 2 << 3 | 2, 0, 14 << 3, 1};
    size_t at = count;
    raw[at++] = 7 << 3 | 2, raw[at++] = sizeof tensor + 2, raw[at++] = 5 << 3 | 2, raw[at++] = sizeof tensor;
    memcpy(raw + at, tensor, sizeof tensor);
    put(f, "net.onnx", raw, at + sizeof tensor);
    assert_int_equal(import(f, &m, &r), E_MODEL);
    assert_non_null(strstr(status_message(), "has values both here and in another file"));
    arena_free(&a);
}

/* 2^62 floats are 2^64 bytes, which is 0 in 64 bits: as many as the tensor holds. */
static void test_product_of_dimensions(void **state)
{
    static onnx_bytes m;
    graph g;
    (void)state;
    memset(&m, 0, sizeof m);
    m.opset = 20;
    onnx_bytes_port(&m, true, "x", 1, (int64_t[]){4});
    onnx_bytes_tensor(&m, "t", 1, 3, (int64_t[]){1 << 30, 1 << 30, 4}, "", 0);
    onnx_bytes_node(&m, "Add", "x t", "y");
    onnx_bytes_port(&m, false, "y", 1, (int64_t[]){4});
    onnx_bytes_finish(&m);
    assert_int_equal(onnx_read_graph(&g, m.file.bytes, m.file.count, "made"), E_MODEL);
    assert_non_null(strstr(status_message(), "the dimensions of tensor 't' overflow"));
}

/* Cut after it was opened: an error, where a mapping would have been a signal. */
static void test_shrinks(void **state)
{
    const folder *f = *state;
    file_input r;
    float values[WEIGHTS];
    put(f, "cut.data", f->weights, sizeof f->weights);
    GOOD(file_input_open_beside(&r, f->path, "cut.data"));
    assert_int_equal(r.bytes, sizeof f->weights);
    assert_int_equal(truncate(in(f, "cut.data"), 10), 0);
    assert_int_equal(file_input_read(&r, 0, values, sizeof values), E_DATA);
    assert_non_null(strstr(status_message(), "cut.data: cut off while it was in use: ends at byte 10"));
    file_input_close(&r);
    file_input_close(&r);
    assert_int_equal(file_input_open(&r, "/dev/zero"), E_DATA);
    assert_int_equal(file_input_open(&r, f->path), E_IO);
    file_input_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_places_refused),
        cmocka_unit_test(test_extents_refused),
        cmocka_unit_test(test_repeated),
        cmocka_unit_test(test_both),
        cmocka_unit_test(test_product_of_dimensions),
        cmocka_unit_test(test_shrinks),
        cmocka_unit_test(test_identity),
    };
    return cmocka_run_group_tests_name("onnx external", tests, setup, teardown);
}
