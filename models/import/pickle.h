/* pickle.h: the values of a Python pickle (protocols 2 to 5), read without running anything.
 *
 * A pickle is a program for a stack machine that may call any function of any module. This machine knows the
 * instructions that build numbers, texts, tuples, lists and dictionaries, and a fixed list of names that PyTorch's own
 * files need. Every other name is refused with that name (E_MODEL). Nothing is imported, called or looked up. Time and
 * memory are bounded by the length of the pickle: every instruction makes at most one value, and no text, list or memo
 * is longer than the pickle itself. At most 524288 values.
 *
 *     collections.OrderedDict()                 an empty dictionary; state that is set on it (_metadata) is dropped
 *     persistent id ("storage", torch.XStorage, key, place, elements)   PICKLE_STORAGE
 *     torch._utils._rebuild_tensor_v2(storage, offset, size, stride, ...), torch._utils._rebuild_tensor   PICKLE_TENSOR
 *     torch._utils._rebuild_parameter(tensor, requires_grad, hooks), torch.nn.parameter.Parameter          the tensor
 *     torch.Size(tuple)                         the tuple
 *
 *     const pickle_value *root;
 *     TRY(pickle_read(&a, bytes, count, "model.pth", &root));
 *     if (root->kind == PICKLE_DICT) ...
 */
#ifndef GRAFT_MODELS_IMPORT_PICKLE_H
#define GRAFT_MODELS_IMPORT_PICKLE_H

#include <stdbool.h>

#include "core/base/arena.h"
#include "core/base/dtype.h"
#include "core/base/status.h"

typedef enum pickle_kind {
    PICKLE_NONE,
    PICKLE_BOOL,
    PICKLE_INT,
    PICKLE_FLOAT,
    PICKLE_TEXT,
    PICKLE_BYTES,
    PICKLE_TUPLE,
    PICKLE_LIST,
    PICKLE_SET,
    PICKLE_DICT,
    PICKLE_GLOBAL,
    PICKLE_STORAGE,
    PICKLE_TENSOR
} pickle_kind;

typedef struct pickle_value {
    pickle_kind kind;
    int64_t integer; /* BOOL, INT; STORAGE: elements; TENSOR: offset in elements; DICT: its number, from 0 on */
    double number;               /* FLOAT                                                                      */
    const char *text;            /* TEXT (no 0 byte inside), GLOBAL: "torch.FloatStorage"; STORAGE: its key    */
    dtype type;                  /* STORAGE                                                                    */
    struct pickle_value **items; /* TUPLE, LIST, SET: [count]; DICT: [2 count] key, value, key, value ...;
                                    TENSOR: storage, size, stride                                              */
    int64_t count;
    int64_t capacity;            /* of items while it grows */
} pickle_value;

/* Values live in a. Values may share parts, and a dictionary may hold itself, a thousand times over: a walk that looks
 * into each once, by the dictionaries' numbers, is linear; any other may take for ever. */
status pickle_read(arena *a, const uint8_t *bytes, size_t count, const char *what, const pickle_value **root);
/* NULL if d is no dictionary or has no such key. The last one of equal keys counts. */
const pickle_value *pickle_get(const pickle_value *d, const char *key);

#endif
