/* status.h: how a function says that it failed.
 *
 * A function that can fail returns a status; OK is 0. The message is made where the failure happened, by
 * FAIL(code, fmt, ...), and kept per thread until the next failure of that thread; callers only propagate with TRY.
 * Nobody but cli/ prints it, nobody logs it twice. The codes are the exit codes of the program.
 *
 *     status spec_check_batch(int64_t batch)
 *     {
 *         if (batch < 1) return FAIL(E_USAGE, "train.batch_size = %" PRId64 ": expected 1 or more", batch);
 *         return OK;
 *     }
 *
 * Programming errors are not statuses: BUG("...") prints and aborts.
 * The per-thread message works like errno; a thread that hands its failure to another one copies the text
 * (status_message) and the receiver fails again with it.
 */
#ifndef GRAFT_BASE_STATUS_H
#define GRAFT_BASE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

typedef enum status {
    OK = 0,
    E_INTERNAL = 1,      /* our mistake, or a library refused what it must accept   */
    E_USAGE = 2,         /* command line or spec                                    */
    E_DATA = 3,          /* data set, images, labels                                */
    E_MODEL = 4,         /* model, engine or cache file rejected                    */
    E_DEVICE = 5,        /* device or driver                                        */
    E_MEMORY = 6,        /* out of host or device memory                            */
    E_DIVERGED = 7,      /* NaN or Inf in training                                  */
    E_GATE = 8,          /* a quality gate was not met                              */
    E_IO = 9,            /* a file could not be read or written                     */
    E_TEMPORARY = 75,    /* rank lost; safe to resume                               */
    E_INTERRUPTED = 130, /* SIGINT, after a checkpoint was saved (SIGTERM: 143)     */
    E_TERMINATED = 143
} status;

/* Records the message for this thread, one line of printable text (text_make_printable), and returns `code`. */
status status_fail(status code, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The same of several lines: whoever says it has made what files brought printable (text_printable). */
status status_fail_lines(status code, const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* The message of this thread's last failure; "" if there was none. Valid until the next failure of this thread. */
const char *status_message(void);

/* Its code; OK if there was none. For callers of functions that give something else than a status. */
status status_code(void);

/* "file.c:123" of this thread's last failure, for GRAFT_VERBOSE. */
const char *status_origin(void);

void status_bug(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4), noreturn));

#define FAIL(code, ...) status_fail((code), __FILE__, __LINE__, __VA_ARGS__)
#define FAIL_LINES(code, ...) status_fail_lines((code), __FILE__, __LINE__, __VA_ARGS__)
#define FAIL_MEMORY(bytes) FAIL(E_MEMORY, "out of memory: could not allocate %zu bytes", (size_t)(bytes))
#define BUG(...) status_bug(__FILE__, __LINE__, __VA_ARGS__)

/* Propagates a failure. */
#define TRY(expr) do { status s_ = (expr); if (s_ != OK) return s_; } while (0)

/* The same where resources are held: stores the failure in the local `result` and jumps to the label `out`. */
#define TRY_OUT(expr) do { result = (expr); if (result != OK) goto out; } while (0)

#ifdef __cplusplus
}
#endif
#endif
