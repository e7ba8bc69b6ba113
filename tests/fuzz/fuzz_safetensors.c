/* The safetensors reader: every accepted tensor's bytes are read. */
#include <stdlib.h>
#include <string.h>

#include "core/graph/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    safetensors st;
    volatile uint8_t sum = 0;
    if (safetensors_parse(&st, data, size, "fuzz") != OK) return 0;
    for (int64_t i = 0; i < st.count; i++)
        for (size_t k = 0; k < st.tensors[i].bytes; k++) sum ^= st.tensors[i].data[k];
    safetensors_close(&st);
    return 0;
}
