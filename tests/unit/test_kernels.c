/* The list of kernels, the choice among them, descriptors as text. */
#include "kernels/desc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/unit/unit_test.h"

static void every_op_has_a_reference_last(void **state)
{
    (void)state;
    for (int op = 0; op < KERNEL_OP_COUNT; op++) {
        const kernel *const *v = kernel_variants((kernel_op)op);
        const kernel *last = NULL;
        for (; *v; v++) {
            char prefix[64];
            snprintf(prefix, sizeof prefix, "%s__%s_", kernel_op_name((kernel_op)op), backend_name((*v)->backend));
            assert_int_equal((*v)->op, op); /* groups hold one op */
            assert_memory_equal((*v)->name, prefix, strlen(prefix));
            assert_non_null((*v)->run);
            assert_ptr_equal(kernel_find((*v)->name), *v); /* once */
            last = *v;
        }
        assert_non_null(last);
        assert_int_equal(last->backend, BACKEND_REF);
        assert_true(kernel_desc_bytes((kernel_op)op) > 0);
    }
    assert_null(kernel_find("conv2d_forward__ref_magic"));
    assert_null(kernel_find(NULL));
}

static void selection_takes_prefers_and_explains(void **state)
{
    (void)state;
    binary_desc d;
    const kernel *k = NULL;
    char log[2048] = "";
    FILE *stream = fmemopen(log, sizeof log - 1, "w");
    assert_int_equal(kernel_desc_parse(OP_ADD, "n2pixels3channels4", &d), OK);
    assert_int_equal(kernel_select(&k, OP_ADD, BACKEND_REF, &d, NULL, stream), OK);
    fclose(stream);
    assert_string_equal(k->name, "add__ref_direct");
    assert_non_null(strstr(log, "add n2pixels3channels4 -> add__ref_direct"));
    assert_int_equal(kernel_select(&k, OP_ADD, BACKEND_CPU, &d, "add__ref_direct", NULL), OK);
    assert_string_equal(k->name, "add__ref_direct");
    assert_int_equal(
        kernel_select(&k, OP_ADD, BACKEND_CPU, &d, "gone_since__cpu_x", NULL), OK); /* a choice that is no more */
    assert_int_equal(k->op, OP_ADD);
    d.channels = 0;
    assert_int_equal(kernel_select(&k, OP_ADD, BACKEND_REF, &d, NULL, NULL), E_INTERNAL);
    assert_null(k);
    assert_non_null(strstr(status_message(), "no ref kernel for add n2pixels3: a dimension below 1"));
    d.channels = 4;
    /* Never host code for device memory. */
    if (kernel_select(&k, OP_ADD, BACKEND_CUDA, &d, "add__ref_direct", NULL) == OK)
        assert_int_equal(k->backend, BACKEND_CUDA);
    else assert_non_null(strstr(status_message(), "no cuda kernel for add n2pixels3channels4"));
}

/* The variants of one source differ in their last word only. */
static bool forbidden(const char *isa, const act_desc *d)
{
    char name[64];
    snprintf(name, sizeof name, "act_forward__cpu_%s", isa);
    const char *why = kernel_find(name)->refuse(d);
    return why && strcmp(why, "GRAFT_CPU_ISA forbids it") == 0;
}

static void the_environment_limits_the_instructions(void **state)
{
    (void)state;
    act_desc d = {.count = 100, .type = DTYPE_F32, .act = ACT_RELU};
    const char *before = getenv("GRAFT_CPU_ISA");
    char *kept = before ? strdup(before) : NULL;
    unsetenv("GRAFT_CPU_ISA");
    assert_false(forbidden("avx512", &d));
    setenv("GRAFT_CPU_ISA", "avx2", 1);
    assert_true(forbidden("avx512", &d));
    assert_false(forbidden("avx2", &d));
    setenv("GRAFT_CPU_ISA", "base", 1);
    assert_true(forbidden("avx512", &d));
    assert_true(forbidden("avx2", &d));
    assert_false(forbidden("base", &d));
    if (kept) setenv("GRAFT_CPU_ISA", kept, 1);
    else unsetenv("GRAFT_CPU_ISA");
    free(kept);
}

/* A value of every kind in every field, two of them, so that a field written at another's place would show. */
static void set_value(rng *r, char *at, field_kind kind)
{
    int64_t wide = (int64_t)rng_u64(r);
    int32_t narrow = (int32_t)rng_u32(r),
            word = (int32_t)rng_below(r, kind == FIELD_POOL                              ? 2
                                         : kind == FIELD_UPDATE || kind == FIELD_COMPUTE ? 4
                                                                                         : 7);
    float f32 = rng_normal(r) * 1e-3f;
    double f64 = rng_uniform_double(r) * 1e9;
    bool flag = rng_below(r, 2) == 1;
    const void *from = &word;
    if (kind == FIELD_I32) from = &narrow;
    if (kind == FIELD_I64 || kind == FIELD_U64) from = &wide;
    if (kind == FIELD_F32) from = &f32;
    if (kind == FIELD_F64) from = &f64;
    if (kind == FIELD_BOOL) from = &flag;
    memcpy(at, from, desc_field_bytes(kind));
}

