/* dispatch.c: the list of variants and the choice among them. */
#include "kernels/kernels.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifdef GRAFT_ONEDNN
#define KERNEL_DNNL(symbol) KERNEL(symbol)
#else
#define KERNEL_DNNL(symbol)
#endif
#ifdef GRAFT_CUDA
#define KERNEL_CUDA(symbol) KERNEL(symbol)
#else
#define KERNEL_CUDA(symbol)
#endif

#define KERNEL(symbol) extern const kernel symbol;
#define KERNEL_END(op)
#include "kernels/kernels.def"
#define KERNEL_OP(upper, lower, descriptor, flops, bytes) extern const kernel lower##__ref_direct;
#include "kernels/descriptors.def"

/* The groups of kernels.def, each closed by its op's reference and NULL, so that a group is itself a NULL-terminated
 * list; then the references alone, which are the groups of ops that have nothing else. */
static const kernel *const all_kernels[] = {
#define KERNEL(symbol) &symbol,
#define KERNEL_END(op) &op##__ref_direct, NULL,
#include "kernels/kernels.def"
#define KERNEL_OP(upper, lower, descriptor, flops, bytes) &lower##__ref_direct, NULL,
#include "kernels/descriptors.def"
};

enum { ALL_COUNT = sizeof(all_kernels) / sizeof(all_kernels[0]) };

typedef struct text {
    char at[1536];
    size_t used;
} text;

static void text_add(text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* What does not fit is cut. */
static void text_add(text *t, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(t->at + t->used, sizeof t->at - t->used, fmt, args);
    va_end(args);
    if (n < 0) return;
    t->used += (size_t)n;
    if (t->used >= sizeof t->at) t->used = sizeof t->at - 1;
}

const kernel *const *kernel_variants(kernel_op op)
{
    static const kernel *const none[] = {NULL};
    for (int32_t i = 0; i < ALL_COUNT; i++)
        if (all_kernels[i] && all_kernels[i]->op == op) return &all_kernels[i];
    return none;
}

const kernel *kernel_find(const char *name)
{
    if (!name) return NULL;
    for (int32_t i = 0; i < ALL_COUNT; i++)
        if (all_kernels[i] && strcmp(all_kernels[i]->name, name) == 0) return all_kernels[i];
    return NULL;
}

const char *kernel_op_name(kernel_op op)
{
    static const char *const names[] = {
#define KERNEL_OP(upper, lower, descriptor, flops, bytes) #lower,
#include "kernels/descriptors.def"
    };
    return (unsigned)op < KERNEL_OP_COUNT ? names[op] : "unknown";
}

size_t kernel_desc_bytes(kernel_op op)
{
    static const size_t sizes[] = {
#define KERNEL_OP(upper, lower, descriptor, flops, bytes) sizeof(descriptor##_desc),
#include "kernels/descriptors.def"
    };
    return (unsigned)op < KERNEL_OP_COUNT ? sizes[op] : 0;
}

const char *backend_name(backend b)
{
    static const char *const names[] = {"ref", "cpu", "cuda"};
    _Static_assert(sizeof(names) / sizeof(names[0]) == BACKEND_COUNT, "a name per backend");
    return (unsigned)b < BACKEND_COUNT ? names[b] : "unknown";
}

/* Whether variants of `have` may run where `wanted` is asked for: the reference works on the CPU's memory. */
static bool backend_serves(backend have, backend wanted)
{
    return have == wanted || (have == BACKEND_REF && wanted == BACKEND_CPU);
}

static const char *refusal(const kernel *k, const void *desc)
{
    return k->refuse ? k->refuse(desc) : NULL;
}

status kernel_select(
    const kernel **k, kernel_op op, backend b, const void *desc, const char *prefer, void *verbose_stream)
{
    FILE *out = verbose_stream;
    text refused = {.used = 0};
    char line[512];
    const kernel *chosen = NULL;
    *k = NULL;
    if (kernel_desc_format(op, desc, line, sizeof line) != OK) snprintf(line, sizeof line, "(descriptor too long)");

    const kernel *const *last = kernel_variants(op);
    while (*last && last[1]) last++;
    const char *invalid = *last ? refusal(*last, desc) : NULL;
    if (invalid)
        return FAIL(E_INTERNAL, "no %s kernel for %s %s: %s", backend_name(b), kernel_op_name(op), line, invalid);

    const kernel *preferred = kernel_find(prefer);
    if (preferred && preferred->op == op && backend_serves(preferred->backend, b)) {
        const char *why = refusal(preferred, desc);
        if (!why) chosen = preferred;
        else text_add(&refused, "\n    %s: %s", preferred->name, why);
    }
    for (const kernel *const *v = kernel_variants(op); *v && !chosen; v++) {
        if (!backend_serves((*v)->backend, b) || (*v == preferred)) continue;
        const char *why = refusal(*v, desc);
        if (!why) chosen = *v;
        else text_add(&refused, "\n    %s: %s", (*v)->name, why);
    }
    if (out) fprintf(out, "%s %s -> %s%s\n", kernel_op_name(op), line, chosen ? chosen->name : "none", refused.at);
    if (!chosen)
        return FAIL(E_INTERNAL, "no %s kernel for %s %s%s", backend_name(b), kernel_op_name(op), line,
            refused.used ? refused.at : ": none is built");
    *k = chosen;
    return OK;
}
