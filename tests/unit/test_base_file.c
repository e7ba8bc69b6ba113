/* Files that are never half written; sizes checked before reading; hashes. XXH3 of the empty
 * input as published with xxHash 0.8. */
#include "tests/unit/unit_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/hash.h"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/graft-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *name_in(arena *a, const char *name)
{
    return path_join(a, folder, name);
}

static int64_t entries(arena *a)
{
    char **names;
    int64_t count = -1;
    assert_int_equal(dir_list(a, folder, &names, &count), OK);
    return count;
}

static void commit_replaces_abort_keeps(void **state)
{
    (void)state;
    arena a = {0};
    const char *path = name_in(&a, "model");
    void *data;
    size_t bytes;
    file_writer w;
    assert_int_equal(file_write_all(path, "old", 3), OK);
    int64_t before = entries(&a);

    assert_int_equal(file_writer_open(&w, path), OK);
    assert_int_equal(file_writer_write(&w, "half", 4), OK);
    assert_int_equal(entries(&a), before + 1); /* the temporary file stands beside it */
    file_writer_abort(&w);
    assert_int_equal(entries(&a), before);
    assert_int_equal(file_read_all(&a, path, 100, &data, &bytes), OK);
    assert_int_equal(bytes, 3);
    assert_string_equal(data, "old");

    assert_int_equal(file_writer_open(&w, path), OK);
    assert_int_equal(file_writer_write(&w, "ne", 2), OK);
    assert_int_equal(file_writer_printf(&w, "%s", "w"), OK);
    assert_int_equal(w.written_bytes, 3);
    assert_int_equal(file_read_all(&a, path, 100, &data, &bytes), OK);
    assert_string_equal(data, "old"); /* until the commit */
    assert_int_equal(file_writer_commit(&w), OK);
    file_writer_abort(&w); /* nothing to do */
    assert_int_equal(file_read_all(&a, path, 100, &data, &bytes), OK);
    assert_string_equal(data, "new");
    assert_int_equal(entries(&a), before);
    arena_free(&a);
}

static void writer_failures(void **state)
{
    (void)state;
    arena a = {0};
    file_writer w;
    assert_int_equal(file_writer_open(&w, name_in(&a, "no/such/place")), E_IO);
    assert_non_null(strstr(status_message(), "no/such/place"));
    file_writer_abort(&w);
    assert_int_equal(file_writer_open(&w, folder), E_IO);
    assert_int_equal(file_writer_open(&w, "/dev/null"), E_IO); /* must not be replaced by a file */
    file_writer_abort(&w);
    struct stat info;
    assert_int_equal(stat("/dev/null", &info), 0);
    assert_true(S_ISCHR(info.st_mode));
    /* A target that became a folder meanwhile: the commit fails, nothing is left over. */
    const char *path = name_in(&a, "turned");
    assert_int_equal(file_writer_open(&w, path), OK);
    assert_int_equal(mkdir(path, 0777), 0);
    int64_t before = entries(&a);
    assert_int_equal(file_writer_commit(&w), E_IO);
    assert_int_equal(entries(&a), before - 1);
    arena_free(&a);
}

/* /dev/full: writing fails when the buffer is flushed, as on a full disk. */
static void full_disk_is_reported(void **state)
{
    (void)state;
    arena a = {0};
    const char *path = name_in(&a, "full");
    assert_int_equal(file_write_all(path, "old", 3), OK);
    file_writer w;
    assert_int_equal(file_writer_open(&w, path), OK);
    w.stream = freopen("/dev/full", "w", w.stream);
    assert_non_null(w.stream);
    file_writer_write(&w, "data", 4); /* buffered: may still say OK */
    assert_int_equal(file_writer_commit(&w), E_IO);
    void *data;
    size_t bytes;
    assert_int_equal(file_read_all(&a, path, 100, &data, &bytes), OK);
    assert_string_equal(data, "old");
    arena_free(&a);
}