static void text_of_descriptors_round_trips(void **state)
{
    (void)state;
    union { conv2d_desc conv; pad_desc pad; char bytes[1024]; } desc, back;
    char text[2048];
    for (int op = 0; op < KERNEL_OP_COUNT; op++) {
        size_t covered = 0;
        for (const desc_field *f = kernel_desc_fields((kernel_op)op); f->name; f++)
            covered += (size_t)f->count * desc_field_bytes(f->kind);
        assert_true(covered + 16 >= kernel_desc_bytes((kernel_op)op)); /* no field forgotten: the rest is padding */
        for (uint64_t seed = 0; seed < 50; seed++) {
            rng r = rng_make(seed, RNG_TEST, (uint64_t)op);
            memset(&desc, 0, sizeof desc);
            for (const desc_field *f = kernel_desc_fields((kernel_op)op); f->name; f++)
                for (int32_t i = 0; i < f->count && rng_below(&r, 4); i++)
                    set_value(&r, desc.bytes + f->offset + (size_t)i * desc_field_bytes(f->kind), f->kind);
            assert_int_equal(kernel_desc_format((kernel_op)op, &desc, text, sizeof text), OK);
            assert_int_equal(kernel_desc_parse((kernel_op)op, text, &back), OK);
            assert_memory_equal(&desc, &back, kernel_desc_bytes((kernel_op)op));
        }
    }
}

static void text_of_a_convolution_reads_well(void **state)
{
    (void)state;
    conv2d_desc d;
    char text[256];
    const char *given =
        "n2ih7iw9ic6oh7ow9oc4kh3kw3pt1pl1pb1pr1groups2,src=bf16,weight=bf16,dst=bf16,bias1,act=leaky,alpha=0.100000001";
    assert_int_equal(kernel_desc_parse(OP_CONV2D_FORWARD, given, &d), OK);
    assert_int_equal(d.groups, 2);
    assert_int_equal(d.sh, 1);
    assert_true(d.epilogue.has_bias);
    assert_int_equal(d.dst_type, DTYPE_BF16);
    assert_true(d.epilogue.alpha == 0.1f);
    assert_int_equal(kernel_desc_format(OP_CONV2D_FORWARD, &d, text, sizeof text), OK);
    assert_string_equal(text, given);
    assert_int_equal(kernel_desc_format(OP_CONV2D_FORWARD, &d, text, 20), E_INTERNAL);
    assert_true(kernel_flops(OP_CONV2D_FORWARD, &d) == 2.0 * 2 * 7 * 9 * 4 * 9 * 3);
    assert_true(kernel_bytes(OP_CONV2D_FORWARD, &d) == 2.0 * (2 * 63 * 6 + 4 * 9 * 3 + 2 * 63 * 4) + 4 * 4);
}

/* Counted by hand from the formulas of descriptors.def, with sizes that are primes so that no factor hides. */
static void costs_are_those_of_the_formulas(void **state)
{
    (void)state;
    static const struct { kernel_op op; const char *desc; double flops, bytes; } calls[] = {
        {OP_RESIZE_FORWARD, "n2ih3iw5oh7ow11c13bilinear1", 8 * 2 * 7 * 11 * 13, 4 * (2 * 15 * 13 + 2 * 77 * 13)},
        {OP_RESIZE_BACKWARD, "n2ih3iw5oh7ow11c13,type=f16", 0, 2 * (2 * 15 * 13 + 2 * 77 * 13)},
        {OP_ADD, "n2pixels3channels5", 3 * 30, 4 * 3 * 30},
        {OP_MUL, "n2pixels3channels5b_broadcast1", 30, 4 * (30 + 30 + 10)},
        {OP_MUL_REDUCE, "n2pixels3channels5", 2 * 30, 4 * (30 + 30 + 10)},
        {OP_BN_GRAD_APPLY, "rows7channels3,act=relu,has_add1", 4 * 21, 4 * 21 * 5 + 12 * 3},
        {OP_POOL_BACKWARD, "n1ih4iw4c3oh2ow2kh2kw2sh2sw2", 12 * 4, 4 * (48 + 12) + 4 * 12},
        {OP_PAD, "rank2,src_dim=3:5,dst_dim=2:4", 0, 4 * (8 + 8)},
        {OP_CONCAT, "rows3inputs2,channels=5:7", 0, 4 * 2 * 36},
        {OP_OPTIMISER, "count11segments1,rule=adam", 8 * 11, 4 * 11 * (4 + 4)},
        {OP_FILL, "count11,type=f64", 0, 88},
    };
    kernel_desc d;
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        assert_int_equal(kernel_desc_parse(calls[i].op, calls[i].desc, &d), OK);
        if (kernel_flops(calls[i].op, &d) != calls[i].flops || kernel_bytes(calls[i].op, &d) != calls[i].bytes)
            fail_msg("%s %s: %g flops, %g bytes", kernel_op_name(calls[i].op), calls[i].desc,
                kernel_flops(calls[i].op, &d), kernel_bytes(calls[i].op, &d));
    }
}

static void bad_text_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"n2q3", "n", "nx", "n2n3", "n99999999999999999999", "kh4294967296", "bias2",
        "src=f31", "alpha=x", "n1:2", "=", "n2 ih3", "N2", "act=", "\xff"};
    conv2d_desc d;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(kernel_desc_parse(OP_CONV2D_FORWARD, bad[i], &d), E_USAGE);
    assert_int_equal(kernel_desc_parse(OP_CONV2D_FORWARD, "n2q3", &d), E_USAGE);
    assert_non_null(strstr(status_message(), "no field \"q\""));
    pad_desc p;
    assert_int_equal(kernel_desc_parse(OP_PAD, "rank2,src_dim=1:2:3:4:5:6:7", &p), E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_op_has_a_reference_last), cmocka_unit_test(the_environment_limits_the_instructions),
        cmocka_unit_test(selection_takes_prefers_and_explains),
        cmocka_unit_test(text_of_descriptors_round_trips), cmocka_unit_test(text_of_a_convolution_reads_well),
        cmocka_unit_test(costs_are_those_of_the_formulas), cmocka_unit_test(bad_text_is_refused),
    };
    return cmocka_run_group_tests_name("kernels", tests, NULL, NULL);
}
