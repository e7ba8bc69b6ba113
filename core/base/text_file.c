#include "core/base/text_file.h"

#include <string.h>

#include "core/base/file.h"

/* In place: a text never grows. Returns its new length. */
static size_t unify_lines(char *text, size_t bytes)
{
    size_t length = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n') continue;
        text[length++] = text[i] == '\r' ? '\n' : text[i];
    }
    text[length] = 0;
    return length;
}

status text_file_read(arena *a, const char *path, int64_t max_bytes, status refused, char **text, size_t *bytes)
{
    void *data;
    *text = NULL;
    TRY(file_read_regular(a, path, max_bytes, &data, bytes));
    char *start = data;
    if (*bytes >= 2 && (memcmp(start, "\xff\xfe", 2) == 0 || memcmp(start, "\xfe\xff", 2) == 0))
        return FAIL(refused, "%s: the file is UTF-16: save it as UTF-8", path);
    if (memchr(start, 0, *bytes))
        return FAIL(refused, "%s: a 0 byte: this is no text (or UTF-16: save it as UTF-8)", path);
    if (*bytes >= 3 && memcmp(start, "\xef\xbb\xbf", 3) == 0) start += 3, *bytes -= 3;
    *bytes = unify_lines(start, *bytes);
    *text = start;
    return OK;
}
