#include "core/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/text.h"

enum { MESSAGE_BYTES = 16384, ORIGIN_BYTES = 128 };

/* One message per thread, like errno: the only state that outlives a call. */
static _Thread_local char thread_message[MESSAGE_BYTES];
static _Thread_local char thread_origin[ORIGIN_BYTES];
static _Thread_local status thread_code;

/* The arguments may point into the old message, so it is replaced only when the new one is complete. */
static void set_message(void (*make_printable)(char *text), const char *file, int line, const char *fmt, va_list args)
{
    char text[MESSAGE_BYTES];
    int length = vsnprintf(text, sizeof text, fmt, args);
    if (length < 0) snprintf(text, sizeof text, "failed (and the message could not be formatted)");
    if (length >= MESSAGE_BYTES) memcpy(text + MESSAGE_BYTES - 4, "...", 4);
    make_printable(text);
    memcpy(thread_message, text, strlen(text) + 1);
    snprintf(thread_origin, sizeof thread_origin, "%s:%d", file, line);
}

status status_fail(status code, const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set_message(text_make_printable, file, line, fmt, args);
    va_end(args);
    thread_code = code;
    return code;
}

status status_fail_lines(status code, const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    set_message(text_make_lines_printable, file, line, fmt, args);
    va_end(args);
    thread_code = code;
    return code;
}

status status_code(void)
{
    return thread_code;
}

const char *status_message(void)
{
    return thread_message;
}

const char *status_origin(void)
{
    return thread_origin;
}

void status_bug(const char *file, int line, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "graft: bug at %s:%d: ", file, line);
    vfprintf(stderr, fmt, args);
    fputc('\n', stderr);
    va_end(args);
    abort();
}
