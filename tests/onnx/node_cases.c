/* node_cases.c: ONNX's own test cases (Debian's libonnx-testdata) through the import and
 * the reference kernels' executor.
 *
 *     node_cases SKIPPED FOLDER...
 * node_cases --read-or-refused FOLDER...   of a newer onnx (newest_cases.py): what is not refused with a message must
 * give the right values
 *
 * Every case is a folder with model.onnx and test_data_set_0/{input,output}_N.pb. A case of operators without a rule
 * must be refused by the operator's name. Of the others, those that SKIPPED lists (name, space, what the refusal
 * must say) must be refused so; all else is run and compared with the tolerance of ONNX's own runner: |result -
 * expected| <= 1e-7 + 1e-3 |expected|.
 *
 * The cases feed weights, shapes and bounds as inputs, where networks have constants: every input but the first becomes
 * an initialiser, except of operators that join computed values. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/graph/plan.h"
#include "core/graph/transform.h"
#include "core/onnx/file.h"
#include "core/onnx/onnx.h"

enum { MAX_TENSORS = 16, FILE_LIMIT = 1 << 26 };

typedef struct test_case {
    arena memory;
    const char *name, *folder;
    uint8_t *bytes;
    size_t count;
    onnx_file file;
    onnx_tensor in[MAX_TENSORS];
    int64_t in_count;
    const char *unknown; /* an operator without a rule, or NULL */
    graph g;
} test_case;

typedef struct skip_list {
    arena memory;
    char **name, **reason;
    bool *used;
    int64_t count;
    bool refusals; /* any refusal will do: cases of a newer onnx */
} skip_list;

static status read_skipped(skip_list *s, const char *path)
{
    void *text;
    size_t bytes;
    TRY(file_read_all(&s->memory, path, 1 << 20, &text, &bytes));
    s->name = ARENA_ARRAY(&s->memory, char *, bytes);
    s->reason = ARENA_ARRAY(&s->memory, char *, bytes);
    s->used = ARENA_ARRAY(&s->memory, bool, bytes);
    if (!s->name || !s->reason || !s->used) return FAIL_MEMORY(bytes);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *space = strchr(line, ' ');
        if (*line == '#' || !space) continue;
        *space = 0;
        s->name[s->count] = line;
        s->reason[s->count++] = space + 1 + strspn(space + 1, " ");
    }
    return OK;
}

static const char *skip_reason(skip_list *s, const char *name)
{
    for (int64_t i = 0; i < s->count; i++) {
        if (strcmp(s->name[i], name) != 0) continue;
        s->used[i] = true;
        return s->reason[i];
    }
    return NULL;
}

/* ---------------------------------------------------------------------------------------------------- constants */

static void put_varint(uint8_t **at, uint64_t value)
{
    for (; value > 127; value >>= 7) *(*at)++ = (uint8_t)(value | 128);
    *(*at)++ = (uint8_t)value;
}

static int varint_bytes(uint64_t value)
{
    int n = 1;
    for (; value > 127; value >>= 7) n++;
    return n;
}

/* A second graph behind the model's bytes is merged into the first: one more initialiser (fields 7 and 5). */
static status append_initialiser(test_case *t, const uint8_t *tensor, size_t bytes)
{
    size_t inner = 1 + (size_t)varint_bytes(bytes) + bytes;
    uint8_t *all = arena_alloc(&t->memory, t->count + inner + 16), *at = all + t->count;
    if (!all) return FAIL_MEMORY(t->count);
    memcpy(all, t->bytes, t->count);
    *at++ = 7 << 3 | 2;
    put_varint(&at, inner);
    *at++ = 5 << 3 | 2;
    put_varint(&at, bytes);
    memcpy(at, tensor, bytes);
    t->bytes = all;
    t->count = (size_t)(at - all) + bytes;
    return OK;
}

static bool joins_values(const char *type)
{
    static const char *const types[] = {"Add", "Sub", "Mul", "Div", "Sum", "Concat"};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i], type) == 0) return true;
    return false;
}

static bool is_of_constants(const char *type) { return strcmp(type, "Gather") == 0 || strcmp(type, "Expand") == 0; }

static status data_path(test_case *t, const char *kind, int64_t i, const char **path)
{
    *path = arena_printf(&t->memory, "%s/test_data_set_0/%s_%lld.pb", t->folder, kind, (long long)i);
    return *path ? OK : FAIL_MEMORY(256);
}

static status read_data(test_case *t, const char *kind, int64_t i, onnx_tensor *tensor, uint8_t **bytes, size_t *count)
{
    const char *path;
    TRY(data_path(t, kind, i, &path));
    TRY(file_read_all(&t->memory, path, FILE_LIMIT, (void **)bytes, count));
    return onnx_tensor_read(tensor, &t->memory, *bytes, *count, path);
}

