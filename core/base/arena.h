/* arena.h: memory with one lifetime. Allocate freely, release everything at once.
 *
 * A zeroed arena is valid and empty. Memory comes back zeroed and aligned to 64 bytes (ARENA_NEW: as the type needs;
 * texts: not at all). Not thread-safe.
 *
 * Whatever allocates here fails by giving NULL, when the machine is out of memory or the size overflows, and has then
 * made the message that says how many bytes were asked for. TRY_ALLOC assigns and propagates E_MEMORY with it.
 *
 *     arena a = {0};
 *     float *row;
 *     TRY_ALLOC(row, ARENA_ARRAY(&a, float, width));
 *     arena_free(&a);
 */
#ifndef GRAFT_BASE_ARENA_H
#define GRAFT_BASE_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include "core/base/status.h"

typedef struct arena {
    struct arena_block *head;
    size_t used_bytes; /* handed out so far */
} arena;

/* `bytes` zeroed bytes. Zero bytes give a valid unique pointer. */
void *arena_alloc(arena *a, size_t bytes);

/* The same, aligned to `alignment`, a power of two up to 64, without room behind it: for many small things. Texts are
 * packed so. */
void *arena_alloc_packed(arena *a, size_t bytes, size_t alignment);

/* count * item_bytes; NULL also when count is negative. */
void *arena_alloc_array(arena *a, int64_t count, size_t item_bytes);

char *arena_strdup(arena *a, const char *text);
char *arena_strndup(arena *a, const char *text, size_t length);
char *arena_printf(arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void *arena_memdup(arena *a, const void *data, size_t bytes);

/* Releases everything; the arena is empty and usable again. */
void arena_free(arena *a);

/* From the heap, for free(): uninitialised bytes, zeroed items, a text. Zero bytes give a valid unique pointer. */
void *heap_alloc(size_t bytes);
void *heap_alloc_array(int64_t count, size_t item_bytes);
char *heap_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define TRY_ALLOC(pointer, allocation) do { if (!((pointer) = (allocation))) return E_MEMORY; } while (0)
/* The same where resources are held (TRY_OUT). */
#define TRY_ALLOC_OUT(pointer, allocation) do { if (!((pointer) = (allocation))) TRY_OUT(E_MEMORY); } while (0)

#define HEAP_NEW(type) ((type *)heap_alloc_array(1, sizeof(type)))
#define HEAP_ARRAY(type, count) ((type *)heap_alloc_array((int64_t)(count), sizeof(type)))
#define ARENA_NEW(a, type) ((type *)arena_alloc_packed((a), sizeof(type), _Alignof(type)))
#define ARENA_ARRAY(a, type, count) ((type *)arena_alloc_array((a), (int64_t)(count), sizeof(type)))

/* Heap array that grows by doubling: makes room for `needed` items (new room zeroed). *items may be NULL with
 * *capacity 0; release with free(). */
status array_reserve(void **items, int64_t *capacity, int64_t needed, size_t item_bytes);

/* For programs, at their start: freed blocks up to 32 MiB stay with the process. Decoding allocates and frees an image
 * after the other, and handing each back to the system costs more page faults than the decoding itself costs time. */
void memory_keep_freed(void);

#endif
