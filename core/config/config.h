/* config.h: from INI text and overrides to a checked spec.
 *
 * Sources, later ones win: the defaults of spec.def, the spec file, `section.key=value` words of the command line. Every
 * value remembers its origin. All mistakes of all sources are collected before anything fails: unknown section or key
 * (with the nearest one), value that does not parse, value out of range, key given twice, name longer than inih can hold.
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
    const char *choices;      /* enums: "a|b|c" */
    const char *default_text; /* as it would stand in a file */
    const char *help;
    size_t offset;            /* of the value in struct spec */
} option;

typedef struct option_section {
    const char *name, *help;
    int32_t first, count; /* rows of option_table */
} option_section;

extern const option option_table[];
extern const int32_t option_count;
extern const option_section option_sections[];
extern const int32_t option_section_count;

const option *option_find(const char *section, const char *key); /* NULL if unknown */
/* Known words nearest to an unknown one, for messages; NULL if nothing is near. */
const char *option_nearest_key(const char *section, const char *key);
const char *option_nearest_section(const char *section);

/* One mistake, for `graft spec --check --json`. */
typedef struct config_error {
    const char *file;    /* "command line" for overrides */
    int32_t line;        /* 0 if none */
    const char *section, *key, *value;
    const char *expected;
    const char *nearest; /* or NULL */
    const char *text;    /* the whole message */
} config_error;

typedef struct config {
    arena memory;
    spec spec;
    const char **origin;   /* [option_count]: "default", "file.ini:12", "command line" */
    const char **text;     /* [option_count]: the value as given */
    config_error *errors;
    int64_t error_count, error_capacity;
} config;

status config_init(config *c);
void config_free(config *c);
status config_read_file(config *c, const char *path);
status config_read_text(config *c, const char *text, size_t bytes, const char *name);
status config_override(config *c, const char *assignment);    /* "section.key=value" */
status config_set(config *c, const char *section, const char *key, const char *value, const char *origin);
status config_finish(config *c);                              /* fails with all errors at once */

/* The resolved spec as INI that reads back to the same values; with_origins adds "; origin" behind each. */
status config_dump(const config *c, FILE *stream, bool with_origins);
/* A complete commented spec for a network: `graft spec resnet18`. */
status config_template(FILE *stream, const char *arch);

#endif
