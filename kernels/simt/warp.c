/* warp.c: what a warp does together, once its lanes have arrived. Fragment layouts: PTX ISA, "Matrix fragments for mma.mNNnNNkNN" and "ldmatrix"; there
 * group = lane / 4 and member = lane % 4. */
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
        if (!arguments[x->source]) simt_fault(NULL, "a shuffle reads lane %d, which this block does not have", x->source);
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
            if ((uintptr_t)row % 16) simt_fault(NULL, "ldmatrix: the row of lane %d is not aligned to 16 bytes", 8 * m + r);
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

void simt_combine_ldmatrix_x1(void *const arguments[32]) { load_matrices(arguments, 1, false); }
void simt_combine_ldmatrix_x2(void *const arguments[32]) { load_matrices(arguments, 2, false); }
void simt_combine_ldmatrix_x4(void *const arguments[32]) { load_matrices(arguments, 4, false); }
void simt_combine_ldmatrix_x1_trans(void *const arguments[32]) { load_matrices(arguments, 1, true); }
void simt_combine_ldmatrix_x2_trans(void *const arguments[32]) { load_matrices(arguments, 2, true); }
void simt_combine_ldmatrix_x4_trans(void *const arguments[32]) { load_matrices(arguments, 4, true); }

/* ------------------------------------------------------------------------------------------------ products of floats */

typedef float decode_half(uint16_t bits);

static inline float from_f16(uint16_t bits)
{
#ifdef __F16C__
    return _cvtsh_ss(bits);
#else
    return f16_to_f32(bits);
#endif
}

static inline float from_bf16(uint16_t bits)
{
    uint32_t word = (uint32_t)bits << 16;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* A product reads the upper 19 bits of a tf32 register. */
static inline float from_tf32(uint32_t bits)
{
    uint32_t word = bits & 0xffffe000u;
    float value;
    memcpy(&value, &word, sizeof value);
    return value;
}

/* d += a * b. Products of 11-bit significands are exact in f32; sums are taken in f32 in the order of k (a GPU's order is its secret). */
static inline void multiply(void *const arguments[32], float (*a)[16], float (*b)[8], int32_t depth)
{
    float d[16][8];
    for (int32_t i = 0; i < LANES; i++) {
        const float *mine = ((const simt_mma *)arguments[i])->d;
        memcpy(&d[i / 4][i % 4 * 2], mine, 8);
        memcpy(&d[i / 4 + 8][i % 4 * 2], mine + 2, 8);
    }
    for (int32_t r = 0; r < 16; r++)
        for (int32_t k = 0; k < depth; k++)
            for (int32_t c = 0; c < 8; c++) d[r][c] += a[r][k] * b[k][c];
    for (int32_t i = 0; i < LANES; i++) {
        float *mine = ((const simt_mma *)arguments[i])->d;
        memcpy(mine, &d[i / 4][i % 4 * 2], 8);
        memcpy(mine + 2, &d[i / 4 + 8][i % 4 * 2], 8);
    }
}

/* k 8 or 16: registers of two 16-bit elements. */
static inline __attribute__((always_inline)) void multiply_halves(void *const arguments[32], int32_t depth, decode_half *decode)
{
    need_all(arguments, "mma");
    float a[16][16], b[16][8];
    for (int32_t i = 0; i < LANES; i++) {
        const simt_mma *m = arguments[i];
        int32_t group = i / 4, member = i % 4;
        for (int32_t k = 0; k < depth / 8; k++) {
            int32_t column = 8 * k + 2 * member;
            for (int32_t half = 0; half < 2; half++) {
                a[group][column + half] = decode((uint16_t)(m->a[2 * k] >> 16 * half));
                a[group + 8][column + half] = decode((uint16_t)(m->a[2 * k + 1] >> 16 * half));
                b[column + half][group] = decode((uint16_t)(m->b[k] >> 16 * half));
            }
        }
    }
    multiply(arguments, a, b, depth);
}

void simt_combine_mma_f16_k16(void *const arguments[32]) { multiply_halves(arguments, 16, from_f16); }
void simt_combine_mma_bf16_k16(void *const arguments[32]) { multiply_halves(arguments, 16, from_bf16); }
void simt_combine_mma_f16_k8(void *const arguments[32]) { multiply_halves(arguments, 8, from_f16); }

void simt_combine_mma_tf32_k8(void *const arguments[32])
{
    need_all(arguments, "mma");
    float a[16][16], b[16][8];
    for (int32_t i = 0; i < LANES; i++) {
        const simt_mma *m = arguments[i];
        int32_t group = i / 4, member = i % 4;
        for (int32_t k = 0; k < 2; k++) {
            a[group][4 * k + member] = from_tf32(m->a[2 * k]);
            a[group + 8][4 * k + member] = from_tf32(m->a[2 * k + 1]);
            b[4 * k + member][group] = from_tf32(m->b[k]);
        }
    }
    multiply(arguments, a, b, 8);
}

/* ------------------------------------------------------------------------------------------------ products of bytes */

static inline __attribute__((always_inline)) void multiply_bytes(void *const arguments[32], bool unsigned_a)
{
    need_all(arguments, "mma");
    int16_t a[16][32];
    int16_t b[8][32]; /* columns of b */
    for (int32_t i = 0; i < LANES; i++) {
        const simt_mma *m = arguments[i];
        int32_t group = i / 4, member = i % 4;
        for (int32_t k = 0; k < 2; k++) {
            for (int32_t byte = 0; byte < 4; byte++) {
                uint32_t upper = m->a[2 * k] >> 8 * byte, lower = m->a[2 * k + 1] >> 8 * byte;
                int32_t column = 16 * k + 4 * member + byte;
                a[group][column] = unsigned_a ? (int16_t)(uint8_t)upper : (int16_t)(int8_t)upper;
                a[group + 8][column] = unsigned_a ? (int16_t)(uint8_t)lower : (int16_t)(int8_t)lower;
                b[group][column] = (int16_t)(int8_t)(m->b[k] >> 8 * byte);
            }
        }
    }
    for (int32_t i = 0; i < LANES; i++) {
        int32_t *d = ((const simt_mma *)arguments[i])->d;
        for (int32_t e = 0; e < 4; e++) {
            int32_t row = i / 4 + e / 2 * 8, column = i % 4 * 2 + e % 2, sum = 0;
            for (int32_t k = 0; k < 32; k++) sum += (int32_t)a[row][k] * b[column][k];
            d[e] = (int32_t)((uint32_t)d[e] + (uint32_t)sum); /* without .satfinite sums wrap */
        }
    }
}

void simt_combine_mma_s8_k32(void *const arguments[32]) { multiply_bytes(arguments, false); }
void simt_combine_mma_u8s8_k32(void *const arguments[32]) { multiply_bytes(arguments, true); }

/* m8n8k16: one register each of a and b. */
void simt_combine_mma_s8_k16(void *const arguments[32])
{
    need_all(arguments, "mma");
    int16_t a[8][16], b[8][16];
    for (int32_t i = 0; i < LANES; i++) {
        const simt_mma *m = arguments[i];
        for (int32_t byte = 0; byte < 4; byte++) {
            a[i / 4][i % 4 * 4 + byte] = (int8_t)(m->a[0] >> 8 * byte);
            b[i / 4][i % 4 * 4 + byte] = (int8_t)(m->b[0] >> 8 * byte);
        }
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
