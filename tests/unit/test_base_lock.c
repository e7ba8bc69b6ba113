/* The lock of an output folder: held, released, taken over from the dead; of another machine nobody can tell. */
#include "tests/unit/unit_test.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/file.h"
#include "core/base/folder_lock.h"
#include "core/base/process.h"

static char folder[64], lock_path[96];

static int make_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/graft-lock-XXXXXX");
    if (!mkdtemp(folder)) return -1;
    snprintf(lock_path, sizeof lock_path, "%s/%s", folder, FOLDER_LOCK_FILE);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

#define SAYS(text)                                                                                                     \
    do {                                                                                                               \
        if (!strstr(status_message(), (text))) fail_msg("\"%s\" is not in \"%s\"", (text), status_message());          \
    } while (0)

static status take(folder_lock *lock) { return folder_lock_take(lock, folder, "choose another folder", NULL); }

static void one_owner(void **state)
{
    (void)state;
    folder_lock first, second;
    char who[64];
    machine_identity machine = machine_look();
    assert_int_equal(take(&first), OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(take(&second), E_USAGE);
        assert_null(second.path);
        snprintf(who, sizeof who, "in use by process %ld on ", (long)getpid());
        SAYS(who);
        SAYS(machine.host);
        SAYS("choose another folder");
    }
    folder_lock_release(&first);
    folder_lock_release(&first);
    assert_false(file_exists(lock_path));
    assert_int_equal(take(&second), OK);
    folder_lock_release(&second);
}

/* A process that holds the lock until it is killed. */
static pid_t start_owner(void)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        folder_lock lock;
        byte = take(&lock) == OK;
        if (write(ready[1], &byte, 1) != 1) _exit(1);
        for (;;) pause();
    }
    assert_true(child > 0 && read(ready[0], &byte, 1) == 1 && byte == 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

static void dead_owner(void **state)
{
    (void)state;
    folder_lock lock;
    char who[64], *text;
    size_t bytes;
    pid_t child = start_owner();
    snprintf(who, sizeof who, "process %ld on ", (long)child);
    assert_int_equal(take(&lock), E_USAGE);
    SAYS(who);
    assert_int_equal(kill(child, SIGSTOP), 0); /* a stopped owner is one */
    assert_int_equal(take(&lock), E_USAGE);
    assert_true(kill(child, SIGKILL) == 0 && waitpid(child, NULL, 0) == child);
    assert_true(file_exists(lock_path));
    FILE *said = open_memstream(&text, &bytes);
    logger l;
    log_init(&l, said, LOG_INFO, 0);
    assert_int_equal(folder_lock_take(&lock, folder, "", &l), OK);
    log_free(&l);
    fclose(said);
    assert_non_null(strstr(text, "taking over the lock of"));
    assert_non_null(strstr(text, who));
    free(text);
    folder_lock_release(&lock);
}

static void put(const char *host, const char *boot, long pid)
{
    char text[512];
    int length = snprintf(text, sizeof text,
        "graft-lock 1\nhost %s\nboot %s\nprocess %ld 77\nsince 2001-02-03T04:05:06Z\n", host, boot, pid);
    assert_int_equal(file_write_all(lock_path, text, (size_t)length), OK);
}

static void other_machines(void **state)
{
    (void)state;
    folder_lock lock;
    machine_identity machine = machine_look();
    put("elsewhere", "00000000-0000-0000-0000-000000000000", 12);
    assert_int_equal(take(&lock), E_USAGE);
    SAYS("in use by process 12 on elsewhere since 2001-02-03T04:05:06Z");
    SAYS("remove " FOLDER_LOCK_FILE);
    put("else\x1b[2Jwhere", "00000000-0000-0000-0000-000000000000", 12);
    assert_int_equal(take(&lock), E_USAGE);
    SAYS("else?[2Jwhere");
    put(machine.host, "00000000-0000-0000-0000-000000000000", 1); /* before this machine was started anew */
    assert_int_equal(take(&lock), OK);
    folder_lock_release(&lock);
    put("a container before", machine.boot, 1);
    assert_int_equal(take(&lock), OK);
    folder_lock_release(&lock);
    static const char *const odd[] = {"", "graft", "graft-lock 2\n", "\n\n\n"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        assert_int_equal(file_write_all(lock_path, odd[i], strlen(odd[i])), OK);
        assert_int_equal(take(&lock), OK);
        folder_lock_release(&lock);
    }
}

static void no_file(void **state)
{
    (void)state;
    folder_lock lock;
    char target[96];
    snprintf(target, sizeof target, "%s/target", folder);
    assert_int_equal(symlink(target, lock_path), 0);
    assert_int_equal(take(&lock), E_IO);
    assert_false(file_exists(target));
    assert_int_equal(unlink(lock_path), 0);
    assert_int_equal(mkfifo(lock_path, 0600), 0);
    assert_int_equal(take(&lock), E_IO);
    assert_int_equal(unlink(lock_path), 0);
    assert_int_equal(mkdir(lock_path, 0700), 0);
    assert_int_equal(take(&lock), E_IO);
    assert_int_equal(rmdir(lock_path), 0);
    assert_int_equal(folder_lock_take(&lock, "/nowhere/at/all", "", NULL), E_IO);
}

/* Many processes at once: never two owners, and the last one leaves nothing behind. */
static void many_processes(void **state)
{
    (void)state;
    enum { PROCESSES = 6, ROUNDS = 200 };
    char inside[96];
    snprintf(inside, sizeof inside, "%s/inside", folder);
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() != 0) continue;
        for (int k = 0; k < ROUNDS; k++) {
            folder_lock lock;
            status code = take(&lock);
            if (code != OK && code != E_USAGE) _exit(2);
            if (code != OK) continue;
            if (mkdir(inside, 0700) != 0 || rmdir(inside) != 0) _exit(1); /* it exists: somebody else is inside */
            folder_lock_release(&lock);
        }
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int ended;
        assert_true(wait(&ended) > 0);
        assert_int_equal(ended, 0);
    }
    assert_false(file_exists(lock_path));
}

static void processes(void **state)
{
    (void)state;
    process_info info, again;
    assert_true(process_look(getpid(), &info) && process_look(getpid(), &again));
    assert_true(info.start_tick > 0 && info.start_tick == again.start_tick);
    pid_t child = fork();
    if (child == 0)
        for (;;) pause();
    assert_int_equal(kill(child, SIGSTOP), 0);
    assert_true(waitpid(child, NULL, WUNTRACED) == child);
    assert_true(process_look(child, &info) && info.state == 'T');
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(process_look(child, &info));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_owner), cmocka_unit_test(dead_owner),     cmocka_unit_test(other_machines),
        cmocka_unit_test(no_file),   cmocka_unit_test(many_processes), cmocka_unit_test(processes),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