static void reading_limits(void **state)
{
    (void)state;
    arena a = {0};
    const char *path = name_in(&a, "limit");
    void *data;
    size_t bytes;
    assert_int_equal(file_write_all(path, "0123456789", 10), OK);
    assert_int_equal(file_read_all(&a, path, 10, &data, &bytes), OK);
    assert_int_equal(bytes, 10);
    assert_int_equal(((char *)data)[10], 0);
    assert_int_equal(file_read_all(&a, path, 9, &data, &bytes), E_DATA);
    assert_non_null(strstr(status_message(), path));
    assert_int_equal(file_read_all(&a, name_in(&a, "absent"), 9, &data, &bytes), E_IO);
    assert_int_equal(file_read_all(&a, folder, 9, &data, &bytes), E_IO);
    assert_int_equal(file_read_all(&a, "/dev/zero", 100000, &data, &bytes), E_DATA); /* endless */
    assert_int_equal(file_read_all(&a, "/dev/null", 0, &data, &bytes), OK);
    assert_int_equal(bytes, 0);
    arena_free(&a);
}

static void mapping(void **state)
{
    (void)state;
    arena a = {0};
    const char *path = name_in(&a, "map");
    file_map m;
    assert_int_equal(file_write_all(path, "mapped", 6), OK);
    assert_int_equal(file_map_open(&m, path), OK);
    assert_int_equal(m.bytes, 6);
    assert_memory_equal(m.data, "mapped", 6);
    assert_int_equal(m.file_bytes, 6);
    /* What was read stays, however the file changes: a view of it would end this process with SIGBUS. */
    FILE *stream = fopen(path, "r+b");
    assert_non_null(stream);
    assert_int_equal(fwrite("others", 1, 6, stream), 6);
    assert_int_equal(fclose(stream), 0);
    assert_memory_equal(m.data, "mapped", 6);
    assert_int_equal(truncate(path, 0), 0);
    assert_memory_equal(m.data, "mapped", 6);
    file_map_close(&m);
    file_map_close(&m);
    assert_int_equal(file_write_all(path, "front", 5), OK);
    assert_int_equal(file_map_front(&m, path, 3), OK);
    assert_int_equal(m.bytes, 3);
    assert_int_equal(m.file_bytes, 5);
    assert_memory_equal(m.data, "fro", 3);
    file_map_close(&m);
    assert_int_equal(file_write_all(path, NULL, 0), OK);
    assert_int_equal(file_map_open(&m, path), OK);
    assert_true(m.data == NULL && m.bytes == 0);
    file_map_close(&m);
    assert_int_equal(file_map_open(&m, folder), E_IO);
    assert_int_equal(file_map_open(&m, "/dev/zero"), E_IO);
    assert_int_equal(file_map_open(&m, name_in(&a, "absent")), E_IO);
    arena_free(&a);
}

