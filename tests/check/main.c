/* kernelcheck: checks and times the variants of kernels.def. See check.h.
 *
 *   kernelcheck                              400 descriptors per op, TAP
 *   kernelcheck --count=40                   fewer
 *   kernelcheck --accepted=400               as many descriptors as it takes until each variant has taken 400
 *   kernelcheck --seed=71 --only=add__cpu_avx2 --desc="n2pixels3channels4"      one case again, as a failure prints it
 *   kernelcheck --only=conv2d                whose name starts so
 *   kernelcheck --backend=cuda               ref, cpu or cuda: only its variants
 *   kernelcheck --mutants                    planted bugs must be caught
 *   kernelcheck --refusals                   prints every reason that mutated descriptors met
 *   kernelcheck --trace                      names each run before it starts: for those that crash
 *   kernelcheck --bench [--shapes=FILE]      times (bench.c)
 */
#include "tests/check/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* FAMILY(x) for every tests/kernels/x.c: check.mk writes it. */
#define FAMILY(x) extern const check_family x##_family;
#include "families.def"
#undef FAMILY
static const check_family *const families[] = {
#define FAMILY(x) &x##_family,
#include "families.def"
#undef FAMILY
    NULL,
};

typedef struct options {
    const char *only, *desc, *shapes, *backend;
    uint64_t seed;
    int32_t count, accepted; /* accepted: of each variant, 0: whatever it takes of `count` */
    bool mutants, refusals, bench, trace;
    device *dev;        /* NULL: CUDA variants are skipped, because */
    char no_device[256];
} options;

static bool wanted_name(const options *o, const char *name)
{
    return !o->only || strncmp(name, o->only, strlen(o->only)) == 0;
}

static bool wanted(const options *o, const kernel *k)
{
    return wanted_name(o, k->name) && (!o->backend || strcmp(o->backend, backend_name(k->backend)) == 0);
}

static bool op_wanted(const options *o, kernel_op op)
{
    for (const kernel *const *v = kernel_variants(op); *v; v++)
        if (wanted(o, *v)) return true;
    return false;
}

static void draw(const check_family *f, kernel_op op, uint64_t seed, check_desc *desc)
{
    rng r = rng_make(seed, RNG_TEST, (uint64_t)op);
    memset(desc, 0, sizeof *desc);
    f->generate(&r, op, desc);
}

enum { MAX_VARIANTS = 24, MAX_SHOWN = 5, DRAWS_PER_ACCEPTED = 200 };

/* What happened to one variant. */
typedef struct tally {
    int32_t accepted, failed;
    const char *refused;
} tally;

static void report_failure(kernel_op op, const check_desc *desc, uint64_t seed, const char *name, const char *why)
{
    char text[1024] = "";
    kernel_desc_format(op, desc, text, sizeof text);
    printf("# %s: %s\n#   kernelcheck --seed=%llu --only=%s --desc=\"%s\"\n", name, why, (unsigned long long)seed, name,
        text);
}

static bool is_short(const options *o, const kernel *k, const tally *t)
{
    return wanted(o, k) && (o->accepted == 0 || t->accepted < o->accepted);
}

/* Whether variant i runs this descriptor; notes why not. */
static bool accepts(const options *o, const kernel *k, const check_desc *desc, tally *t)
{
    if (!is_short(o, k, t)) return false;
    const char *refused = k->refuse ? k->refuse(desc) : NULL;
    if (!refused && k->backend == BACKEND_CUDA && !o->dev) refused = o->no_device;
    if (refused) t->refused = refused;
    return !refused;
}

