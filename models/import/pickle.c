#include "models/import/pickle.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef pickle_value value;

typedef struct machine {
    arena *memory;
    const uint8_t *begin, *next, *end;
    const char *what;
    value **stack; /* a mark is NULL */
    int64_t depth, stack_capacity;
    value **memo;
    int64_t memo_count, memo_capacity;
    int64_t values, dictionaries;
    bool stopped;
} machine;

/* The checkpoint of a network with a thousand layers and its optimiser's state has some 100,000 values. */
enum { MAX_NAME = 200, MAX_VALUES = 1 << 19 };

static status __attribute__((format(printf, 2, 3))) refuse(const machine *m, const char *fmt, ...)
{
    char text[MAX_NAME + 200];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return FAIL(E_MODEL, "%s: pickle, byte %" PRId64 ": %s", m->what, (m->next - m->begin), text);
}

/* ----------------------------------------------------------------------------------------------- bytes, stack, memo */

static status take(machine *m, uint64_t bytes, const uint8_t **at)
{
    *at = m->next;
    if (bytes > (uint64_t)(m->end - m->next)) return refuse(m, "it ends in the middle of an instruction");
    m->next += bytes;
    return OK;
}

static status take_number(machine *m, int bytes, uint64_t *number)
{
    const uint8_t *at;
    TRY(take(m, (uint64_t)bytes, &at));
    *number = 0;
    for (int i = 0; i < bytes; i++) *number |= (uint64_t)at[i] << (8 * i);
    return OK;
}

static status push(machine *m, value *v)
{
    TRY(array_reserve((void **)&m->stack, &m->stack_capacity, m->depth + 1, sizeof *m->stack));
    m->stack[m->depth++] = v;
    return OK;
}

static status pop(machine *m, value **v)
{
    *v = m->depth ? m->stack[m->depth - 1] : NULL;
    if (!*v) return refuse(m, "nothing to take from the stack");
    m->depth--;
    return OK;
}

static status push_new(machine *m, value v)
{
    if (++m->values > MAX_VALUES) return refuse(m, "more than %d values: a checkpoint has far fewer", MAX_VALUES);
    if (v.kind == PICKLE_DICT) v.integer = m->dictionaries++;
    value *copy = ARENA_NEW(m->memory, value);
    if (!copy) return FAIL_MEMORY(sizeof v);
    *copy = v;
    return push(m, copy);
}

/* The values above the last mark; the mark goes. They stay on the stack's memory until the next push. */
static status pop_to_mark(machine *m, value ***items, int64_t *count)
{
    int64_t i = m->depth;
    while (i > 0 && m->stack[i - 1]) i--;
    if (i == 0) return refuse(m, "no mark on the stack");
    *items = &m->stack[i];
    *count = m->depth - i;
    m->depth = i - 1;
    return OK;
}

static status append(machine *m, value *v, value *const *items, int64_t count)
{
    if (v->count + count > v->capacity) {
        int64_t capacity = 2 * v->capacity > v->count + count ? 2 * v->capacity : v->count + count;
        value **grown = arena_alloc_packed(m->memory, (size_t)capacity * sizeof *grown, sizeof *grown);
        if (!grown) return FAIL_MEMORY((size_t)capacity * sizeof *grown);
        if (v->count) memcpy(grown, v->items, (size_t)v->count * sizeof *grown);
        v->items = grown;
        v->capacity = capacity;
    }
    if (count) memcpy(v->items + v->count, items, (size_t)count * sizeof *items);
    v->count += count;
    return OK;
}

static status put_memo(machine *m, uint64_t index)
{
    if (index > (uint64_t)(m->end - m->begin)) return refuse(m, "memo number %llu", (unsigned long long)index);
    if (m->depth == 0 || !m->stack[m->depth - 1]) return refuse(m, "nothing on the stack to remember");
    TRY(array_reserve((void **)&m->memo, &m->memo_capacity, (int64_t)index + 1, sizeof *m->memo));
    m->memo[index] = m->stack[m->depth - 1];
    if ((int64_t)index >= m->memo_count) m->memo_count = (int64_t)index + 1;
    return OK;
}

