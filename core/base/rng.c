#include "core/base/rng.h"

#include <math.h>

/* Constants of Philox4x32: two multipliers and two Weyl increments (Salmon and others 2011, table 2). */
static const uint32_t MULTIPLIER_0 = 0xD2511F53u, MULTIPLIER_1 = 0xCD9E8D57u;
static const uint32_t WEYL_0 = 0x9E3779B9u, WEYL_1 = 0xBB67AE85u;

void philox4x32(uint32_t out[4], uint64_t key, uint64_t counter_low, uint64_t counter_high)
{
    uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
    uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t product_0 = (uint64_t)MULTIPLIER_0 * c0, product_1 = (uint64_t)MULTIPLIER_1 * c2;
        uint32_t n0 = (uint32_t)(product_1 >> 32) ^ c1 ^ k0;
        uint32_t n2 = (uint32_t)(product_0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)product_1;
        c3 = (uint32_t)product_0;
        c0 = n0;
        c2 = n2;
        k0 += WEYL_0;
        k1 += WEYL_1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t rng_key(uint64_t seed, rng_stream stream)
{
    return seed ^ (uint64_t)stream << 56; /* one to one for seeds below 2^56; Philox does not need a random key */
}

rng rng_make(uint64_t seed, rng_stream stream, uint64_t index)
{
    return (rng){.key = rng_key(seed, stream), .index = index};
}

uint32_t rng_u32(rng *r)
{
    if (r->left == 0) {
        philox4x32(r->word, r->key, r->block++, r->index);
        r->left = 4;
    }
    return r->word[4 - r->left--];
}

uint64_t rng_u64(rng *r)
{
    uint64_t low = rng_u32(r);
    return low | (uint64_t)rng_u32(r) << 32;
}

/* Lemire, "Fast random integer generation in an interval", 2019. */
uint32_t rng_below(rng *r, uint32_t bound)
{
    uint64_t product = (uint64_t)rng_u32(r) * bound;
    if ((uint32_t)product < bound) {
        uint32_t threshold = -bound % bound;
        while ((uint32_t)product < threshold) product = (uint64_t)rng_u32(r) * bound;
    }
    return (uint32_t)(product >> 32);
}

float rng_uniform(rng *r)
{
    return (float)(rng_u32(r) >> 8) * 0x1p-24f;
}

double rng_uniform_double(rng *r)
{
    return (double)(rng_u64(r) >> 11) * 0x1p-53;
}

float rng_uniform_in(rng *r, float low, float high)
{
    float value = low + (high - low) * rng_uniform(r);
    return value < high ? value : low; /* rounding can reach `high` */
}

float rng_normal(rng *r)
{
    const double two_pi = 6.283185307179586476925;
    double u = ((double)rng_u32(r) + 1.0) * 0x1p-32; /* (0, 1] */
    double v = (double)rng_u32(r) * 0x1p-32;
    return (float)(sqrt(-2.0 * log(u)) * cos(two_pi * v));
}

float rng_truncated_normal(rng *r, float sigma, float cut)
{
    if (!(sigma > 0.0f) || !(cut > 0.0f)) return 0.0f;
    if (cut >= sigma) {
        for (;;) {
            float value = sigma * rng_normal(r);
            if (fabsf(value) <= cut) return value;
        }
    }
    /* A narrow cut would redraw for ever: draw inside it and accept by the density instead. */
    for (;;) {
        float value = rng_uniform_in(r, -cut, cut);
        double z = (double)value / (double)sigma;
        if (rng_uniform_double(r) <= exp(-0.5 * z * z)) return value;
    }
}

static int64_t below_64(rng *r, int64_t bound)
{
    if (bound <= (int64_t)UINT32_MAX) return rng_below(r, (uint32_t)bound);
    uint64_t limit = UINT64_MAX - UINT64_MAX % (uint64_t)bound;
    uint64_t value;
    do value = rng_u64(r);
    while (value >= limit);
    return (int64_t)(value % (uint64_t)bound);
}

void rng_shuffle(rng *r, int64_t *items, int64_t count)
{
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = below_64(r, i + 1);
        int64_t item = items[i];
        items[i] = items[j];
        items[j] = item;
    }
}
