/* config.h: from INI text and overrides to a checked spec.
 *
 * Sources, later ones win: the defaults of spec.def, the spec file, `section.key=value` words of the command line.
 * Every value remembers its origin. All mistakes of all sources are collected before anything fails: unknown section
 * or key (with the nearest one), value that does not parse, value out of range, key given twice, name longer than
 * inih can hold, values that contradict each other, values that others make meaningless (read_if.def; a line of a
 * file that the command line makes so goes back to its default). Reading and overriding fail only for lack of memory
 * or when a file cannot be read.
 *
 * The files. UTF-8, at most 1 MiB, lines of any length. `[section]`, `key = value` or `key: value`; a line that starts
 * with ; or # is a comment, and so is the rest of a line from a ; or # that follows a blank. A value in double quotes
 * keeps blanks, ; and # and knows the escapes \\ \" \n \t and \x80 to \xff, for bytes of paths that are no UTF-8.
 * Indentation means nothing. A section may come in several parts; a key may be given once per file.
 *
 *     config c;
 *     TRY_OUT(config_init(&c));
 *     TRY_OUT(config_read_file(&c, "configs/resnet18.ini"));
 *     TRY_OUT(config_override(&c, "train.epochs=10"));
 *     TRY_OUT(config_finish(&c));               // E_USAGE with every error in status_message, one a line
 *     use(c.spec.train.epochs);
 * out:
 *     config_free(&c);
 */
#ifndef GRAFT_CONFIG_CONFIG_H
#define GRAFT_CONFIG_CONFIG_H

#include <stdio.h>

#include "core/base/arena.h"
#include "core/base/status.h"
#include "core/config/spec.h"

typedef enum option_type {
    OPTION_INT, OPTION_FLOAT, OPTION_BOOL, OPTION_TEXT, OPTION_PATH, OPTION_ENUM, OPTION_FLOATS, OPTION_TEXTS
} option_type;

/* One row of spec.def. */
typedef struct option {
    const char *section, *key;
    option_type type;
    double min, max;
    const char *zero_word;    /* integers: what may be written for 0 ("auto"), or NULL */
    const char *const *choices; /* enums: NULL-terminated */
    const char *default_text; /* as it would stand in a file */
    const char *help;
    size_t offset;            /* of the value in struct spec */
    bool may_differ;          /* see option_may_differ */
} option;

typedef struct option_section {
    const char *name, *help;
    int32_t first, count; /* rows of option_table */
    bool may_differ;
} option_section;

extern const option option_table[];
extern const int32_t option_count;
extern const option_section option_sections[];
extern const int32_t option_section_count;

const option *option_find(const char *section, const char *key); /* NULL if unknown */
/* Whether a run that is resumed may have another value than it had. */
bool option_may_differ(const option *o);
int32_t option_choice_count(const option *o); /* enums */
/* What a value must be: "an integer from 1 to 4096", "one of a, b, c". */
void option_expectation(const option *o, char text[256]);
/* Known words nearest to an unknown one, for messages; NULL if nothing is near. */
const char *option_nearest_key(const char *section, const char *key);
const char *option_nearest_section(const char *section);

/* One mistake, for `graft spec --check --json`. */
typedef struct config_error {
    const char *file;    /* "command line" for overrides, "default" where a default contradicts */
    int32_t line;        /* 0 if none */
    const char *section, *key, *value, *expected; /* NULL where they make no sense */
    const char *nearest; /* "train", "train.epochs", an enum's choice; or NULL */
    const char *text;    /* the whole message, one line */
} config_error;

typedef struct config {
    arena memory;
    spec spec;
    const char **origin;      /* [option_count]: "default", "file.ini:12", "command line" */
    const char **origin_file; /* [option_count]: the same without the line */
    int32_t *origin_line;     /* [option_count]: 0 if none */
    const char **text;        /* [option_count]: the value as given */
    bool *doubtful;           /* [option_count]: given, but wrong or misspelt */
    config_error *errors;     /* [error_count]; at most 200 are kept */
    int64_t error_count, error_capacity;
    bool finished;
} config;

status config_init(config *c);
void config_free(config *c);
status config_read_file(config *c, const char *path);
status config_read_text(config *c, const char *text, size_t bytes, const char *name);
status config_override(config *c, const char *assignment);    /* "section.key=value" */
status config_set(config *c, const char *section, const char *key, const char *value, const char *origin);
/* Checks what options mean together, then fails with all errors at once. */
status config_finish(config *c);
/* Adds a mistake that the caller found, e.g. an unknown network, to those that config_finish reports; before it. The
 * place is where the option's value came from. */
status config_complain(config *c, const char *section, const char *key, const char *nearest, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
/* True if the option was set by a file or the command line. */
bool config_is_set(const config *c, const char *section, const char *key);
/* False where another option makes this one meaningless: read_if.def. */
bool option_is_read(const spec *s, const char *section, const char *key);
/* The value as config_set takes it. NULL when out of memory. */
char *config_value_text(const config *c, arena *a, const option *o);

/* The resolved spec as INI that reads back to the same values, without sections of which nothing is read (another
 * detector's); with_origins adds "; origin" behind each. */
status config_dump(const config *c, FILE *stream, bool with_origins);
/* The same with the help of every option as comments: `graft spec resnet18`. */
status config_template(const config *c, FILE *stream);

#endif