static void folders(void **state)
{
    (void)state;
    arena a = {0};
    char **names;
    int64_t count;
    const char *deep = name_in(&a, "x//y/z/");
    assert_int_equal(dir_make(deep), OK);
    assert_int_equal(dir_make(deep), OK);
    assert_true(file_is_dir(deep) && file_exists(deep));
    assert_int_equal(file_write_all(name_in(&a, "x/b"), "", 0), OK);
    assert_int_equal(file_write_all(name_in(&a, "x/B"), "", 0), OK);
    assert_int_equal(file_write_all(name_in(&a, "x/\xc3\xa4"), "", 0), OK);
    assert_int_equal(file_write_all(name_in(&a, "x/a10"), "", 0), OK);
    assert_int_equal(file_write_all(name_in(&a, "x/a9"), "", 0), OK);
    assert_int_equal(dir_list(&a, name_in(&a, "x"), &names, &count), OK);
    static const char *const expected[] = {"B", "a10", "a9", "b", "y", "\xc3\xa4"};
    assert_int_equal(count, 6);
    for (int i = 0; i < 6; i++) assert_string_equal(names[i], expected[i]);
    assert_int_equal(dir_list(&a, deep, &names, &count), OK);
    assert_int_equal(count, 0);
    assert_int_equal(dir_list(&a, name_in(&a, "absent"), &names, &count), E_IO);
    assert_int_equal(dir_make(name_in(&a, "x/b/under-a-file")), E_IO);
    char mine[32];
    snprintf(mine, sizeof mine, "x/a.tmp.%ld", (long)getpid());
    const char *left[] = {
        name_in(&a, "x/a.tmp.2147483647"), name_in(&a, mine), name_in(&a, "x/a.tmp.b"), name_in(&a, "x/a.tmp.")};
    for (int i = 0; i < 4; i++) assert_int_equal(file_write_all(left[i], "", 0), OK);
    dir_sweep(name_in(&a, "x"));
    for (int i = 0; i < 4; i++) assert_int_equal(file_exists(left[i]), i > 0);
    const char *broken = name_in(&a, "x/broken");
    assert_int_equal(symlink("absent", broken), 0);
    assert_int_equal(dir_make(broken), E_IO);
    assert_true(strstr(status_message(), "File exists") != NULL);
    int64_t bytes, mtime;
    assert_int_equal(file_info(name_in(&a, "x/b"), &bytes, &mtime), OK);
    assert_true(bytes == 0 && mtime > 1600000000000000000);
    assert_int_equal(file_info(name_in(&a, "absent"), &bytes, &mtime), E_IO);
    assert_int_equal(file_free_bytes(folder, &bytes), OK);
    assert_true(bytes > 0);
    arena_free(&a);
}

/* Names of temporary files: PID and 16 hexadecimal digits, other ones every time; nothing is written through a link. */
static void temporary_names(void **state)
{
    (void)state;
    arena a = {0};
    const char *path = name_in(&a, "temporary/model"), *other = name_in(&a, "temporary/other");
    char first[512] = "", pattern[64], **names;
    int64_t count;
    FILE *stream;
    assert_int_equal(dir_make(name_in(&a, "temporary")), OK);
    snprintf(pattern, sizeof pattern, "model.tmp.%ld.", (long)getpid());
    for (int round = 0; round < 2; round++) {
        file_writer w;
        assert_int_equal(file_writer_open(&w, path), OK);
        assert_int_equal(dir_list(&a, name_in(&a, "temporary"), &names, &count), OK);
        assert_int_equal(count, 1);
        assert_memory_equal(names[0], pattern, strlen(pattern));
        const char *random = names[0] + strlen(pattern);
        assert_true(strlen(random) == 16 && strspn(random, "0123456789abcdef") == 16);
        assert_string_not_equal(random, first);
        snprintf(first, sizeof first, "%s", random);
        file_writer_abort(&w);
    }
    assert_int_equal(file_write_all(other, "kept", 4), OK);
    assert_int_equal(symlink(other, path), 0);
    assert_int_equal(file_open_stream(path, O_WRONLY | O_APPEND, "a", &stream), E_IO);
    assert_int_equal(file_open_stream(path, O_WRONLY | O_CREAT | O_EXCL, "w", &stream), E_IO);
    assert_int_equal(file_write_all(path, "new", 3), OK); /* takes the link's place */
    void *data;
    size_t bytes;
    assert_int_equal(file_read_all(&a, other, 100, &data, &bytes), OK);
    assert_true(bytes == 4 && memcmp(data, "kept", 4) == 0);
    const char *left = name_in(&a, "temporary/a.tmp.2147483647.0123456789abcdef"),
               *mine = name_in(&a, "temporary/a.tmp.2147483647.old");
    assert_int_equal(file_write_all(left, "", 0), OK);
    assert_int_equal(file_write_all(mine, "", 0), OK);
    dir_sweep(name_in(&a, "temporary"));
    assert_true(!file_exists(left) && file_exists(mine));
    arena_free(&a);
}

