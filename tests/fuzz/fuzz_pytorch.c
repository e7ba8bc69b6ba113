/* PyTorch's files. The first byte chooses: a whole archive, or a bare pickle (no
 * checksum stands in front of that one). */
#include <stdlib.h>
#include <string.h>

#include "models/import/pickle.h"
#include "models/import/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_archive(const uint8_t *data, size_t size)
{
    arena a = {0};
    pytorch_weights w;
    volatile uint8_t sum = 0;
    if (pytorch_read(&a, data, size, "fuzz", NULL, &w) == OK)
        for (int64_t i = 0; i < w.count; i++)
            for (size_t k = 0; k < w.tensors[i].bytes; k++) sum ^= w.tensors[i].data[k];
    arena_free(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    arena a = {0};
    const pickle_value *root;
    if (size < 1) return 0;
    if (data[0] & 1) read_archive(data + 1, size - 1);
    else if (pickle_read(&a, data + 1, size - 1, "fuzz", &root) == OK) pickle_get(root, "state_dict");
    arena_free(&a);
    return 0;
}
