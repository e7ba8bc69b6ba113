/* internal.h: what the parts of core/config share. Not for others. */
#ifndef GRAFT_CONFIG_INTERNAL_H
#define GRAFT_CONFIG_INTERNAL_H

#include "core/config/config.h"

enum { CONFIG_MOST_ERRORS = 200 }; /* one more says that the rest is not shown */

/* Where something was written. */
typedef struct config_place {
    const char *file; /* lives as long as the config */
    int32_t line;     /* 0: none */
} config_place;

/* Adds an error; `problem` is the part of the message behind "FILE:LINE: section.key = value: ". */
status config_add_error(config *c, config_place place, const config_error *facts, const char *problem);

/* Sets one option from text, or collects why not. */
status config_assign(config *c, config_place place, const char *section, const char *key, const char *value);

typedef enum value_verdict { VALUE_FINE, VALUE_WRONG, VALUE_NO_MEMORY } value_verdict;

/* Text to the option's place in *s. A wrong value changes nothing. */
value_verdict value_parse(const option *o, const char *text, spec *s, arena *a);
/* The opposite. NULL when out of memory. */
char *value_text(const option *o, const spec *s, arena *a);
/* A value as a file has it: quoted where it must be. NULL when out of memory. */
char *value_quoted(const char *text, arena *a);

/* Whether the value is that of the default, however it is written. */
status config_at_default(const config *c, const option *o, bool *at_default);

/* Collects the contradictions between options. */
status config_check_together(config *c);

#endif