static void run_case(
    const options *o, const check_family *f, kernel_op op, const check_desc *desc, uint64_t seed, tally tallies[])
{
    check_case c = {0};
    char why[256] = "";
    const kernel *const *v = kernel_variants(op);
    bool chosen[MAX_VARIANTS] = {false}, any = false;
    for (int32_t i = 0; v[i] && i < MAX_VARIANTS; i++) any |= chosen[i] = accepts(o, v[i], desc, &tallies[i]);
    if (!any) return;
    if (!check_case_init(&c, f, op, desc, seed)) {
        snprintf(why, sizeof why, "%.200s", status_message());
        report_failure(op, desc, seed, check_reference(op)->name, why);
        tallies[0].failed++;
        check_case_free(&c);
        return;
    }
    for (int32_t i = 0; v[i] && i < MAX_VARIANTS; i++) {
        if (!chosen[i]) continue;
        tallies[i].accepted++;
        if (o->trace) report_failure(op, desc, seed, v[i]->name, "about to run"), fflush(stdout);
        if (check_variant(&c, v[i], o->dev, why)) continue;
        if (tallies[i].failed++ < MAX_SHOWN) report_failure(op, desc, seed, v[i]->name, why);
    }
    check_case_free(&c);
}

/* Whether another descriptor is to be drawn after `drawn`. */
static bool goes_on(const options *o, kernel_op op, const tally tallies[], int32_t drawn)
{
    const kernel *const *v = kernel_variants(op);
    if (o->desc) return drawn == 0;
    if (o->accepted == 0) return drawn < o->count;
    for (int32_t i = 0; v[i] && i < MAX_VARIANTS; i++)
        if (is_short(o, v[i], &tallies[i])) return drawn < (int64_t)o->accepted * DRAWS_PER_ACCEPTED;
    return false;
}

static bool built_with(backend b)
{
    for (int32_t op = 0; op < KERNEL_OP_COUNT; op++)
        for (const kernel *const *v = kernel_variants((kernel_op)op); *v; v++)
            if ((*v)->backend == b) return true;
    return false;
}

static bool accepted_on(backend b, kernel_op op, const check_desc *desc)
{
    for (const kernel *const *v = kernel_variants(op); *v; v++)
        if ((*v)->backend == b && !((*v)->refuse && (*v)->refuse(desc))) return true;
    return false;
}

/* On a GPU there is no reference to fall back to: some variant takes whatever a family draws. */
static void report_coverage(kernel_op op, int32_t uncovered, const char *example, int32_t *test, int32_t *failures)
{
    if (!uncovered) printf("ok %d - %s on a GPU: a variant for every descriptor\n", ++*test, kernel_op_name(op));
    else
        printf("not ok %d - %s on a GPU: no variant for %d descriptors, such as %s\n", ++*test, kernel_op_name(op),
            uncovered, example);
    *failures += uncovered;
}

static void check_op(const options *o, const check_family *f, kernel_op op, int32_t *test, int32_t *failures)
{
    tally tallies[MAX_VARIANTS] = {{0}};
    int32_t count = 0, uncovered = 0;
    char example[1024] = "";
    for (int32_t i = 0; goes_on(o, op, tallies, i); i++, count++) {
        check_desc desc;
        if (!o->desc) draw(f, op, o->seed + (uint64_t)i, &desc);
        else if (kernel_desc_parse(op, o->desc, &desc) != OK) {
            fprintf(stderr, "%s\n", status_message());
            exit(2);
        }
        run_case(o, f, op, &desc, o->seed + (uint64_t)i, tallies);
        if (accepted_on(BACKEND_CUDA, op, &desc)) continue;
        uncovered++;
        kernel_desc_format(op, &desc, example, sizeof example);
    }
    const kernel *const *v = kernel_variants(op);
    for (int32_t i = 0; v[i]; i++) {
        if (i == MAX_VARIANTS) BUG("%s has more than %d variants", kernel_op_name(op), MAX_VARIANTS);
        if (!wanted(o, v[i])) continue;
        tally *t = &tallies[i];
        if (t->failed) printf("not ok %d - %s: %d of %d descriptors\n", ++*test, v[i]->name, t->failed, t->accepted);
        else if (t->accepted < o->accepted)
            printf("not ok %d - %s: only %d of %d descriptors accepted\n", ++*test, v[i]->name, t->accepted, count);
        else if (!t->accepted) printf("ok %d - %s # SKIP refused everything: %s\n", ++*test, v[i]->name, t->refused);
        else printf("ok %d - %s: %d of %d descriptors accepted\n", ++*test, v[i]->name, t->accepted, count);
        *failures += t->failed ? t->failed : t->accepted < o->accepted;
    }
    if (built_with(BACKEND_CUDA) && wanted_name(o, kernel_op_name(op)))
        report_coverage(op, uncovered, example, test, failures);
    fflush(stdout);
}

