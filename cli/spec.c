#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "core/base/file.h"
#include "core/base/text.h"
#include "models/models.h"

static const cli_option options[] = {
    {"--check", NULL, "FILE", .target = "spec", .help = "report every mistake in FILE and the overrides"},
    {"--show", NULL, "FILE", .target = "spec", .help = "print the resolved spec, each value with its origin"},
    {"--output", "-o", "FILE", .help = "write there instead of to stdout"},
    CLI_FORCE_OPTION,
    {.name = NULL},
};

static void put(json_writer *w, const char *key, const char *value)
{
    json_key(w, key);
    json_put_string(w, value);
}

/* Every option with its value, where it is from, and what it may be. */
static status put_options(cli_context *c)
{
    json_writer *w = &c->result;
    json_key(w, "options");
    json_begin_array(w);
    for (int32_t i = 0; i < option_count; i++) {
        const option *o = &option_table[i];
        char expected[256], *value = config_value_text(&c->config, &c->memory, o);
        if (!value) return FAIL(E_MEMORY, "out of memory while listing the spec");
        option_expectation(o, expected);
        json_begin_object(w);
        put(w, "section", o->section);
        put(w, "key", o->key);
        put(w, "value", value);
        put(w, "origin", c->config.origin[i]);
        put(w, "default", o->default_text);
        put(w, "expected", expected);
        put(w, "help", o->help);
        json_end_object(w);
    }
    json_end_array(w);
    return OK;
}

static status write_spec(cli_context *c, FILE *stream, bool show)
{
    return show ? config_dump(&c->config, stream, true) : config_template(&c->config, stream);
}

static status print_spec(cli_context *c, bool show)
{
    const char *path = cli_value(c, "--output");
    TRY(put_options(c));
    if (!path) return c->json ? OK : write_spec(c, stdout, show);
    file_writer w;
    status result = OK;
    TRY(cli_check_output(c, path));
    TRY(file_writer_open(&w, path));
    TRY_OUT(write_spec(c, w.stream, show));
    TRY_OUT(file_writer_commit(&w));
out:
    file_writer_abort(&w);
    return result;
}

static status run(cli_context *c)
{
    bool check = cli_is_given(c, "--check"), show = cli_is_given(c, "--show");
    if (check + show + (c->first != NULL) != 1)
        return FAIL(E_USAGE, "expected one of: graft spec NETWORK, graft spec --check FILE, graft spec --show FILE");
    TRY(cli_finish_spec(c));
    if (!check) return print_spec(c, show);
    const char *path = cli_value(c, "--check");
    cli_print(c, "%s: no mistakes\n", path);
    put(&c->result, "file", path);
    return OK;
}

const cli_command command_spec = {
    .name = "spec",
    .summary = "write, check or show a spec file",
    .arguments = "[NETWORK]",
    .most = 1,
    .first_target = "model.arch",
    .description =
        "graft spec NETWORK writes a complete commented spec. --check reports all mistakes of a file at once, each "
        "with its line, what was expected and the nearest name. --show prints every value and where it came from.",
    .spec = CLI_SPEC_OPEN,
    .options = options,
    .run = run,
};
