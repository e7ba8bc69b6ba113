/* check.h: every variant of kernels.def against the reference, on seeded descriptors and inputs.
 *
 * A family (tests/kernels/X.c defines X_family; every file there is one) says how to draw descriptors of its ops, which
 * tensors a descriptor needs and what its outputs' errors may be; the harness does the rest: guard bands round every
 * output and scratch, inputs that must stay as they are, create / pack / run, the same bits twice from different
 * garbage, accumulation into what was there, refusals, reproducers, mutants, times.
 *
 * Expected values. Float outputs are compared with the reference run in f64 on exactly the same (rounded) inputs,
 * so the reference's own f32, f16 and bf16 forms are checked like any other variant. Integer outputs and mere
 * movement are compared for equality.
 *
 * Tolerance of an output element y that sums n terms (tol_for):
 *
 *     |y' - y| <= LAMBDA * u * sqrt(n) * M  +  eps * |y|  +  floor
 *
 * First term: rounding errors of a length-n sum in f32, unit roundoff u = 2^-24, are at most LAMBDA sqrt(n) u M with
 * probability above 1 - 2 exp(-LAMBDA^2 / 2) (Higham and Mary, "A new approach to probabilistic rounding error
 * analysis", SIAM J. Sci. Comput. 41, 2019, theorem 2.4), where M = sum |terms|: the same call in f64 with absolute
 * values of all inputs and no activation (none has a slope above 1.1), or |y| where that is more: not every
 * activation is 0 at 0. LAMBDA = 8 makes a false alarm a 1e-13 event per element. Families whose outputs are no such
 * sums give M in closed form. Second term: storing y in its type. Third: results below the normal range may be
 * flushed, n * 2^-126 (f16: its smallest step).
 */
#ifndef GRAFT_TESTS_CHECK_H
#define GRAFT_TESTS_CHECK_H

#include "core/base/arena.h"
#include "core/base/rng.h"
#include "core/device/device.h"
#include "kernels/desc.h"

typedef kernel_desc check_desc;

typedef enum check_pattern {
    PATTERN_RANDOM,
    PATTERN_ZEROS,
    PATTERN_EQUAL,
    PATTERN_LARGE,    /* integers: the ends of the range; floats: products of two still fit */
    PATTERN_DENORMAL,
    PATTERN_INFINITE, /* some infinities; only where the family allows */
    PATTERN_COUNT
} check_pattern;

/* One tensor of a call, as the family describes it. */
typedef struct check_tensor {
    dtype type;
    int64_t count;    /* elements; 0: absent */
    double low, high; /* inputs: low < high draws from there, whatever the pattern */
    bool kept;        /* outputs: what was there matters (accumulated, updated) */
    bool exact;       /* outputs: compared for equality (integers always are) */
    int64_t terms;    /* outputs: n of the tolerance; 0 counts as 1 */
} check_tensor;

typedef struct check_tensors {
    check_tensor in[KERNEL_MAX_IN], out[KERNEL_MAX_OUT];
} check_tensors;

/* One call's memory. */
typedef struct check_data {
    void *in[KERNEL_MAX_IN], *out[KERNEL_MAX_OUT];
} check_data;

typedef struct check_case {
    const struct check_family *family;
    kernel_op op;
    check_desc desc;
    check_pattern pattern;
    check_tensors tensors;
    check_data start;                  /* inputs; outputs before the call */
    check_tensors expected_tensors;    /* types of: */
    check_data expected;               /* what the reference gave */
    check_data magnitude;              /* M of float outputs, as doubles */
    arena memory;
} check_case;

typedef struct check_family {
    const char *name;
    kernel_op op[8];
    int32_t op_count;
    /* A valid descriptor; desc comes zeroed. */
    void (*generate)(rng *r, kernel_op op, check_desc *desc);
    /* Comes zeroed. */
    void (*tensors)(kernel_op op, const check_desc *desc, check_tensors *t);
    /* Optional: inputs that are no plain numbers (indices, structs): sets them in `start`. */
    void (*prepare)(check_case *c, rng *r);
    /* Optional: whether the expected values come from the reference with the descriptor's own types
     * (integers; ops without an f64 form). */
    bool (*typed)(kernel_op op, const check_desc *desc);
    /* Optional: patterns that are not defined for this descriptor. */
    bool (*allows)(kernel_op op, const check_desc *desc, check_pattern pattern);
    /* Optional: M of element i of output `out`, from c->start and c->expected; negative: the run on
     * absolute values, as by default. */
    double (*magnitude)(const check_case *c, int32_t out, int64_t i);
    /* Optional: for outputs that are structs (type u8): false if they differ, with the reason in `why` (256 bytes). */
    bool (*compare)(const check_case *c, int32_t out, const void *actual, char *why);
    /* Optional: input i that may be the same pointer as output o, as i + 16 * o; or -1. */
    int32_t (*alias)(kernel_op op, const check_desc *desc);
    kernel mutant[2]; /* with a planted bug, .op = [0]'s op; unused: no name */
} check_family;

/* Builds inputs and expected values of desc; c is zeroed by the caller. false: the reference
 * refuses, reason in status_message. */
bool check_case_init(check_case *c, const check_family *family, kernel_op op, const check_desc *desc, uint64_t seed);
void check_case_free(check_case *c);

/* Runs one variant and compares; CUDA variants on dev. false: why (256 bytes) says what is wrong. */
bool check_variant(const check_case *c, const kernel *k, device *dev, char *why);

/* Compares output `out` with what is expected. */
bool check_output(const check_case *c, int32_t out, const void *actual, char *why);
size_t check_tensor_bytes(const check_tensor *t);

/* Inputs alone, for timing: no expected values. */
bool check_case_inputs(check_case *c, const check_family *family, kernel_op op, const check_desc *desc, uint64_t seed);

double tol_for(dtype type, int64_t terms, double magnitude, double value);

const kernel *check_reference(kernel_op op);

/* Sizes that break loops: 1, primes, powers of two and their neighbours, at most `max`. */
int64_t check_size(rng *r, int64_t max);
dtype check_float_type(rng *r); /* f32 half of the time, f16, bf16 */
activation check_activation(rng *r, bool recoverable);
bool check_chance(rng *r, uint32_t one_in);
dtype check_param(dtype type); /* f64 for f64, else f32 */

/* Times every accepting variant over the descriptors of shapes files, or over `count` generated ones
 * (bench.c). Returns an exit code. */
typedef struct bench_options {
    const char *shapes, *only; /* only: names that begin so */
    uint64_t seed;
    int32_t count;
    device *dev;               /* for CUDA variants; NULL: they are left out */
} bench_options;
int check_bench(const check_family *const *families, const bench_options *o);

#endif
