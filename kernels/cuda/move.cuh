/* move.cuh: moving elements without looking at them: an element is its bytes, and neighbours that move
 * together are one wider element.
 *
 * Host code joins dimensions that stay together and widens the elements as far as sizes and addresses allow, up to 16
 * bytes; kernels know only element sizes. Indices are 32-bit where the tensors are below 2^31 elements, because each
 * is divided by every dimension.
 */
#ifndef GRAFT_CUDA_MOVE_CUH
#define GRAFT_CUDA_MOVE_CUH

#include "kernels/cuda/common.cuh"

typedef pack<uint32_t, 4> bytes16;

/* Calls FUNCTION<element>(arguments) for an element of so many bytes. */
#define FOR_ELEMENT(bytes, FUNCTION, ...)                                                                              \
    ((bytes) == 16  ? FUNCTION<bytes16>(__VA_ARGS__)                                                                  \
     : (bytes) == 8 ? FUNCTION<uint64_t>(__VA_ARGS__)                                                                 \
     : (bytes) == 4 ? FUNCTION<uint32_t>(__VA_ARGS__)                                                                 \
     : (bytes) == 2 ? FUNCTION<uint16_t>(__VA_ARGS__)                                                                 \
                    : FUNCTION<uint8_t>(__VA_ARGS__))

static inline int64_t product_of(const int64_t *dim, int32_t rank)
{
    int64_t count = 1;
    for (int32_t k = 0; k < rank; k++) count *= dim[k];
    return count;
}

/* Whether indices below `count` fit 32 bits, with room for the grid's steps. */
static inline bool is_short(int64_t count)
{
    return count < INT64_C(1) << 30;
}

#endif
