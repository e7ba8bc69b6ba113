/* log.h: what a run says while it works, and the progress line.
 *
 * Only rank 0 speaks; warnings of other ranks carry their rank. Lines go to stderr (stdout is for results). On a
 * terminal the progress line is redrawn in place; elsewhere one plain line every `period_seconds`. Thread-safe. A line
 * stays one line and printable, whatever text of files is in it (text_make_printable), of at most 16383 bytes. (The
 * type is no `log`: that is a function of math.h.)
 */
#ifndef GRAFT_BASE_LOG_H
#define GRAFT_BASE_LOG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

typedef enum log_level { LOG_QUIET, LOG_WARN, LOG_INFO, LOG_VERBOSE } log_level;

typedef struct logger {
    FILE *stream;          /* NULL: nothing is said */
    FILE *copy;            /* --log-file, or NULL   */
    log_level level;
    int32_t rank;
    bool terminal;
    double period_seconds; /* between plain progress lines */
    double last_progress, last_drawn;
    bool line_open;        /* a progress line stands on the terminal */
    pthread_mutex_t lock;
} logger;

void log_init(logger *l, FILE *stream, log_level level, int32_t rank);
void log_free(logger *l);

/* All accept l == NULL (silent). */
void log_info(logger *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_verbose(logger *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_warn(logger *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same with line breaks: a list, say. */
void log_warn_lines(logger *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A progress text; `final` always prints and ends the line. */
void log_progress(logger *l, bool final, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

double clock_seconds(void);                     /* monotonic */
void format_duration(double seconds, char text[32]); /* "1h 02m", "3m 10s", "8.4s" */
void format_bytes(double bytes, char text[32]);      /* "12.3 MiB" */

#endif