/* A pipe without a writer would be waited for without end. */
static void data_is_regular(void **state)
{
    (void)state;
    arena a = {0};
    file_input in;
    file_map m;
    void *data;
    size_t bytes;
    char part[4];
    const char *pipe_path = name_in(&a, "pipe"), *path = name_in(&a, "input");
    assert_int_equal(mkfifo(pipe_path, 0600), 0);
    const char *const refused[] = {pipe_path, "/dev/zero", "/dev/null"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(file_read_regular(&a, refused[i], 100, &data, &bytes), E_DATA);
        assert_non_null(strstr(status_message(), "a pipe, socket or device instead of a file"));
        assert_int_equal(file_input_open(&in, refused[i]), E_DATA);
        assert_int_equal(file_map_open(&m, refused[i]), E_IO);
    }
    assert_int_equal(file_read_regular(&a, folder, 100, &data, &bytes), E_IO);
    assert_int_equal(file_write_all(path, "0123456789", 10), OK);
    assert_int_equal(file_read_regular(&a, path, 10, &data, &bytes), OK);
    assert_true(bytes == 10 && strcmp(data, "0123456789") == 0);
    assert_int_equal(file_read_regular(&a, path, 9, &data, &bytes), E_DATA);
    assert_int_equal(file_input_open(&in, path), OK);
    assert_true(in.bytes == 10 && in.mtime_ns > 0);
    assert_int_equal(file_input_read(&in, 6, part, 4), OK);
    assert_memory_equal(part, "6789", 4);
    assert_int_equal(truncate(path, 8), 0);
    assert_int_equal(file_input_read(&in, 4, part, 4), OK);
    assert_int_equal(file_input_read(&in, 6, part, 4), E_DATA);
    assert_non_null(strstr(status_message(), "cut off while it was in use: ends at byte 8, had 10"));
    file_input_close(&in);
    file_input_close(&in);
    arena_free(&a);
}

static void path_parts(void **state)
{
    (void)state;
    arena a = {0};
    assert_string_equal(path_join(&a, "a", "b"), "a/b");
    assert_string_equal(path_join(&a, "a/", "b"), "a/b");
    assert_string_equal(path_join(&a, "", "b"), "b");
    assert_string_equal(path_join(&a, "a", "/b"), "/b");
    assert_string_equal(path_base("a/b.c"), "b.c");
    assert_string_equal(path_base("b.c"), "b.c");
    assert_string_equal(path_extension("a.d/b.tar.gz"), "gz");
    assert_string_equal(path_extension("a.d/b"), "");
    assert_string_equal(path_extension("a/.profile"), "");
    arena_free(&a);
}

static void hashes(void **state)
{
    (void)state;
    arena a = {0};
    char hex[33];
    assert_int_equal(crc32c("123456789", 9), 0xe3069283u);
    assert_int_equal(crc32c("", 0), 0);
    /* RFC 3720, B.4: 32 zero bytes. */
    assert_int_equal(crc32c((char[32]){0}, 32), 0x8a9136aau);
    assert_true(hash64("", 0) == 0x2d06800538d394c2u && hash64_text("graft") == hash64("graft", 5));
    hash128_hex(hash128_of("", 0), hex);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f");

    /* A file longer than one read gives the hash of its bytes. */
    size_t bytes = 700001;
    unsigned char *data = arena_alloc(&a, bytes);
    for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)(i * 31 + i / 977);
    const char *path = name_in(&a, "hashed");
    assert_int_equal(file_write_all(path, data, bytes), OK);
    hash128 whole = hash128_of(data, bytes), streamed;
    assert_int_equal(hash128_of_file(path, &streamed), OK);
    assert_true(whole.low == streamed.low && whole.high == streamed.high);
    assert_int_equal(hash128_of_file(name_in(&a, "absent"), &streamed), E_IO);
    assert_int_equal(hash128_of_file(folder, &streamed), E_IO);
    arena_free(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commit_replaces_abort_keeps), cmocka_unit_test(writer_failures),
        cmocka_unit_test(full_disk_is_reported),       cmocka_unit_test(reading_limits),
        cmocka_unit_test(mapping),                     cmocka_unit_test(folders),
        cmocka_unit_test(path_parts),                  cmocka_unit_test(hashes),
        cmocka_unit_test(temporary_names),             cmocka_unit_test(data_is_regular),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