static bool has_family(kernel_op op)
{
    for (const check_family *const *f = families; *f; f++)
        for (int32_t k = 0; k < (*f)->op_count; k++)
            if ((*f)->op[k] == op) return true;
    return false;
}

/* An op that no file of tests/kernels names would run unchecked. */
static void report_families(int32_t *test, int32_t *failures)
{
    int32_t without = 0;
    for (int32_t op = 0; op < KERNEL_OP_COUNT; op++) {
        if (has_family((kernel_op)op)) continue;
        printf(
            "# %s has no family: which file of tests/kernels draws its descriptors?\n", kernel_op_name((kernel_op)op));
        without++;
    }
    printf("%s %d - every op has a family\n", without ? "not ok" : "ok", ++*test);
    *failures += without;
}

static int check_all(const options *o)
{
    int32_t test = 0, failures = 0;
    for (const check_family *const *f = families; *f; f++)
        for (int32_t k = 0; k < (*f)->op_count; k++)
            if (op_wanted(o, (*f)->op[k])) check_op(o, *f, (*f)->op[k], &test, &failures);
    if (!o->only && !o->backend) report_families(&test, &failures);
    printf("1..%d\n", test);
    return failures ? 1 : test ? 0 : 2;
}

/* A mutant must fail somewhere; how soon is told. */
static int check_mutants(const options *o)
{
    int32_t test = 0, missed = 0;
    for (const check_family *const *f = families; *f; f++) {
        for (int32_t m = 0; m < 2; m++) {
            const kernel *mutant = &(*f)->mutant[m];
            char why[256] = "";
            int32_t tried = 0;
            bool caught = false;
            for (; tried < o->count && !caught; tried++) {
                check_desc desc;
                check_case c = {0};
                draw(*f, mutant->op, o->seed + (uint64_t)tried, &desc);
                caught = check_case_init(&c, *f, mutant->op, &desc, o->seed + (uint64_t)tried) &&
                         !check_variant(&c, mutant, o->dev, why);
                check_case_free(&c);
            }
            printf("%s %d - mutant of %s caught: %s\n# after %d descriptors: %s\n", caught ? "ok" : "not ok", ++test,
                kernel_op_name(mutant->op), mutant->name, tried, why);
            missed += !caught;
        }
    }
    printf("1..%d\n", test);
    return missed != 0;
}

/* One field to something that may be wrong: an edge value, another word, a neighbour. */
static void mutate(rng *r, kernel_op op, check_desc *desc)
{
    static const int64_t edges[] = {0, 1, 2, 3, 5, 7, 17, -1, -3, 65537, 2147483647, -2147483647, INT64_C(1) << 41};
    const desc_field *fields = kernel_desc_fields(op);
    uint32_t count = 0, word = rng_below(r, 9);
    while (fields[count].name) count++;
    const desc_field *f = &fields[rng_below(r, count)];
    char *at = (char *)desc + f->offset + rng_below(r, (uint32_t)f->count) * desc_field_bytes(f->kind);
    int64_t edge = edges[rng_below(r, 13)];
    int32_t narrow = (int32_t)edge;
    float f32 = check_chance(r, 5) ? 1.5f : (float)edge;
    switch (f->kind) {
    case FIELD_I32: memcpy(at, &narrow, 4); break;
    case FIELD_U64:
    case FIELD_I64: memcpy(at, &edge, 8); break;
    case FIELD_BOOL: *(bool *)at = !*(bool *)at; break;
    case FIELD_F32: memcpy(at, &f32, 4); break;
    case FIELD_F64: *(double *)at = (double)edge; break;
    case FIELD_DTYPE: /* of several types all or one: tensors of one type stay so */
        for (const desc_field *g = fields; g->name && narrow > 1; g++)
            if (g->kind == FIELD_DTYPE) memcpy((char *)desc + g->offset, &word, 4);
        memcpy(at, &word, 4);
        break;
    default: memcpy(at, &word, 4);
    }
}

