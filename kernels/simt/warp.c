/* warp.c: what a warp does together, once its lanes have arrived. Fragment layouts: PTX ISA, "Matrix fragments for
 * mma.mNNnNNkNN" and "ldmatrix"; there group = lane / 4 and member = lane % 4. */
#include <string.h>
#ifdef __F16C__
#include <immintrin.h>
#endif

#include "core/base/dtype.h"
#include "kernels/simt/watch.h"

/* ------------------------------------------------------------------------------------------------ shuffles, votes */

void simt_combine_exchange(void *const arguments[32])
{
    uint64_t value[LANES];
    for (int32_t i = 0; i < LANES; i++) value[i] = arguments[i] ? ((simt_exchange *)arguments[i])->value : 0;
    for (int32_t i = 0; i < LANES; i++) {
        simt_exchange *x = arguments[i];
        if (!x) continue;
        if (!arguments[x->source])
            simt_fault(NULL, "a shuffle reads lane %d, which this block does not have", x->source);
        x->value = value[x->source];
    }
}

void simt_combine_vote(void *const arguments[32])
{
    uint32_t bits = 0;
    for (int32_t i = 0; i < LANES; i++)
        if (arguments[i] && ((simt_vote *)arguments[i])->value) bits |= 1u << i;
    for (int32_t i = 0; i < LANES; i++)
        if (arguments[i]) ((simt_vote *)arguments[i])->value = bits;
}

void simt_combine_nothing(void *const arguments[32])
{
    (void)arguments;
}

/* Matrix operations need all 32 lanes. */
static void need_all(void *const arguments[32], const char *what)
{
    for (int32_t i = 0; i < LANES; i++)
        if (!arguments[i]) simt_fault(NULL, "%s in a warp of %d lanes", what, i);
}

/* ------------------------------------------------------------------------------------------------ ldmatrix */

static void watch_row(void *const arguments[32], int32_t lane)
{
    engine *e = simt_engine;
    const simt_ldmatrix *l = arguments[lane];
    int32_t index = e->current / LANES * LANES + lane;
    access a = {l->row, e->thread[index].code, index, 16, 16, false, false};
    watch_access(e, &a);
}

static void load_matrices(void *const arguments[32], int32_t count, bool transposed)
{
    need_all(arguments, "ldmatrix");
    for (int32_t m = 0; m < count; m++) {
        uint16_t matrix[8][8];
        for (int32_t r = 0; r < 8; r++) {
            const void *row = ((const simt_ldmatrix *)arguments[8 * m + r])->row;
            if ((uintptr_t)row % 16)
                simt_fault(NULL, "ldmatrix: the row of lane %d is not aligned to 16 bytes", 8 * m + r);
            if (watch_enabled) watch_row(arguments, 8 * m + r);
            memcpy(matrix[r], row, sizeof matrix[r]);
        }
        for (int32_t i = 0; i < LANES; i++) {
            int32_t group = i / 4, member = i % 4;
            uint32_t low = transposed ? matrix[2 * member][group] : matrix[group][2 * member];
            uint32_t high = transposed ? matrix[2 * member + 1][group] : matrix[group][2 * member + 1];
            ((const simt_ldmatrix *)arguments[i])->fragments[m] = low | high << 16;
        }
    }
}

void simt_combine_ldmatrix_x2(void *const arguments[32]) { load_matrices(arguments, 2, false); }
void simt_combine_ldmatrix_x4(void *const arguments[32]) { load_matrices(arguments, 4, false); }
void simt_combine_ldmatrix_x2_trans(void *const arguments[32]) { load_matrices(arguments, 2, true); }
void simt_combine_ldmatrix_x4_trans(void *const arguments[32]) { load_matrices(arguments, 4, true); }

/* ---------------------------------------------------------------------------------------- products of 16-bit floats */

/* d[16][8] gathered from the lanes, four words each, and back. */
static inline void gather_d(uint32_t d[16][8], void *const arguments[32])
{
    for (int32_t i = 0; i < LANES; i++) {
        const char *mine = ((const simt_mma *)arguments[i])->d;
        memcpy(&d[i / 4][i % 4 * 2], mine, 8);
        memcpy(&d[i / 4 + 8][i % 4 * 2], mine + 8, 8);
    }
}

static inline void scatter_d(void *const arguments[32], uint32_t d[16][8])
{
    for (int32_t i = 0; i < LANES; i++) {
        char *mine = ((const simt_mma *)arguments[i])->d;
        memcpy(mine, &d[i / 4][i % 4 * 2], 8);
        memcpy(mine + 8, &d[i / 4 + 8][i % 4 * 2], 8);
    }
}

/* Eight columns at a time, for the vector unit. */
typedef float floats __attribute__((vector_size(32)));
typedef int32_t integers __attribute__((vector_size(32)));

typedef union product_d {
    uint32_t word[16][8];
    integers integer[16];
    floats real[16];
} product_d;

/* Registers of two, four or one elements are neighbours in a row of a and in a column of b: rows of 16 *
 * registers bytes. `b` by columns. */
static inline __attribute__((always_inline)) void gather_ab(
    void *const arguments[32], void *to_a, void *to_b, int32_t registers)
{
    char *a = to_a, *b = to_b;
    int32_t stride = 16 * registers, column;
    for (int32_t i = 0; i < LANES; i++) {
        const simt_mma *m = arguments[i];
        for (int32_t k = 0; k < registers; k++) {
            column = 16 * k + i % 4 * 4;
            memcpy(a + i / 4 * stride + column, &m->a[2 * k], 4);
            memcpy(a + (i / 4 + 8) * stride + column, &m->a[2 * k + 1], 4);
            memcpy(b + i / 4 * stride + column, &m->b[k], 4);
        }
    }
}

