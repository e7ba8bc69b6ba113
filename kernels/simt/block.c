/* block.c: the threads of one block take turns. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/simt/watch.h"

__thread engine *simt_engine __attribute__((tls_model("initial-exec")));
__thread uint3 threadIdx __attribute__((tls_model("initial-exec")));
__thread uint3 blockIdx __attribute__((tls_model("initial-exec")));
__thread uint3 simt_block_dim __attribute__((tls_model("initial-exec")));
__thread uint3 simt_grid_dim __attribute__((tls_model("initial-exec")));

/* ------------------------------------------------------------------------------------------------ reports */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* Leaves the block: its fibres are forgotten. */
static void abandon(engine *e) __attribute__((noreturn));
static void abandon(engine *e)
{
    e->failed = true;
    e->running = false;
    fibre *running = e->thread[e->current].fibre;
    fibre_leave(running, &e->host);
}

void simt_fault(const simt_site *site, const char *fmt, ...)
{
    engine *e = simt_engine;
    thread *t = &e->thread[e->current];
    int used = snprintf(e->report, sizeof e->report, "thread (%u, %u, %u): ", t->index.x, t->index.y, t->index.z);
    if (site)
        used +=
            snprintf(e->report + used, sizeof e->report - (size_t)used, "%s:%u: ", base_name(site->file), site->line);
    va_list args;
    va_start(args, fmt);
    vsnprintf(e->report + used, sizeof e->report - (size_t)used, fmt, args);
    va_end(args);
    abandon(e);
}

/* What thread i does now, as a text that is equal for equal doings. */
static void describe_state(const engine *e, int32_t i, char text[256])
{
    const warp *w = &e->warp[i / LANES];
    uint32_t bit = 1u << i % LANES;
    const simt_site *site = e->thread[i].site;
    if (w->done & bit) snprintf(text, 256, "ended");
    else if (w->waiting & bit)
        snprintf(text, 256, "wait for their warp in %s at %s:%u", w->name, base_name(site->file), site->line);
    else snprintf(text, 256, "wait at the barrier of %s:%u", base_name(site->file), site->line);
}

/* No thread can go on. Says who does what, in groups. */
static void report_stuck(engine *e) __attribute__((noreturn));
static void report_stuck(engine *e)
{
    enum { GROUPS = 6 };
    char state[GROUPS][256], mine[256];
    int32_t first[GROUPS], members[GROUPS] = {0}, groups = 0;
    for (int32_t i = 0; i < e->threads; i++) {
        describe_state(e, i, mine);
        int32_t g = 0;
        while (g < groups && strcmp(state[g], mine) != 0) g++;
        if (g == groups) {
            if (groups == GROUPS) continue;
            memcpy(state[groups++], mine, sizeof mine);
            first[g] = i;
        }
        members[g]++;
    }
    size_t used = (size_t)snprintf(e->report, sizeof e->report, "barrier divergence:");
    for (int32_t g = 0; g < groups && used < sizeof e->report; g++) {
        uint3 index = e->thread[first[g]].index;
        used += (size_t)snprintf(e->report + used, sizeof e->report - used, "%s %d threads %s (first: (%u, %u, %u))",
            g ? "," : "", members[g], state[g], index.x, index.y, index.z);
    }
    abandon(e);
}

/* ------------------------------------------------------------------------------------------------ turns */

static uint32_t draw(engine *e, uint32_t below)
{
    e->random = e->random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((e->random >> 32) * below) >> 32);
}

static int32_t nth_bit(uint32_t bits, uint32_t n)
{
    while (n--) bits &= bits - 1;
    return __builtin_ctz(bits);
}

/* The thread whose turn it is, or -1. By number, this warp first, round and round. */
static int32_t next_ready(engine *e)
{
    if (!e->ready_warps) return -1;
    int32_t w = e->current / LANES, lane = e->current % LANES;
    if (e->l->order) {
        w = nth_bit(e->ready_warps, draw(e, (uint32_t)__builtin_popcount(e->ready_warps)));
        uint32_t ready = e->warp[w].ready;
        return LANES * w + nth_bit(ready, draw(e, (uint32_t)__builtin_popcount(ready)));
    }
    uint32_t ready = e->warp[w].ready;
    if (ready) {
        uint32_t later = ready & ~((2u << lane) - 1u);
        return LANES * w + __builtin_ctz(later ? later : ready);
    }
    uint32_t later = e->ready_warps & ~((2u << w) - 1u);
    w = __builtin_ctz(later ? later : e->ready_warps);
    return LANES * w + __builtin_ctz(e->warp[w].ready);
}

