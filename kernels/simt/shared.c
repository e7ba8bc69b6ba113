/* shared.c: a block's shared memory: arrays in a row, each between guard bands. */
#include <stdio.h>
#include <string.h>

#include "kernels/simt/gpu.h"
#include "kernels/simt/watch.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(at, bytes) ((void)(at), (void)(bytes))
#endif

static size_t rounded(size_t bytes)
{
    return (bytes + SHARED_GUARD - 1) / SHARED_GUARD * SHARED_GUARD;
}

static void *add_array(engine *e, const void *key, const char *name, size_t bytes)
{
    size_t offset = e->arena_used + SHARED_GUARD, end = offset + rounded(bytes) + SHARED_GUARD;
    if (e->arrays == MAX_ARRAYS || end > ARENA_BYTES)
        simt_fault(NULL, "shared array '%s': more than %d arrays, or too large", name, MAX_ARRAYS);
    ASAN_UNPOISON_MEMORY_REGION(e->arena + e->arena_used, end - e->arena_used);
    memset(e->arena + e->arena_used, GUARD_BYTE, end - e->arena_used);
    memset(e->arena + offset, FRESH_BYTE, bytes);
    ASAN_POISON_MEMORY_REGION(e->arena + e->arena_used, SHARED_GUARD);
    ASAN_POISON_MEMORY_REGION(e->arena + offset + bytes, end - offset - bytes);
    e->array[e->arrays++] = (shared_array){key, name, offset, bytes};
    e->arena_used = end - SHARED_GUARD; /* the guard behind it is the one before the next */
    return e->arena + offset;
}

void *simt_shared(const void *key, size_t bytes, const char *name)
{
    engine *e = simt_engine;
    size_t total = bytes;
    for (int32_t i = 0; i < e->arrays; i++) {
        if (e->array[i].key == key) return e->arena + e->array[i].offset;
        if (e->array[i].key) total += e->array[i].bytes;
    }
    if (total > STATIC_SHARED)
        simt_fault(
            NULL, "shared array '%s': %zu bytes of declared shared memory, a GPU has %d", name, total, STATIC_SHARED);
    if (total + e->l->shared_bytes > (size_t)gpu_shared_bytes())
        simt_fault(NULL, "shared array '%s': %zu bytes declared and %zu asked for, this GPU has %d a block", name,
            total, e->l->shared_bytes, gpu_shared_bytes());
    if (e->l->shared_bytes <= STATIC_SHARED && total + e->l->shared_bytes > STATIC_SHARED)
        simt_fault(NULL,
            "shared array '%s': %zu bytes declared and %zu asked for are above %d together: launch() opts in where "
            "what is asked for "
            "alone is above, so a GPU refuses this",
            name, total, e->l->shared_bytes, STATIC_SHARED);
    return add_array(e, key, name, bytes);
}

void *simt_shared_dynamic(void)
{
    engine *e = simt_engine;
    return e->arena + e->array[0].offset;
}

void shared_begin(engine *e)
{
    e->arrays = 0;
    e->arena_used = 0;
    add_array(e, NULL, "dynamic shared memory", e->l->shared_bytes);
}

void shared_fill(engine *e)
{
    for (int32_t i = 0; i < e->arrays; i++) memset(e->arena + e->array[i].offset, FRESH_BYTE, e->array[i].bytes);
}

static bool intact(const char *at, size_t bytes)
{
    unsigned char difference = 0;
    for (size_t i = 0; i < bytes; i++) difference |= (unsigned char)at[i] ^ GUARD_BYTE;
    return !difference;
}

bool shared_intact(engine *e)
{
#ifdef __SANITIZE_ADDRESS__
    (void)e, (void)intact; /* the guards are poisoned: an access has already been reported */
    return true;
#else
    for (int32_t i = 0; i < e->arrays; i++) {
        const shared_array *a = &e->array[i];
        bool before = intact(e->arena + a->offset - SHARED_GUARD, SHARED_GUARD);
        if (before && intact(e->arena + a->offset + a->bytes, rounded(a->bytes) - a->bytes + SHARED_GUARD)) continue;
        snprintf(e->report, sizeof e->report, "a thread wrote %s the shared array '%s' of %zu bytes",
            before ? "past" : "before", a->name, a->bytes);
        return false;
    }
    return true;
#endif
}

/* ------------------------------------------------------------------------------------------------ watched */

/* The array that the byte is in, or that it is nearest to. */
static const shared_array *array_near(const engine *e, size_t offset)
{
    const shared_array *near = &e->array[0];
    size_t least = SIZE_MAX;
    for (int32_t i = 0; i < e->arrays; i++) {
        const shared_array *a = &e->array[i];
        size_t distance = offset < a->offset               ? a->offset - offset
                          : offset >= a->offset + a->bytes ? offset - a->offset - a->bytes + 1
                                                           : 0;
        if (distance < least && a->bytes) near = a, least = distance;
    }
    return near;
}

cell *shared_cells(engine *e, const void *at, size_t *left, char *text, size_t text_bytes)
{
    size_t offset = (size_t)((const char *)at - e->arena);
    const shared_array *a = array_near(e, offset);
    *left = 0;
    if (offset >= a->offset && offset < a->offset + a->bytes) {
        *left = a->offset + a->bytes - offset;
        return &e->cells[offset];
    }
    snprintf(text, text_bytes, "outside of every array");
    return NULL;
}

void shared_describe(const engine *e, const void *at, char *text, size_t text_bytes)
{
    size_t offset = (size_t)((const char *)at - e->arena);
    const shared_array *a = array_near(e, offset);
    snprintf(text, text_bytes, "byte %td of shared array '%s' of %zu bytes", (ptrdiff_t)(offset - a->offset), a->name,
        a->bytes);
}
