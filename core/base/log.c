#include "core/base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "core/base/text.h"

enum { LINE_BYTES = 16384 };

double clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void log_init(logger *l, FILE *stream, log_level level, int32_t rank)
{
    *l = (logger){.stream = stream,
        .level = level,
        .rank = rank,
        .period_seconds = 10,
        .last_progress = -1e300,
        .last_drawn = -1e300};
    l->terminal = stream && isatty(fileno(stream));
    pthread_mutex_init(&l->lock, NULL);
}

void log_free(logger *l)
{
    if (l->line_open && l->stream) fputc('\n', l->stream);
    pthread_mutex_destroy(&l->lock);
    *l = (logger){0};
}

/* Called with the lock held. */
static void write_line(logger *l, const char *prefix, const char *text)
{
    FILE *targets[2] = {l->stream, l->copy};
    if (l->line_open && l->stream) fputs("\r\033[K", l->stream); /* the next progress call draws it again */
    l->line_open = false;
    l->last_drawn = -1e300;
    for (int i = 0; i < 2; i++) {
        if (!targets[i]) continue;
        fprintf(targets[i], "%s%s\n", prefix, text);
        fflush(targets[i]);
    }
}

static void say(logger *l, log_level level, void (*make_printable)(char *text), const char *fmt, va_list args)
{
    bool warning = level == LOG_WARN;
    if (!l || level > l->level || (l->rank != 0 && !warning)) return;
    char prefix[48] = "";
    if (warning && l->rank != 0) snprintf(prefix, sizeof prefix, "warning (rank %d): ", (int)l->rank);
    else if (warning) snprintf(prefix, sizeof prefix, "warning: ");
    char text[LINE_BYTES];
    vsnprintf(text, sizeof text, fmt, args);
    make_printable(text);
    pthread_mutex_lock(&l->lock);
    write_line(l, prefix, text);
    pthread_mutex_unlock(&l->lock);
}

void log_info(logger *l, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(l, LOG_INFO, text_make_printable, fmt, args);
    va_end(args);
}

void log_verbose(logger *l, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(l, LOG_VERBOSE, text_make_printable, fmt, args);
    va_end(args);
}

void log_warn(logger *l, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(l, LOG_WARN, text_make_printable, fmt, args);
    va_end(args);
}

void log_warn_lines(logger *l, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(l, LOG_WARN, text_make_lines_printable, fmt, args);
    va_end(args);
}

static int terminal_columns(FILE *stream)
{
    struct winsize size;
    if (ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 1) return size.ws_col;
    return 80;
}

#define DRAW_SECONDS 0.05 /* no eye follows faster, and writing costs time */

/* A line longer than the terminal would wrap and could not be redrawn, so it is cut (at bytes: progress is ASCII). */
static void redraw(logger *l, const char *text, bool final, double now)
{
    if (!final && now - l->last_drawn < DRAW_SECONDS) return;
    l->last_drawn = final ? -1e300 : now;
    int columns = terminal_columns(l->stream);
    if (final) fprintf(l->stream, "\r\033[K%s\n", text);
    else fprintf(l->stream, "\r\033[K%.*s", columns - 1, text);
    l->line_open = !final;
    fflush(l->stream);
}

void log_progress(logger *l, bool final, const char *fmt, ...)
{
    if (!l || l->rank != 0 || l->level < LOG_INFO) return;
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    text_make_printable(text);

    pthread_mutex_lock(&l->lock);
    double now = clock_seconds();
    bool as_line = final || now - l->last_progress >= l->period_seconds;
    if (as_line) l->last_progress = now;
    if (l->stream && l->terminal) redraw(l, text, final, now);
    FILE *targets[2] = {l->terminal ? NULL : l->stream, l->copy};
    for (int i = 0; as_line && i < 2; i++) {
        if (!targets[i]) continue;
        fprintf(targets[i], "%s\n", text);
        fflush(targets[i]);
    }
    pthread_mutex_unlock(&l->lock);
}

void format_duration(double seconds, char text[32])
{
    if (!(seconds >= 0) || seconds > 1e12) {
        snprintf(text, 32, "-");
        return;
    }
    int64_t whole = (int64_t)(seconds + 0.5);
    if (seconds < 59.95) snprintf(text, 32, "%.1fs", seconds);
    else if (whole < 3600) snprintf(text, 32, "%" PRId64 "m %02" PRId64 "s", whole / 60, whole % 60);
    else if (whole < 86400) snprintf(text, 32, "%" PRId64 "h %02" PRId64 "m", whole / 3600, whole % 3600 / 60);
    else snprintf(text, 32, "%" PRId64 "d %02" PRId64 "h", whole / 86400, whole % 86400 / 3600);
}

void format_bytes(double bytes, char text[32])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    int i = 0;
    while (bytes >= 1023.95 && i < 5) {
        bytes /= 1024;
        i++;
    }
    snprintf(text, 32, i ? "%.1f %s" : "%.0f %s", bytes, unit[i]);
}