/* Reasons are constant texts: their addresses tell them apart, and equal texts are shown once per variant. */
static void print_refusals(const options *o, const check_family *f, kernel_op op)
{
    enum { MAX_REASONS = 64 };
    for (const kernel *const *v = kernel_variants(op); *v; v++) {
        const char *seen[MAX_REASONS];
        int32_t known = 0;
        for (int32_t i = 0; wanted(o, *v) && (*v)->refuse && i < o->count; i++) {
            check_desc desc;
            rng r = rng_make(o->seed + (uint64_t)i, RNG_TEST, 2000 + (uint64_t)op);
            draw(f, op, o->seed + (uint64_t)i / 8, &desc);
            for (uint32_t k = rng_below(&r, 3); k < 3; k++) mutate(&r, op, &desc);
            /* What the reference refuses is no valid call: kernel_select asks nobody else. */
            if (*v != check_reference(op) && check_reference(op)->refuse(&desc)) continue;
            const char *why = (*v)->refuse(&desc);
            int32_t s = 0;
            while (why && s < known && strcmp(seen[s], why) != 0) s++;
            if (why && s == known && known < MAX_REASONS) seen[known++] = why;
        }
        for (int32_t s = 0; s < known; s++) printf("%s\t%s\n", (*v)->name, seen[s]);
    }
}

static int parse(int argc, char **argv, options *o)
{
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--seed=", 7) == 0) o->seed = strtoull(argv[i] + 7, NULL, 10);
        else if (strncmp(argv[i], "--count=", 8) == 0) o->count = (int32_t)strtol(argv[i] + 8, NULL, 10);
        else if (strncmp(argv[i], "--accepted=", 11) == 0) o->accepted = (int32_t)strtol(argv[i] + 11, NULL, 10);
        else if (strncmp(argv[i], "--only=", 7) == 0) o->only = argv[i] + 7;
        else if (strncmp(argv[i], "--desc=", 7) == 0) o->desc = argv[i] + 7;
        else if (strncmp(argv[i], "--backend=", 10) == 0) o->backend = argv[i] + 10;
        else if (strncmp(argv[i], "--shapes=", 9) == 0) o->shapes = argv[i] + 9;
        else if (strcmp(argv[i], "--mutants") == 0) o->mutants = true;
        else if (strcmp(argv[i], "--refusals") == 0) o->refusals = true;
        else if (strcmp(argv[i], "--bench") == 0) o->bench = true;
        else if (strcmp(argv[i], "--trace") == 0) o->trace = true;
        else {
            fprintf(stderr, "kernelcheck: unknown option %s (see tests/check/main.c)\n", argv[i]);
            return 2;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    options o = {.count = 400, .seed = 1};
    if (parse(argc, argv, &o)) return 2;
    int code = 0;
    if (device_open(&o.dev, SPEC_DEVICE_CUDA, 0, 0, NULL) != OK)
        snprintf(o.no_device, sizeof o.no_device, "%.200s", status_message());
    if (o.mutants) code = check_mutants(&o);
    else if (o.bench) code = check_bench(families, &(bench_options){o.shapes, o.only, o.seed, o.count, o.dev});
    else if (!o.refusals) code = check_all(&o);
    for (const check_family *const *f = families; *f && o.refusals; f++)
        for (int32_t k = 0; k < (*f)->op_count; k++) print_refusals(&o, *f, (*f)->op[k]);
    device_close(o.dev);
    return code;
}