/* ----------------------------------------------------------------------------------------- the names that are known */

typedef enum meaning { MEANS_DICT, MEANS_TENSOR, MEANS_PARAMETER, MEANS_SIZE, MEANS_STORAGE } meaning;
static const struct known {
    const char *name;
    meaning meaning;
    dtype type;
} known[] = {
    {"collections.OrderedDict", MEANS_DICT, 0},
    {"torch._utils._rebuild_tensor_v2", MEANS_TENSOR, 0},
    {"torch._utils._rebuild_tensor", MEANS_TENSOR, 0},
    {"torch._utils._rebuild_parameter", MEANS_PARAMETER, 0},
    {"torch.nn.parameter.Parameter", MEANS_PARAMETER, 0},
    {"torch.Size", MEANS_SIZE, 0},
    {"torch.FloatStorage", MEANS_STORAGE, DTYPE_F32},
    {"torch.DoubleStorage", MEANS_STORAGE, DTYPE_F64},
    {"torch.HalfStorage", MEANS_STORAGE, DTYPE_F16},
    {"torch.BFloat16Storage", MEANS_STORAGE, DTYPE_BF16},
    {"torch.LongStorage", MEANS_STORAGE, DTYPE_I64},
    {"torch.IntStorage", MEANS_STORAGE, DTYPE_I32},
    {"torch.CharStorage", MEANS_STORAGE, DTYPE_I8},
    {"torch.ByteStorage", MEANS_STORAGE, DTYPE_U8},
    {"torch.BoolStorage", MEANS_STORAGE, DTYPE_U8},
};

static status push_global(machine *m, const char *module, size_t module_length, const char *name, size_t name_length)
{
    char full[MAX_NAME];
    if (module_length + name_length + 2 > sizeof full || memchr(module, 0, module_length) ||
        memchr(name, 0, name_length))
        return refuse(m, "a name of %zu bytes", module_length + name_length);
    snprintf(full, sizeof full, "%.*s.%.*s", (int)module_length, module, (int)name_length, name);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, full) == 0)
            return push_new(
                m, (value){.kind = PICKLE_GLOBAL, .text = known[i].name, .integer = (int64_t)i, .type = known[i].type});
    return refuse(m,
        "asks for %s: refused, only tensors and plain values are read (in PyTorch, save model.state_dict() alone)",
        full);
}

static status make_tensor(machine *m, const value *args)
{
    bool fine = args->count >= 4 && args->items[0]->kind == PICKLE_STORAGE && args->items[1]->kind == PICKLE_INT &&
        args->items[2]->kind == PICKLE_TUPLE && args->items[3]->kind == PICKLE_TUPLE;
    if (!fine) return refuse(m, "a tensor without storage, offset, size and stride");
    value *parts[] = {args->items[0], args->items[2], args->items[3]};
    value tensor = {.kind = PICKLE_TENSOR, .integer = args->items[1]->integer};
    TRY(append(m, &tensor, parts, 3));
    return push_new(m, tensor);
}

static status call(machine *m, const value *callee, const value *args)
{
    if (callee->kind != PICKLE_GLOBAL || args->kind != PICKLE_TUPLE)
        return refuse(m, "a call of something that is no function");
    value *first = args->count ? args->items[0] : NULL;
    switch (known[callee->integer].meaning) {
    case MEANS_DICT:
        if (args->count) break;
        return push_new(m, (value){.kind = PICKLE_DICT});
    case MEANS_TENSOR:
        return make_tensor(m, args);
    case MEANS_PARAMETER:
        if (!first || first->kind != PICKLE_TENSOR) break;
        return push(m, first);
    case MEANS_SIZE:
        if (!first || (first->kind != PICKLE_TUPLE && first->kind != PICKLE_LIST)) break;
        return push(m, first);
    case MEANS_STORAGE:
        break;
    }
    return refuse(m, "%s with %" PRId64 " arguments that it does not take here", callee->text, args->count);
}

