/* kernel_run.c: runs reference kernels on tensors from a file, for ops.py.
 *
 *     kernel_run cases.txt in.safetensors out.safetensors
 *
 * Each line of cases.txt is "NAME OP DESCRIPTOR". Tensors NAME.in0, NAME.in1 ... are the inputs; NAME.out0 ... hold the
 * initial contents and, in the file that is written, the results. Absent tensors are NULL. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/model.h"
#include "kernels/kernels.h"

static status find_op(const char *name, kernel_op *op)
{
    for (*op = 0; *op < KERNEL_OP_COUNT; (*op)++)
        if (strcmp(kernel_op_name(*op), name) == 0) return OK;
    return FAIL(E_USAGE, "no op is called %s", name);
}

/* A copy at an aligned place: tensors of a file may stand anywhere. */
static status take(arena *a, const safetensors *st, const char *name, const char *kind, int32_t i, safetensor *copy)
{
    char key[256];
    snprintf(key, sizeof key, "%s.%s%d", name, kind, i);
    const safetensor *found = safetensors_find(st, key);
    *copy = (safetensor){0};
    if (!found) return OK;
    *copy = *found;
    copy->data = arena_memdup(a, found->data, found->bytes);
    return copy->data ? OK : FAIL_MEMORY(found->bytes);
}

static status run_case(arena *a, const safetensors *st, const char *line, safetensor *out, int64_t *outs)
{
    char name[128], op_name[64], text[1024];
    _Alignas(16) char desc[512] = {0};
    kernel_op op;
    const kernel *k;
    if (sscanf(line, "%127s %63s %1023s", name, op_name, text) != 3) return FAIL(E_USAGE, "bad line: %s", line);
    TRY(find_op(op_name, &op));
    TRY(kernel_desc_parse(op, text, desc));
    TRY(kernel_select(&k, op, BACKEND_REF, desc, NULL, NULL));
    kernel_call call = {.desc = desc};
    for (int32_t i = 0; i < KERNEL_MAX_IN; i++) {
        safetensor t;
        TRY(take(a, st, name, "in", i, &t));
        call.in[i] = t.data;
    }
    for (int32_t i = 0; i < KERNEL_MAX_OUT; i++) {
        safetensor t;
        TRY(take(a, st, name, "out", i, &t));
        call.out[i] = (void *)(uintptr_t)t.data;
        if (t.data) out[(*outs)++] = t;
    }
    if (k->scratch_bytes) call.scratch = arena_alloc(a, k->scratch_bytes(desc, NULL));
    return k->run(&call);
}

static status run_all(char **argv)
{
    static safetensor out[4096];
    static char line[2048];
    arena a = {0};
    safetensors st;
    int64_t outs = 0;
    status result = OK;
    TRY(safetensors_open(&st, argv[2]));
    FILE *f = fopen(argv[1], "r");
    if (!f) return FAIL(E_IO, "%s: cannot be opened", argv[1]);
    while (result == OK && fgets(line, sizeof line, f) && outs + KERNEL_MAX_OUT < 4096)
        result = run_case(&a, &st, line, out, &outs);
    fclose(f);
    if (result == OK) result = safetensors_write(argv[3], out, outs, NULL, 0, NULL);
    safetensors_close(&st);
    arena_free(&a);
    if (result != OK) fprintf(stderr, "%s", line);
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: kernel_run cases.txt in.safetensors out.safetensors\n");
        return E_USAGE;
    }
    status result = run_all(argv);
    if (result != OK) fprintf(stderr, "%s\n", status_message());
    return result;
}
