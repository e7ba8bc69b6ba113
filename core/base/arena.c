#include "core/base/arena.h"

#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGNMENT = 64, FIRST_BLOCK_BYTES = 4096, LARGEST_BLOCK_BYTES = 1 << 20 };

/* More than any machine has: a size beyond it is a mistake, whatever the allocator would say. */
static const size_t ARENA_MAX_BYTES = (size_t)1 << 40;

typedef struct arena_block {
    struct arena_block *next;
    uint8_t *start; /* aligned */
    size_t bytes, used;
} arena_block;

/* The message of a failed allocation is made here, where the size is known. */
static void *no_memory(size_t bytes)
{
    (void)FAIL_MEMORY(bytes);
    return NULL;
}

/* calloc, so that large blocks are zero pages that cost nothing until they are touched. */
static arena_block *block_new(size_t bytes)
{
    arena_block *block = calloc(1, sizeof *block + ALIGNMENT + bytes);
    if (!block) return NULL;
    uintptr_t address = (uintptr_t)(block + 1);
    block->start = (uint8_t *)((address + ALIGNMENT - 1) & ~(uintptr_t)(ALIGNMENT - 1));
    block->bytes = bytes;
    return block;
}

static size_t round_up(size_t bytes, size_t to) { return (bytes + to - 1) / to * to; }

void *arena_alloc_packed(arena *a, size_t bytes, size_t alignment)
{
    if (bytes > ARENA_MAX_BYTES) return no_memory(bytes);
    size_t need = bytes ? bytes : 1;
    arena_block *head = a->head;
    if (head) head->used = round_up(head->used, alignment);
    if (!head || head->bytes < head->used || head->bytes - head->used < need) {
        size_t grown = head ? head->bytes * 2 : FIRST_BLOCK_BYTES;
        if (grown < FIRST_BLOCK_BYTES) grown = FIRST_BLOCK_BYTES;
        if (grown > LARGEST_BLOCK_BYTES) grown = LARGEST_BLOCK_BYTES;
        arena_block *block = block_new(need > grown / 2 ? need : grown);
        if (!block) return no_memory(bytes);
        if (head && need > grown / 2) {
            /* A large request fills its block at once: keep filling the current one. */
            block->next = head->next;
            head->next = block;
        } else {
            block->next = head;
            a->head = block;
        }
        head = block;
    }
    void *memory = head->start + head->used;
    head->used += need;
    a->used_bytes += need;
    return memory;
}

static bool array_bytes(int64_t count, size_t item_bytes, size_t *bytes)
{
    if (count >= 0 && !__builtin_mul_overflow((size_t)count, item_bytes, bytes)) return true;
    (void)FAIL(E_MEMORY, "out of memory: an array of %" PRId64 " items of %zu bytes does not fit", count, item_bytes);
    return false;
}

/* Whole lines of cache, so that vectors may be read beyond the last item. */
void *arena_alloc(arena *a, size_t bytes)
{
    return bytes > ARENA_MAX_BYTES ? no_memory(bytes)
                                   : arena_alloc_packed(a, bytes ? round_up(bytes, ALIGNMENT) : ALIGNMENT, ALIGNMENT);
}

void *arena_alloc_array(arena *a, int64_t count, size_t item_bytes)
{
    size_t bytes;
    return array_bytes(count, item_bytes, &bytes) ? arena_alloc(a, bytes) : NULL;
}

void *heap_alloc(size_t bytes)
{
    void *memory = bytes > ARENA_MAX_BYTES ? NULL : malloc(bytes ? bytes : 1);
    return memory ? memory : no_memory(bytes);
}

void *heap_alloc_array(int64_t count, size_t item_bytes)
{
    size_t bytes;
    if (!array_bytes(count, item_bytes, &bytes)) return NULL;
    void *memory = bytes > ARENA_MAX_BYTES ? NULL : calloc(1, bytes ? bytes : 1);
    return memory ? memory : no_memory(bytes);
}

void *arena_memdup(arena *a, const void *data, size_t bytes)
{
    void *copy = arena_alloc(a, bytes);
    if (copy && bytes) memcpy(copy, data, bytes);
    return copy;
}

char *arena_strndup(arena *a, const char *text, size_t length)
{
    size_t used = strnlen(text, length);
    char *copy = arena_alloc_packed(a, used + 1, 1);
    if (copy) memcpy(copy, text, used);
    return copy;
}

char *arena_strdup(arena *a, const char *text)
{
    return arena_strndup(a, text, strlen(text));
}

/* To memory of `a`, or of the heap where that is NULL. */
static char *print(arena *a, const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (length < 0) return no_memory(INT_MAX); /* longer than printf can say */
    size_t bytes = (size_t)length + 1;
    char *text = a ? arena_alloc_packed(a, bytes, 1) : heap_alloc(bytes);
    if (text) vsnprintf(text, bytes, fmt, args);
    return text;
}

char *arena_printf(arena *a, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = print(a, fmt, args);
    va_end(args);
    return text;
}

char *heap_printf(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = print(NULL, fmt, args);
    va_end(args);
    return text;
}

void arena_free(arena *a)
{
    for (arena_block *block = a->head, *next; block; block = next) {
        next = block->next;
        free(block);
    }
    *a = (arena){0};
}

status array_reserve(void **items, int64_t *capacity, int64_t needed, size_t item_bytes)
{
    if (needed <= *capacity) return OK;
    int64_t grown = *capacity > INT64_MAX / 2 ? needed : *capacity * 2;
    if (grown < needed) grown = needed;
    if (grown < 8) grown = 8;
    size_t bytes;
    if (__builtin_mul_overflow((size_t)grown, item_bytes, &bytes) || bytes > ARENA_MAX_BYTES)
        return FAIL(
            E_MEMORY, "out of memory: an array of %" PRId64 " items of %zu bytes does not fit", needed, item_bytes);
    void *memory = realloc(*items, bytes);
    if (!memory) return FAIL_MEMORY(bytes);
    size_t old_bytes = (size_t)*capacity * item_bytes;
    memset((uint8_t *)memory + old_bytes, 0, bytes - old_bytes);
    *items = memory;
    *capacity = grown;
    return OK;
}

void memory_keep_freed(void)
{
    mallopt(M_MMAP_THRESHOLD, 32 << 20);
    mallopt(M_TRIM_THRESHOLD, 256 << 20);
}