/* ------------------------------------------------------------------------------------------------ instructions */

static status do_skip(machine *m, int op)
{
    const uint8_t *at;
    return take(m, op == 0x80 ? 1 : 8, &at); /* PROTO, FRAME */
}

static status do_stop(machine *m, int op)
{
    (void)op;
    m->stopped = true;
    return OK;
}

static status do_constant(machine *m, int op)
{
    if (op == 'N') return push_new(m, (value){.kind = PICKLE_NONE});
    return push_new(m, (value){.kind = PICKLE_BOOL, .integer = op == 0x88});
}

static status do_integer(machine *m, int op)
{
    uint64_t n;
    TRY(take_number(m, op == 'K' ? 1 : op == 'M' ? 2 : 4, &n));
    return push_new(m, (value){.kind = PICKLE_INT, .integer = op == 'J' ? (int64_t)(int32_t)(uint32_t)n : (int64_t)n});
}

/* LONG1, LONG4: two's complement of any length; 8 bytes are what tensors need. */
static status do_long(machine *m, int op)
{
    uint64_t length, n = 0;
    TRY(take_number(m, op == 0x8a ? 1 : 4, &length));
    if (length > 8) return refuse(m, "an integer of %llu bytes", (unsigned long long)length);
    if (length) TRY(take_number(m, (int)length, &n));
    if (length && length < 8 && n >> (8 * length - 1)) n |= UINT64_MAX << (8 * length);
    return push_new(m, (value){.kind = PICKLE_INT, .integer = (int64_t)n});
}

static status do_float(machine *m, int op)
{
    const uint8_t *at;
    uint64_t bits = 0;
    double number;
    (void)op;
    TRY(take(m, 8, &at));
    for (int i = 0; i < 8; i++) bits = bits << 8 | at[i];
    memcpy(&number, &bits, sizeof number);
    return push_new(m, (value){.kind = PICKLE_FLOAT, .number = number});
}

static status do_text(machine *m, int op)
{
    static const struct {
        uint8_t op, length_bytes;
        bool bytes;
    } forms[] = {
        {'X', 4, 0}, {0x8c, 1, 0}, {0x8d, 8, 0}, {'T', 4, 0}, {'U', 1, 0}, {'B', 4, 1}, {'C', 1, 1}, {0x8e, 8, 1}};
    int i = 0;
    while (forms[i].op != op) i++;
    uint64_t length;
    const uint8_t *at;
    TRY(take_number(m, forms[i].length_bytes, &length));
    TRY(take(m, length, &at));
    if (!forms[i].bytes && memchr(at, 0, length)) return refuse(m, "a text with a 0 byte");
    char *text = arena_strndup(m->memory, (const char *)at, forms[i].bytes ? 0 : length);
    if (!text) return FAIL_MEMORY(length);
    return push_new(m, (value){.kind = forms[i].bytes ? PICKLE_BYTES : PICKLE_TEXT, .text = text});
}

static status do_empty(machine *m, int op)
{
    return push_new(m, (value){.kind = op == ')'   ? PICKLE_TUPLE
                                       : op == ']' ? PICKLE_LIST
                                       : op == '}' ? PICKLE_DICT
                                                   : PICKLE_SET});
}

static status do_mark(machine *m, int op)
{
    (void)op;
    return push(m, NULL);
}

static status collect(machine *m, pickle_kind kind, value *const *items, int64_t count)
{
    value v = {.kind = kind};
    if (kind == PICKLE_DICT && count % 2) return refuse(m, "a key without a value");
    TRY(append(m, &v, items, count));
    return push_new(m, v);
}