static inline void decode_f16(float *to, const uint16_t *from, int32_t count)
{
#ifdef __F16C__
    for (int32_t i = 0; i < count; i += 8)
        _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(from + i))));
#else
    for (int32_t i = 0; i < count; i++) to[i] = f16_to_f32(from[i]);
#endif
}

static inline void decode_bf16(float *to, const uint16_t *from, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        uint32_t word = (uint32_t)from[i] << 16;
        memcpy(to + i, &word, sizeof word);
    }
}

/* A product reads the upper 19 bits of a tf32 register. */
static inline void decode_tf32(float *to, const uint32_t *from, int32_t count)
{
    for (int32_t i = 0; i < count; i++) {
        uint32_t word = from[i] & 0xffffe000u;
        memcpy(to + i, &word, sizeof word);
    }
}

/* d += a * b, b by columns. Products of 11-bit significands are exact in f32; sums are taken in f32 in the order of k
 * (a GPU's order is its secret). */
static inline __attribute__((always_inline)) void multiply(
    void *const arguments[32], const float *a, const float *b, int32_t depth)
{
    enum { BLOCK = 4 };
    product_d d;
    floats rows[16];
    for (int32_t k = 0; k < depth; k++)
        for (int32_t c = 0; c < 8; c++) ((float *)rows)[8 * k + c] = b[c * depth + k];
    gather_d(d.word, arguments);
    for (int32_t r = 0; r < 16; r += BLOCK) {
        floats sum[BLOCK];
        memcpy(sum, d.real + r, sizeof sum);
        for (int32_t k = 0; k < depth; k++)
            for (int32_t i = 0; i < BLOCK; i++) sum[i] += a[(r + i) * depth + k] * rows[k];
        memcpy(d.real + r, sum, sizeof sum);
    }
    scatter_d(arguments, d.word);
}

/* registers 1: k 8; 2: k 16. */
static inline __attribute__((always_inline)) void multiply_halves(
    void *const arguments[32], int32_t registers, bool bf16)
{
    need_all(arguments, "mma");
    uint16_t a[256], b[128];
    float wide_a[256], wide_b[128];
    int32_t depth = 8 * registers;
    gather_ab(arguments, a, b, registers);
    if (bf16) decode_bf16(wide_a, a, 16 * depth), decode_bf16(wide_b, b, 8 * depth);
    else decode_f16(wide_a, a, 16 * depth), decode_f16(wide_b, b, 8 * depth);
    multiply(arguments, wide_a, wide_b, depth);
}

void simt_combine_mma_f16_k16(void *const arguments[32]) { multiply_halves(arguments, 2, false); }
void simt_combine_mma_bf16_k16(void *const arguments[32]) { multiply_halves(arguments, 2, true); }
void simt_combine_mma_f16_k8(void *const arguments[32]) { multiply_halves(arguments, 1, false); }

void simt_combine_mma_tf32_k8(void *const arguments[32])
{
    need_all(arguments, "mma");
    uint32_t a[128], b[64];
    float wide_a[128], wide_b[64];
    gather_ab(arguments, a, b, 2);
    decode_tf32(wide_a, a, 128);
    decode_tf32(wide_b, b, 64);
    multiply(arguments, wide_a, wide_b, 8);
}

/* ------------------------------------------------------------------------------------------------ products of bytes */

/* Without .satfinite sums wrap. */
static inline __attribute__((always_inline)) void multiply_bytes(void *const arguments[32], bool unsigned_a)
{
    need_all(arguments, "mma");
    enum { BLOCK = 4, DEPTH = 32 };
    uint8_t a[16][DEPTH], b[8][DEPTH];
    integers rows[DEPTH];
    product_d d;
    gather_ab(arguments, a, b, 2);
    for (int32_t k = 0; k < DEPTH; k++)
        for (int32_t c = 0; c < 8; c++) ((int32_t *)rows)[8 * k + c] = (int8_t)b[c][k];
    gather_d(d.word, arguments);
    for (int32_t r = 0; r < 16; r += BLOCK) {
        integers sum[BLOCK] = {{0}};
        for (int32_t k = 0; k < DEPTH; k++)
            for (int32_t i = 0; i < BLOCK; i++) sum[i] += (unsigned_a ? a[r + i][k] : (int8_t)a[r + i][k]) * rows[k];
        for (int32_t i = 0; i < BLOCK; i++)
            for (int32_t c = 0; c < 8; c++) d.word[r + i][c] += (uint32_t)sum[i][c];
    }
    scatter_d(arguments, d.word);
}

void simt_combine_mma_s8_k32(void *const arguments[32]) { multiply_bytes(arguments, false); }
void simt_combine_mma_u8s8_k32(void *const arguments[32]) { multiply_bytes(arguments, true); }

/* m8n8k16: one register each of a and b, two of d. */
void simt_combine_mma_s8_k16(void *const arguments[32])
{
    need_all(arguments, "mma");
    int8_t a[8][16], b[8][16];
    for (int32_t i = 0; i < LANES; i++) {
        const simt_mma *m = arguments[i];
        memcpy(&a[i / 4][i % 4 * 4], m->a, 4);
        memcpy(&b[i / 4][i % 4 * 4], m->b, 4);
    }
    for (int32_t i = 0; i < LANES; i++) {
        int32_t *d = ((const simt_mma *)arguments[i])->d;
        for (int32_t e = 0; e < 2; e++) {
            int32_t sum = 0;
            for (int32_t k = 0; k < 16; k++) sum += (int32_t)a[i / 4][k] * b[i % 4 * 2 + e][k];
            d[e] = (int32_t)((uint32_t)d[e] + (uint32_t)sum);
        }
    }
}