/* Inputs from files; those that networks have as constants go into the model. */
static status read_inputs(test_case *t, bool one_node)
{
    const char *type = t->file.nodes[0].type;
    bool all_constant = one_node && is_of_constants(type), joins = one_node && joins_values(type);
    for (int64_t i = 0; i < MAX_TENSORS; i++) {
        const char *path;
        uint8_t *bytes;
        size_t count;
        TRY(data_path(t, "input", i, &path));
        if (!file_exists(path)) break;
        TRY(read_data(t, "input", i, &t->in[t->in_count], &bytes, &count));
        if (one_node && (all_constant || (i > 0 && !joins))) TRY(append_initialiser(t, bytes, count));
        else t->in_count++;
    }
    return OK;
}

static status open_case(test_case *t, const char *parent, const char *name)
{
    t->name = name;
    t->folder = path_join(&t->memory, parent, name);
    void *bytes;
    TRY(file_read_all(&t->memory, arena_printf(&t->memory, "%s/model.onnx", t->folder), FILE_LIMIT, &bytes, &t->count));
    t->bytes = bytes;
    TRY(onnx_file_read(&t->file, &(onnx_source){.bytes = t->bytes, .count = t->count, .what = name}));
    for (int64_t i = 0; i < t->file.node_count && !t->unknown; i++)
        if (!onnx_knows(t->file.nodes[i].type)) t->unknown = t->file.nodes[i].type;
    return OK;
}

/* ---------------------------------------------------------------------------------------------------- running */

/* ONNX's index of element i of our tensor: images are channels last here. */
static int64_t onnx_index(shape s, int64_t i)
{
    if (s.rank != 4) return i;
    int64_t c = i % s.dim[3], pixel = i / s.dim[3] % (s.dim[1] * s.dim[2]), n = i / (s.dim[1] * s.dim[2] * s.dim[3]);
    return (n * s.dim[3] + c) * s.dim[1] * s.dim[2] + pixel;
}

static status set_inputs(test_case *t, plan *p)
{
    const graph *g = plan_graph(p);
    for (int32_t k = 0; k < g->input_count; k++) {
        const edge *e = &g->edges[g->inputs[k]];
        const onnx_tensor *from = NULL;
        for (int64_t i = 0; i < t->in_count; i++)
            if (strcmp(t->in[i].name, e->name) == 0) from = &t->in[i];
        if (!from && k < t->in_count) from = &t->in[k];
        if (!from || shape_count(from->shape) != shape_count(e->shape))
            return FAIL(E_DATA, "no values for input '%s'", e->name);
        int64_t count = shape_count(e->shape);
        float *values = ARENA_ARRAY(&t->memory, float, count);
        if (!values) return FAIL_MEMORY(count * 4);
        for (int64_t i = 0; i < count; i++)
            values[i] = (float)dtype_load(from->data, from->type, onnx_index(e->shape, i));
        TRY(plan_set_input(p, g->inputs[k], values, (size_t)count * 4));
    }
    return OK;
}

static status compare(test_case *t, plan *p, int32_t k)
{
    const graph *g = plan_graph(p);
    const edge *e = &g->edges[g->outputs[k]];
    onnx_tensor expected;
    uint8_t *bytes;
    size_t file_bytes;
    int64_t count = shape_count(e->shape);
    TRY(read_data(t, "output", k, &expected, &bytes, &file_bytes));
    shape s = e->shape;
    if (s.rank == 4) s = shape_4(s.dim[0], s.dim[3], s.dim[1], s.dim[2]);
    char have[128], want[128];
    shape_text(s, have);
    shape_text(expected.shape, want);
    if (!shape_equal(s, expected.shape)) return FAIL(E_GATE, "output %d is %s, expected %s", k, have, want);
    float *values = ARENA_ARRAY(&t->memory, float, count);
    if (!values) return FAIL_MEMORY(count * 4);
    if (e->kind == EDGE_CONST) memcpy(values, t->g.edges[t->g.outputs[k]].data, (size_t)count * 4); /* folded */
    else TRY(plan_get(p, g->outputs[k], values, (size_t)count * 4));
    double tolerance = fmax(1e-3, dtype_epsilon(expected.type)); /* bfloat16 is f32 here: not rounded to 8 bits */
    for (int64_t i = 0; i < count; i++) {
        double wanted = dtype_load(expected.data, expected.type, onnx_index(e->shape, i)), got = (double)values[i];
        if ((float)wanted == values[i] || (isnan(wanted) && isnan(got))) continue; /* f64 beyond f32: infinite here */
        if (!(fabs(got - wanted) <= 1e-7 + tolerance * fabs(wanted)))
            return FAIL(E_GATE, "output %d [%lld] is %.9g, expected %.9g", k, (long long)i, got, wanted);
    }
    return OK;
}