static void unready(engine *e, warp *w, uint32_t bit)
{
    w->ready &= ~bit;
    if (!w->ready) e->ready_warps &= ~(1u << (w - e->warp));
}

static void run_threads(void);

static fibre *take_fibre(engine *e)
{
    fibre *f = e->free_fibre;
    if (f) e->free_fibre = f->next_free;
    else {
        f = &e->fibre[e->fibres];
        if (!fibre_init(f, e->fibres)) simt_fault(NULL, "out of memory for the stacks of %d threads", e->threads);
        e->fibres++;
    }
    fibre_restart(f, run_threads);
    return f;
}

/* The turn passes from the running thread to another (or to itself); returns when it comes back. */
static void pass_turn(engine *e)
{
    int32_t from = e->current, to = next_ready(e);
    if (to < 0) report_stuck(e);
    if (to == from) return;
    fibre *mine = e->thread[from].fibre;
    thread *t = &e->thread[to];
    if (!t->fibre) t->fibre = take_fibre(e);
    e->current = to;
    threadIdx = t->index;
    fibre_switch(mine, t->fibre);
}

/* A fibre's life: threads that have not started, one after the other; when one that waited is
 * next, the fibre is free again. */
static void run_threads(void)
{
    engine *e = simt_engine;
    fibre_entered(&e->host);
    for (;;) {
        e->l->body(e->l->closure);
        thread *t = &e->thread[e->current];
        warp *w = &e->warp[e->current / LANES];
        fibre *mine = t->fibre;
        if (t->copies) simt_cp_async_commit(), simt_cp_async_wait(0);
        w->done |= 1u << e->current % LANES;
        unready(e, w, 1u << e->current % LANES);
        if (++e->finished == e->threads) fibre_leave(mine, &e->host);
        int32_t next = next_ready(e);
        if (next < 0) report_stuck(e);
        t->fibre = NULL;
        e->current = next;
        t = &e->thread[next];
        threadIdx = t->index;
        if (!t->fibre) {
            t->fibre = mine;
            continue;
        }
        mine->next_free = e->free_fibre;
        e->free_fibre = mine;
        fibre_leave(mine, t->fibre);
    }
}

/* ------------------------------------------------------------------------------------------------ waiting */

void simt_barrier(const simt_site *site)
{
    engine *e = simt_engine;
    thread *self = &e->thread[e->current];
    warp *w = &e->warp[e->current / LANES];
    self->site = site;
    if (e->arrived == 0) e->barrier = site;
    if (site != e->barrier && (site->line != e->barrier->line || site->column != e->barrier->column ||
                                  strcmp(site->file, e->barrier->file) != 0))
        simt_fault(site, "barrier divergence: other threads wait at another barrier, %s:%u",
            base_name(e->barrier->file), e->barrier->line);
    unready(e, w, 1u << e->current % LANES);
    if (++e->arrived < e->threads) {
        pass_turn(e);
        return;
    }
    e->arrived = 0;
    e->epoch++;
    for (int32_t i = 0; i * LANES < e->threads; i++) {
        e->warp[i].ready = e->warp[i].all;
        e->ready_warps |= 1u << i;
    }
    if (e->l->order) pass_turn(e);
}

void simt_collective(simt_combine *combine, const char *name, void *argument, const simt_site *site)
{
    engine *e = simt_engine;
    int32_t lane = e->current % LANES;
    warp *w = &e->warp[e->current / LANES];
    e->thread[e->current].site = site;
    e->thread[e->current].code = __builtin_return_address(0);
    if (!w->waiting) w->combine = combine, w->name = name;
    else if (w->combine != combine)
        simt_fault(site, "warp divergence: calls %s while other lanes wait in %s", name, w->name);
    w->argument[lane] = argument;
    w->waiting |= 1u << lane;
    unready(e, w, 1u << lane);
    if (w->waiting != w->all) {
        pass_turn(e);
        return;
    }
    combine(w->argument);
    if (combine == simt_combine_nothing) w->epoch++;
    w->waiting = 0;
    w->ready = w->all;
    e->ready_warps |= 1u << (w - e->warp);
    if (e->l->order) pass_turn(e);
}

void simt_needs(int32_t sm, const char *what, const simt_site *site)
{
    int32_t mine = simt_engine->l->sm;
    if (mine < sm) simt_fault(site, "%s needs sm_%d, this GPU is sm_%d", what, sm, mine);
}

/* ------------------------------------------------------------------------------------------------ cp.async */

static void copy_now(const copy *c)
{
    if (c->valid) memcpy(c->to, c->from, (size_t)c->bytes);
    else memset(c->to, 0, (size_t)c->bytes);
}

