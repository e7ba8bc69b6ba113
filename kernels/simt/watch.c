/* watch.c: is this access right? */
#include "kernels/simt/watch.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

bool watch_enabled;

cell *cells_make(size_t bytes)
{
    void *cells =
        mmap(NULL, bytes * sizeof(cell), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return cells == MAP_FAILED ? NULL : cells;
}

void cells_free(cell *cells, size_t bytes)
{
    if (cells) munmap(cells, bytes * sizeof(cell));
}

/* ------------------------------------------------------------------------------------------------ reports */

/* 32 bits of a code address are enough: the program is smaller. */
static uint32_t code_offset(const void *code)
{
    return (uint32_t)((uintptr_t)code - (uintptr_t)watch_access);
}

static const void *code_of(uint32_t offset)
{
    return (const void *)((uintptr_t)watch_access + (uintptr_t)(intptr_t)(int32_t)offset);
}

static void describe_thread(const engine *e, uint32_t who, char text[96])
{
    uint3 index = e->thread[who % MAX_THREADS].index;
    uint64_t block = who / MAX_THREADS;
    int used = snprintf(text, 96, "thread (%u, %u, %u)", index.x, index.y, index.z);
    if (block != e->block % (UINT32_MAX / MAX_THREADS + 1u))
        snprintf(text + used, 96 - (size_t)used, " of block (%u, %u, %u)", (unsigned)(block % e->l->grid.x),
            (unsigned)(block / e->l->grid.x % e->l->grid.y), (unsigned)(block / e->l->grid.x / e->l->grid.y));
}

static bool is_shared(const engine *e, const void *at)
{
    return (uintptr_t)at - (uintptr_t)e->arena < ARENA_BYTES;
}

static void fail(engine *e, const access *a, size_t byte, const char *what) __attribute__((noreturn));
static void fail(engine *e, const access *a, size_t byte, const char *what)
{
    char where[256], line[128];
    if (is_shared(e, a->at + byte)) shared_describe(e, a->at + byte, where, sizeof where);
    else memory_describe(a->at + byte, where, sizeof where);
    report_line((const char *)a->code - 1, line, sizeof line);
    e->current = a->thread;
    simt_fault(NULL, "%s: %s%s of %zu bytes, %s: %s", line, a->atomic ? "atomic " : "", a->write ? "write" : "read",
        a->bytes, where, what);
}

static void fail_race(engine *e, const access *a, size_t byte, const past *other, bool wrote) __attribute__((noreturn));
static void fail_race(engine *e, const access *a, size_t byte, const past *other, bool wrote)
{
    char line[128], name[96], what[400];
    report_line((const char *)code_of(other->code) - 1, line, sizeof line);
    describe_thread(e, other->who, name);
    bool same_block = other->epoch >= e->block_epoch;
    snprintf(what, sizeof what, "race: %s %s it at %s, and %s", name, wrote ? "wrote" : "read", line,
        same_block ? "no barrier is between" : "blocks have no order");
    fail(e, a, byte, what);
}

/* ------------------------------------------------------------------------------------------------ races */

/* Whether an access of the past and the one now are in no order. */
static bool unordered(const engine *e, const past *p, const past *now, bool shared)
{
    if (p->epoch < e->launch_epoch || p->who == now->who) return false;
    if (p->epoch < e->block_epoch) return !shared; /* another block of this launch */
    if (p->epoch != e->epoch) return false;
    return p->who / LANES != now->who / LANES || p->warp_epoch == now->warp_epoch;
}

static void judge(engine *e, const access *a, size_t byte, cell *c, bool shared)
{
    past now = {e->epoch, code_offset(a->code), (uint32_t)(e->block * MAX_THREADS) + (uint32_t)a->thread,
        e->warp[a->thread / LANES].epoch, a->atomic};
    if (shared && c->written.epoch < e->block_epoch) c->in_flight = 0; /* of an earlier block */
    if (c->in_flight) fail(e, a, byte, "cp.async writes there and has not been waited for");
    if (shared && !a->write && c->written.epoch < e->block_epoch)
        fail(e, a, byte, "nothing has written there in this block");
    if (!(a->atomic && c->written.atomic) && unordered(e, &c->written, &now, shared))
        fail_race(e, a, byte, &c->written, true);
    if (a->write) {
        if (unordered(e, &c->read, &now, shared)) fail_race(e, a, byte, &c->read, false);
        if (unordered(e, &c->read_before, &now, shared)) fail_race(e, a, byte, &c->read_before, false);
        c->written = now;
        return;
    }
    if (c->read.who != now.who) c->read_before = c->read;
    c->read = now;
}

void watch_access(engine *e, const access *a)
{
    if (a->bytes == 0) return;
    bool shared = is_shared(e, a->at);
    char text[256];
    size_t left;
    cell *cells =
        shared ? shared_cells(e, a->at, &left, text, sizeof text) : memory_cells(a->at, &left, text, sizeof text);
    if (!cells) {
        if (!left) fail(e, a, 0, text);
        return;
    }
    if (left < a->bytes) fail(e, a, left, shared ? "beyond the end of the array" : "beyond the end of the block");
    if ((uintptr_t)a->at % a->alignment) fail(e, a, 0, "not aligned to its size");
    for (size_t i = 0; i < a->bytes; i++) judge(e, a, i, &cells[i], shared);
}

/* ------------------------------------------------------------------------------------------------ cp.async */

void watch_copy_begins(engine *e, const copy *c, const void *code)
{
    access to = {c->to, code, e->current, (size_t)c->bytes, (size_t)c->bytes, true, false};
    access from = {c->from, code, e->current, (size_t)c->bytes, (size_t)c->bytes, false, false};
    if (!is_shared(e, c->to)) fail(e, &to, 0, "cp.async writes to shared memory only");
    if (c->valid) watch_access(e, &from);
    watch_access(e, &to);
    char text[256];
    size_t left;
    cell *cells = shared_cells(e, c->to, &left, text, sizeof text);
    for (int32_t i = 0; i < c->bytes; i++) cells[i].in_flight = 1 + (uint32_t)e->current;
}

void watch_copy_ends(engine *e, const copy *c)
{
    char text[256];
    size_t left;
    cell *cells = shared_cells(e, c->to, &left, text, sizeof text);
    for (int32_t i = 0; i < c->bytes; i++) {
        cells[i].in_flight = 0;
        cells[i].written.epoch = e->epoch;
        cells[i].written.warp_epoch = e->warp[e->current / LANES].epoch;
    }
}