static status do_collect(machine *m, int op)
{
    value **items;
    int64_t count;
    TRY(pop_to_mark(m, &items, &count));
    return collect(m,
        op == 't'   ? PICKLE_TUPLE
        : op == 'l' ? PICKLE_LIST
        : op == 'd' ? PICKLE_DICT
                    : PICKLE_SET,
        items, count);
}

static status do_short_tuple(machine *m, int op)
{
    value *items[3];
    int count = op - 0x84; /* TUPLE1 to TUPLE3 */
    for (int i = count - 1; i >= 0; i--) TRY(pop(m, &items[i]));
    return collect(m, PICKLE_TUPLE, items, count);
}

static status extend(machine *m, pickle_kind kind, value *const *items, int64_t count)
{
    if (m->depth == 0 || !m->stack[m->depth - 1] || m->stack[m->depth - 1]->kind != kind)
        return refuse(m, "values for a %s that is not there",
            kind == PICKLE_LIST  ? "list"
            : kind == PICKLE_SET ? "set"
                                 : "dictionary");
    if (kind == PICKLE_DICT && count % 2) return refuse(m, "a key without a value");
    return append(m, m->stack[m->depth - 1], items, count);
}

static status do_extend_many(machine *m, int op)
{
    value **items;
    int64_t count;
    TRY(pop_to_mark(m, &items, &count));
    return extend(m, op == 'e' ? PICKLE_LIST : op == 'u' ? PICKLE_DICT : PICKLE_SET, items, count);
}

static status do_extend(machine *m, int op)
{
    value *items[2] = {NULL};
    int count = op == 'a' ? 1 : 2;
    for (int i = count - 1; i >= 0; i--) TRY(pop(m, &items[i]));
    return extend(m, op == 'a' ? PICKLE_LIST : PICKLE_DICT, items, count);
}

static status do_drop(machine *m, int op)
{
    value **items;
    int64_t count;
    if (op == '1') return pop_to_mark(m, &items, &count);
    if (m->depth == 0) return refuse(m, "nothing to take from the stack");
    m->depth--;
    return OK;
}

static status do_duplicate(machine *m, int op)
{
    value *v;
    (void)op;
    TRY(pop(m, &v));
    TRY(push(m, v));
    return push(m, v);
}

static status do_put(machine *m, int op)
{
    uint64_t index = (uint64_t)m->memo_count;
    if (op != 0x94) TRY(take_number(m, op == 'q' ? 1 : 4, &index));
    return put_memo(m, index);
}

static status do_get(machine *m, int op)
{
    uint64_t index;
    TRY(take_number(m, op == 'h' ? 1 : 4, &index));
    if (index >= (uint64_t)m->memo_count || !m->memo[index])
        return refuse(m, "nothing was remembered as %llu", (unsigned long long)index);
    return push(m, m->memo[index]);
}

static status do_global(machine *m, int op)
{
    const uint8_t *line[2];
    size_t length[2];
    (void)op;
    for (int i = 0; i < 2; i++) {
        line[i] = m->next;
        const uint8_t *end = memchr(m->next, '\n', (size_t)(m->end - m->next));
        if (!end) return refuse(m, "it ends in the middle of a name");
        length[i] = (size_t)(end - line[i]);
        m->next = end + 1;
    }
    return push_global(m, (const char *)line[0], length[0], (const char *)line[1], length[1]);
}

static status do_stack_global(machine *m, int op)
{
    value *name, *module;
    (void)op;
    TRY(pop(m, &name));
    TRY(pop(m, &module));
    if (name->kind != PICKLE_TEXT || module->kind != PICKLE_TEXT) return refuse(m, "a name that is no text");
    return push_global(m, module->text, strlen(module->text), name->text, strlen(name->text));
}

static status do_call(machine *m, int op)
{
    value *args, *callee;
    (void)op;
    TRY(pop(m, &args));
    TRY(pop(m, &callee));
    return call(m, callee, args);
}