static status run_case(test_case *t, device *dev)
{
    graph inference = {.node_count = 0}, lowered = {.node_count = 0};
    plan *p = NULL;
    status result = OK;
    TRY_OUT(pass_inference(&inference, &t->g));
    TRY_OUT(pass_lower(&lowered, &inference, false));
    TRY_OUT(plan_create(&p, &lowered, dev, NULL));
    TRY_OUT(set_inputs(t, p));
    TRY_OUT(plan_run(p));
    for (int32_t k = 0; k < lowered.output_count; k++) TRY_OUT(compare(t, p, k));
out:
    plan_destroy(p);
    graph_free(&lowered);
    graph_free(&inference);
    return result;
}

/* ---------------------------------------------------------------------------------------------------- judging */

typedef struct counts {
    int64_t passed, failed, skipped, refused;
} counts;

static void judge(test_case *t, skip_list *s, device *dev, counts *n)
{
    const char *reason = skip_reason(s, t->name);
    status result = t->file.node_count && !t->unknown ? read_inputs(t, t->file.node_count == 1) : OK;
    if (result == OK) result = onnx_read_graph(&t->g, t->bytes, t->count, t->name);
    if (reason && result == OK) result = run_case(t, dev); /* its expected values may be of a type that is not read */
    bool refused = result != OK;
    if (t->unknown || reason) {
        const char *wanted = reason ? reason : arena_printf(&t->memory, "(%s)", t->unknown);
        if (refused && wanted && strstr(status_message(), wanted)) {
            if (reason) n->skipped++;
            else n->refused++;
            return;
        }
        n->failed++;
        printf("not ok %lld - %s is refused: %s\n# %s\n", (long long)(n->passed + n->failed), t->name, wanted,
            refused ? status_message() : "it was read");
        return;
    }
    if (!refused) result = run_case(t, dev);
    if (s->refusals && result == E_MODEL) {
        n->refused++;
        return;
    }
    n->passed += result == OK, n->failed += result != OK;
    printf("%s %lld - %s\n", result == OK ? "ok" : "not ok", (long long)(n->passed + n->failed), t->name);
    if (result != OK) printf("# %s\n", status_message());
}

static status run_folder(const char *parent, skip_list *s, device *dev, counts *n)
{
    arena a = {0};
    char **names;
    int64_t count;
    TRY(dir_list(&a, parent, &names, &count));
    for (int64_t i = 0; i < count; i++) {
        test_case t = {.name = names[i]};
        if (open_case(&t, parent, names[i]) == OK) {
            judge(&t, s, dev, n);
        } else if (s->refusals || strstr(status_message(), "is not read") || strstr(status_message(), "is no tensor") ||
                   strstr(status_message(), "dimensions, expected at most")) {
            n->refused++; /* texts, sequences, optional values */
        } else {
            n->failed++;
            printf("not ok %lld - %s\n# %s\n", (long long)(n->passed + n->failed), names[i], status_message());
        }
        graph_free(&t.g);
        onnx_file_free(&t.file);
        arena_free(&t.memory);
    }
    arena_free(&a);
    return OK;
}

int main(int argc, char **argv)
{
    skip_list s = {.count = 0};
    counts n = {0};
    device *dev = NULL;
    if (argc < 3) return fprintf(stderr, "usage: node_cases SKIPPED|--read-or-refused FOLDER...\n"), E_USAGE;
    s.refusals = strcmp(argv[1], "--read-or-refused") == 0;
    status result = s.refusals ? OK : read_skipped(&s, argv[1]);
    if (result == OK) result = device_open(&dev, SPEC_DEVICE_CPU, 0, 1, NULL);
    for (int i = 2; result == OK && i < argc; i++) result = run_folder(argv[i], &s, dev, &n);
    if (result != OK) fprintf(stderr, "node_cases: %s\n", status_message());
    for (int64_t i = 0; i < s.count; i++) {
        if (s.used[i]) continue;
        n.failed++;
        printf("not ok %lld - %s is no case: the list of skipped ones is stale\n", (long long)(n.passed + n.failed),
            s.name[i]);
    }
    printf("# %lld cases of supported operators pass, %lld are listed as inexpressible and refused, %lld of other "
           "operators refused by name\n",
        (long long)n.passed, (long long)n.skipped, (long long)n.refused);
    printf("1..%lld\n", (long long)(n.passed + n.failed));
    device_close(dev);
    arena_free(&s.memory);
    return n.failed || result != OK;
}
