/* cli.h: the command line. A command is one file that defines one `cli_command`, and one row in commands.c; its option
 * rows drive parsing, --help, completion and the man page. Options that set something of the spec name it as their
 * target, so most commands read nothing but c->config.spec.
 *
 *     static const cli_option options[] = {
 *         CLI_SPEC_OPTION,
 *         {"--output", "-o", "FILE", .target = "export.output", .help = "engine to write"},
 *         {.name = NULL},
 *     };
 *     static status run(cli_context *c)
 *     {
 *         TRY(write_engine(&c->config.spec.export, &c->log));
 *         cli_print(c, "wrote %s\n", path);          // nothing with --json
 *         json_key(&c->result, "output");            // printed with --json only
 *         json_put_string(&c->result, path);
 *         return OK;
 *     }
 *     const cli_command command_export = {"export", "write an engine", .options = options, .run = run, ...};
 *
 * main.c alone prints the final error and chooses the exit code (the status).
 */
#ifndef GRAFT_CLI_CLI_H
#define GRAFT_CLI_CLI_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "core/base/arena.h"
#include "core/base/json.h"
#include "core/base/log.h"
#include "core/base/status.h"
#include "core/config/config.h"

/* The sections of a spec that say what the network is. */
#define CLI_HEAD_SECTIONS "detect ssd dssd retinanet"
#define CLI_MODEL_SECTIONS "model " CLI_HEAD_SECTIONS

typedef struct cli_option {
    const char *name;       /* "--output"; NULL ends a list */
    const char *short_name; /* "-o", "-pth", or NULL */
    const char *argument;   /* "FILE": takes a value; NULL: a switch */
    const char *target;     /* "train.output": the value is set there; "spec": a spec file to read; NULL: cli_value */
    bool many;              /* takes every word up to the next option; may be repeated */
    const char *help;
} cli_option;

#define CLI_SPEC_OPTION {"--spec", "-e", "FILE", .target = "spec", .help = "spec file; later ones win"}

#define CLI_DATA_OPTION \
    {"--data", "-d", "PATH", .target = "data.root", .help = "data set, or PATH#PART; default: that of the training"}

#define CLI_FORCE_OPTION {"--force", "-f", NULL, .help = "overwrite the output"}

typedef enum cli_spec_use {
    CLI_SPEC_NONE,     /* no spec: overrides are refused                                               */
    CLI_SPEC_OPEN,     /* files and overrides are read without mistakes; the command may set more (config_set) and calls
                          cli_finish_spec, which finds contradictions                                 */
    CLI_SPEC_FINISHED  /* the spec is complete and checked before run is called                       */
} cli_spec_use;

struct cli_context;

typedef struct cli_command {
    const char *name, *summary;
    const char *arguments;     /* "MODEL [IMAGE...]"; "" or NULL if there are none */
    int32_t least, most;       /* number of arguments; most -1: any */
    const char *first_target;  /* the first argument is the value of this target; NULL: c->arguments has it */
    const char *description;   /* more than the summary, for --help and the man page; or NULL */
    cli_spec_use spec;
    const char *sections;      /* "data train": sections of the spec that the command reads, for --help */
    bool stops_on_signal;      /* polls c->stop: the first Ctrl-C only sets it, the second one kills */
    const cli_option *options; /* or NULL */
    status (*run)(struct cli_context *c);
} cli_command;

/* An option as it was given. */
typedef struct cli_given {
    const cli_option *option; /* NULL: `value` is a section.key=value word */
    const char *value;        /* NULL for switches */
} cli_given;

typedef struct cli_context {
    const cli_command *command;
    config config;               /* as command->spec says */
    logger log;                  /* stderr and --log-file */
    bool json, quiet, verbose;
    const char *first;           /* the argument that first_target took, or NULL */
    const char **arguments;      /* the others */
    int64_t argument_count, argument_capacity;
    const volatile sig_atomic_t *stop; /* 0, or the signal that asks to stop: E_INTERRUPTED, E_TERMINATED */
    json_writer result;          /* of the success object: add members */
    arena memory;
    cli_given *given;
    int64_t given_count, given_capacity;
} cli_context;

extern const cli_command *const cli_commands[]; /* ends with NULL */
extern const cli_option cli_common_options[];   /* of every command */
extern const cli_option cli_spec_options[];     /* of every command with a spec */

const cli_command *cli_command_find(const char *name);

bool cli_is_given(const cli_context *c, const char *name);        /* "--dry-run" */
/* NULL if not given; the last one; many: joined by blanks */
const char *cli_value(const cli_context *c, const char *name);
int64_t cli_override_count(const cli_context *c);                 /* section.key=value words */

/* E_USAGE when the file exists, unless --force (CLI_FORCE_OPTION) was given. Before the work, not after it. */
status cli_check_output(const cli_context *c, const char *path);

/* For CLI_SPEC_OPEN: checks the spec as a whole. E_USAGE with all mistakes. */
status cli_finish_spec(cli_context *c);

/* To stdout, unless --json was given. Control characters become '?', but for line breaks: text that a file brought goes
 * through text_printable. */
void cli_print(const cli_context *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What `print` writes: to stdout, or with --json as the member "text". */
status cli_print_text(cli_context *c, void (*print)(FILE *stream));

/* ---- between the files of cli/ only */

/* Words behind the command's name. Fills c->given and c->arguments, reads the spec as the command asks. */
status cli_parse(cli_context *c, int count, char **words);
void cli_help_overview(FILE *stream);
void cli_help_command(FILE *stream, const cli_command *command);
const char *cli_exit_codes(void); /* "0  fine\n..." one a line */
/* From now on the first SIGINT or SIGTERM sets the flag; the second one kills. */
const volatile sig_atomic_t *cli_catch_signals(void);
/* Version and what was found at run time, as members of c->result and as text. */
status cli_version(cli_context *c);

#endif