void simt_cp_async(void *shared, const void *global, int32_t bytes, bool valid, const simt_site *site)
{
    engine *e = simt_engine;
    thread *t = &e->thread[e->current];
    copy *queue = e->copies + (size_t)e->current * MAX_COPIES;
    if (t->copies == MAX_COPIES) simt_fault(site, "more than %d cp.async under way", MAX_COPIES);
    if (((uintptr_t)shared | (uintptr_t)global) % (size_t)bytes)
        simt_fault(site, "cp.async of %d bytes from %p to %p: not aligned", bytes, global, shared);
    copy c = {shared, global, bytes, t->group, valid, false};
    if (watch_enabled) watch_copy_begins(e, &c, __builtin_return_address(0));
    if (e->l->order && draw(e, 2)) copy_now(&c), c.done = true; /* a GPU may be quick */
    queue[t->copies++] = c;
}

void simt_cp_async_commit(void)
{
    simt_engine->thread[simt_engine->current].group++;
}

void simt_cp_async_wait(int32_t pending)
{
    engine *e = simt_engine;
    thread *t = &e->thread[e->current];
    copy *queue = e->copies + (size_t)e->current * MAX_COPIES;
    int32_t done = 0;
    while (done < t->copies && queue[done].group < t->group - pending) {
        if (!queue[done].done) copy_now(&queue[done]);
        if (watch_enabled) watch_copy_ends(e, &queue[done]);
        done++;
    }
    t->copies -= done;
    memmove(queue, queue + done, (size_t)t->copies * sizeof *queue);
}

/* ------------------------------------------------------------------------------------------------ blocks */

void engine_begin(engine *e, const launch *l)
{
    e->l = l;
    e->launch_epoch = e->epoch + 1;
    e->threads = (int32_t)(l->block.x * l->block.y * l->block.z);
    simt_block_dim = (uint3){l->block.x, l->block.y, l->block.z};
    simt_grid_dim = (uint3){l->grid.x, l->grid.y, l->grid.z};
    for (int32_t i = 0; i < e->threads; i++) {
        uint32_t n = (uint32_t)i;
        e->thread[i].index = (uint3){n % l->block.x, n / l->block.x % l->block.y, n / l->block.x / l->block.y};
    }
    shared_begin(e);
}

static void block_begin(engine *e, uint64_t block)
{
    const launch *l = e->l;
    e->block = block;
    e->random = (l->order + block) * 0x9e3779b97f4a7c15u;
    blockIdx = (uint3){(unsigned)(block % l->grid.x), (unsigned)(block / l->grid.x % l->grid.y),
        (unsigned)(block / l->grid.x / l->grid.y)};
    e->arrived = e->finished = 0;
    e->failed = false;
    e->block_epoch = ++e->epoch;
    e->ready_warps = 0;
    for (int32_t i = 0; i * LANES < e->threads; i++) {
        int32_t lanes = e->threads - i * LANES;
        uint32_t all = lanes >= LANES ? ~0u : (1u << lanes) - 1u;
        warp *w = &e->warp[i];
        w->all = w->ready = all;
        w->waiting = w->done = 0;
        w->epoch = 0;
        if (all != ~0u) memset(w->argument, 0, sizeof w->argument);
        e->ready_warps |= 1u << i;
    }
    for (int32_t i = 0; i < e->threads; i++) {
        thread *t = &e->thread[i];
        t->fibre = NULL;
        t->copies = t->group = 0;
    }
    shared_fill(e);
}

/* All fibres are free again: after a fault some were in the middle of something. */
static void collect_fibres(engine *e)
{
    e->free_fibre = NULL;
    for (int32_t i = e->fibres; i-- > 0;) {
        e->fibre[i].next_free = e->free_fibre;
        e->free_fibre = &e->fibre[i];
    }
}

status engine_block(engine *e, uint64_t block)
{
    block_begin(e, block);
    collect_fibres(e);
    e->current = 0;
    int32_t first = e->l->order ? next_ready(e) : 0;
    e->current = first;
    fibre *f = e->free_fibre;
    if (!f && !fibre_init(&e->fibre[e->fibres++], 0)) return FAIL(E_MEMORY, "out of memory for the stack of a thread");
    collect_fibres(e);
    e->thread[first].fibre = take_fibre(e);
    threadIdx = e->thread[first].index;
    e->host = (fibre){0};
    e->running = true;
    fibre_switch(&e->host, e->thread[first].fibre);
    e->running = false;
    if (!e->failed && shared_intact(e)) return OK;
    char kernel[512];
    report_function(e->l->kernel, kernel, sizeof kernel);
    return FAIL(E_DEVICE, "kernel %s, block (%u, %u, %u): %s", kernel, blockIdx.x, blockIdx.y, blockIdx.z, e->report);
}
