/* The program: finds the command, runs it, prints the final error or the JSON result, and exits with the status. */
#include <inttypes.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "core/base/cpu.h"
#include "core/base/text.h"
#include "core/base/thread.h"

void cli_print(const cli_context *c, const char *fmt, ...)
{
    if (c->json) return;
    char *text = NULL;
    va_list args;
    va_start(args, fmt);
    int length = vasprintf(&text, fmt, args);
    va_end(args);
    if (length < 0) return;
    text_make_lines_printable(text);
    fputs(text, stdout);
    free(text);
}

status cli_print_text(cli_context *c, void (*print)(FILE *stream))
{
    char *text = NULL;
    size_t bytes;
    FILE *stream = open_memstream(&text, &bytes);
    if (!stream) return FAIL_MEMORY(1);
    print(stream);
    status result = fclose(stream) == 0 ? OK : FAIL_MEMORY(bytes);
    if (result == OK) {
        cli_print(c, "%s", text);
        json_key(&c->result, "text");
        json_put_string(&c->result, text);
    }
    free(text);
    return result;
}

static status unknown_command(const char *word)
{
    enum { MOST = 64 };
    const char *names[MOST];
    int64_t count = 0;
    for (; cli_commands[count] && count < MOST; count++) names[count] = cli_commands[count]->name;
    const char *nearest = text_nearest(word, names, count);
    if (nearest) return FAIL(E_USAGE, "unknown command %s; did you mean %s?", word, nearest);
    return FAIL(E_USAGE, "unknown command %s; `graft --help` lists all", word);
}

/* `graft help`, `graft help train`, `graft --help`. */
static status help(int count, char **words)
{
    const cli_command *command = count ? cli_command_find(words[0]) : NULL;
    if (count && words[0][0] != '-' && !command) return unknown_command(words[0]);
    if (command) cli_help_command(stdout, command);
    else cli_help_overview(stdout);
    return OK;
}

static status run_command(cli_context *c, int count, char **words)
{
    TRY(cli_parse(c, count, words));
    if (cli_is_given(c, "--help")) {
        c->json = false;
        cli_help_command(stdout, c->command);
        return OK;
    }
    cpu_isa limit;
    TRY(cpu_isa_limit(&limit));
    c->log.level = c->verbose ? LOG_VERBOSE : c->quiet ? LOG_WARN : LOG_INFO;
    const char *log_file = cli_value(c, "--log-file");
    if (log_file && !(c->log.copy = fopen(log_file, "ae")))
        return FAIL(E_IO, "%s: cannot open the log file: %s", log_file, strerror(errno));
    if (c->command->stops_on_signal) c->stop = cli_catch_signals();
    return c->command->run(c);
}

static status run(cli_context *c, int count, char **words)
{
    if (count == 0) {
        cli_help_overview(stderr);
        return FAIL(E_USAGE, "no command");
    }
    const char *word = words[0];
    if (strcmp(word, "--version") == 0) return cli_version(c);
    if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
        c->json = false;
        return help(count - 1, words + 1);
    }
    if (word[0] == '-') return FAIL(E_USAGE, "expected a command in front of %s; `graft --help` lists all", word);
    c->command = cli_command_find(word);
    if (!c->command) return unknown_command(word);
    return run_command(c, count - 1, words + 1);
}

static void put_member(json_writer *w, const char *key, const char *value)
{
    json_key(w, key);
    json_put_string(w, value);
}

/* The mistakes of the spec one by one, or the one message. */
static void put_errors(json_writer *w, const cli_context *c, const char *message)
{
    json_key(w, "errors");
    json_begin_array(w);
    for (int64_t i = 0; i < c->config.error_count; i++) {
        const config_error *e = &c->config.errors[i];
        json_begin_object(w);
        put_member(w, "text", e->text);
        put_member(w, "file", e->file);
        json_key(w, "line");
        json_put_int(w, e->line);
        put_member(w, "section", e->section);
        put_member(w, "key", e->key);
        put_member(w, "value", e->value);
        put_member(w, "expected", e->expected);
        put_member(w, "nearest", e->nearest);
        json_end_object(w);
    }
    if (c->config.error_count == 0 && message) {
        json_begin_object(w);
        put_member(w, "text", message);
        json_end_object(w);
    }
    json_end_array(w);
}

/* Closes the object that the command has added its members to. A command that failed inside a list left it
 * open: then its members are dropped. */
static status print_json(cli_context *c, status code, const char *message)
{
    json_writer *w = &c->result;
    if (w->depth != 1) {
        json_writer_free(w);
        json_begin_object(w);
    }
    put_member(w, "status", code == OK ? "ok" : "error");
    json_key(w, "code");
    json_put_int(w, code);
    if (code != OK) put_errors(w, c, message);
    json_end_object(w);
    const char *text;
    size_t bytes;
    TRY(json_writer_finish(w, &text, &bytes));
    printf("%s\n", text);
    return OK;
}

static void print_error(const cli_context *c, const char *message, const char *origin)
{
    int64_t mistakes = c->config.error_count;
    fprintf(stderr, "graft%s%s: ", c->command ? " " : "", c->command ? c->command->name : "");
    if (mistakes == 0) fprintf(stderr, "%s\n", message);
    else fprintf(stderr, "%" PRId64 " mistake%s in the spec:\n", mistakes, mistakes == 1 ? "" : "s");
    for (int64_t i = 0; i < mistakes; i++) fprintf(stderr, "%s\n", c->config.errors[i].text);
    if (c->verbose) fprintf(stderr, "(%s)\n", origin);
}

/* The message is copied first: what follows may fail itself. */
static status report(cli_context *c, status code)
{
    char *message = strdup(code == OK ? "" : status_message());
    char *origin = strdup(status_origin());
    if (!message || !origin) code = E_MEMORY;
    log_free(&c->log);
    if (code != OK) print_error(c, message ? message : "out of memory", origin ? origin : "");
    if (c->json && print_json(c, code, message) != OK && code == OK) {
        code = E_MEMORY;
        fprintf(stderr, "graft: %s\n", status_message());
    }
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == OK) {
        fprintf(stderr, "graft: cannot write to stdout: %s\n", strerror(errno));
        code = E_IO;
    }
    free(message);
    free(origin);
    return code;
}

/* A stream that was closed is given to nobody: or else the next file opened would be taken for it, and get the
 * messages. Writing to a stream opened here fails, as it would have. */
static bool keep_streams(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDONLY) < 0) return false;
    return true;
}

int main(int count, char **words)
{
    static const sig_atomic_t never = 0;
    cli_context c = {.stop = &never};
    if (!keep_streams()) return E_IO;
    signal(SIGXFSZ, SIG_IGN); /* writing more than a limit allows (ulimit -f) fails as on a full disk */
    openmp_wait_briefly(words);
    memory_keep_freed();
    log_init(&c.log, stderr, LOG_INFO, 0);
    for (int i = 1; i < count; i++) /* known before parsing, so that mistakes of the command line are JSON too */
        if (strcmp(words[i], "--json") == 0) c.json = true;
    json_begin_object(&c.result);
    status code = report(&c, run(&c, count - 1, words + 1));
    json_writer_free(&c.result);
    config_free(&c.config);
    arena_free(&c.memory);
    free(c.given);
    free(c.arguments);
    return (int)code;
}
