#include "core/graph/liveness.h"

#include <stdlib.h>
#include <string.h>

#include "core/base/arena.h"

typedef struct entry {
    int64_t key, index;
} entry;

typedef struct work {
    live_block *blocks;
    int64_t count;
    entry *order;     /* [count] blocks to place, in the order of placing                */
    int64_t *offset;  /* [count] of the present attempt                                  */
    entry *by_offset; /* [count] placed blocks, ascending offset                         */
    int64_t placed;
} work;

static int by_key(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

static int64_t rounded(int64_t bytes)
{
    return (bytes + LIVE_ALIGN - 1) / LIVE_ALIGN * LIVE_ALIGN;
}

static bool overlap(const live_block *a, const live_block *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* The smallest gap between the neighbours in time that holds the block, else the end. */
static int64_t best_gap(const work *w, const live_block *b)
{
    int64_t need = rounded(b->bytes), best = -1, best_gap_bytes = 0, end = 0;
    for (int64_t i = 0; i < w->placed; i++) {
        const live_block *other = &w->blocks[w->by_offset[i].index];
        if (!overlap(b, other)) continue;
        int64_t start = w->by_offset[i].key, gap = start - end;
        if (gap >= need && (best < 0 || gap < best_gap_bytes)) {
            best = end;
            best_gap_bytes = gap;
        }
        if (start + rounded(other->bytes) > end) end = start + rounded(other->bytes);
    }
    return best >= 0 ? best : end;
}

static void insert(work *w, int64_t index, int64_t offset)
{
    int64_t at = w->placed++;
    while (at > 0 && w->by_offset[at - 1].key > offset) {
        w->by_offset[at] = w->by_offset[at - 1];
        at--;
    }
    w->by_offset[at] = (entry){offset, index};
    w->offset[index] = offset;
}

/* One attempt; the end of its last block. */
static int64_t attempt(work *w, int64_t to_place)
{
    w->placed = 0;
    int64_t end = 0;
    for (int64_t i = 0; i < w->count; i++)
        if (w->blocks[i].placed && w->blocks[i].bytes > 0) insert(w, i, w->blocks[i].offset);
    for (int64_t i = 0; i < to_place; i++)
        insert(w, w->order[i].index, best_gap(w, &w->blocks[w->order[i].index]));
    for (int64_t i = 0; i < w->placed; i++) {
        int64_t last = w->by_offset[i].key + rounded(w->blocks[w->by_offset[i].index].bytes);
        if (last > end) end = last;
    }
    return end;
}

enum { BY_SIZE, BY_LIFE, BY_BIRTH, ORDERS };

static int64_t order_key(const live_block *b, int order)
{
    int64_t life = b->last - b->first + 1;
    if (order == BY_SIZE) return -b->bytes;
    if (order == BY_LIFE) return -life * (b->bytes / LIVE_ALIGN + 1);
    return b->first;
}

static int64_t lower_bound(const live_block *blocks, int64_t count, entry *events)
{
    int64_t n = 0, alive = 0, most = 0;
    for (int64_t i = 0; i < count; i++) {
        /* Births before deaths at the same step; a block dies behind its last step. */
        events[n++] = (entry){(int64_t)blocks[i].first * 2, i};
        events[n++] = (entry){(int64_t)blocks[i].last * 2 + 1, i};
    }
    qsort(events, (size_t)n, sizeof *events, by_key);
    for (int64_t i = 0; i < n; i++) {
        int64_t bytes = rounded(blocks[events[i].index].bytes);
        alive += events[i].key & 1 ? -bytes : bytes;
        if (alive > most) most = alive;
    }
    return most;
}

status liveness_assign(live_block *blocks, int64_t count, live_result *r)
{
    arena a = {0};
    status result = OK;
    *r = (live_result){0};
    work w = {.blocks = blocks, .count = count, .order = ARENA_ARRAY(&a, entry, 2 * count + 1),
        .offset = ARENA_ARRAY(&a, int64_t, count), .by_offset = ARENA_ARRAY(&a, entry, count)};
    int64_t *best = ARENA_ARRAY(&a, int64_t, count);
    if (!w.order || !w.offset || !w.by_offset || !best) TRY_OUT(E_MEMORY);
    r->bound = lower_bound(blocks, count, w.order);
    r->end = -1;
    for (int order = 0; order < ORDERS && r->end != r->bound; order++) {
        int64_t to_place = 0;
        for (int64_t i = 0; i < count; i++)
            if (!blocks[i].placed && blocks[i].bytes > 0)
                w.order[to_place++] = (entry){order_key(&blocks[i], order), i};
        qsort(w.order, (size_t)to_place, sizeof *w.order, by_key);
        int64_t end = attempt(&w, to_place);
        if (r->end >= 0 && end >= r->end) continue;
        r->end = end;
        if (count) memcpy(best, w.offset, (size_t)count * sizeof *best);
    }
    for (int64_t i = 0; i < count; i++) {
        if (!blocks[i].placed) blocks[i].offset = blocks[i].bytes > 0 ? best[i] : 0;
        r->sum += rounded(blocks[i].bytes);
    }
out:
    arena_free(&a);
    return result;
}
