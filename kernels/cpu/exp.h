/* exp.h: exponentials that vectorise. Private to kernels/cpu. */
#ifndef GRAFT_CPU_EXP_H
#define GRAFT_CPU_EXP_H

#include <stdint.h>
#include <string.h>

/* exp(x) to about 1 ulp. Cody and Waite's reduction, x = n ln 2 + r with |r| <= ln 2 / 2, and the Taylor-like minimax
 * polynomial of Cephes' expf. Outside [-87.3, 88.7] it saturates (to about 1e-38 and 3.4e38); NaN stays NaN. */
static inline float cpu_exp(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23: rounds to an integer */
    x = x > 88.7f ? 88.7f : x;
    x = x < -87.3f ? -87.3f : x;
    float n = (x * 1.44269504088896341f + magic) - magic;
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    int32_t exponent = (int32_t)n; /* 2^n in two factors: n reaches 128 */
    int32_t half = exponent >> 1, low = (half + 127) << 23, high = (exponent - half + 127) << 23;
    float a, b;
    memcpy(&a, &low, sizeof a);
    memcpy(&b, &high, sizeof b);
    return p * a * b;
}

static inline float cpu_sigmoid(float x)
{
    float s = 1.0f / (1.0f + cpu_exp(-x));
    return x < -88.7f ? 0.0f : s; /* where the exponential saturates, x * sigmoid(x) must still vanish */
}

#endif