/* State of an object: OrderedDict carries _metadata that way; nobody needs it. */
static status do_build(machine *m, int op)
{
    value *state, *object;
    (void)op;
    TRY(pop(m, &state));
    TRY(pop(m, &object));
    if (object->kind != PICKLE_DICT && object->kind != PICKLE_TENSOR)
        return refuse(m, "state for something that has none");
    return push(m, object);
}

static status do_persistent(machine *m, int op)
{
    value *id;
    (void)op;
    TRY(pop(m, &id));
    value **part = id->items;
    bool fine = id->kind == PICKLE_TUPLE && id->count == 5 && part[0]->kind == PICKLE_TEXT &&
                strcmp(part[0]->text, "storage") == 0 && part[1]->kind == PICKLE_GLOBAL &&
                known[part[1]->integer].meaning == MEANS_STORAGE && part[2]->kind == PICKLE_TEXT &&
                part[4]->kind == PICKLE_INT && part[4]->integer >= 0;
    if (!fine) return refuse(m, "a persistent id that is no storage");
    return push_new(
        m, (value){.kind = PICKLE_STORAGE, .text = part[2]->text, .type = part[1]->type, .integer = part[4]->integer});
}

static const struct instruction {
    uint8_t op;
    status (*run)(machine *m, int op);
} instructions[] = {
    {0x80, do_skip},
    {0x95, do_skip},
    {'.', do_stop},
    {'N', do_constant},
    {0x88, do_constant},
    {0x89, do_constant},
    {'K', do_integer},
    {'M', do_integer},
    {'J', do_integer},
    {0x8a, do_long},
    {0x8b, do_long},
    {'G', do_float},
    {'X', do_text},
    {0x8c, do_text},
    {0x8d, do_text},
    {'T', do_text},
    {'U', do_text},
    {'B', do_text},
    {'C', do_text},
    {0x8e, do_text},
    {')', do_empty},
    {']', do_empty},
    {'}', do_empty},
    {0x8f, do_empty},
    {'(', do_mark},
    {'t', do_collect},
    {'l', do_collect},
    {'d', do_collect},
    {0x91, do_collect},
    {0x85, do_short_tuple},
    {0x86, do_short_tuple},
    {0x87, do_short_tuple},
    {'a', do_extend},
    {'s', do_extend},
    {'e', do_extend_many},
    {'u', do_extend_many},
    {0x90, do_extend_many},
    {'0', do_drop},
    {'1', do_drop},
    {'2', do_duplicate},
    {'q', do_put},
    {'r', do_put},
    {0x94, do_put},
    {'h', do_get},
    {'j', do_get},
    {'c', do_global},
    {0x93, do_stack_global},
    {'R', do_call},
    {0x81, do_call},
    {'b', do_build},
    {'Q', do_persistent},
};

static status step(machine *m)
{
    const uint8_t *op;
    TRY(take(m, 1, &op));
    for (size_t i = 0; i < sizeof instructions / sizeof *instructions; i++)
        if (instructions[i].op == *op) return instructions[i].run(m, *op);
    return refuse(m, "instruction 0x%02x is refused: only plain values and tensors are read", *op);
}

status pickle_read(arena *a, const uint8_t *bytes, size_t count, const char *what, const pickle_value **root)
{
    machine m = {.memory = a, .begin = bytes, .next = bytes, .end = bytes + count, .what = what};
    status result = OK;
    while (result == OK && !m.stopped) result = step(&m);
    value *v = NULL;
    if (result == OK) result = pop(&m, &v);
    if (result == OK && m.depth) result = refuse(&m, "values are left on the stack");
    *root = v;
    free(m.stack);
    free(m.memo);
    return result;
}

const pickle_value *pickle_get(const pickle_value *d, const char *key)
{
    if (!d || d->kind != PICKLE_DICT) return NULL;
    for (int64_t i = d->count - 2; i >= 0; i -= 2)
        if (d->items[i]->kind == PICKLE_TEXT && strcmp(d->items[i]->text, key) == 0) return d->items[i + 1];
    return NULL;
}
