/* The spec reader. What is accepted must read back to the same values from its own dump. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *dump(const config *c, size_t *bytes)
{
    char *text = NULL;
    FILE *f = open_memstream(&text, bytes);
    if (!f) return NULL;
    status result = config_dump(c, f, false);
    fclose(f);
    if (result == OK) return text;
    free(text);
    return NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    config c, again;
    if (config_init(&c) != OK) return 0;
    status result = config_read_text(&c, (const char *)data, size, "fuzz.ini");
    if (result == OK && config_finish(&c) == OK && config_init(&again) == OK) {
        size_t bytes = 0, bytes_again = 0;
        char *text = dump(&c, &bytes), *text_again = NULL;
        if (text && (config_read_text(&again, text, bytes, "dump.ini") != OK || config_finish(&again) != OK)) abort();
        if (text) text_again = dump(&again, &bytes_again);
        if (text_again && (bytes != bytes_again || memcmp(text, text_again, bytes) != 0)) abort();
        free(text), free(text_again);
        config_free(&again);
    }
    config_free(&c);
    return 0;
}
