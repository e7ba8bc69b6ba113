/* The calibration cache's parser. */
#include <stddef.h>
#include <stdint.h>

#include "export/cache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    calibration_cache c;
    if (cache_parse(&c, (const char *)data, size, "fuzz") == OK) {
        for (int64_t i = 0; i < c.count; i++) {
            if (cache_find(&c, c.entries[i].name) != &c.entries[i] || !(c.entries[i].scale > 0)) __builtin_trap();
        }
        cache_free(&c);
    }
    return 0;
}
