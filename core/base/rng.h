/* rng.h: counter-based random numbers. Philox4x32-10 (Salmon and others, "Parallel random numbers: as easy as 1, 2, 3",
 * SC 2011). The n-th number of a stream depends on (seed, stream, n) only: never on threads, ranks or history, so a
 * resumed run draws what an uninterrupted one draws.
 *
 *     rng r = rng_make(seed, RNG_AUGMENT, epoch * sample_count + sample);
 *     float angle = rng_uniform_in(&r, -10.0f, 10.0f);
 */
#ifndef GRAFT_BASE_RNG_H
#define GRAFT_BASE_RNG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What a stream is used for; the first coordinate of every draw. */
typedef enum rng_stream {
    RNG_INIT = 1,    /* parameter initialisation; index = hash of the parameter's name */
    RNG_SHUFFLE = 2, /* sample order; index = epoch                                   */
    RNG_AUGMENT = 3, /* augmentation; index = epoch * samples + sample                */
    RNG_DROPOUT = 4, /* dropout masks; drawn on the device                            */
    RNG_SPLIT = 5,   /* train/val split; index = 0                                    */
    RNG_MIX = 6,     /* mixup and cutmix; index = step                                */
    RNG_TEST = 7,    /* tests and benches                                             */
    RNG_PRUNE = 8    /* directions and pixels that pruning looks at; index = batch, layer */
} rng_stream;

typedef struct rng {
    uint64_t key;
    uint64_t index; /* high half of the 128-bit counter */
    uint64_t block; /* low half: next block to draw     */
    uint32_t word[4];
    int32_t left;   /* words of `word` not handed out   */
} rng;

/* One Philox4x32-10 block: key (2x32 bits), counter = {low, high} (4x32 bits), four 32-bit results. */
void philox4x32(uint32_t out[4], uint64_t key, uint64_t counter_low, uint64_t counter_high);

/* Generator number `index` of (seed, stream). Distinct triples never overlap within 2^64 blocks. */
rng rng_make(uint64_t seed, rng_stream stream, uint64_t index);

uint32_t rng_u32(rng *r);
uint64_t rng_u64(rng *r);
uint32_t rng_below(rng *r, uint32_t bound);                 /* [0, bound), unbiased; bound >= 1 */
float rng_uniform(rng *r);                                  /* [0, 1), 24 bits                  */
double rng_uniform_double(rng *r);                          /* [0, 1), 53 bits                  */
float rng_uniform_in(rng *r, float low, float high);        /* [low, high)                      */
float rng_normal(rng *r);                                   /* N(0, 1), Box-Muller              */
float rng_truncated_normal(rng *r, float sigma, float cut); /* N(0, sigma) within |x| <= cut; 0 if either is 0 */
void rng_shuffle(rng *r, int64_t *items, int64_t count);    /* Fisher-Yates                     */

/* Key of a (seed, stream) pair as rng_make and device kernels use it: one to one for seeds below 2^56. */
uint64_t rng_key(uint64_t seed, rng_stream stream);

#ifdef __cplusplus
}
#endif
#endif
